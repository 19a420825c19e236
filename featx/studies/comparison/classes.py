"""One task of classes: floors, probes and the fine-tuned baseline on its split."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from featx.data.splits import Split
from featx.energy import Meter
from featx.options import OPTIONS
from featx.results import MethodResult, Repeats, advise, describe_environment
from featx.studies.checkpoints import Journal
from featx.studies.comparison.bench import Outcome
from featx.studies.comparison.ensemble import Ensemble
from featx.studies.comparison.hygiene import examine, shown, warnings_of
from featx.studies.comparison.kept import KeptBench
from featx.studies.comparison.material import Material
from featx.studies.comparison.repeats import over_splits
from featx.studies.comparison.result import Comparison, thumbnails_of


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
    seeds: int = 1
    ensemble: bool = True
    meter: Meter = field(default_factory=Meter)
    journal: Journal = field(default_factory=Journal)

    @property
    def all_seeds(self) -> range:
        """One a split."""
        return range(self.seed, self.seed + self.seeds)


def compare_classes(material: Material, options: Options) -> Comparison:
    """Compares classifiers on the only task of `material`."""
    started = time.perf_counter()
    dataset = material.dataset
    bench = _bench(material, options, options.seed)
    split = bench.split
    outcomes, chosen, ensemble = _outcomes(bench, material, options)
    methods = bench.scored(outcomes, options.n_boot)

    def again(seed: int) -> tuple[Split, list[MethodResult]]:
        other = _bench(material, options, seed)
        return other.split, other.scored(_outcomes(other, material, options, chosen)[0], 0)

    repeats = over_splits((split, methods), again, options.all_seeds, "top1", options.verbose)
    hygiene = examine(material, bench, chosen, outcomes)
    warnings = warnings_of(hygiene) + unused_share(split, options.test_size)
    warnings += _earlier(options.journal, methods, repeats)
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
        advice=advise(methods, n_test=len(split.test), repeats=repeats)
        + (f" {ensemble.advice}" if ensemble else ""),
        ensemble=ensemble.content if ensemble else None,
        seed=options.seed,
        repeats=repeats,
        warnings=warnings,
        hygiene=hygiene,
        **common_parts(material, options.meter),
    )
    if dataset is not None:
        mistaken = {mistake.id for method in methods for mistake in method.mistakes}
        result.thumbnails = thumbnails_of(dataset, mistaken | shown(hygiene))
    result.seconds_total = time.perf_counter() - started
    return result


def _earlier(journal: Journal, methods: list[MethodResult], repeats: Repeats | None) -> list[str]:
    """What was taken from an earlier run, of all splits together."""
    if repeats is None:
        return journal.notes([m.earlier_run for m in methods], "methods")
    fits = [made for m in repeats.methods for made in m.earlier_run]
    return journal.notes(fits, f"fits ({len(repeats.methods)} methods on {len(repeats.seeds)} splits)")


def unused_share(split: Split, test_size: float) -> list[str]:
    """What to say of a `test_size` that was asked for where the data has its own split."""
    if split.origin != "given" or test_size == OPTIONS["test_size"].default:
        return []
    return [f"test_size {test_size:g} had no effect: the data comes with its own split"]


def _bench(material: Material, options: Options, seed: int) -> KeptBench:
    split = material.split(options.test_size, seed)
    return KeptBench(options.journal, material.first, split, seed, options.verbose, options.meter)


def _outcomes(
    bench: KeptBench, material: Material, options: Options, chosen: str | None = None
) -> tuple[list[Outcome], str, Ensemble | None]:
    """What every method says on one split; the backbone that is fine-tuned, if it was not given; and the
    ensemble of several backbones."""
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
    # Over several splits it is the same method only on the same backbone.
    chosen = chosen or max(selection, key=lambda name: selection[name])
    if options.modes and dataset is not None:
        outcomes += bench.fine_tuned(
            options.modes,
            nets[chosen],
            material.sets[chosen],
            dataset,
            device=options.device,
            epochs=options.epochs,
        )
    return outcomes, chosen, ensemble


def common_parts(material: Material, meter: Meter) -> dict[str, Any]:
    """What every result says of the embeddings and of the machine."""
    return {
        "spaces": {name: features.space for name, features in material.sets.items()},
        "forward_passes": material.forward_passes,
        "failures": [{"id": f.id, "reason": f.reason} for f in material.first.failures],
        "environment": describe_environment() | ({"energy": ", ".join(meter.parts)} if meter.parts else {}),
        "extraction": {
            name: {"profile": features.run["profile"], "parity": features.run["parity"]}
            for name, features in material.sets.items()
            if features.run is not None
        },
    }
