"""Train a probe on images, and save and load it with the identity of the backbone that it needs: `Model`.

`featx.estimators.model_file` describes the model file. Nothing in it is pickled: reading any file returns the
classifier that it describes, or raises one error that says what is wrong.
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
from featx.extraction.matching import OWN_MODULE, backbone_arguments, require_module
from featx.options import DEFAULT_RUN, Network, PredictOptions, Reading, Run, StudyOptions, checked


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image.

    Attributes
    ----------
    id : str
        Id of the image.
    label : str
        The most probable class.
    probability : float
        Probability of `label`.
    probabilities : dict of str to float
        Probability of every class.
    """

    id: str
    label: str
    probability: float
    probabilities: dict[str, float]


@dataclass
class Model:
    """Classify images with a fitted probe and the backbone that it was trained on.

    Attributes
    ----------
    classifier : sklearn.base.BaseEstimator
        Classifier that was fitted on embeddings.
    classes : tuple of str
        Names of the classes, in the order of the classifier's columns.
    space : dict
        Space of the embeddings: backbone, weights hash, layer, preprocessing, precision.
    backbone : dict
        Arguments of `featx.backbones.load_backbone` that load this backbone again.
    info : dict
        Classifier name, chosen hyperparameters, cross-validated score, number of training images, versions.
    failures : list of Failure
        Images of the last `predict` that could not be read, with ``on_error="skip"``.
    extraction : dict
        Times of the last extraction (`featx.extraction.Profile`).
    module : torch.nn.Module, Backbone or None
        The network, if it is your own; `save` does not write it.
    """

    classifier: Any
    classes: tuple[str, ...]
    space: dict[str, Any]
    backbone: dict[str, Any]
    info: dict[str, Any]
    failures: list[Failure] = field(default_factory=list)
    extraction: dict[str, Any] = field(default_factory=dict)
    module: Any = field(default=None, repr=False)

    @checked(images="data")
    def predict(
        self,
        images: Any,
        *,
        weights: Any = None,
        trust_code: bool = False,
        **options: Unpack[PredictOptions],
    ) -> list[Prediction]:
        """Predict labels and probabilities of images.

        Parameters
        ----------
        images : anything that `featx.load_dataset` takes
            Images; their labels are ignored.
        weights : path, optional
            Where the backbone's checkpoint is now, for a model that was trained with a local checkpoint.
        trust_code : bool, default=False
            Consent to run the Python code that the backbone comes with; a model file does not hold it.
        **options
            Options of the run.

        Returns
        -------
        list of Prediction
            One for each image that could be read, in order.

        Notes
        -----
        If this machine does not have the precision that the model was trained in, fp32 is used, which is more
        exact.

        Raises
        ------
        ModelMismatch
            The backbone installed here gives other embeddings than the model was trained on.
        InputError
            The model was trained on a network of your own, and loaded without it.
        """
        from featx.data import load_dataset

        run = Run.of(options)
        embedder = matching_embedder(
            self.space,
            self.backbone,
            "the model",
            run,
            weights=weights,
            trust_code=trust_code,
            module=self.module,
        )
        # Labels are ignored, so top folders are neither classes nor splits.
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
        """Return the probabilities (n, n_classes) for embeddings (n, d) of this model's backbone.

        Raises
        ------
        InputError
            The rows do not fit the model, or its probabilities for them are not finite.
        """
        rows = np.asarray(rows)
        if rows.ndim != 2 or rows.shape[1] != self.classifier.n_features_in_:
            raise InputError(
                f"the model expects embeddings of {self.classifier.n_features_in_} numbers, got an array of "
                f"shape {rows.shape}; use the backbone, layer and image size that it was trained with"
            )
        # The numbers of a model may come from anyone: overflow is detected in the result.
        with (
            as_one_error(lambda reason: InputError(f"the model cannot classify these embeddings ({reason})")),
            np.errstate(all="ignore"),
        ):
            found = np.asarray(self.classifier.predict_proba(rows))
        if not np.isfinite(found).all():
            raise InputError("the model gives probabilities that are not finite; train it again")
        return found

    @checked(path="file")
    def save(self, path: str | Path) -> Path:
        """Write the model to `path`, whole or not at all; of a network of your own, only the identity.

        Raises
        ------
        OutputError
            The file cannot be written.
        InputError
            The classifier is not one that `train` makes.
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
        module=loaded if loaded.identity["source"] == OWN_MODULE else None,
    )


@checked(path="file", backbone="module")  # not as the option: None is the default, and no name is taken
def load_model(path: str | Path, *, backbone: Any = None) -> Model:
    """Read a model file. Nothing in it is executed, and everything is checked.

    Parameters
    ----------
    path : path-like
        A file that `Model.save` or ``featx train`` wrote.
    backbone : torch.nn.Module or Backbone, optional
        The network, for a model that was trained on one of your own: the file holds its identity, not its
        values. Without it, such a model predicts from embeddings only (`Model.predict_proba`).

    Returns
    -------
    Model

    Raises
    ------
    InputError
        The file is not a model file, is damaged, or contains anything that is not part of a featx model.
    ModelMismatch
        The file has another format version, was trained with another minor version of scikit-learn, or on
        another network than `backbone`.

    Notes
    -----
    Reading takes at most a small multiple of the file's size in memory (see
    `featx.estimators.model_file.container`).
    """
    from featx.estimators.model_file import check_description, read_model_file, rebuild

    if backbone is not None:
        require_module(backbone)
    path = Path(path)
    meta, arrays = read_model_file(path)
    # The inner block says what is wrong, this one in which file.
    with as_one_error(lambda reason: InputError(f"{path}: not a model file of featx, or damaged ({reason})")):
        try:
            classes = check_description(meta)
            backbone_arguments(meta["space"], "space of model.json")
            model = Model(
                classifier=rebuild(meta["classifier"], arrays, len(classes)),
                classes=classes,
                space=meta["space"],
                backbone=meta["backbone"],
                info=meta["info"],
            )
        except FeatxError as error:
            kind = ModelMismatch if isinstance(error, ModelMismatch) else InputError
            raise kind(f"{path}: {error}") from None
    if backbone is not None:
        matching_embedder(model.space, model.backbone, str(path), DEFAULT_RUN, module=backbone)
        model.module = backbone
    return model


def prediction_rows(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Return flat rows ``id, label, probability, p(CLASS) ...`` for a table."""
    return [
        {"id": p.id, "label": p.label, "probability": p.probability}
        | {f"p({name})": value for name, value in p.probabilities.items()}
        for p in predictions
    ]
