"""A classifier with the identity of the backbone that it needs: predict with it, and save it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from featx.data import Dataset
from featx.data.features import Failure, Features
from featx.data.features.stored_rows import StoredRows
from featx.errors import InputError, as_one_error
from featx.estimators.model.embedding import ModelRows, embed_for_model
from featx.estimators.model.inputs import read_inputs, text_of
from featx.estimators.model.prediction import Prediction
from featx.estimators.model.rows import check_same_space, rows_in
from featx.estimators.model.saving import write_model
from featx.estimators.model_file.plain import PlainClassifier
from featx.kinds import kind_of
from featx.methods.abstention import UnsureRule
from featx.options import OPTIONS, PredictOptions, Run, checked, require_no_effect
from featx.results.shown import Shown, brief

_ROWS_GIVEN = "embeddings are given, and no network runs"


@dataclass
class Model(Shown):
    """Classify inputs with a fitted classifier and the backbones that it was trained on.

    Attributes
    ----------
    classifier : sklearn.base.BaseEstimator
        Classifier that was fitted on embeddings. That of an ensemble takes the rows of its members side by
        side.
    classes : tuple of str
        Names of the classes, in the order of the classifier's columns.
    space : dict
        Space of the embeddings: backbone, weights hash, layer, preprocessing, precision. Empty for an
        ensemble, whose members have one each.
    backbone : dict
        Arguments of `featx.backbones.load_backbone` that load this backbone again; empty for an ensemble. Of
        a fine-tuned network, those of the network before the training.
    info : dict
        What was trained and how: see `featx.train`.
    failures : list of Failure
        Inputs of the last `predict` that could not be read, with ``on_error="skip"``.
    extraction : dict
        Times of the last extraction (`featx.extraction.Profile`).
    module : torch.nn.Module, Backbone or None
        The network, if it is your own; `save` does not write it.
    values : mapping of str to ndarray
        Parameters and buffers of a fine-tuned network, by name; empty where the backbone was not trained.
    files : mapping of str to bytes
        Small files that a fine-tuned network of texts needs, such as its tokenizer's, by name.
    members : tuple of Model
        The members of an ensemble, each with a backbone of its own; empty for any other model.
    unsure : featx.methods.abstention.UnsureRule or None
        When an answer is unsure; None for a model without thresholds.
    """

    classifier: Any
    classes: tuple[str, ...]
    space: dict[str, Any]
    backbone: dict[str, Any]
    info: dict[str, Any]
    failures: list[Failure] = field(default_factory=list)
    extraction: dict[str, Any] = field(default_factory=dict)
    module: Any = field(default=None, repr=False)
    values: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    members: tuple[Model, ...] = field(default=(), repr=False)
    unsure: UnsureRule | None = field(default=None, repr=False)
    _classifier: Any = field(init=False, repr=False, compare=False)

    @property
    def kind(self) -> str:
        """The kind of input that it classifies: ``"image"``, ``"text"`` or ``"clip"``."""
        return kind_of((self.members or (self,))[0].space.get("preprocessing"))

    @property
    def dim(self) -> int:
        """Length of the rows that the classifier takes."""
        return int(self._classifier.n_features_in_)

    def _facts(self) -> dict[str, str]:
        networks = [one.space.get("backbone") for one in self.members or (self,)]
        names = [str(net["architecture"]) for net in networks if isinstance(net, Mapping)]
        facts = {
            "classifier": self.info.get("classifier") or type(self._classifier).__name__,
            "backbones" if self.members else "backbone": brief(names),
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
        """Predict labels and probabilities of inputs of the kind that the model was trained on.

        Parameters
        ----------
        images : anything that `featx.load_dataset` takes
            Images, texts or clips, as the model was trained on; their labels are ignored. To a model of texts
            each string of a list, an array or a column is a text; to others it is a path. Clips in memory are
            pairs of samples and their rate.
        weights : path, optional
            Where the backbone's checkpoint is now, for a model that was trained with a local checkpoint; of a
            network ``hf:FOLDER``, where the folder is now.
        trust_code : bool, default=False
            Consent to run the Python code that the backbone comes with; a model file does not hold it.
        **options
            Options of the run.

        Returns
        -------
        list of Prediction
            One for each input that could be read, in order.

        Notes
        -----
        The network stays ready for the next call in this process. If the cache has the rows of all inputs, no
        network is loaded, and the errors below about networks cannot occur: rows in the cache come from the
        network that the model's space names. If this machine does not have the precision that the model was
        trained in, fp32 is used, which is more exact.

        Raises
        ------
        ModelMismatch
            A backbone installed here gives other embeddings than the model was trained on.
        InputError
            `images` are embeddings, or of another kind than the model takes. Or the model was trained on a
            network of your own, and loaded without it.

        See Also
        --------
        predict_windows : Several predictions for each recording.
        """
        dataset, run = self._read(images, options)
        return [
            replace(answer, id=dataset.inputs[i].id, text=text_of(dataset.inputs[i]))
            for i, answer in self._answers(dataset, run, weights, trust_code)
        ]

    @checked(clips="data")
    def predict_windows(
        self,
        clips: Any,
        *,
        window: float | None = None,
        hop: float | None = None,
        weights: Any = None,
        trust_code: bool = False,
        **options: Unpack[PredictOptions],
    ) -> list[Prediction]:
        """Predict a label for each window of recordings: what is heard when.

        A window gets the prediction that the same audio would get as a clip of its own, cut out beforehand.

        Parameters
        ----------
        clips : anything that `featx.load_dataset` takes
            Recordings of any length, as for `predict`.
        window : float, optional
            Seconds of a window; default: what the network takes at a time, if the training clips were at
            least half as long. A model of shorter clips needs it, such as the length of such a clip.
        hop : float, optional
            Seconds from the start of one window to that of the next; default: `window` where that is given,
            else the hop of the training. The last window of a recording ends with it.
        weights, trust_code, **options
            As for `predict`.

        Returns
        -------
        list of Prediction
            For each recording in order, one for each window, with its `start` and `end`. A recording that is
            no longer than a window has one.

        Raises
        ------
        InputError
            The model takes no clips, or `window` is needed; and as for `predict`.
        ModelMismatch
            As for `predict`.
        """
        from featx.estimators.model.windows import choose_windows, take_apart
        from featx.terminal import tell

        chosen = choose_windows(self, window, hop)
        dataset, run = self._read(clips, options)
        if run.verbose:
            tell(str(chosen))
        clips, windows = take_apart(dataset, chosen, run.on_error)
        return [
            replace(answer, id=windows[i].id, start=windows[i].start, end=windows[i].end)
            for i, answer in self._answers(clips, run, weights, trust_code)
        ]

    @checked(images="data")
    def predict_proba(
        self,
        images: Any,
        *,
        weights: Any = None,
        trust_code: bool = False,
        **options: Unpack[PredictOptions],
    ) -> np.ndarray:
        """Return the probabilities of inputs, or of embeddings of this model's backbone.

        Parameters
        ----------
        images : images, Features or array-like of float of shape (n, d)
            Embeddings are `Features`, and floats in two axes. Everything else is inputs, as for `predict`.
        weights, trust_code, **options
            As for `predict`; not with embeddings.

        Returns
        -------
        ndarray of shape (n, n_classes)
            A column for each of `classes`, in their order: the label of row `p` is
            ``model.classes[p.argmax()]``. Inputs that could not be read, with ``on_error="skip"``, have no
            row; they are in `failures`.

        Raises
        ------
        InputError
            The rows do not fit the model, or its probabilities for them are not finite.
        ModelMismatch
            The features are of another backbone; or as for `predict`.
        """
        rows = rows_in(images)
        if rows is None:
            found = self._embed(*self._read(images, options), weights, trust_code)
            return self._probabilities(found.embeddings)
        for name, value in {"weights": weights, "trust_code": trust_code, **options}.items():
            require_no_effect(name, value, None if name == "weights" else OPTIONS[name].default, _ROWS_GIVEN)
        if isinstance(images, Features) and self.space:
            check_same_space(images, self.space, "the model")
        return self._probabilities(rows)

    def _read(self, inputs: Any, options: PredictOptions) -> tuple[Dataset, Run]:
        """Return the dataset of what is to be predicted, and the options of the run."""
        if isinstance(inputs, Features):
            raise InputError(
                f"these are embeddings, and predict takes {self.kind}s; predict_proba takes both"
            )
        run = Run.of(options)
        return read_inputs(inputs, self.kind, options.get("text"), run.on_error), run

    def _embed(self, dataset: Dataset, run: Run, weights: Any, trust_code: bool) -> ModelRows:
        """Return the rows of a dataset; note failures and times."""
        rows = embed_for_model(self, dataset, run, weights=weights, trust_code=trust_code)
        self.failures, self.extraction = rows.failures, rows.profile
        return rows

    def _answers(
        self, dataset: Dataset, run: Run, weights: Any, trust_code: bool
    ) -> Iterator[tuple[int, Prediction]]:
        """Yield the position of each input that could be read, and its prediction, which has no id yet."""
        rows = self._embed(dataset, run, weights, trust_code)
        probabilities, rule = self._probabilities(rows.embeddings), self.unsure
        reasons = (
            [""] * len(rows.kept) if rule is None else rule.reasons(rows.embeddings, probabilities, self.kind)
        )
        for i, row, reason in zip(rows.kept, probabilities, reasons, strict=True):
            yield (
                int(i),
                Prediction(
                    id="",
                    label=self.classes[row.argmax()],
                    probability=float(row.max()),
                    probabilities=dict(zip(self.classes, map(float, row), strict=True)),
                    unsure=None if rule is None else bool(reason),
                    reason=reason,
                ),
            )

    def _probabilities(self, rows: Any) -> np.ndarray:
        if not len(rows):
            return np.empty((0, len(self.classes)))
        if rows.shape[1] != self.dim:
            raise InputError(
                f"the model expects embeddings of {self.dim} numbers, got an array of "
                f"shape {rows.shape}; use the backbone, layer and image size that it was trained with"
            )
        # The numbers of a model may come from anyone: overflow is detected in the result.
        with (
            as_one_error(lambda reason: InputError(f"the model cannot classify these embeddings ({reason})")),
            np.errstate(all="ignore"),
        ):
            blocks = rows.blocks() if isinstance(rows, StoredRows) else [(slice(None), rows)]
            found = np.concatenate([np.asarray(self._classifier.predict_proba(few)) for _, few in blocks])
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
        path = Path(path)
        write_model(self, path)
        return path


def _classifier_of(model: Model) -> Any:
    """Return the classifier; one that was read as plain arrays is built when it is first asked for."""
    if isinstance(model._classifier, PlainClassifier):
        model._classifier = model._classifier.build()
    return model._classifier


def _set_classifier(model: Model, classifier: Any) -> None:
    model._classifier = classifier


# Set after the dataclass is made: inside, the property would be taken for the default of the field.
Model.classifier = property(_classifier_of, _set_classifier)  # type: ignore[assignment]
