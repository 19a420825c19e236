"""Scores of embeddings F (n, d) and labels y, in float64, from one decomposition of each matrix.

Derivation. Each score needs only the singular values s_j of F, its right singular vectors V, and the sums of
its rows over each class, F^T Y with Y one-hot: with F = U diag(s) V^T,

    U^T Y = diag(1 / s) V^T (F^T Y)

so U (n, d) is never formed. For n > d the Gram matrix F^T F, summed over blocks of rows, is decomposed; for
n <= d a singular value decomposition costs less and loses nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.analysis.rows import check_embeddings, class_codes
from featx.errors import InputError

_BLOCK = 8192  # rows in float64 at a time
#: Relative change of alpha / beta at which LogME has converged, and most steps to get there.
_LOGME_TOLERANCE, _LOGME_STEPS = 1e-10, 1000


@dataclass(frozen=True)
class Spectrum:
    """The decomposition that the scores need; `of` makes it once for several scores.

    Attributes
    ----------
    n, d : int
        Rows and columns of the embeddings.
    counts : ndarray of shape (k,)
        Rows of each class.
    squares, sums : ndarrays of shape (r,) and (r, k), float64
        Squared singular values of F above rounding, and V^T F^T Y.
    centred_squares, centred_sums : ndarrays of shape (r,) and (r, k), float64
        The same for F less its mean.
    fourth : float
        Sum over rows of ``|f_i - mean|^4``, for Ledoit and Wolf's shrinkage.
    """

    n: int
    d: int
    counts: np.ndarray
    squares: np.ndarray
    sums: np.ndarray
    centred_squares: np.ndarray
    centred_sums: np.ndarray
    fourth: float

    @classmethod
    def of(cls, F: Any, y: Any) -> Spectrum:
        """Decompose embeddings (n, d) with class labels (n,)."""
        rows, codes, k = _checked(F, y)
        mean = rows.mean(axis=0, dtype=np.float64)
        one_hot = np.eye(k)[codes]
        squares, sums, _ = _decomposed(rows, np.zeros_like(mean), one_hot)
        centred_squares, centred_sums, fourth = _decomposed(rows, mean, one_hot)
        return cls(
            n=len(rows),
            d=rows.shape[1],
            counts=np.bincount(codes),
            squares=squares,
            sums=sums,
            centred_squares=centred_squares,
            centred_sums=centred_sums,
            fourth=fourth,
        )


def _checked(F: Any, y: Any) -> tuple[np.ndarray, np.ndarray, int]:
    """Return rows, codes 0 .. k - 1 of the classes that occur, and k."""
    rows = check_embeddings(F, "embeddings", dtype=None)
    codes, k = class_codes(y, len(rows))
    if k < 2:
        raise InputError("labels: a score needs at least 2 classes, got 1")
    return rows, codes, k


def _decomposed(rows: np.ndarray, mean: np.ndarray, Y: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return squared singular values of (rows - mean), V^T (rows - mean)^T Y, and sum of |row - mean|^4."""
    n, d = rows.shape
    products, fourth = np.zeros((d, Y.shape[1])), 0.0
    gram = np.zeros((d, d)) if n > d else None
    for start in range(0, n, _BLOCK):
        block = rows[start : start + _BLOCK].astype(np.float64) - mean
        products += block.T @ Y[start : start + _BLOCK]
        fourth += float((np.einsum("ij,ij->i", block, block) ** 2).sum())
        if gram is not None:
            gram += block.T @ block
    if gram is not None:
        squares, V = np.linalg.eigh(gram)
    else:
        _, s, Vt = np.linalg.svd(rows.astype(np.float64) - mean, full_matrices=False)
        squares, V = s**2, Vt.T
    # Smaller values are rounding, in directions in which nothing varies.
    least = squares.max() * max(n, d) * np.finfo(np.float64).eps
    kept = squares > (least if gram is not None else least * max(n, d) * np.finfo(np.float64).eps)
    return squares[kept], V[:, kept].T @ products, fourth


