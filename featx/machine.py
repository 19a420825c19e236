"""What this machine can do: cores and memory that this process may use, and the number formats of its CPU."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


@cache
def cores() -> int:
    """Cores that this process may use: the machine's, less what affinity or a container takes away."""
    from joblib import cpu_count

    count: int = cpu_count()
    return count


def free_memory() -> int | None:
    """Bytes of memory that can still be used without swapping, None where that cannot be told.

    Linux's own estimate, and where a container has a limit, what is left of it.
    """
    free = _available()
    limit, used = _number(_CGROUP / "memory.max"), _number(_CGROUP / "memory.current")
    if limit is not None and used is not None:
        free = max(0, limit - used) if free is None else min(free, max(0, limit - used))
    return free


def _available() -> int | None:
    try:
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return None


@cache
def cpu_has_bf16() -> bool:
    """Whether this processor multiplies bfloat16 itself; one that emulates it is slower with it."""
    import torch

    if platform.machine().lower() in ("aarch64", "arm64"):
        # On x86 the same question is answered with yes by processors that emulate it.
        check = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
        return check is not None and bool(check())
    # The checks are private to torch, so may go.
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in checks)


@cache
def cpu_name() -> str:
    """The processor's name as the system gives it, with the number formats that decide about speed."""
    name, flags = platform.processor() or platform.machine(), set()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() in ("flags", "Features"):
                flags = set(value.split())
                break
    except OSError:
        pass
    told = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8", "bf16", "i8mm")
    return " ".join([name, *(flag for flag in told if flag in flags)])


def physical_memory() -> int | None:
    """Bytes of memory of the machine, None where that cannot be told."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
