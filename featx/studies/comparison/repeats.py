"""Repeat a comparison over several drawn splits; adjust the p-values of all its tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from featx.data.splits import Split
from featx.metrics import METRICS
from featx.results import MethodResult, RepeatedMethod, Repeats
from featx.results.methods import GUESSES
from featx.terminal import tell


def repeat_over_splits(
    first: tuple[Split, list[MethodResult]],
    run: Callable[[int], tuple[Split, list[MethodResult]]],
    seeds: Sequence[int],
    metric: str,
    verbose: bool,
) -> Repeats | None:
    """Run a comparison on the split of every further seed, and summarise all splits; None for a single seed.

    `first` is the outcome of the first seed; `run` returns that of another seed, with the methods in the same
    order. `metric` ranks the methods and is tested.
    """
    if len(seeds) < 2:
        return None
    draws = [first]
    for number, seed in enumerate(seeds[1:], start=2):
        if verbose:
            tell(f"split {number} of {len(seeds)}")
        draws.append(run(seed))
    return _summarise(draws, list(seeds), metric)


def adjust_p_values(
    best: int, competing: Sequence[int], p_value: Callable[[int, int], float]
) -> dict[int, float]:
    """Test the best method against each other one in `competing`; Holm-adjusted over all pairs.

    `p_value` returns the two-sided p-value of a pair. All pairs are one family, because the same results
    decided which method is the best (see `featx.metrics.holm_over_pairs`).
    """
    from featx.metrics import holm_over_pairs

    if not competing:
        return {}
    p = np.ones((len(competing), len(competing)))
    for a, i in enumerate(competing):
        for b, j in enumerate(competing[:a]):
            p[a, b] = p[b, a] = p_value(i, j)
    row = holm_over_pairs(p)[list(competing).index(best)]
    return {i: float(row[a]) for a, i in enumerate(competing) if i != best}


def test_references_on_splits(
    methods: Sequence[MethodResult], repeats: Repeats, constant: Sequence[float]
) -> None:
    """Set ``versus_references`` of methods by what the splits say, where one has too few units for a test.

    The p-values are one-sided ones of the corrected resampled t-test, adjusted for all methods and references
    (S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6,
    1979). `constant` is the top-1 of the best constant answer on each split; it stands for a guess where it
    is better than the guess.
    """
    from featx.metrics import corrected_resampled_t_test, holm

    sizes = {"n_train": float(np.mean(repeats.n_train)), "n_test": float(np.mean(repeats.n_test))}

    def top1(m: MethodResult) -> np.ndarray:
        found = repeats.of(m.name, m.backbone)
        return np.array([] if found is None else found.metrics["top1"])

    levels = {m.name: top1(m) for m in methods if m.is_reference}
    for name in GUESSES:
        if name in levels:
            levels[name] = np.maximum(levels[name], constant)
    competing = [m for m in methods if m.competes and m.versus_references is not None]
    alone = []
    for method in competing:
        for level in levels.values():
            test = corrected_resampled_t_test(top1(method) - level, **sizes)
            alone.append(test.p_value / 2 if test.difference > 0 else 1 - test.p_value / 2)
    adjusted = np.nan_to_num(holm(alone), nan=1.0).reshape(len(competing), len(levels))
    for method, p_values in zip(competing, adjusted.tolist(), strict=True):
        method.versus_references = dict(zip(levels, p_values, strict=True))


def _summarise(draws: list[tuple[Split, list[MethodResult]]], seeds: list[int], metric: str) -> Repeats:
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
