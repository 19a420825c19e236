"""Tell how a study was done: data, split, embeddings, hyperparameters, versions, failures, command."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from featx.kinds import count_of
from featx.report.table import Table, capitalized, plain_table
from featx.results import ALPHA, ComparisonResult, RegressionResult, StudyResult
from featx.results.formats import format_number, format_seconds
from featx.results.sentences import points_in_text

SHOWN_FAILURES = 200
SHOWN_TEXT = 1_000
SPLIT = {"given": "as the dataset gives it", "drawn": "drawn, stratified by class"}


class Detail(NamedTuple):
    """A table that opens on a click on its title, with a remark below it."""

    title: str
    table: Table
    more: str = ""


def how_it_was_done(
    result: StudyResult,
    lead: str,
    facts: Mapping[str, object],
    spaces: Mapping[str, Mapping[str, Any]],
    details: Sequence[Detail] = (),
) -> dict[str, Any]:
    """Return the last section of every page: how the study was done.

    `lead` explains the numbers; `facts` and `details` are specific to the study; `spaces` maps each backbone
    to the space of its embeddings. Empty facts are left out.
    """
    total, (checks, _, cost) = result.seconds_total, result.cost_of_checks().partition(": ")
    said = {
        **facts,
        "Licence of the weights": _describe_licences(result.about),
        "Embeddings": facts.get("Embeddings")
        or describe_forward_passes(result.forward_passes, result.input_kind),
        "Seed": facts.get("Seed", result.seed),
        capitalized(checks): cost,
        "Time, all together": None if total is None else format_seconds(total),
        "Written": result.created,
        **_describe_runs(result.runs),
    }
    tables = [Detail(f"Embeddings of {name}", _fields(space)) for name, space in spaces.items() if space]
    if result.environment:
        tables.append(Detail("Versions and machine", _fields(result.environment)))
    if result.failures:
        facts_of = [f if isinstance(f, Mapping) else vars(f) for f in result.failures[:SHOWN_FAILURES]]
        rows = [(f.get("id", ""), f.get("reason", "")) for f in facts_of]
        rest = len(result.failures) - len(rows)
        more = f"and {rest} more, all in the JSON file." if rest else ""
        title = f"Left out: {plural(len(result.failures), f'unreadable {result.input_kind}')}"
        tables.append(Detail(title, plain_table((result.input_kind, "reason"), rows), more))
    return {
        "lead": lead,
        "facts": {name: str(value) for name, value in said.items() if value not in (None, "")},
        "command": result.command or "",
        "details": [*details, *tables],
    }


def comparison_provenance(result: ComparisonResult) -> dict[str, Any]:
    """Tell how a comparison of classifiers or regressors was done."""
    data = result.dataset
    number = isinstance(result, RegressionResult)
    n_classes = len(data.get("classes") or ())
    what = f"{data.get('task')} is predicted" if number else f"{n_classes} classes"
    split = str(data.get("split") or "not recorded")
    kind = result.input_kind
    facts = {
        "Data": f"{data.get('name', '')}, {format_count(data.get('n_train'))} training and "
        f"{format_count(data.get('n_test'))} test {kind}s, {what}",
        "Left out for want of a label": data.get("n_unlabelled") or "",
        "Split": "drawn" if number and split == "drawn" else SPLIT.get(split, split),
        f"Training {kind}s a class": format_count_range(data.get("n_per_class_train")),
        f"Test {kind}s a class": format_count_range(data.get("n_per_class_test")),
        "Groups a class, each of one class only": format_count_range(result.units.get("groups_per_class")),
        "Seed": result.seed if result.repeats is None else f"{result.seed}, of this page’s own split",
    }
    test = "exact paired tests (McNemar) against the highest method"
    if number:
        test = "paired sign-flip tests of the absolute errors against the lowest mean absolute error"
    adjusted = any(m.versus_best and m.versus_best.get("p_adjusted") is not None for m in result.methods)
    how = "together (max-T over joint sign flips)" if adjusted else "by Holm's method"
    units = f"{capitalized(result.units_note)}. " if result.units_note else ""
    lead = (
        f"Every method saw the same training {kind}s and was scored once on the same test {kind}s; "
        f"hyperparameters were chosen on training {kind}s only. Intervals are 95 % intervals over "
        f"test {kind}s. {units}p-values are of {test}, adjusted for all pairs of methods that compete {how}, "
        f"and read at {ALPHA:.2f}; a reference’s is not adjusted. {_on_choice(result)} "
        "Time to train is extraction and fit."
    )
    methods = [
        (
            m.title if not m.backbone else f"{m.title} · {m.backbone}",
            ", ".join(f"{k} = {_value(v)}" for k, v in m.params.items()) or "–",
            format_seconds(m.seconds.get("extract")),
            format_seconds(m.seconds.get("fit")),
            " ".join(m.notes + ([f"Computed by an earlier run, {m.earlier_run}."] if m.earlier_run else [])),
        )
        for m in result.ranked()
    ]
    table = plain_table(("method", "hyperparameters", "extract", "fit", "notes"), methods)
    details = [Detail("Hyperparameters, times and notes", table)]
    return how_it_was_done(result, lead, facts, result.spaces, details)


def _on_choice(result: ComparisonResult) -> str:
    """Say how much the choice of the best method on the test inputs flatters it."""
    best = "best" if isinstance(result, RegressionResult) else "highest"
    several = f"The {best} of several scores on the same {result.input_kind}s"
    optimism = (result.selection or {}).get("optimism")
    if optimism is None:
        return f"{several} is slightly optimistic."
    by = format_number(optimism) if isinstance(result, RegressionResult) else points_in_text(optimism)
    return f"{several} is too good by about {by} (bootstrap)."


def describe_forward_passes(n: int, kind: str) -> str:
    """Say how many inputs went through a network."""
    if not n:
        return f"all from the cache, no {kind} went through a frozen network in this run"
    return f"{count_of(n, kind)} went through a frozen network in this run"


def _describe_runs(runs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Tell the first and the latest run, if there were several."""
    if len(runs) < 2:
        return {}
    named = {"First run here": runs[0], f"Latest run, number {len(runs)}": runs[-1]}
    return {name: _describe_run(run) for name, run in named.items()}


