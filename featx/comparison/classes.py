"""One task of classes: floors, probes and the fine-tuned baseline on its split."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.comparison.bench import Bench, Outcome
from featx.comparison.ensemble import Ensemble
from featx.comparison.material import Material
from featx.comparison.result import Comparison, thumbnails_of
from featx.results import advise, describe_environment


@dataclass(frozen=True)
class Options:
    """What `compare` was asked to do with each task; see there."""

    classifiers: tuple[str, ...]
    regressors: tuple[str, ...]
    modes: tuple[str, ...]
    device: str
    epochs: int | None
    test_size: float
    seed: int
    n_boot: int
    verbose: bool
    ensemble: bool = True


def compare_classes(material: Material, options: Options) -> Comparison:
    """Compares classifiers on the only task of `material`."""
    started = time.perf_counter()
    split = material.split(options.test_size, options.seed)
    bench = Bench(material.first, split, options.seed, options.verbose)
    nets, dataset = material.nets, material.dataset
    outcomes: list[Outcome] = [bench.majority()]
    if material.pixels is not None:
        outcomes.append(bench.pixels(material.pixels, material.pixel_size))
    selection: dict[str, float] = {}
    for name, features in material.sets.items():
        size = nets[name].preprocessing.size[0] if nets else None
        for classifier in options.classifiers:
            outcome, cv_score = bench.probe(classifier, name, features, size)
            outcomes.append(outcome)
            selection[name] = max(selection.get(name, -np.inf), cv_score)
    ensemble = None
    if options.ensemble and len(bench.members) > 1:
        ensemble = Ensemble(bench, material.sets)
        outcomes.append(ensemble.outcome)
    if options.modes and dataset is not None:
        chosen = max(selection, key=lambda name: selection[name])
        outcomes += bench.fine_tuned(
            options.modes,
            nets[chosen],
            material.sets[chosen],
            dataset,
            device=options.device,
            epochs=options.epochs,
        )
    methods = bench.scored(outcomes, options.n_boot)
    warnings = []
    if dataset is None:
        warnings.append(
            "compared from a features file: no raw-pixel floor and no fine-tuned baseline without the images"
        )
    result = Comparison(
        dataset={
            "name": material.name,
            "n_train": len(bench.train),
            "n_test": len(split.test),
            "classes": list(bench.classes),
            "n_per_class_train": bench.per_class(split.train),
            "n_per_class_test": bench.per_class(split.test),
            "split": split.origin,
        }
        | ({"task": material.task.name} if material.several else {}),
        methods=methods,
        advice=advise(methods, n_test=len(split.test)) + (f" {ensemble.advice}" if ensemble else ""),
        ensemble=ensemble.content if ensemble else None,
        seed=options.seed,
        warnings=warnings,
        **common_parts(material),
    )
    if dataset is not None:
        shown = {mistake.id for method in methods for mistake in method.mistakes}
        result.thumbnails = thumbnails_of(dataset, shown)
    result.seconds_total = time.perf_counter() - started
    return result


def common_parts(material: Material) -> dict[str, Any]:
    """What every result says of the embeddings and of the machine."""
    return {
        "spaces": {name: features.space for name, features in material.sets.items()},
        "forward_passes": material.forward_passes,
        "failures": [{"id": f.id, "reason": f.reason} for f in material.first.failures],
        "environment": describe_environment(),
        "extraction": {
            name: {"profile": features.run["profile"], "parity": features.run["parity"]}
            for name, features in material.sets.items()
            if features.run is not None
        },
    }
