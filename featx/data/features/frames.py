"""Features as a table of columns: a data frame, and a parquet file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.durable import replacing
from featx.errors import FeaturesError, MissingExtra, OutputError, as_one_error

if TYPE_CHECKING:
    import pandas

    from featx.data.features.features import Features


def columns_of(features: Features) -> dict[str, Any]:
    """Return the columns before the values: ``id``, the tasks, and ``split`` and ``group`` if known.

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
    others = {"id", "split", "group", *value_names(features.dim)}
    if clash := next((name for name in named if name in others), None):
        raise FeaturesError(f"a task is named {clash!r}, which is another column of the table; rename it")
    columns: dict[str, Any] = {"id": features.ids, **named}
    for name, values in (("split", features.splits), ("group", features.groups)):
        if values is not None:
            columns[name] = values.astype(object)
    return columns


def value_names(dim: int) -> list[str]:
    """Return the names of the columns of values: ``x0``, ``x1``, ..."""
    return [f"x{i}" for i in range(dim)]


def to_frame(features: Features) -> pandas.DataFrame:
    """Return the data frame of `Features.to_frame`."""
    import pandas

    about = pandas.DataFrame(columns_of(features))
    values = pandas.DataFrame(features.embeddings, columns=value_names(features.dim))
    return pandas.concat([about, values], axis=1)


def write_parquet(features: Features, path: str | os.PathLike[str]) -> None:
    """Write the table of `to_frame` atomically; parameters and errors as for `Features.to_parquet`."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtra("pyarrow", "parquet", "Features.to_parquet") from error
    columns = columns_of(features)
    with as_one_error(FeaturesError):
        arrays = [pyarrow.array(list(values) if name == "id" else values) for name, values in columns.items()]
        # Columns lie apart in a file of columns: each is made contiguous once.
        arrays += [pyarrow.array(np.ascontiguousarray(values)) for values in features.embeddings.T]
        names = [*columns, *value_names(features.dim)]
        table = pyarrow.Table.from_arrays(arrays, names=names)
        space = json.dumps(features.space, ensure_ascii=False)
        table = table.replace_schema_metadata({"featx_space": space})
    target = Path(os.path.realpath(Path(path).expanduser()))  # a link stays a link
    writing = as_one_error(lambda reason: OutputError(f"{path}: cannot be written ({reason})"))
    with writing, replacing(target) as file:
        parquet.write_table(table, file)
