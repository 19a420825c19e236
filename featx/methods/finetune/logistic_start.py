"""Start fine-tuning from a head fitted by logistic regression: the "LP" of LP-FT, at its optimum.

Kumar et al., *Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution*, 2022:
fine-tuning that starts from a fitted linear probe changes the pretrained features less.
"""

from __future__ import annotations

import math
import time
import warnings
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from featx.methods.finetune.head import Head, measure

#: Inverse strengths of the penalty that are tried, on features of about unit norm, weakest last.
CANDIDATES = tuple(10.0**power for power in range(-1, 5))
#: Logit of a class without a training image, below the lowest intercept.
_ABSENT = 10.0


def logistic_head(
    embeddings: np.ndarray, labels: np.ndarray, n_classes: int, train_idx: np.ndarray, val_idx: np.ndarray
) -> tuple[Head, list[dict[str, Any]], int]:
    """Fit a head by scikit-learn's logistic regression.

    Parameters
    ----------
    embeddings : ndarray of shape (n, d)
    labels : ndarray of shape (n,), int64
    n_classes : int
    train_idx, val_idx : ndarray of int
        Rows to fit, and rows whose loss chooses C from `CANDIDATES`. Without validation rows C is d: on
        features of unit norm that equals scikit-learn's default of 1 on features of unit variance.

    Returns
    -------
    head : Head
        On the CPU.
    history : list of dict
        An entry for each C, as in `FineTuned.history`, with ``C`` besides.
    best : int
        Number (``epoch``) of the entry that the head is.
    """
    head = Head.for_embeddings(embeddings[train_idx], n_classes)
    y_train, y_val = (torch.from_numpy(labels[rows]) for rows in (train_idx, val_idx))
    rows = embeddings[train_idx]
    candidates = CANDIDATES if len(val_idx) else (float(rows.shape[1]),)
    history: list[dict[str, Any]] = []
    best: tuple[float, int, np.ndarray, np.ndarray] | None = None
    for number, c in enumerate(candidates, start=1):
        began = time.perf_counter()
        coef, intercept = _fitted(head, rows, labels[train_idx], n_classes, c)
        head.take(coef, intercept)
        fit = measure(head.logits(rows), y_train)
        val = measure(head.logits(embeddings[val_idx]), y_val) if len(val_idx) else (None, None)
        history.append(
            {
                "epoch": number,
                "phase": "head",
                "train_loss": fit[0],
                "train_accuracy": fit[1],
                "val_loss": val[0],
                "val_accuracy": val[1],
                "seconds": time.perf_counter() - began,
                "C": c,
            }
        )
        loss = -math.inf if val[0] is None else val[0]
        if best is None or loss < best[0]:
            best = (loss, number, coef, intercept)
    assert best is not None
    return head.take(best[2], best[3]), history, best[1]


def _fitted(
    head: Head, rows: np.ndarray, labels: np.ndarray, n_classes: int, c: float
) -> tuple[np.ndarray, np.ndarray]:
    """Fit on standardised embeddings; return coefficients (k, d) and intercepts (k,) for the raw ones."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    mean, scale = head.mean.numpy().astype(np.float64), head.scale.numpy().astype(np.float64)
    present = np.unique(labels)
    coef = np.zeros((n_classes, rows.shape[1]))
    intercept = np.zeros(n_classes)
    if len(present) > 1:
        with threadpool_limits(1), warnings.catch_warnings():
            # A weak penalty on separable classes converges slowly, and training goes on from here anyway.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(C=c, max_iter=1000).fit((rows - mean) * scale, labels)
        w, b = model.coef_, model.intercept_
        if len(present) == 2:  # one row of log-odds; half for each class is the same softmax
            w, b = np.vstack([-w, w]) / 2, np.concatenate([-b, b]) / 2
        coef[present], intercept[present] = w, b
    intercept[np.setdiff1d(np.arange(n_classes), present)] = intercept[present].min() - _ABSENT
    unscaled = coef * scale
    return unscaled, intercept - unscaled @ mean
