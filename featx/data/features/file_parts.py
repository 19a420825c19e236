"""Read the parts of a features file: arrays, texts and tasks.

A size that the file claims is compared with the file's own size before anything is read: an array, or all
texts of a column, may unpack to 32 times the file plus 64 MiB; the texts of an attribute to 256 MiB more.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import h5py
import numpy as np

from featx.data.features.features import Failure
from featx.data.features.hdf5_rows import MANY, encoded, text_crc
from featx.data.string_column import StringColumn
from featx.data.tasks import LABEL, Task
from featx.errors import FeaturesError, InputError

__all__ = ["FileParts", "stored_dataset"]

# How far the arrays of a compressed file may grow: embeddings with 95 % zeros shrink to a 15th.
_GROWTH = 32
_SPARE_BYTES = 64 * 2**20
# An attribute is read as a whole, and each of its texts could be the longest of the file: a space of 32 kB,
# the cache's limit, leaves room for 10,000 classes, one of 2 kB for 160,000.
_ATTRIBUTE_BYTES = 256 * 2**20
_TEXTS_AT_ONCE = 4096
_CHECKSUM = 4  # bytes that Fletcher's checksum adds to a chunk
# Filters that compress, and how far each can unpack. Two in a row would multiply, so one is allowed.
_COMPRESSING = {h5py.h5z.FILTER_DEFLATE: 1032, h5py.h5z.FILTER_LZF: 88}
_PLAIN = {h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_SHUFFLE}


def room(file: h5py.File) -> int:
    """Return how many bytes a part of the file may take in memory."""
    return _GROWTH * file.id.get_filesize() + _SPARE_BYTES


def stored_dataset(file: h5py.File, name: str, shape: tuple[int, ...] | None) -> h5py.Dataset:
    """Return a dataset after checking that this file holds as many bytes as it claims."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):  # a link may lead into another file
        raise FeaturesError(f"/{name} is missing")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise FeaturesError(f"/{name} is no array")
    if shape is not None and dataset.shape != shape:
        raise FeaturesError(f"/{name} has shape {dataset.shape}: expected {shape}")
    # A virtual dataset whose source is missing reads as zeros, without an error; an external one needs a
    # path of the machine that wrote it.
    if dataset.is_virtual or dataset.external:
        raise FeaturesError(f"/{name} keeps its values in another file: expected all in one file")
    plist = dataset.id.get_create_plist()
    stored = dataset.id.get_storage_size()
    itemsize = _bytes_in_file(dataset.id.get_type())
    claimed = itemsize * math.prod(map(int, dataset.shape))
    filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    compressing = [filter for filter in filters if filter in _COMPRESSING]
    strange = set(filters) - set(_COMPRESSING) - _PLAIN
    if strange or len(compressing) > 1:
        raise FeaturesError(f"/{name} is filtered by {filters}: expected gzip or lzf, once")
    if plist.get_layout() == h5py.h5d.COMPACT:
        stored = claimed
    size = file.id.get_filesize()
    if stored > size or claimed > (room(file) if compressing else stored) or (claimed and not stored):
        raise FeaturesError(f"/{name} claims {claimed} bytes and the file holds {stored}")
    if dataset.chunks is not None:  # HDF5 always reads a whole chunk
        chunk = itemsize * math.prod(map(int, dataset.chunks))
        if chunk > max(claimed, _SPARE_BYTES):
            raise FeaturesError(f"/{name} has chunks of {chunk} bytes for {claimed} bytes of values")
        if compressing:
            _check_streams(dataset, compressing[0], chunk)
    return dataset


def _bytes_in_file(form: h5py.h5t.TypeID) -> int:
    """Return the bytes of one value in the file; 16 for a text of variable length (length and address)."""
    if isinstance(form, h5py.h5t.TypeCompoundID):
        return sum(_bytes_in_file(form.get_member_type(i)) for i in range(form.get_nmembers()))
    of_any_length = isinstance(form, h5py.h5t.TypeStringID) and form.is_variable_str()
    return 16 if of_any_length or isinstance(form, h5py.h5t.TypeVlenID) else int(form.get_size())


