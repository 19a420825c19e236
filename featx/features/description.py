"""Say what is in a features file."""

from __future__ import annotations

import os

import numpy as np

from featx.cache.identity import Space
from featx.features.collection import SPLITS
from featx.features.reading import open_features

__all__ = ["describe"]


def describe(path: str | os.PathLike[str]) -> str:
    """Say what is in a features file, for ``featx inspect``.

    Parameters
    ----------
    path : path-like
        A features file.

    Returns
    -------
    str
        Several lines of plain text.

    Raises
    ------
    FeaturesError
        If the file is missing, damaged, or no features file.
    """
    with open_features(path) as file:
        lines = [
            f"{path}",
            f"  embeddings   {len(file)} x {file.dim} {file.embeddings.dtype.name}",
        ]
        if file.labels is None:
            lines.append("  labels       none")
        else:
            n_classes = int(file.labels.max(initial=-1)) + 1 if file.classes is None else len(file.classes)
            counts = np.bincount(file.labels, minlength=n_classes)
            lines.append(f"  labels       {n_classes} classes")
            shown = [file.classes[i] if file.classes is not None else str(i) for i in range(n_classes)]
            lines += [f"    {_printable(name)}: {counts[i]}" for i, name in enumerate(shown[:20])]
            if n_classes > 20:
                lines.append(f"    and {n_classes - 20} more")
        if file.splits is not None:
            parts = [f"{name} {np.count_nonzero(file.splits == name)}" for name in SPLITS]
            lines.append(f"  splits       {', '.join(p for p in parts if not p.endswith(' 0')) or 'none'}")
        if file.groups is not None:
            lines.append(f"  groups       {len(np.unique(file.groups))}")
        lines.append(f"  failures     {len(file.failures)}")
        lines += [f"    {_printable(str(failure))}" for failure in file.failures[:10]]
        if len(file.failures) > 10:
            lines.append(f"    and {len(file.failures) - 10} more")
        lines.append(f"  written by   featx {file.featx_version or '?'}, {file.created or 'date unknown'}")
        lines.append("  space")
        lines += [f"    {name}: {value}" for name, value in sorted(Space(file.space).flattened().items())]
    return "\n".join(lines)


def _printable(text: str) -> str:
    """One line that a terminal takes as text: control characters and lone bytes are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
