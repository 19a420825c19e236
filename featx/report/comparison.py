"""The pages of comparisons: classifiers, regressors, and the index of several tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import numpy as np

from featx.inputs.samples import Sample
from featx.kinds import count_of
from featx.report.data_checks import data_checks_view
from featx.report.methods import methods_table, regression_table, repeats_table
from featx.report.mistakes import confident_mistakes, errors_view
from featx.report.page import Tile, draw, tile
from featx.report.plots import cost_plot, curves_plot, methods_with_cost, pareto_front, scatter_plot
from featx.report.provenance import comparison_provenance, plural
from featx.report.table import (
    Cell,
    Column,
    Table,
    capitalized,
    competing,
    describe_test,
    format_three,
    kind_of,
    make_table,
    number_column,
)
from featx.report.verdict import NOTHING, nothing_view, verdict_view
from featx.results import (
    ALPHA,
    ComparisonResult,
    MethodResult,
    RegressionResult,
    Repeats,
    advise,
    best_method,
)
from featx.results.formats import format_joules, format_number, format_points, format_seconds

#: Test inputs in the gallery of the largest errors of a regressor.
SHOWN_ERRORS = 12
ADDS = "top-1 of the ensemble - of the ensemble without it, points"


def comparison_view(result: ComparisonResult, samples: Mapping[str, Sample]) -> dict[str, Any]:
    """Show which classifier to use, how sure that is, what it costs, and where it goes wrong."""
    data = result.dataset
    pick, best = result.recommended(), result.best()
    name = str(data.get("name") or "comparison")
    view: dict[str, Any] = {
        "title": f"{name}: which method to use",
        "heading": name,
        "subtitle": _subtitle(result, [f"{len(data['classes'])} classes"] if data.get("classes") else []),
        "alpha": ALPHA,
        "units": capitalized(result.units_note),
        "n_methods": len(result.methods),
        "shown": None,
        "advice": result.advice or advise(result.methods, data.get("n_test") or 0, kind=result.input_kind),
        "data_checks": data_checks_view(result, samples),
        "cost_of_checks": result.cost_of_checks(),
        "training": _training_figures(result),
        "how": comparison_provenance(result),
    }
    if best is None:
        return view
    # Without a recommendation, the page is about the best method.
    shown = best if pick is None else pick
    other = best_method(m for m in result.methods if m.trains_network != shown.trains_network and m.mistakes)
    return view | {
        "shown": shown.named(result.methods),
        "verdict": nothing_view(result, best) if pick is None else verdict_view(result, best, pick),
        "next_steps": result.next_steps,
        "methods": methods_table(result.methods, best, pick, result.input_kind),
        "repeats": _repeats_view(result.repeats, result.input_kind),
        "ensemble": _ensemble(result.ensemble),
        "cost": _cost(result, best, shown),
        "errors": errors_view(result, shown),
        "mistakes": confident_mistakes(shown, other, samples),
    }


def _subtitle(result: ComparisonResult, first: list[str]) -> str:
    """What was compared on what, in one line."""
    counts = (("n_train", "training"), ("n_test", "test"))
    sizes = [
        f"{result.dataset[key]:,} {part} {result.input_kind}s"
        for key, part in counts
        if result.dataset.get(key)
    ]
    return " · ".join(filter(None, [*first, *sizes, ", ".join(result.networks()), result.created[:10]]))


def _repeats_view(repeats: Repeats | None, kind: str) -> dict[str, Any] | None:
    """Show what several splits say; None where there was one split."""
    if repeats is None:
        return None
    inputs = sum(repeats.n_train) + sum(repeats.n_test)
    return {
        "kind": kind,
        "seeds": repeats.seeds,
        "share": f"{100 * sum(repeats.n_test) / inputs:.0f}",
        "classes": repeats.metric == "top1",
        "table": repeats_table(repeats),
    }


def _ensemble(ensemble: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Show what each backbone adds to the ensemble of all; None where there was no ensemble."""
    if not ensemble:
        return None
    versus = _difference(ensemble["versus_best_member"])
    return {
        "best_member": str(ensemble["best_member"]),
        "versus": f"{versus.text}, {versus.small}",
        "n_held_out": ensemble["n_held_out"],
        "adjusted": "p_adjusted" in ensemble["versus_best_member"],
        "table": _members(ensemble["members"]),
    }


def _members(members: list[dict[str, Any]]) -> Table:
    columns = [
        Column("Member", lambda m: Cell(str(m["backbone"]), str(m["classifier"])), style=""),
        number_column("Weight", lambda m: f"{m['weight']:.2f}"),
        number_column("Top-1 alone", lambda m: format_three(m["top1"])),
        number_column("Adds", lambda m: _difference(m["adds"]), hint=ADDS),
    ]
    return make_table(columns, members)


def _difference(test: Mapping[str, float]) -> Cell:
    """Show a difference with the interval that goes with its p-value; older files have no adjusted ones."""
    kind = "_adjusted" if "p_adjusted" in test else ""
    points, low, high = (format_points(test[name]) for name in ("difference", f"low{kind}", f"high{kind}"))
    return Cell(f"{points} [{low}, {high}]", describe_test(test["p_adjusted" if kind else "p_value"]))


