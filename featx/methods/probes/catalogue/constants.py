"""References that look at no image: the most frequent class, the mean."""

from __future__ import annotations

from sklearn.dummy import DummyClassifier, DummyRegressor

from featx.methods.probes.probe import Probe, Problem


def _majority(problem: Problem):
    return DummyClassifier(strategy="prior"), {}


def _mean(problem: Problem):
    return DummyRegressor(strategy="mean"), {}


PROBES = (
    Probe("majority", "Most frequent class", _majority, kind="floor"),
    Probe("mean", "Mean of the training images", _mean, "numbers", kind="floor"),
)
