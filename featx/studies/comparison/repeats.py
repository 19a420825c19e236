"""A comparison repeated over several drawn splits, from the same embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from featx.data.splits import Split
from featx.errors import InputError
from featx.metrics import METRICS
from featx.results import MethodResult, RepeatedMethod, Repeats
from featx.studies.comparison.multiple_tests import adjust_p_values
from featx.terminal import tell


def repeat_over_splits(
    first: tuple[Split, list[MethodResult]],
    run: Callable[[int], tuple[Split, list[MethodResult]]],
    seeds: Sequence[int],
    metric: str,
    verbose: bool,
) -> Repeats | None:
    """Run the comparison again on the splits of all seeds but the first, and sum up all of them.

    `first` is what the first seed gave, and `run` gives the same for another seed, with the methods in the
    same order. `metric` ranks the methods and is tested. Of a single seed there is nothing to repeat: None.
    """
    if len(seeds) < 2:
        return None
    draws = [first]
    for number, seed in enumerate(seeds[1:], start=2):
        if verbose:
            tell(f"split {number} of {len(seeds)}")
        draws.append(run(seed))
    return _sum_up(draws, list(seeds), metric)


def require_drawn(splits: np.ndarray | None, seeds: int, place: str) -> None:
    """Refuse to repeat a comparison over splits where the data comes with its own.

    Raises
    ------
    InputError
        `seeds` is below 1, or above it and the data names test (or validation) rows.
    """
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise InputError(f"seeds must be a positive whole number of splits, got {seeds!r}")
    if seeds > 1 and splits is not None and np.isin(splits, ("test", "val")).any():
        raise InputError(
            f"{place}: comes with its own split, so {seeds} splits cannot be drawn; leave out seeds, or give "
            "the data without its split"
        )


def _sum_up(draws: list[tuple[Split, list[MethodResult]]], seeds: list[int], metric: str) -> Repeats:
    from featx.metrics import corrected_interval, corrected_resampled_t_test

    n_train, n_test = ([len(getattr(split, side)) for split, _ in draws] for side in ("train", "test"))
    sizes = {"n_train": float(np.mean(n_train)), "n_test": float(np.mean(n_test))}
    methods = []
    for same in zip(*(results for _, results in draws), strict=True):
        values = {name: [m.metric(name).value for m in same] for name in same[0].metrics}
        methods.append(
            RepeatedMethod(
                name=same[0].name,
                title=same[0].title,
                kind=same[0].kind,
                backbone=same[0].backbone,
                metrics=values,
                means={
                    name: corrected_interval(v, **sizes, within=(METRICS[name].low, METRICS[name].high))
                    for name, v in values.items()
                    if np.isfinite(v).all()
                },
                seconds=[m.seconds.get("fit") for m in same],
                earlier_run=[m.earlier_run for m in same],
            )
        )
    sign = -1 if METRICS[metric].higher_is_better else 1
    methods.sort(key=lambda m: sign * m.mean(metric).value)
    scores = [np.array(m.metrics[metric]) for m in methods]
    competing = [i for i, m in enumerate(methods) if m.kind != "floor"]
    best = competing[0] if competing else 0
    tests = {
        i: corrected_resampled_t_test(scores[i] - scores[best], **sizes)
        for i in range(len(methods))
        if i != best
    }
    adjusted = adjust_p_values(
        best, competing, lambda i, j: corrected_resampled_t_test(scores[i] - scores[j], **sizes).p_value
    )
    for i, test in tests.items():
        methods[i].versus_best = {"method": methods[best].name, "p_holm": adjusted.get(i)} | test.to_dict()
    return Repeats(seeds=seeds, n_train=n_train, n_test=n_test, metric=metric, methods=methods)
