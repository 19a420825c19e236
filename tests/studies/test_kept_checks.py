"""Data checks are done once for the same data, by any study; a forged or damaged record is not believed."""

from __future__ import annotations

import os

import numpy as np
import pytest

from featx.cache import Cache
from featx.errors import OutputError
from featx.studies import kept_checks
from featx.studies.checkpoints import Checkpoints
from featx.studies.fingerprints import Fingerprints
from featx.studies.kept_checks import CHECKS_FILE, KeptChecks
from featx.studies.output import removed_if_unused
from featx.studies.units import find_copies


@pytest.fixture
def rows():
    found = np.random.default_rng(0).normal(size=(60, 16)).astype(np.float32)
    found[50] = found[40]
    return found


def label_errors(kept, rows, y, seed=0, groups=None, calls=None):
    def search():
        if calls is not None:
            calls.append(1)
        return {
            "predicted": y.astype(np.int32),
            "rows": np.array([3], np.int32),
            "suggested": (y[[3]] + 1) % 2,
            "confidence": np.array([0.9]),
            "self_confidence": np.array([0.1]),
        }

    return kept.find_label_errors(rows, y, (np.arange(40), np.arange(40, 60)), groups, seed, search)


def test_another_process_finds_the_copies_of_the_first(rows, tmp_path, monkeypatch):
    first = find_copies(rows, kept=KeptChecks(tmp_path / "new"))
    assert first.earlier_run is None

    def refused(*args):
        raise AssertionError("searched again")

    monkeypatch.setattr("featx.analysis.data_checks.find_near_duplicates", refused)
    again = find_copies(rows.copy(), kept=KeptChecks(tmp_path / "new"))
    assert again.earlier_run is not None
    assert again.seconds == first.seconds
    for name, value in vars(first.outcome).items():
        np.testing.assert_array_equal(getattr(again.outcome, name), value)
    rows[0, 0] += 1
    with pytest.raises(AssertionError, match="searched again"):
        find_copies(rows, kept=KeptChecks(tmp_path / "new"))


def test_hashes_of_other_pixels_are_another_search(rows, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (60, 3 * 16 * 16)).astype(np.float32)
    for given in (None, Fingerprints("image", pixels), Fingerprints("image", pixels + 1)):
        assert find_copies(rows, fingerprints=given, kept=KeptChecks(tmp_path)).earlier_run is None
    assert find_copies(
        rows, fingerprints=Fingerprints("image", pixels), kept=KeptChecks(tmp_path)
    ).outcome.hashed


