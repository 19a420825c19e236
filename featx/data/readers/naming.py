"""Name a dataset of another library for the title of a result."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

# Types whose names say nothing of what they hold: of a folder, of a part, of anything.
_GENERIC = ("ImageFolder", "DatasetFolder")
_WRAPPERS = ("Subset",)
_UNNAMED = ("Dataset", "Subset", "TensorDataset", "ConcatDataset", "StackDataset", "list", "tuple")


def name_of_object(data: Any) -> str:
    """Name a dataset of another library: after what it was loaded from, else after its type.

    A dataset of Hugging Face is called ``NAME (SPLIT)``, a torch dataset in a folder by the name of the
    folder, and a part of another dataset by the name of that one. A type such as ``Dataset`` says nothing:
    the name is then ``images``.
    """
    split = getattr(data, "split", None)
    for name in (
        getattr(getattr(data, "info", None), "dataset_name", None),
        getattr(data, "builder_name", None),
    ):
        if isinstance(name, str) and name:
            return f"{name} ({split})" if split is not None and str(split) else name
    kind, root = type(data).__name__, getattr(data, "root", None)
    if kind in _WRAPPERS and hasattr(data, "dataset"):
        return name_of_object(data.dataset)
    if kind in _GENERIC and isinstance(root, (str, os.PathLike)) and Path(root).name:
        return Path(root).name
    return "images" if kind in _UNNAMED else kind
