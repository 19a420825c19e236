"""Describe versions and machine, for a reader who wants to repeat the study."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata

PACKAGES = (
    *("featx", "torch", "torchvision", "timm", "transformers", "tokenizers", "openvino", "nncf"),
    *("scikit-learn", "numpy", "pillow", "simplejpeg", "h5py"),
)


def describe_environment(device: str | None = None) -> dict[str, str | int]:
    """Return versions of the packages that affect the numbers, and the machine without host or user name.

    The keys are ``python``, ``platform``, ``processor``, ``cpus``, ``device`` and the installed `PACKAGES`.
    Nothing is imported: versions come from package metadata, and `device`, where the networks ran, defaults
    to torch's accelerator only if torch is loaded.
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
