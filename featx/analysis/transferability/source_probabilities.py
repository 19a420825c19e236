"""Scores of the source model's class probabilities P (n, k_source) and the target labels y."""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.analysis.rows import class_codes
from featx.errors import InputError


def softmax(logits: Any) -> np.ndarray:
    """Return the class probabilities of logits (n, k), in float64."""
    shifted = np.array(logits, dtype=np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    np.exp(shifted, out=shifted)
    shifted /= shifted.sum(axis=1, keepdims=True)
    return shifted


def leep(P: Any, y: Any) -> float:
    """Return the log expected empirical prediction (LEEP).

    With the joint distribution of target label and source class z, ``p(y, z) = 1/n sum_{i: y_i = y} P_iz``::

        LEEP = 1/n sum_i ln( sum_z p(y_i | z) P_iz )

    Parameters
    ----------
    P : array-like of shape (n, k_source)
        Source class probabilities, each row summing to 1.
    y : array-like of shape (n,), int
        Target labels.

    Returns
    -------
    float
        At most 0, in nats.

    References
    ----------
    C. Nguyen, T. Hassner, M. Seeger, C. Archambeau, "LEEP: A new measure to evaluate transferability of
    learned representations", ICML 2020, eq. 1 and 2.
    """
    probabilities = _probabilities(P)
    codes, k = class_codes(y, len(probabilities))
    joint = np.eye(k)[codes].T @ probabilities
    total = joint.sum(axis=0)
    # A source class that has no probability in any image is left out.
    given = np.divide(joint, total, out=np.zeros_like(joint), where=total > 0)
    expected = np.einsum("ij,ij->i", probabilities, given[codes])
    return float(np.log(expected).mean())


def nce(source: Any, y: Any) -> float:
    """Return the negative conditional entropy of the target labels, given the source model's class.

    ``NCE = -H(Y | Z) = sum_{y, z} p(y, z) ln p(y | z)`` with z the most probable source class of an image and
    p the shares of the images.

    Parameters
    ----------
    source : array-like of shape (n, k_source), or of shape (n,), int
        Source class probabilities (or logits), or the source classes themselves.
    y : array-like of shape (n,), int
        Target labels.

    Returns
    -------
    float
        At most 0, in nats.

    References
    ----------
    A. Tran, C. Nguyen, T. Hassner, "Transferability and hardness of supervised classification tasks", ICCV
    2019, section 3.
    """
    given = np.asarray(source)
    if given.ndim == 2 and given.shape[1] and np.isfinite(given).all():
        seen = given.argmax(axis=1)
    elif given.ndim == 1 and given.dtype.kind in "iu":
        seen = given
    else:
        raise InputError(
            "source: expected finite probabilities of shape (n, k) or integers of shape (n,), got "
            f"{given.dtype} of shape {given.shape}"
        )
    codes, k = class_codes(y, len(seen))
    classes, z = np.unique(seen, return_inverse=True)
    joint = np.bincount(codes * len(classes) + z, minlength=k * len(classes)).reshape(k, -1)
    n_y, n_z = np.nonzero(joint)
    counts = joint[n_y, n_z]
    return float((counts * np.log(counts / joint.sum(axis=0)[n_z])).sum() / len(seen))


def _probabilities(P: Any) -> np.ndarray:
    p = np.asarray(P, dtype=np.float64)
    if p.ndim != 2 or 0 in p.shape:
        raise InputError(f"source probabilities: expected shape (n, k_source), got {p.shape}")
    total = p.sum(axis=1)
    if not (np.isfinite(total).all() and p.min() >= 0 and np.allclose(total, 1, atol=1e-3)):
        row = int(np.argmax(np.where(np.isfinite(total), np.abs(total - 1), np.inf)))
        raise InputError(
            "source probabilities: each row must be 0 or more and sum to 1 (softmax of the logits); row "
            f"{row} sums to {total[row]:.4g}"
        )
    return p / total[:, None]
