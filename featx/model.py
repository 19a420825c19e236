"""A classifier to keep: the fitted probe, and the identity of the backbone whose embeddings it expects.

A model file is a zip archive of ``model.json`` (what it is, in clear) and ``classifier.skops`` (the fitted
scikit-learn pipeline). Nothing in it is pickled: skops rebuilds only types that are known, and this module
allows a few types of scikit-learn and of this package beside skops' own list. Anything else is refused.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from featx.durable import replacing
from featx.errors import InputError, ModelMismatch, OutputError
from featx.extraction import backbone_of, embed, extract_features, matching_embedder, network_embedder
from featx.features import Failure, check_rows
from featx.options import checked

FORMAT = "featx model"
FORMAT_VERSION = 1
#: Types that the probes consist of and skops does not list.
TRUSTED_TYPES = frozenset(
    {
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._TemperatureScaling",
        "sklearn.tree._tree.Tree",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "featx.classifiers.linear_probe.LogisticProbe",
        "featx.classifiers.protocols.NeighbourVotes",
        "featx.classifiers.protocols.Prototypes",
        "featx.classifiers.ridge.LeastSquaresProbe",
    }
)
#: No member of a model file may unpack to more than this.
MAX_BYTES = 4 * 2**30


@dataclass(frozen=True)
class Prediction:
    """What a model says about one image.

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
    """A probe with everything that its input depends on.

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

    @checked()
    def predict(
        self,
        images: Any,
        *,
        weights: Any = None,
        engine: str = "auto",
        device: str = "auto",
        batch_size: int | str = "auto",
        cache: Any = None,
        on_error: str = "raise",
        verbose: bool = False,
    ) -> list[Prediction]:
        """Labels and probabilities of images.

        Parameters
        ----------
        images : anything that `featx.load_dataset` takes
            Labels, where there are any, are not looked at.
        weights : path, optional
            Where the backbone's checkpoint is now, for a model that was trained on a local one.
        engine, device, batch_size, cache, on_error, verbose
            As in `featx.extract`.

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
        from featx.datasets import load_dataset

        embedder = matching_embedder(
            self.space,
            self.backbone,
            "the model",
            weights=weights,
            engine=engine,
            device=device,
            batch_size=batch_size,
        )
        dataset = load_dataset(images, labelled=False)
        rows = embed(dataset.images, embedder, cache=cache, on_error=on_error, verbose=verbose)
        self.failures, self.extraction = rows.failures, rows.profile.to_dict()
        if not len(rows.kept):
            return []
        probabilities = self.classifier.predict_proba(rows.embeddings)
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

    @checked(path="file")
    def save(self, path: str | Path) -> Path:
        """Writes the model to `path`, whole or not at all."""
        import skops.io

        path = Path(path)
        meta = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "classes": list(self.classes),
            "space": self.space,
            "backbone": self.backbone,
            "info": self.info,
        }
        blob = skops.io.dumps(self.classifier)
        try:
            with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("model.json", json.dumps(meta, indent=1, ensure_ascii=False))
                archive.writestr("classifier.skops", blob)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None
        return path


@checked()
def train(
    data: Any,
    labels: Any = None,
    *,
    classifier: str = "logreg",
    backbone: Any = "mobilenet_v2",
    weights: Any = "default",
    layer: str | None = None,
    pooling: str | None = None,
    image_size: int | None = None,
    precision: str = "auto",
    engine: str = "auto",
    device: str = "auto",
    batch_size: int | str = "auto",
    seed: int = 0,
    cache: Any = None,
    limit: int | None = None,
    on_error: str = "raise",
    verbose: bool = False,
) -> Model:
    """Trains one probe on every labelled image of `data`, to keep and to use.

    The hyperparameters are chosen by cross-validation. Images of a ``test`` split are left out, so that
    their accuracy stays an honest estimate.

    Parameters
    ----------
    data, labels, backbone, weights, layer, pooling, image_size, precision, engine, device, batch_size
        As in `featx.extract`.
    classifier : str, default="logreg"
        A name of ``featx.classifiers.probe_names(on_request=True)``.
    seed : int, default=0
        Seed of folds and classifier.
    cache, limit, on_error, verbose
        As in `featx.extract`.

    Returns
    -------
    Model
    """
    import sklearn

    from featx import __version__
    from featx.classifiers import fit_probe, get_probe
    from featx.datasets import load_dataset, require_labelled

    # A wrong name is told before the images go through the network.
    if get_probe(classifier).kind == "floor":
        raise InputError(f"classifier {classifier!r} is a floor, to compare with; train a probe")
    if precision == "int8":
        raise InputError(
            "precision 'int8' depends on the images that it was calibrated on, and a model meets others; "
            "train with 'bf16' or 'fp32'"
        )
    dataset = load_dataset(data, labels, limit=limit, seed=seed)
    if dataset.splits is not None:
        dataset = dataset.subset(np.flatnonzero(dataset.splits != "test"))
    require_labelled(dataset)
    network = backbone_of(backbone, weights=weights, layer=layer, pooling=pooling, image_size=image_size)
    embedder = network_embedder(
        network, engine=engine, device=device, precision=precision, batch_size=batch_size
    )
    features = extract_features(dataset, embedder, cache=cache, on_error=on_error, verbose=verbose)
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
        backbone=network.arguments,
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
    """Reads a model file without unpickling anything.

    Raises
    ------
    InputError
        Not a model file, damaged, or holding types that no featx model consists of.
    ModelMismatch
        Written with another minor version of scikit-learn, whose fitted estimators are not interchangeable.
    """
    import sklearn
    import skops.io

    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            meta = json.loads(_member(archive, "model.json", path))
            blob = _member(archive, "classifier.skops", path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a model file of featx, or damaged ({error})") from None
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise InputError(f"{path}: not a model file of featx")
    if meta.get("format_version") != FORMAT_VERSION:
        raise ModelMismatch(
            f"{path}: model format {meta.get('format_version')}; this featx reads format {FORMAT_VERSION}"
        )
    trained_with = str(meta["info"].get("scikit-learn"))
    if trained_with.split(".")[:2] != sklearn.__version__.split(".")[:2]:
        raise ModelMismatch(
            f"{path}: trained with scikit-learn {trained_with}, installed is {sklearn.__version__}; "
            f"install scikit-learn {trained_with} or train the model again"
        )
    unknown = set(skops.io.get_untrusted_types(data=blob)) - TRUSTED_TYPES
    if unknown:
        raise InputError(
            f"{path}: refused, it holds types that no featx model has: {', '.join(sorted(unknown))}"
        )
    classifier = skops.io.load(io.BytesIO(blob), trusted=sorted(TRUSTED_TYPES))
    return Model(
        classifier=classifier,
        classes=tuple(meta["classes"]),
        space=meta["space"],
        backbone=meta["backbone"],
        info=meta["info"],
    )


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    if archive.getinfo(name).file_size > MAX_BYTES:
        raise InputError(f"{path}: {name} claims {archive.getinfo(name).file_size} bytes; refused")
    return archive.read(name)


def prediction_rows(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Flat rows ``id, label, probability, p(CLASS) ...`` for a table."""
    return [
        {"id": p.id, "label": p.label, "probability": p.probability}
        | {f"p({name})": value for name, value in p.probabilities.items()}
        for p in predictions
    ]
