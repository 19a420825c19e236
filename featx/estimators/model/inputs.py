"""Read what a model is to classify: inputs of the kind that it was trained on."""

from __future__ import annotations

import os
from typing import Any

from featx.data import Dataset, from_arrays, load_dataset
from featx.data.path_forms import means_data
from featx.data.readers.clips import is_sampled
from featx.errors import InputError
from featx.inputs import Source
from featx.inputs.text import LazyText, StringText
from featx.options import require_no_effect


def read_inputs(data: Any, kind: str, text: str | None, on_error: str) -> Dataset:
    """Return the inputs of a collection, for a model of that kind; labels are ignored.

    Parameters
    ----------
    data : anything that `featx.load_dataset` takes
        With kind ``"text"`` each string of a list, an array or a column is a text, whatever it looks like.
        With ``"clip"``, also one pair of samples and their rate.
    kind : {"image", "text", "clip"}
    text : str or None
        The column of texts of a table.
    on_error : {"raise", "skip"}

    Raises
    ------
    InputError
        The collection is of another kind, or a single text was given.
    DatasetError
        See `featx.load_dataset`.
    """
    if kind != "text":
        require_no_effect("text", text, None, f"the model takes {kind}s")
    if kind == "clip" and is_sampled(data):
        data = [data]
    if kind != "image" and text is None and _is_plain(data):
        dataset = from_arrays(data, kind=kind, on_error=on_error, name=f"{kind}s")
    else:
        if kind == "text" and isinstance(data, str) and not means_data(data):
            raise InputError(
                f"{data!r:.80} is no file and no folder; if it is a text, put it into a list: predict([text])"
            )
        # Labels are ignored, so top folders are neither classes nor splits.
        dataset = load_dataset(data, text=text, labelled=False, split_by="none", on_error=on_error)
    if dataset.kind != kind:
        first = text_of(dataset.inputs[0])
        shown = "" if first is None else f" such as {first!r:.60}, which is the name of no file"
        raise InputError(f"the model was trained on {kind}s, and these are {dataset.kind}s{shown}")
    return dataset


def text_of(source: Source) -> str | None:
    """Return the text of a source that no file holds; None for anything else."""
    if isinstance(source, StringText):
        return source.text
    return source.read().text if isinstance(source, LazyText) else None


def _is_plain(data: Any) -> bool:
    """Whether `data` is rows of one thing each: a list, an array or a column, but no table and no path."""
    if isinstance(data, (str, bytes, os.PathLike, Dataset)) or hasattr(data, "column_names"):
        return False
    if hasattr(data, "columns"):
        return len(data.columns) == 1
    rows = data if isinstance(data, (list, tuple)) else ()
    return not any(isinstance(row, dict) for row in rows[:1])
