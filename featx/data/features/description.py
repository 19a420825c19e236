"""Describe a features file in plain text."""

from __future__ import annotations

import contextlib
import os

import numpy as np

from featx.cache.identity import Space
from featx.data.features.features import Features
from featx.data.features.file import FeaturesFile, load_features, open_features
from featx.data.labels import SPLITS
from featx.data.tasks import LABEL, Task
from featx.kinds import kind_of
from featx.terminal import printable

__all__ = ["describe"]

_BYTES_AT_ONCE = 16 * 2**20


def describe(path: str | os.PathLike[str]) -> str:
    """Return the lines that ``featx inspect`` prints about a features file.

    Raises
    ------
    FeaturesError
        If the file is missing, damaged in any row, or not a features file.
    """
    with _opened(path) as file:
        kind = kind_of(file.space.get("preprocessing"))
        lines = [
            f"{path}",
            f"  embeddings   {len(file)} x {file.dim} {file.embeddings.dtype.name}",
            *_not_finite(file),
        ]
        if file.labels is None:
            lines.append("  labels       none")
        else:
            values, counts = np.unique(file.labels, return_counts=True)
            known = dict(zip(values.tolist(), counts.tolist(), strict=True))
            shown = dict(enumerate(file.classes)) if file.classes is not None else {i: str(i) for i in known}
            name = "" if file.label_name == LABEL else f"{file.label_name}: "
            lines.append(f"  labels       {name}{len(shown)} classes")
            lines += [f"    {name}: {known.get(i, 0)}" for i, name in list(shown.items())[:20]]
            if len(shown) > 20:
                lines.append(f"    and {len(shown) - 20} more")
        lines += [f"  target       {_task(task, kind)}" for task in file.targets.values()]
        if file.splits is not None:
            parts = [f"{name} {np.count_nonzero(file.splits == name)}" for name in SPLITS]
            lines.append(f"  splits       {', '.join(p for p in parts if not p.endswith(' 0')) or 'none'}")
        if file.groups is not None:
            lines.append(f"  groups       {len(np.unique(file.groups))}")
        if isinstance(file, FeaturesFile):  # a table has no place for these
            lines.append(f"  failures     {len(file.failures)}")
            lines += [f"    {failure}" for failure in file.failures[:10]]
            if len(file.failures) > 10:
                lines.append(f"    and {len(file.failures) - 10} more")
            written = f"featx {file.featx_version or '?'}, {file.created or 'date unknown'}"
            lines.append(f"  written by   {written}")
        lines += [f"  {name:<12} {value}" for name, value in sorted(Space(file.about).flattened().items())]
        lines.append("  space")
        lines += [f"    {name}: {value}" for name, value in sorted(Space(file.space).flattened().items())]
    return "\n".join(map(printable, lines))


def _opened(path: str | os.PathLike[str]) -> contextlib.AbstractContextManager[FeaturesFile | Features]:
    if os.fspath(path).lower().endswith(".parquet"):
        return contextlib.nullcontext(load_features(path, in_memory=False))
    return open_features(path)


def _not_finite(file: FeaturesFile | Features) -> list[str]:
    """Read every row, so that damage is found; return a line on rows with values that are not finite."""
    step = max(1, _BYTES_AT_ONCE // (file.dim * 4))
    bad = [
        start + int(i)
        for start in range(0, len(file), step)
        for i in np.flatnonzero(~np.isfinite(file.embeddings[start : start + step]).all(axis=1))
    ]
    return [f"    {len(bad)} not finite, the first in row {bad[0]} ({file.ids[bad[0]]})"] if bad else []


def _task(task: Task, kind: str) -> str:
    values = task.values[task.present]
    absent = len(task) - len(values)
    gaps = f", {absent} {kind}s without" if absent else ""
    if task.classes is not None:
        return f"{task.name}: {len(task.classes)} classes{gaps}"
    span = f", {values.min():.4g} to {values.max():.4g}" if len(values) else ""
    return f"{task.name}: numbers{span}{gaps}"
