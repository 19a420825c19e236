"""Features whose rows stay in their file until they are needed."""

from __future__ import annotations

import os
import pickle
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import h5py
import numpy as np
import pandas as pd
import pytest

from featx.data.features import Features, check_rows, hdf5_rows, load_features, open_features
from featx.data.features import features as features_module
from featx.data.features import file as file_module
from featx.data.features.stored_rows import StoredRows
from featx.data.string_column import StringColumn
from featx.errors import FeaturesError, InputError

N, DIM = 300, 4
SPACE = {"backbone": {"architecture": "toy"}}
ROWS = np.random.default_rng(0).normal(size=(N, DIM)).astype("f4")


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "f.h5"
    splits = np.array(["train", "test"])[np.arange(N) % 2]
    labels = np.arange(N) % 3
    Features(ROWS, [f"i{i}" for i in range(N)], labels, ("a", "b", "c"), splits, space=SPACE).save(path)
    return path


@pytest.fixture
def lazy(saved):
    return load_features(saved, in_memory=False)


def test_rows_stay_in_the_file_if_asked_or_if_they_are_many(saved, monkeypatch):
    assert isinstance(load_features(saved).embeddings, np.ndarray)
    assert isinstance(load_features(saved, in_memory=False).embeddings, StoredRows)
    monkeypatch.setattr(file_module, "IN_MEMORY", ROWS.nbytes - 1)
    assert isinstance(load_features(saved).embeddings, StoredRows)
    assert isinstance(load_features(saved, in_memory=True).embeddings, np.ndarray)


WHICH = [
    slice(None),
    slice(10, 20),
    slice(20, 10),
    slice(None, None, -7),
    7,
    -1,
    np.int64(3),
    [5, 3, 3, -1],
    np.array([299, 0, 150]),
    np.zeros(0, np.int64),
    np.arange(N) % 3 == 1,
    (slice(None), 2),
    (slice(None), [0, 3]),
    (slice(3, 9), slice(1, 3)),
    (4, 1),
    ([1, 2], [0, 3]),
    ...,
]


@pytest.mark.parametrize("which", WHICH, ids=repr)
@pytest.mark.parametrize("taken", [None, np.random.default_rng(1).permutation(N)], ids=["all", "taken"])
def test_indexing_is_that_of_an_array(lazy, which, taken):
    rows, expected = (lazy.embeddings, ROWS) if taken is None else (lazy.embeddings.take(taken), ROWS[taken])
    found = rows[which]
    assert isinstance(found, np.ndarray | np.generic)
    np.testing.assert_array_equal(found, expected[which])


@pytest.mark.parametrize("which", [N, [0, N], -N - 1, np.zeros(3, bool), [0.5], "i0"])
def test_indices_that_an_array_refuses_are_refused(lazy, which):
    with pytest.raises((IndexError, ValueError)):
        lazy.embeddings[which]


def test_it_behaves_as_an_array(lazy):
    rows = lazy.embeddings
    assert (rows.shape, rows.dtype, rows.ndim, len(rows), rows.nbytes) == (
        *(ROWS.shape, ROWS.dtype, 2, N),
        ROWS.nbytes,
    )
    np.testing.assert_array_equal(np.asarray(rows), ROWS)
    np.testing.assert_array_equal(rows * 2 - 1, ROWS * 2 - 1)
    np.testing.assert_array_equal(1 / rows, 1 / ROWS)
    np.testing.assert_array_equal(rows @ ROWS[0], ROWS @ ROWS[0])
    np.testing.assert_array_equal(rows == ROWS, np.ones_like(ROWS, bool))
    np.testing.assert_array_equal(np.isfinite(rows), np.ones_like(ROWS, bool))
    np.testing.assert_array_equal(rows.mean(axis=0), ROWS.mean(axis=0))
    np.testing.assert_array_equal(rows.T, ROWS.T)
    np.testing.assert_array_equal(rows.astype(np.float64), ROWS.astype(np.float64))
    np.testing.assert_array_equal(np.concatenate([rows, rows]), np.concatenate([ROWS, ROWS]))
    np.testing.assert_array_equal(np.linalg.norm(rows, axis=1), np.linalg.norm(ROWS, axis=1))
    assert "300 rows of 4 values" in repr(rows)
    with pytest.raises(AttributeError):
        _ = rows.not_of_an_array


def test_features_of_a_file_do_all_that_features_do(lazy, saved, tmp_path):
    whole = load_features(saved)
    np.testing.assert_array_equal(lazy[10:20].embeddings, ROWS[10:20])
    np.testing.assert_array_equal(lazy["i7"].embeddings, ROWS[7:8])
    assert isinstance(lazy[10:20].embeddings, np.ndarray)
    again = pickle.loads(pickle.dumps(lazy))
    assert len(pickle.dumps(lazy.embeddings)) < 500
    np.testing.assert_array_equal(again.embeddings, ROWS)
    other = lazy.subset(np.arange(5))
    other.ids = [f"other{i}" for i in range(5)]
    np.testing.assert_array_equal(Features.concat([lazy, other]).embeddings, np.concatenate([ROWS, ROWS[:5]]))
    merged = lazy.merge({"id": list(lazy.ids), "age": np.arange(N) / 2})
    assert isinstance(merged.embeddings, StoredRows)
    assert list(merged.tasks) == ["label", "age"]
    pd.testing.assert_frame_equal(lazy.to_frame(), whole.to_frame())
    assert lazy._repr_html_() == whole._repr_html_()
    assert repr(lazy) == repr(whole)
    lazy.save(tmp_path / "again.h5")
    np.testing.assert_array_equal(load_features(tmp_path / "again.h5").embeddings, ROWS)
    lazy.save(saved)  # onto itself: it reads from the file that was there
    np.testing.assert_array_equal(lazy.embeddings, ROWS)
    np.testing.assert_array_equal(load_features(saved).embeddings, ROWS)


