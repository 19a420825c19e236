"""Rank methods over several finished comparisons, one for each dataset."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence

from featx.errors import InputError, UnknownName
from featx.metrics import METRICS, RankComparison, rank_methods
from featx.results import ComparisonResult


def compare_over_datasets(
    results: Sequence[str | os.PathLike[str] | ComparisonResult] | Mapping[str, ComparisonResult],
    *,
    metric: str = "top1",
    references: bool = False,
    alpha: float = 0.05,
) -> RankComparison:
    """Rank the methods of several comparisons, one comparison for each dataset.

    For a comparison that was repeated over splits, the mean over the splits is ranked.

    Parameters
    ----------
    results : sequence of path and ComparisonResult, or mapping of str to ComparisonResult
        Paths of ``results.json`` files, or results; the keys of a mapping are the names of the datasets.
    metric : str, default="top1"
        The metric that ranks the methods: a name in `featx.metrics.METRICS`.
    references : bool, default=False
        Whether the references are ranked too.
    alpha : float, default=0.05
        As in `featx.metrics.rank_methods`.

    Returns
    -------
    RankComparison
        The ranks of the methods that all comparisons have. Where a comparison has several backbones, the same
        probe on another backbone is another method.

    Raises
    ------
    InputError
        The metric is unknown, a file is not a result, two datasets have the same name, or fewer than two
        methods with that metric are in all comparisons.
    """
    if metric not in METRICS:
        raise UnknownName("metric", metric, METRICS)
    if isinstance(results, Mapping):
        named = dict(results)
    else:
        named = {}
        for item in results:
            result = item if isinstance(item, ComparisonResult) else ComparisonResult.read_json(item)
            name = str(result.dataset.get("name") or "")
            if name in named:
                raise InputError(
                    f"two results are of a dataset named {name!r}; give them as a mapping with a name each"
                )
            named[name] = result
    tables = [_scores(result, metric, references) for result in named.values()]
    common = [m for m in tables[0] if all(m in table for table in tables)] if tables else []
    if len(tables) < 2 or len(common) < 2:
        raise InputError(
            f"at least two datasets and two methods with {metric} on all of them are needed, "
            f"got {len(tables)} and {len(common)}"
        )
    return rank_methods(
        [[table[m] for m in common] for table in tables],
        common,
        list(named),
        higher_is_better=METRICS[metric].higher_is_better,
        alpha=alpha,
    )


def _scores(result: ComparisonResult, metric: str, references: bool) -> dict[str, float]:
    several = len({m.backbone for m in result.methods if m.backbone}) > 1
    found = {}
    for method in result.methods:
        value = method.metric(metric).value
        if result.repeats is not None:
            value = result.repeats.mean(method.name, method.backbone, metric)
        if math.isfinite(value) and (references or method.kind != "floor"):
            suffix = f" · {method.backbone}" if several and method.backbone else ""
            found[method.name + suffix] = value
    return found
