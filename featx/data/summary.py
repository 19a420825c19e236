"""Describe a dataset in a few lines: inputs, classes, splits, groups, and notes on what looks odd."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from featx.data.dataset import Dataset, classes_on_one_side, quote_names
from featx.data.labels import SPLITS
from featx.data.read_report import ReadReport
from featx.data.readers.folders.folder_layout import parse_split_name
from featx.data.readers.folders.folder_listing import format_of_file
from featx.data.readers.folders.listing import HEAD
from featx.data.tasks import Task
from featx.inputs.image import IMAGE_SUFFIXES, SUFFIXES, FileImage, StoredImage
from featx.inputs.image.containers import sniff
from featx.inputs.image.decode import MAX_FILE_BYTES
from featx.places import PlaceError, read_start
from featx.terminal import printable, tell

# Classes that are named with their counts; of more, the largest and the smallest.
_NAMED, _OF_EACH_END = 12, 3
# A class with fewer inputs cannot be in each of the five folds by which settings are chosen.
_TINY = 5

# Names, letters only, of folders for inputs that have no class.
_NO_CLASS = re.compile(
    r"unlabell?ed|unlabel|nolabels?|unknown|unsorted|unclassified|unsup|background(google)?|undefined|none|null|"
    r"nan|na|todo|tbd"
)
#: Files that are opened to see whether their suffixes are right.
_LOOKED_INTO = 100_000


def summary_lines(collection: Any, name: str | None = None) -> list[str]:
    """Return lines on a Dataset or Features (called `name`): its parts, what was left out, and the notes."""
    reading = getattr(collection, "reading", None) or ReadReport()
    n = len(collection)
    kind = collection.kind
    parts = [f"{n} {kind}{'s' * (n != 1)}", *_tasks(collection)]
    if collection.splits is not None:
        counts = [(split, int((collection.splits == split).sum())) for split in SPLITS]
        came = f" (from {reading.splits_from})" if reading.splits_from else ""
        parts.append("splits: " + ", ".join(f"{split} {count}" for split, count in counts if count) + came)
    if collection.groups is not None:
        came = f" (from {reading.groups_from})" if reading.groups_from else ""
        parts.append(f"{len(np.unique(collection.groups))} groups{came}")
    lines = [f"{name or getattr(collection, 'name', 'features')}: {'; '.join(parts)}"]
    if reading.left_out:
        lines.append(f"left out: {reading.left_out}")
    if reading.failures:
        n, first = len(reading.failures), reading.failures[0]
        lines.append(f"left out with an error: {n} (first: {first})")
    return lines + [f"note: {note}" for note in notes_of(collection)]


def notes_of(collection: Any) -> list[str]:
    """Return notes on suspicious classes and on how the data was read."""
    reading = getattr(collection, "reading", None) or ReadReport()
    kind = collection.kind
    notes = [*reading.notes, *unlabelled_notes(reading.unlabelled, collection.tasks, kind)]
    if collection.labels is None or collection.classes is None:
        return notes
    counts = np.bincount(collection.labels, minlength=len(collection.classes))
    for name, count in zip(collection.classes, counts.tolist(), strict=True):
        if name == "-1" or _NO_CLASS.fullmatch(re.sub(r"[\W\d_]+", "", name).lower()):
            notes.append(
                f"the class {name!r} ({count} {kind}s) is called like {kind}s that have none; it is trained "
                "on like any other: if it is no class, take it away, or call its folder unlabelled "
                "(in a table: leave the cells blank)"
            )
    tiny = {name: n for name, n in zip(collection.classes, counts.tolist(), strict=True) if 0 < n < _TINY}
    if tiny:
        few = min(tiny, key=tiny.__getitem__)
        these = "the class" if len(tiny) == 1 else f"{len(tiny)} classes, among them"
        notes.append(
            f"few {kind}s: {these} {few!r} ({tiny[few]}): a class with fewer than {_TINY} {kind}s is hardly "
            "learned, and its accuracy hardly measured"
        )
    named = {name: role[0] for name in collection.classes if (role := parse_split_name(name)) is not None}
    if len(set(named.values())) > 1:
        notes.append(
            f"the classes {quote_names(sorted(named))} are called like splits, and are read as classes"
        )
    held_out, untested, _ = classes_on_one_side(collection)
    if untested:
        notes.append(f"in train only, with no {kind} in {held_out}: {quote_names(untested)}")
    return notes


def unlabelled_notes(ids: Sequence[str], tasks: Mapping[str, Task], kind: str) -> list[str]:
    """Return a note on the inputs that a study leaves out because they have no label; none without any."""
    if not ids:
        return []
    inputs = f"1 {kind} has" if len(ids) == 1 else f"{len(ids)} {kind}s have"
    return [f"{inputs} no {_word(tasks)}: neither trained nor tested on (first: {ids[0]})"]


def study_notes(dataset: Dataset) -> list[str]:
    """Return the notes for the result of a study: `notes_of`, and what was left out."""
    left_out = dataset.reading.left_out
    # Hidden files and results of featx are no inputs that a user could miss.
    expected = ("hidden", "folder", "file of macOS")
    unexpected = left_out.suffixes or any(not kind.startswith(expected) for kind in left_out.others)
    return notes_of(dataset) + ([f"left out: {left_out}"] if unexpected else [])


def suffix_notes(dataset: Dataset) -> list[str]:
    """Return a note on files whose content is of another format than their suffix says, if there are any.

    This opens every file, which is cheap only where all are read anyway; of millions, `_LOOKED_INTO` of them,
    spread over all.
    """
    total = len(dataset.inputs)
    every = -(-total // _LOOKED_INTO)
    of = f" (of {len(range(0, total, every)):,} that were looked into)" if every > 1 else ""
    found: Counter[tuple[str, str]] = Counter()
    first = ""
    for image in (dataset.inputs[i] for i in range(0, total, max(1, every))):
        if isinstance(image, FileImage):
            name = image.path
        elif isinstance(image, StoredImage) and not image.place.is_remote:
            name = image.place.name
        else:
            continue
        suffix = PurePath(name).suffix.lower()
        format = _format_of(image) if suffix in IMAGE_SUFFIXES else None
        if format is not None and suffix not in SUFFIXES.get(format, (suffix,)):
            found[format, suffix] += 1
            first = first or image.id
    if not found:
        return []
    kinds = ", ".join(f"{n} {format} in {suffix}" for (format, suffix), n in found.most_common(5))
    n = sum(found.values())
    return [
        f"{n} file{'s' * (n > 1)}{of} of another format than the suffix says, read as what the content is: "
        f"{kinds} (first: {first})"
    ]


def _format_of(image: FileImage | StoredImage) -> str | None:
    """Return the format that the first bytes of an image show, or None."""
    if isinstance(image, FileImage):
        return format_of_file(image.path)
    try:
        return sniff(read_start(image.place, HEAD, MAX_FILE_BYTES))
    except PlaceError:
        return None


def announce(collection: Any, name: str | None = None) -> None:
    """Print `summary_lines` on standard error."""
    for line in summary_lines(collection, name):
        tell(printable(line))


def _word(tasks: Mapping[str, Task]) -> str:
    """Return "value" if only numbers are predicted, else "label"."""
    kinds = {task.kind for task in tasks.values()}
    return "value" if kinds == {"number"} else "label"


def _tasks(collection: Any) -> Iterator[str]:
    if collection.labels is not None and collection.classes is not None:
        yield _classes(collection.labels, collection.classes, collection.kind)
    elif not collection.targets:
        yield "no labels"
    for task in collection.targets.values():
        if task.classes is None:
            values = task.values[task.present]
            yield f"{task.name}: {len(values)} numbers from {values.min():.4g} to {values.max():.4g}"
        else:
            yield f"{task.name}: {_classes(task.values[task.present], task.classes, collection.kind)}"
        if len(collection.tasks) == 1 and (gaps := int((~task.present).sum())):
            yield f"{gaps} without a {_word(collection.tasks)}"


def _classes(labels: np.ndarray, classes: tuple[str, ...], kind: str) -> str:
    """Name the classes with their counts; of many, the largest and the smallest."""
    counts = np.bincount(labels, minlength=len(classes)).tolist()
    low, high = min(counts, default=0), max(counts, default=0)
    noun = "class" if len(classes) == 1 else "classes"
    if len(classes) <= _NAMED and low < high:
        return f"{len(classes)} {noun}: " + ", ".join(map(_counted, classes, counts))
    said = f"{len(classes)} {noun} of {f'{low} to {high}' if low < high else low} {kind}{'s' * (high != 1)}"
    if len(classes) <= _NAMED:
        return f"{said}: {', '.join(classes)}"
    if low == high:
        return f"{said}: {', '.join(classes[:_NAMED])}, ..."
    order = sorted(range(len(classes)), key=lambda i: (-counts[i], i))
    most, fewest = (
        ", ".join(_counted(classes[i], counts[i]) for i in part)
        for part in (order[:_OF_EACH_END], order[-_OF_EACH_END:])
    )
    return f"{said}: most of {most}, fewest of {fewest}"


def _counted(name: str, count: int) -> str:
    return f"{name} {count}"
