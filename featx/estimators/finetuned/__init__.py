"""Fine-tune as a scikit-learn classifier, beside pipelines on frozen features: `FineTunedClassifier`."""

from featx.estimators.finetuned.classifier import FineTunedClassifier

__all__ = ["FineTunedClassifier"]
