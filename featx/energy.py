"""Measure energy in joules where the machine counts it: processors by RAPL, NVIDIA devices by NVML.

The counters belong to the machine, so other processes are counted, too. Where there is no counter, or it may
not be read (many systems allow only the administrator), no energy is reported.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_POWERCAP = Path("/sys/class/powercap")
#: Seconds between two readings. A counter wraps around after 262 kJ or less: 20 minutes of 200 W.
_LOOK_SECONDS = 60.0


@dataclass
class Reading:
    """The joules of one measurement: None until it is over, and where the energy is unknown."""

    joules: float | None = None


class Meter:
    """Measures the energy of what is done inside ``with meter.measure() as reading``.

    ``parts`` names what is counted: ``"processor"``, ``"memory"``, ``"NVIDIA devices"``; empty where nothing
    is. `powercap` is the folder of the RAPL counters.
    """

    def __init__(self, powercap: Path = _POWERCAP):
        self._counters = [*_rapl(powercap), *_nvml()]
        self.parts = tuple(dict.fromkeys(counter.part for counter in self._counters))

    @classmethod
    def off(cls) -> Meter:
        """Return a meter that measures nothing."""
        found = cls.__new__(cls)
        found._counters, found.parts = [], ()
        return found

    @contextmanager
    def measure(self) -> Iterator[Reading]:
        """Measure the block; the reading has its ``joules`` when the block is left."""
        reading = Reading()
        sums = [_Sum(counter) for counter in self._counters]
        over = threading.Event()

        def watch() -> None:
            while not over.wait(_LOOK_SECONDS):
                for one in sums:
                    one.look()

        thread = threading.Thread(target=watch, daemon=True) if sums else None
        if thread is not None:
            thread.start()
        try:
            yield reading
        finally:
            if thread is not None:
                over.set()
                thread.join()
        found = [one.look() for one in sums]
        if found and None not in found:
            reading.joules = sum(joules for joules in found if joules is not None)


@dataclass
class _Counter:
    """A number that grows with the energy used, and wraps around at `range` if given."""

    part: str
    read: Callable[[], float | None]
    joules: float  # of one unit
    range: float | None = None


class _Sum:
    """Sums up how much a counter has grown since it was first read."""

    def __init__(self, counter: _Counter):
        self._counter, self._last, self._total = counter, counter.read(), 0.0

    def look(self) -> float | None:
        """Read the counter; return the joules so far, None where it has failed."""
        now, last = self._counter.read(), self._last
        self._last = now
        if now is None or last is None:
            self._total = float("nan")
        else:
            step = now - last
            if step < 0 and self._counter.range is not None:
                step += self._counter.range
            self._total += step
        return None if self._total != self._total else self._total * self._counter.joules


def _rapl(powercap: Path) -> list[_Counter]:
    """Return the counters of packages and memory; ``psys`` and parts of a package would count twice."""
    found = []
    for zone in sorted(powercap.glob("intel-rapl:*")):  # AMD's processors have this name, too
        try:
            name = (zone / "name").read_text().strip()
            full = float((zone / "max_energy_range_uj").read_text())
        except (OSError, ValueError):
            continue
        part = "processor" if name.startswith("package") else "memory" if name == "dram" else None
        counter = zone / "energy_uj"
        if part is not None and _number(counter) is not None:
            found.append(_Counter(part, _reader(counter), 1e-6, full))
    return found


def _reader(path: Path) -> Callable[[], float | None]:
    return lambda: _number(path)


def _number(path: Path) -> float | None:
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return None


def _nvml() -> list[_Counter]:
    """Return counters of all NVIDIA devices, where pynvml is installed and a driver answers."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return []
    try:
        nvml.nvmlInit()
        devices = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
    except nvml.NVMLError:
        return []

    def reader(device: object) -> Callable[[], float | None]:
        def read() -> float | None:
            try:
                return float(nvml.nvmlDeviceGetTotalEnergyConsumption(device))
            except nvml.NVMLError:  # a device older than Volta
                return None

        return read

    counters = [_Counter("NVIDIA devices", reader(device), 1e-3) for device in devices]
    return [counter for counter in counters if counter.read() is not None]
