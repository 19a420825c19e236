"""`ParquetColumn` and `ParquetCell`: encoded images, clips or texts in a column of a Parquet file."""

from __future__ import annotations

import os
import struct
import threading
from bisect import bisect_right
from collections import OrderedDict
from copy import copy
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from featx.durable import read_regular
from featx.errors import reason_of
from featx.forks import fresh_in_child
from featx.places.columns.page_cache import keep_page, kept_page
from featx.places.columns.parquet_footer import Chunk, Column, read_columns
from featx.places.columns.parquet_pages import DATA, DATA_2, DICTIONARY, Page, PageHeader, read_header, unpack
from featx.places.place import PlaceError, RangeReader, StatKey

# Bytes that are read to see the header of a page, and at most: it may state the smallest and largest value.
_HEAD, _LARGEST_HEAD = 2**12, 2**24
# Bytes that are read at a time of a remote file.
_REMOTE_READ = 2**22
# Columns whose pages are known in this process.
_MOST_OPENED = 64
_DAMAGED = (
    IndexError, KeyError, ValueError, TypeError, OverflowError, AttributeError, MemoryError, struct.error,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ParquetCell:
    """The bytes in one row of a column (`Place`)."""

    column: ParquetColumn
    row: int

    @property
    def name(self) -> str:
        """File, row (from 1) and column."""
        return f"{self.column.reader.name}, row {self.row + 1}, column {self.column.path[0]}"

    @property
    def is_remote(self) -> bool:
        """Whether the file lies behind a network."""
        return self.column.reader.is_remote

    @property
    def is_named(self) -> bool:
        """Whether the bytes may be those of a file that the column names, which may be any file."""
        return self.column.files is not None

    def read(self, at_most: int) -> bytes:
        """Return the bytes, or those of the file that stands in their place."""
        return self.column.read(self.row, at_most)

    def stat_key(self) -> StatKey | None:
        """Return the file's, with row group, row and column behind its path; None where a path may count."""
        return self.column.stat_key(self.row)


class ParquetColumn:
    """A column of bytes, or of ``{bytes, path}``, of a Parquet file.

    Parameters
    ----------
    reader : RangeReader
        The file. It is copied before it is read, so that few files are open at a time.
    path : tuple of str
        The column of bytes from the root, such as ``("image", "bytes")``.
    files : tuple of str, optional
        The column of paths, relative to the file's folder, that are read where a row has no bytes.
    state : tuple, optional
        The stat key with which the file was listed; default: that of now.

    Raises
    ------
    PlaceError
        When it is first read: the file is damaged, or the column is no such one.
    """

    __slots__ = ("files", "opened_as", "path", "reader", "state")

    def __init__(
        self,
        reader: RangeReader,
        path: tuple[str, ...],
        files: tuple[str, ...] | None = None,
        state: StatKey | None = None,
    ) -> None:
        self.reader, self.path, self.files = reader, path, files
        self.state = state or reader.stat_key()
        #: What pages are kept by. Of a file whose state cannot be known, another object may see other bytes.
        self.opened_as = self.state or next(_numbers)

    def __reduce__(self) -> tuple[Any, ...]:
        return ParquetColumn, (self.reader, self.path, self.files, self.state)

    def __len__(self) -> int:
        return sum(chunk.rows for chunk in self.chunks)

    def __getitem__(self, row: int) -> ParquetCell:
        return ParquetCell(self, row)

    @property
    def name(self) -> str:
        """The file."""
        return self.reader.name

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """Where its values lie, a chunk for each row group."""
        return _opened(self, self.path).column.chunks

    def value(self, row: int) -> memoryview | None:
        """Return the bytes of a row, of the unpacked page; None without any."""
        return _opened(self, self.path).value(row)

    def read(self, row: int, at_most: int) -> bytes:
        """Return the bytes of a row, or of the file whose path stands in their place."""
        found = self.value(row)
        if found is None and self.files is not None:
            other = _opened(self, self.files).value(row)
            if other is not None:
                return self._read_file(bytes(other), at_most)
        if found is None:
            raise PlaceError("there is no value (null)")
        if len(found) > at_most:
            raise PlaceError(f"{len(found)} bytes, expected at most {at_most}")
        return bytes(found)

    def _read_file(self, path: bytes, at_most: int) -> bytes:
        try:
            named = path.decode()
            if self.reader.is_remote:
                raise PlaceError(f"no bytes, only the path {named!r}, which is not looked for")
            return read_regular(os.path.join(os.path.dirname(self.reader.name), named), at_most=at_most)
        except (OSError, ValueError, MemoryError) as error:
            if isinstance(error, PlaceError):
                raise
            raise PlaceError(f"no bytes, and its path cannot be read ({reason_of(error)})") from error

    def stat_key(self, row: int) -> StatKey | None:
        """Return what names the state of a row; None where its value may be that of another file.

        None, too, where the file has changed since it was listed: what is read may be a page from before.
        """
        key = self.reader.stat_key()
        if key is None or key != self.state:
            return None
        try:
            opened = _opened(self, self.path)
            group, chunk = opened.chunk_of(row)
        except PlaceError:
            return None
        if self.files is not None and chunk.nulls != 0:
            return None
        return f"{key[0]}\0{group}:{row - chunk.first_row}:{'.'.join(self.path)}", *key[1:]

    def __repr__(self) -> str:
        return f"ParquetColumn({self.reader.name!r}, {'.'.join(self.path)!r})"


@dataclass
class _Pages:
    """The pages of a chunk, as far as they were looked for."""

    next: int  # where the next one begins
    rows: int = 0  # of the pages that were found
    first_rows: list[int] = field(default_factory=list)
    found: list[tuple[PageHeader, int]] = field(default_factory=list)  # with the place of its bytes
    dictionary: tuple[PageHeader, int] | None = None


class _OpenedColumn:
    """A column whose chunks are known: one thread unpacks a page, and the others wait for it."""

    def __init__(self, reader: RangeReader, column: Column) -> None:
        self.column = column
        self._number = next(_numbers)
        self._reader = reader
        self._firsts = [chunk.first_row for chunk in column.chunks]
        self._pages: dict[int, _Pages] = {}
        self._lock = threading.Lock()
        self._ahead = 0, b""  # what was read last of a remote file, and where it lies

    def chunk_of(self, row: int) -> tuple[int, Chunk]:
        """Return the chunk of a row, and its number."""
        number = bisect_right(self._firsts, row) - 1
        while number >= 0 and self.column.chunks[number].rows == 0:
            number -= 1
        chunk = self.column.chunks[number] if number >= 0 else None
        if chunk is None or not 0 <= row - chunk.first_row < chunk.rows:
            raise PlaceError(f"the file has no row {row + 1}")
        return number, chunk

    def value(self, row: int) -> memoryview | None:
        """Return the bytes of a row; None without any."""
        number, chunk = self.chunk_of(row)
        at = row - chunk.first_row
        try:
            page, first = self._page(number, chunk, at)
            at -= first
            k = at if page.index is None else int(page.index[at])
            if k < 0:
                return None
            if page.of_dictionary:
                page = self._dictionary(number, chunk)
            starts, stops = page.starts, page.stops
            assert starts is not None
            assert stops is not None
            return page.data[starts[k] : stops[k]]
        except _DAMAGED as error:
            raise PlaceError(
                f"not a readable parquet file (a page is damaged: {reason_of(error)})"
            ) from error

    def _page(self, number: int, chunk: Chunk, at: int) -> tuple[Page, int]:
        """Return the page with row `at` of a chunk, and the first row of it."""
        pages = self._pages.get(number)
        if pages is not None and at < pages.rows:
            which = bisect_right(pages.first_rows, at) - 1
            if (page := kept_page((self._number, number, which))) is not None:
                return page, pages.first_rows[which]
        with self._lock:
            pages = self._pages.setdefault(number, _Pages(chunk.start))
            while pages.rows <= at:
                self._find_page(pages, chunk)
            which = bisect_right(pages.first_rows, at) - 1
            header, start = pages.found[which]
            page = self._unpacked((self._number, number, which), header, start, chunk)
            return page, pages.first_rows[which]

    def _dictionary(self, number: int, chunk: Chunk) -> Page:
        key = self._number, number, -1
        page = kept_page(key)
        if page is None:
            with self._lock:
                header, start = self._pages[number].dictionary or (None, 0)
                if header is None:
                    raise ValueError("it has no dictionary")
                page = self._unpacked(key, header, start, chunk)
        return page

    def _find_page(self, pages: _Pages, chunk: Chunk) -> None:
        """Read the header of the next page."""
        end = chunk.start + chunk.length
        if pages.next >= end:
            raise ValueError(f"{pages.rows} rows, expected {chunk.rows}")
        size = _HEAD
        while True:
            try:
                header, length = read_header(self._read(pages.next, min(size, end - pages.next), end), 0)
                break
            except IndexError:
                if size >= min(end - pages.next, _LARGEST_HEAD):
                    raise
                size *= 16
        start = pages.next + length
        after = start + header.packed
        if after > end or header.unpacked > chunk.unpacked:
            raise ValueError("a page is larger than all pages")
        if header.type == DICTIONARY:
            pages.dictionary = header, start
        elif header.type in (DATA, DATA_2):
            if header.count > chunk.rows - pages.rows:
                raise ValueError("more values than rows")
            if header.count:
                pages.first_rows.append(pages.rows)
                pages.found.append((header, start))
                pages.rows += header.count
        pages.next = after  # not before: behind a damaged page, no row is known

    def _unpacked(self, key: Any, header: PageHeader, start: int, chunk: Chunk) -> Page:
        """Return a page that is kept, or else unpacked now; the caller holds the lock."""
        page = kept_page(key)
        if page is None:
            packed = self._read(start, header.packed, chunk.start + chunk.length)
            page = unpack(header, packed, chunk.codec, self.column.levels)
            keep_page(key, page)
        return page

    def _read(self, start: int, length: int, end: int) -> bytes:
        """Return bytes of the file; of a remote one some more are read, up to `end`, for the next call."""
        if not self._reader.is_remote:
            return self._reader.read_range(start, length)
        first, data = self._ahead
        if not first <= start or start + length > first + len(data):
            first, data = start, self._reader.read_range(start, max(length, min(_REMOTE_READ, end - start)))
            self._ahead = first, data
        return data[start - first : start - first + length]


_lock = fresh_in_child(threading.Lock())
_numbers = count()  # of what was opened in this process
_columns: OrderedDict[Any, _OpenedColumn] = OrderedDict()
#: What a parent had opened: never used in the child, whose locks it may hold, and not ended there either.
_of_parent: list[Any] = []


def _opened(of: ParquetColumn, path: tuple[str, ...]) -> _OpenedColumn:
    """Return a column as this process has opened it."""
    # The name leaves out what is secret in a URL.
    key = getattr(of.reader, "url", of.reader.name), of.opened_as, path
    with _lock:
        if key in _columns:
            _columns.move_to_end(key)
            return _columns[key]
    reader = copy(of.reader)
    columns = read_columns(reader, [path])
    if path not in columns:
        raise PlaceError(f"it has no column {'.'.join(path)} of bytes")
    with _lock:
        opened = _columns.setdefault(key, _OpenedColumn(reader, columns[path]))
        if len(_columns) > _MOST_OPENED:
            _columns.popitem(last=False)
    return opened


def _forget() -> None:
    global _columns
    _of_parent.append(_columns)
    _columns = OrderedDict()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
