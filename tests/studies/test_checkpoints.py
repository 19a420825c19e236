"""Checkpoints: what was kept is found again, wherever the writing was cut off."""

from __future__ import annotations

import base64
import json
import os
import tracemalloc
import zlib

import numpy as np
import pytest

from featx.errors import OutputError
from featx.studies.checkpoints import Checkpoints, digest_rows, key_of

AWKWARD = {"metrics": {"a": 0.1 + 0.2, "b": 1 / 3, "c": 5e-324}, "notes": ["née \ud800 \n x"], "none": None}


def test_an_outcome_comes_back_to_the_last_bit(tmp_path):
    p = np.random.default_rng(0).random((3, 2))
    first = Checkpoints(tmp_path / "j")
    kept = first.add("k", AWKWARD | {"p": p, "whole": np.int64(3)})
    found = Checkpoints(tmp_path / "j").get("k")
    for outcome in (kept, found):
        assert {name: outcome[name] for name in AWKWARD} == AWKWARD
        assert outcome["p"].tobytes() == p.tobytes()
        assert outcome["p"].dtype == p.dtype
        assert outcome["whole"] == 3


def test_a_record_cut_off_anywhere_is_passed_over_and_the_next_one_is_whole(tmp_path):
    path = tmp_path / "j"
    Checkpoints(path).add("one", {"x": 1})
    begun = path.stat().st_size
    Checkpoints(path).add("two", {"x": 2})
    whole = path.read_bytes()
    for size in range(begun, len(whole)):
        path.write_bytes(whole[:size])
        checkpoints = Checkpoints(path)
        assert "one" in checkpoints
        # Without its line end alone, a record is still all there.
        assert ("two" in checkpoints) == (size == len(whole) - 1)
        assert checkpoints.damaged == (begun < size < len(whole) - 1)
        checkpoints.add("three", {"x": 3})
        again = Checkpoints(path)
        assert again.get("three") == {"x": 3}
        assert again.get("one") == {"x": 1}


def test_a_flipped_bit_loses_its_own_record_only(tmp_path):
    path = tmp_path / "j"
    checkpoints = Checkpoints(path)
    for name in ("one", "two", "three"):
        checkpoints.add(name, {"x": name})
    lines = path.read_bytes().splitlines(keepends=True)
    for at in range(len(lines[1]) - 1):
        broken = bytearray(lines[1])
        broken[at] ^= 4
        path.write_bytes(lines[0] + broken + lines[2])
        found = Checkpoints(path)
        assert "one" in found
        assert "two" not in found
        assert "three" in found


def test_two_processes_may_write_at_once(tmp_path):
    a, b = Checkpoints(tmp_path / "j"), Checkpoints(tmp_path / "j")
    for i in range(3):
        a.add(f"a{i}", {"x": i})
        b.add(f"b{i}", {"x": i})
    found = Checkpoints(tmp_path / "j")
    assert len(found) == 6
    assert found.damaged == 0


def test_work_is_done_once(tmp_path):
    done = []
    for _ in range(2):
        checkpoints = Checkpoints(tmp_path / "j")
        assert checkpoints.get_or_run("k", lambda: done.append(1) or {"x": 1}) == {"x": 1}
    assert done == [1]
    assert (checkpoints.found, checkpoints.added) == (1, 0)


def test_without_a_file_it_remembers_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoints = Checkpoints()
    checkpoints.add("k", {"x": 1})
    assert checkpoints.get("k") == {"x": 1}
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_used_is_named(tmp_path):
    with pytest.raises(OutputError, match="nowhere"):
        Checkpoints(tmp_path / "nowhere" / "j").add("k", {})
    with pytest.raises(OutputError, match="cannot be read"):
        Checkpoints(tmp_path)


