"""The writes of a cache replayed with those left out or torn that were not synced."""

from __future__ import annotations

import random
import warnings

import pytest

from faults.actors import BATCH, SPACE, batch, check
from faults.power import PowerCut
from featx.cache import Cache, compaction, snapshot
from featx.cache.header import open_shard

pytestmark = pytest.mark.faults


def recorded(tmp_path, monkeypatch, without=()):
    """Publications, an index, a compaction, and damage that is set aside: everything that writes."""
    root = tmp_path / "cache"
    root.mkdir()
    monkeypatch.setattr(snapshot, "_INDEX_AFTER", 1)
    cut = PowerCut(root)
    with cut.recording(monkeypatch, without=without):
        store = Cache(root).space(SPACE)
        for start in range(0, 20, BATCH):
            store.publish(*batch(start))
            cut.mark(start)
        store.refresh()
        compaction.compact(store)
        for start in range(20, 30, BATCH):
            store.publish(*batch(start))
            cut.mark(start)
        Cache(root).space(SPACE).refresh()
        compaction.compact(store)
        store.publish(*batch(30))
        cut.mark(30)
    assert check(root, set(range(0, 35, BATCH))) == 35
    return cut


def replayed(cut, tmp_path, times, *, warned="error"):
    """Number of replays, and those in which the promise was broken."""
    chance, count, broken = random.Random(0), 0, []
    for moment in range(1, len(cut) + 1):
        for _ in range(times):
            count += 1
            target = tmp_path / f"replay{count}"
            target.mkdir()
            cut.after_cut(moment, chance, target)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter(warned)  # nothing may even look damaged
                    check(target, set(cut.promised(moment)))
            except (AssertionError, KeyError, RuntimeWarning) as error:
                broken.append((moment, error))
    return count, broken


def test_a_power_cut_at_any_moment_loses_nothing_that_was_committed(tmp_path, monkeypatch, thorough, counted):
    cut = recorded(tmp_path, monkeypatch)
    count, broken = replayed(cut, tmp_path, 10 if thorough else 1)
    counted(replays=count, lost=len(broken))
    assert broken == []
    assert count > (800 if thorough else 80)


@pytest.mark.parametrize("without", ["file", "folder"])
def test_with_one_kind_of_sync_taken_out_the_same_test_fails(tmp_path, monkeypatch, without, counted):
    """The control: a test that cannot fail would say nothing."""
    cut = recorded(tmp_path, monkeypatch, without=(without,))
    count, broken = replayed(cut, tmp_path, 3, warned="ignore")
    lost = [error for _, error in broken if "lost: [" in str(error)]
    counted(replays=count, replays_with_a_committed_row_lost=len(lost))
    assert len(lost) > count // 20


def test_a_power_cut_while_damage_is_set_aside_keeps_the_intact_rows(
    tmp_path, monkeypatch, thorough, counted
):
    root = tmp_path / "cache"
    root.mkdir()
    cut = PowerCut(root)
    with cut.recording(monkeypatch):
        store = Cache(root).space(SPACE)
        for start in (0, 5):
            store.publish(*batch(start))
        before = len(cut)
        path = store.shard_paths()[0]
        number = 0 if store._snapshot.index.shards[0].path == path else 5
        torn = bytearray(path.read_bytes())
        at = open_shard(path).embedding_offset + 3
        torn[at] ^= 1  # the first row
        cut._log.append(("write", str(path), at, bytes([torn[at]])))
        cut._log.append(("sync", str(path)))
        path.write_bytes(torn)
        with pytest.warns(RuntimeWarning, match="4 intact rows kept"):
            assert Cache(root).verify().damaged
    chance, count = random.Random(1), 0
    for moment in range(before + 2, len(cut) + 1):
        for _ in range(20 if thorough else 4):
            count += 1
            target = tmp_path / f"replay{count}"
            target.mkdir()
            cut.after_cut(moment, chance, target)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # of the damage that there is
                missing = Cache(target).space(SPACE).read(batch(0)[0] + batch(5)[0])[1]
            assert (~missing).nonzero()[0].tolist() == [number]
    counted(replays=count, lost=0)


def test_a_power_cut_during_a_merge_leaves_whole_shards_and_keeps_what_was_merged(
    tmp_path, monkeypatch, thorough, counted
):
    root, others = tmp_path / "cache", [tmp_path / "one", tmp_path / "two"]
    root.mkdir()
    for start in range(0, 25, BATCH):
        Cache(others[start == 20]).space(SPACE).publish(*batch(start))
    cut = PowerCut(root)
    with cut.recording(monkeypatch):
        Cache(root).merge(others[:1])
        for start in range(0, 20, BATCH):
            cut.mark(start)
        Cache(root).merge(others)
        cut.mark(20)
    assert check(root, set(range(0, 25, BATCH))) == 25
    count, broken = replayed(cut, tmp_path, 10 if thorough else 2)
    assert broken == []
    for replay in range(1, count + 1, count // 10):  # run again, it finishes
        Cache(tmp_path / f"replay{replay}").merge(others)
        assert check(tmp_path / f"replay{replay}", set(range(0, 25, BATCH))) == 25
    counted(replays=count, lost=0)
