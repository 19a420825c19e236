"""Rows written in blocks: the same file as `Features.save`, in bounded memory, whole or not at all."""

from __future__ import annotations

import os
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest

from featx.data import Dataset
from featx.data.compact_inputs import CompactInputs, FileBelow
from featx.data.features import (
    Failure,
    Features,
    FeaturesWriter,
    check_target,
    hdf5_rows,
    load_features,
    open_features,
)
from featx.data.string_column import StringColumn
from featx.data.tasks import Task
from featx.errors import FeaturesError, InputError, OutputError

SPACE = {"backbone": {"architecture": "toy"}}
N, DIM = 50, 3


def dataset(n=N, **columns):
    ids = StringColumn.of(f"c{i % 3}/ü{i:03d}.png" for i in range(n))
    known = {
        "labels": np.arange(n) % 3,
        "classes": ("c0", "c1", "c2"),
        "splits": np.array(["train", "test"])[np.arange(n) % 2],
        "groups": np.arange(n) % 7,
        "targets": {"age": Task("age", np.where(np.arange(n) % 5, np.arange(n) / 2, np.nan))},
    }
    return Dataset("d", CompactInputs("image", ids, FileBelow("image", "/d")), **known | columns)


def rows_of(n=N, dim=DIM, dtype="f4"):
    return np.random.default_rng(0).normal(size=(n, dim)).astype(dtype)


def write(path, data, rows, positions, sizes=(1, 7, 2, 11), failures=(), **options):
    with FeaturesWriter(
        path, data, rows.shape[1], rows.dtype, SPACE, {"licence": "MIT"}, **options
    ) as writer:
        start, i = 0, 0
        while start < len(rows):
            stop = start + sizes[i % len(sizes)]
            writer.write(positions[start:stop], rows[start:stop])
            start, i = stop, i + 1
        writer.finish(failures)


def features_of(data, rows, positions, failures=()):
    kept = data.subset(positions)
    return Features(
        rows,
        list(kept.ids),
        labels=kept.labels,
        classes=kept.classes,
        splits=kept.splits,
        groups=kept.groups,
        failures=list(failures),
        space=SPACE,
        about={"licence": "MIT"},
        targets=kept.targets,
    )


def assert_same_content(one, other):
    with h5py.File(one) as a, h5py.File(other) as b:
        names = []
        a.visit(names.append)
        found = []
        b.visit(found.append)
        assert names == found
        for place in ["/", *names]:
            left, right = dict(a[place].attrs), dict(b[place].attrs)
            for key in {*left, *right} - {"created"}:
                np.testing.assert_array_equal(left[key], right[key])
            if isinstance(a[place], h5py.Dataset):
                np.testing.assert_array_equal(a[place][...], b[place][...])
                assert a[place].fletcher32 == b[place].fletcher32 or not a[place].size


@pytest.mark.parametrize("dtype", ["f4", "f2"])
@pytest.mark.parametrize("left_out", [(), (0,), (3, 4, 49), range(N)])
def test_blocks_make_the_file_of_save(tmp_path, monkeypatch, dtype, left_out):
    monkeypatch.setattr(hdf5_rows, "_CHUNK_BYTES", 64)
    monkeypatch.setattr(hdf5_rows, "_WRITE_BYTES", 128)
    data = dataset()
    positions = np.setdiff1d(np.arange(N), left_out)
    rows = rows_of(len(positions), dtype=dtype)
    failures = [Failure(data.ids[i], "gone") for i in left_out]
    write(tmp_path / "blocks.h5", data, rows, positions, failures=failures)
    features_of(data, rows, positions, failures).save(tmp_path / "whole.h5")
    assert_same_content(tmp_path / "blocks.h5", tmp_path / "whole.h5")
    found = load_features(tmp_path / "blocks.h5")
    np.testing.assert_array_equal(found.embeddings, rows)
    assert found.ids == list(data.subset(positions).ids)
    assert found.failures == failures


def test_many_texts_are_stored_with_a_fixed_length_and_read_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5_rows, "MANY", 10)
    data, positions = dataset(), np.arange(N)
    write(tmp_path / "f.h5", data, rows_of(), positions)
    with h5py.File(tmp_path / "f.h5") as file:
        assert file["ids"].dtype == np.dtype("S12")  # ü is two bytes
        assert file["ids"].fletcher32
        assert file["splits"].dtype.kind == "S"
    found = load_features(tmp_path / "f.h5")
    assert found.ids == list(data.ids)
    assert found.splits.tolist() == data.splits.tolist()
    assert found.groups.tolist() == [str(i % 7) for i in range(N)]
    with h5py.File(tmp_path / "f.h5", "r+") as file:
        file["ids"][3] = b"c0/other.png"
    with pytest.raises(FeaturesError, match="crc32"):
        load_features(tmp_path / "f.h5")


