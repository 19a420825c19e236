import os
import socket
import subprocess
import sys
import time

import pytest

from featx import durable
from featx.durable import check_regular, make_folder, read_regular, replacing, sweep_parts


def test_the_file_appears_whole_and_nothing_else_stays(tmp_path):
    target = tmp_path / "a.bin"
    with replacing(target) as file:
        file.write(b"12")
        assert not target.exists()
        file.write(b"34")
    assert target.read_bytes() == b"1234"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_an_older_file_is_replaced_only_at_the_end(tmp_path):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    with replacing(target, parts=tmp_path) as file:
        file.write(b"new")
        file.flush()
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError()])
def test_whatever_interrupts_leaves_the_old_file_and_no_part(tmp_path, error):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")

    def write_and_fail():
        with replacing(target) as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)):
        write_and_fail()
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_disk_leaves_no_part(tmp_path, monkeypatch, call):
    def fail(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable.os, call, fail)
    with pytest.raises(OSError, match="No space"), replacing(tmp_path / "a.bin") as file:
        file.write(b"x")
    assert os.listdir(tmp_path) == []


def test_the_order_is_file_then_name_then_folder(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor):
        calls.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    def noted_replace(source, target):
        calls.append("name")
        replace(source, target)

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc to tell which descriptor is synced")
    monkeypatch.setattr(durable.os, "fsync", noted_fsync)
    monkeypatch.setattr(durable.os, "replace", noted_replace)
    with replacing(tmp_path / "a.bin") as file:
        file.write(b"x")
    assert calls == ["file", "name", "folder"]


def test_folders_are_made_with_their_parents_and_a_file_in_the_way_is_named(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError, match="file"):
        make_folder(tmp_path / "file" / "below")


def test_only_old_parts_are_swept(tmp_path):
    old, hidden, young = (f"{k * 32}.host.1.part" for k in ("0", "1", "2"))
    hidden = f".featx-{hidden}"
    foreign = ["mine.part", "old.h5"]
    past = time.time() - 2 * 24 * 3600
    for name in (old, hidden, young, *foreign):
        (tmp_path / name).write_bytes(b"x")
        if name != young:
            os.utime(tmp_path / name, (past, past))
    assert sweep_parts(tmp_path) == 2
    assert sorted(os.listdir(tmp_path)) == sorted([young, *foreign])
    assert sweep_parts(tmp_path / "missing") == 0


def test_what_a_killed_process_of_this_machine_left_is_swept_at_once(tmp_path):
    writer = subprocess.Popen([sys.executable, "-c", ""])
    with replacing(tmp_path / "a", parts=tmp_path):
        (living,) = os.listdir(tmp_path)
        dead = living.replace(f".{os.getpid()}.", f".{writer.pid}.")
        elsewhere = dead.replace(".part", "").rsplit(".", 2)
        elsewhere = f"{elsewhere[0]}.another-host.{elsewhere[2]}.part"
        for name in (dead, elsewhere):
            (tmp_path / name).write_bytes(b"x")
        writer.wait()
        assert sweep_parts(tmp_path) == 1
        assert sorted(os.listdir(tmp_path)) == sorted([living, elsewhere])


def test_what_a_living_process_of_this_machine_writes_is_never_swept_however_young_is_asked_for(tmp_path):
    with replacing(tmp_path / "a", parts=tmp_path) as file:
        file.write(b"x")
        assert sweep_parts(tmp_path, older_than=0) == 0
    assert (tmp_path / "a").read_bytes() == b"x"


def test_folders_that_vanish_are_made_again_for_who_insists(tmp_path):
    target = tmp_path / "space" / "shards" / "a.bin"
    (tmp_path / "parts").mkdir()
    with replacing(target, parts=tmp_path / "parts", insist=True) as file:
        file.write(b"x")
    assert target.read_bytes() == b"x"
    with (
        pytest.raises(FileNotFoundError),
        replacing(tmp_path / "none" / "b", parts=tmp_path / "parts") as file,
    ):
        file.write(b"x")
    assert os.listdir(tmp_path / "parts") == []


def test_a_name_whose_folder_is_removed_right_after_is_no_error_for_who_insists(tmp_path, monkeypatch):
    """It was there, and somebody has cleared it."""
    target = tmp_path / "shards" / "a.bin"
    real = os.replace

    def removed_after(part, name):
        real(part, name)
        os.unlink(name)
        os.rmdir(target.parent)

    monkeypatch.setattr(os, "replace", removed_after)
    with replacing(target, parts=tmp_path, insist=True) as file:
        file.write(b"x")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_an_error_for_who_insists_too(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with (
        pytest.raises(FileNotFoundError),
        replacing(tmp_path / "link" / "a" / "b", parts=tmp_path, insist=True) as file,
    ):
        file.write(b"x")
    assert os.listdir(tmp_path) == ["link"]


def test_a_regular_file_is_read_up_to_a_limit(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_regular(path, at_most=5) == b"12345"
    with pytest.raises(OSError, match="a file of 5 bytes, the limit is 4"):
        read_regular(path, at_most=4)
    assert check_regular(path).st_size == 5
    path.write_bytes(b"")
    assert read_regular(path, at_most=4) == b""


@pytest.mark.skipif(os.name == "nt", reason="there are no such files")
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "device").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        for name, says in (
            ("pipe", "named pipe"),
            ("folder", "Is a directory"),
            ("device", "a device"),
            ("socket", "a socket"),
        ):
            for refuse in (check_regular, lambda path: read_regular(path, at_most=10)):
                with pytest.raises(OSError, match=says):
                    refuse(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none", at_most=10)


@pytest.mark.skipif(os.name == "nt", reason="there are no pipes in folders")
def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(durable, "check_regular", lambda *args, **options: None)
    with pytest.raises(OSError, match="named pipe"):
        read_regular(tmp_path / "pipe", at_most=10)


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="Linux only")
def test_a_file_that_states_no_size_is_empty():
    assert read_regular("/proc/self/maps", at_most=10) == b""


@pytest.mark.parametrize("times", [1, 99])
def test_a_file_that_changes_while_it_is_read_is_read_again_and_refused_if_it_goes_on(
    tmp_path, monkeypatch, times
):
    path = tmp_path / "a"
    path.write_bytes(b"1" * 10)
    stats = iter(range(100))
    real = os.fstat

    def fstat(descriptor):
        seen = real(descriptor)
        n = next(stats)
        if n % 2 == 0 and n // 2 < times:  # between the look before and the one after
            path.write_bytes(b"2" * (5 if n == 0 else 10 + n))
        return seen

    monkeypatch.setattr(os, "fstat", fstat)
    if times == 1:
        assert read_regular(path, at_most=100) == b"2" * 5
    else:
        with pytest.raises(OSError, match="changes while it is read"):
            read_regular(path, at_most=100)
