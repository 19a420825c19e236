"""Read rows in memory with named columns: data frames, Hugging Face datasets, lists of dicts."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

from featx.data.dataset import Dataset, quote_names
from featx.data.labels import is_missing
from featx.data.readers.arrays import from_arrays
from featx.data.readers.clips import clip_of, clips_in
from featx.data.readers.columns import label_candidates, make_dataset
from featx.data.readers.dict_rows import keys_of, nested_rows
from featx.data.readers.images import IMAGE_KEYS, fetch_image, is_frame
from featx.data.readers.known_columns import (
    AUDIO_KEYS,
    COLUMNS,
    END_KEYS,
    LABEL_KEYS,
    LENGTH_KEYS,
    OPTIONAL,
    SHARED_KEYS,
    START_KEYS,
)
from featx.data.readers.label_keys import choose_label_key
from featx.data.readers.naming import name_of_object
from featx.data.readers.split_tables import join_tables, split_in_name
from featx.data.readers.stored.arrow_dataset import column_of, encoded_inputs, is_arrow_dataset, undecoded
from featx.data.readers.stored.declared import name_of_class
from featx.data.readers.tabular import Asked, Table, Wanted
from featx.data.readers.text_column import find_text_column, text_candidates
from featx.data.readers.texts import TEXT_KEYS, texts_in
from featx.data.tasks import names_of
from featx.errors import DatasetError
from featx.inputs.audio import LazyClip
from featx.inputs.image import LazyImage


def read_frame(
    frame: Any,
    *,
    labelled: bool = True,
    text: str | None = None,
    label: Any = None,
    target: Any = None,
    group: str | None = None,
    split_by: str | None = None,
    on_error: str = "raise",
) -> Dataset:
    """Read a data frame as `read_table` reads a file.

    Parameters
    ----------
    frame : DataFrame of pandas or polars, or Table of pyarrow
        Columns ``path`` (relative to the working directory), ``image`` (anything that `images_of` takes),
        ``audio`` (paths, bytes, or samples with their rate, see `inputs_of`) or of texts, ``label`` and
        optionally ``split`` and ``group``. A single column of any other name holds images, clips or texts
        (see `inputs_of`).
    labelled, text, label, target, group, split_by, on_error
        As for `read_table`; errors count rows from 0.
    """
    given = list(getattr(frame, "column_names", None) or frame.columns)
    names = [str(name) for name in given]
    wanted = Wanted(label, target, group, split_by)
    asked = wanted.check("data frame")
    column = find_text_column("data frame", names, text, asked)
    if len(names) == 1 and names[0].strip().lower() not in COLUMNS:
        labelled = False
        values = _values(frame, given[0])
        if clips_in(values) is not None:
            columns = {"audio": values}
        else:
            column = column or ("" if texts_in(values) is None else names[0])
            columns = {column or "image": values}
    else:
        lower = [name.strip().lower() for name in names]
        for known in (*COLUMNS, "image"):
            if lower.count(known) > 1:
                raise DatasetError(f"data frame: {lower.count(known)} columns are named {known}; keep one")
        own = (*COLUMNS, "image", *OPTIONAL)
        columns = {c: _values(frame, given[lower.index(c)]) for c in own if c in lower}
        columns |= {c: _values(frame, given[names.index(c)]) for c in (*asked, column) if c in names}
        if "path" in columns:
            columns.pop("image", None)

    def all_columns() -> dict[str, list[Any]]:
        return {name: _values(frame, key) for name, key in zip(names, given, strict=True)}

    rows = list(range(len(frame)))
    table = Table("data frame", "", rows, columns, names, all_columns, text=column)
    return make_dataset(table, "frame", labelled=labelled, wanted=wanted, on_error=on_error)


def has_columns(data: Any) -> bool:
    """Whether `data` is a data frame, or a table of pyarrow."""
    return is_frame(data) or (hasattr(data, "column_names") and hasattr(data, "to_pylist"))


def read_records(
    rows: Any,
    labels: Any = None,
    *,
    text: str | None = None,
    label: Any = None,
    target: Any = None,
    group: str | None = None,
    split_by: str | None = None,
    on_error: str = "raise",
) -> Dataset:
    """Read rows that are dicts.

    Parameters
    ----------
    rows : sequence of dict, or a dataset of Hugging Face
        Images and clips of a dataset of Hugging Face are taken as they are encoded, so that they have the
        rows of the files that they were; what a transform returns is taken as it is. The clip is the column
        that ``.features`` declares as Audio, else the first of `AUDIO_KEYS`. Without one, the image is the
        column declared as Image, else the first of `IMAGE_KEYS`: anything that `images_of` takes, or a dict
        of ``bytes`` and ``path``. Without one, the text is the first of `TEXT_KEYS`, else the only column
        declared as strings. The label is the column declared as ClassLabel, with its names, else the key
        that names labels: one of `LABEL_KEYS`, or a name such as ``fine_label``; ``split`` and ``group`` as
        in a table.
    labels : array-like of shape (n,), optional
        Labels, if the rows have none.
    text : str, optional
        The key of the text.
    label, target, group, split_by, on_error
        As for `read_table`; segments of clips, too.

    Raises
    ------
    DatasetError
        If it is not clear which column is the input or the label; labels are never dropped silently.
    """
    wanted = Wanted(label, target, group, split_by)
    if labels is not None:  # label and target then choose among their columns
        wanted = replace(wanted, label=None, target=None)
    table = _table_of(rows, name_of_object(rows), wanted, text, given=labels is not None)
    place = table.place
    if labels is None:
        return make_dataset(table, place, labelled=False, wanted=wanted, on_error=on_error)
    if "label" in table.columns:
        raise DatasetError(f"{place} brings its own labels; give either them or labels")
    bare = make_dataset(table, place, labelled=False, wanted=wanted, on_error=on_error)
    dataset = from_arrays(
        bare.inputs,
        labels,
        splits=bare.splits,
        groups=bare.groups,
        name=place,
        label=label,
        target=target,
    )
    return replace(dataset, reading=bare.reading, group_name=bare.group_name, group_like=bare.group_like)


def read_parts(
    parts: Mapping[str, Any],
    *,
    text: str | None = None,
    on_error: str = "raise",
    **asked: Unpack[Asked],
) -> Dataset:
    """Read a dict of datasets, as `datasets.load_dataset` returns, as one dataset with their names as splits.

    Parameters are those of `read_records`. `DatasetError` where a name is none of train, validation and test;
    a single part has no split.
    """
    splits = [split_in_name(str(name)) for name in parts]
    if None in splits and len(parts) > 1:
        first = next(iter(parts))
        raise DatasetError(
            f"data: its parts are {quote_names(list(parts))}, and not train, validation and test; give one "
            f"of its parts, as in data[{first!r}]"
        )
    wanted = Wanted(**asked)
    named = [str(name) for name in parts]
    tables = [
        (split or "", name, _table_of(rows, name, wanted, text, given=False))
        for split, name, rows in zip(splits, named, parts.values(), strict=True)
    ]
    place = name_of_object(next(iter(parts.values()))).removesuffix(f" ({named[0]})")
    table = join_tables(place, tables, len(set(splits)) > 1)
    if table.text:
        table.names = [f"{name}:{row}" for _, name, part in tables for row in part.rows]
    return make_dataset(table, place, labelled=False, wanted=wanted, on_error=on_error)


def _table_of(rows: Any, place: str, wanted: Wanted, text: str | None, *, given: bool) -> Table:
    """Return the columns of rows that are dicts; `given` if labels are given beside them."""
    n = len(rows)
    if n == 0:
        raise DatasetError(f"{place}: no rows")
    features = _features(rows)
    in_arrow = is_arrow_dataset(rows)
    rows = undecoded(rows) if in_arrow else nested_rows(rows)
    first = rows[0]
    kinds = {name: type(kind).__name__ for name, kind in features.items()}
    names = keys_of(rows, first)
    asked = [*wanted.labels, *wanted.targets]
    asked_for = wanted.check(place)
    source, kind = ("", "text") if text is not None else _files_column(place, rows, first, kinds)
    if kind == "text":
        source = _text_column(place, rows, text, asked_for)
    if place == "images":  # what data without a name is called
        place = f"{kind}s"
    columns: dict[str, list[Any]] = {str(source): _column(rows, source, n)} if kind == "text" else {}
    stored = encoded_inputs(rows, source, kind, place) if in_arrow and kind != "text" else None
    if kind != "text" and stored is None:
        columns["audio" if kind == "clip" else "image"] = _fetched(rows, source, n, kind)
    orders: dict[str, Sequence[str]] = {}

    def take(name: str, under: str) -> None:
        values = _column(rows, name, n)
        if kinds.get(name) == "ClassLabel":
            orders[under] = list(features[name].names)
            values = [name_of_class(value, orders[under]) for value in values]
        columns[under] = values

    if asked:
        for name in asked:
            if name in names:
                take(name, name)
    else:
        typed = [name for name in names if kinds.get(name) == "ClassLabel"]
        others = [name for name in names if name != source]
        found = _chosen(place, others, typed, LABEL_KEYS, "label") if typed or given else None
        if not typed and not given:
            found = choose_label_key(place, others)
        if found is not None:
            take(found, "label")
            if all(is_missing(value) for value in columns["label"]):  # a test set without public labels
                del columns["label"]
        elif not given:
            some = rows if isinstance(rows, (list, tuple)) else [first]
            sample = {name: row[name] for row in reversed(some) for name in row}
            plain = {name: _column(rows, name, n) for name in others if _plain(sample.get(name))}
            if hint := label_candidates(plain):
                raise DatasetError(
                    f"{place}: which column is the label? found: {', '.join(map(str, names))}; {hint}; "
                    "or remove the other columns if there is no label"
                )
    times = (*START_KEYS, *END_KEYS, *LENGTH_KEYS) if kind == "clip" else ()
    for name in ("split", "group", *names_of(wanted.group), *SHARED_KEYS, *times):
        if name in names and name not in columns and name != source:
            take(name, name)
    column = str(source) if kind == "text" else ""
    table = Table(place, "", list(range(n)), columns, list(map(str, names)), orders=orders, text=column)
    if stored is not None:
        table.stored, table.stored_column = stored, str(source)
    return table


def _files_column(
    place: str, rows: Any, first: Mapping[Any, Any], kinds: Mapping[str, str]
) -> tuple[Any, str]:
    """Return the key of images or clips, and their kind; ``("", "text")`` if rows have neither.

    What is declared counts more than a name: many datasets of sounds have a column path, too.
    """
    names = list(first)
    declared = [name for name in names if kinds.get(name) == "Audio"]
    images = [name for name in names if kinds.get(name) == "Image"]
    if declared or not images:
        clip = _chosen(place, names, declared, AUDIO_KEYS, "audio")
        if clip is not None:
            return clip, "clip"
    image = _chosen(place, names, images, IMAGE_KEYS, "image")
    if image is None:
        return "", "text"
    some = rows if isinstance(rows, (list, tuple)) else [first]  # a dataset decodes each row
    of_clips = not images and clips_in([row.get(image) for row in some]) is not None
    return image, "clip" if of_clips else "image"


def _text_column(place: str, rows: Any, text: str | None, asked: list[str]) -> Any:
    """Return the key of the text in rows without images; `DatasetError` if it is not clear which it is."""
    names = list(rows[0])
    column = find_text_column(place, list(map(str, names)), text, asked)
    if column:
        return next(name for name in names if str(name) == column)
    types = {name: getattr(kind, "dtype", None) for name, kind in _features(rows).items()}
    typed = [name for name in names if types.get(name) in ("string", "large_string") and name not in asked]
    typed = [name for name in typed if name.lower() not in (*COLUMNS, *LABEL_KEYS)]
    if len(typed) == 1:
        return typed[0]
    plain = {str(name): _column(rows, name, len(rows)) for name in names if isinstance(rows[0][name], str)}
    hint = text_candidates(plain)
    raise DatasetError(
        f"{place}: its rows have no image and no text; found: {', '.join(map(str, names))}; expected one of "
        f"{', '.join(IMAGE_KEYS[:3])}, ... or {', '.join(TEXT_KEYS[:3])}, ...{hint and '; '}{hint}"
    )


def _features(rows: Any) -> Mapping[str, Any]:
    """Return the column types that a Hugging Face dataset declares, also inside a torch Subset."""
    while not getattr(rows, "features", None) and hasattr(rows, "dataset"):
        rows = rows.dataset
    features = getattr(rows, "features", None)
    return features if isinstance(features, Mapping) else {}


def _chosen(
    place: str, names: Sequence[Any], typed: Sequence[str], keys: Sequence[str], what: str
) -> Any | None:
    """Return the column that has the type (`typed`) or one of the names (`keys`); None if there is none."""
    named = [name for key in keys for name in names if str(name).lower() == key]
    if len(typed) > 1:
        plain = [name for name in named if name in typed]
        if not plain or str(plain[0]).lower() != keys[0]:
            choose = f"choose with {what}=" if what == "label" else f"rename one to {what}"
            raise DatasetError(f"{place}: several columns may be the {what}: {quote_names(typed)}; {choose}")
        return plain[0]
    return typed[0] if typed else named[0] if named else None


def _fetched(rows: Any, key: Any, n: int, kind: str) -> list[Any]:
    """Return the images or clips of a list; of a dataset, sources that fetch them when they are read."""
    if isinstance(rows, (list, tuple)):
        return [row[key] for row in rows]
    ids = [f"{i:0{len(str(n - 1))}d}" for i in range(n)]
    lazy, fetch = (LazyClip, _fetch_clip) if kind == "clip" else (LazyImage, _fetch_image)
    return [lazy(id, functools.partial(fetch, rows, i, key, id)) for i, id in enumerate(ids)]


def _fetch_image(rows: Any, i: int, key: Any, id: str) -> object:
    return fetch_image(rows[i][key], id)


def _fetch_clip(rows: Any, i: int, key: Any, id: str) -> object:
    return clip_of(rows[i][key], id)


def _column(rows: Any, name: Any, n: int) -> list[Any]:
    """Return one column, if possible without decoding the images of its rows."""
    if is_arrow_dataset(rows):
        return column_of(rows, name)
    if hasattr(rows, "column_names"):
        return list(rows[name])
    missing = next((i for i in range(n) if name not in rows[i]), None)
    if missing is not None:
        other = next((i for i in range(n) if name in rows[i]), 0)
        raise DatasetError(f"{type(rows).__name__}: row {missing} has no {name!r}, and row {other} has")
    return [rows[i][name] for i in range(n)]


def _values(frame: Any, name: Any) -> list[Any]:
    column = frame[name]
    for method in ("to_pylist", "tolist", "to_list"):
        if hasattr(column, method):
            return list(getattr(column, method)())
    raise DatasetError(f"data frame: two columns are named {name}; keep one")


def _plain(value: Any) -> bool:
    return isinstance(value, (str, int, bool)) or getattr(value, "ndim", None) == 0
