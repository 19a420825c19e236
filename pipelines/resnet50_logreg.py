"""Fit scikit-learn's logistic regression on frozen ResNet-50 features, with a grid search over C.

    python pipelines/resnet50_logreg.py --data photos/

It prints the best C, the test accuracy and a report by class. The images go through the network once: expect
"forward passes: 0" when you run it again.
"""

import argparse

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import classification_report
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featx import extract
from featx.data.splits import make_split

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--backbone", default="resnet50")
parser.add_argument("--data", default="digits", help="a folder, a table or a named dataset")
parser.add_argument("--limit", type=int, help="a stratified subset of this many images")
parser.add_argument("--weights", default="default", help="'random' tries the code without pretrained weights")
parser.add_argument("--image-size", type=int)

if __name__ == "__main__":
    args = parser.parse_args()
    features = extract(
        args.data,
        backbone=args.backbone,
        weights=None if args.weights == "random" else args.weights,
        image_size=args.image_size,
        limit=args.limit,
        verbose=True,
    )
    names = np.array(features.classes)
    split = make_split(features.labels, splits=features.splits, groups=features.groups)
    pipe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    search = GridSearchCV(pipe, {"logisticregression__C": [0.001, 0.01, 0.1, 1.0]}, cv=3)
    search.fit(features.embeddings[split.train], names[features.labels[split.train]])
    truth = names[features.labels[split.test]]
    predicted = search.predict(features.embeddings[split.test])
    print(f"forward passes: {features.run['forward_passes']}, best: {search.best_params_}")
    print(f"test accuracy {np.mean(predicted == truth):.3f}")
    print(classification_report(truth, predicted, zero_division=0))
