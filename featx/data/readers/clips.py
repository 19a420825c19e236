"""Turn paths, bytes, samples and columns of them into sources of clips; tell clips from images and texts."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from featx.data.labels import is_missing
from featx.data.readers.folders.folder_listing import PathFinder
from featx.data.readers.images import is_encoded, is_tensor
from featx.data.readers.known_columns import AUDIO_KEYS, FILE_KEYS
from featx.data.readers.tabular import Table
from featx.data.readers.urls import stored_at
from featx.errors import AudioError, DatasetError
from featx.inputs import Source
from featx.inputs.audio import SOURCES, WHOLE, LazyClip, Segment, as_source, is_audio_file
from featx.inputs.audio.containers import id3_length, recognise
from featx.inputs.audio.source import check_samples
from featx.inputs.image import is_image_file
from featx.options.checks import short
from featx.options.checks import shown as value_shown
from featx.places import is_url, shown
from featx.places.urls import named

EXPECTED_CLIPS = (
    "the path or bytes of an audio file, samples with their rate as (samples, rate) or "
    "{'array': samples, 'sampling_rate': rate}, or clips(samples, rate) of featx.data"
)
# Bytes by which an audio file is recognised.
_HEAD = 32
# Lowest rate of a pair (samples, rate): a smaller whole number beside an array is a label.
_LOWEST_RATE = 1000
# Most channels of such samples.
_MOST_CHANNELS = 8
# A longer string is no path on any system.
_LONGEST_PATH = 4096
# Frames of each clip in memory that are looked at when it is given.
_LOOKED_AT = 1024


def clips(samples: Any, rate: Any, *, ids: Sequence[str] | None = None) -> list[Source]:
    """Return clips in memory as sources, which every function takes that takes inputs.

    Parameters
    ----------
    samples : array-like of shape (n, frames) or (n, frames, channels), or sequence of n arrays
        Floating samples in [-1, 1], or integers of the width of a file. Arrays of a sequence are (frames,) or
        (frames, channels), each of its own length; tensors are (frames,) or (channels, frames).
    rate : int, or sequence of n int
        Frames per second.
    ids : sequence of str, optional
        Distinct names; default: positions.

    Returns
    -------
    list of Source
        For `featx.compare`, `featx.extract`, `featx.FeatureExtractor`, `featx.data.from_arrays` and others.

    Raises
    ------
    DatasetError
        If lengths disagree or a clip holds no samples, naming its row.

    Examples
    --------
    >>> import numpy as np
    >>> from featx.data import clips, from_arrays
    >>> samples = np.random.default_rng(0).normal(0, 0.1, (4, 16_000))
    >>> from_arrays(clips(samples, 16_000), ["yes", "no", "yes", "no"]).kind
    'clip'
    """
    if not hasattr(samples, "__len__") or isinstance(samples, (str, bytes, Mapping)):
        raise DatasetError(
            f"samples: expected an array (n, frames) or a list of arrays, got {type(samples).__name__}"
        )
    rows = [samples[i] for i in range(len(samples))]
    if not rows:
        raise DatasetError("samples: no clips: 0 rows")
    if np.ndim(rows[0]) == 0:
        raise DatasetError(
            "samples: expected an array (n, frames) or a list of arrays; got the samples of one clip: put "
            "them into a list"
        )
    n = len(rows)
    rates = [rate] * n if np.ndim(rate) == 0 else list(rate)
    for what, values in (("rate", rates), ("ids", rows if ids is None else ids)):
        if len(values) != n:
            raise DatasetError(f"{what}: expected one for each of {n} clips, got {len(values)}")
    pairs = [(row, _plain_rate(one)) for row, one in zip(rows, rates, strict=True)]
    return make_clip_sources(pairs, "samples", None if ids is None else list(map(str, ids)))


def clips_in(rows: Sequence[Any], kind: str | None = None) -> list[Any] | None:
    """Return rows as clips; None if they are of another kind.

    Without `kind`, rows are clips if one is a source of a clip, or if more than half of those that are not
    missing are clips by their form: strings and paths that end like an audio file, bytes that begin like one,
    samples with their rate.
    """
    if kind is not None:
        return list(rows) if kind == "clip" else None
    found = sum(map(is_clip, rows))
    if not found:  # quick for a million texts
        return None
    if any(isinstance(row, SOURCES) for row in rows):
        return list(rows)
    return list(rows) if 2 * found > sum(not is_missing(row) for row in rows) else None


def find_audio_column(table: Table) -> str:
    """Return the column of clips of a table that says so by a name; ``""`` for a table of other inputs.

    Beside a column ``path`` or ``image`` it must hold clips. A column called ``filename`` or the like counts
    where no other column is one of inputs, and it holds clips.
    """
    if table.text or table.stored is not None:
        return ""
    column = next((key for key in AUDIO_KEYS if key in table.columns), "")
    other = next((key for key in ("image", "path") if key in table.columns), "")
    if not other:
        of_files = (key for key in FILE_KEYS if clips_in(table.columns.get(key, ())) is not None)
        return column or next(of_files, "")
    if not column or clips_in(table.columns[column]) is None:
        return ""
    values = [value for value in table.columns[other] if not is_missing(value)]
    if other == "image" or 2 * sum(isinstance(v, str) and is_image_file(v) for v in values) > len(values):
        raise DatasetError(
            f"{table.place}: column {other} holds images, and column {column} clips; remove one of them"
        )
    return column


def is_clip(row: Any) -> bool:
    """Whether a value is a clip by its form: a path, bytes, or samples with their rate."""
    if isinstance(row, str):
        return is_audio_path(row)
    if isinstance(row, os.PathLike):
        return is_audio_path(os.fspath(row))
    if isinstance(row, (bytes, bytearray, memoryview)):
        return is_audio_data(bytes(row[:_HEAD]))
    if isinstance(row, Mapping):
        if row.get("array") is not None:
            return "sampling_rate" in row
        return is_encoded(row) and any(is_clip(row.get(key)) for key in ("bytes", "path"))
    return is_sampled(row) or hasattr(row, "get_all_samples") or isinstance(row, SOURCES)


def is_sampled(row: Any) -> bool:
    """Whether a value is a pair of samples (frames,), or of few channels, and their rate."""
    if not isinstance(row, (tuple, list)) or len(row) != 2:
        return False
    samples, rate = row
    shape = getattr(samples, "shape", None)
    if shape is None or len(shape) not in (1, 2) or isinstance(rate, bool):
        return False
    if len(shape) == 2 and min(shape) > _MOST_CHANNELS:  # a grey image with its label
        return False
    return isinstance(rate, (int, float, np.integer, np.floating)) and bool(rate >= _LOWEST_RATE)


def is_audio_path(text: str) -> bool:
    """Whether a string ends like the name of an audio file, and may be a path."""
    if "://" in text:
        text = named(text)
    return is_audio_file(text[-8:]) and len(text) <= _LONGEST_PATH and "\n" not in text and "\0" not in text


def is_audio_data(head: bytes) -> bool:
    """Whether the first bytes of a file are those of an audio file."""
    return recognise(head) is not None or id3_length(head) > 0


def holds_audio(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins like an audio file."""
    try:
        with open(path, "rb") as file:
            return is_audio_data(file.read(_HEAD))
    except OSError:
        return False


