"""Say what groups, such as speakers, change: those on both sides of a split, and those that it leaves out.

A split by groups measures accuracy on inputs of new groups; a split without regard to them, on new inputs of
groups that were trained on. `measure_group_effect` evaluates one probe on both, on the same rows, so that a
reader sees what the groups cost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from featx.data.readers.division import RECORDING
from featx.data.splits import Split, make_split
from featx.kinds import count_of
from featx.metrics import Interval, proportion_interval
from featx.results import ALPHA, MethodResult
from featx.results.formats import format_points
from featx.results.sentences import FEWEST_UNITS, title_in_text
from featx.studies.comparison.evaluate import SplitOutcomes, TaskOptions
from featx.studies.comparison.study_data import StudyData
from featx.studies.evaluation import Cell, Method, Outcome, ProbeMethod, run_cells
from featx.studies.evaluation.running import compute_missing
from featx.studies.units import Units
from featx.terminal import tell

__all__ = ["advise_on_groups", "describe_shared_groups", "measure_group_effect", "note_shared_groups"]

#: Splits without regard to groups, of which the mean accuracy is taken.
DRAWS = 3
#: A probe that takes a larger share of the time of all fits, and more than a second, is not fitted again.
_SHARE, _SECONDS = 1 / 10, 1.0
#: With fewer test groups, how they differ cannot be estimated.
FEWEST_GROUPS = 3


def describe_shared_groups(data: StudyData, split: Split) -> list[dict[str, Any]]:
    """Return the columns that look like groups and have values on both sides of the split.

    Each is ``{column, values, shared}``: the number of its values, and of those in training and in test. A
    column that says the same as the label is none.
    """
    columns = {} if data.dataset is None else data.dataset.group_like
    found = []
    for column, values in columns.items():
        values = np.asarray(values).astype(str)
        at = np.concatenate([split.train, split.test])
        known = at[values[at] != ""]
        if _names_the_label(values[known], data.task.values[known]):
            continue
        trained, tested = (set(values[rows].tolist()) - {""} for rows in (split.train, split.test))
        if shared := len(trained & tested):
            found.append({"column": column, "values": len(trained | tested), "shared": shared})
    return found


def _names_the_label(values: np.ndarray, labels: np.ndarray) -> bool:
    pairs = set(zip(values.tolist(), labels.tolist(), strict=True))
    return len(pairs) == len({value for value, _ in pairs}) == len({label for _, label in pairs})


def note_shared_groups(shared: Sequence[dict[str, Any]], grouped: bool = False) -> list[str]:
    """Say that groups are in training and in test, and which options measure accuracy on new ones.

    Recordings are the groups by default, unless the data is `grouped` by a column.
    """
    notes = []
    for one in shared:
        column, n, both = str(one["column"]), one["values"], one["shared"]
        nouns = plural_of(column)
        if both == n:
            said = f"all {n:,} {nouns} are" if n > 1 else f"the only {column} is"
        else:
            said = f"{both:,} of {n:,} {nouns} {'is' if both == 1 else 'are'}"
        options = "" if column == RECORDING and not grouped else f"--group {column} "
        notes.append(
            f"{said} in training and in test: on new {nouns} it may be less accurate; "
            f"{options}--split-by group measures that"
        )
    return notes


def plural_of(column: str | None) -> str:
    """Return the plural of what a column names, such as ``"speakers"``; without a name ``"groups"``."""
    if not column:
        return "groups"
    if not column.isalpha():
        return f"values of {column}"
    if column.endswith("y") and column[-2:-1] not in tuple("aeiou"):
        return f"{column[:-1]}ies"
    return f"{column}es" if column.endswith(("s", "x", "ch", "sh")) else f"{column}s"


def measure_group_effect(
    data: StudyData,
    found: SplitOutcomes,
    methods: Sequence[MethodResult],
    pick: MethodResult | None,
    units: Units,
    options: TaskOptions,
) -> dict[str, Any] | None:
    """Evaluate a probe also on splits of the same sizes that are drawn without regard to groups.

    The probe is the recommended one, `pick`, or where that is none or takes long, the best quick one; beside
    it the references that are fitted on the inputs themselves. None where the split divides no groups of
    several inputs, or there is no probe. Of a comparison over several splits, all answers count.

    Notes
    -----
    The interval of the difference comes from those of the two accuracies, which are taken for independent
    (R. G. Newcombe, "Interval estimation for the difference between independent proportions", Statistics in
    Medicine 17 (1998), method 10): with p_1 in [l_1, u_1] and p_2 in [l_2, u_2],

        p_1 - p_2 - sqrt((p_1 - l_1)^2 + (u_2 - p_2)^2)  to  p_1 - p_2 + sqrt((u_1 - p_1)^2 + (p_2 - l_2)^2).

    Groups are the units of both accuracies. Where every group was left out once, they are compared group by
    group instead (`subtract_by_unit`). With fewer than three test groups their differences cannot be
    estimated: inputs are then the units, and the interval holds for these groups only (``rough``).
    """
    groups = data.first.groups
    if groups is None or len(np.unique(groups)) == len(groups):
        return None
    outcomes = _choose(data, found.outcomes, methods, pick)
    if not outcomes:
        return None
    if options.verbose:
        tell("measuring what the split by group changed")
    y, seeds = np.asarray(data.first.labels), options.all_seeds
    splits = [data.split(options.test_size, seed, seeds) for seed in seeds]
    left_out = np.concatenate([split.test for split in splits])
    n_test, n_groups = len(found.split.test), len(np.unique(groups[left_out]))
    draws = [
        make_split(y, test_size=n_test / len(y), seed=options.seed + i, classes=data.first.classes)
        for i in range(DRAWS)
    ]
    rough = n_groups < FEWEST_GROUPS
    apart = np.arange(len(y)) if units.pictures is None else units.pictures
    of = apart if rough else units.of

    def cells_without(method: Method) -> list[Cell]:
        rows = replace(data.rows_of(method), groups=None)
        return [Cell(method, rows, drawn, options.seed) for drawn in draws]

    cells = [cells_without(outcome.method) for outcome in outcomes]
    if options.cluster is not None:
        compute_missing(options.cluster, list(chain(*cells)), options.checkpoints)
    described = []
    for outcome, drawn_again in zip(outcomes, cells, strict=True):
        again = list(run_cells(drawn_again, options.checkpoints))
        further = [
            Cell(outcome.method, data.rows_of(outcome.method), split, seed)
            for split, seed in zip(splits[1:], seeds[1:], strict=True)
        ]
        answers = [outcome, *run_cells(further, options.checkpoints)]
        right_apart = np.concatenate([one.labels for one in answers]) == y[left_out]
        by_group = proportion_interval(right_apart, units=of[left_out])
        tested = np.concatenate([drawn.test for drawn in draws])
        right = np.concatenate([one.labels for one in again]) == y[tested]
        without = proportion_interval(right, units=of[tested])
        difference = subtract(by_group, without)
        if not rough and n_groups == len(np.unique(groups)):
            difference = subtract_by_unit((right_apart, of[left_out]), (right, of[tested])) or difference
        described.append(
            {
                "name": outcome.method.name,
                "title": outcome.title,
                "backbone": outcome.method.backbone,
                "by_group": vars(by_group),
                "without": vars(without),
                "difference": difference.value,
                "low": difference.low,
                "high": difference.high,
            }
        )
    return {
        "column": None if data.dataset is None else data.dataset.group_name,
        "groups": len(np.unique(groups)),
        "test_groups": n_groups,
        "n_test": len(np.unique(left_out)),
        "splits": len(splits),
        "splits_for_all": _splits_for_all(found.split, groups),
        "draws": DRAWS,
        "rough": rough,
        "methods": described,
    }


def _splits_for_all(split: Split, groups: np.ndarray) -> int | None:
    """Return about how many splits leave out every group once; None where no further ones can be drawn."""
    if split.origin == "given":
        return None
    return math.ceil(len(np.unique(groups)) / len(np.unique(groups[split.test])))


def subtract(a: Interval, b: Interval) -> Interval:
    """Return the difference a - b of two independent shares with its interval; see `measure_group_effect`."""
    value = a.value - b.value
    return Interval(
        value,
        value - math.hypot(a.value - a.low, b.high - b.value),
        value + math.hypot(a.high - a.value, b.value - b.low),
    )


def subtract_by_unit(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> Interval | None:
    """Return the difference a - b of two shares of answers of the same units; None if none of them differs.

    Each is right or wrong (n,), bool, and the unit of each answer. With y_i of n_i right answers of a unit in
    a, and y'_i of n'_i in b, the variance of the difference of ratios, by linearization, is

        u / (u - 1) sum_i ((y_i - p n_i) / n - (y'_i - p' n'_i) / n')^2,

    and the interval is Student's, with u - 1 degrees of freedom.
    """
    from scipy.stats import t as student

    _, codes = np.unique(np.concatenate([a[1], b[1]]), return_inverse=True)
    u, value = int(codes.max()) + 1, 0.0
    pull = np.zeros(u)
    for sign, (right, _), of in ((1, a, codes[: len(a[1])]), (-1, b, codes[len(a[1]) :])):
        share = float(right.mean())
        value += sign * share
        pull += sign * np.bincount(of, weights=right - share, minlength=u) / len(right)
    variance = u / (u - 1) * float((pull**2).sum()) if u > 1 else 0.0
    if not variance > 1e-18:
        return None
    half = float(student.ppf((2 - ALPHA) / 2, u - 1)) * math.sqrt(variance)
    return Interval(value, max(-1.0, value - half), min(1.0, value + half))


def _choose(
    data: StudyData,
    outcomes: Sequence[Outcome],
    methods: Sequence[MethodResult],
    pick: MethodResult | None,
) -> list[Outcome]:
    """Return the outcome of one quick probe, and those of the quick references on the inputs."""
    seconds = [float(outcome.seconds.get("fit") or 0.0) for outcome in outcomes]
    limit = max(_SECONDS, _SHARE * sum(seconds))
    fitted = [i for i, outcome in enumerate(outcomes) if isinstance(outcome.method, ProbeMethod)]
    probes = [i for i in fitted if outcomes[i].method.kind == "probe"]
    if not probes:
        return []
    probes.sort(key=lambda i: (methods[i] is not pick, -methods[i].top1))
    quick = [i for i in probes if seconds[i] <= limit]
    chosen = quick[0] if quick else min(probes, key=lambda i: seconds[i])
    references = [i for i in fitted if outcomes[i].method.name in data.references and seconds[i] <= limit]
    return [outcomes[i] for i in (chosen, *references)]


def advise_on_groups(found: dict[str, Any], kind: str) -> str:
    """Say in numbers what leaving groups out changed, and how sure that is."""
    nouns, n = plural_of(found["column"]), found["test_groups"]
    probe, *references = found["methods"]
    said = f"Leaving {nouns} out changed the top-1 accuracy of {_changed(probe)}"
    said += "".join(f", and that of {_changed(one)}" for one in references) + "."
    if found["rough"]:
        one = found["column"] if found["column"] and nouns == f"{found['column']}s" else "group"
        tested = f"1 test {one}" if n == 1 else f"{n} test {one}s"
        said += (
            f" With {tested} this is rough: the interval is over {count_of(found['n_test'], kind)} and says "
            f"nothing of how other {nouns} differ."
        )
    splits = found["splits_for_all"] or 0
    if n < min(found["groups"], FEWEST_UNITS) and found["splits"] < splits:
        said += f" --seeds {splits} leaves out each of the {found['groups']} {nouns} in turn."
    return said


def _changed(one: dict[str, Any]) -> str:
    difference, low, high = (format_points(one[name]) for name in ("difference", "low", "high"))
    title = title_in_text(one["title"])
    shown = "" if one["low"] > 0 or one["high"] < 0 else "; no difference is shown"
    return (
        f"{title} from {one['without']['value']:.3f} to {one['by_group']['value']:.3f} ({difference} points, "
        f"{100 * (1 - ALPHA):.0f} % interval {low} to {high}{shown})"
    )
