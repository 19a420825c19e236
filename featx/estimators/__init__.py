"""Hold what users of scikit-learn work with: FeatureExtractor, FineTunedClassifier, Model."""
