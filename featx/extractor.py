"""`FeatureExtractor`: the frozen network as a step of a scikit-learn pipeline."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from featx.extraction import backbone_of, embed, network_embedder


class FeatureExtractor(TransformerMixin, BaseEstimator):
    """Images in, embeddings of a frozen backbone out, each image through each network once.

    There is nothing to learn: `fit` only checks its parameters. Embeddings come from the cache that all of
    featx shares, so cross-validation and grid search over classifiers cost no further forward pass.

    Parameters
    ----------
    backbone : str, default="mobilenet_v2"
        A name of ``featx backbones`` or ``timm:NAME``.
    weights : str, path or None, default="default"
        See `featx.extract`.
    layer, pooling : str, optional
        Where the embedding is taken; default: the pooled penultimate layer.
    image_size : int, optional
        Another input resolution than the published one.
    precision, engine, device, batch_size
        See `featx.extract`.
    on_error : {"raise"}, default="raise"
        A row cannot be left out inside a pipeline, so an unreadable image always stops it.
    cache : path, optional
        Root of the embedding cache.
    n_jobs : int, optional
        Threads that read and decode.
    verbose : bool, default=False

    Attributes
    ----------
    dim_ : int
        Length of an embedding.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> pipe = make_pipeline(FeatureExtractor("resnet50"), LogisticRegression())
    """

    def __init__(
        self,
        backbone: str = "mobilenet_v2",
        *,
        weights: Any = "default",
        layer: str | None = None,
        pooling: str | None = None,
        image_size: int | None = None,
        precision: str = "auto",
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
        self.image_size = image_size
        self.precision = precision
        self.engine = engine
        self.device = device
        self.batch_size = batch_size
        self.on_error = on_error
        self.cache = cache
        self.n_jobs = n_jobs
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> FeatureExtractor:
        """Checks that the backbone, its weights and the layer exist; the images are not looked at.

        Parameters
        ----------
        X : sequence of shape (n_images,)
            Paths, PIL images, bytes or uint8 arrays; or one uint8 array (n, h, w, 3) or (n, h, w).
        y : ignored

        Returns
        -------
        FeatureExtractor
        """
        from featx.errors import InputError

        if self.on_error != "raise":
            raise InputError(
                f"FeatureExtractor: on_error must be 'raise', got {self.on_error!r}; "
                "a pipeline cannot lose rows"
            )
        if self.precision == "int8":
            raise InputError(
                "FeatureExtractor: precision 'int8' depends on the images that it was calibrated on, and a "
                "pipeline meets others later; use 'bf16' or 'fp32'"
            )
        self.dim_ = self._embedder().dim
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Embeddings of images.

        Returns
        -------
        numpy.ndarray
            float32 of shape (n_images, dim).

        Raises
        ------
        ImageError
            An image cannot be read.
        """
        from featx.datasets import from_arrays

        dataset = from_arrays(X)
        rows = embed(
            dataset.images, self._embedder(), cache=self.cache, n_jobs=self.n_jobs, verbose=self.verbose
        )
        return rows.embeddings

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """``BACKBONE_0`` ... ``BACKBONE_{dim - 1}``."""
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self)
        return np.array([f"{self.backbone}_{i}" for i in range(self.dim_)], dtype=object)

    def _embedder(self):
        network = backbone_of(
            self.backbone,
            weights=self.weights,
            layer=self.layer,
            pooling=self.pooling,
            image_size=self.image_size,
        )
        return network_embedder(
            network,
            engine=self.engine,
            device=self.device,
            precision=self.precision,
            batch_size=self.batch_size,
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "dim_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        tags.no_validation = True
        tags.requires_fit = False
        return tags
