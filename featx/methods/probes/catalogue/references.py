"""References: the most frequent class and the mean, which look at no input; linear models without a network.

These work on raw pixels of images, on TF-IDF of texts, and on the mean and standard deviation over time of
Kaldi's filter banks of clips. Words and characters of a text are joined to one
row, because one strong reference is easier to read than two weak ones: characters find what words miss
(endings, spellings, languages without spaces), and words are what a reader expects.
"""

from __future__ import annotations

from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline

from featx.methods.probes.catalogue import components, divided, scaled
from featx.methods.probes.catalogue.linear import logistic_regression, ridge_regression
from featx.methods.probes.fitters.linear import LogisticFitter
from featx.methods.probes.fitters.ridge import RidgeFitter
from featx.methods.probes.fitters.sparse import SparseLogisticFitter
from featx.methods.probes.probe import Probe, Problem
from featx.methods.probes.term_counts import TermWeights

#: From this number of training texts on, a term that only one of them has is dropped: most terms are such,
#: and with fewer texts they are most of what there is.
_MANY_TEXTS = 1000
#: Most terms of words and of characters each, and most weights of all classes: the solver holds some 25
#: copies of them.
_MOST_TERMS, _MOST_WEIGHTS = 2**17, 2**20


def _majority(problem: Problem):
    return DummyClassifier(strategy="prior"), {}


def _mean(problem: Problem):
    return DummyRegressor(strategy="mean"), {}


def _pixels(problem: Problem):
    logreg = LogisticRegression(C=1 / problem.dim, max_iter=2000)
    model = scaled(components(problem, 256), ("logreg", logreg))
    return model, {"logreg__C": divided(problem.dim, 0.01, 0.1, 1, 10, 100), **problem.weights("logreg")}


def _weights_of_terms(problem: Problem) -> tuple[str, TermWeights]:
    most = min(_MOST_TERMS, _MOST_WEIGHTS // problem.n_classes)
    return "tfidf", TermWeights(min_texts=1 if problem.n_train < _MANY_TEXTS else 2, max_terms=most)


def _tfidf(problem: Problem):
    # Rows have a length of about 1, so that penalties do not depend on the number of terms.
    logreg = LogisticRegression(C=10.0, tol=1e-5, max_iter=1000)
    model = Pipeline([_weights_of_terms(problem), ("logreg", logreg)])
    return model, {"logreg__C": [0.1, 1.0, 10.0, 100.0], **problem.weights("logreg")}


def _tfidf_ridge(problem: Problem):
    model = Pipeline([_weights_of_terms(problem), ("ridge", Ridge(solver="sparse_cg", tol=1e-5))])
    return model, {"ridge__alpha": [100.0, 10.0, 1.0, 0.1, 0.01]}


PROBES = (
    Probe("majority", "Most frequent class", _majority, kind="floor"),
    Probe("mean", "Mean of the training values", _mean, "numbers", kind="floor"),
    Probe(
        "pixels",
        "Logistic regression on pixels",
        _pixels,
        kind="floor",
        fitter=LogisticFitter(),
        shown=("pca__n_components",),
        inputs="image",
    ),
    Probe(
        "pixels",
        "Ridge regression on pixels",
        ridge_regression,
        "numbers",
        kind="floor",
        fitter=RidgeFitter(),
        inputs="image",
    ),
    Probe(
        "filterbanks",
        "Logistic regression on filter banks",
        logistic_regression,
        kind="floor",
        fitter=LogisticFitter(),
        inputs="clip",
    ),
    Probe(
        "filterbanks",
        "Ridge regression on filter banks",
        ridge_regression,
        "numbers",
        kind="floor",
        fitter=RidgeFitter(),
        inputs="clip",
    ),
    Probe(
        "tfidf",
        "TF-IDF (words and characters), logistic regression",
        _tfidf,
        kind="floor",
        fitter=SparseLogisticFitter(),
        shown=("tfidf__min_texts",),
        inputs="text",
    ),
    Probe(
        "tfidf",
        "TF-IDF (words and characters), ridge regression",
        _tfidf_ridge,
        "numbers",
        kind="floor",
        shown=("tfidf__min_texts",),
        inputs="text",
    ),
)