def make_clip_sources(
    rows: Sequence[Any],
    where: str,
    ids: Sequence[str] | None = None,
    *,
    on_error: str = "raise",
    segments: Sequence[Segment] | None = None,
) -> list[Source]:
    """Return the source of each clip; an id is by default the path or the position.

    A row that is no clip is a `DatasetError`, which names `where` and the row; with ``on_error="skip"`` it
    fails only when it is read, as a broken file does.
    """
    finder, width = PathFinder(), len(str(len(rows) - 1))

    def source(row: Any, i: int) -> Source:
        file = isinstance(row, (str, os.PathLike))
        name = (
            shown(row)
            if is_url(row)
            else Path(row).as_posix()
            if file
            else row.id
            if isinstance(row, SOURCES)
            else f"{i:0{width}d}"
        )
        id = name if ids is None else ids[i]
        segment = WHOLE if segments is None else segments[i]
        try:
            return clip_source(row, f"{where}, row {i}", id, finder, segment)
        except DatasetError as error:
            if on_error == "raise":
                raise
            return LazyClip(id, functools.partial(_fail, id, str(error)))

    return [source(row, i) for i, row in enumerate(rows)]


def clip_source(row: Any, at: str, id: str, finder: PathFinder, segment: Segment = WHOLE) -> Source:
    """Return the source of one clip; `DatasetError`, which names `at`, for what is none."""
    if is_encoded(row):
        data = row["bytes"]
        if data is not None and not isinstance(data, (bytes, bytearray, memoryview)):
            raise DatasetError(f"{at}: expected the bytes of a file, got {value_shown(data)}")
        row = row.get("path") if data is None else data
    elif isinstance(row, Mapping) and "array" in row:
        row = _frames_first(row["array"]), row.get("sampling_rate")
    elif hasattr(row, "get_all_samples"):  # a decoder of torchcodec, which decodes when it is asked
        return LazyClip(id, functools.partial(_decoded, row), segment)
    if is_missing(row):
        raise DatasetError(f"{at}: no clip, got {row!r}; every row needs one")
    if isinstance(row, (str, os.PathLike)):
        if is_image_file(named(row) if isinstance(row, str) else row):
            raise DatasetError(f"{at}: {short(row)} is the path of an image among clips; give them apart")
        row = stored_at(row, id, "clip") if is_url(row) else finder.find(os.path.expanduser(os.fspath(row)))
    elif isinstance(row, (tuple, list)) and len(row) == 2:
        row = _checked(_samples_of(row[0]), _plain_rate(row[1]), at)
    elif not isinstance(row, (bytes, bytearray, memoryview, *SOURCES)):
        raise DatasetError(f"{at}: expected {EXPECTED_CLIPS}; got {value_shown(row)}")
    made = as_source(row, id)
    return made if segment.is_whole else replace(made, segment=segment)  # type: ignore[type-var]


