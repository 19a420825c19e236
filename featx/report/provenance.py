"""How it was done: data, split, embeddings, hyperparameters, versions, what was left out, and the command."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from featx.results import ALPHA, ComparisonResult, RegressionResult
from featx.results.formats import format_seconds

SHOWN_FAILURES = 200
SHOWN_TEXT = 1_000


def how_it_was_done(result: ComparisonResult) -> str:
    """The last section of the page."""
    data = result.dataset
    number = isinstance(result, RegressionResult)
    n_classes = len(data.get("classes") or ())
    what = f"{data.get('task')} is predicted" if number else f"{n_classes} classes"
    split = {"given": "as the dataset gives it", "drawn": "drawn" if number else "drawn, stratified by class"}
    facts = {
        "Data": f"{data.get('name', '')}, {_count(data.get('n_train'))} training and "
        f"{_count(data.get('n_test'))} test images, {what}",
        "Split": split.get(str(data.get("split")), str(data.get("split") or "not recorded")),
        "Training images a class": _range(data.get("n_per_class_train")),
        "Test images a class": _range(data.get("n_per_class_test")),
        "Embeddings": _forward_passes(result),
        "Seed": result.seed if result.repeats is None else f"{result.seed}, of this page’s own split",
        "Time, all together": "" if result.seconds_total is None else format_seconds(result.seconds_total),
        "Written": result.created,
    }
    test = (
        "paired sign-flip tests of the absolute errors against the lowest mean absolute error"
        if number
        else "exact paired tests (McNemar) against the highest method"
    )
    highest = "best" if number else "highest"
    method = (
        "<p class='lead'>Every method saw the same training images and was scored once on the same test "
        "images; hyperparameters were chosen on training images only. Intervals are 95 % intervals over test "
        f"images. p-values are of {test}, adjusted by Holm's method for all pairs of methods that compete (a "
        f"floor’s is not adjusted), and read at {ALPHA:.2f}. "
        f"The {highest} of several scores on the same "
        "images is slightly optimistic. Time to train is extraction and fit.</p>"
    )
    parts = [method, _facts(facts)]
    if result.command:
        parts.append(f"<h3>The same again</h3><pre><code>{escape(result.command)}</code></pre>")
    parts.append(_details("Hyperparameters, times and notes", _methods(result)))
    for backbone, space in result.spaces.items():
        parts.append(_details(f"Embeddings of {backbone}", _table(_flat(space))))
    if result.environment:
        parts.append(_details("Versions and machine", _table(_flat(result.environment))))
    if result.failures:
        rows = [(f.get("id", ""), f.get("reason", "")) for f in result.failures[:SHOWN_FAILURES]]
        rest = len(result.failures) - len(rows)
        more = f"<p class='muted'>and {rest} more, all in results.json.</p>" if rest else ""
        title = f"Left out: {_plural(len(result.failures), 'unreadable image')}"
        parts.append(_details(title, _table(rows, ("image", "reason")) + more))
    return "".join(parts)


def _forward_passes(result: ComparisonResult) -> str:
    n = result.forward_passes
    if not n:
        return "all from the cache, no image went through a frozen network in this run"
    return f"{_plural(n, 'image')} went through a frozen network in this run"


def _methods(result: ComparisonResult) -> str:
    rows = [
        (
            m.title if not m.backbone else f"{m.title} · {m.backbone}",
            ", ".join(f"{k} = {_value(v)}" for k, v in m.params.items()) or "–",
            format_seconds(m.seconds.get("extract")),
            format_seconds(m.seconds.get("fit")),
            " ".join(m.notes + ([f"Computed by an earlier run, {m.earlier_run}."] if m.earlier_run else [])),
        )
        for m in result.ranked()
    ]
    return _table(rows, ("method", "hyperparameters", "extract", "fit", "notes"))


def _details(title: str, body: str) -> str:
    return f"<details><summary>{escape(title)}</summary><div class='scroll'>{body}</div></details>"


def _facts(facts: Mapping[str, object]) -> str:
    lines = "".join(
        f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items() if v not in (None, "")
    )
    return f'<dl class="facts">{lines}</dl>'


def _table(rows: Iterable[tuple[Any, ...]], head: tuple[str, ...] = ("field", "value")) -> str:
    heads = "".join(f'<th scope="col">{h}</th>' for h in head)
    lines = "".join("<tr>" + "".join(f"<td>{escape(str(v))}</td>" for v in row) + "</tr>" for row in rows)
    return f'<table class="plain"><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>'


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
    # A prior for each of thousands of classes is for results.json.
    return said if len(said) <= SHOWN_TEXT else f"{said[:SHOWN_TEXT]} …"


def _range(counts: list[int] | None) -> str:
    if not counts:
        return ""
    low, high = min(counts), max(counts)
    return f"{low}" if low == high else f"{low} to {high}"


def _count(n: int | None) -> str:
    return "?" if n is None else f"{n:,}"


def _plural(n: int, what: str) -> str:
    return f"{n:,} {what}" + ("" if n == 1 else "s")
