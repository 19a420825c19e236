"""Find the weights of an average of probabilities, by the likelihood of held-out labels."""

from __future__ import annotations

import numpy as np

from featx.errors import InputError

_MOST_STEPS = 20_000


def blend_weights(probabilities, y, *, tol: float = 1e-9) -> np.ndarray:
    """Return the weights of the average of probabilities that has the lowest log loss.

    With p_ji the probability that member j gives the true class of image i, the loss is convex in w::

        min_w  -1/n sum_i log(sum_j w_j p_ji)    subject to    w >= 0, sum_j w_j = 1

    Expectation maximisation for mixture proportions, w_j <- w_j g_j with
    g_j = 1/n sum_i p_ji / (sum_l w_l p_li), lowers the loss in every step. By convexity the loss is at most
    max_j g_j - 1 above its minimum; the iteration stops when that is below `tol`.

    Parameters
    ----------
    probabilities : array-like of shape (n_members, n, n_classes)
        Probabilities of held-out images, which the members were not trained on.
    y : array-like of shape (n,), int
        Column of the true class of each input.
    tol : float, default=1e-9
        Largest difference between the loss and its minimum, in nats.

    Returns
    -------
    ndarray of shape (n_members,)
        Non-negative, summing to 1.

    Raises
    ------
    InputError
        Shapes do not fit, or a label is not a column.

    References
    ----------
    T. M. Cover, "An algorithm for maximizing expected log investment return", IEEE Transactions on
    Information Theory 30 (1984), where the weights are a portfolio; L. Breiman, "Stacked regressions",
    Machine Learning 24 (1996), for non-negative weights of models.

    Examples
    --------
    >>> blend_weights([[[0.9, 0.1]], [[0.5, 0.5]]], [0]).round(3).tolist()
    [1.0, 0.0]
    """
    p, labels = np.asarray(probabilities, np.float64), np.asarray(y)
    if p.ndim != 3 or 0 in p.shape or labels.shape != p.shape[1:2] or labels.dtype.kind not in "iu":
        raise InputError(
            "probabilities must have shape (n_members, n, n_classes) with n integer labels, "
            f"got {p.shape} and {labels.dtype} of {labels.shape}"
        )
    if labels.min() < 0 or labels.max() >= p.shape[2]:
        raise InputError(f"labels must lie in 0..{p.shape[2] - 1}, got {labels.min()}..{labels.max()}")
    true = np.maximum(p[:, np.arange(len(labels)), labels], np.finfo(np.float64).eps)
    weights = np.full(len(p), 1 / len(p))
    for _ in range(_MOST_STEPS):
        gains = (true / (weights @ true)).mean(axis=1)
        if gains.max() - 1 < tol:
            break
        weights = weights * gains
    return weights / weights.sum()
