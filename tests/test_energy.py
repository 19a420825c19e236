"""Joules from counters that go round, and nothing where there are none."""

from __future__ import annotations

import sys
import types

import pytest

import featx.energy
from featx.energy import Meter


def zone(root, name: str, of: str, energy: int, full: int = 1_000_000):
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(of + "\n")
    (folder / "max_energy_range_uj").write_text(f"{full}\n")
    (folder / "energy_uj").write_text(f"{energy}\n")
    return folder / "energy_uj"


@pytest.fixture(autouse=True)
def _no_nvml(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)


def test_packages_and_memory_are_added_up_and_nothing_twice(tmp_path):
    counters = {
        "package": zone(tmp_path, "intel-rapl:0", "package-0", 100_000),
        "second": zone(tmp_path, "intel-rapl:1", "package-1", 0),
        "core": zone(tmp_path, "intel-rapl:0:0", "core", 0),
        "memory": zone(tmp_path, "intel-rapl:0:1", "dram", 0),
        "all": zone(tmp_path, "intel-rapl:2", "psys", 0),
        "again": zone(tmp_path, "intel-rapl-mmio:0", "package-0", 0),
    }
    meter = Meter(tmp_path)
    assert meter.parts == ("processor", "memory")
    with meter.measure() as reading:
        assert reading.joules is None
        for i, path in enumerate(counters.values()):
            path.write_text(str(int(path.read_text()) + 10 ** (i + 1)))
    assert reading.joules == pytest.approx((10 + 100 + 10_000) * 1e-6)


def test_a_counter_that_goes_round_is_followed(tmp_path):
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 900_000)
    with Meter(tmp_path).measure() as reading:
        counter.write_text("50000")
    assert reading.joules == pytest.approx(0.15)


def test_a_counter_that_goes_round_several_times_is_followed(tmp_path, monkeypatch):
    import time

    monkeypatch.setattr(featx.energy, "_LOOK_SECONDS", 0.001)
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    values = iter([0, 600_000, 200_000, 800_000])
    seen = []

    def read(path):
        seen.append(next(values, 900_000))
        return float(seen[-1])

    meter = Meter(tmp_path)
    monkeypatch.setattr(featx.energy, "_number", read)
    with meter.measure() as reading:
        deadline = time.monotonic() + 10
        while len(seen) < 5 and time.monotonic() < deadline:
            time.sleep(0.001)
    assert counter.exists()
    assert reading.joules == pytest.approx(1.9)


def test_a_counter_that_fails_meanwhile_says_nothing(tmp_path):
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    with Meter(tmp_path).measure() as reading:
        counter.unlink()
    assert reading.joules is None


def test_a_machine_without_counters_says_nothing(tmp_path):
    zone(tmp_path / "damaged", "intel-rapl:0", "package-0", 0).write_text("no number")
    for root in (tmp_path / "missing", tmp_path / "damaged"):
        meter = Meter(root)
        with meter.measure() as reading:
            pass
        assert (meter.parts, reading.joules) == ((), None)


def test_what_went_wrong_inside_is_not_hidden(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0", 0)
    with pytest.raises(KeyError), Meter(tmp_path).measure():
        raise KeyError("inside")


def test_nvidia_devices_are_counted_where_pynvml_is(tmp_path, monkeypatch):
    energies = {0: 5000, 1: 7000}

    class NVMLError(Exception):
        pass

    def energy(device):
        if device == 2:
            raise NVMLError("not supported")
        energies[device] += 1500
        return energies[device]

    fake = types.SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 3,
        nvmlDeviceGetHandleByIndex=lambda i: i,
        nvmlDeviceGetTotalEnergyConsumption=energy,
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    meter = Meter(tmp_path)
    assert meter.parts == ("NVIDIA devices",)
    with meter.measure() as reading:
        pass
    assert reading.joules == pytest.approx(3.0)

    def no_driver():
        raise NVMLError("no driver")

    fake.nvmlInit = no_driver
    assert Meter(tmp_path).parts == ()
