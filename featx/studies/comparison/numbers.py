"""One task that is a number: floors and regressors on its split."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from featx.data.splits import Split
from featx.results import NO_FINE_TUNING, MethodResult, advise_numbers, best_method
from featx.studies.comparison.classes import Options, common_parts, unused_share
from featx.studies.comparison.material import Material
from featx.studies.comparison.pairs import adjusted
from featx.studies.comparison.repeats import over_splits
from featx.studies.comparison.result import RegressionComparison, thumbnails_of
from featx.terminal import tell

#: Largest errors whose pictures the report shows.
SHOWN = 12


def compare_numbers(material: Material, options: Options) -> RegressionComparison:
    """Compares regressors on the only task of `material`."""
    from featx.metrics import sign_flip_test

    started = time.perf_counter()
    split, methods, predictions = _on_split(material, options)
    truth = material.task.values[split.test]
    best = best_method(methods, "mae")
    at = methods.index(best) if best is not None else 0
    errors = [np.abs(predicted - truth) for predicted in predictions]
    competing = [i for i, method in enumerate(methods) if method.kind != "floor"]
    family = (
        adjusted(
            at,
            competing,
            lambda i, j: sign_flip_test(errors[i], errors[j], n_boot=1, seed=options.seed).p_value,
        )
        if best is not None
        else {}
    )
    for i, method in enumerate(methods):
        if i != at:
            test = sign_flip_test(errors[i], errors[at], seed=options.seed)
            method.versus_best = {"method": methods[at].name, "p_holm": family.get(i)} | test.to_dict()

    def again(seed: int) -> tuple[Split, list[MethodResult]]:
        return _on_split(material, replace(options, seed=seed, n_boot=0))[:2]

    repeats = over_splits((split, methods), again, options.all_seeds, "mae", options.verbose)

    warnings = [NO_FINE_TUNING, *unused_share(split, options.test_size)]
    if material.dataset is None:
        warnings.append("compared from a features file: no raw-pixel floor without the images")
    ids = [material.first.ids[i] for i in split.test]
    result = RegressionComparison(
        dataset={
            "name": material.name,
            "task": material.task.name,
            "n_train": len(split.train),
            "n_test": len(split.test),
            "split": split.origin,
        },
        methods=methods,
        advice=advise_numbers(methods, len(split.test), repeats),
        seed=options.seed,
        repeats=repeats,
        warnings=warnings,
        truth=truth.tolist(),
        predictions=predictions[at].tolist(),
        ids=ids,
        **common_parts(material, options.meter),
    )
    if material.dataset is not None:
        worst = np.argsort(-errors[at], kind="stable")[:SHOWN]
        result.thumbnails = thumbnails_of(material.dataset, {ids[i] for i in worst})
    result.seconds_total = time.perf_counter() - started
    return result


def _on_split(material: Material, options: Options) -> tuple[Split, list[MethodResult], list[np.ndarray]]:
    """Every method on the split of the seed, and what it predicts of the test images."""
    split = material.split(options.test_size, options.seed)
    methods: list[MethodResult] = []
    predictions: list[np.ndarray] = []

    def run(name: str, x: np.ndarray, **about: Any) -> None:
        method, predicted = _fitted(name, x, material, split.train, split.test, options, **about)
        methods.append(method)
        predictions.append(predicted)

    run("mean", np.zeros((len(material.task), 1), np.float32))
    if material.pixels is not None:
        run("pixels", material.pixels, image_size=material.pixel_size)
    for backbone, features in material.sets.items():
        size = material.nets[backbone].preprocessing.size[0] if material.nets else None
        for name in options.regressors:
            run(name, features.embeddings, backbone=backbone, image_size=size, costs=features.run or {})
    return split, methods, predictions


def _fitted(
    name: str,
    x: np.ndarray,
    material: Material,
    train: np.ndarray,
    test: np.ndarray,
    options: Options,
    *,
    backbone: str | None = None,
    image_size: int | None = None,
    costs: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[MethodResult, np.ndarray]:
    from featx.methods.probes import fit_regressor, score_numbers

    if options.verbose:
        tell(f"fitting {name}" + (f" on {backbone}" if backbone else ""))
    y, groups = material.task.values, material.first.groups
    with options.meter.measure() as reading:
        fitted = fit_regressor(
            name, x[train], y[train], groups=None if groups is None else groups[train], seed=options.seed
        )
    began = time.perf_counter()
    predicted = fitted.predict(x[test])
    spent = (time.perf_counter() - began) / len(test)
    cost = costs.get("seconds_per_image")
    extract = 0.0 if backbone is None else _times(cost, len(x))
    known = None if reading.joules is None else 0.0
    method = MethodResult(
        name=name,
        title=fitted.title,
        kind=fitted.kind,
        backbone=backbone,
        params=fitted.params,
        metrics=score_numbers(y[test], predicted, n_boot=options.n_boot, seed=options.seed),
        seconds={"extract": extract, "fit": fitted.seconds, "predict_per_image": spent + (cost or 0.0)},
        notes=list(fitted.notes),
        image_size=image_size,
        joules={
            "extract": _times(costs.get("joules_per_image") if backbone else known, len(x)),
            "fit": reading.joules,
        },
    )
    return method, predicted


def _times(cost: float | None, images: int) -> float | None:
    return None if cost is None else cost * images
