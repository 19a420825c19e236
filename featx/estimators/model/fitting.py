"""Fit what `featx.train` was asked for: a probe, a head, a fine-tuned network, or an ensemble of probes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import sklearn

from featx.data.splits import validation_part
from featx.estimators.model.model import Model
from featx.estimators.model.training_set import TrainingSet
from featx.estimators.model.windows import SECONDS
from featx.methods.abstention import UnsureRule, fit_confidence, fit_familiarity
from featx.methods.ensembles import BlockEnsemble, blend_weights
from featx.methods.probes import fit_best, fit_probe, held_out_probabilities
from featx.methods.probes.linear_head import LinearHead
from featx.options import Run
from featx.results.methods import ENSEMBLE, MODE_PREFIX
from featx.terminal import tell


def fit_probe_model(rows: TrainingSet, name: str, run: Run, seed: int, sure: float | None) -> Model:
    """Fit one probe; its settings are chosen by cross-validation."""
    features = rows.first
    fitted = fit_probe(
        name, features.embeddings, rows.labels, groups=features.groups, seed=seed, device=run.device
    )
    validation = _validation(fitted.cv_score, "cross-validated score", len(features))
    info = _info(rows, name, fitted.params, fitted.cv_score, validation, seed)
    held_out = None
    if sure is not None:
        held_out = held_out_probabilities(
            fitted, features.embeddings, rows.labels, groups=features.groups, seed=seed
        )
    return _add_unsure_rule(
        Model(classifier=fitted.estimator, info=info, **rows.parts_of_model()), rows, held_out, sure, seed
    )


def fit_network(
    rows: TrainingSet, mode: str, run: Run, seed: int, epochs: int | None, sure: float | None
) -> Model:
    """Train a head on frozen rows, or the network itself, by the recipe of `featx.compare`."""
    from featx.backbones import TunedBackbone
    from featx.extraction import network_embedder
    from featx.methods.finetune import RowsOnly, choose_recipe, fine_tune
    from featx.methods.finetune.announcing import announced, say_epoch

    features = rows.first
    net: Any = rows.nets[0] if rows.nets else RowsOnly(features.dim)
    fit, val = validation_part(rows.split, rows.labels, groups=features.groups, seed=seed)
    recipe, k = choose_recipe(net, mode, len(fit), epochs=epochs), len(rows.classes)
    images = [] if rows.images is None else rows.images
    with announced(
        net, images, k, recipe, len(fit), len(val), device=run.device, verbose=run.verbose
    ) as watch:
        tuned = fine_tune(
            net,
            None if mode == "head" else images,
            rows.labels,
            k,
            recipe=recipe,
            train_idx=fit,
            val_idx=val,
            embeddings=features.embeddings,
            device=run.device,
            seed=seed,
            progress=say_epoch if run.verbose and mode != "head" else None,
            watch=watch,
        )
    what = f"accuracy on {features.kind}s that were set aside"
    if tuned.refit_history:
        what += f", before the training on all {features.kind}s"
    accuracy = tuned.best["val_accuracy"]
    params = tuned.recipe.to_dict() | {"best_epoch": tuned.best_epoch, "precision": tuned.precision}
    info = _info(rows, MODE_PREFIX + mode, params, None, _validation(accuracy, what, len(val)), seed)
    info["notes"] = [*info.get("notes", []), *tuned.notes]
    parts = rows.parts_of_model()
    if mode != "head":
        values = tuned.network_values()
        trained = TunedBackbone.of(net, values)
        parts |= {"space": network_embedder(trained, run).space.fields, "values": values}
        parts["files"] = net.architecture.kept_files()
    model = Model(classifier=LinearHead.of(*tuned.head_weights()), info=info, **parts)
    # A network that was trained on all inputs leaves no new rows to set thresholds by.
    return model if mode != "head" else _add_unsure_rule(model, rows, None, sure, seed)


def fit_ensemble(rows: TrainingSet, run: Run, seed: int, sure: float | None) -> Model:
    """Average the best probe of each backbone by weight, as `featx.compare` does.

    The weights minimise the log loss of out-of-fold probabilities of the training rows; where none can be
    held out, they are equal.
    """
    y, members, held = rows.labels, [], []
    for number, features in enumerate(rows.sets):
        parts = rows.parts_of_model(number)
        if run.verbose:
            tell(f"fitting the classifiers of {parts['backbone']['name']}")
        best = fit_best(features.embeddings, y, groups=features.groups, seed=seed, device=run.device)
        held.append(held_out_probabilities(best, features.embeddings, y, groups=features.groups, seed=seed))
        about = {"classifier": best.name, "params": best.params, "cv_score": best.cv_score}
        members.append(Model(classifier=best.estimator, info=about, **parts))
    weights, score, n = np.full(len(members), 1 / len(members)), None, 0
    held_out = None
    known = [found for found in held if found is not None]
    if len(known) == len(members):
        at, n = known[0][0], len(known[0][0])
        out_of_fold = np.stack([probabilities for _, probabilities in known])
        weights = blend_weights(out_of_fold, y[at])
        held_out = at, np.tensordot(weights, out_of_fold, axes=1)
        score = float((held_out[1].argmax(axis=1) == y[at]).mean())
    params = {
        member.backbone["name"]: {"classifier": member.info["classifier"], "weight": float(weight)}
        for member, weight in zip(members, weights, strict=True)
    }
    what = "accuracy on out-of-fold rows, which also chose the weights"
    first = members[0]
    model = Model(
        classifier=BlockEnsemble.of([member.classifier for member in members], weights),
        classes=rows.classes,
        space={},
        backbone={},
        info=_info(rows, ENSEMBLE, params, None, _validation(score, what, n), seed),
        failures=first.failures,
        extraction=first.extraction,
        members=tuple(members),
    )
    return _add_unsure_rule(model, rows, held_out, sure, seed)


def _add_unsure_rule(
    model: Model,
    rows: TrainingSet,
    held_out: tuple[np.ndarray, np.ndarray] | None,
    sure: float | None,
    seed: int,
) -> Model:
    """Return the model with its rule for unsure answers; without one if `sure` is None.

    `held_out` has the positions of rows that the classifier was not fitted to, and its probabilities for
    them: they give the least probability of a sure answer. The largest distance comes from training rows,
    each compared with the others.
    """
    if sure is None:
        return model
    one = len(rows.sets) == 1
    embeddings = rows.first.embeddings if one else _SideBySide([each.embeddings for each in rows.sets])
    confidence = None
    if held_out is not None:
        at, probabilities = held_out
        confidence = fit_confidence(probabilities, rows.labels[at], sure)
    model.unsure = UnsureRule(
        confidence, fit_familiarity(embeddings, rows.labels, rows.first.groups, seed=seed)
    )
    model.info["unsure"] = model.unsure.to_dict()
    return model


class _SideBySide:
    """Rows of several backbones as one: the embeddings of an input are joined when they are indexed."""

    def __init__(self, sets: Sequence[Any]):
        self._sets = sets
        self.shape = len(sets[0]), sum(rows.shape[1] for rows in sets)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, which: np.ndarray) -> np.ndarray:
        return np.hstack([rows[which] for rows in self._sets])


def _validation(score: float | None, what: str, n: int) -> dict[str, Any]:
    return {"score": score, "what": what, "n": n}


def _info(
    rows: TrainingSet,
    name: str,
    params: dict[str, Any],
    cv_score: float | None,
    validation: dict[str, Any],
    seed: int,
) -> dict[str, Any]:
    from featx import __version__

    return {
        "classifier": name,
        "params": params,
        "cv_score": cv_score,
        "validation": validation,
        "n_train": len(rows.first),
        "seed": seed,
        "featx": __version__,
        "scikit-learn": sklearn.__version__,
        **({} if rows.seconds is None else {SECONDS: rows.seconds}),
        **({"notes": rows.notes} if rows.notes else {}),
    }