def test_label_errors_are_kept_for_labels_groups_and_seed(rows, tmp_path):
    y, calls = np.arange(60) % 2, []
    other = y.copy()
    other[5] = 1 - other[5]
    for options in ({}, {"y": other}, {"seed": 1}, {"groups": np.arange(60) // 2}):
        for _ in range(2):
            found = label_errors(KeptChecks(tmp_path), rows, **{"y": y, **options}, calls=calls)
    assert len(calls) == 4
    assert found.earlier_run is not None
    assert found.outcome["rows"].tolist() == [3]


def test_no_models_are_kept_as_well(rows, tmp_path):
    y, split = np.arange(60) % 2, (np.arange(40), np.arange(40, 60))
    for earlier in (False, True):
        found = KeptChecks(tmp_path).find_label_errors(rows, y, split, None, 0, lambda: None)
        assert found.outcome is None
        assert (found.earlier_run is not None) is earlier


@pytest.mark.parametrize(
    "change",
    [
        {"pairs": np.array([[50, 40]], np.int32)},
        {"pairs": np.array([[40, 60]], np.int32)},
        {"kinds": np.array([1], np.int8)},
        {"kinds": np.array([7], np.int8)},
        {"distances": np.array([np.nan])},
        {"bits": np.array([3], np.int8)},
        {"limits": [0.1, True]},
        {"hash_bits": 100},
        {"hashed": True},
        {"truncated": 0},
        {"seconds": -1.0},
    ],
)
def test_forged_copies_are_searched_for_again(rows, tmp_path, monkeypatch, change):
    honest = Checkpoints.add

    def forge(self, key, found):
        honest(self, key, {**found, **change})
        return found

    monkeypatch.setattr(Checkpoints, "add", forge)
    find_copies(rows, kept=KeptChecks(tmp_path))
    monkeypatch.setattr(Checkpoints, "add", honest)
    found = find_copies(rows, kept=KeptChecks(tmp_path))
    assert found.earlier_run is None
    assert found.outcome.pairs.tolist() == [[40, 50]]


@pytest.mark.parametrize(
    "change",
    [
        {"predicted": np.zeros(59, np.int32)},
        {"predicted": np.full(60, 2, np.int32)},
        {"rows": np.array([60], np.int32)},
        {"suggested": np.array([1])},
        {"confidence": np.array([1.5])},
        {"self_confidence": np.array([np.nan])},
    ],
)
def test_forged_label_errors_are_searched_for_again(rows, tmp_path, monkeypatch, change):
    y, honest = np.arange(60) % 2, Checkpoints.add

    def forge(self, key, found):
        return honest(self, key, {**found, "errors": {**found["errors"], **change}})

    monkeypatch.setattr(Checkpoints, "add", forge)
    label_errors(KeptChecks(tmp_path), rows, y)
    monkeypatch.setattr(Checkpoints, "add", honest)
    assert label_errors(KeptChecks(tmp_path), rows, y).earlier_run is None


def test_a_torn_record_is_made_again(rows, tmp_path):
    find_copies(rows, kept=KeptChecks(tmp_path))
    journal = tmp_path / CHECKS_FILE
    os.truncate(journal, journal.stat().st_size - 20)
    assert find_copies(rows, kept=KeptChecks(tmp_path)).earlier_run is None
    assert find_copies(rows, kept=KeptChecks(tmp_path)).earlier_run is not None


def test_checks_go_on_where_nothing_can_be_kept(rows, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    kept = KeptChecks(tmp_path / "file")
    assert find_copies(rows, kept=kept).outcome.pairs.tolist() == [[40, 50]]
    assert find_copies(rows, kept=kept).earlier_run is None
    (tmp_path / CHECKS_FILE).mkdir()
    assert len(find_copies(rows, kept=KeptChecks(tmp_path)).outcome) == 1

    def full(self, path, text):
        raise OutputError("no space left")

    monkeypatch.setattr(Checkpoints, "_append", full)
    assert len(find_copies(rows, kept=KeptChecks(tmp_path / "new")).outcome) == 1


def test_they_lie_in_the_folder_of_the_cache(rows, tmp_path, monkeypatch):
    for cache, place in ((tmp_path / "a", "a"), (Cache(tmp_path / "b"), "b"), (None, "c")):
        monkeypatch.setenv("FEATX_CACHE", str(tmp_path / "c"))
        find_copies(rows, kept=KeptChecks.beside(cache))
        assert os.listdir(tmp_path / place) == [CHECKS_FILE]
    (tmp_path / "file").write_text("")
    assert len(find_copies(rows, kept=KeptChecks.beside(tmp_path / "file")).outcome) == 1


def test_what_cannot_be_kept_beside_the_cache_is_kept_with_the_results(rows, tmp_path):
    (tmp_path / "cache").write_text("")  # no folder can be made there
    for earlier in (False, True):
        with removed_if_unused(tmp_path / "out"):
            found = find_copies(rows, kept=KeptChecks.beside(tmp_path / "cache"))
        assert (found.earlier_run is not None) is earlier
    assert os.listdir(tmp_path / "out") == [CHECKS_FILE]
    assert find_copies(rows, kept=KeptChecks.beside(tmp_path / "cache")).earlier_run is None


def test_a_cache_that_can_only_be_read_serves_its_checks(rows, tmp_path, monkeypatch):
    y, append = np.arange(60) % 2, Checkpoints._append
    find_copies(rows, kept=KeptChecks(tmp_path / "cache"))

    def refused(self, path, text):
        if path.parent.name == "cache":
            raise OutputError("read only")
        append(self, path, text)

    monkeypatch.setattr(Checkpoints, "_append", refused)
    for earlier in (False, True):
        kept = KeptChecks(tmp_path / "cache", tmp_path / "out")
        assert find_copies(rows, kept=kept).earlier_run is not None
        assert (label_errors(kept, rows, y).earlier_run is not None) is earlier
    assert os.listdir(tmp_path / "out") == [CHECKS_FILE]


def test_another_version_of_the_method_is_another_search(rows, tmp_path, monkeypatch):
    find_copies(rows, kept=KeptChecks(tmp_path))
    monkeypatch.setattr(kept_checks, "_FORMAT", 99)
    assert find_copies(rows, kept=KeptChecks(tmp_path)).earlier_run is None
