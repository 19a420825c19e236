"""One task that is a number: floors and regressors on its split."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

from featx.comparison.classes import Options, common_parts
from featx.comparison.material import Material
from featx.comparison.result import RegressionComparison, thumbnails_of
from featx.results import NO_FINE_TUNING, MethodResult, advise_numbers, best_regressor

#: Largest errors whose pictures the report shows.
SHOWN = 12


def compare_numbers(material: Material, options: Options) -> RegressionComparison:
    """Compares regressors on the only task of `material`."""
    from featx.statistics import sign_flip_test

    started = time.perf_counter()
    split = material.split(options.test_size, options.seed)
    truth = material.task.values[split.test]
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
        cost = (features.run or {}).get("seconds_per_image")
        for name in options.regressors:
            run(name, features.embeddings, backbone=backbone, image_size=size, cost=cost)

    best = best_regressor(methods)
    at = methods.index(best) if best is not None else 0
    errors = [np.abs(predicted - truth) for predicted in predictions]
    for i, method in enumerate(methods):
        if i != at:
            test = sign_flip_test(errors[i], errors[at], seed=options.seed)
            method.versus_best = {"method": methods[at].name} | test.to_dict()

    warnings = [NO_FINE_TUNING]
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
        advice=advise_numbers(methods, len(split.test)),
        seed=options.seed,
        warnings=warnings,
        truth=truth.tolist(),
        predictions=predictions[at].tolist(),
        ids=ids,
        **common_parts(material),
    )
    if material.dataset is not None:
        worst = np.argsort(-errors[at], kind="stable")[:SHOWN]
        result.thumbnails = thumbnails_of(material.dataset, {ids[i] for i in worst})
    result.seconds_total = time.perf_counter() - started
    return result


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
    cost: float | None = None,
) -> tuple[MethodResult, np.ndarray]:
    from featx.classifiers import fit_regressor, score_numbers

    if options.verbose:
        print(f"fitting {name}" + (f" on {backbone}" if backbone else ""), file=sys.stderr, flush=True)
    y, groups = material.task.values, material.first.groups
    fitted = fit_regressor(
        name, x[train], y[train], groups=None if groups is None else groups[train], seed=options.seed
    )
    began = time.perf_counter()
    predicted = fitted.predict(x[test])
    spent = (time.perf_counter() - began) / len(test)
    extract = 0.0 if backbone is None else None if cost is None else cost * len(x)
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
    )
    return method, predicted
