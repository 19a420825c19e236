"""Write rows block after block to one HDF5 file, and then what is known of them."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

import h5py
import numpy as np

from featx.cache.identity import Space
from featx.data.features.sink import Sink, reserve
from featx.data.string_column import StringColumn
from featx.data.tasks import LABEL, Task
from featx.errors import OutputError

if TYPE_CHECKING:
    from featx.data.features.features import Features

__all__ = ["FORMAT_VERSION", "Hdf5Rows", "encoded", "text_crc"]

FORMAT_VERSION = 1

_CHUNK_BYTES = 2**20
_WRITE_BYTES = 16 * 2**20
#: From this many texts on they have a fixed length, if that makes them at most twice as long and 16 bytes:
#: each text of variable length costs 16 bytes and a microsecond to write, and to check before it is read.
MANY = 2**16


def encoded(text: str) -> bytes:
    """Return a text as UTF-8; a file name that is not UTF-8 keeps its bytes."""
    return text.encode("utf-8", "surrogateescape")


def text_crc(texts: Sequence[bytes] | StringColumn) -> np.uint32:
    """Return the CRC-32 of texts and their lengths: HDF5's own checksums do not cover text."""
    if isinstance(texts, StringColumn):
        crc = zlib.crc32(texts.lengths.astype("<u8").tobytes())
        return np.uint32(zlib.crc32(texts.data.data, crc))
    crc = zlib.crc32(np.array([len(text) for text in texts], dtype="<u8").tobytes())
    return np.uint32(zlib.crc32(b"".join(texts), crc))


