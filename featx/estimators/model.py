"""Keep a trained classifier with the identity of the backbone whose embeddings it expects.

`featx.estimators.model_file` says what a model file is. Nothing in it is pickled, and whoever wrote it,
reading it gives the classifier that it describes or one error that says what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from featx.data.features import Failure, check_rows
from featx.errors import FeatxError, InputError, ModelMismatch, as_one_error
from featx.extraction import backbone_of, embed_dataset, extract_features, matching_embedder, network_embedder
from featx.extraction.matching import backbone_arguments
from featx.options import Network, PredictOptions, Reading, Run, StudyOptions, checked


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image.

    Attributes
    ----------
    id : str
        The image.
    label : str
        The most probable class.
    probability : float
        Its probability.
    probabilities : dict of str to float
        Of every class.
    """

    id: str
    label: str
    probability: float
    probabilities: dict[str, float]


@dataclass
class Model:
    """Classify images: a fitted probe with everything that its input depends on.

    Attributes
    ----------
    classifier : sklearn.base.BaseEstimator
        Fitted on embeddings.
    classes : tuple of str
        Names, in the order of the classifier's columns.
    space : dict
        The space of the embeddings: backbone, weights hash, layer, preprocessing, precision.
    backbone : dict
        Arguments of `featx.backbones.load_backbone` that give this backbone again.
    info : dict
        Classifier name, chosen hyperparameters, cross-validated score, number of training images, versions.
    failures : list of Failure
        Images of the last `predict` that could not be read, with ``on_error="skip"``.
    extraction : dict
        Where the time of the last extraction went (`featx.extraction.Profile`).
    """

    classifier: Any
    classes: tuple[str, ...]
    space: dict[str, Any]
    backbone: dict[str, Any]
    info: dict[str, Any]
    failures: list[Failure] = field(default_factory=list)
    extraction: dict[str, Any] = field(default_factory=dict)

    @checked(images="data")
    def predict(
        self,
        images: Any,
        *,
        weights: Any = None,
        **options: Unpack[PredictOptions],
    ) -> list[Prediction]:
        """Predict labels and probabilities of images.

        Parameters
        ----------
        images : anything that `featx.load_dataset` takes
            Labels, where there are any, are not looked at.
        weights : path, optional
            Where the backbone's checkpoint is now, for a model that was trained on a local one.
        **options
            Options of the run.

        Returns
        -------
        list of Prediction
            One for each image that could be read, in order.

        Notes
        -----
        Where this machine does not have the precision that the model was trained in, fp32 takes its place:
        the embeddings are then nearer to the true ones than those of the training were.

        Raises
        ------
        ModelMismatch
            The backbone that is installed here gives other embeddings than the model was trained on.
        """
        from featx.data import load_dataset

        run = Run.of(options)
        embedder = matching_embedder(self.space, self.backbone, "the model", run, weights=weights)
        # Classes do not matter here, so what the top folders are does not either.
        dataset = load_dataset(images, labelled=False, split_by="none", on_error=run.on_error)
        rows = embed_dataset(dataset, embedder, run)
        self.failures, self.extraction = rows.failures, rows.profile.to_dict()
        if not len(rows.kept):
            return []
        probabilities = self.predict_proba(rows.embeddings)
        ids = dataset.ids
        return [
            Prediction(
                id=ids[i],
                label=self.classes[row.argmax()],
                probability=float(row.max()),
                probabilities=dict(zip(self.classes, map(float, row), strict=True)),
            )
            for i, row in zip(rows.kept, probabilities, strict=True)
        ]

    def predict_proba(self, rows: Any) -> np.ndarray:
        """Return the probabilities of the classes for embeddings of this model's backbone.

        Parameters
        ----------
        rows : array-like of shape (n, d)
            Finite numbers.

        Returns
        -------
        ndarray of shape (n, n_classes)

        Raises
        ------
        InputError
            If these rows cannot be used, or the model has no finite answer to them.
        """
        rows = np.asarray(rows)
        if rows.ndim != 2 or rows.shape[1] != self.classifier.n_features_in_:
            raise InputError(
                f"the model expects embeddings of {self.classifier.n_features_in_} numbers, got an array of "
                f"shape {rows.shape}; use the backbone, layer and image size that it was trained with"
            )
        # The numbers of a model may be a stranger's: what overflows is told by what comes out.
        with (
            as_one_error(lambda reason: InputError(f"the model cannot classify these embeddings ({reason})")),
            np.errstate(all="ignore"),
        ):
            found = np.asarray(self.classifier.predict_proba(rows))
        if not np.isfinite(found).all():
            raise InputError("the model gives probabilities that are no numbers; train it again")
        return found

    @checked(path="file")
    def save(self, path: str | Path) -> Path:
        """Write the model to `path`, whole or not at all.

        Raises
        ------
        OutputError
            If it cannot be written.
        InputError
            If its classifier is none that `train` makes.
        """
        from featx.estimators.model_file import describe, write_model_file

        path = Path(path)
        description, arrays = describe(self.classifier, len(self.classes))
        meta = {
            "classes": list(self.classes),
            "space": self.space,
            "backbone": self.backbone,
            "info": self.info,
            "classifier": description,
        }
        write_model_file(path, meta, arrays)
        return path


