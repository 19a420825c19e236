"""The journal: what was kept is found again, whatever moment the writing was cut off at."""

from __future__ import annotations

import os

import numpy as np
import pytest

from featx.errors import OutputError
from featx.journal import Journal, digest_rows, key_of

AWKWARD = {"metrics": {"a": 0.1 + 0.2, "b": 1 / 3, "c": 5e-324}, "notes": ["née \ud800 \n x"], "none": None}


def test_an_outcome_comes_back_to_the_last_bit(tmp_path):
    p = np.random.default_rng(0).random((3, 2))
    first = Journal(tmp_path / "j")
    kept = first.add("k", AWKWARD | {"p": p, "whole": np.int64(3)})
    found = Journal(tmp_path / "j").get("k")
    for outcome in (kept, found):
        assert {name: outcome[name] for name in AWKWARD} == AWKWARD
        assert outcome["p"].tobytes() == p.tobytes()
        assert outcome["p"].dtype == p.dtype
        assert outcome["whole"] == 3


def test_a_record_cut_off_anywhere_is_passed_over_and_the_next_one_is_whole(tmp_path):
    path = tmp_path / "j"
    Journal(path).add("one", {"x": 1})
    begun = path.stat().st_size
    Journal(path).add("two", {"x": 2})
    whole = path.read_bytes()
    for size in range(begun, len(whole)):
        path.write_bytes(whole[:size])
        journal = Journal(path)
        assert "one" in journal
        # Without its line end alone, a record is still all there.
        assert ("two" in journal) == (size == len(whole) - 1)
        assert journal.damaged == (begun < size < len(whole) - 1)
        journal.add("three", {"x": 3})
        again = Journal(path)
        assert again.get("three") == {"x": 3}
        assert again.get("one") == {"x": 1}


def test_a_flipped_bit_loses_its_own_record_only(tmp_path):
    path = tmp_path / "j"
    journal = Journal(path)
    for name in ("one", "two", "three"):
        journal.add(name, {"x": name})
    lines = path.read_bytes().splitlines(keepends=True)
    for at in range(len(lines[1]) - 1):
        broken = bytearray(lines[1])
        broken[at] ^= 4
        path.write_bytes(lines[0] + broken + lines[2])
        found = Journal(path)
        assert "one" in found
        assert "two" not in found
        assert "three" in found


def test_two_processes_may_write_at_once(tmp_path):
    a, b = Journal(tmp_path / "j"), Journal(tmp_path / "j")
    for i in range(3):
        a.add(f"a{i}", {"x": i})
        b.add(f"b{i}", {"x": i})
    found = Journal(tmp_path / "j")
    assert len(found) == 6
    assert found.damaged == 0


def test_work_is_done_once(tmp_path):
    done = []
    for _ in range(2):
        journal = Journal(tmp_path / "j")
        assert journal.once("k", lambda: done.append(1) or {"x": 1}) == {"x": 1}
    assert done == [1]
    assert (journal.found, journal.added) == (1, 0)


def test_without_a_file_it_remembers_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    journal = Journal()
    journal.add("k", {"x": 1})
    assert journal.get("k") == {"x": 1}
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_used_is_named(tmp_path):
    with pytest.raises(OutputError, match="nowhere"):
        Journal(tmp_path / "nowhere" / "j").add("k", {})
    with pytest.raises(OutputError, match="cannot be read"):
        Journal(tmp_path)


def test_keys_and_digests_tell_contents_apart():
    assert key_of({"a": 1, "b": [2]}) == key_of({"b": [2], "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 1.5})
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    digests = digest_rows(x)
    assert len(set(digests.tolist())) == 3
    assert (digest_rows(x[::-1]) == digests[::-1]).all()
    assert (digest_rows(x.astype(np.float64)) != digests).all()
