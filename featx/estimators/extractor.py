"""Embed images, texts or clips inside a scikit-learn pipeline: `FeatureExtractor`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from featx.data import inputs_of
from featx.errors import InputError, ModelMismatch
from featx.estimators.network_holder import NetworkHolder
from featx.extraction import embed_together, network_embedder, reuse_backbone
from featx.options import Network, Run, check_options


class FeatureExtractor(NetworkHolder, TransformerMixin, BaseEstimator):
    """Embed images, texts or clips with a frozen backbone; each goes through each network once.

    `fit` learns nothing: it checks the parameters and records the hash of the weights. Embeddings come from
    the cache that all of featx shares, so cross-validation and searches over classifiers, layers and
    backbones need no second forward pass, in any process or thread. All clones in a process share one
    network.

    Parameters
    ----------
    backbone : str, torch.nn.Module, Backbone, or list of these, default="mobilenet_v2"
        A name of ``featx backbones`` or ``timm:NAME``; a network of your own, which needs `preprocessing`; or
        what `featx.load_backbone` returned. The embeddings of several backbones are concatenated; backbones
        with the same preprocessing share one decoding of an image. For texts a network that takes them, such
        as ``"hf:sentence-transformers/all-MiniLM-L6-v2"`` or ``"hf:FOLDER"``: every string is then a text.
        For audio one of clips, such as ``"hf:openai/whisper-tiny.en"`` or ``"kaldi:fbank"``.
    weights : str, path or None, default="default"
        See `featx.extract`. A path or another name than the default needs a single backbone.
    layer : str, list of str, or None, default=None
        Where the embedding is taken; None is the pooled penultimate layer, ``"logits"`` the scores of the
        pretraining classes. Several layers come from one forward pass and are cached separately.
    pooling : {"avg", "max", "cls", "patches", "cls+patches", "none"}, optional
        Pooling of layers with positions; of texts "mean", "cls", "last" or "max"; of clips "mean",
        "mean+std" or "max", over time.
    preprocessing : Preprocessing, dict or torchvision transforms, optional
        Replaces the one that the weights state; see `featx.load_backbone`.
    image_size : int, optional
        Another input resolution than the published one.
    max_length : int, optional
        Most tokens of a text; default: as the network states.
    long : {"cut", "mean"}, optional
        Longer texts are cut off (default), or split, and the rows of their pieces averaged.
    prefix : str, optional
        Stands before every text, such as ``"query: "``; default: as the network states.
    window : float, optional
        Seconds of audio that the network takes at a time; default: as the network states. Longer clips are
        taken apart into windows.
    hop : float, optional
        Seconds from the start of one window to that of the next; default: `window`.
    join : {"mean", "max", "concat:K"}, optional
        How the rows of the windows of a clip become one: their mean (default) or maximum, or those of K
        windows, spread evenly over the clip, side by side: K times as many columns.
    trust_code : bool, default=False
        Consent to run the Python code that a backbone comes with, such as ``hub:REPO:ENTRY``.
    precision, dtype, engine, device, batch_size
        See `featx.extract`. Precision ``"int8"`` is refused: it depends on the inputs of its calibration.
    on_error : {"raise"}, default="raise"
        A pipeline cannot leave rows out, so an unreadable image or clip, or an empty text, always raises an
        error.
    cache : path, optional
        Root of the embedding cache; None is ``FEATX_CACHE`` or the user's cache folder at the time of use.
    n_jobs : int, optional
        Cores to use; default: all that this process may.
    verbose : bool, default=False

    Attributes
    ----------
    dim_ : int
        Length of an embedding.
    weights_sha256_ : dict of str to str
        Hash of each backbone's weights at `fit`; of a network of your own, also that of its code, after a
        dot; of a network of texts that of its tokenizer, and of one of clips that of its front end.
        `transform` refuses others.
    n_features_in_ : int
        1: a column of images, texts or clips.
    feature_names_in_ : ndarray of shape (1,)
        Name of the column, if `fit` was given a data frame.

    Notes
    -----
    *A network of your own* is hashed at each `fit` and `transform`, values and code: a change of either is
    seen, and its images go through the network again. `transform` refuses a network that has changed since
    `fit`. Clones copy the network, but equal copies share the one that runs, in eval mode. Pickles hold the
    whole network, also one with lambdas; its class must be importable where they are read. Pickles of an
    extractor with a name hold no weights.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> pipe = make_pipeline(FeatureExtractor("resnet50"), LogisticRegression())

    A column of photographs and one of texts beside numbers:

    >>> from sklearn.compose import make_column_transformer
    >>> text = FeatureExtractor("hf:sentence-transformers/all-MiniLM-L6-v2", max_length=128)
    >>> columns = make_column_transformer(
    ...     (FeatureExtractor("resnet50"), ["photo"]), (text, ["review"]), ("passthrough", ["price"])
    ... )

    Calls of birds, which are paths of recordings, or pairs of samples and their rate:

    >>> calls = FeatureExtractor("hf:openai/whisper-tiny.en", window=2.0, hop=1.0, join="max")
    """

    def __init__(
        self,
        backbone: Any = "mobilenet_v2",
        *,
        weights: Any = "default",
        layer: str | Sequence[str | None] | None = None,
        pooling: str | None = None,
        preprocessing: Any = None,
        image_size: int | None = None,
        max_length: int | None = None,
        long: str | None = None,
        prefix: str | None = None,
        window: float | None = None,
        hop: float | None = None,
        join: str | None = None,
        trust_code: bool = False,
        precision: str = "auto",
        dtype: str = "float32",
        engine: str = "auto",
        device: str = "auto",
        batch_size: int | str = "auto",
        on_error: str = "raise",
        cache: Any = None,
        n_jobs: int | None = None,
        verbose: bool = False,
    ):
        self.backbone = backbone
        self.weights = weights
        self.layer = layer
        self.pooling = pooling
        self.preprocessing = preprocessing
        self.image_size = image_size
        self.max_length = max_length
        self.long = long
        self.prefix = prefix
        self.window = window
        self.hop = hop
        self.join = join
        self.trust_code = trust_code
        self.precision = precision
        self.dtype = dtype
        self.engine = engine
        self.device = device
        self.batch_size = batch_size
        self.on_error = on_error
        self.cache = cache
        self.n_jobs = n_jobs
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> FeatureExtractor:
        """Check that the backbone, its weights and the layer exist; no input is opened.

        Parameters
        ----------
        X : sequence of n_inputs
            Anything that `featx.data.inputs_of` takes: for a network of images paths, PIL images, bytes or
            pixels; for one of texts strings; for one of clips paths, bytes, or pairs of samples and their
            rate; or a data frame with one column of them.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        UnknownName, InputError, WeightsError
            A parameter cannot be used; the message names it.
        DatasetError
            `X` holds no inputs of the network's kind, or an empty text; the message names its row and column.
        """
        self._check_parameters()
        backbones = self._backbones()
        self._embedders(backbones)
        self._inputs(X, backbones[0].kind)
        self.dim_ = sum(backbone.row_dim for backbone in backbones)
        self.weights_sha256_ = self._fingerprints(backbones)
        self._fitted_weights = self.weights
        self.n_features_in_ = 1
        self.__dict__.pop("feature_names_in_", None)
        if hasattr(X, "columns") and all(isinstance(name, str) for name in X.columns):
            self.feature_names_in_: Any = np.array(list(X.columns), dtype=object)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Embed images, texts or clips.

        Parameters
        ----------
        X : sequence of n_inputs
            As in `fit`, which need not have been called.

        Returns
        -------
        ndarray of shape (n_inputs, dim)
            Embeddings in the given `dtype`; a data frame if `set_output` says so.

        Raises
        ------
        ImageError, AudioError
            An image or a clip cannot be read.
        DatasetError
            `X` holds no inputs of the network's kind, an empty text, or another column than in `fit`.
        ModelMismatch
            The weights, the tokenizer or the front end are not those of `fit`.
        """
        self._check_parameters()
        backbones = self._backbones()
        self._check_unchanged(backbones)
        rows = embed_together(
            self._inputs(X, backbones[0].kind),
            self._embedders(backbones),
            cache=self.cache,
            n_jobs=self.n_jobs,
            verbose=self.verbose,
        )
        return rows[0].embeddings if len(rows) == 1 else np.hstack([part.embeddings for part in rows])

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the column names: ``BACKBONE_0`` ..., or ``BACKBONE.LAYER_0`` ... for a chosen layer."""
        check_is_fitted(self)
        names: list[str] = []
        asked = self._layers()
        for backbone in self._backbones():
            for member, layer in zip(getattr(backbone, "members", (backbone,)), asked, strict=True):
                stem = backbone.name if layer is None else f"{backbone.name}.{layer}"
                names += [f"{stem}_{i}" for i in range(member.row_dim)]
        return np.array(names, dtype=object)

    def _inputs(self, X: Any, kind: str) -> list[Any]:
        """Return the sources of inputs in any form."""
        inputs = inputs_of(X, kind)
        known = getattr(self, "feature_names_in_", None)
        if known is not None and hasattr(X, "columns") and list(X.columns) != list(known):
            # The wording of scikit-learn, which its common checks match.
            raise InputError(
                "The feature names should match those that were passed during fit. "
                f"Expected column {known[0]!r}, got {next(iter(X.columns))!r}"
            )
        return inputs

    def _check_parameters(self) -> None:
        several = isinstance(self.backbone, (list, tuple))
        named = {"backbones" if several else "backbone": self.backbone, "layers": self._layers()}
        own = ("backbone", "layer", "on_error")
        others = {name: value for name, value in self.get_params(deep=False).items() if name not in own}
        check_options(**named, **others)

    def _layers(self) -> tuple[str | None, ...]:
        asked: Any = self.layer
        layers: tuple[str | None, ...] = tuple(asked) if isinstance(asked, (list, tuple)) else (asked,)
        if not layers:
            raise InputError("FeatureExtractor: layer: at least one is needed, got an empty list")
        return layers

    def _backbones(self) -> list[Any]:
        """Return the frozen networks, shared by all clones in this process."""
        names = list(self.backbone) if isinstance(self.backbone, (list, tuple)) else [self.backbone]
        if not names:
            raise InputError("FeatureExtractor: backbone: at least one is needed, got an empty list")
        if len(names) > 1 and self.weights not in ("default", None):
            raise InputError(
                f"FeatureExtractor: weights {self.weights!r} belong to one backbone, and {len(names)} are "
                "asked for; use 'default', or a FeatureUnion of one extractor each"
            )
        options = Network.of(self.get_params(deep=False)).besides_layer
        backbones = [reuse_backbone(name, layers=self._layers(), **options) for name in names]
        other = next((one for one in backbones if one.kind != backbones[0].kind), None)
        if other is not None:
            raise InputError(
                f"FeatureExtractor: backbones of one kind of input are needed; {backbones[0].name} takes "
                f"{backbones[0].kind}s and {other.name} takes {other.kind}s. Give each column an extractor "
                "of its own, in a ColumnTransformer"
            )
        return backbones

    def _embedders(self, backbones: Sequence[Any]) -> list[Any]:
        if self.on_error != "raise":
            raise InputError(
                f"FeatureExtractor: on_error must be 'raise', got {self.on_error!r}; "
                "a pipeline cannot lose rows"
            )
        if self.precision == "int8":
            raise InputError(
                f"FeatureExtractor: precision 'int8' depends on the {backbones[0].kind}s that it was "
                "calibrated on, and a pipeline meets others later; use 'bf16' or 'fp32'"
            )
        run = Run.of(self.get_params(deep=False))
        return [network_embedder(backbone, run) for backbone in backbones]

    def _fingerprints(self, backbones: Sequence[Any]) -> dict[str, str]:
        members = [getattr(backbone, "members", (backbone,))[0] for backbone in backbones]
        found = {}
        for member in members:
            parts = [member.weights_sha256, *member.architecture.identity.values()]
            if member.kind == "text":
                parts.append(member.preprocessing.tokenizer.sha256)
            elif member.kind == "clip":
                front_end = json.dumps(member.preprocessing.identity["front_end"], sort_keys=True)
                parts.append(hashlib.sha256(front_end.encode()).hexdigest())
            found[member.name] = ".".join(parts)
        return found

    def _check_unchanged(self, backbones: Sequence[Any]) -> None:
        """Refuse other weights of the same name: later steps were not fitted on their embeddings."""
        if not hasattr(self, "weights_sha256_") or repr(self._fitted_weights) != repr(self.weights):
            return
        for name, here in self._fingerprints(backbones).items():
            fitted = self.weights_sha256_.get(name, here)
            if fitted == here:
                continue
            reader = {"text": "tokenizer", "clip": "front end"}.get(backbones[0].kind)
            if reader is not None and fitted.partition(".")[0] == here.partition(".")[0]:
                raise ModelMismatch(
                    f"FeatureExtractor: the {reader} or the pooling of {name} has changed since fit; give "
                    "the same one, or fit again"
                )
            if "." in fitted and reader is None:
                raise ModelMismatch(
                    f"FeatureExtractor: the network {name} has changed since fit, in its values or its code; "
                    "give the same one, or fit again"
                )
            raise ModelMismatch(
                f"FeatureExtractor: fitted with weights of {name} whose sha256 is {fitted[:16]}..., but "
                f"those here have {here[:16]}...; give the same weights, or fit it again"
            )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "dim_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True  # grey images (n, h, w)
        tags.input_tags.string = True
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = []
        return tags
