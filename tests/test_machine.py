"""What the machine can do."""

import pytest

from featx import machine


def test_this_machine_has_cores_and_a_name():
    assert machine.cores() >= 1
    assert machine.cpu_name()
    assert isinstance(machine.cpu_has_bf16(), bool)


@pytest.mark.parametrize(
    ("meminfo", "limit", "used", "free"),
    [
        ("MemTotal: 100 kB\nMemAvailable:    50 kB\n", None, None, 51_200),
        ("MemAvailable: 50 kB\n", "max", "9000", 51_200),
        ("MemAvailable: 50 kB\n", "20000", "9000", 11_000),
        ("MemAvailable: 50 kB\n", "20000", "29000", 0),
        ("MemAvailable: 50 kB\n", "200000", "9000", 51_200),
        ("", "20000", "9000", 11_000),
        ("MemAvailable: ?\n", None, None, None),
        (None, None, None, None),
    ],
)
def test_free_memory_is_what_system_and_container_leave(tmp_path, monkeypatch, meminfo, limit, used, free):
    for name, text in (("meminfo", meminfo), ("memory.max", limit), ("memory.current", used)):
        if text is not None:
            (tmp_path / name).write_text(text)
    monkeypatch.setattr(machine, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    assert machine.free_memory() == free
