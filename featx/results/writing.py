"""Write text files atomically, and convert values to plain JSON."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featx.durable import replacing
from featx.errors import OutputError, reason_of
from featx.options import check_options


def write_atomically(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text so that a reader finds the old file or the complete new one, else `OutputError`.

    Missing parent folders are created. A lone surrogate (from a file name that is not UTF-8) is written as
    its backslash escape, which JSON reads as the same character.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as file:
            file.write(text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror or error}") from error


def make_writable_folder(directory: str | os.PathLike[str]) -> Path:
    """Create a folder for results if it is missing, and write a test file there, else `OutputError`."""
    check_options(directory=directory)
    folder = Path(directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial = folder / ".featx-write-test"
        trial.write_bytes(b"")
        trial.unlink()
    except (OSError, ValueError) as error:  # ValueError: a null byte or a lone surrogate in the name
        raise OutputError(f"{folder}: cannot be written ({reason_of(error)}); choose another -o") from None
    return folder


def json_text(x: Any) -> str:
    """Return `x` as JSON on one line."""
    return json.dumps(plain(x), ensure_ascii=False)


def plain(x: Any) -> Any:
    """Convert `x` to JSON values.

    Dataclasses become objects; tuples, sets and arrays become lists; NaN and infinities become None; any
    other object becomes its `str`.
    """
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
