"""Read the samples of a WebDataset: members of a tar that share a key, such as 0001.jpg and 0001.cls."""

from __future__ import annotations

import functools
import json
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from featx.data.dataset import Dataset, quote_names
from featx.data.labels import is_missing, same_form
from featx.data.read_report import LeftOut, ReadReport
from featx.data.readers.columns import join_columns
from featx.data.readers.folders.listing import ERRORS, MANY_MORE, kind_of_name
from featx.data.readers.folders.tree import inputs_in
from featx.data.readers.known_columns import SHARED_KEYS
from featx.data.readers.tabular import Table, Wanted
from featx.data.tasks import LABEL
from featx.errors import DatasetError, UnknownName
from featx.kinds import KINDS, count_of
from featx.places.archives import Entry

# Fields of key.json that are the label, the first that there is; and those that divide the samples.
_LABEL_FIELDS = ("label", "cls", "class")
_DIVIDING = ("split", "group", *SHARED_KEYS)
#: What holds the class, the caption and the fields of a sample.
_CLASS, _TEXT, _FIELDS = "cls", "txt", "json"
# Bytes of the largest of these that are read while the members are listed.
_MOST_CLASS, _MOST_FIELDS = 2**10, 2**22


class Samples:
    """The samples in shards: which member is the input of each, and its labels; filled by `visit`.

    Members of one key must be visited together, as every WebDataset has them; see `are_scattered`.

    Parameters
    ----------
    wanted : Wanted
        The labels, targets and groups asked for: fields of key.json, or ``cls`` or ``txt``.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._names = [*wanted.labels, *wanted.targets, *([wanted.group] if wanted.group else [])]
        self._fields = {*self._names, *_LABEL_FIELDS, *_DIVIDING}
        self.inputs = {kind: array("q") for kind in KINDS}  # the member of each sample; -1 without one
        self.columns: dict[str, list[Any]] = {}  # of values; a column ends with its last one
        self.found: set[str] = set()  # fields of the first key.json, for messages
        self.broken: list[tuple[str, str]] = []  # files key.json that cannot be read, and why
        self.others: Counter[str] = Counter()  # members that are neither, by suffix
        self.first_other = ""
        self.several = 0  # samples with several inputs of a kind
        self.folders: set[bytes] = set()  # two of them at most
        self.companions = 0  # samples with a text or fields beside their input
        self._alone = 0  # labels and fields without an input beside them
        self._key: bytes | None = None
        self._base = 0
        self._begin(b"")

    def begin_shard(self, base: int) -> None:
        """Go on with a shard, whose members have the numbers from `base`."""
        self.end()
        self._base = base

    def visit(self, number: int, name: bytes, length: int, read: Callable[[], bytes]) -> None:
        """Take a member (`featx.places.archives.index.Visitor`)."""
        folder, slash, file = name.rpartition(b"/")
        stem, _, suffix = file.partition(b".")
        if not stem or (b"/." in name or b"__MACOSX" in name) or name.startswith(b"."):
            return
        key = folder + slash + stem
        if key != self._key:
            self.end()
            self._begin(key)
            if len(self.folders) < 2:
                self.folders.add(folder)
        kind, last = _role_of(suffix)
        if kind is not None:
            before = self._members[kind]
            # key.jpg comes before key.mask.png.
            if before >= 0:
                self.several += 1
            if before < 0 or (self._compound[kind] and b"." not in suffix):
                self._members[kind], self._compound[kind] = self._base + number, b"." in suffix
            if kind == "text" and _TEXT in self._names and length <= _MOST_FIELDS:
                self._values[_TEXT] = read().decode("utf-8-sig", "replace").strip()
        elif last == _CLASS and length <= _MOST_CLASS:
            self._values[_CLASS] = read().decode("utf-8-sig", "replace").strip()
        elif last == _FIELDS and length <= _MOST_FIELDS:
            self._has_fields = True
            self._read_fields(name, read())
        else:
            self.others[f".{last}" if last else ""] += 1
            self.first_other = self.first_other or name.decode("utf-8", "backslashreplace")

    def end(self) -> None:
        """Note the sample whose last member was visited."""
        if self._key is None:
            return
        if max(self._members.values()) < 0:
            self._alone += bool(self._values)
            self._key = None
            return
        at = len(self)
        for kind, member in self._members.items():
            self.inputs[kind].append(member)
        media = max(self._members["image"], self._members["clip"]) >= 0
        self.companions += self._has_fields or (media and self._members["text"] >= 0)
        for name, value in self._values.items():
            column = self.columns.setdefault(name, [])
            column += [None] * (at - len(column))
            # A million samples have few classes: one string for each.
            column.append(sys.intern(value) if type(value) is str and len(value) < 100 else value)
        self._key = None

    def __len__(self) -> int:
        return len(self.inputs["image"])

    @property
    def are_scattered(self) -> bool:
        """Whether most labels do not lie beside their input, as where tar packs files in any order."""
        return 2 * self._alone > len(self)

    def count(self, name: str) -> int:
        """Return how many samples have a value in a column."""
        return sum(not is_missing(value) for value in self.columns.get(name, ()))

    def column(self, name: str, rows: np.ndarray) -> list[Any]:
        """Return the values of some samples."""
        values = self.columns[name]
        return [values[i] if i < len(values) else None for i in rows.tolist()]

    def _begin(self, key: bytes) -> None:
        self._key = key or None
        self._members = dict.fromkeys(KINDS, -1)
        self._compound = dict.fromkeys(KINDS, False)
        self._values: dict[str, Any] = {}
        self._has_fields = False

    def _read_fields(self, name: bytes, data: bytes) -> None:
        try:
            fields = json.loads(data)
        except (ValueError, RecursionError) as error:
            self.broken.append((name.decode("utf-8", "backslashreplace"), f"not JSON ({error})"))
            return
        if not isinstance(fields, dict):
            return
        if len(self) < 100:
            self.found.update(map(str, fields))
        for field in self._fields & {same_form(field) for field in fields}:
            # The class of key.cls counts more than a field of that name.
            if fields.get(field) is not None and not (field == _CLASS and _CLASS in self._values):
                self._values[field] = fields[field]


@functools.cache
def _role_of(suffix: bytes) -> tuple[str | None, str]:
    """Return the kind of input that a member with this suffix is, or None, and the last part of it."""
    last = suffix.decode("utf-8", "replace").rpartition(".")[2].lower()
    return kind_of_name(f"x.{last}"), last


def label_field(samples: Samples, wanted: Wanted, place: str) -> str | None:
    """Return the column of labels if the samples are those of a WebDataset; None if they are plain files.

    ``""`` without labels. They are, if more than half have a class (key.cls, or a field of key.json), or what
    was asked for; or if they lie in one folder and more than half have a text or fields beside their input.

    `DatasetError` where a column was asked for that no sample has.
    """
    n = len(samples)
    asked = [*wanted.labels, *wanted.targets, *([same_form(wanted.group)] if wanted.group else [])]
    if asked and (samples.found or samples.count(_CLASS) or samples.count(_TEXT)):
        known = sorted(samples.found | ({_CLASS} if samples.count(_CLASS) else set()))
        for name in asked:
            if not samples.count(name):
                raise DatasetError(
                    f"{place}: {UnknownName('field', name, known)} (fields of key.json, cls, txt)"
                )
        if wanted.labels or wanted.targets:
            return asked[0]
    labels = (name for name in (_CLASS, *_LABEL_FIELDS) if 2 * samples.count(name) > n)
    found = next(labels, None)
    if found is not None:
        return found
    return "" if len(samples.folders) < 2 and 2 * samples.companions > n else None


def read_samples(
    place: str,
    name: str,
    samples: Samples,
    entries: Sequence[Entry],
    ids: Sequence[str],
    label: str,
    wanted: Wanted,
    *,
    shard_splits: Sequence[str] | None,
    failures: Sequence[tuple[str, str]],
    on_error: str,
    labelled: bool,
) -> Dataset:
    """Make the dataset of samples.

    Parameters
    ----------
    place, name : str
        What messages call the shards, and the name of the dataset.
    samples : Samples
    entries, ids : sequence
        The members of all shards, and what a sample with that input is called.
    label : str
        From `label_field`.
    wanted : Wanted
    shard_splits : sequence of str, optional
        The split of each member, by the name of its shard.
    failures : sequence of (str, str)
        What could not be listed, and why.
    on_error, labelled
        As for `read_folder`.
    """
    kind = _kind(samples, place)
    members = np.frombuffer(samples.inputs[kind], np.int64)
    rows = np.flatnonzero(members >= 0)
    numbers = members[rows]
    asked = [*wanted.labels, *wanted.targets]
    columns = {name: samples.column(name, rows) for name in samples.columns}
    notes = [_note(samples, kind, label, len(rows))]
    if label and not asked and label != LABEL:
        columns[LABEL] = columns.pop(label)
    if "split" in columns and any(map(is_missing, columns["split"])):
        del columns["split"]
    origin = ""
    if "split" not in columns and shard_splits is not None and wanted.split_by not in ("group", "none"):
        columns["split"] = [shard_splits[i] for i in numbers.tolist()]
        origin = "the names of the shards"
    if "group" in columns and wanted.group is None and any(map(is_missing, columns["group"])):
        del columns["group"]
    failed = [*failures]
    if label not in ("", _CLASS, _TEXT):
        failed += samples.broken
    if failed and on_error == "raise":
        raise DatasetError(f"{place}: {': '.join(filter(None, failed[0]))}")
    found = [*samples.found, *([_CLASS] if _CLASS in samples.columns else [])]
    # Ids are made when they are needed, for a message.
    table = Table(place, "", _Named(ids, numbers), columns, found)
    reading = ReadReport(
        splits_from=origin,
        left_out=LeftOut(dict(samples.others), first={"": samples.first_other}, kind=kind),
        failures=tuple(ERRORS[kind](id or place, why) for id, why in failed),
        notes=tuple(notes),
    )
    inputs = inputs_in(kind, entries, numbers, ids)
    return join_columns(table, name, inputs, reading, labelled=labelled, wanted=wanted)


class _Named(Sequence[str]):
    """The ids of some members."""

    def __init__(self, ids: Sequence[str], numbers: np.ndarray) -> None:
        self._ids, self._numbers = ids, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, i: Any) -> Any:
        return self._ids[int(self._numbers[i])]

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))


def _kind(samples: Samples, place: str) -> str:
    """Return the kind of the inputs: images or clips, if there are any; `DatasetError` if it is not clear."""
    images, clips = (int(np.sum(np.frombuffer(samples.inputs[k], np.int64) >= 0)) for k in ("image", "clip"))
    if not images and not clips:
        return "text"
    if min(images, clips) * MANY_MORE >= max(images, clips) and min(images, clips):
        raise DatasetError(
            f"{place}: its samples hold {count_of(clips, 'clip')} and {count_of(images)}; leave out what is "
            "not meant"
        )
    return "image" if images > clips else "clip"


def _note(samples: Samples, kind: str, label: str, n: int) -> str:
    """Say that this is a WebDataset, and where labels come from."""
    if not label:
        known = sorted(samples.found)
        said = "no labels"
        if known:
            said += f" (fields of key.json: {quote_names(known)}; --label {known[0]} takes one for labels)"
    elif label in (_CLASS, _TEXT) and not (label == _CLASS and _CLASS in samples.found):
        said = f"labels from key.{label}"
    else:
        said = f"labels from the field {label!r} of key.json"
    texts = int(np.sum(np.frombuffer(samples.inputs["text"], np.int64) >= 0))
    if kind != "text" and texts and label != _TEXT:
        said += f"; {count_of(texts, 'caption')} (key.txt) left out: --label txt takes them for labels"
    if samples.several:
        said += (
            f"; {samples.several} further {kind}s of samples left out (a key ends at the first dot, and the "
            "first that is key.SUFFIX counts)"
        )
    return f"read as a WebDataset of {count_of(n, 'sample')}: {said}"
