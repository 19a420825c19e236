"""Choose the least probability of a sure answer, so that enough of the sure answers are right.

This is selective classification: a classifier f with a confidence k(x), here the highest probability,
answers where k(x) >= t. The risk of the answers, P(f(x) != y | k(x) >= t), must be at most r = 1 - `sure`.
Geifman and El-Yaniv ("Selective classification for deep neural networks", NeurIPS 2017, algorithm "selection
with guaranteed risk") search for the smallest such t by bisection over the confidences of n labelled rows
that f was not fitted to. With e errors among the m rows at or above t, a step accepts t if

    P(Binomial(m, r) <= e)  <=  delta / steps

so that the risk at the chosen t is above r with a probability of at most delta (Bonferroni). Here steps that
cannot succeed are left out: m rows without an error are accepted only if (1 - r)^m <= delta / steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

#: Probability that the risk of the sure answers is above 1 - sure all the same.
DELTA = 0.05
#: An answer of a lower probability is more likely wrong than right.
EVEN_ODDS = 0.5


@dataclass(frozen=True)
class Confidence:
    """The least probability of a sure answer.

    Attributes
    ----------
    threshold : float
        An answer is unsure if its probability is lower.
    sure : float
        The share of right answers among the sure ones that was asked for.
    guaranteed : bool
        Whether a test of the held-out rows supports it; else the threshold follows from the probabilities.
    answered, right : float or None
        Share of the held-out rows whose answer is sure, and share of these that are right (None: there are
        none).
    """

    threshold: float
    sure: float
    guaranteed: bool
    answered: float
    right: float | None


def fit_confidence(probabilities: np.ndarray, codes: np.ndarray, sure: float = 0.95) -> Confidence:
    """Return the least probability at which a share `sure` of the answers is right.

    Parameters
    ----------
    probabilities : ndarray of shape (n, n_classes)
        Of rows that the classifier was not fitted to: out of fold, or of a validation set.
    codes : ndarray of shape (n,), int
        Columns of the true classes.
    sure : float, default=0.95
        Share of right answers among the sure ones, between 0 and 1.

    Returns
    -------
    Confidence

    Notes
    -----
    The threshold is never below `EVEN_ODDS`. If no threshold passes the test, because there are few rows (99
    without an error are needed for 0.95) or too many errors, it is `sure` itself, which needs no test if the
    probabilities are calibrated (Chow, "On optimum recognition error and reject tradeoff", IEEE Transactions
    on Information Theory 16, 1970). The test takes images as independent of one another.
    """
    highest = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == codes
    threshold = _search(highest, right, 1 - sure)
    guaranteed = threshold is not None
    found = max(sure, EVEN_ODDS) if threshold is None else threshold
    answers = highest >= found
    share = float(right[answers].mean()) if answers.any() else None
    return Confidence(found, sure, guaranteed, float(answers.mean()) if len(answers) else 0.0, share)


def _search(highest: np.ndarray, right: np.ndarray, risk: float) -> float | None:
    """Return the smallest confidence that the bisection accepts, None if it accepts none."""
    from scipy.special import bdtr

    able = highest >= EVEN_ODDS
    order = np.argsort(highest[able], kind="stable")
    t, wrong = highest[able][order], ~right[able][order]
    n = len(t)
    level = DELTA / max(1, n.bit_length())
    fewest = math.ceil(math.log(level) / math.log(1 - risk))
    errors_from = np.cumsum(wrong[::-1])[::-1]
    low, high, found = 0, n - fewest + 1, None  # positions in t; from `high` on no test can succeed
    while low < high:
        middle = (low + high) // 2
        first = int(np.searchsorted(t, t[middle]))  # equal confidences answer together
        if bdtr(int(errors_from[first]), n - first, risk) <= level:
            high, found = first, float(t[first])
        else:
            low = middle + 1
    return found