@checked()
def train(
    data: Any,
    labels: Any = None,
    *,
    classifier: str = "logreg",
    backbone: Any = "mobilenet_v2",
    seed: int = 0,
    **options: Unpack[StudyOptions],
) -> Model:
    """Train one probe on every labelled image of `data`, to keep and to use.

    The hyperparameters are chosen by cross-validation. Images of a ``test`` split are left out, so that
    their accuracy stays an honest estimate.

    Parameters
    ----------
    data, labels, backbone
        As in `featx.extract`.
    classifier : str, default="logreg"
        A name of ``featx.methods.probes.probe_names(on_request=True)``.
    seed : int, default=0
        Seed of folds and classifier.
    **options
        Options of the network, of reading and of the run, as in `featx.extract`.

    Returns
    -------
    Model
    """
    import sklearn

    from featx import __version__
    from featx.data import load_dataset, require_labelled
    from featx.methods.probes import fit_probe, get_probe

    # A wrong name is told before the images go through the network.
    if get_probe(classifier).kind == "floor":
        raise InputError(f"classifier {classifier!r} is a floor, to compare with; train a probe")
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
    )
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
        | ({"notes": notes} if notes else {}),
        failures=features.failures,
        extraction=(features.run or {})["profile"],
    )


@checked(path="file")
def load_model(path: str | Path) -> Model:
    """Read a model file. Nothing in it is executed, and everything is checked.

    Parameters
    ----------
    path : path-like
        What `Model.save` or ``featx train`` wrote.

    Returns
    -------
    Model

    Raises
    ------
    InputError
        Not a model file, damaged, or holding anything that no featx model consists of.
    ModelMismatch
        Written by a featx with another format, or trained with another minor version of scikit-learn.

    Notes
    -----
    Memory stays below a small multiple of the file's size (see `featx.estimators.model_file.container`).
    """
    from featx.estimators.model_file import check_description, read_model_file, rebuild

    path = Path(path)
    meta, arrays = read_model_file(path)
    # The inner block says what is wrong, this one in which file.
    with as_one_error(lambda reason: InputError(f"{path}: not a model file of featx, or damaged ({reason})")):
        try:
            classes = check_description(meta)
            backbone_arguments(meta["space"], "space of model.json")
            return Model(
                classifier=rebuild(meta["classifier"], arrays, len(classes)),
                classes=classes,
                space=meta["space"],
                backbone=meta["backbone"],
                info=meta["info"],
            )
        except FeatxError as error:
            kind = ModelMismatch if isinstance(error, ModelMismatch) else InputError
            raise kind(f"{path}: {error}") from None


def prediction_rows(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Return flat rows ``id, label, probability, p(CLASS) ...`` for a table."""
    return [
        {"id": p.id, "label": p.label, "probability": p.probability}
        | {f"p({name})": value for name, value in p.probabilities.items()}
        for p in predictions
    ]
