"""Write features to one HDF5 file, completely or not at all, also on a full disk."""

from __future__ import annotations

import datetime
import errno
import importlib.metadata
import io
import os
import zlib
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

import h5py
import numpy as np

from featx.cache.identity import Space
from featx.data.tasks import LABEL, Task
from featx.durable import replacing, sweep_parts
from featx.errors import OutputError

if TYPE_CHECKING:
    from featx.data.features.features import Features

__all__ = ["FORMAT_VERSION", "encoded", "text_crc", "write_features"]

FORMAT_VERSION = 1

_CHUNK_BYTES = 2**20
_WRITE_BYTES = 16 * 2**20


def encoded(text: str) -> bytes:
    """Return a text as UTF-8; a file name that is not UTF-8 keeps its bytes."""
    return text.encode("utf-8", "surrogateescape")


def text_crc(texts: Sequence[bytes]) -> np.uint32:
    """Return the CRC-32 of texts and their lengths: HDF5's own checksums do not cover text."""
    crc = zlib.crc32(np.array([len(text) for text in texts], dtype="<u8").tobytes())
    return np.uint32(zlib.crc32(b"".join(texts), crc))


def write_features(features: Features, path: str | os.PathLike[str]) -> None:
    """Write features to a file; parameters and errors as for `Features.save`."""
    target = Path(os.path.realpath(Path(path).expanduser()))  # a link stays a link
    try:
        if target.exists() and not target.is_file():
            raise OutputError(f"cannot write {path}: it exists and is not a file")
        if not target.parent.is_dir():
            raise OutputError(f"cannot write {path}: the folder {target.parent} does not exist")
        sweep_parts(target.parent)
        with replacing(target) as file:
            _reserve(file, features.embeddings.nbytes)
            _write(features, file)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def _write(features: Features, file: BinaryIO) -> None:
    sink = _Sink(file)
    try:
        # The format of HDF5 1.10 also has a checksum for the index of the chunks. Without it a flipped byte
        # can mark a chunk as not written yet, and its rows are read as zeros.
        with h5py.File(sink, "w", libver=("v110", "v110")) as out:
            checksummed = _checksummed(len(features.ids))
            out.attrs["format_version"] = np.int64(FORMAT_VERSION)
            out.attrs["featx_version"] = _version()
            space = Space(features.space)
            out.attrs["space"] = space.canonical_json
            out.attrs["space_id"] = np.bytes_(space.id.encode())
            if features.about:
                out.attrs["about"] = Space(features.about).canonical_json
            out.attrs["created"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            _write_embeddings(features.embeddings, out, sink)
            _write_strings(out, "ids", features.ids)
            if features.labels is not None:
                labels = out.create_dataset("labels", data=features.labels, dtype="<i8", **checksummed)
                if features.classes is not None:
                    _write_classes(labels, features.classes)
                if features.label_name != LABEL:
                    _write_name(labels, features.label_name)
            for position, task in enumerate(features.targets.values()):
                _write_target(task, position, out, **checksummed)
            for name, values in (("splits", features.splits), ("groups", features.groups)):
                if values is not None:
                    _write_strings(out, name, values.tolist())
            rows = [(encoded(failure.id), encoded(failure.reason)) for failure in features.failures]
            form = h5py.string_dtype()
            table = np.array(rows, dtype=[("id", form), ("reason", form)])
            out.create_dataset("failures", data=table).attrs["crc32"] = text_crc([*chain.from_iterable(rows)])
    except (OSError, RuntimeError) as error:
        raise sink.error or OutputError(f"HDF5: {error}") from error
    if sink.error is not None:
        raise sink.error
    file.truncate(sink.end)


def _write_embeddings(embeddings: np.ndarray, out: h5py.File, sink: _Sink) -> None:
    n, dim = embeddings.shape
    dtype = embeddings.dtype.newbyteorder("<")
    row_bytes = dim * dtype.itemsize
    chunks = (min(n, max(1, _CHUNK_BYTES // row_bytes)), dim) if n else None
    dataset = out.create_dataset(
        "embeddings", shape=(n, dim), dtype=dtype, chunks=chunks, fletcher32=chunks is not None
    )
    step = (chunks[0] if chunks else 1) * max(1, _WRITE_BYTES // _CHUNK_BYTES)
    for start in range(0, n, step):
        dataset[start : start + step] = embeddings[start : start + step]
        if sink.error is not None:  # such as a full disk
            return


class _Sink(io.RawIOBase):
    """The file object that HDF5 writes into: it keeps the first error and ignores all later writes.

    An error while HDF5 closes a file (such as a full disk) crashes the process. The temporary file is
    discarded after an error anyway.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self.error: OSError | None = None
        self.end = 0

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:  # not the file's end: its space is reserved already
            offset, whence = self.end + offset, os.SEEK_SET
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        if self.error is None:
            try:
                self._file.write(data)
                self.end = max(self.end, self._file.tell())
            except OSError as error:
                self.error = error
        return size

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = self._file.read(len(view)) if self.error is None else b""
        view[: len(data)] = data
        view[len(data) :] = bytes(len(view) - len(data))
        return len(view)

    def flush(self) -> None:
        if self.error is None and not self._file.closed:
            try:
                self._file.flush()
            except OSError as error:
                self.error = error

    def truncate(self, size: int | None = None) -> int:
        self.end = self.tell() if size is None else size
        return self.end


def _reserve(file: BinaryIO, size: int) -> None:
    """Reserve the space on the disk, so that "disk full" comes before any work."""
    if size and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                raise


def _write_strings(out: h5py.File, name: str, values: Sequence[str]) -> None:
    data = [encoded(value) for value in values]
    dataset = out.create_dataset(name, data=np.array(data, dtype=object), dtype=h5py.string_dtype())
    dataset.attrs["crc32"] = text_crc(data)


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