def _check_streams(dataset: h5py.Dataset, filter: int, chunk: int) -> None:
    """Refuse chunks that unpack to more than their size: HDF5 would unpack them to the end."""
    large: list[tuple[int, ...]] = []
    most = room(dataset.file) // _COMPRESSING[filter]
    dataset.id.chunk_iter(lambda info: large.append(info.chunk_offset) if info.size > most else None)
    for offset in large:
        found = 0
        if filter == h5py.h5z.FILTER_DEFLATE:
            stream, data = zlib.decompressobj(), dataset.id.read_direct_chunk(offset)[1]
            while data and found <= chunk + _CHECKSUM:
                found += len(stream.decompress(data, _SPARE_BYTES))
                data = stream.unconsumed_tail
        if found > chunk + _CHECKSUM or filter != h5py.h5z.FILTER_DEFLATE:
            raise FeaturesError(f"{dataset.name} has a chunk that would grow beyond its {chunk} bytes")


def _is_text(dtype: np.dtype) -> bool:
    return h5py.check_string_dtype(dtype) is not None


def _decoded(value: Any) -> str:
    return value if isinstance(value, str) else bytes(value).decode("utf-8", "surrogateescape")


class FileParts:
    """Reads all parts of a features file except its embeddings; `longest` is from `check_heaps`."""

    def __init__(self, file: h5py.File, longest: int) -> None:
        self.file, self._longest = file, longest

    def attribute(self, name: str, of: h5py.HLObject | None = None) -> Any:
        """Return the value of an attribute of the file, or of the part `of`."""
        owner = self.file if of is None else of
        attribute = owner.attrs.get_id(name)
        texts = 1 if attribute.shape is None else math.prod(attribute.shape)
        if attribute.get_storage_size() + texts * self._longest > room(self.file) + _ATTRIBUTE_BYTES:
            raise FeaturesError(f"attribute {name} claims more than the file can hold")
        return owner.attrs[name]

    def text_attribute(self, name: str, of: h5py.HLObject | None = None) -> str:
        """Return a text attribute of the file, or of the part `of`."""
        attribute = (self.file if of is None else of).attrs.get_id(name)
        if attribute.shape != () or not _is_text(attribute.dtype):
            whose = "" if of is None else f" of {of.name}"
            raise FeaturesError(f"attribute {name}{whose} is not a text")
        return _decoded(self.attribute(name, of))

    def read_strings(self, name: str, n: int) -> Sequence[str]:
        """Return a dataset of `n` texts, from `MANY` on as a column."""
        dataset = stored_dataset(self.file, name, (n,))
        if not _is_text(dataset.dtype):
            raise FeaturesError(f"/{name} is of dtype {dataset.dtype}: expected UTF-8 strings")
        if n >= MANY:
            column = StringColumn.of_bytes(self._text_blocks(dataset))
            if "crc32" in dataset.attrs:
                self._check_crc(dataset, text_crc(column))
            return column
        texts = self._texts(dataset)
        self._check_texts(dataset, texts)
        return [_decoded(value) for value in texts]

    def read_names(self, name: str, n: int) -> np.ndarray | None:
        """Return a dataset of `n` short texts as an array, each as wide as the longest; None if absent."""
        if name not in self.file:
            return None
        texts = self.read_strings(name, n)
        if 4 * n * max(map(len, texts), default=0) > room(self.file):
            raise FeaturesError(f"/{name} has a text so long that all {n} do not fit into memory beside it")
        if isinstance(texts, StringColumn):
            found = np.empty(n, f"U{max(1, max(map(len, texts)))}")
            for at in range(0, n, MANY):
                found[at : at + MANY] = list(texts[at : at + MANY])
            return found
        return np.array(texts, dtype=np.str_)

    def _text_blocks(self, dataset: h5py.Dataset) -> Iterator[np.ndarray | list[bytes]]:
        """Yield texts in blocks, as they are stored."""
        if dataset.dtype.kind == "S":
            for start in range(0, len(dataset), MANY):
                yield dataset[start : start + MANY]
            return
        for block in self._blocks(dataset, dataset):
            yield [text if isinstance(text, bytes) else encoded(text) for text in block]

    def _texts(self, dataset: h5py.Dataset, columns: list[str] | None = None) -> list[Any]:
        """Read texts, or rows of texts, in blocks: all may refer to one long text."""
        source = dataset if columns is None else dataset.fields(columns)
        return [value for block in self._blocks(dataset, source) for value in block]

    def _blocks(self, dataset: h5py.Dataset, source: Any) -> Iterator[list[Any]]:
        left = dataset.file.id.get_filesize()
        step = max(1, min(_TEXTS_AT_ONCE, _SPARE_BYTES // max(1, 2 * self._longest)))
        for start in range(0, len(dataset), step):
            values = source[start : start + step].tolist()
            left -= sum(sum(map(len, value)) if isinstance(value, tuple) else len(value) for value in values)
            if left < 0:
                raise FeaturesError(f"{dataset.name} claims more text than the file is long")
            yield values

    def _check_texts(self, dataset: h5py.Dataset, texts: list[Any]) -> None:
        if "crc32" in dataset.attrs:  # files of other programs have none
            data = [text if isinstance(text, bytes) else encoded(text) for text in texts]
            self._check_crc(dataset, text_crc(data))

    def _check_crc(self, dataset: h5py.Dataset, crc: np.uint32) -> None:
        if np.any(self.attribute("crc32", dataset) != crc):
            raise FeaturesError(
                f"{dataset.name} was changed or is damaged: its texts do not match its attribute crc32 "
                "(if the change is meant, delete that attribute)"
            )

    def read_labels(self, n: int) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
        """Return labels and class names, or None for what the file lacks."""
        if "labels" not in self.file:
            return None, None
        dataset = stored_dataset(self.file, "labels", (n,))
        if dataset.dtype.kind not in "iu":
            raise FeaturesError(f"/labels is of dtype {dataset.dtype}: expected integers")
        return dataset[...], self._classes(dataset)

    def read_label_name(self) -> str:
        """Return the name of the labels."""
        if "labels" not in self.file or "name" not in self.file["labels"].attrs:
            return LABEL
        return self.text_attribute("name", self.file["labels"])

    def read_targets(self, n: int) -> dict[str, Task]:
        """Return the further tasks in their original order."""
        if "targets" not in self.file:
            return {}
        if not isinstance(self.file.get("targets", getlink=True), h5py.HardLink):
            raise FeaturesError("/targets is a link: expected all in one file")
        group = self.file["targets"]
        if not isinstance(group, h5py.Group):
            raise FeaturesError("/targets is no group")
        found: list[tuple[int, Task]] = []
        for place in group:
            dataset = stored_dataset(self.file, f"targets/{place}", (n,))
            if dataset.dtype.kind not in "iuf":
                raise FeaturesError(f"{dataset.name} is of dtype {dataset.dtype}: expected numbers")
            name = self.text_attribute("name", dataset) if "name" in dataset.attrs else place
            classes = self._classes(dataset)
            if classes is None and dataset.dtype.kind != "f":
                raise FeaturesError(
                    f"{dataset.name} has integers and no attribute classes; numbers are float64"
                )
            if classes is not None and dataset.dtype.kind == "f":
                raise FeaturesError(
                    f"{dataset.name} has classes and is of dtype {dataset.dtype}: not integers"
                )
            position = self.attribute("position", dataset) if "position" in dataset.attrs else len(group)
            if np.ndim(position) or not isinstance(position, int | np.integer):
                raise FeaturesError(f"{dataset.name}: attribute position is not an integer")
            try:
                found.append((int(position), Task(name, dataset[...], classes)))
            except FeaturesError:
                raise
            except InputError as error:
                raise FeaturesError(f"/targets: {error}") from error
        targets = {task.name: task for _, task in sorted(found, key=lambda entry: entry[0])}
        if len(targets) < len(found):
            raise FeaturesError("/targets: two have the same name")
        return targets

    def _classes(self, dataset: h5py.Dataset) -> tuple[str, ...] | None:
        if "classes" not in dataset.attrs:
            return None
        attribute = dataset.attrs.get_id("classes")
        if len(attribute.shape) != 1 or not _is_text(attribute.dtype):
            raise FeaturesError(f"attribute classes of {dataset.name} is not a list of texts")
        names = list(self.attribute("classes", dataset))
        self._check_texts(dataset, names)
        return tuple(_decoded(value) for value in names)

    def read_failures(self) -> list[Failure]:
        """Return the failures; none if the file lacks them."""
        if "failures" not in self.file:
            return []
        dataset = stored_dataset(self.file, "failures", None)
        names = dataset.dtype.names or ()
        if dataset.ndim != 1 or not {"id", "reason"} <= set(names):
            raise FeaturesError(f"/failures has columns {list(names)}: expected id and reason")
        if not all(_is_text(dataset.dtype[name]) for name in ("id", "reason")):
            raise FeaturesError("/failures: expected UTF-8 strings in id and reason")
        table = self._texts(dataset, ["id", "reason"])
        self._check_texts(dataset, [text for row in table for text in row])
        return [Failure(_decoded(id), _decoded(reason)) for id, reason in table]
