"""The main job: probes on frozen features, two floors and the fine-tuned baseline, on identical splits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.comparison.bench import Bench, Outcome
from featx.comparison.result import Comparison, prepare_output, thumbnails_of
from featx.datasets import Dataset, load_dataset, require_labelled
from featx.errors import DatasetError, InputError, UnknownName
from featx.extraction import backbone_of, extract_features, network_embedder, pixel_embedder
from featx.features import Features, load_features
from featx.results import advise, describe_environment
from featx.splits import make_split

__all__ = ["BASELINE_MODES", "Comparison", "compare", "prepare_output"]

#: Fine-tuning modes of the baseline, cheapest first.
BASELINE_MODES = ("head", "last", "full")


def compare(
    data: Any,
    labels: Any = None,
    *,
    backbones: str | Sequence[Any] = ("mobilenet_v2",),
    classifiers: str | Sequence[str] | None = None,
    baseline: str | Sequence[str] = "finetune",
    weights: Any = "default",
    layer: str | None = None,
    pooling: str | None = None,
    image_size: int | None = None,
    precision: str = "auto",
    engine: str = "auto",
    device: str = "auto",
    batch_size: int | str = "auto",
    test_size: float = 0.25,
    seed: int = 0,
    epochs: int | None = None,
    cache: Any = None,
    limit: int | None = None,
    on_error: str = "raise",
    n_boot: int = 1000,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> Comparison:
    """Compares classifiers on frozen embeddings with each other and with fine-tuning.

    Parameters
    ----------
    data, labels
        As in `featx.extract`; also the path of a features file or a `Features`, from which the probes are
        compared without the images (then there is neither a raw-pixel floor nor a fine-tuned baseline).
    backbones : str or sequence, default=("mobilenet_v2",)
        One or several backbones.
    classifiers : str or sequence of str, optional
        Names of `featx.classifiers.PROBES`; default: all.
    baseline : {"finetune", "none"} or sequence of {"head", "last", "full"}, default="finetune"
        ``"finetune"`` runs all three modes on the backbone whose probes did best in cross-validation.
    weights, layer, pooling, image_size, precision, engine, device, batch_size, cache, limit, on_error, n_jobs
        As in `featx.extract`.
    test_size : float, default=0.25
        Share of test images where the data has no split of its own.
    seed : int, default=0
        Seed of the split, the folds, the classifiers, the fine-tuning and the bootstrap.
    epochs : int, optional
        Epochs of the fine-tuning modes that run the network; default: the recipe's.
    n_boot : int, default=1000
        Bootstrap resamples behind each 95 % interval.
    verbose : bool, default=False
        Show progress on standard error.

    Returns
    -------
    Comparison
        ``to_frame()``, ``table()``, ``advice``, ``save(directory)``.

    Raises
    ------
    DatasetError
        No labels, one class only, a class with a single image, no images.
    UnknownName, WeightsError, ImageError, CacheError
        See `featx.errors`.
    """
    from featx.classifiers import probe_names

    chosen = [classifiers] if isinstance(classifiers, str) else list(classifiers or probe_names())
    for name in chosen:
        if name not in probe_names():
            raise UnknownName("classifier", name, probe_names())
    modes = _baseline_modes(baseline)
    started = time.perf_counter()
    common = {"cache": cache, "on_error": on_error, "n_jobs": n_jobs, "verbose": verbose}

    dataset: Dataset | None = None
    if isinstance(data, Features) or (
        isinstance(data, str | Path) and Path(data).suffix.lower() in (".h5", ".hdf5")
    ):
        if limit is not None:
            raise InputError(
                "limit does not apply to a features file; give it to extract, or use Features.subset"
            )
        features = data if isinstance(data, Features) else load_features(data)
        _require_labels(features, str(data) if not isinstance(data, Features) else "features")
        _require_finite(features, str(data) if not isinstance(data, Features) else "features")
        name = features.space.get("backbone", {}).get("architecture", "features")
        sets, nets, embedders = {name: features}, {}, {}
        dataset_name = Path(data).stem if not isinstance(data, Features) else "features"
    else:
        dataset = load_dataset(data, labels, limit=limit, seed=seed)
        require_labelled(dataset)
        dataset_name = dataset.name
        names = [backbones] if isinstance(backbones, str) else list(backbones)
        if not names:
            raise InputError("backbones: at least one is needed")
        nets = {
            net.name: net
            for net in (
                backbone_of(b, weights=weights, layer=layer, pooling=pooling, image_size=image_size)
                for b in names
            )
        }
        embedders = {
            name: network_embedder(
                net, engine=engine, device=device, precision=precision, batch_size=batch_size
            )
            for name, net in nets.items()
        }
        sets = {name: extract_features(dataset, e, **common) for name, e in embedders.items()}

    first = next(iter(sets.values()))
    if dataset is not None and first.failures:
        bad = {failure.id for failure in first.failures}
        dataset = dataset.subset([i for i, id in enumerate(dataset.ids) if id not in bad])
        require_labelled(dataset)
    split = make_split(
        first.labels,
        splits=first.splits,
        groups=first.groups,
        test_size=test_size,
        seed=seed,
        classes=first.classes,
    )
    bench = Bench(first, split, seed, verbose)

    outcomes: list[Outcome] = [bench.majority()]
    if dataset is not None:
        outcomes.append(bench.pixels(dataset, pixel_embedder(), common))
    selection: dict[str, float] = {}
    for name, features in sets.items():
        size = nets[name].preprocessing.size[0] if nets else None
        for classifier in chosen:
            outcome, cv_score = bench.probe(classifier, name, features, size)
            outcomes.append(outcome)
            selection[name] = max(selection.get(name, -np.inf), cv_score)
    if modes and dataset is not None:
        chosen_backbone = max(selection, key=lambda name: selection[name])
        outcomes += bench.fine_tuned(
            modes, nets[chosen_backbone], sets[chosen_backbone], dataset, device=device, epochs=epochs
        )
    methods = bench.scored(outcomes, n_boot)
    warnings = []
    if dataset is None:
        warnings.append(
            "compared from a features file: no raw-pixel floor and no fine-tuned baseline without the images"
        )
    result = Comparison(
        dataset={
            "name": dataset_name,
            "n_train": len(bench.train),
            "n_test": len(split.test),
            "classes": list(bench.classes),
            "n_per_class_train": bench.per_class(split.train),
            "n_per_class_test": bench.per_class(split.test),
            "split": split.origin,
        },
        spaces={name: features.space for name, features in sets.items()},
        methods=methods,
        forward_passes=sum(f.run["forward_passes"] for f in sets.values() if f.run),
        advice=advise(methods, n_test=len(split.test)),
        failures=[{"id": f.id, "reason": f.reason} for f in first.failures],
        environment=describe_environment(),
        seed=seed,
        seconds_total=time.perf_counter() - started,
        warnings=warnings,
        extraction={
            name: {"profile": features.run["profile"], "parity": features.run["parity"]}
            for name, features in sets.items()
            if features.run is not None
        },
    )
    if dataset is not None:
        shown = {mistake.id for method in methods for mistake in method.mistakes}
        result.thumbnails = thumbnails_of(dataset, shown)
    return result


def _baseline_modes(baseline: str | Sequence[str]) -> tuple[str, ...]:
    if baseline in ("finetune", "none"):
        return BASELINE_MODES if baseline == "finetune" else ()
    modes = (baseline,) if isinstance(baseline, str) else tuple(baseline)
    for mode in modes:
        if mode == "none" or mode == "finetune":
            raise InputError(f"baseline {mode!r} stands alone; got {', '.join(modes)}")
        if mode not in BASELINE_MODES:
            raise UnknownName("baseline", mode, ("finetune", "none", *BASELINE_MODES))
    return tuple(mode for mode in BASELINE_MODES if mode in modes)


def _require_finite(features: Features, name: str) -> None:
    bad = np.flatnonzero(~np.isfinite(features.embeddings).all(axis=1))
    if len(bad):
        raise InputError(
            f"{name}: row {bad[0]} ({features.ids[bad[0]]}) has values that are not finite ({len(bad)} in "
            "all); leave such rows out with Features.subset, or extract them again"
        )


def _require_labels(features: Features, name: str) -> None:
    if features.labels is None or features.classes is None:
        raise DatasetError(f"{name}: has no labels; a comparison needs a labelled collection")
    counts = np.bincount(features.labels, minlength=len(features.classes))
    if len(features.classes) < 2:
        raise DatasetError(
            f"{name}: has only one class, {features.classes[0]!r}; a comparison needs two or more"
        )
    if counts.min() < 2:
        few = features.classes[int(counts.argmin())]
        raise DatasetError(
            f"{name}: class {few!r} has {counts.min()} image; at least 2 are needed, "
            "to train on and to test on"
        )
