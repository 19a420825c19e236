"""Train a classifier on images, with the network that it needs."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np

from featx.data.features import check_rows
from featx.errors import InputError
from featx.estimators.model.model import Model
from featx.extraction import backbone_of, extract_features, network_embedder
from featx.extraction.matching import OWN_MODULE
from featx.options import Network, Reading, Run, StudyOptions, checked


@checked()
def train(
    data: Any,
    labels: Any = None,
    *,
    classifier: str = "logreg",
    backbone: Any = "mobilenet_v2",
    seed: int = 0,
    sure: float | None = 0.95,
    **options: Unpack[StudyOptions],
) -> Model:
    """Train one probe on every labelled image of `data`, to predict with and to save.

    The hyperparameters are chosen by cross-validation. Images of a ``test`` split are left out, so that they
    can measure the accuracy.

    Parameters
    ----------
    data, labels, backbone
        As in `featx.extract`.
    classifier : str, default="logreg"
        A name of ``featx.methods.probes.probe_names(on_request=True)``.
    seed : int, default=0
        Seed of folds and classifier.
    sure : float or None, default=0.95
        The share of right answers among those that are not marked unsure (`Prediction.unsure`); None marks
        none.
    **options
        Options of the network, of reading and of the run, as in `featx.extract`.

    Returns
    -------
    Model

    Notes
    -----
    An answer is unsure below the probability from which on a share `sure` of the out-of-fold answers is
    right, at a confidence of 95 % (`featx.methods.abstention.confidence`), and below 1/2 in any case. It is
    also unsure if the image is farther from the training images than 99 % of images like them
    (`featx.methods.abstention.familiarity`).
    """
    import sklearn

    from featx import __version__
    from featx.data import load_dataset, require_labelled
    from featx.estimators.model.unsure import unsure_rule
    from featx.methods.probes import fit_probe, get_probe

    # Refuse a wrong name before the images go through the network.
    if get_probe(classifier).kind == "floor":
        raise InputError(f"classifier {classifier!r} is a reference for comparisons; train a probe")
    network, reading, run = Network.of(options), Reading.of(options), Run.of(options)
    if run.precision == "int8":
        raise InputError(
            "precision 'int8' depends on the images that it was calibrated on, and a model meets others; "
            "train with 'bf16' or 'fp32'"
        )
    dataset = load_dataset(
        data, labels, seed=seed, on_error=run.on_error, verbose=run.verbose, **vars(reading)
    )
    if dataset.splits is not None:
        dataset = dataset.subset(np.flatnonzero(dataset.splits != "test"))
    require_labelled(dataset)
    loaded = backbone_of(backbone, network)
    features = extract_features(dataset, network_embedder(loaded, run), run)
    if features.failures:
        require_labelled(dataset.subset([i for i, id in enumerate(dataset.ids) if id in set(features.ids)]))
    notes = check_rows(features.embeddings, features.ids, dataset.name)
    assert features.labels is not None
    assert features.classes is not None
    fitted = fit_probe(
        classifier,
        features.embeddings,
        features.labels,
        groups=features.groups,
        seed=seed,
        device=run.device,
    )
    rule = None if sure is None else unsure_rule(fitted, features, sure=sure, seed=seed)
    return Model(
        classifier=fitted.estimator,
        classes=features.classes,
        space=features.space,
        backbone=loaded.arguments,
        info={
            "classifier": classifier,
            "params": fitted.params,
            "cv_score": fitted.cv_score,
            "n_train": len(features),
            "featx": __version__,
            "scikit-learn": sklearn.__version__,
        }
        | ({"notes": notes} if notes else {})
        | ({} if rule is None else {"unsure": rule.to_dict()}),
        failures=features.failures,
        extraction=(features.run or {})["profile"],
        module=loaded if loaded.identity["source"] == OWN_MODULE else None,
        unsure=rule,
    )
