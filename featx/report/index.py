"""The page that leads to the reports of several tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from featx.report.methods import methods_table, regression_table
from featx.report.table import Table
from featx.results import ComparisonResult, RegressionResult, best_method, recommended


def index_view(
    tasks: Mapping[str, ComparisonResult], folders: Mapping[str, str], forward_passes: int
) -> dict[str, Any]:
    """Show a table a task, with its advice and a link to its own report."""
    passes = "no image went through a frozen network in this run"
    if forward_passes:
        passes = f"{forward_passes:,} images went through a frozen network, once for all tasks"
    first = next(iter(tasks.values()))
    name = str(first.dataset.get("name") or "comparison")
    return {
        "title": f"{name}: {len(tasks)} tasks",
        "heading": name,
        "subtitle": f"{len(tasks)} tasks · {passes} · {first.created[:10]}",
        "foot": "Made by featx. The numbers of each task are in results.json and results.csv in its folder.",
        "tasks": [_task(task, result, folders[task]) for task, result in tasks.items()],
    }


def _task(name: str, result: ComparisonResult, folder: str) -> dict[str, Any]:
    n_classes = len(result.dataset.get("classes") or ())
    return {
        "name": name,
        "what": "a number" if isinstance(result, RegressionResult) else f"{n_classes} classes",
        "n_train": result.dataset.get("n_train"),
        "n_test": result.dataset.get("n_test"),
        "href": f"{quote(folder)}/report.html",
        "advice": result.advice,
        "table": _table(result),
    }


def _table(result: ComparisonResult) -> Table | None:
    if isinstance(result, RegressionResult):
        return regression_table(result)
    best, pick = best_method(result.methods), recommended(result.methods)
    return None if best is None or pick is None else methods_table(result.methods, best, pick)
