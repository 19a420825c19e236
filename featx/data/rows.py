"""Load rows that are given in place of inputs: a features file, or a `Features`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from featx.data.collection import without_split
from featx.data.features import Features, load_features
from featx.errors import InputError
from featx.options import FROM_A_FILE, Reading, is_features


def has_rows(data: Any) -> bool:
    """Whether `data` is a features file or a `Features`, which need no network."""
    return isinstance(data, Features) or is_features(data)


def take_features(data: Any, reading: Reading) -> tuple[str, str, Features]:
    """Load a features file, or take a `Features` as it is.

    Returns its name in results, its name in messages, and the features. A limit or a division of folders in
    `reading` is refused, because both apply to inputs only. With ``split_by="group"`` they have no split.
    """
    if reading.limit is not None:
        raise InputError("limit does not apply to features; give it to extract, or use Features.subset")
    if reading.text is not None:
        raise InputError(f"text={reading.text!r} has no effect: {FROM_A_FILE}; leave it out")
    if reading.group is not None:
        raise InputError(
            f"group={reading.group!r} has no effect: a features file has its groups already; give group to "
            "featx extract"
        )
    if reading.split_by not in (None, "group"):
        raise InputError("split_by divides a folder, and a features file has its groups already")
    name, place = ("features",) * 2 if isinstance(data, Features) else (Path(data).stem, str(data))
    features = data if isinstance(data, Features) else load_features(data)
    if reading.split_by == "group":
        features = without_split(features, place)
    return name, place, features
