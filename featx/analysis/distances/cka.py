"""Centred kernel alignment (CKA): how alike two representations of the same images are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.analysis.rows import check_embeddings
from featx.errors import InputError


def linear_cka(X: Any, Y: Any) -> float:
    """Return the linear CKA of two representations of the same images.

    With centred columns ``|Y^T X|_F^2 / (|X^T X|_F |Y^T Y|_F)``; where there are fewer rows than columns the
    same from the Gram matrices of the rows, ``<X X^T, Y Y^T>_F / (|X X^T|_F |Y Y^T|_F)``.

    Parameters
    ----------
    X, Y : array-like of shape (n, d) and (n, e)
        Row i of both is image i; n at least 2.

    Returns
    -------
    float
        From 0 to 1. With fewer rows than columns it is near 1 whatever the representations: use
        `debiased_cka` then.

    Raises
    ------
    InputError
        If all rows of one are alike.

    References
    ----------
    S. Kornblith, M. Norouzi, H. Lee, G. Hinton, "Similarity of neural network representations revisited",
    ICML 2019, eq. 5 and 8.
    """
    x, y = _pair(X, Y, 2)
    n, x, y = len(x), x - x.mean(axis=0), y - y.mean(axis=0)
    if n < max(x.shape[1], y.shape[1]):
        K, L = x @ x.T, y @ y.T
        shared, own = (K * L).sum(), (K**2).sum() * (L**2).sum()
    else:
        shared = ((y.T @ x) ** 2).sum()
        own = ((x.T @ x) ** 2).sum() * ((y.T @ y) ** 2).sum()
    return float(shared / _positive(own) ** 0.5)


def debiased_cka(X: Any, Y: Any) -> float:
    """Return the linear CKA from unbiased estimates of HSIC, the Hilbert-Schmidt independence criterion.

    ``HSIC_1(K, L) = (tr K~ L~ + 1'K~1 1'L~1 / ((n - 1)(n - 2)) - 2 / (n - 2) 1'K~ L~ 1) / (n (n - 3))`` with
    K~ and L~ the Gram matrices of the rows with zeros on their diagonals.

    Parameters
    ----------
    X, Y : array-like of shape (n, d) and (n, e)
        Row i of both is image i; n at least 4. It takes the memory of n^2 numbers.

    Returns
    -------
    float
        About 0, or a little below, for independent representations; at most 1.

    Raises
    ------
    InputError
        If all rows of one are alike.

    References
    ----------
    L. Song et al., "Feature selection via dependence maximization", JMLR 13 (2012), eq. 4; T. Nguyen, M.
    Raghu, S. Kornblith, "Do wide and deep networks learn the same things?", ICLR 2021, eq. 3.
    """
    x, y = _pair(X, Y, 4)
    # Centring changes nothing but the rounding.
    K, L = (_without_diagonal(rows - rows.mean(axis=0)) for rows in (x, y))
    return float(_hsic(K, L) / _positive(_hsic(K, K) * _hsic(L, L)) ** 0.5)


def cka_matrix(representations: Sequence[Any]) -> np.ndarray:
    """Return `debiased_cka` of each pair among several representations of the same images.

    Parameters
    ----------
    representations : sequence of k array-likes of shape (n, d_i)
        n at least 4. It takes the memory of k n^2 numbers.

    Returns
    -------
    ndarray of shape (k, k)
        1 on the diagonal; NaN for a representation in which all rows are alike.
    """
    rows = [check_embeddings(X, f"representation {i}", at_least=4) for i, X in enumerate(representations)]
    n = len(rows[0])
    for X in rows:
        _pair(rows[0], X, 4)
    grams = np.stack([_without_diagonal(X - X.mean(axis=0)).ravel() for X in rows])
    sums = grams.reshape(len(rows), n, n).sum(axis=2)
    totals = sums.sum(axis=1)
    hsic = grams @ grams.T + np.outer(totals, totals) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (sums @ sums.T)
    own = np.diag(hsic)
    lengths = np.sqrt(np.where(own > 0, own, np.nan))
    return hsic / np.outer(lengths, lengths)


def _without_diagonal(rows: np.ndarray) -> np.ndarray:
    K = rows @ rows.T
    np.fill_diagonal(K, 0)
    return K


def _hsic(K: np.ndarray, L: np.ndarray) -> float:
    n = len(K)
    k, l = K.sum(axis=1), L.sum(axis=1)  # noqa: E741 - as in the paper
    whole = (K * L).sum() + k.sum() * l.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k @ l)
    return float(whole / (n * (n - 3)))


def _positive(own: float) -> float:
    if not own > 0:
        raise InputError("a representation in which all rows are alike is similar to nothing")
    return own


def _pair(X: Any, Y: Any, least: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = (
        check_embeddings(X, "the first representation", at_least=least),
        check_embeddings(Y, "the second representation", at_least=least),
    )
    if len(x) != len(y):
        raise InputError(f"two representations of the same inputs are needed, got {len(x)} and {len(y)} rows")
    return x, y