def test_few_long_texts_among_many_keep_their_own_lengths(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5_rows, "MANY", 10)
    ids = [*map(str, range(100)), "x" * 10_000]
    features = Features(np.zeros((101, 2), "f4"), ids, space=SPACE)
    features.save(tmp_path / "f.h5")
    with h5py.File(tmp_path / "f.h5") as file:
        assert h5py.check_string_dtype(file["ids"].dtype).length is None
    assert load_features(tmp_path / "f.h5").ids == ids


def test_a_writer_that_is_not_finished_leaves_what_was_there(tmp_path):
    path = tmp_path / "f.h5"
    for ends in (lambda: None, lambda: (_ for _ in ()).throw(KeyboardInterrupt())):
        path.write_bytes(b"old")
        try:
            with FeaturesWriter(path, dataset(), DIM, "float32", SPACE) as writer:
                writer.write(np.arange(5), rows_of(5))
                ends()
        except KeyboardInterrupt:
            pass
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["f.h5"]


@pytest.mark.parametrize(
    ("positions", "message"),
    [([1, 0], "ascend"), ([2, 2], "ascend"), ([N - 1, N], "position 50 of 50"), ([0], "shape")],
)
def test_positions_that_cannot_be_are_refused(tmp_path, positions, message):
    with (
        pytest.raises(FeaturesError, match=message),
        FeaturesWriter(tmp_path / "f.h5", dataset(), DIM, "float32", SPACE) as writer,
    ):
        writer.write(np.array(positions), rows_of(2))
    assert not os.listdir(tmp_path)


def test_a_target_is_checked_without_making_it(tmp_path):
    check_target(tmp_path / "f.h5")
    assert not os.listdir(tmp_path)
    for place in (tmp_path, tmp_path / "none" / "f.h5"):
        with pytest.raises(OutputError, match="cannot write"):
            check_target(place)


def test_rows_and_ids_are_never_all_in_memory(tmp_path):
    n, dim = 80_000, 160
    data = dataset(n, groups=None, targets={})
    block = np.zeros((2000, dim), "f4")
    tracemalloc.start()
    with FeaturesWriter(tmp_path / "f.h5", data, dim, "float32", SPACE) as writer:
        for start in range(0, n, len(block)):
            writer.write(np.arange(start, start + len(block)), block)
        writer.finish()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6  # the rows are 51 MB
    with open_features(tmp_path / "f.h5") as file:
        assert len(file) == n
        assert len(file.ids) == n


@pytest.mark.parametrize("dtype", ["f4", "f2"])
def test_a_parquet_file_has_a_row_for_each_input(tmp_path, monkeypatch, dtype):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("featx.data.features.parquet_rows._GROUP_BYTES", 100)
    data, positions = dataset(), np.setdiff1d(np.arange(N), [4, 17])
    rows = rows_of(len(positions), dtype=dtype)
    write(tmp_path / "f.parquet", data, rows, positions)
    table = parquet.read_table(tmp_path / "f.parquet")
    assert table.column_names == ["id", "label", "age", "split", "group", "embedding"]
    kept = data.subset(positions)
    assert table["id"].to_pylist() == list(kept.ids)
    assert table["label"].to_pylist() == [kept.classes[i] for i in kept.labels]
    assert table["split"].to_pylist() == kept.splits.tolist()
    assert table["group"].to_pylist() == [str(g) for g in kept.groups]
    np.testing.assert_array_equal(table["age"].to_numpy(), kept.targets["age"].values)
    np.testing.assert_array_equal(np.array(table["embedding"].to_pylist(), dtype), rows)
    assert table.schema.field("embedding").type.list_size == DIM
    assert b"toy" in table.schema.metadata[b"featx_space"]
    assert parquet.ParquetFile(tmp_path / "f.parquet").num_row_groups > 2


def test_a_frame_in_several_groups_is_the_frame(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    monkeypatch.setattr("featx.data.features.parquet_rows._GROUP_BYTES", 100)
    found = features_of(dataset(), rows_of(), np.arange(N))
    found.to_parquet(tmp_path / "p.parquet")
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "p.parquet"), found.to_frame(), check_dtype=False
    )