def logme(F: Any, y: Any, *, numbers: bool = False, spectrum: Spectrum | None = None) -> float:
    """Return the logarithm of the maximum evidence of a Bayesian linear model (LogME), per row.

    For each target t (the indicator of a class, or a column of numbers) the evidence of t ~ N(F w, 1 / beta),
    w ~ N(0, I / alpha) is maximised over alpha and beta by the fixed point of You et al. (2022, algorithm 3),
    run to convergence::

        L = d/2 ln alpha + n/2 ln beta - beta/2 |F m - t|^2 - alpha/2 |m|^2 - 1/2 ln |A| - n/2 ln 2 pi
        A = alpha I + beta F^T F,   m = beta A^-1 F^T t,   gamma = sum_j beta s_j^2 / (alpha + beta s_j^2)
        alpha <- gamma / |m|^2,     beta <- (n - gamma) / |F m - t|^2

    and the score is the mean of L / n over the targets.

    Parameters
    ----------
    F : array-like of shape (n, d)
    y : array-like of shape (n,), int; or with `numbers` of shape (n,) or (n, k)
    numbers : bool, default=False
        Whether `y` are numeric targets.
    spectrum : Spectrum, optional
        ``Spectrum.of(F, y)``, so that it is not computed again; then `F` and `y` are not used.

    Raises
    ------
    InputError
        If a numeric target is all zeros.

    References
    ----------
    K. You, Y. Liu, J. Wang, M. Long, "LogME: Practical assessment of pre-trained models for transfer
    learning", ICML 2021, eq. 2; K. You et al., "Ranking and tuning pre-trained models", JMLR 23 (2022).

    Notes
    -----
    In the authors' code ``ln |A|`` leaves out the d - r directions in which F does not vary (n < d, or dead
    features) while d/2 ln alpha counts them; here both count all directions, as the evidence is defined.
    """
    if numbers:
        rows = check_embeddings(F, "embeddings", dtype=None)
        targets = np.asarray(y, dtype=np.float64)
        targets = targets[:, None] if targets.ndim == 1 else targets
        if targets.ndim != 2 or len(targets) != len(rows) or not np.isfinite(targets).all():
            raise InputError(
                f"targets: expected finite numbers of shape ({len(rows)},) or ({len(rows)}, k), got shape "
                f"{np.shape(y)}"
            )
        lengths = (targets**2).sum(axis=0)
        if not lengths.all():
            raise InputError(f"targets: column {int(np.argmin(lengths))} is all zeros")
        squares, sums, _ = _decomposed(rows, np.zeros(rows.shape[1]), targets)
        n = len(rows)
    else:
        known = spectrum if spectrum is not None else Spectrum.of(F, y)
        squares, sums, lengths, n = known.squares, known.sums, known.counts.astype(float), known.n
    return float(
        np.mean(
            [_evidence(squares, t**2 / squares, length, n) for t, length in zip(sums.T, lengths, strict=True)]
        )
    )


def _evidence(sigma: np.ndarray, z2: np.ndarray, length: float, n: int) -> float:
    """Return the largest evidence per row; sigma: squared singular values, z2 = (U^T t)^2, length = |t|^2.

    With r = alpha / beta: |m|^2 = sum sigma z2 / (sigma + r)^2, and |F m - t|^2 = sum z2 r^2 / (sigma + r)^2
    + the part of t outside the columns of F.
    """
    outside = max(length - float(z2.sum()), 0.0)
    # A target that F explains exactly, or not at all, has no finite optimum: alpha or beta stops here.
    tiny = 1e-12 * length
    alpha = beta = 1.0
    for _ in range(_LOGME_STEPS):
        ratio = alpha / beta
        gamma = float((sigma / (sigma + ratio)).sum())
        m2 = float((sigma * z2 / (sigma + ratio) ** 2).sum())
        residual = float((z2 * (ratio / (sigma + ratio)) ** 2).sum()) + outside
        alpha = gamma / max(m2, tiny / sigma.max())
        beta = max(n - gamma, 1e-12) / max(residual, tiny)
        if abs(alpha / beta - ratio) <= _LOGME_TOLERANCE * ratio:
            break
    ratio = alpha / beta
    m2 = float((sigma * z2 / (sigma + ratio) ** 2).sum())
    residual = float((z2 * (ratio / (sigma + ratio)) ** 2).sum()) + outside
    # d/2 ln alpha - 1/2 ln |A|: the directions in which F does not vary cancel.
    evidence = -0.5 * float(np.log1p(sigma / ratio).sum()) + 0.5 * n * math.log(beta / (2 * math.pi))
    return (evidence - 0.5 * beta * residual - 0.5 * alpha * m2) / n


