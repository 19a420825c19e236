"""Make a dataset of columns of inputs, labels, splits and groups, from a file or from memory."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from featx.data.compact_inputs import compact
from featx.data.dataset import Dataset, check_evaluated_classes
from featx.data.labels import class_name, is_missing
from featx.data.read_report import ReadReport, skip_hint
from featx.data.readers.archives.archived_files import ArchivedFiles
from featx.data.readers.clips import clips_in, find_audio_column, make_clip_sources
from featx.data.readers.division import RECORDING, divide_rows
from featx.data.readers.folders.folder_listing import PathFinder
from featx.data.readers.folders.listing import ERRORS
from featx.data.readers.images import IMAGE_KEYS, make_sources
from featx.data.readers.known_columns import AUDIO_KEYS, COLUMNS, END_KEYS, LENGTH_KEYS, START_KEYS
from featx.data.readers.segments import name_segment, read_segments
from featx.data.readers.tabular import Table, Wanted
from featx.data.readers.text_column import holds_texts, refuse_numbers, text_candidates
from featx.data.readers.texts import make_text_sources, problem_of
from featx.data.readers.urls import stored_at, url_of_cell
from featx.data.sources import file_source, stored_source
from featx.data.tasks import LABEL, Task, check_not_empty, make_task
from featx.errors import DatasetError, InputError, SourceError, TextError, UnknownName
from featx.inputs import Source
from featx.inputs.audio import FileClip, Segment, StoredClip
from featx.inputs.image import FileImage, StoredImage
from featx.inputs.text import FileText, StoredText, StringText, is_text_file
from featx.kinds import with_article
from featx.places import is_url, shown
from featx.places.urls import named as name_of
from featx.terminal import shortened

#: The most columns that a message names (a table of embeddings has a thousand), and letters of each.
_NAMED, _LETTERS = 20, 40
# A name of a column rarely has more words.
_WORDS_OF_NAMES = 3
_NO_LABELS = frozenset((*COLUMNS, *AUDIO_KEYS, *START_KEYS, *END_KEYS, *LENGTH_KEYS))
_FILES = FileImage, FileText, FileClip, StoredImage, StoredText, StoredClip
_FRACTION = re.compile(r"[+-]?[0-9]*\.[0-9]*[1-9][0-9]*")


def make_dataset(table: Table, name: str, *, labelled: bool, wanted: Wanted, on_error: str) -> Dataset:
    """Make a dataset of the rows of a table; parameters and errors as for `read_table`."""
    wanted.check(table.place)
    asked = [*wanted.labels, *wanted.targets]
    table.audio = find_audio_column(table)
    notes = _check_columns(table, labelled and not asked, asked)
    if not table.rows:
        raise DatasetError(f"{table.place}: the table has no rows")
    find = _stored if table.stored is not None else _texts if table.text else _files
    inputs, failures = find(table, on_error)
    reading = ReadReport(failures=tuple(failures), notes=(*table.notes, *notes))
    return join_columns(table, name, inputs, reading, labelled=labelled, wanted=wanted)


def join_columns(
    table: Table, name: str, inputs: Sequence[Source], reading: ReadReport, *, labelled: bool, wanted: Wanted
) -> Dataset:
    """Make a dataset of inputs and the columns beside them: labels, targets, splits and groups.

    The rows of the table are those of the inputs; `wanted.check` was called.
    """
    asked = [*wanted.labels, *wanted.targets]
    division = divide_rows(table, wanted, inputs)
    reading = replace(
        reading,
        notes=(*reading.notes, *division.notes),
        groups_from=_origin(division.group_name),
    )
    tasks = _tasks(table, wanted.labels, wanted.targets) if asked else _labels(table, labelled)
    dataset = Dataset(
        name,
        compact(inputs),
        splits=division.splits,
        groups=division.groups,
        reading=reading,
        group_name=division.group_name,
        group_like=division.group_like,
    ).with_tasks(tasks)
    if len(tasks) <= 1:  # each of several tasks has its own images
        check_evaluated_classes(dataset.labelled(), table.place)
    return dataset


def _origin(group_name: str | None) -> str:
    """Say where groups come from; nothing of a column that is called group."""
    if group_name in (None, "group"):
        return ""
    return "the recordings" if group_name == RECORDING else f"the column {group_name}"


def label_candidates(columns: Mapping[str, list[Any]]) -> str:
    """Return a hint at columns that could be labels, because a few values repeat in them; or ""."""
    found = []
    for column, values in columns.items():
        present = [value for value in values if not is_missing(value)]
        names = [class_name(value) for value in present]
        fractions = sum(name is None or _FRACTION.fullmatch(name) is not None for name in names)
        distinct = len(set(names))
        if column.lower() in _NO_LABELS or column in IMAGE_KEYS or fractions or not present:
            continue
        if 2 <= distinct <= max(2, len(present) // 2):
            found.append((column, distinct))
    if not found:
        return ""
    named = " or ".join(f"{column!r} ({distinct} values)" for column, distinct in found[:4])
    return f"{named} would do: label={found[0][0]!r} (--label {shlex.quote(found[0][0])})"


def _check_columns(table: Table, labelled: bool, asked: list[str]) -> list[str]:
    """Refuse a table without a needed column; return a note if it has no labels and needs none."""
    has_inputs = table.stored is not None or table.input_column in table.columns
    lacking = [] if has_inputs else ["path"]
    unlabelled = "label" not in table.columns and not asked
    if labelled and unlabelled:
        lacking.append("label")
    more = f" and {len(table.found) - _NAMED} more" if len(table.found) > _NAMED else ""
    found = ", ".join(shortened(name, _LETTERS) for name in table.found[:_NAMED]) + more or "none"
    hint = ""
    if unlabelled and lacking in ([], ["label"]):
        others = {name: values for name, values in table.all_columns().items() if name != table.text}
        hint = label_candidates(others)
    if lacking:
        inputs = "a text" if table.text else table.stored_column or table.audio or "path"
        if "path" in lacking:
            inputs = "path or text"
            hint = _hint_at_inputs(table, unlabelled and labelled)
        raise DatasetError(
            f"{table.place}: missing column {' and '.join(lacking)}; found: {found}; "
            f"expected {inputs}, label and optionally split and group"
            f"{hint and '; '}{hint}"
        )
    for column in asked:
        if column not in table.columns and column != table.stored_column:
            raise DatasetError(f"{table.place}: {UnknownName('column', column, table.found)}")
        own = column.lower() in COLUMNS and column.lower() != LABEL
        if own or column in (table.text, table.audio, table.stored_column):
            raise DatasetError(f"{table.place}: column {column} has a meaning of its own; it is no task")
    if unlabelled and len(table.found) > 1:
        return [f"no column label, so no labels; found: {found}{hint and '; '}{hint}"]
    return []


def _hint_at_inputs(table: Table, unlabelled: bool) -> str:
    """Return a hint at what a table without inputs, and maybe without labels, may lack."""
    if any(len(name.split()) > _WORDS_OF_NAMES for name in table.found):
        return (
            "its first row is read as the header: if it is none, write one above it, such as text,label; "
            "else text (--text) names the column of texts"
        )
    hints = [f"rename {name!r} to path" for name in table.found if name.lower() in IMAGE_KEYS][:1]
    columns = table.all_columns()
    if texts := text_candidates(columns):
        others = {name: values for name, values in columns.items() if not holds_texts(values)}
        hints += [texts, label_candidates(others) if unlabelled else ""]
    return "; ".join(filter(None, hints)) or "text (--text) names a column of texts"


def _texts(table: Table, on_error: str) -> tuple[list[Any], list[SourceError]]:
    """Return the text of every row that has one, and the failures; drop the other rows from the table."""
    column = table.text
    texts = table.columns[column]
    refuse_numbers(table.place, column, texts, lambda: text_candidates(table.all_columns()))
    names = table.names or [str(row) for row in table.rows]
    reasons = {i: problem for i, text in enumerate(texts) if (problem := problem_of(text))}
    if reasons and on_error == "raise":
        first = next(iter(reasons))
        more = f" (and {len(reasons) - 1} more row{'s' * (len(reasons) > 2)})" if len(reasons) > 1 else ""
        raise table.error(column, first, f"{reasons[first]}{more}; {skip_hint('text')}")
    failures: list[SourceError] = [TextError(names[i], reason) for i, reason in reasons.items()]
    kept = [i for i in range(len(texts)) if i not in reasons]
    if not kept:
        raise DatasetError(f"{table.place}: no row has a text in column {column}; the first: {failures[0]}")
    table.keep(kept)
    return [StringText(names[i], str(texts[i])) for i in kept], failures


def _stored(table: Table, on_error: str) -> tuple[Any, list[SourceError]]:
    """Return the inputs whose bytes lie in the table, and the failures; drop the other rows from it."""
    assert table.stored is not None
    kind, column, ids = table.stored.kind, table.input_column, table.stored
    reasons = dict.fromkeys(table.stored.missing(), f"no value in column {column}")
    if reasons and on_error == "raise":
        more = f" (and {len(reasons) - 1} more row{'s' * (len(reasons) > 2)})" if len(reasons) > 1 else ""
        error = table.error(column, next(iter(reasons)), f"no value{more}")
        raise DatasetError(f"{error}; {skip_hint(kind)}")
    if kind == "clip" and any(key in table.columns for key in (*START_KEYS, *END_KEYS)):
        segments = read_segments(table.columns, len(ids))
        if segments.wrong and on_error == "raise":
            first, (at, what) = next(iter(segments.wrong.items()))
            raise DatasetError(f"{table.error(at, first, what)}; {skip_hint(kind)}")
        reasons |= {i: f"column {at}: {what}" for i, (at, what) in segments.wrong.items()}
        table.stored = table.stored.with_segments(segments.of_rows)
    failures: list[SourceError] = [ERRORS[kind](ids[i].id, reason) for i, reason in sorted(reasons.items())]
    if len(reasons) == len(ids):
        raise DatasetError(f"{table.place}: no row has {with_article(kind)}; the first: {failures[0]}")
    if reasons:
        table.keep([i for i in range(len(ids)) if i not in reasons])
    return table.stored, failures


def _files(table: Table, on_error: str) -> tuple[list[Any], list[SourceError]]:
    """Return the input of every row that has one, and the failures; drop the other rows from the table."""
    column = table.input_column
    kind = _kind_of_files(table)
    finder, archived = PathFinder(), ArchivedFiles()
    ids = [f"row {row}" for row in table.rows]
    inputs = list(table.columns[column])
    segments = read_segments(table.columns if kind == "clip" else {}, len(inputs))
    if segments.wrong and on_error == "raise":
        first, (at, what) = next(iter(segments.wrong.items()))
        raise DatasetError(f"{table.error(at, first, what)}; {skip_hint(kind)}")
    reasons = {i: f"column {at}: {what}" for i, (at, what) in segments.wrong.items()}
    tree = os.path.realpath(table.folder) if table.folder and not is_url(table.folder) else None
    seen: dict[tuple[str, Segment], int] = {}
    for i, value in enumerate(inputs):
        segment = segments.of_rows[i]
        if is_missing(value):
            reasons[i] = f"no value in column {column}"
        elif isinstance(value, (str, os.PathLike)):
            named = os.fspath(value) if isinstance(value, str) else os.fspath(value).replace(os.sep, "/")
            ids[i] = name_segment(named, segment)
            url, refused = url_of_cell(value, table.folder)
            if url:
                ids[i] = name_segment(shown(url) if is_url(value) else named, segment)
            given = os.fspath(value) if table.folder else os.path.expanduser(value)
            path = url or finder.find(os.path.normpath(os.path.join(table.folder, given)))
            if i not in reasons and seen.setdefault((path, segment), i) != i:
                row = table.rows[seen[path, segment]]
                raise table.error(column, i, f"{ids[i]} is already in row {row}; remove one of them")
            if not refused:
                try:
                    inputs[i] = _file_source(kind, ids[i], path, segment, tree)
                except InputError as error:  # a URL that nothing reads
                    refused = str(error)
            if refused:
                reasons[i] = refused
            elif not url and not os.path.isfile(path):
                if (member := archived.find(path)) is not None:
                    inputs[i] = stored_source(kind, ids[i], member, segment)
                else:
                    reasons[i] = f"no such file: {path}"
        elif column == "path" and kind != "clip":
            raise table.error(column, i, f"expected text, got {value!r}")
    if reasons and on_error == "raise":
        raise DatasetError(
            f"{table.missing(column) or _missing_files(table, column, reasons)}; {skip_hint(kind)}"
        )
    failures: list[SourceError] = [ERRORS[kind](ids[i], reason) for i, reason in sorted(reasons.items())]
    kept = [i for i in range(len(inputs)) if i not in reasons]
    if not kept:
        raise DatasetError(
            f"{table.place}: no row has {with_article(kind)} that is there; the first: {failures[0]}"
        )
    table.keep(kept)
    ids = [
        ids[i] if isinstance(inputs[i], _FILES) else name_segment(f"{table.rows[k]}", segments.of_rows[i])
        for k, i in enumerate(kept)
    ]
    where, rows = f"{table.place}, column {column}", [inputs[i] for i in kept]
    if kind == "clip":
        of_rows = [segments.of_rows[i] for i in kept]
        return make_clip_sources(rows, where, ids, on_error=on_error, segments=of_rows), failures
    make = make_text_sources if kind == "text" else make_sources
    return make(rows, where, ids, on_error=on_error), failures


def _kind_of_files(table: Table) -> str:
    """Return the kind of inputs: clips or texts where more than half of the paths are of such files."""
    if table.audio:
        return "clip"
    values = table.columns[table.input_column]
    of_texts = sum(isinstance(value, str) and is_text_file(name_of(value)) for value in values)
    return "text" if 2 * of_texts > len(values) else "image" if clips_in(values) is None else "clip"


def _file_source(kind: str, id: str, path: str, segment: Segment, tree: str | None) -> Source:
    if is_url(path):
        return stored_at(path, id, kind, segment)
    return file_source(kind, id, path, segment, tree=tree)


def _missing_files(table: Table, column: str, reasons: Mapping[int, str]) -> DatasetError:
    first, *others = reasons
    names = ", ".join(str(table.columns[column][i]) for i in (first, *others[:2]))
    more = f" ({len(reasons)} rows: {names}{', ...' if len(reasons) > 3 else ''})" if others else ""
    return table.error(column, first, f"{reasons[first]}{more}")


def _labels(table: Table, labelled: bool) -> list[Task]:
    """Return the task of the column label; none without the column, or, unless `labelled`, with no value."""
    values = table.columns.get(LABEL)
    if values is None or (not labelled and all(map(is_missing, values))):
        return []
    order = table.orders.get(LABEL, ())
    tasks = [make_task(LABEL, values, partial(table.error, LABEL), order=order)]
    check_not_empty(tasks, table.place)
    return tasks


def _tasks(table: Table, label: list[str], target: list[str]) -> list[Task]:
    tasks = [
        make_task(name, table.columns[name], partial(table.error, name), numbers=name in target)
        for name in (*label, *target)
    ]
    check_not_empty(tasks, table.place)
    return tasks
