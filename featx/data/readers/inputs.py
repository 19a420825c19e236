"""Turn rows in memory into sources of one kind: images, clips or texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from featx.data.dataset import Dataset
from featx.data.readers.clips import clips_in, make_clip_sources
from featx.data.readers.images import IMAGE_KEYS, images_of, list_rows, take_column
from featx.data.readers.known_columns import AUDIO_KEYS
from featx.data.readers.label_keys import refuse_labels_in
from featx.data.readers.texts import TEXT_KEYS, make_text_sources, text_in, texts_in
from featx.errors import DatasetError
from featx.inputs import Source
from featx.kinds import KINDS
from featx.options.checks import one_of


def inputs_of(X: Any, kind: str | None = None) -> list[Source]:
    """Return the inputs in `X` as sources, with the path or the position as id.

    Parameters
    ----------
    X : Dataset, sequence, array, or column or one-column data frame of pandas, polars or pyarrow
        One input per row: images as for `images_of`; clips: paths or bytes of audio files, samples with their
        rate as ``(samples, rate)`` or ``{"array": samples, "sampling_rate": rate}``, or what
        `featx.data.clips` makes of arrays; or texts: strings, `pathlib.Path` of text files, or dicts with one
        of the keys in `TEXT_KEYS`.
    kind : {"image", "text", "clip"}, optional
        With ``"text"`` every string is a text, never a path; with ``"image"`` or ``"clip"`` every string is a
        path. By default the rows decide, see `featx.data.readers.clips.clips_in` and
        `featx.data.readers.texts.texts_in`.

    Raises
    ------
    DatasetError
        Naming the row and, in a data frame, the column.
    """
    one_of(*KINDS, optional=True)("kind", kind)
    if kind == "image" or isinstance(X, Dataset):
        return images_of(X)
    keys = AUDIO_KEYS if kind == "clip" else TEXT_KEYS
    column, where = take_column(X, keys, kind or "input")
    rows = list_rows(column, where, kind or "input")
    if kind and not rows:
        raise DatasetError(f"{where}: no {kind}s: 0 rows (shape=(0,)) while a minimum of 1 is required.")
    refuse_labels_in(rows, where, (*AUDIO_KEYS, *IMAGE_KEYS, *TEXT_KEYS))
    sounds = clips_in([_clip(row) for row in rows], kind)
    if sounds is not None:
        return make_clip_sources(sounds, where)
    if rows and all(isinstance(row, Mapping) for row in rows) and (kind or text_in(rows[0]) is not None):
        rows = [_text(row, f"{where}, row {i}") for i, row in enumerate(rows)]
    texts = texts_in(rows, kind)
    return images_of(X) if texts is None else make_text_sources(texts, where)


def _clip(row: Any) -> Any:
    """Return the clip in a row that is a dict with a key of clips; any other row as it is."""
    key = next((key for key in AUDIO_KEYS if key in row), None) if isinstance(row, Mapping) else None
    return row if key is None else row[key]


def _text(row: Mapping[str, Any], at: str) -> Any:
    key = text_in(row)
    if key is None:
        raise DatasetError(f"{at}: a dict without a text; found: {', '.join(map(str, row)) or 'nothing'}")
    return row[key]
