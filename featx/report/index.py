"""The page that leads to the reports of several tasks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from html import escape
from urllib.parse import quote

from featx.report.document import document
from featx.report.methods import methods_table
from featx.report.regression import regression_table
from featx.results import ComparisonResult, RegressionResult, best_method, recommended, write_atomically


def render_index(
    tasks: Mapping[str, ComparisonResult], folders: Mapping[str, str], forward_passes: int
) -> str:
    """One table a task, with its advice and a link to its own report.

    Parameters
    ----------
    tasks : mapping of str to ComparisonResult
        By name.
    folders : mapping of str to str
        The folder of each task's report, beside the page.
    forward_passes : int
        Images sent through a network for all of them.

    Returns
    -------
    str
        The page.
    """
    passes = "no image went through a frozen network in this run"
    if forward_passes:
        passes = f"{forward_passes:,} images went through a frozen network, once for all tasks"
    first = next(iter(tasks.values()))
    name = str(first.dataset.get("name") or "comparison")
    sections = [_section(task, result, folders[task]) for task, result in tasks.items()]
    return document(
        f"{name}: {len(tasks)} tasks",
        name,
        f"{len(tasks)} tasks · {passes} · {first.created[:10]}",
        sections,
        "Made by featx. The numbers of each task are in results.json and results.csv in its folder.",
    )


def write_index(
    path: str | os.PathLike[str],
    tasks: Mapping[str, ComparisonResult],
    folders: Mapping[str, str],
    forward_passes: int,
) -> None:
    """Write :func:`render_index`'s page to a file, all of it or nothing.

    Raises
    ------
    OutputError
        When the place cannot be written.
    """
    write_atomically(path, render_index(tasks, folders, forward_passes))


def _section(name: str, result: ComparisonResult, folder: str) -> str:
    table = ""
    if isinstance(result, RegressionResult):
        table = regression_table(result)
    else:
        best, pick = best_method(result.methods), recommended(result.methods)
        if best is not None and pick is not None:
            table = methods_table(result.methods, best, pick)
    n_train, n_test = (result.dataset.get(key) for key in ("n_train", "n_test"))
    what = "a number" if result.kind == "number" else f"{len(result.dataset.get('classes') or ())} classes"
    return (
        f'<section class="card"><h2>{escape(name)}</h2>'
        f'<p class="lead">{what}, {n_train:,} training and {n_test:,} test images · '
        f'<a href="{escape(quote(folder))}/report.html">full report</a></p>'
        f"<p>{escape(result.advice)}</p>{table}</section>"
    )
