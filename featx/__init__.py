"""featx: extract once, iterate forever.

A frozen pretrained network runs once over images, its embeddings are cached, and scikit-learn probes are
trained on them and compared with fine-tuning. Names are loaded on first use, so ``import featx`` is fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from featx.lazy import load_on_use

__version__ = "0.1.0"

_HOME = {
    "Comparison": "studies.comparison",
    "Dataset": "data",
    "FeatureExtractor": "estimators.extractor",
    "Features": "data.features",
    "FeatxError": "errors",
    "FineTunedClassifier": "estimators.finetuned",
    "LearningCurve": "studies.curves",
    "Model": "estimators.model",
    "Preprocessing": "inputs.image",
    "compare": "studies.comparison",
    "extract": "extraction",
    "layer_ablation": "studies.ranking",
    "learning_curve": "studies.curves",
    "list_backbones": "backbones",
    "load_backbone": "backbones",
    "load_dataset": "data",
    "load_features": "data.features",
    "load_model": "estimators.model",
    "open_features": "data.features",
    "rank": "studies.ranking",
    "similarity": "studies.drift",
    "train": "estimators.model",
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


__getattr__ = load_on_use(__name__, _HOME)


def __dir__() -> list[str]:
    return __all__
