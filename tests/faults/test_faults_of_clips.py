"""Kills, power cuts and a full disk while the rows of clips are computed: nothing committed is lost."""

from __future__ import annotations

import errno
import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import featx
from faults.children import in_fork
from faults.power import PowerCut
from faults.test_disk_errors import Faults
from featx.cache import Cache
from featx.errors import CacheError
from featx.extraction import embed, network_embedder, pipeline
from featx.inputs.audio import FileClip, SampledClip
from featx.options import Run

pytest.importorskip("kaldi_native_fbank")
soundfile = pytest.importorskip("soundfile")

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork"),
]

RATE, COUNT = 8000, 24


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Files of 0.2 to 3 s, of one to six windows."""
    folder, rng = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    made = []
    for number, seconds in enumerate(rng.uniform(0.2, 3, COUNT)):
        path = folder / f"{number}.wav"
        soundfile.write(path, rng.uniform(-1, 1, round(seconds * RATE)), RATE)
        made.append(FileClip(path.name, str(path)))
    return made


@pytest.fixture(scope="module")
def embedder():
    """Filter banks in windows of half a second, by an engine that is compared with plain fp32."""
    backbone = featx.load_backbone("kaldi:fbank", window=0.5, join="concat:2")
    return network_embedder(backbone, Run(engine="torch", precision="fp32"))


@pytest.fixture(scope="module")
def expected(clips, embedder, tmp_path_factory):
    return embed(clips, embedder, cache=tmp_path_factory.mktemp("alone")).embeddings


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Make parts of a few windows, and a commit for each."""
    monkeypatch.setattr(pipeline, "PART_BYTES", 50_000)
    monkeypatch.setattr("featx.extraction.commit_buffer.COMMIT_BYTES", 1)


def assert_same(rows, expected):
    """Equal but for the order in which a sum over a longer or shorter batch is made."""
    np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-5)


def committed(root, clips, embedder, expected) -> int:
    """Number of rows in the cache; all of them are right."""
    digests = [clip.read().digest for clip in clips]
    rows, found = Cache(root).space(embedder.space, dim=embedder.dim).read(digests)
    assert_same(rows[found], expected[found])
    return int(found.sum())


def test_a_killed_extraction_of_clips_keeps_its_commits_and_the_next_one_goes_on(
    clips, embedder, expected, tmp_path, thorough, counted
):
    chance, kills, kept = random.Random(0), 0, 0
    for number in range(40 if thorough else 3):
        root = tmp_path / str(number)
        before = there = 0
        for _ in range(3):
            child = os.fork()
            if child == 0:
                try:
                    embed(clips, embedder, cache=root, n_jobs=1 + number % 2)
                    os._exit(0)
                except BaseException:
                    sys.excepthook(*sys.exc_info())
                finally:
                    os._exit(1)
            shards = time.monotonic() + 60
            while (
                time.monotonic() < shards
                and before == _files(root)
                and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
            ):
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.01))
            os.kill(child, signal.SIGKILL)
            kills += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
            there, earlier = committed(root, clips, embedder, expected), there
            assert there >= earlier
            before = _files(root)
        left = committed(root, clips, embedder, expected)
        kept += left
        again = embed(clips, embedder, cache=root)
        assert again.computed == COUNT - left
        assert_same(again.embeddings, expected)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert Cache(root).verify().damaged == []
    counted(kills=kills, rows_kept=kept, lost=0)
    assert kept


def _files(root: Path) -> int:
    return sum(path.name.endswith(".h5") for path in root.rglob("*")) if root.exists() else 0


def test_a_power_cut_while_clips_are_computed_loses_no_row_that_was_committed(
    clips, embedder, expected, tmp_path, monkeypatch, thorough, counted
):
    root = tmp_path / "cache"
    root.mkdir()
    cut = PowerCut(root)
    with cut.recording(monkeypatch):
        for stop in range(4, COUNT + 1, 4):
            embed(clips[:stop], embedder, cache=root, n_jobs=1)
            cut.mark(stop)
    chance, count = random.Random(0), 0
    for moment in range(1, len(cut) + 1, 1 if thorough else 9):
        count += 1
        target = tmp_path / f"replay{count}"
        target.mkdir()
        cut.after_cut(moment, chance, target)
        promised = max(cut.promised(moment), default=0)
        rows, found = (
            Cache(target).space(embedder.space, dim=embedder.dim).read([clip.read().digest for clip in clips])
        )
        assert found[:promised].all()
        assert_same(rows[found], expected[found])
    counted(replays=count, lost=0)
    assert count > 10


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_full_disk_is_one_line_and_the_next_run_computes_what_is_missing(
    clips, embedder, expected, tmp_path, monkeypatch, code, thorough, counted
):
    errors = 0
    for number in range(1, 400, 1 if thorough else 17):
        root = tmp_path / str(number)
        faults = Faults(root, monkeypatch)
        faults.arm(number, code)
        with faults.installed():
            try:
                said = None
                rows = embed(clips, embedder, cache=root, n_jobs=2).embeddings
            except CacheError as error:
                said = str(error)
        if said is None:
            assert_same(rows, expected)
        else:
            assert os.strerror(code) in said
            assert "\n" not in said
            errors += 1
        if faults.hit is None:
            break
        left = committed(root, clips, embedder, expected)
        again = embed(clips, embedder, cache=root)
        assert again.computed == COUNT - left
        assert_same(again.embeddings, expected)
    else:
        pytest.fail("never came to an end")
    counted(errors=errors, lost=0)
    assert errors


def rows_of(root, embedder):
    rng = np.random.default_rng(3)
    sounds = [rng.uniform(-1, 1, 800 * n).astype(np.float32) for n in (3, 9, 1, 20)]
    clips = [SampledClip(str(i), sound, RATE) for i, sound in enumerate(sounds)]
    return embed(clips, embedder, cache=root, n_jobs=2).embeddings


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_a_forked_child_computes_the_same_rows(tmp_path, engine):
    if engine == "openvino":
        pytest.importorskip("openvino")
    backbone = featx.load_backbone("kaldi:fbank", window=0.5)
    chosen = network_embedder(backbone, Run(engine=engine, precision="fp32"))
    rows_of.expected = rows_of(tmp_path / "parent", chosen)
    assert in_fork(rows_of, tmp_path / "child", chosen)
