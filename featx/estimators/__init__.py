"""Estimators for users of scikit-learn: FeatureExtractor, FineTunedClassifier, Model."""