def h_score(F: Any, y: Any, *, spectrum: Spectrum | None = None) -> float:
    """Return the H-score: how much of the whitened embeddings' variance lies between the classes.

    ``H = tr(cov(f)^-1 cov(E[f | y]))``, between 0 and min(d, classes - 1). With F centred it is
    ``sum_c |sum of class c's rows of U|^2 / n_c``.

    Parameters
    ----------
    F : array-like of shape (n, d)
    y : array-like of shape (n,), int
    spectrum : Spectrum, optional
        As for `logme`.

    Returns
    -------
    float
        With n <= d it is (nearly) classes - 1 whatever the labels: use `h_score_shrunk` then.

    References
    ----------
    Y. Bao et al., "An information-theoretic approach to transferability in task transfer learning", ICIP
    2019, definition 2.
    """
    known = spectrum if spectrum is not None else Spectrum.of(F, y)
    between = (known.centred_sums**2 / known.counts).sum(axis=1)
    return float((between / known.centred_squares).sum())


def h_score_shrunk(F: Any, y: Any, *, spectrum: Spectrum | None = None) -> float:
    """Return the H-score with Ledoit and Wolf's shrunk covariance, for few rows or many features.

    ``H_a = tr(S_a^-1 (1 - a) cov(E[f | y]))`` with ``S_a = (1 - a) cov(f) + a tr(cov(f)) / d I`` and the
    shrinkage a of Ledoit and Wolf.

    Parameters
    ----------
    F : array-like of shape (n, d)
    y : array-like of shape (n,), int
    spectrum : Spectrum, optional
        As for `logme`.

    Raises
    ------
    InputError
        If all rows are alike.

    References
    ----------
    S. Ibrahim, N. Ponomareva, R. Mazumder, "Newer is not always better: Rethinking transferability metrics,
    their peculiarities, stability and performance", ECML 2022, eq. 5; O. Ledoit and M. Wolf, "A
    well-conditioned estimator for large-dimensional covariance matrices", J. Multivariate Analysis 88 (2004).

    Notes
    -----
    Both covariances are divided by n here; code that divides the second by n - 1 gives n / (n - 1) times it.
    """
    known = spectrum if spectrum is not None else Spectrum.of(F, y)
    if not len(known.centred_squares):
        raise InputError("embeddings: all rows are alike, which no score can rank")
    n, d = known.n, known.d
    variances = known.centred_squares / n
    mu = float(variances.sum()) / d
    spread = float((variances**2).sum())
    delta = (spread - 2 * mu * float(variances.sum()) + d * mu**2) / d
    beta = min((known.fourth / n - spread) / (d * n), delta)
    a = beta / delta if beta > 0 else 0.0
    between = (known.centred_sums**2 / known.counts).sum(axis=1) / n
    return float(((1 - a) * between / ((1 - a) * variances + a * mu)).sum())


def transrate(F: Any, y: Any, *, eps: float = 1e-4, spectrum: Spectrum | None = None) -> float:
    """Return TransRate: the mutual information between embeddings and labels, estimated by coding rates.

    ``TrR = R(Z) - sum_c n_c / n R(Z_c)`` with Z = F less its mean, Z_c its rows of class c, and the rate
    ``R(Z) = 1/2 ln |I + Z^T Z / (n eps)|``, in nats.

    Parameters
    ----------
    F : array-like of shape (n, d)
    y : array-like of shape (n,), int
    eps : float, default=1e-4
        Distortion, in the units of the squared embeddings.
    spectrum : Spectrum, optional
        As for `logme`; `F` and `y` are used, too.

    References
    ----------
    L.-K. Huang et al., "Frustratingly easy transferability estimation", ICML 2022, eq. 4 and 5.

    Notes
    -----
    The authors' code gives every class the same weight; for classes of equal size that is the same.
    """
    if not eps > 0:
        raise InputError(f"eps must be above 0, got {eps}")
    rows, codes, k = _checked(F, y)
    known = spectrum if spectrum is not None else Spectrum.of(F, y)
    mean = rows.mean(axis=0, dtype=np.float64)
    rate = 0.5 * float(np.log1p(known.centred_squares / (known.n * eps)).sum())
    for c in range(k):
        Z = rows[codes == c].astype(np.float64) - mean
        gram = Z.T @ Z if len(Z) > Z.shape[1] else Z @ Z.T  # |I + Z^T Z| = |I + Z Z^T|
        gram /= len(Z) * eps
        gram[np.diag_indices_from(gram)] += 1.0
        rate -= len(Z) / known.n * 0.5 * float(np.linalg.slogdet(gram)[1])
    return rate
