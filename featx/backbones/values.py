"""The values of a fine-tuned network and the files beside them; without torch, so that models open quickly."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

import numpy as np

from featx.errors import InputError

#: The name that an identity gives to the weights of a fine-tuned network.
TUNED = "fine-tuned"
#: Names of files of settings and vocabulary, perhaps in a folder such as ``1_Pooling``.
_FILE = re.compile(r"(\d{1,2}_\w{1,40}/)?\w[\w.]{0,80}\.(json|txt|model)", re.ASCII)
_MOST_FILES = 40


def hash_values(values: Mapping[str, np.ndarray]) -> str:
    """Return the sha256 of names, dtypes, shapes and values, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(values):
        array = np.ascontiguousarray(values[name])
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode("utf-8", "surrogatepass"))
        digest.update(array.tobytes())
    return digest.hexdigest()


def check_file_names(names: Iterable[str]) -> None:
    """Raise `InputError` for names that files beside the values never have: they may come from anyone."""
    names = list(names)
    if len(names) > _MOST_FILES:
        raise InputError(f"holds {len(names)} files of a network, expected {_MOST_FILES} at most")
    odd = next((name for name in names if _FILE.fullmatch(name) is None), None)
    if odd is not None:
        raise InputError(f"holds a file {odd!r:.80}, which no network has")
