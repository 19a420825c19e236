"""Fit Gaussian classes: every shrinkage, smoothing and prior from the moments of the classes.

Discriminant analysis needs the covariance within classes, sum_c p_c S_c with priors p_c and the covariance
S_c of a class. It is one product of centred rows with weights p_c / n_c, so that no class needs a matrix of
its own. Shrinkage by s adds s times the mean variance to the diagonal of (1 - s) times that matrix.
With ``"auto"``, s differs between classes (Ledoit and Wolf, "A well-conditioned estimator for
large-dimensional covariance matrices", 2004, on features scaled to variance 1 within the class), and so do
the weights, (1 - s_c) p_c / n_c.

Naive Bayes: -1/2 sum_j (x_j - m_j)^2 / v_j is two products, of x^2 with 1 / v and of x with m / v. Rows are
standardised, so the squares have digits enough in double precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, lstsq
from sklearn.naive_bayes import GaussianNB

from featx.methods.probes.fitters.fitter import Fitter, Settings, of_last_step
from featx.methods.probes.fitters.pipelines import fit_scaler, fit_to_last, last_inputs

if TYPE_CHECKING:
    from featx.methods.probes.parts import Part


class GaussianFitter(Fitter):
    """Fit a pipeline that ends in linear discriminant analysis (solver "lsqr") or Gaussian naive Bayes."""

    def scores(self, part: Part, estimator: Any, candidates: Sequence[Settings]) -> np.ndarray:
        settings = of_last_step(estimator, candidates)
        found = np.empty((len(candidates), len(part.held_out), len(part.classes)), np.float32)
        solved: dict[Any, Any] = {}
        if isinstance(estimator.steps[-1][1], GaussianNB):
            moments, held = _class_moments(part, estimator)
            squares = held**2
            for i, each in enumerate(settings):
                smoothing = each["var_smoothing"]
                if smoothing not in solved:
                    variances = moments.smoothed(smoothing)
                    solved[smoothing] = _log_likelihood(held, squares, moments.means, variances)
                scores = solved[smoothing] + np.log(moments.priors(each["priors"]))
                found[i] = scores - scores.max(axis=1, keepdims=True)
            return found
        rows, held = last_inputs(part, estimator)
        held, within = held.astype(np.float64), Discriminant(rows, part.codes)
        for i, each in enumerate(settings):
            coef, intercept = within.solve(each["shrinkage"], each["priors"])
            scores = held @ coef.T + intercept
            found[i] = scores - scores.max(axis=1, keepdims=True)
        return found

    def fit(self, part: Part, estimator: Any, settings: Settings) -> Any:
        if len(estimator.steps) == 2:
            model = fit_scaler(part, estimator, settings)
            fit_bayes(model.steps[-1][1], ClassMoments.of_part(part), part.dtype)
        else:
            model, rows = fit_to_last(part, estimator, settings)
            last = model.steps[-1][1]
            if isinstance(last, GaussianNB):
                fit_bayes(last, ClassMoments.of_rows(rows, part.codes), rows.dtype)
            else:
                fit_discriminant(last, Discriminant(rows, part.codes), rows.dtype)
        model.steps[-1][1].classes_ = part.classes
        return model


@dataclass(frozen=True)
class ClassMoments:
    """Means and variances of the features within each class.

    Attributes
    ----------
    counts : ndarray of shape (n_classes,)
    means, variances : ndarray of shape (n_classes, p), float64
    """

    counts: np.ndarray
    means: np.ndarray
    variances: np.ndarray

    @classmethod
    def of_rows(cls, rows: np.ndarray, codes: np.ndarray) -> ClassMoments:
        """Return the moments of rows (n, p) of the classes `codes`, 0 to n_classes - 1, none empty."""
        counts = np.bincount(codes)
        shape = len(counts), rows.shape[1]
        means, variances = np.empty(shape), np.empty(shape)
        ordered = np.split(np.argsort(codes, kind="stable"), np.cumsum(counts)[:-1])
        for c, members in enumerate(ordered):
            mine = rows[members].astype(np.float64)
            means[c] = mine.mean(axis=0)
            mine -= means[c]
            variances[c] = np.einsum("ij,ij->j", mine, mine) / len(mine)
        return cls(counts, means, variances)

    @classmethod
    def of_part(cls, part: Part) -> ClassMoments:
        """Return the moments of the standardised training rows of a part."""
        (counts, sums), squares = part.class_sums(), part.class_squares()
        means = sums / counts[:, None]
        return cls(counts, means, np.maximum(squares / counts[:, None] - means**2, 0))

    def priors(self, given: Sequence[float] | None) -> np.ndarray:
        """Return the given class priors, or without any the shares of the rows."""
        return self.counts / self.counts.sum() if given is None else np.asarray(given, np.float64)

    def largest_variance(self) -> float:
        """Return the largest variance of a feature over all rows."""
        shares = self.counts / self.counts.sum()
        between = shares @ self.means**2 - (shares @ self.means) ** 2
        return float((shares @ self.variances + between).max())

    def smoothed(self, smoothing: float) -> np.ndarray:
        """Return the variances with a share of the largest one added; above 0 even for constant rows."""
        return np.maximum(self.variances + smoothing * self.largest_variance(), np.finfo(np.float32).tiny)


class Discriminant:
    """What linear discriminant analysis with any shrinkage and any priors needs of the rows.

    Parameters
    ----------
    rows : ndarray of shape (n, p)
    codes : ndarray of shape (n,), int
        Class of each row, 0 to n_classes - 1; no class is empty.
    """

    def __init__(self, rows: np.ndarray, codes: np.ndarray):
        self.moments = ClassMoments.of_rows(rows, codes)
        self.codes = codes
        self.centred = rows - self.moments.means[codes]
        self._within: dict[bytes, np.ndarray] = {}

    def covariance(self, shrinkage: float | str | None, priors: np.ndarray) -> np.ndarray:
        """Return the shrunk covariance within classes, (p, p) float64."""
        if shrinkage != "auto":
            share = float(shrinkage or 0)
            found = (1 - share) * self._weighted(priors)
            found.flat[:: len(found) + 1] += share * self._weighted(priors).trace() / len(found)
            return found
        shares, variances = self._ledoit_wolf()
        found = self._weighted(priors * (1 - shares)).copy()
        found.flat[:: len(found) + 1] += (priors * shares) @ variances
        return found

    def solve(
        self, shrinkage: float | str | None, priors: Sequence[float] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return coefficients (n_classes, p) and intercepts (n_classes,), float64."""
        means, prior = self.moments.means, self.moments.priors(priors)
        covariance = self.covariance(shrinkage, prior)
        coef = _solve(covariance, means.T).T
        return coef, np.log(prior) - np.einsum("ij,ij->i", means, coef) / 2

    def _weighted(self, weights: np.ndarray) -> np.ndarray:
        """Return sum_c weights_c S_c, (p, p)."""
        key = weights.tobytes()
        if key not in self._within:
            scaled = self.centred * np.sqrt(weights / self.moments.counts)[self.codes, None]
            self._within[key] = scaled.T @ scaled
        return self._within[key]

    def _ledoit_wolf(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the shrinkage of each class, and the variances to shrink to, (n_classes, p)."""
        counts, variances = self.moments.counts, self.moments.variances
        p = variances.shape[1]
        # A feature that is constant within a class stays 0.
        constant = variances <= (counts[:, None] * self.moments.means * np.finfo(np.float64).eps) ** 2
        inverse = np.where(constant, 0, 1 / np.sqrt(np.where(constant, 1, variances)))
        means = (~constant).mean(axis=1)  # of the scaled variances, 0 or 1
        shares = np.zeros(len(counts))
        ordered = np.split(np.argsort(self.codes, kind="stable"), np.cumsum(counts)[:-1])
        for c, members in enumerate(ordered):
            n = len(members)
            scaled = self.centred[members] * inverse[c]
            product = scaled @ scaled.T if n < p else scaled.T @ scaled
            squares = np.einsum("ij,ij->i", scaled, scaled)
            norm = np.vdot(product, product) / n**2
            beta = (np.vdot(squares, squares) / n - norm) / (p * n)
            delta = norm / p - means[c] ** 2
            if p > 1 and (beta := min(beta, delta)) != 0:
                shares[c] = beta / delta
        return shares, means[:, None] * np.where(constant, 1, variances)


def _solve(covariance: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve for a positive semidefinite matrix; return the solution of least norm if it is singular."""
    try:
        factor, lower = cho_factor(covariance, check_finite=False)
        pivots = np.abs(np.diag(factor))
        if pivots.min() ** 2 > len(pivots) * np.finfo(np.float64).eps * pivots.max() ** 2:
            return cho_solve((factor, lower), right, check_finite=False)
    except LinAlgError:
        pass
    return lstsq(covariance, right)[0]


def _log_likelihood(
    x: np.ndarray, squares: np.ndarray, means: np.ndarray, variances: np.ndarray
) -> np.ndarray:
    """Return the log densities of rows (m, n_classes), without the constant of all classes."""
    constant = np.log(variances).sum(axis=1) + (means**2 / variances).sum(axis=1)
    return x @ (means / variances).T - (squares @ (1 / variances).T + constant) / 2


def _class_moments(part: Part, estimator: Any) -> tuple[ClassMoments, np.ndarray]:
    """Return what naive Bayes sees: moments of the classes, and held rows (m, p) in double precision."""
    if len(estimator.steps) == 2:
        return ClassMoments.of_part(part), part.held.astype(np.float64)
    rows, held = last_inputs(part, estimator)
    return ClassMoments.of_rows(rows, part.codes), held.astype(np.float64)


def fit_bayes(bayes: GaussianNB, moments: ClassMoments, dtype: np.dtype) -> None:
    """Give a naive Bayes what it learns from the moments of the classes."""
    bayes.n_features_in_ = moments.means.shape[1]
    bayes.epsilon_ = bayes.var_smoothing * moments.largest_variance()
    bayes.theta_ = moments.means.astype(dtype)
    bayes.var_ = moments.smoothed(bayes.var_smoothing).astype(dtype)
    bayes.class_count_ = moments.counts.astype(dtype)
    bayes.class_prior_ = moments.priors(bayes.priors).astype(dtype)


def fit_discriminant(lda: Any, within: Discriminant, dtype: np.dtype) -> None:
    """Give a discriminant analysis what it learns from the rows."""
    lda.n_features_in_ = within.moments.means.shape[1]
    priors = within.moments.priors(lda.priors)
    coef, intercept = within.solve(lda.shrinkage, lda.priors)
    lda.means_, lda.priors_ = within.moments.means.astype(dtype), priors.astype(dtype)
    lda.covariance_ = within.covariance(lda.shrinkage, priors)
    lda._max_components = lda._n_features_out = min(len(priors) - 1, coef.shape[1])
    if len(priors) == 2:
        coef, intercept = (coef[1:] - coef[:1]).astype(dtype), (intercept[1:] - intercept[:1]).astype(dtype)
    lda.coef_, lda.intercept_ = coef, intercept
