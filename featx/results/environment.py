"""Describe what a study ran on, for the reader who wants to run it again: versions and machine."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata

PACKAGES = (
    *("featx", "torch", "torchvision", "timm", "openvino", "nncf", "scikit-learn", "numpy"),
    *("pillow", "simplejpeg", "h5py"),
)


def describe_environment(device: str | None = None) -> dict[str, str | int]:
    """Return the versions of what the numbers depend on, and the machine, without host or user name.

    Nothing is imported for it: versions come from the packages' metadata, and the accelerator is named only
    where torch has been imported already.

    Parameters
    ----------
    device : str, optional
        Where the networks ran, such as ``"cpu"``; by default what torch has, if it is loaded.

    Returns
    -------
    dict
        ``python``, ``platform``, ``processor``, ``cpus``, ``device``, and an entry for each package found.
    """
    found: dict[str, str | int] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    found["platform"] = f"{platform.system()} {platform.machine()}"
    if name := _processor():
        found["processor"] = name
    found["cpus"] = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if device or (device := _accelerator()):
        found["device"] = device
    return found


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor()


def _accelerator() -> str:
    torch = sys.modules.get("torch")
    if torch is None:
        return ""
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
