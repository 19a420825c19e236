"""Cells of Parquet files: the bytes that pyarrow gives, in any order, thread and process, or one error."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from featx import load_dataset
from featx.errors import DatasetError
from featx.places import LocalRanges, PlaceError
from featx.places.columns import ParquetColumn, page_cache, parquet_pages
from featx.places.columns.page_cache import drop_pages
from featx.places.columns.parquet_footer import read_columns
from featx.places.columns.parquet_pages import read_header
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


def test_threads_share_pages_and_a_fork_starts_with_none(tmp_path, monkeypatch, own_process):
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


def headers(path, name=("plain",)):
    """Return where each page of a column begins, and its header with the length of that."""
    chunk = read_columns(LocalRanges(path), [name])[name].chunks[0]
    data, at, found = path.read_bytes(), chunk.start, []
    while at < chunk.start + chunk.length:
        header, length = read_header(data, at)
        found.append((at, length, header))
        at += length + header.packed
    return found


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_the_checksum_of_a_page_is_compared_where_there_is_one(tmp_path, version):
    path = tmp_path / "t.parquet"
    truth = write(
        path, values_of(50), write_page_checksum=True, data_page_version=version, use_dictionary=False,
        compression="none",
    )  # fmt: skip
    assert taken(column(path, ("plain",)), range(50)) == truth
    ((at, length, header),) = headers(path)
    data = bytearray(path.read_bytes())
    data[at + length + header.packed - 1] ^= 1  # in the last value
    path.write_bytes(data)
    with pytest.raises(PlaceError, match="its checksum is wrong"):
        column(path, ("plain",)).value(0)


def test_rows_behind_a_damaged_page_are_not_taken_for_others(tmp_path):
    path = tmp_path / "t.parquet"
    values = [bytes([i]) * 40 for i in range(100)]
    write(path, values, use_dictionary=False, compression="none", data_page_size=100, write_batch_size=10)
    at, _, header = headers(path)[0]
    data = bytearray(path.read_bytes())
    data[at + 4] = 0x7F  # the second byte of the size that it unpacks to
    assert read_header(data, at)[0].unpacked > 8000 > header.unpacked
    path.write_bytes(data)
    cells = column(path, ("plain",))
    for row in (0, 0, 1, 30):
        with pytest.raises(PlaceError, match="a page is larger than all pages"):
            cells.value(row)


@pytest.mark.parametrize("codec", ["snappy", "gzip", "brotli", "zstd", "lz4_raw"])
def test_a_page_that_unpacks_to_fewer_bytes_gives_none_of_the_memory(codec):
    number = {name: code for code, name in parquet_pages._CODECS.items()}[codec]
    content = b"a" * 1000
    packed = pyarrow.compress(content, codec=codec, asbytes=True)
    assert bytes(parquet_pages._unpacked(packed, 1000, number)) == content
    for size in (999, 1001, 5000):
        with pytest.raises((PlaceError, ValueError)):
            parquet_pages._unpacked(packed, size, number)


@pytest.mark.parametrize("width", [1, 3, 8, 17, 31])
def test_groups_of_any_width_are_unpacked_in_pieces(monkeypatch, width):
    monkeypatch.setattr(parquet_pages, "_AT_ONCE", 16)
    numbers = np.random.default_rng(width).integers(0, 2**width, 77)
    bits = (numbers[:, None] >> np.arange(width)) & 1
    data = np.packbits(bits.astype(np.uint8).ravel(), bitorder="little").tobytes()
    data = bytes([10 << 1 | 1]) + data.ljust(10 * width, b"\0")
    np.testing.assert_array_equal(parquet_pages._runs(memoryview(data), width, 77), numbers)


def test_a_run_whose_length_has_no_end_is_damage():
    with pytest.raises(ValueError, match="more than 64 bits"):
        parquet_pages._runs(memoryview(b"\xff" * 10**6), 1, 100)


def test_values_that_do_not_fill_their_page_are_damage(tmp_path):
    data = memoryview(b"\1\0\0\0a\1\0\0\0b")
    assert parquet_pages._plain(data, 2)[0].tolist() == [4, 9]
    with pytest.raises(ValueError, match="more bytes than its values"):
        parquet_pages._plain(data, 1)


def test_a_column_that_claims_other_rows_than_its_file_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "t.parquet"
    write(path, values_of(30))
    true = ParquetColumn.__len__
    monkeypatch.setattr(ParquetColumn, "__len__", lambda self: true(self) + 2**40)
    with pytest.raises(DatasetError, match=r"refused: column image of \d+ rows"):
        load_dataset(path)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("codec", ["snappy", "zstd", "gzip"])
def test_pages_without_any_value_are_read(tmp_path, codec, version):
    path = tmp_path / "t.parquet"
    truth = write(path, [None] * 20 + [b""] * 20, compression=codec, data_page_version=version)
    assert taken(column(path, ("plain",)), range(40)) == truth


class Signed:
    """A file whose name leaves out which object it is, on a server that tells no versions apart."""

    name, is_remote = "https://h/get", False

    def __init__(self, path):
        self.url = f"https://h/get?token={path}"
        self.data = path.read_bytes()
        self.size = len(self.data)

    def read_range(self, start, length):
        return self.data[start : start + length]

    def stat_key(self):
        return None


def test_columns_of_files_with_one_name_are_not_mixed_up(tmp_path):
    for number in range(2):
        write(tmp_path / f"{number}.parquet", [bytes([number]) * 9] * 20)
    for number in (0, 1, 0):
        cells = ParquetColumn(Signed(tmp_path / f"{number}.parquet"), ("plain",))
        assert bytes(cells.value(0)) == bytes([number]) * 9
