"""Find when the answers of a trained probe are unsure, from training rows as if they were new."""

from __future__ import annotations

import numpy as np

from featx.data.features import Features
from featx.methods.abstention import UnsureRule, fit_confidence, fit_familiarity
from featx.methods.probes import FittedProbe, held_out_probabilities


def unsure_rule(fitted: FittedProbe, features: Features, *, sure: float, seed: int) -> UnsureRule:
    """Return the thresholds of a probe that was fitted to `features`.

    The probability comes from out-of-fold predictions, the distance from rows without themselves and their
    group (`featx.methods.abstention`). A class of one image leaves no probability, two images no distance.
    """
    rows, labels, groups = features.embeddings, features.labels, features.groups
    assert labels is not None
    found = held_out_probabilities(fitted, rows, labels, groups=groups, seed=seed)
    confidence = None
    if found is not None:
        positions, probabilities = found
        codes = np.searchsorted(fitted.classes, labels[positions])
        confidence = fit_confidence(probabilities, codes, sure)
    return UnsureRule(confidence, fit_familiarity(rows, labels, groups, seed=seed))
