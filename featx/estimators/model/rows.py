"""Tell embeddings from inputs in what a user gives a model."""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.cache import Space
from featx.data.features import Features
from featx.data.features.checking import array_of
from featx.data.readers.clips import is_sampled
from featx.errors import InputError, ModelMismatch, as_one_error


def rows_in(data: Any) -> np.ndarray | None:
    """Return embeddings (n, d), or None where `data` are inputs.

    Embeddings are `Features`, and everything with two axes whose values are floats: an array, a tensor, a
    data frame, a list of rows. A single grey image of floats is given in a list.
    """
    if isinstance(data, Features):
        return data.embeddings
    if isinstance(data, (list, tuple)):
        # Pixels of one grey image in a list have three axes in all; paths and bytes have none.
        if not len(data) or not all(
            isinstance(row, (list, tuple, np.ndarray)) or _is_tensor(row) for row in data
        ):
            return None
        if is_sampled(data) or any(map(is_sampled, data)):
            return None
        if any(np.ndim(row) != 1 for row in data):
            return None
        data = [array_of(row) if _is_tensor(row) else row for row in data]
    elif not hasattr(data, "__array__") or hasattr(data, "getbands"):
        return None
    with as_one_error(lambda reason: InputError(f"expected inputs, or embeddings of one length ({reason})")):
        array = array_of(data)
    return array if array.ndim == 2 and array.dtype.kind == "f" else None


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "detach")


def check_same_space(features: Features, space: dict[str, Any], where: str) -> None:
    """Raise `ModelMismatch` unless features are in a model's space, or in fp32 where that is less exact.

    Features without a space, made of arrays, are taken as they are.
    """
    if not features.space:
        return
    given = Space(features.space)
    exact = given.fields.get("precision") == "fp32"
    expected = Space({**space, "precision": "fp32"} if exact else space)
    differences = expected.differences(given, here=f"in {where}", there="in the features")
    if differences:
        raise ModelMismatch(f"the features do not fit {where}: {'; '.join(differences)}")
