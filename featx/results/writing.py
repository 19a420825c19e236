"""Writing a text file so that a reader finds the old one or the whole new one; and values as JSON."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featx.durable import replacing
from featx.errors import OutputError


def write_atomically(path: str | os.PathLike[str], text: str) -> None:
    """Write text as UTF-8 so that a reader finds the old file or the whole new one.

    Missing parent folders are made. A lone surrogate (from a file name that is not UTF-8) is written as
    its backslash escape, which in JSON means that very character.

    Raises
    ------
    OutputError
        When the place cannot be written.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as file:
            file.write(text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror or error}") from error


def plain(x: Any) -> Any:
    """The same as JSON values: no dataclasses, tuples, arrays, NaN; what JSON lacks becomes its text."""
    if hasattr(x, "__dataclass_fields__"):
        return {name: plain(getattr(x, name)) for name in x.__dataclass_fields__}
    if isinstance(x, Mapping):
        return {str(k): plain(v) for k, v in x.items()}
    if hasattr(x, "tolist"):  # numpy arrays and scalars
        return plain(x.tolist())
    if isinstance(x, list | tuple | set | frozenset):
        return [plain(v) for v in (sorted(x, key=str) if isinstance(x, set | frozenset) else x)]
    if isinstance(x, float):
        return x if math.isfinite(x) else None
    return x if x is None or isinstance(x, bool | int | str) else str(x)
