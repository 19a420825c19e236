"""featx: extract once, iterate forever.

Frozen CNN embeddings, cached; scikit-learn probes on them, compared with an honest fine-tuned baseline.
Names are loaded when they are first used, so ``import featx`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Comparison": "featx.comparison",
    "Dataset": "featx.datasets",
    "FeatureExtractor": "featx.extractor",
    "Features": "featx.features",
    "FeatxError": "featx.errors",
    "FineTunedClassifier": "featx.finetuned",
    "LearningCurve": "featx.curves",
    "Model": "featx.model",
    "Preprocessing": "featx.images",
    "compare": "featx.comparison",
    "extract": "featx.extraction",
    "layer_ablation": "featx.ranking",
    "learning_curve": "featx.curves",
    "list_backbones": "featx.backbones",
    "load_backbone": "featx.backbones",
    "load_dataset": "featx.datasets",
    "load_features": "featx.features",
    "load_model": "featx.model",
    "open_features": "featx.features",
    "rank": "featx.ranking",
    "similarity": "featx.drift",
    "train": "featx.model",
}

__all__ = [
    "Comparison",
    "Dataset",
    "FeatureExtractor",
    "Features",
    "FeatxError",
    "FineTunedClassifier",
    "LearningCurve",
    "Model",
    "Preprocessing",
    "__version__",
    "compare",
    "extract",
    "layer_ablation",
    "learning_curve",
    "list_backbones",
    "load_backbone",
    "load_dataset",
    "load_features",
    "load_model",
    "open_features",
    "rank",
    "similarity",
    "train",
]

if TYPE_CHECKING:
    from featx.backbones import list_backbones, load_backbone
    from featx.comparison import Comparison, compare
    from featx.curves import LearningCurve, learning_curve
    from featx.datasets import Dataset, load_dataset
    from featx.drift import similarity
    from featx.errors import FeatxError
    from featx.extraction import extract
    from featx.extractor import FeatureExtractor
    from featx.features import Features, load_features, open_features
    from featx.finetuned import FineTunedClassifier
    from featx.images import Preprocessing
    from featx.model import Model, load_model, train
    from featx.ranking import layer_ablation, rank


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'featx' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
