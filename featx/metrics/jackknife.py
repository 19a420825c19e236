"""Find by how much each part of the test images moves a metric of classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.metrics.answers import Answers
from featx.metrics.classes import compute_metrics, per_image_summands, split_sums


def jackknife_scores(
    y_true: np.ndarray, given: Answers, parts: np.ndarray
) -> dict[str, tuple[float, np.ndarray]]:
    """Return every metric of classes with the influence of each of g parts of the test images.

    With M the metric and M_(-i) the metric without part i, the influence of a part is

        (g - 1) (mean of M_(-) - M_(-i)),

    so that M + influence are g values that vary as independent parts would, centred at M: their variance
    over g estimates the variance of M. For an accuracy and parts of equal size they are the accuracies of the
    parts.

    Parameters
    ----------
    y_true : ndarray of shape (n,), int
        True classes.
    given : Answers
    parts : ndarray of shape (n,), int
        The part of each image, 0 to g - 1, none of them empty. A single part has the influence 0.

    Returns
    -------
    dict of str to (float, ndarray of shape (g,))
        By name, in the order of `featx.metrics.classes.METRICS`.

    References
    ----------
    J. W. Tukey, "Bias and confidence in not-quite large samples", Annals of Mathematical Statistics 29
    (1958); J. Shao and D. Tu, "The Jackknife and Bootstrap" (1995), section 2.3, for parts of several images.
    """
    from scipy.sparse import csr_matrix

    y, parts = np.asarray(y_true).astype(np.int64), np.asarray(parts)
    n, g = len(y), int(parts.max()) + 1
    member = csr_matrix((np.ones(n), (parts, np.arange(n))), shape=(g, n))
    sums: Any = (member @ per_image_summands(y, given)).toarray()
    whole, sizes = sums.sum(axis=0, keepdims=True), np.bincount(parts, minlength=g)
    values = compute_metrics(*split_sums(whole, np.array([n]), given.n_classes))
    without = values
    if g > 1:
        without = compute_metrics(*split_sums(whole - sums, n - sizes, given.n_classes))
    return {name: (float(values[name][0]), (g - 1) * (m.mean() - m)) for name, m in without.items()}
