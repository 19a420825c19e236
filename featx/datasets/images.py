"""Whatever people hold images in, as sources: what an estimator's ``X`` may be, and what it may not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from featx.datasets.dataset import Dataset
from featx.datasets.labels import is_missing
from featx.errors import DatasetError
from featx.images import SOURCES, Source, as_source

_EXPECTED = (
    "a list, array or column of paths, of image files' bytes, of PIL images or of arrays; or one array of "
    "all images (n, h, w) or (n, h, w, 1, 3 or 4), uint8 or floating in [0, 1]"
)


def images_of(X: Any) -> list[Source]:
    """The images that `X` holds.

    Parameters
    ----------
    X : Dataset, sequence, array, tensor, or column or one-column data frame of pandas or polars
        One image per row. Paths, bytes, PIL images, sources; uint8 or floating pixels (h, w), (h, w, 1),
        (h, w, 3) or (h, w, 4); tensors, whose channels come first where that axis has 1, 3 or 4. Floats are
        in [0, 1] and are rounded to the nearest of 256 levels, so that ``pixels / 255`` is `pixels` again.

    Returns
    -------
    list of Source
        With an id each: the path, or the position.

    Raises
    ------
    DatasetError
        Naming the row and, in a data frame, the column: what was expected, and what came.
    """
    if isinstance(X, Dataset):
        return list(X.images)
    where = "X"
    if hasattr(X, "columns") and hasattr(X, "shape"):  # a data frame
        names = [str(name) for name in X.columns]
        if len(names) != 1:
            raise DatasetError(
                f"X: expected one column of images, got {len(names)} ({', '.join(map(repr, names[:5]))}"
                f"{', ...' if len(names) > 5 else ''}); choose one, or give the others to other "
                "transformers of a ColumnTransformer"
            )
        where = f"column {names[0]!r}"
        X = X[X.columns[0]]
    rows = _rows(X, where)
    if not rows:
        raise DatasetError(f"{where}: no images: 0 rows (shape=(0,)) while a minimum of 1 is required.")
    return [_source(row, i, where, len(rows)) for i, row in enumerate(rows)]


def _rows(X: Any, where: str) -> list[Any]:
    """One object for each image."""
    if _is_tensor(X):
        X = _array_of(X)
        if X.ndim == 4 and X.shape[1] in (1, 3, 4):
            X = np.moveaxis(X, 1, -1)
    elif not isinstance(X, np.ndarray) and hasattr(X, "to_numpy"):
        X = X.to_numpy()
    if isinstance(X, np.ndarray):
        return _rows_of_array(X, where)
    if isinstance(X, (str, bytes, bytearray, os.PathLike)) or hasattr(X, "getbands"):
        raise DatasetError(
            f"{where}: expected several images, got one {type(X).__name__}; put it into a list"
        )
    if isinstance(X, dict) or not hasattr(X, "__len__") or not hasattr(X, "__getitem__"):
        raise DatasetError(f"{where}: expected {_EXPECTED}; got {type(X).__name__}")
    rows = list(X) if isinstance(X, (list, tuple)) else [X[i] for i in range(len(X))]
    if rows and all(isinstance(row, (list, tuple)) and len(row) == 1 for row in rows):
        rows = [row[0] for row in rows]  # one column, row by row
    return rows


def _rows_of_array(array: np.ndarray, where: str) -> list[Any]:
    if array.dtype.kind in "OUT":
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim != 1:
            raise DatasetError(
                f"{where}: expected one column of images, got {array.dtype} of shape {array.shape}"
            )
        return array.tolist()
    if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[-1] not in (1, 3, 4)):
        hint = "; move the channels last" if array.ndim == 4 and array.shape[1] in (1, 3, 4) else ""
        if array.ndim == 1:
            hint = ". Reshape your data: it is no image that each row holds"
        raise DatasetError(f"{where}: expected {_EXPECTED}; got {array.dtype} of shape {array.shape}{hint}")
    return list(_levels(array, where))


def _source(row: Any, i: int, where: str, n: int) -> Source:
    at = f"{where}, row {i}"
    if isinstance(row, SOURCES):
        return row
    if is_missing(row) or type(row).__name__ in ("NAType", "NaTType"):
        raise DatasetError(f"{at}: no image, got {row!r}; every row needs one")
    if isinstance(row, (str, Path)):
        return as_source(row, Path(row).as_posix())
    if _is_tensor(row):
        row = _array_of(row)
        if row.ndim == 3 and row.shape[0] in (1, 3, 4):
            row = np.moveaxis(row, 0, -1)
    if isinstance(row, np.ndarray):
        row = _levels(row, at)
    elif not isinstance(row, (bytes, bytearray, memoryview)) and not hasattr(row, "getbands"):
        raise DatasetError(
            f"{at}: expected a path, the bytes of an image file, a PIL image or an array; got "
            f"{type(row).__name__}"
        )
    try:
        return as_source(row, f"{i:0{len(str(n - 1))}d}")
    except DatasetError as error:  # begins with the id, which is but the position
        raise DatasetError(f"{at}: {str(error).partition(': ')[2]}") from None


def _levels(array: np.ndarray, where: str) -> np.ndarray:
    """uint8 as it is, floating values in [0, 1] as the nearest of 256 levels."""
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


def _is_tensor(obj: Any) -> bool:
    return hasattr(obj, "detach") and hasattr(obj, "cpu") and hasattr(obj, "numpy")