def test_a_parquet_file_is_not_there_until_it_is_whole(tmp_path):
    pytest.importorskip("pyarrow")
    with FeaturesWriter(tmp_path / "f.parquet", dataset(), DIM, "float32", SPACE) as writer:
        writer.write(np.arange(N), rows_of())
    assert not os.listdir(tmp_path)


def test_a_task_named_as_the_column_of_rows_is_refused(tmp_path):
    pytest.importorskip("pyarrow")
    data = dataset(targets={"embedding": Task("embedding", np.arange(N) / 2)})
    with (
        pytest.raises(InputError, match="rename it"),
        FeaturesWriter(tmp_path / "f.parquet", data, DIM, "float32", SPACE),
    ):
        pass
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("dtype", ["f4", "f2"])
def test_a_parquet_file_is_features_again(tmp_path, monkeypatch, dtype):
    pytest.importorskip("pyarrow")
    monkeypatch.setattr("featx.data.features.parquet_rows._GROUP_BYTES", 100)
    codes = np.arange(N) % 4 - 1
    targets = {"age": Task("age", np.where(np.arange(N) % 5, np.arange(N) / 2, np.nan))}
    targets["kind"] = Task("kind", codes, ("z", "y", "x", "not seen"))
    data, rows = dataset(targets=targets), rows_of(dtype=dtype)
    write(tmp_path / "f.parquet", data, rows, np.arange(N))
    write(tmp_path / "f.h5", data, rows, np.arange(N))
    expected = load_features(tmp_path / "f.h5")
    for in_memory in (True, False):
        found = load_features(tmp_path / "f.parquet", in_memory=in_memory)
        assert isinstance(found.embeddings, np.ndarray) == in_memory
        np.testing.assert_array_equal(found.embeddings, rows)
        np.testing.assert_array_equal(found.embeddings[[40, 3, 3]], rows[[40, 3, 3]])
        np.testing.assert_array_equal(found[10:20].embeddings, rows[10:20])
        assert found.ids == list(expected.ids)
        assert found.embeddings.dtype == rows.dtype
        for name in ("labels", "splits", "groups"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        assert (found.classes, found.label_name, found.space, found.about) == (
            *(expected.classes, expected.label_name, expected.space),
            expected.about,
        )
        assert list(found.targets) == ["age", "kind"]
        for name, task in expected.targets.items():
            np.testing.assert_array_equal(found.targets[name].values, task.values)
            assert found.targets[name].classes == task.classes


def test_threads_that_read_different_groups_of_a_parquet_file_get_their_rows(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    monkeypatch.setattr("featx.data.features.parquet_rows._GROUP_BYTES", 100)
    rows = rows_of()
    write(tmp_path / "f.parquet", dataset(), rows, np.arange(N))
    found = load_features(tmp_path / "f.parquet", in_memory=False).embeddings
    read, alone = found._dataset._file.read_row_group, threading.Lock()

    def read_alone(group, **options):
        assert alone.acquire(blocking=False)
        time.sleep(0.001)
        alone.release()
        return read(group, **options)

    monkeypatch.setattr(found._dataset, "_file", SimpleNamespace(read_row_group=read_alone))
    with ThreadPoolExecutor(2) as threads:
        for i, row in enumerate(threads.map(found.__getitem__, [slice(i, i + 1) for i in range(N)])):
            np.testing.assert_array_equal(row, rows[i : i + 1])


def test_a_parquet_file_of_something_else_or_damaged_is_named(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    with pytest.raises(FeaturesError, match=r"none\.parquet: no such file"):
        load_features(tmp_path / "none.parquet")
    parquet.write_table(pyarrow.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(FeaturesError, match=r"other\.parquet: not a features file: .* found a"):
        load_features(tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(FeaturesError, match=r"text\.parquet: damaged"):
        load_features(tmp_path / "text.parquet")
    path = tmp_path / "f.parquet"
    write(path, dataset(), rows_of(), np.arange(N))
    data = bytearray(path.read_bytes())
    at = data.find(rows_of()[5].tobytes())
    assert at > 0
    data[at] ^= 1
    path.write_bytes(data)
    found = load_features(path, in_memory=False)
    with pytest.raises(FeaturesError, match=r"f\.parquet: rows 3 to 6 are damaged"):
        found.embeddings[3:7]