def test_keys_and_digests_tell_contents_apart():
    assert key_of({"a": 1, "b": [2]}) == key_of({"b": [2], "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 1.5})
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    digests = digest_rows(x)
    assert len(set(digests.tolist())) == 3
    assert (digest_rows(x[::-1]) == digests[::-1]).all()
    assert (digest_rows(x.astype(np.float64)) != digests).all()


def line(key: str, text: str, version: str = "2") -> bytes:
    """A record of any content with a correct checksum."""
    covered = f"{key} 2026-01-02T03:04:05+00:00 {text}".encode()
    return f"{version} {zlib.crc32(covered):08x} ".encode() + covered + b"\n"


def packed(raw: bytes, kind: str, shape: object) -> str:
    text = base64.b64encode(zlib.compress(raw)).decode()
    return json.dumps({"p": {"__array__": text, "dtype": kind, "shape": shape}})


STRANGE = {
    "no JSON": "{",
    "not finite nesting": "[" * 100_000,
    "huge number": "1" * 5_000,
    "shape too small": packed(bytes(800), "<f8", [10]),
    "shape too large": packed(bytes(80), "<f8", [100]),
    "shape of terabytes": packed(bytes(80), "<f8", [2**20, 2**20]),
    "shape beyond numbers": packed(bytes(80), "<f8", [10**30]),
    "negative shape": packed(bytes(80), "<f8", [-1, 10]),
    "shape no list": packed(bytes(80), "<f8", "10"),
    "objects": packed(bytes(80), "|O8", [10]),
    "void": packed(bytes(80), "|V8", [10]),
    "no dtype": packed(bytes(80), "spam", [10]),
    "no base64": '{"p": {"__array__": "***", "dtype": "<f8", "shape": [1]}}',
    "array is a number": '{"p": {"__array__": 3, "dtype": "<f8", "shape": [1]}}',
    "keys missing": '{"p": {"__array__": ""}}',
    "null": "null",
}


@pytest.mark.parametrize("what", STRANGE)
def test_a_record_of_any_content_is_damaged_and_no_traceback(tmp_path, what):
    path = tmp_path / "j"
    path.write_bytes(line("k", STRANGE[what]) + line("other", '{"x": 1}'))
    checkpoints = Checkpoints(path)
    assert checkpoints.get_or_run("k", lambda: {"x": 2}) == {"x": 2}
    assert checkpoints.damaged == 1
    assert checkpoints.get("other") == {"x": 1}
    assert Checkpoints(path).get("k") == {"x": 2}


def test_no_more_is_unpacked_than_the_record_may_hold(tmp_path):
    path = tmp_path / "j"
    bomb = packed(bytes(200_000_000), "<f8", [25_000_000])
    assert len(bomb) < 1_000_000
    path.write_bytes(line("k", bomb) + line("lies", bomb.replace("25000000", "2")))
    tracemalloc.start()
    checkpoints = Checkpoints(path)
    assert checkpoints.get("k", most=1_000_000) is None
    assert checkpoints.get("lies", most=1_000_000) is None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000
    assert checkpoints.damaged == 2


def test_what_is_not_what_was_asked_for_is_said_once_and_computed_again(tmp_path):
    path = tmp_path / "j"
    Checkpoints(path).add("k", {"x": "forged"})
    checkpoints = Checkpoints(path)
    for _ in range(2):
        assert checkpoints.get_or_run("k", lambda: {"x": 1}, lambda kept: kept["x"] == 1) == {"x": 1}
    assert checkpoints.damaged == 1
    (said,) = checkpoints.notes([checkpoints.made("k")], "methods")
    assert "damaged" in said
    assert checkpoints.notes([checkpoints.made("k")], "methods") == []


def test_what_an_earlier_run_computed_is_told_by_its_time(tmp_path, monkeypatch):
    path = tmp_path / "out" / "j"
    path.parent.mkdir()
    path.write_bytes(line("old", '{"x": 1}'))
    checkpoints = Checkpoints(path)
    assert checkpoints.notes([None], "methods") == []
    checkpoints.add("new", {"x": 2})
    made = [checkpoints.made(key) for key in ("old", "new")]
    assert made == ["2026-01-02T03:04:05+00:00", None]
    monkeypatch.chdir(tmp_path)
    assert checkpoints.notes(made, "methods") == [
        f"1 of 2 methods were taken from an earlier run in out{os.sep} (2026-01-02); delete "
        f"out{os.sep}j to compute them again"
    ]
    assert Checkpoints().notes(made, "methods") == []


def test_records_of_another_format_are_not_found(tmp_path):
    path = tmp_path / "j"
    path.write_bytes(line("k", '{"x": 1}', version="1") + line("k", '{"x": 1}', version="3"))
    checkpoints = Checkpoints(path)
    assert checkpoints.get("k") is None
    assert checkpoints.damaged == 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "j")
    with pytest.raises(OutputError, match="not a regular file"):
        Checkpoints(tmp_path / "j")
