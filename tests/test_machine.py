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


@pytest.mark.parametrize(
    ("files", "free"),
    [
        (
            {"memory.max": "20000", "memory.current": "9000", "memory.stat": "anon 1\ninactive_file 4000\n"},
            15_000,
        ),
        ({"memory.max": "20000", "memory.current": "9000", "memory.stat": "anon\ninactive_file ?\n"}, 11_000),
        (
            {
                "memory/memory.limit_in_bytes": "20000",
                "memory/memory.usage_in_bytes": "9000",
                "memory/memory.stat": "inactive_file 1\ntotal_inactive_file 2000\n",
            },
            13_000,
        ),
    ],
)
def test_what_is_only_kept_for_files_is_free_in_either_kind_of_container(tmp_path, monkeypatch, files, free):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(machine, "_MEMINFO", tmp_path / "none")
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    assert machine.free_memory() == free


def test_a_limit_of_this_process_counts(monkeypatch, tmp_path):
    resource = pytest.importorskip("resource")
    page = resource.getpagesize()
    (tmp_path / "statm").write_text("100 50 3 4 5 6 7")
    monkeypatch.setattr(machine, "_STATM", tmp_path / "statm")
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (103 * page, resource.RLIM_INFINITY))
    assert machine.free_memory() == 3 * page
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (50 * page, resource.RLIM_INFINITY))
    assert machine.free_memory() == 0
