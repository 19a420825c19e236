"""`FineTunedClassifier`: fine-tuning as a scikit-learn classifier, beside pipelines on frozen features."""

from featx.estimators.finetuned.classifier import FineTunedClassifier

__all__ = ["FineTunedClassifier"]
