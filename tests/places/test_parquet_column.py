"""Cells of Parquet files: the bytes that pyarrow gives, in any order, thread and process, or one error."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from featx.places import LocalRanges, PlaceError
from featx.places.columns import ParquetColumn, page_cache
from featx.places.columns.page_cache import drop_pages
from featx.places.columns.thrift import read_struct

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

BYTES = ("image", "bytes")
STRUCT = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])


def write(path, values, **options):
    """Write values, with None for those of no row, as a structure and as plain bytes; a row may lack both."""
    rows = [None if i % 17 == 5 else {"bytes": value, "path": f"{i}.jpg"} for i, value in enumerate(values)]
    truth = [row and row["bytes"] for row in rows]
    columns = {"image": pyarrow.array(rows, STRUCT), "plain": pyarrow.array(truth, pyarrow.binary())}
    parquet.write_table(pyarrow.table({**columns, "label": list(range(len(rows)))}), path, **options)
    return truth


def values_of(n, seed=0):
    rng = np.random.default_rng(seed)
    kinds = rng.random(n)
    return [
        None if kind < 0.1 else b"same" if kind < 0.3 else rng.bytes(int(rng.integers(0, 300)))
        for kind in kinds
    ]


def column(path, name=BYTES):
    return ParquetColumn(LocalRanges(path), name)


def taken(cells, rows):
    found = [cells.value(int(row)) for row in rows]
    return [None if value is None else bytes(value) for value in found]


@pytest.mark.parametrize(
    ("codec", "version", "dictionary"),
    list(
        itertools.product(["none", "snappy", "gzip", "zstd", "brotli", "lz4"], ["1.0", "2.0"], [True, False])
    ),
)
def test_every_codec_and_page_gives_what_pyarrow_gives(tmp_path, codec, version, dictionary):
    path = tmp_path / "t.parquet"
    for rows, page in ((100, 500), (700, 2**20)):
        truth = write(
            path,
            values_of(700),
            compression=codec,
            data_page_version=version,
            use_dictionary=dictionary,
            row_group_size=rows,
            data_page_size=page,
            write_batch_size=64,
            dictionary_pagesize_limit=10_000,
        )
        for name in (BYTES, ("plain",)):
            cells = column(path, name)
            assert len(cells) == 700
            assert taken(cells, range(700)) == truth
            shuffled = np.random.default_rng(1).permutation(700)
            assert taken(cells, shuffled) == [truth[i] for i in shuffled]


def test_only_some_pages_are_kept_and_a_row_group_is_never_unpacked_whole(tmp_path, monkeypatch):
    path = tmp_path / "t.parquet"
    values = [np.random.default_rng(i).bytes(10_000) for i in range(1000)]
    truth = write(path, values, use_dictionary=False, data_page_size=50_000, write_batch_size=4)
    monkeypatch.setattr(page_cache, "MOST_BYTES", 200_000)
    drop_pages()
    cells, most = column(path), 0
    assert [(chunk.first_row, chunk.rows) for chunk in cells.chunks] == [(0, 1000)]
    order = np.random.default_rng(0).permutation(1000)
    for row in (*range(1000), *order[:200]):
        assert taken(cells, [row]) == [truth[row]]
        most = max(most, page_cache._total)
    assert most <= 200_000
    assert len(page_cache._pages) > 1
    drop_pages()


def test_threads_share_pages_and_a_fork_starts_with_none(tmp_path, monkeypatch):
    path = tmp_path / "t.parquet"
    truth = write(path, values_of(500), row_group_size=50)
    cells = column(path)
    orders = [np.random.default_rng(i).permutation(500) for i in range(8)]
    drop_pages()
    with ThreadPoolExecutor(8) as pool:
        for order, found in zip(orders, pool.map(lambda order: taken(cells, order), orders), strict=True):
            assert found == [truth[i] for i in order]
    places = [cells[i] for i in range(500) if truth[i] is not None]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map(read, places, chunksize=50)
    assert found == [value for value in truth if value is not None]
    assert len(pickle.dumps(places[0])) < 500


def read(place):
    return place.read(2**20)


def test_a_place_says_what_it_is_and_when_it_has_changed(tmp_path):
    path = tmp_path / "t.parquet"
    write(path, [b"a", b"bc", b"d"], row_group_size=2)
    cell = pickle.loads(pickle.dumps(column(path)[2]))
    assert cell.name == f"{path}, row 3, column image"
    assert not cell.is_remote
    assert cell.read(1) == b"d"
    assert cell.stat_key()[0] == f"{path}\0" + "1:0:image.bytes"
    with pytest.raises(PlaceError, match="2 bytes, expected at most 1"):
        column(path)[1].read(1)
    with pytest.raises(PlaceError, match="the file has no row 4"):
        column(path)[3].read(9)
    with pytest.raises(PlaceError, match="no column other of bytes"):
        column(path, ("other",))[0].read(9)
    held = ParquetColumn(LocalRanges(path), BYTES)
    assert held[0].read(9) == b"a"
    write(path, [b"xyz", b"bc", b"d"])
    # A page from before may be kept; its bytes must not count as those of the new file.
    assert held[0].read(9) == b"a"
    assert held[0].stat_key() is None
    assert cell.stat_key() is None
    drop_pages()
    with pytest.raises(PlaceError, match="was changed"):
        held[0].read(9)
    assert held[0].stat_key() is None


class WithoutState(LocalRanges):
    """As a server that says neither ETag nor time of change."""

    def stat_key(self):
        return None

    def read_range(self, start, length):
        return LocalRanges(self.path).read_range(start, length)


def test_pages_of_a_file_without_a_known_state_are_those_of_one_object_only(tmp_path):
    path = tmp_path / "t.parquet"
    write(path, [b"abc"])
    first = ParquetColumn(WithoutState(path), BYTES)
    assert first[0].read(9) == b"abc"
    write(path, [b"xyz"])
    assert ParquetColumn(WithoutState(path), BYTES)[0].read(9) == b"xyz"
    assert first[0].stat_key() is None


def test_a_path_in_the_place_of_bytes_is_read_and_has_no_stat_key(tmp_path):
    path = tmp_path / "t.parquet"
    rows = [
        {"bytes": None, "path": "0.jpg"},
        {"bytes": b"in", "path": "1.jpg"},
        {"bytes": None, "path": "no"},
    ]
    parquet.write_table(pyarrow.table({"image": pyarrow.array([*rows, None], STRUCT)}), path)
    (tmp_path / "0.jpg").write_bytes(b"beside")
    cells = ParquetColumn(LocalRanges(path), BYTES, ("image", "path"))
    assert [cells[i].read(99) for i in range(2)] == [b"beside", b"in"]
    assert cells[0].stat_key() is None  # the file beside it may change
    with pytest.raises(PlaceError, match="no bytes, and its path cannot be read"):
        cells[2].read(99)
    with pytest.raises(PlaceError, match="there is no value"):
        cells[3].read(99)


def test_damaged_files_end_in_one_error_and_never_in_a_crash(tmp_path):
    path = tmp_path / "t.parquet"
    truth = write(path, values_of(60), row_group_size=20, compression="zstd")
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole)
        at = int(rng.integers(4, len(whole) - 4))
        damaged[at : at + int(rng.integers(1, 9))] = rng.bytes(int(rng.integers(1, 9)))
        path.write_bytes(damaged if rng.random() < 0.8 else whole[:at])
        cells = column(path)
        for row in range(0, 60, 7):
            with contextlib.suppress(PlaceError):
                found = cells.value(row)
                assert found is None or len(found) < 2**20
    path.write_bytes(whole)
    assert taken(column(path), range(60)) == truth


def test_an_encoding_that_is_not_read_is_named(tmp_path):
    path = tmp_path / "t.parquet"
    encoding = {"plain": "DELTA_BYTE_ARRAY"}
    write(path, [b"a", b"ab"], use_dictionary=False, column_encoding=encoding)
    with pytest.raises(PlaceError, match="encoded as DELTA_BYTE_ARRAY, which is not read"):
        column(path, ("plain",)).value(0)


@pytest.mark.parametrize("data", [b"", b"\x15", b"\x19\xff\xff\xff\xff\xff\x7f", b"\x1c" * 100, b"\x1e\x00"])
def test_a_damaged_description_raises(data):
    with pytest.raises((IndexError, ValueError)):
        read_struct(data)
