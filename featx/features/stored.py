"""Arrays, texts and tasks as they are stored in a features file, believing nothing that they claim."""

from __future__ import annotations

import math
from typing import Any

import h5py
import numpy as np

from featx.errors import FeaturesError, InputError
from featx.features.collection import Failure
from featx.features.writing import encoded, text_crc
from featx.tasks import LABEL, Task

__all__ = [
    "read_failures",
    "read_label_name",
    "read_labels",
    "read_strings",
    "read_targets",
    "stored_dataset",
    "text_attribute",
]

_MOST_CHUNK_BYTES = 64 * 2**20
_TEXTS_AT_ONCE = 4096
_DEFLATE_LIMIT = 1100  # no deflate stream grows more than 1032-fold; more than this is no data


def stored_dataset(file: h5py.File, name: str, shape: tuple[int, ...] | None) -> h5py.Dataset:
    """A dataset whose bytes are all in this file, in the amount that it claims."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):  # a link leads to who knows where
        raise FeaturesError(f"/{name} is missing")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise FeaturesError(f"/{name} is no array")
    if shape is not None and dataset.shape != shape:
        raise FeaturesError(f"/{name} has shape {dataset.shape}: expected {shape}")
    # A virtual dataset whose source is missing reads zeros without an error, an external one
    # depends on a path of some other machine.
    if dataset.is_virtual or dataset.external:
        raise FeaturesError(f"/{name} keeps its values in another file: expected all in one file")
    plist = dataset.id.get_create_plist()
    stored = dataset.id.get_storage_size()
    claimed = int(dataset.dtype.itemsize)
    for length in dataset.shape:
        claimed *= int(length)
    filters = {plist.get_filter(i)[0] for i in range(plist.get_nfilters())}
    compressed = bool(filters - {h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_SHUFFLE})
    growth = _DEFLATE_LIMIT if compressed else 1
    if plist.get_layout() == h5py.h5d.COMPACT:
        stored = claimed
    room = claimed if plist.get_layout() == h5py.h5d.COMPACT else file.id.get_filesize()
    if claimed > stored * growth or stored > room:
        raise FeaturesError(f"/{name} claims {claimed} bytes and the file holds {stored}")
    if dataset.chunks is not None:  # a chunk is read as a whole, however little of it is asked for
        chunk = int(dataset.dtype.itemsize) * math.prod(int(length) for length in dataset.chunks)
        if chunk > max(claimed, _MOST_CHUNK_BYTES):
            raise FeaturesError(f"/{name} has chunks of {chunk} bytes for {claimed} bytes of values")
    return dataset


def _is_text(dtype: np.dtype) -> bool:
    return h5py.check_string_dtype(dtype) is not None


def _decoded(value: Any) -> str:
    return value if isinstance(value, str) else bytes(value).decode("utf-8", "surrogateescape")


def text_attribute(file: h5py.File, name: str) -> str:
    """A text that the file says of itself."""
    attribute = file.attrs.get_id(name)
    if attribute.shape != () or not _is_text(attribute.dtype):
        raise FeaturesError(f"attribute {name} is not a text")
    return _decoded(file.attrs[name])


def read_strings(file: h5py.File, name: str, n: int) -> list[str]:
    """A dataset of `n` texts."""
    dataset = stored_dataset(file, name, (n,))
    if not _is_text(dataset.dtype):
        raise FeaturesError(f"/{name} is of dtype {dataset.dtype}: expected UTF-8 strings")
    texts = _texts(dataset)
    _check_texts(dataset, texts)
    return [_decoded(value) for value in texts]


def _texts(dataset: h5py.Dataset, columns: list[str] | None = None) -> list[Any]:
    """Texts or rows of texts, a few at a time: many may refer to one that is long."""
    values: list[Any] = []
    source = dataset if columns is None else dataset.fields(columns)
    room = dataset.file.id.get_filesize()
    for start in range(0, len(dataset), _TEXTS_AT_ONCE):
        for value in source[start : start + _TEXTS_AT_ONCE].tolist():
            room -= sum(map(len, value)) if isinstance(value, tuple) else len(value)
            if room < 0:
                raise FeaturesError(f"{dataset.name} claims more text than the file is long")
            values.append(value)
    return values


def _check_texts(dataset: h5py.Dataset, texts: list[Any]) -> None:
    stored = dataset.attrs.get("crc32")
    if stored is not None:  # a file that others made has none
        data = [text if isinstance(text, bytes) else encoded(text) for text in texts]
        if stored != text_crc(data):
            raise FeaturesError(
                f"{dataset.name} was changed or is damaged: its texts do not match its attribute crc32 "
                "(if the change is meant, delete that attribute)"
            )


def read_labels(file: h5py.File, n: int) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
    """The labels and the names of their classes, each None where the file has none."""
    if "labels" not in file:
        return None, None
    dataset = stored_dataset(file, "labels", (n,))
    if dataset.dtype.kind not in "iu":
        raise FeaturesError(f"/labels is of dtype {dataset.dtype}: expected integers")
    return dataset[...], _classes(dataset)


def read_label_name(file: h5py.File) -> str:
    """What the labels are called."""
    if "labels" not in file or "name" not in file["labels"].attrs:
        return LABEL
    return _name(file["labels"])


def read_targets(file: h5py.File, n: int) -> dict[str, Task]:
    """Further tasks, in the order in which they were given."""
    if "targets" not in file:
        return {}
    if not isinstance(file.get("targets", getlink=True), h5py.HardLink):
        raise FeaturesError("/targets is a link: expected all in one file")
    group = file["targets"]
    if not isinstance(group, h5py.Group):
        raise FeaturesError("/targets is no group")
    found: list[tuple[int, Task]] = []
    for place in group:
        dataset = stored_dataset(file, f"targets/{place}", (n,))
        if dataset.dtype.kind not in "iuf":
            raise FeaturesError(f"{dataset.name} is of dtype {dataset.dtype}: expected numbers")
        name = _name(dataset) if "name" in dataset.attrs else place
        classes = _classes(dataset)
        if classes is None and dataset.dtype.kind != "f":
            raise FeaturesError(f"{dataset.name} has integers and no attribute classes; numbers are float64")
        if classes is not None and dataset.dtype.kind == "f":
            raise FeaturesError(f"{dataset.name} has classes and is of dtype {dataset.dtype}: not integers")
        position = dataset.attrs.get("position", len(group))
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


def _name(dataset: h5py.Dataset) -> str:
    attribute = dataset.attrs.get_id("name")
    if attribute.shape != () or not _is_text(attribute.dtype):
        raise FeaturesError(f"attribute name of {dataset.name} is not a text")
    return _decoded(dataset.attrs["name"])


def _classes(dataset: h5py.Dataset) -> tuple[str, ...] | None:
    if "classes" not in dataset.attrs:
        return None
    attribute = dataset.attrs.get_id("classes")
    if len(attribute.shape) != 1 or not _is_text(attribute.dtype):
        raise FeaturesError(f"attribute classes of {dataset.name} is not a list of texts")
    names = list(dataset.attrs["classes"])
    _check_texts(dataset, names)
    return tuple(_decoded(value) for value in names)


def read_failures(file: h5py.File) -> list[Failure]:
    """The images that could not be read."""
    if "failures" not in file:
        return []
    dataset = stored_dataset(file, "failures", None)
    names = dataset.dtype.names or ()
    if dataset.ndim != 1 or not {"id", "reason"} <= set(names):
        raise FeaturesError(f"/failures has columns {list(names)}: expected id and reason")
    if not all(_is_text(dataset.dtype[name]) for name in ("id", "reason")):
        raise FeaturesError("/failures: expected UTF-8 strings in id and reason")
    table = _texts(dataset, ["id", "reason"])
    _check_texts(dataset, [text for row in table for text in row])
    return [Failure(_decoded(id), _decoded(reason)) for id, reason in table]
