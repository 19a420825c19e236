"""A classifier with the identity of the backbone that it needs: predict with it, and save it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from featx.data.features import Failure
from featx.errors import InputError, as_one_error
from featx.estimators.model.prediction import Prediction
from featx.extraction import embed_dataset, matching_embedder
from featx.options import PredictOptions, Run, checked
from featx.results.shown import Shown, brief


@dataclass
class Model(Shown):
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

    def _facts(self) -> dict[str, str]:
        network = self.space.get("backbone")
        facts = {
            "classifier": self.info.get("classifier") or type(self.classifier).__name__,
            "backbone": network.get("architecture") if isinstance(network, Mapping) else None,
            "classes": brief(self.classes),
            "trained on": self.info.get("n_train"),
        }
        return {name: str(fact) for name, fact in facts.items() if fact}

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