def clip_of(row: Any, id: str) -> object:
    """Return the clip in an item of a dataset, for a `LazyClip`; `AudioError` if it holds none."""
    try:
        return clip_source(row, id, id, PathFinder())
    except DatasetError as error:
        raise AudioError(id, str(error).removeprefix(f"{id}: ")) from error


def _fail(id: str, reason: str) -> object:
    raise AudioError(id, reason)


def _decoded(decoder: Any) -> tuple[np.ndarray, int]:
    samples = decoder.get_all_samples()
    return _samples_of(samples.data), int(samples.sample_rate)


def _samples_of(samples: Any) -> np.ndarray:
    """Return samples as an array with frames first: tensors have their channels first."""
    if is_tensor(samples):
        array = np.asarray(samples.detach().cpu().numpy())
        return array.T if array.ndim == 2 else array
    return np.asarray(samples)


def _frames_first(samples: Any) -> np.ndarray:
    """Return samples (channels, frames), as datasets of Hugging Face have them, with frames first."""
    array = _samples_of(samples)
    return array.T if array.ndim == 2 and array.shape[0] < array.shape[1] else array


def _plain_rate(rate: Any) -> Any:
    """Return a whole rate as an int, anything else as it is, for a message."""
    value = rate.item() if hasattr(rate, "item") and np.ndim(rate) == 0 else rate
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _checked(samples: np.ndarray, rate: Any, at: str) -> tuple[np.ndarray, Any]:
    """Return the pair; `DatasetError` where it cannot be a clip. All samples are checked when it is read."""
    try:
        check_samples(samples[:_LOOKED_AT] if samples.ndim else samples, rate, at)
    except AudioError as error:
        raise DatasetError(str(error)) from error
    return samples, rate
