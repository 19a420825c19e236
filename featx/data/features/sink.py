"""The file that HDF5 writes into: its space is reserved, and its errors, such as a full disk, are kept."""

from __future__ import annotations

import errno
import io
import os
from typing import Any, BinaryIO


class Sink(io.RawIOBase):
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


def reserve(file: BinaryIO, size: int) -> None:
    """Reserve the space on the disk, so that "disk full" comes before any work."""
    if size and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
