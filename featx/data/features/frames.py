"""Features as a table of columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.errors import FeaturesError

if TYPE_CHECKING:
    import pandas

    from featx.data.features.features import Features


def columns_of(features: Features, values: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the columns before the `values`: ``id``, the tasks, and ``split`` and ``group`` if known.

    Classes are names (None where an image has none), numbers float64 (NaN where it has none); labels without
    names of classes stay numbers.

    Raises
    ------
    FeaturesError
        If a task has the name of another column.
    """
    named = {name: task.column() for name, task in features.tasks.items()}
    if features.labels is not None and features.classes is None:
        named = {features.label_name: features.labels, **named}
    others = {"id", "split", "group", *(value_names(features.dim) if values is None else values)}
    if clash := next((name for name in named if name in others), None):
        raise FeaturesError(f"a task is named {clash!r}, which is another column of the table; rename it")
    columns: dict[str, Any] = {"id": list(features.ids), **named}
    for name, texts in (("split", features.splits), ("group", features.groups)):
        if texts is not None:
            columns[name] = texts.astype(object)
    return columns


def value_names(dim: int) -> list[str]:
    """Return the names of the columns of values: ``x0``, ``x1``, ..."""
    return [f"x{i}" for i in range(dim)]


def to_frame(features: Features) -> pandas.DataFrame:
    """Return the data frame of `Features.to_frame`."""
    import pandas

    about = pandas.DataFrame(columns_of(features))
    values = pandas.DataFrame(np.asarray(features.embeddings), columns=value_names(features.dim))
    return pandas.concat([about, values], axis=1)
