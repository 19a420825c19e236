"""Evaluation protocols of the literature: the model that each fits, and how it chooses its one setting.

==================== ========================================================= =========================
name                 what it is                                                source
==================== ========================================================= =========================
``linear-probe``     multinomial logistic regression, 45 values of lambda from Kornblith et al. 2019,
                     1e-6 to 1e5 on the sum of losses (C = 1 / lambda), chosen appendix A; Ericsson
                     on the validation part or 20 % of train, refit on both    et al. 2021, ``linear.py``
``dinov2-logreg``    the same, C = 10^linspace(-6, 5, 45), 10 % of train       Oquab et al. 2023,
                                                                               ``log_regression.py``
``dinov2-knn``       softmax(similarity / 0.07) votes of the k nearest rows of Oquab et al. 2023,
                     length 1, k of 10, 20, 100 or 200                         ``knn.py``; Wu et al. 2018
``lsr-fewshot``      standardised features, targets of -1 and 1, ridge in      big_vision,
                     closed form with the penalty 2^10                         ``fewshot_lsr.py``
``nearest-centroid`` softmax(-squared distance to the mean of the class)       Snell et al. 2017, eq. 1-2
==================== ========================================================= =========================

Kornblith, Shlens and Le, "Do Better ImageNet Models Transfer Better?", CVPR 2019. Ericsson, Gouk and
Hospedales, "How Well Do Self-Supervised Models Transfer?", CVPR 2021. Oquab et al., "DINOv2: Learning Robust
Visual Features without Supervision", 2023. Wu et al., "Unsupervised Feature Learning via Non-Parametric
Instance Discrimination", CVPR 2018. Snell, Swersky and Zemel, "Prototypical Networks for Few-shot Learning",
NeurIPS 2017.

The test part is never used to choose. The first three protocols do not scale features, but `dinov2-knn`
scales rows to length 1. Among penalties with the same accuracy on the held-out rows the sources take the
first that they try, which is the weakest one in `linear-probe` and the strongest one in `dinov2-logreg`;
probabilities may then be far too sure, or hardly above chance.

Departures from the sources:

- `linear-probe`, `dinov2-logreg`: without a validation part, rows are held out at random within each class
  (in the sources at random among all), and groups stay together. Every penalty is solved to the optimum:
  what is left to gain is about a hundred-thousandth of the objective. On CIFAR-10 that moves the accuracy on
  10,000 held-out rows by four rows at most. The sources stop after 100 or 1,000 steps.
- `dinov2-knn` chooses one k on rows held out in that way, 10 % of train, and the largest of equals; the
  source reports every k on the test part. With fewer rows than k all vote.
- `dinov2-knn`, `lsr-fewshot` and `nearest-centroid`: votes, least squares and distances get a temperature
  (`featx.methods.probes.temperature`), which changes no label. The sources report accuracy only, or, in
  `nearest-centroid`, have a network that learns the distances.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model._base import LinearClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from featx.data.splits import Split, validation_part
from featx.errors import InputError
from featx.methods.probes.folds import balanced_accuracy
from featx.methods.probes.logistic import LogisticProbe
from featx.methods.probes.newton import NewtonPath
from featx.methods.probes.probe import INPUT, Choice, Probe, Problem
from featx.methods.probes.ridge import LeastSquaresProbe

#: Values of C, the strongest penalty first.
LINEAR_PROBE_CS = 1 / np.logspace(5, -6, 45)
DINOV2_CS = 10 ** np.linspace(-6, 5, 45)
DINOV2_NEIGHBOURS = (200, 100, 20, 10)
#: The penalty of `lsr-fewshot`: `l2_reg` of ``configs/common_fewshot.py``.
LSR_ALPHA = 2.0**10

# C where no row can be held out.
_PLAIN_C = 1.0
# `tol` of the solver for the choice and for the last fit.
_SWEEP, _TOLERANCE = 1e-5, 1e-7
_QUERY_BYTES = 100_000_000


class NeighbourVotes(ClassifierMixin, BaseEstimator):
    """Classify by votes of the k nearest rows (cosine), weighted by softmax(similarity / temperature).

    Parameters
    ----------
    k : int, default=20
        With fewer training rows, all vote.
    temperature : float, default=0.07

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    """

    def __init__(self, k=20, temperature=0.07):
        self.k = k
        self.temperature = temperature

    def fit(self, X, y):
        """Keep the rows (n, d), scaled to length 1, and their labels (n,)."""
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        check_classification_targets(y)
        self.classes_, self.codes_ = np.unique(y, return_inverse=True)
        self.rows_ = _scale_to_length_1(X)
        return self

    def predict_proba(self, X):
        """Predict the share of the votes of each class, ndarray of shape (n, n_classes)."""
        return self.votes(X, [self.k])[0]

    def predict(self, X):
        """Predict the class with the most votes, ndarray of shape (n,)."""
        votes = self.predict_proba(X)
        return self.classes_[votes.argmax(axis=1)]

    def votes(self, X, ks) -> np.ndarray:
        """Return the shares of the votes for several numbers of neighbours, (len(ks), n, n_classes)."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        n, most = len(self.rows_), min(max(ks), len(self.rows_))
        found = np.zeros((len(ks), len(X), len(self.classes_)))
        step = max(1, _QUERY_BYTES // (8 * n))
        for start in range(0, len(X), step):
            similar = _scale_to_length_1(X[start : start + step]).astype(self.rows_.dtype) @ self.rows_.T
            # scikit-learn's neighbours take twice as long, and differ in the eighth digit.
            near = np.argpartition(similar, n - most, axis=1)[:, n - most :]
            close = np.take_along_axis(similar, near, axis=1)
            order = np.argsort(-close, axis=1, kind="stable")
            near = np.take_along_axis(near, order, axis=1)
            close = np.take_along_axis(close, order, axis=1)
            weights = np.exp((close - close[:, :1]) / self.temperature)
            at = np.arange(len(near))[:, None]
            for part, k in zip(found, ks, strict=True):
                np.add.at(part, (start + at, self.codes_[near[:, :k]]), weights[:, :k])
        return found / found.sum(axis=2, keepdims=True)


class Prototypes(LinearClassifierMixin, BaseEstimator):
    """Predict the class with the nearest mean; scores are -||x - m||^2 + ||x||^2.

    Attributes
    ----------
    coef_, intercept_, classes_
        As in scikit-learn's linear classifiers.
    """

    def fit(self, X, y):
        """Average the rows (n, d) of each label (n,)."""
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"prototypes need 2 classes or more, got 1 class ({self.classes_[0]})")
        share = np.eye(len(self.classes_))[codes]
        return self.take_means((share / share.sum(axis=0)).T @ X.astype(np.float64), X.dtype)

    def take_means(self, means, dtype):
        """Fit to the means (n_classes, d) of the rows of each class; `classes_` is set already."""
        coef, intercept = 2 * means, -(means**2).sum(axis=1)
        if len(means) == 2:
            coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
        self.coef_, self.intercept_ = coef.astype(dtype), intercept.astype(dtype)
        return self


