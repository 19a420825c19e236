"""Turn paths, arrays, tensors, PIL images and columns of them into sources, by one rule for all of featx.

Arrays have their channels last and tensors first, as in their libraries. An ambiguous shape is refused, with
advice on how to write either meaning.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.data.dataset import Dataset
from featx.data.labels import is_missing
from featx.data.readers.folders.folder_listing import PathFinder
from featx.data.readers.label_keys import refuse_labels_in
from featx.data.readers.urls import stored_at
from featx.errors import DatasetError, ImageError
from featx.inputs import Source
from featx.inputs.image import SOURCES, LazyImage, as_source
from featx.places import is_url, shown

_EXPECTED = (
    "a list, array or column of paths, of image files' bytes, of PIL images or of arrays; or one array of "
    "all images (n, h, w) or (n, h, w, 1, 3 or 4), uint8 or floating in [0, 1]"
)
_EXPECTED_TEXTS = "a list, array or column of texts"
_CLIPS = "; samples of audio have a rate: clips(X, rate) of featx.data"
_CHANNELS = (1, 3, 4)
#: Names of the column or key of images in rows with several; the first that exists is taken.
IMAGE_KEYS = ("image", "img", "path", "file", "filename", "file_name", "image_path")


def images_of(X: Any) -> list[Source]:
    """Return the images in `X` as sources, with the path or the position as id.

    Parameters
    ----------
    X : Dataset, sequence, array, tensor, or column or one-column data frame of pandas or polars
        One image per row: paths, bytes, PIL images, sources; uint8 or floating pixels, grey or with 1, 3 or 4
        channels last; tensors, with channels first if that axis has 1, 3 or 4. Floats are in [0, 1] and are
        rounded to the nearest of 256 levels, so that ``pixels / 255`` gives `pixels` again.

    Raises
    ------
    DatasetError
        Naming the row and, in a data frame, the column.
    """
    if isinstance(X, Dataset):
        return list(X.inputs)
    X, where = take_column(X, IMAGE_KEYS, "image")
    rows = list_rows(X, where)
    if not rows:
        raise DatasetError(f"{where}: no images: 0 rows (shape=(0,)) while a minimum of 1 is required.")
    if all(isinstance(row, Mapping) for row in rows):
        refuse_labels_in(rows, where, IMAGE_KEYS)
        rows = [_image_in(row, f"{where}, row {i}") for i, row in enumerate(rows)]
    return make_sources(rows, where)


def take_column(X: Any, keys: Sequence[str], kind: str) -> tuple[Any, str]:
    """Return the only column of a data frame, anything else as it is, and what to call it in messages.

    `keys` are names of columns of that kind, for the error about a data frame with several.
    """
    if not is_frame(X):
        return X, "X"
    names = [str(name) for name in X.columns]
    if len(names) != 1:
        known = next((name for name in keys if name in names), None)
        choose = "choose one" if known is None else f"choose one, as in X[[{known!r}]]"
        raise DatasetError(
            f"X: expected one column of {kind}s, got {len(names)} ({', '.join(map(repr, names[:5]))}"
            f"{', ...' if len(names) > 5 else ''}); {choose}, or give the others to other "
            "transformers of a ColumnTransformer"
        )
    return X[X.columns[0]], f"column {names[0]!r}"


def is_frame(X: Any) -> bool:
    """Whether `X` is a data frame of pandas or polars."""
    return hasattr(X, "columns") and hasattr(X, "shape") and not hasattr(X, "column_names")


def list_rows(X: Any, where: str, kind: str = "image") -> list[Any]:
    """Return one object for each input; `DatasetError` if `X` is not a collection or is ambiguous.

    With the kind ``"text"`` or ``"clip"``, arrays of numbers are refused.
    """
    from_tensor = is_tensor(X)
    if from_tensor:
        X = _array_of(X)
        if X.ndim == 4 and X.shape[1] in _CHANNELS:
            X = np.moveaxis(X, 1, -1)
    elif hasattr(X, "to_pylist"):  # a column of pyarrow, or a table of it, as dicts
        X = X.to_pylist()
    elif not isinstance(X, np.ndarray) and hasattr(X, "to_numpy"):
        X = X.to_numpy()
    if isinstance(X, np.ndarray):
        if kind == "text" and X.dtype.kind not in "OUT":
            raise DatasetError(f"{where}: expected texts, got {X.dtype} of shape {X.shape}")
        if kind == "clip" and X.dtype.kind not in "OUT":
            raise DatasetError(f"{where}: expected clips, got {X.dtype} of shape {X.shape}{_CLIPS}")
        return _rows_of_array(X, where, from_tensor, kind)
    if isinstance(X, (str, bytes, bytearray, memoryview, os.PathLike)) or hasattr(X, "getbands"):
        raise DatasetError(
            f"{where}: expected several {kind}s, got one {type(X).__name__}; put it into a list"
        )
    if isinstance(X, dict) or not hasattr(X, "__len__") or not hasattr(X, "__getitem__"):
        expected = "a list or column of clips" if kind == "clip" else _EXPECTED
        expected = _EXPECTED_TEXTS if kind == "text" else expected
        raise DatasetError(f"{where}: expected {expected}; got {type(X).__name__}")
    rows = list(X) if isinstance(X, (list, tuple)) else [X[i] for i in range(len(X))]
    if rows and all(isinstance(row, (list, tuple)) and len(row) == 1 for row in rows):
        rows = [row[0] for row in rows]  # one column, row by row
    return rows


def _rows_of_array(array: np.ndarray, where: str, from_tensor: bool, kind: str) -> list[Any]:
    if array.dtype.kind in "OUT":
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim != 1:
            raise DatasetError(
                f"{where}: expected one column of {kind}s, got {array.dtype} of shape {array.shape}"
            )
        return array.tolist()
    shape = array.shape
    if array.ndim not in (3, 4) or (array.ndim == 4 and shape[-1] not in _CHANNELS):
        hint = ""
        if array.ndim == 4 and shape[1] in _CHANNELS:
            hint = "; move the channels last, as in numpy.moveaxis(images, 1, -1)"
        elif array.ndim == 2:
            hint = f"; put it into a list if it is one grey image{_CLIPS}"
        elif array.ndim == 1:
            hint = ". Reshape your data: it is no image that each row holds"
        raise DatasetError(f"{where}: expected {_EXPECTED}; got {array.dtype} of shape {shape}{hint}")
    levels = _levels(array, where)
    if array.ndim == 3 and (shape[-1] in _CHANNELS or shape[0] in (3, 4)):
        last = shape[-1] in _CHANNELS
        one = "(h, w, channels)" if last else "(channels, h, w)"
        put = "put it into a list" if last or from_tensor else "move the channels last and put it into a list"
        raise DatasetError(
            f"{where}: an array of shape {shape} may be one image {one} or {shape[0]} grey images (n, h, w); "
            f"{put} if it is one image, and add an axis, (n, h, w, 1), if it is several"
        )
    return list(levels)


def make_sources(
    rows: list[Any], where: str, ids: list[str] | None = None, *, on_error: str = "raise"
) -> list[Source]:
    """Return the source of each row from `list_rows`; an id is by default the path or the position.

    A row that is no image is a `DatasetError`, which names `where` and the row; with ``on_error="skip"`` it
    fails only when it is read, as a broken file does.
    """
    finder, width = PathFinder(), len(str(len(rows) - 1))

    def source(row: Any, i: int) -> Source:
        id = None if ids is None else ids[i]
        if isinstance(row, SOURCES):
            return row if id is None else as_source(row, id)
        position = f"{i:0{width}d}" if id is None else id
        try:
            made = _source(row, f"{where}, row {i}", position, finder)
        except DatasetError as error:
            if on_error == "raise":
                raise
            return LazyImage(position, functools.partial(_fail, position, str(error)))
        if id is None and isinstance(row, (str, os.PathLike)):
            return as_source(made, shown(row) if is_url(row) else Path(row).as_posix())
        return made

    return [source(row, i) for i, row in enumerate(rows)]


def _fail(id: str, reason: str) -> object:
    raise ImageError(id, reason)


def to_pixels(image: Any, where: str) -> Any:
    """Return an array or tensor of pixels as uint8 with channels last, anything else unchanged."""
    if is_tensor(image):
        image = _array_of(image)
        if image.ndim == 3 and image.shape[0] in _CHANNELS:
            image = np.moveaxis(image, 0, -1)
    return _levels(image, where) if isinstance(image, np.ndarray) else image


def fetch_image(image: Any, id: str) -> object:
    """Return the image in an item of a dataset, for a `LazyImage`; `ImageError` if it holds none."""
    if is_missing(image):
        raise ImageError(id, f"no image, got {image!r}")
    if isinstance(image, (Mapping, str, os.PathLike, bytes)):
        return _source(image, id, id, PathFinder()).read().image()
    return to_pixels(image, id)


def is_encoded(row: Any) -> bool:
    """Whether `row` is an encoded image of Hugging Face: a dict of ``bytes`` and ``path``."""
    return isinstance(row, Mapping) and "bytes" in row and row.keys() <= {"bytes", "path"}


def _samples_in(row: Any) -> str:
    """Name what looks like samples of audio that are not given as a clip; ``""`` for anything else.

    Bytes may be those of an image file.
    """
    if isinstance(row, memoryview) or getattr(row, "dtype", None) == np.uint8:
        return ""
    if len(getattr(row, "shape", ())) == 1 and row.shape[0] > 1:
        return f"an array of shape ({row.shape[0]},)"
    pair = isinstance(row, (tuple, list)) and len(row) == 2 and np.ndim(row[0]) == 0
    return "a pair with the array last" if pair and len(getattr(row[1], "shape", ())) in (1, 2) else ""


def _source(row: Any, at: str, id: str, finder: PathFinder) -> Source:
    if is_encoded(row):
        row = row["bytes"] if row.get("bytes") is not None else row.get("path")
    if is_missing(row):
        raise DatasetError(f"{at}: no image, got {row!r}; every row needs one")
    if is_url(row):
        return stored_at(row, id)
    if isinstance(row, (str, os.PathLike)):
        return as_source(finder.find(os.path.expanduser(os.fspath(row))), id)
    if got := _samples_in(row):
        raise DatasetError(
            f"{at}: got {got}, which is no image; samples of audio come with their rate: a list of pairs "
            "(samples, rate), or clips(X, rate) of featx.data"
        )
    row = to_pixels(row, at)
    if not (isinstance(row, (bytes, bytearray, memoryview, np.ndarray)) or hasattr(row, "getbands")):
        raise DatasetError(
            f"{at}: expected a path, the bytes of an image file, a PIL image or an array; got "
            f"{type(row).__name__}"
        )
    try:
        return as_source(row, id)
    except DatasetError as error:  # its message begins with the id
        raise DatasetError(f"{at}: {str(error).removeprefix(f'{id}: ')}") from None


def _image_in(row: Mapping[str, Any], at: str) -> Any:
    """Return the image in a row that is a dict."""
    if is_encoded(row):
        return row
    found = next((key for key in IMAGE_KEYS if key in row), None)
    if found is None:
        raise DatasetError(f"{at}: a dict without an image; found: {', '.join(map(str, row)) or 'nothing'}")
    return row[found]


def _levels(array: np.ndarray, where: str) -> np.ndarray:
    """Return uint8 as it is, and floats in [0, 1] as the nearest of 256 levels."""
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "c":
        raise DatasetError(f"{where}: Complex data not supported: expected pixels, got {array.dtype}")
    if array.dtype.kind != "f":
        raise DatasetError(
            f"{where}: expected pixels of dtype uint8 (0 to 255), or floating in [0, 1]; got {array.dtype} "
            f"of shape {array.shape}; scale to 0..255 and use .astype('uint8')"
        )
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    if not (low >= 0 and high <= 1):  # NaN is neither
        what = "NaN" if np.isnan(low) else f"{low:.3g} to {high:.3g}"
        raise DatasetError(
            f"{where}: expected floating pixels in [0, 1], got {what}; give uint8 for 0 to 255, and leave "
            "normalisation to featx"
        )
    return np.rint(array * 255.0).astype(np.uint8)


def _array_of(tensor: Any) -> np.ndarray:
    try:
        return np.asarray(tensor.detach().cpu().numpy())
    except TypeError:  # bfloat16 has no numpy dtype
        return np.asarray(tensor.detach().cpu().float().numpy())


def is_tensor(obj: Any) -> bool:
    """Whether `obj` has the methods of a torch tensor: torch need not be installed."""
    return hasattr(obj, "detach") and hasattr(obj, "cpu") and hasattr(obj, "numpy")