def _describe_run(run: Mapping[str, Any]) -> str:
    facts = [str(run.get("began") or "")]
    if isinstance(run.get("seconds"), int | float):
        facts.append(format_seconds(run["seconds"]))
    facts += [f"featx {run['featx']}"] if run.get("featx") else []
    said = ", ".join(filter(None, facts))
    return f"{said}: {run['command']}" if run.get("command") else said


def _describe_licences(about: Mapping[str, Mapping[str, Any]]) -> str:
    """Name the licence of the weights of each backbone, where it is known."""
    known = {name: str(of["licence"]) for name, of in about.items() if of.get("licence")}
    if len(about) == len(set(known.values())) == 1:
        return next(iter(known.values()))
    return ", ".join(f"{name}: {licence}" for name, licence in known.items())


def _fields(content: Mapping[str, Any]) -> Table:
    return plain_table(("field", "value"), _flat(content))


def _flat(content: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for key, value in content.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", _value(value)))
    return rows


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    # A long value, such as a prior for each of thousands of classes, is in results.json.
    return said if len(said) <= SHOWN_TEXT else f"{said[:SHOWN_TEXT]} …"


def format_count_range(counts: list[int] | None) -> str:
    """Return the lowest and the highest count."""
    if not counts:
        return ""
    low, high = min(counts), max(counts)
    return f"{low}" if low == high else f"{low} to {high}"


def format_count(n: int | None) -> str:
    """Format a number of inputs that may be unknown."""
    return "?" if n is None else f"{n:,}"


def plural(n: int, what: str) -> str:
    """Return ``1 epoch`` or ``2 epochs``."""
    return f"{n:,} {what}" + ("" if n == 1 else "s")