class Hdf5Rows:
    """A features file that is being written: first all rows, in order and in blocks, then the other parts.

    Parameters
    ----------
    file : file object
        Empty, and open for writing and reading.
    n : int
        The most rows that may come.
    dim : int
    dtype : numpy.dtype
        float32 or float16.
    space, about : mapping
    """

    def __init__(
        self,
        file: BinaryIO,
        n: int,
        dim: int,
        dtype: np.dtype,
        space: Mapping[str, Any],
        about: Mapping[str, Any],
    ) -> None:
        reserve(file, n * dim * dtype.itemsize)
        self._file, self._sink = file, Sink(file)
        self._count = self._filled = 0
        chunk = min(n, max(1, _CHUNK_BYTES // (dim * dtype.itemsize)))
        # Whole chunks are written: a part of one would be read again to be completed.
        self._block = np.empty((max(1, chunk) * (_WRITE_BYTES // _CHUNK_BYTES), dim), dtype)
        with self._errors():
            # The format of HDF5 1.10 also has a checksum for the index of the chunks. Without it a flipped
            # byte can mark a chunk as not written yet, and its rows are read as zeros.
            self._out = h5py.File(self._sink, "w", libver=("v110", "v110"))
            out = self._out
            out.attrs["format_version"] = np.int64(FORMAT_VERSION)
            out.attrs["featx_version"] = _version()
            known = Space(space)
            out.attrs["space"] = known.canonical_json
            out.attrs["space_id"] = np.bytes_(known.id.encode())
            if about:
                out.attrs["about"] = Space(about).canonical_json
            out.attrs["created"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            self._rows = out.create_dataset(
                "embeddings",
                shape=(n, dim),
                dtype=dtype.newbyteorder("<"),
                chunks=(chunk, dim) if n else None,
                fletcher32=bool(n),
            )

    def write(self, rows: np.ndarray) -> None:
        """Append rows (m, dim)."""
        while len(rows):
            space = len(self._block) - self._filled
            if not self._filled and len(rows) >= space:
                self._put(rows[:space])
            else:
                part = rows[:space]
                self._block[self._filled : self._filled + len(part)] = part
                self._filled += len(part)
                if self._filled == len(self._block):
                    self._flush()
            rows = rows[space:]

    def finish(self, parts: Features) -> None:
        """Write the other parts of `parts`, whose embeddings are not looked at, and close the file."""
        self._flush()
        with self._errors():
            out = self._out
            if self._count < len(self._rows):
                self._rows.resize(self._count, axis=0)
            checksummed = _checksummed(self._count)
            _write_strings(out, "ids", parts.ids)
            if parts.labels is not None:
                labels = out.create_dataset("labels", data=parts.labels, dtype="<i8", **checksummed)
                if parts.classes is not None:
                    _write_classes(labels, parts.classes)
                if parts.label_name != LABEL:
                    _write_name(labels, parts.label_name)
            for position, task in enumerate(parts.targets.values()):
                _write_target(task, position, out, **checksummed)
            for name, values in (("splits", parts.splits), ("groups", parts.groups)):
                if values is not None:
                    _write_strings(out, name, StringColumn.of_array(values))
            rows = [(encoded(failure.id), encoded(failure.reason)) for failure in parts.failures]
            form = h5py.string_dtype()
            table = np.array(rows, dtype=[("id", form), ("reason", form)])
            out.create_dataset("failures", data=table).attrs["crc32"] = text_crc([*chain.from_iterable(rows)])
        self.close()
        if self._sink.error is not None:
            raise self._sink.error
        self._file.truncate(self._sink.end)

    def close(self) -> None:
        """Close HDF5's side of the file; what it holds is complete only after `finish`."""
        with self._errors():
            self._out.close()

    def abandon(self) -> None:
        """Close the file without writing more into it."""
        self._sink.error = self._sink.error or OSError("not finished")
        with contextlib.suppress(OSError, RuntimeError):
            self._out.close()

    def _flush(self) -> None:
        rows, self._filled = self._block[: self._filled], 0
        self._put(rows)

    def _put(self, rows: np.ndarray) -> None:
        with self._errors():
            self._rows[self._count : self._count + len(rows)] = rows
        self._count += len(rows)
        if self._sink.error is not None:  # such as a full disk
            raise self._sink.error

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError) as error:
            raise self._sink.error or OutputError(f"HDF5: {error}") from error


def _write_strings(out: h5py.File, name: str, values: Sequence[str]) -> None:
    column = StringColumn.of(values)
    lengths = column.lengths
    n, width = len(column), max(1, int(lengths.max(initial=1)))
    fixed = n >= MANY and width * n <= 2 * int(lengths.sum()) + 16 * n
    if fixed:
        rows = min(n, max(1, _CHUNK_BYTES // width))
        form, options = h5py.string_dtype(length=width), {"chunks": (rows,), "fletcher32": True}
    else:
        form, options = h5py.string_dtype(), {}
    dataset = out.create_dataset(name, shape=(n,), dtype=form, **options)
    at = 0
    for block in column.encoded(MANY):
        dataset[at : at + len(block)] = np.array(block, dtype=form if fixed else object)
        at += len(block)
    dataset.attrs["crc32"] = text_crc(column)


def _write_classes(dataset: h5py.Dataset, classes: Sequence[str]) -> None:
    names = [encoded(name) for name in classes]
    dataset.attrs.create("classes", np.array(names, dtype=object), dtype=h5py.string_dtype())
    dataset.attrs["crc32"] = text_crc(names)


def _write_name(dataset: h5py.Dataset, name: str) -> None:
    # A text of fixed length lies in the object's own header, which has a checksum.
    dataset.attrs["name"] = np.bytes_(encoded(name))


def _write_target(task: Task, position: int, out: h5py.File, **options: Any) -> None:
    form = "<f8" if task.classes is None else "<i8"
    # A slash in a name would make a path, so it is quoted; the attribute holds the name itself.
    place = f"targets/{quote(task.name, safe=' ').replace('.', '%2E')}"
    dataset = out.create_dataset(place, data=task.values, dtype=form, **options)
    dataset.attrs["position"] = np.int64(position)
    _write_name(dataset, task.name)
    if task.classes is not None:
        _write_classes(dataset, task.classes)


def _checksummed(n: int) -> dict[str, Any]:
    """Return the options that make HDF5 keep a checksum of n numbers, and check it on reading."""
    return {"chunks": (min(n, 2**16),), "fletcher32": True} if n else {}


def _version() -> str:
    try:
        return importlib.metadata.version("featx")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"  # run from a source tree that is not installed
