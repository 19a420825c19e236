"""Ranges of local files: right bytes, changes noticed, few open files, threads, forks, pickles."""

import multiprocessing
import os
import pickle
import threading

import pytest

from featx.places import LocalRanges, PlaceError, RangeReader
from featx.places.open_files import MOST_OPEN, _open


def test_any_range_of_a_file_is_read(tmp_path):
    (tmp_path / "a").write_bytes(bytes(range(256)))
    ranges = LocalRanges(tmp_path / "a")
    assert isinstance(ranges, RangeReader)
    assert ranges.size == 256
    assert ranges.read_range(3, 4) == bytes([3, 4, 5, 6])
    assert ranges.read_range(256, 0) == b""
    assert ranges.stat_key()[:2] == (str(tmp_path / "a"), 256)


def test_what_cannot_be_read_is_said(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    with pytest.raises(PlaceError, match="ends 2 bytes early"):
        LocalRanges(tmp_path / "a").read_range(1, 4)
    with pytest.raises(PlaceError, match="cannot be read"):
        LocalRanges(tmp_path / "a").read_range(-5, 2)
    with pytest.raises(PlaceError, match="no such file"):
        LocalRanges(tmp_path / "b").read_range(0, 1)
    with pytest.raises(PlaceError, match="is not a regular file"):
        LocalRanges(tmp_path).read_range(0, 1)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PlaceError, match="is not a regular file"):
        LocalRanges(tmp_path / "pipe").read_range(0, 1)


def test_a_file_that_changes_is_noticed_in_this_process_and_another(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    ranges = LocalRanges(path)
    assert ranges.read_range(0, 3) == b"abc"
    sent = pickle.dumps(ranges)
    path.write_bytes(b"abcd")
    for reader in (ranges, pickle.loads(sent)):
        with pytest.raises(PlaceError, match="was changed"):
            reader.read_range(0, 3)
    replaced = tmp_path / "new"
    replaced.write_bytes(b"xyz")
    fresh = LocalRanges(path)
    fresh.read_range(0, 1)
    os.replace(replaced, path)
    with pytest.raises(PlaceError, match="was changed"):
        fresh.read_range(0, 1)


def test_thousands_of_files_leave_few_open(tmp_path):
    readers = []
    for i in range(MOST_OPEN + 50):
        (tmp_path / f"{i}").write_bytes(b"%d" % i)
        readers.append(LocalRanges(tmp_path / f"{i}"))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(2):
        for i, ranges in enumerate(readers):
            assert ranges.read_range(0, len(str(i))) == b"%d" % i
    assert len(_open) <= MOST_OPEN
    assert len(os.listdir("/proc/self/fd")) <= before + MOST_OPEN
    copies = [pickle.loads(pickle.dumps(readers[-1])) for _ in range(100)]
    open_now = len(os.listdir("/proc/self/fd"))
    assert {copy.read_range(0, 1) for copy in copies} == {readers[-1].read_range(0, 1)}
    assert len(os.listdir("/proc/self/fd")) == open_now


def _read_all(readers, failed):
    for _ in range(20):
        for i, ranges in enumerate(readers):
            if ranges.read_range(0, 4) != b"%04d" % i:
                failed.append(i)


def test_threads_share_files_that_are_closed_meanwhile(tmp_path, monkeypatch):
    monkeypatch.setattr("featx.places.open_files.MOST_OPEN", 3)
    readers = []
    for i in range(8):
        (tmp_path / f"{i}").write_bytes(b"%04d" % i)
        readers.append(LocalRanges(tmp_path / f"{i}"))
    failed = []
    threads = [threading.Thread(target=_read_all, args=(readers, failed)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_a_forked_child_reads_the_same(tmp_path, own_process):
    (tmp_path / "a").write_bytes(b"0123456789" * 1000)
    ranges = LocalRanges(tmp_path / "a")
    assert ranges.read_range(5, 5) == b"56789"
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.starmap(ranges.read_range, [(i, 10) for i in range(200)])
    assert found == [(b"0123456789" * 2)[i % 10 : i % 10 + 10] for i in range(200)]
