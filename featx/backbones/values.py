"""Name and hash the values of a fine-tuned network; without torch, so that model files open quickly."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

#: The name that an identity gives to the weights of a fine-tuned network.
TUNED = "fine-tuned"


def hash_values(values: Mapping[str, np.ndarray]) -> str:
    """Return the sha256 of names, dtypes, shapes and values, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(values):
        array = np.ascontiguousarray(values[name])
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode("utf-8", "surrogatepass"))
        digest.update(array.tobytes())
    return digest.hexdigest()