def test_a_large_subset_stays_in_the_file(lazy, monkeypatch):
    monkeypatch.setattr(features_module, "_READ_AT_ONCE", 100 * DIM * 4)
    at = np.arange(N)[::-2]
    found = lazy.subset(at)
    assert isinstance(found.embeddings, StoredRows)
    assert isinstance(found.subset(np.arange(50)).embeddings, np.ndarray)
    np.testing.assert_array_equal(found.embeddings, ROWS[at])
    np.testing.assert_array_equal(found.subset(-1 - np.arange(5)).embeddings, ROWS[at][::-1][:5])
    with pytest.raises(IndexError):
        lazy.subset(np.full(200, N))


def test_a_temporary_file_lives_as_long_as_rows_taken_from_it(saved):
    rows = load_features(saved, in_memory=False).embeddings
    rows.remove_when_unused()
    taken = rows.take(np.arange(9))
    del rows
    np.testing.assert_array_equal(taken.take(np.array([3]))[:], ROWS[3:4])
    assert saved.exists()
    del taken
    assert not saved.exists()


def _mean_of(rows):
    return np.asarray(rows).mean()


def test_another_process_reads_the_same_rows(lazy):
    for method in ("fork", "spawn"):
        with ProcessPoolExecutor(1, mp_context=get_context(method)) as pool:
            assert pool.submit(_mean_of, lazy.embeddings[5:9]).result() == ROWS[5:9].mean()
            assert pool.submit(_mean_of, lazy.embeddings).result() == ROWS.mean()


def test_a_file_that_was_replaced_is_read_on_here_and_refused_elsewhere(lazy, saved):
    sent = pickle.dumps(lazy)
    Features(ROWS + 1, lazy.ids, space=SPACE).save(saved)
    np.testing.assert_array_equal(lazy.embeddings, ROWS)
    with pytest.raises(FeaturesError, match=r"f\.h5: was changed since"):
        pickle.loads(sent)
    os.unlink(saved)
    with pytest.raises(FeaturesError, match="cannot be opened again"):
        pickle.loads(sent)


def test_rows_are_taken_from_a_file_that_was_removed_meanwhile(lazy, saved):
    os.unlink(saved)
    np.testing.assert_array_equal(lazy.embeddings.take(np.array([5, 2]))[:], ROWS[[5, 2]])


def test_damage_is_named_when_rows_are_read(saved, monkeypatch, tmp_path):
    monkeypatch.setattr(hdf5_rows, "_CHUNK_BYTES", 64)
    load_features(saved).save(saved)
    with h5py.File(saved) as file:
        at = file["embeddings"].id.get_chunk_info(20).byte_offset
    data = bytearray(saved.read_bytes())
    data[at + 3] ^= 1
    saved.write_bytes(data)
    found = load_features(saved, in_memory=False)
    np.testing.assert_array_equal(found.embeddings[:80], ROWS[:80])
    with pytest.raises(FeaturesError, match=r"f\.h5: rows 80 to 83 are damaged"):
        found.embeddings[80:84]
    with pytest.raises(FeaturesError, match="damaged"):
        found.save(tmp_path / "copy.h5")
    assert not (tmp_path / "copy.h5").exists()
    with pytest.raises(FeaturesError, match="damaged"):
        load_features(saved)


def test_the_checks_read_the_rows_once(lazy, monkeypatch):
    read = []
    real = StoredRows._read
    monkeypatch.setattr(StoredRows, "_read", lambda self, a, b: read.append(range(a, b)) or real(self, a, b))
    assert check_rows(lazy.embeddings, lazy.ids, "f") == []
    assert sum(map(len, read)) <= N + 1
    for rows, message in ((np.where(ROWS > 2.5, np.nan, ROWS), "not finite"), (np.ones((N, 2)), "the same")):
        with pytest.raises(InputError, match=message):
            check_rows(rows, lazy.ids, "f")
    assert "3 of 300" in check_rows(ROWS * (np.arange(N) % 100 > 0)[:, None], lazy.ids, "f")[0]


def test_opening_many_rows_takes_little_memory(tmp_path):
    n, dim = 70_000, 128
    ids = StringColumn.of(f"class_{i % 100}/image_{i:06d}.jpg" for i in range(n))
    splits = np.array(["train", "test"])[np.arange(n) % 2]
    path = tmp_path / "f.h5"
    rows = np.ones((n, dim), "f4")
    rows[:, 0] = np.arange(n)
    Features(rows, ids, np.arange(n) % 100, splits=splits, space=SPACE).save(path)
    tracemalloc.start()
    found = load_features(path, in_memory=False)
    held, peak = tracemalloc.get_traced_memory()
    part = found[69_000:69_010]
    tracemalloc.stop()
    assert held < 75 * n  # ids: 26 characters and 8; labels: 8; splits: 20
    assert peak < 25e6  # the rows are 36 MB
    assert part.ids[0] == "class_0/image_069000.jpg"
    assert part.embeddings[:, 0].tolist() == list(range(69_000, 69_010))
    with open_features(path) as file:
        assert isinstance(file.ids, StringColumn)
    with pytest.raises(FeaturesError, match="comes twice"):
        Features(rows[:3], StringColumn.of(["a", "b", "a"]))
    with pytest.raises(FeaturesError, match="NUL"):
        Features(rows[:2], StringColumn.of(["a", "b\0"]))
