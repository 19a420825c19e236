"""featx: extract once, iterate forever.

A frozen pretrained network runs once over images, its embeddings are cached, and scikit-learn probes are
trained on them and compared with fine-tuning. Names are loaded on first use, so ``import featx`` is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Comparison": "featx.studies.comparison",
    "Dataset": "featx.data",
    "FeatureExtractor": "featx.estimators.extractor",
    "Features": "featx.data.features",
    "FeatxError": "featx.errors",
    "FineTunedClassifier": "featx.estimators.finetuned",
    "LearningCurve": "featx.studies.curves",
    "Model": "featx.estimators.model",
    "Preprocessing": "featx.inputs.image",
    "compare": "featx.studies.comparison",
    "extract": "featx.extraction",
    "layer_ablation": "featx.studies.ranking",
    "learning_curve": "featx.studies.curves",
    "list_backbones": "featx.backbones",
    "load_backbone": "featx.backbones",
    "load_dataset": "featx.data",
    "load_features": "featx.data.features",
    "load_model": "featx.estimators.model",
    "open_features": "featx.data.features",
    "rank": "featx.studies.ranking",
    "similarity": "featx.studies.drift",
    "train": "featx.estimators.model",
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
    from featx.data import Dataset, load_dataset
    from featx.data.features import Features, load_features, open_features
    from featx.errors import FeatxError
    from featx.estimators.extractor import FeatureExtractor
    from featx.estimators.finetuned import FineTunedClassifier
    from featx.estimators.model import Model, load_model, train
    from featx.extraction import extract
    from featx.inputs.image import Preprocessing
    from featx.studies.comparison import Comparison, compare
    from featx.studies.curves import LearningCurve, learning_curve
    from featx.studies.drift import similarity
    from featx.studies.ranking import layer_ablation, rank


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'featx' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