def _logistic(problem: Problem):
    return LogisticProbe(_PLAIN_C, tol=_TOLERANCE), {}


def _neighbours(problem: Problem):
    return NeighbourVotes(min(20, problem.n_train)), {}


def _few_shot(problem: Problem):
    return LeastSquaresProbe(LSR_ALPHA), {}


def _nearest_centroid(problem: Problem):
    return Prototypes(), {}


def choose_penalty(Cs: np.ndarray, fraction: float, *, weakest: bool) -> Callable[..., Choice]:
    """Return a rule that chooses C among `Cs` on held-out rows, the largest or the smallest of equals."""

    def choose(rows, labels, groups, validation, seed, metric, notes, products=None) -> Choice:
        fit, held = _held_out(labels, groups, validation, fraction, seed, notes)
        if not len(held):
            return {}, None, None
        path = NewtonPath(rows[fit], labels[fit], products=products)
        x, truth = rows[held], labels[held]
        score, best = -1.0, (0.0, np.empty(0), np.empty(0))
        for C, coef, intercept, *_ in path.solve_path(Cs, tol=_SWEEP):
            z = x @ coef.T.astype(x.dtype) + intercept
            codes = z.argmax(axis=1) if len(intercept) > 1 else (z[:, 0] > 0).astype(int)
            new = accuracy(truth, path.classes[codes], metric)
            tied = abs(new - score) <= 1e-12 and (best[0] < C if weakest else best[0] > C)
            if new > score + 1e-12 or tied:
                score, best = new, (C, coef, intercept)
        return {"C": best[0]}, score, best[1:]

    return choose


def choose_neighbours(rows, labels, groups, validation, seed, metric, notes, products=None) -> Choice:
    """Choose k on held-out rows, 10 % without a validation part."""
    fit, held = _held_out(labels, groups, validation, 0.1, seed, notes)
    if not len(held):
        return {}, None, None
    ks = [k for k in DINOV2_NEIGHBOURS if k <= len(fit)] or [min(10, len(fit))]
    model = NeighbourVotes().fit(rows[fit], labels[fit])
    votes = model.votes(rows[held], ks)
    scores = [accuracy(labels[held], model.classes_[v.argmax(axis=1)], metric) for v in votes]
    best = int(np.argmax(np.asarray(scores) >= max(scores) - 1e-12))
    return {"k": ks[best]}, scores[best], None


def accuracy(y: np.ndarray, predicted: np.ndarray, metric: str) -> float:
    """Return the accuracy over all rows (``"top1"``), or its mean over the classes (``"per-class"``)."""
    return float((y == predicted).mean()) if metric == "top1" else balanced_accuracy(y, predicted)


def _held_out(labels, groups, validation, fraction, seed, notes) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of the rows to fit and of those held out."""
    everything = np.arange(len(labels))
    split = Split(everything, everything[:0], validation)
    fit, held = validation_part(split, labels, groups=groups, fraction=fraction, seed=seed)
    if not len(held):
        notes.append(f"settings not selected: no training {INPUT} can be held out")
    elif validation is not None and not np.array_equal(held, validation):
        notes.append("the validation part was not used: a class would have had nothing to train on")
    return fit, held


def _scale_to_length_1(X: np.ndarray) -> np.ndarray:
    return X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-12)


PROBES = (
    Probe(
        "linear-probe",
        "Linear probe (Kornblith 2019)",
        _logistic,
        on_request=True,
        choose=choose_penalty(LINEAR_PROBE_CS, 0.2, weakest=True),
    ),
    Probe(
        "dinov2-logreg",
        "Logistic regression (DINOv2)",
        _logistic,
        on_request=True,
        choose=choose_penalty(DINOV2_CS, 0.1, weakest=False),
    ),
    Probe(
        "dinov2-knn",
        "Weighted neighbours (DINOv2)",
        _neighbours,
        calibrated=True,
        few_folds=True,
        on_request=True,
        choose=choose_neighbours,
    ),
    Probe("lsr-fewshot", "Least squares (big_vision)", _few_shot, calibrated=True, on_request=True),
    Probe("nearest-centroid", "Nearest class mean", _nearest_centroid, calibrated=True, on_request=True),
)