def _cost(result: ComparisonResult, best: MethodResult, shown: MethodResult) -> dict[str, Any] | None:
    """Show accuracy against training time; None when fewer than two methods have a cost."""
    plot = cost_plot(result.methods, (shown, best))
    if plot is None:
        return None
    counted = [m for m in competing(result.methods) if not math.isnan(m.energy)]
    front_methods = sorted(pareto_front(methods_with_cost(result.methods)), key=lambda m: m.cost)
    return {
        "figure": draw(plot, "cost"),
        "front": [
            (kind_of(m), m.named(result.methods), _price(m), format_three(m.top1)) for m in front_methods
        ],
        "energy": str(result.environment.get("energy") or "what the machine counts") if counted else "",
    }


def _price(m: MethodResult) -> str:
    """Seconds to a trained method, and joules where they were counted."""
    return ", ".join([format_seconds(m.cost), *([] if math.isnan(m.energy) else [format_joules(m.energy)])])


def _training_figures(result: ComparisonResult) -> list[dict[str, Any]]:
    """Draw how the fine-tuning went, on axes that all methods share."""
    trained = [(m, m.curves) for m in result.methods if m.kind == "finetune" and m.curves]

    def values(what: str) -> list[float]:
        names = f"train_{what}", f"val_{what}"
        return [v for _, curves in trained for name in names for v in curves.get(name) or [] if v]

    losses, scores = values("loss"), values("accuracy")
    top = 1.05 * max(losses) if losses else None
    low = max(0.0, min(scores) - 0.05) if scores else None
    figures = []
    for i, (m, curves) in enumerate(trained):
        plot = curves_plot(m, top, low)
        if plot is not None:
            figures.append(draw(plot, f"curves-{i}", m.title, plural(len(curves["epoch"]), "epoch")))
    return figures


def regression_view(result: RegressionResult, samples: Mapping[str, Sample]) -> dict[str, Any]:
    """Show which regressor to use, how sure that is, and where it is furthest off."""
    best, pick = result.best(), result.recommended()
    task = str(result.dataset.get("task") or "number")
    name = str(result.dataset.get("name") or "comparison")
    drawn = best if result.predictions else None
    use = "Use with caution" if "Warning:" in result.advice else "Recommended"
    return {
        "title": f"{name}: how to predict {task}",
        "heading": f"{name}: {task}",
        "subtitle": _subtitle(result, []),
        "doubt": pick is None or "Warning:" in result.advice,
        "use": "" if pick is None else use,
        "pick": NOTHING if pick is None else pick.title,
        "shown": "" if best is None else best.title,
        "units": capitalized(result.units_note),
        "advice": result.advice,
        "warnings": result.warnings,
        "alpha": ALPHA,
        "n_methods": len(result.methods),
        "methods": regression_table(result),
        "repeats": _repeats_view(result.repeats, result.input_kind),
        "scatter": None if drawn is None else draw(scatter_plot(result, drawn, task), "scatter"),
        "errors": [] if drawn is None else _largest_errors(result, samples),
        "how": comparison_provenance(result),
    }


def _largest_errors(result: RegressionResult, samples: Mapping[str, Sample]) -> list[Tile]:
    truth, predicted = np.asarray(result.truth), np.asarray(result.predictions)
    worst = np.argsort(-np.abs(predicted - truth), kind="stable")[:SHOWN_ERRORS]
    return [
        tile(
            result.ids[i],
            samples,
            said=format_number(predicted[i]),
            small=f"is {format_number(truth[i])}",
        )
        for i in worst
    ]


def index_view(
    tasks: Mapping[str, ComparisonResult], folders: Mapping[str, str], forward_passes: int
) -> dict[str, Any]:
    """Show a table a task, with its advice and a link to its own report."""
    first = next(iter(tasks.values()))
    passes = f"no {first.input_kind} went through a frozen network in this run"
    if forward_passes:
        passes = (
            f"{count_of(forward_passes, first.input_kind)} went through a frozen network, once for all tasks"
        )
    name = str(first.dataset.get("name") or "comparison")
    return {
        "kind": first.input_kind,
        "title": f"{name}: {len(tasks)} tasks",
        "heading": name,
        "subtitle": f"{len(tasks)} tasks · {passes} · {first.created[:10]}",
        "foot": "Made by featx. The numbers of each task are in results.json and results.csv in its folder.",
        "tasks": [_task_view(task, result, folders[task]) for task, result in tasks.items()],
    }


def _task_view(name: str, result: ComparisonResult, folder: str) -> dict[str, Any]:
    n_classes = len(result.dataset.get("classes") or ())
    return {
        "name": name,
        "kind": result.input_kind,
        "what": "a number" if isinstance(result, RegressionResult) else f"{n_classes} classes",
        "n_train": result.dataset.get("n_train"),
        "n_test": result.dataset.get("n_test"),
        "href": f"{quote(folder)}/report.html",
        "advice": result.advice,
        "table": _task_table(result),
    }


def _task_table(result: ComparisonResult) -> Table | None:
    if isinstance(result, RegressionResult):
        return regression_table(result)
    best = result.best()
    return (
        None if best is None else methods_table(result.methods, best, result.recommended(), result.input_kind)
    )
