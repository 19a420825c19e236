"""Fine-tune a network as a scikit-learn classifier: `FineTunedClassifier`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from featx.data import inputs_of
from featx.data.splits import Split, validation_part
from featx.errors import InputError
from featx.estimators.finetuned.fitted import Fitted
from featx.estimators.finetuned.targets import encode_labels, list_classes, seed_from
from featx.estimators.network_holder import NetworkHolder
from featx.extraction import Rows, embed, network_embedder, reuse_backbone
from featx.options import Run, check_options

if TYPE_CHECKING:
    from featx.methods.finetune import Recipe

#: Parameters that replace the field of the same name in the default recipe, unless they are None.
_RECIPE = (
    "epochs",
    "batch_size",
    "lr_head",
    "lr_backbone",
    "weight_decay",
    "unfreeze",
    "patience",
    "augment",
)
#: Options of the network that `featx.load_backbone` takes, besides its weights.
_PREPARING = (
    "preprocessing",
    "image_size",
    "max_length",
    "long",
    "prefix",
    "window",
    "hop",
    "join",
    "trust_code",
)


class FineTunedClassifier(NetworkHolder, ClassifierMixin, BaseEstimator):
    """Fine-tune a pretrained network to the classes of `y`: images, texts or clips in, labels out.

    Parameters
    ----------
    backbone : str, torch.nn.Module or Backbone, default="mobilenet_v2"
        A name of ``featx backbones``, ``timm:NAME`` or, also of texts and audio, ``hf:NAME``; a network of
        your own, of which a copy is trained; or what `featx.load_backbone` returned.
    mode : {"head", "last", "gradual", "full"}, default="head"
        Which layers are trained: a new linear head on frozen embeddings; the head and the last blocks; every
        layer, unfrozen from the top epoch by epoch; or every layer from the start. See Notes.
    weights : str, path or None, default="default"
        See `featx.extract`.
    preprocessing : Preprocessing, dict or torchvision transforms, optional
        Replaces the one that the weights state; a network of your own needs it.
    image_size : int, optional
        Another input resolution than the published one.
    max_length, long, prefix : optional
        Settings of texts, as in `featx.extract`. With ``long="mean"`` the features of a long text are the
        mean of those of its pieces in training, too, which takes the time and the memory of all of them.
    window, hop, join : optional
        Settings of clips, as in `FeatureExtractor`. The features of a clip of several windows are joined in
        training, too, which takes the time and the memory of all of them.
    trust_code : bool, default=False
        Consent to run the Python code that a backbone comes with, such as ``hub:REPO:ENTRY``.
    epochs, batch_size, lr_head, lr_backbone, weight_decay, unfreeze, patience, augment : optional
        Fields of `featx.methods.finetune.Recipe`; None is the value of
        `featx.methods.finetune.default_recipe` for the mode and the number of training inputs. A given
        `lr_backbone` is used without a search; `augment` is for images and clips. In the modes that train
        layers, given `epochs` are all run unless `patience` is given, too. Mode ``"head"`` ignores
        `lr_backbone`, `unfreeze` and `augment`. The other modes first train a head, always with the defaults
        of ``"head"``.
    recipe : dict, optional
        Further fields of `featx.methods.finetune.Recipe`, such as ``{"ema": 0.99, "layer_decay": 0.8}``.
    early_stopping : bool, default=True
        Set `validation_fraction` of the inputs aside, class by class; keep the epoch that is best on them and
        stop after `patience` epochs without a better one; then train again on all inputs for as many epochs,
        unless ``recipe={"refit": False}``. If False, or if every class has a single input, all inputs are
        trained on for all epochs and the last epoch is kept.
    validation_fraction : float, default=0.2
        Share of the inputs that is set aside, between 0 and 1.
    warm_start : bool, default=False
        Continue from the weights of the last `fit` for another `epochs`; `y` must hold the same classes. The
        same inputs in the same order are set aside again, so they are never trained on: there is no training
        on all inputs after the validation. If the last `fit` had one, all inputs are trained on for all
        epochs. `mode` may change in between, but not back to ``"head"``.
    precision, engine : str, default="auto"
        How the frozen embeddings are computed, as in `featx.extract`; ``"int8"`` is refused. Layers are
        trained in bfloat16 or float16 where the device has it natively, else in float32.
    device : str, default="auto"
    cache : path, optional
        Root of the embedding cache.
    random_state : int, numpy.random.RandomState or None, default=None
        Seed of the validation part, the order of the inputs, the random crops and dropout. On a CPU the same
        integer gives the same predictions. None draws a new seed; global random states are never used.
    n_jobs : int, optional
        Cores that compute embeddings.
    verbose : bool, default=False
        Say on standard error how long the training will take, from a measurement, and show its progress.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Classes in the dtype of `y`, sorted.
    n_features_in_ : int
        1: an image, a text or a clip is one feature, whatever its size.
    n_iter_ : int
        Epochs of the last fit.
    best_epoch_ : int
        The epoch whose weights were kept, and the number of epochs of the training on all inputs; 0 is the
        start of the training.
    history_ : list of dict
        One entry per epoch of the last fit, with validation: see `featx.methods.finetune.FineTuned`.
    refit_history_ : list of dict
        One entry per epoch of the training on all inputs; empty if there was none.
    recipe_ : featx.methods.finetune.Recipe
        Settings of the training.
    notes_ : list of str
        Remarks for a reader of the result, such as an early stop.

    See Also
    --------
    featx.FeatureExtractor : The frozen network as a step of a pipeline.
    featx.compare : Probes and fine-tuning on the same splits, with intervals.

    Notes
    -----
    *Cost.* ``"head"`` sends each input through the network once: embeddings come from the cache that all of
    featx shares, and a fit on cached embeddings takes seconds (0.7 s for 1,000 images and MobileNetV2). The
    other modes send every input through the network and back in every epoch, every fold and for every
    candidate of a search: tens of milliseconds per image and epoch with MobileNetV2 on two cores, so minutes
    per fit. (``"last"`` runs the frozen part once without augmentation, and k times with
    ``recipe={"views": k}``.) The main training is run with two rates, of which the better one counts; a given
    `lr_backbone` saves the other. The training on all inputs comes last, at five quarters of the cost of a
    main training; ``recipe={"refit": False}`` saves it.

    *Which mode.* Start with ``"head"``, or with `FeatureExtractor` and a probe. The others pay off if the
    inputs are unlike those of the pretraining and there are more than a few dozen per class. They train the
    head on frozen embeddings first, because gradients of a random head would distort the pretrained features;
    even so, fine-tuned layers can do worse than frozen ones on inputs unlike the training inputs [1]_.

    *Pickles* hold the parameters, the identity of the backbone with the sha256 of its weights, and the
    tensors that training has made or changed, but not the frozen weights: they are loaded again when the
    estimator is first used, and must be the same. (A network of your own is a parameter, and pickled whole.)

    There is no `sample_weight`.

    References
    ----------
    .. [1] Kumar et al., *Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution*,
       ICLR 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from featx import FineTunedClassifier
    >>> rng = np.random.default_rng(0)
    >>> dark, bright = (rng.integers(low, low + 60, (8, 32, 32, 3), np.uint8) for low in (0, 190))
    >>> X, y = np.concatenate([dark, bright]), np.repeat(["dark", "bright"], 8)
    >>> model = FineTunedClassifier("squeezenet1_1", weights=None, image_size=32, random_state=0)
    >>> model.fit(X, y).predict(X[[0, -1]])
    array(['dark', 'bright'], dtype='<U6')
    """

    def __init__(
        self,
        backbone: Any = "mobilenet_v2",
        *,
        mode: str = "head",
        weights: Any = "default",
        preprocessing: Any = None,
        image_size: int | None = None,
        max_length: int | None = None,
        long: str | None = None,
        prefix: str | None = None,
        window: float | None = None,
        hop: float | None = None,
        join: str | None = None,
        trust_code: bool = False,
        epochs: int | None = None,
        batch_size: int | None = None,
        lr_head: float | None = None,
        lr_backbone: float | None = None,
        weight_decay: float | None = None,
        unfreeze: int | None = None,
        patience: int | None = None,
        augment: bool | None = None,
        recipe: dict[str, Any] | None = None,
        early_stopping: bool = True,
        validation_fraction: float = 0.2,
        warm_start: bool = False,
        precision: str = "auto",
        engine: str = "auto",
        device: str = "auto",
        cache: Any = None,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: bool = False,
    ):
        self.backbone = backbone
        self.mode = mode
        self.weights = weights
        self.preprocessing = preprocessing
        self.image_size = image_size
        self.max_length = max_length
        self.long = long
        self.prefix = prefix
        self.window = window
        self.hop = hop
        self.join = join
        self.trust_code = trust_code
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr_head = lr_head
        self.lr_backbone = lr_backbone
        self.weight_decay = weight_decay
        self.unfreeze = unfreeze
        self.patience = patience
        self.augment = augment
        self.recipe = recipe
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.precision = precision
        self.engine = engine
        self.device = device
        self.cache = cache
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> FineTunedClassifier:
        """Train on labelled images, texts or clips.

        Parameters
        ----------
        X : sequence of shape (n_inputs,)
            Anything that `featx.data.inputs_of` takes; strings are texts for a network of texts, else paths;
            clips in memory are pairs of samples and their rate.
        y : array-like of shape (n_inputs,)
            Strings, whole numbers or booleans, of at least two classes.

        Returns
        -------
        self

        Raises
        ------
        InputError
            A parameter or `y` cannot be used; the message names it.
        SourceError
            An image, a text or a clip cannot be read.
        ModelMismatch
            With `warm_start`: the backbone is not that of the last fit.
        """
        from featx.methods.finetune import choose_optimizer, fine_tune, require_trainable
        from featx.methods.finetune.announcing import announced, say_epoch

        self._check_parameters()
        backbone = self._backbone()
        images = self._inputs(X, backbone)
        classes, codes = encode_labels(y, len(images), backbone.kind)
        fitted = self._continued(classes) if self.warm_start and hasattr(self, "_fitted") else None
        # Use the seed of the first fit: images set aside then must not be trained on now.
        seed = seed_from(self.random_state) if fitted is None else fitted.seed
        fits = 0 if fitted is None else fitted.fits
        require_trainable(backbone, [self.mode])
        if fitted is not None:
            fitted.check(backbone)
        start = None if fitted is None else fitted.tuned(self._backbone, self.device)
        notes = []
        if start is not None and start.refit_history:
            train, val = np.arange(len(codes)), np.array([], np.int64)
            notes.append(f"no {backbone.kind} was set aside: the last fit had trained on all of them")
        else:
            train, val = self._parts(codes, seed, backbone.kind)
        recipe, n_classes = self._recipe(len(train), choose_optimizer(backbone), backbone.kind), len(classes)
        recipe.require_kind(backbone.kind)
        precision = self.precision if fitted is None else self._precision(fitted)
        rows = self._rows(images, backbone, precision)
        sizes = len(train), len(val)
        with announced(
            backbone, images, n_classes, recipe, *sizes, device=self.device, verbose=self.verbose
        ) as watch:
            tuned = fine_tune(
                backbone,
                None if self.mode == "head" else images,
                codes,
                n_classes,
                recipe=recipe,
                train_idx=train,
                val_idx=val,
                embeddings=rows.embeddings,
                device=self.device,
                seed=seed + fits,
                progress=say_epoch if self.verbose else None,
                start_from=start,
                watch=watch,
            )
        assert rows.embedder.plan is not None  # only the raw-pixel reference has none
        self._fitted = Fitted(tuned, rows.embedder.plan.precision, seed, fits + 1)
        self.classes_ = classes
        self.n_features_in_ = 1
        self.history_ = tuned.history
        self.n_iter_ = tuned.history[-1]["epoch"]
        self.best_epoch_ = tuned.best_epoch
        self.recipe_ = tuned.recipe
        self.refit_history_ = tuned.refit_history
        self.notes_ = [*notes, *tuned.notes, *self._unused()]
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each input.

        Returns
        -------
        ndarray of shape (n_inputs,)
            Values of `classes_`.
        """
        logits = self._logits(X)
        return self.classes_[logits.argmax(axis=1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the class probabilities.

        Returns
        -------
        ndarray of shape (n_inputs, n_classes), float64
            Probabilities in the order of `classes_`; rows add up to 1.
        """
        logits = self._logits(X)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the scores before the softmax.

        Returns
        -------
        ndarray of shape (n_inputs,) or (n_inputs, n_classes), float64
            With two classes the score of the second minus that of the first, which is the log-odds.
        """
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def _logits(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        tuned = self._fitted.tuned(self._backbone, self.device)
        images = self._inputs(X, tuned._backbone)
        if tuned.recipe.mode != "head":
            return tuned.logits(images)
        rows = self._rows(images, tuned._backbone, self._precision(self._fitted))
        return tuned.logits(rows.embeddings)

    def _inputs(self, X: Any, backbone: Any) -> Sequence[Any]:
        """Return the sources of inputs in any form."""
        return inputs_of(X, backbone.kind)

    def _backbone(self) -> Any:
        """Return the pretrained network, shared by all classifiers in this process."""
        options = {name: getattr(self, name) for name in _PREPARING}
        return reuse_backbone(self.backbone, weights=self.weights, **options)

    def _precision(self, fitted: Fitted) -> str:
        """Return the precision of the head's embeddings; fp32, which is more exact, if it is missing here."""
        from featx.engines import resolve

        here = resolve(engine=self.engine, device=self.device).precision
        return fitted.precision if fitted.precision in (here, self.precision) else "fp32"

    def _rows(self, images: Sequence[Any], backbone: Any, precision: str) -> Rows:
        """Return frozen embeddings, in the space of a `FeatureExtractor` with the same parameters."""
        run = Run(engine=self.engine, device=self.device, precision=precision)
        embedder = network_embedder(backbone, run)
        return embed(images, embedder, cache=self.cache, n_jobs=self.n_jobs, verbose=self.verbose)

    def _recipe(self, n_train: int, optimizer: str = "sgd", kind: str = "image") -> Recipe:
        from featx.methods.finetune import Recipe, default_recipe

        given = {name: getattr(self, name) for name in _RECIPE if getattr(self, name) is not None}
        if self.lr_backbone is not None:
            given["lr_search"] = ()
        if self.epochs is not None and self.patience is None and self.mode != "head":
            given["patience"] = self.epochs  # what is asked for is run to the end of its schedule
        if self.warm_start:
            given["refit"] = False
        further = dict(self.recipe or {})
        for name in further:
            if name in ("mode", *_RECIPE):
                raise InputError(
                    f"FineTunedClassifier: {name} is a parameter of its own, not a key of recipe"
                )
        optimizer = str(further.get("optimizer", optimizer))
        default = default_recipe(self.mode, n_train, optimizer, kind)
        return Recipe.from_dict(default.to_dict() | given | further)

    def _parts(self, codes: np.ndarray, seed: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the inputs to train on, and the inputs that choose the epoch."""
        everything, nothing = np.arange(len(codes)), np.array([], np.int64)
        if not self.early_stopping:
            return everything, nothing
        train, val = validation_part(
            Split(everything, nothing), codes, fraction=self.validation_fraction, seed=seed
        )
        if not len(val):
            warnings.warn(
                f"FineTunedClassifier: every class has a single {kind}, so none can be set aside for early "
                "stopping; all epochs are run",
                stacklevel=3,
            )
        return train, val

    def _continued(self, classes: np.ndarray) -> Fitted:
        """Return the previous fit, checked to have the same classes."""
        if not np.array_equal(classes, self.classes_):
            raise InputError(
                f"FineTunedClassifier: warm_start=True goes on with classes {list_classes(self.classes_)}, "
                f"and y holds {list_classes(classes)}; give the same classes, or set warm_start=False"
            )
        return self._fitted

    def _unused(self) -> list[str]:
        """Name the parameters that were given and had no effect."""
        idle = ["lr_backbone", "unfreeze", "augment"] if self.mode == "head" else []
        idle += [] if self.early_stopping else ["patience"]
        return [f"{name} had no effect here" for name in idle if getattr(self, name) is not None]

    def _check_parameters(self) -> None:
        if self.precision == "int8":
            raise InputError(
                "FineTunedClassifier: precision 'int8' depends on the inputs that it was calibrated on, and "
                "others come later; use 'bf16' or 'fp32'"
            )
        for name in ("early_stopping", "warm_start"):
            if not isinstance(value := getattr(self, name), (bool, np.bool_)):
                raise InputError(f"FineTunedClassifier: {name} must be True or False, got {value!r}")
        fraction = self.validation_fraction
        if self.early_stopping and not (isinstance(fraction, (int, float)) and 0 < fraction < 1):
            raise InputError(
                f"FineTunedClassifier: validation_fraction must lie between 0 and 1, got {fraction!r}"
            )
        network = ("backbone", "weights", *_PREPARING)
        run = ("precision", "engine", "device", "cache", "n_jobs", "verbose")
        check_options(**{name: getattr(self, name) for name in (*network, *run)})
        self._recipe(1)  # checks names and ranges of the other parameters

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_fitted")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True  # grey images (n, h, w)
        tags.input_tags.string = True
        return tags
