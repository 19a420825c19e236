"""What this machine has: cores and memory that this process may use, and the number formats of its CPU."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_STATM = Path("/proc/self/statm")

#: Files of cgroup v2 and of v1: limit, use, statistics, and the entry for memory of cached files.
_CGROUP_FILES = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)


@cache
def cores() -> int:
    """Return the number of cores that this process may use, by affinity and container."""
    from joblib import cpu_count

    count: int = cpu_count()
    return count


def free_memory() -> int | None:
    """Return how many bytes of memory can be used without swapping; None where that is unknown.

    It is Linux's own estimate, or what a limit of the container or of this process (``ulimit -v``) leaves, if
    that is less. Memory of cached files counts as free.
    """
    left = [free for free in (_available(), _left_of_limit(), _left_of_process()) if free is not None]
    return min(left, default=None)


def _available() -> int | None:
    try:
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _left_of_limit() -> int | None:
    """Return how many bytes the container's limit leaves; None where it has no limit."""
    for limit_file, used_file, stat_file, reclaimable in _CGROUP_FILES:
        limit, used = _number(_CGROUP / limit_file), _number(_CGROUP / used_file)
        if limit is not None and used is not None:
            return max(0, limit - used + _stated(_CGROUP / stat_file, reclaimable))
    return None


def _left_of_process() -> int | None:
    """Return how many bytes this process may still map; None where nothing limits it."""
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit == resource.RLIM_INFINITY:
            return None
        return max(0, limit - int(_STATM.read_text().split()[0]) * resource.getpagesize())
    except (ImportError, OSError, ValueError, IndexError):  # not on Windows
        return None


def _stated(path: Path, key: str) -> int:
    """Return a number from a file of names and numbers; 0 where it is missing."""
    try:
        for line in path.read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == key:
                return int(value)
    except (OSError, ValueError):
        pass
    return 0


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return None


@cache
def cpu_has_bf16() -> bool:
    """Return whether this processor multiplies bfloat16 natively; emulation would be slower than fp32."""
    import torch

    if platform.machine().lower() in ("aarch64", "arm64"):
        # Not for x86, where this check also accepts processors that emulate it.
        check = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
        return check is not None and bool(check())
    # The checks are private to torch, so they may disappear.
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in checks)


@cache
def cpu_name() -> str:
    """Return the processor's name, with its number formats that matter for speed."""
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
