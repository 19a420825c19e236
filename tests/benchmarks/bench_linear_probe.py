"""The protocol ``linear-probe`` from a features file: seconds, accuracy, and how far from scikit-learn.

``OMP_NUM_THREADS=2 python tests/benchmarks/bench_linear_probe.py FEATURES.h5`` (with a train and a test
split) runs the protocol, 45 values of C and the refit, and then scikit-learn's ``LogisticRegression``
(L-BFGS, ``--tol``, until it has converged) for the few values ``--C`` on all training rows. For each of them
it prints the losses of both solvers in float64, their relative gap and the share of test rows of the same
prediction; and at last the ratio of 45 times scikit-learn's mean time to the whole protocol's.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from featx import load_features
from featx.methods.probes import LogisticProbe, fit_path, fit_probe


def objective(coef: np.ndarray, intercept: np.ndarray, X: np.ndarray, y: np.ndarray, C: float) -> float:
    total = 0.0
    coef, intercept = coef.astype(np.float64), intercept.astype(np.float64)
    for start in range(0, len(X), 10_000):
        z = X[start : start + 10_000].astype(np.float64) @ coef.T + intercept
        rows = np.arange(len(z))
        total -= log_softmax(z, axis=1)[rows, y[start : start + 10_000]].sum()
    return total + float((coef**2).sum()) / (2 * C)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("features")
    parser.add_argument("--C", type=float, nargs="*", default=[1e-3, 1e-1, 1e2], help="for scikit-learn")
    parser.add_argument("--tol", type=float, default=1e-5, help="scikit-learn's, on the gradient of the mean")
    parser.add_argument("--max-iter", type=int, default=20_000)
    args = parser.parse_args()
    features = load_features(args.features)
    X, y, splits = features.embeddings, features.labels, features.splits
    if y is None or splits is None or y.max() < 2:
        parser.error("the file needs labels of three classes or more, and splits")
    train, test = np.flatnonzero(splits != "test"), np.flatnonzero(splits == "test")
    val = np.flatnonzero(splits[train] == "val")
    X_train, y_train, X_test, y_test = X[train], y[train], X[test], y[test]

    began = time.perf_counter()
    probe = fit_probe("linear-probe", X_train, y_train, validation=val)
    ours = time.perf_counter() - began
    accuracy = (probe.predict(X_test) == y_test).mean()
    print(
        f"linear-probe: {ours:.1f} s for 45 values of C and the refit on {len(train)} rows; C = "
        f"{probe.params['C']:.3g}, validation {probe.cv_score:.4f}, test {accuracy:.4f}",
        flush=True,
    )

    seconds = []
    for C, mine in zip(args.C, fit_path(X_train, y_train, args.C), strict=True):
        began = time.perf_counter()
        LogisticProbe(C, tol=1e-7).fit(X_train, y_train)
        alone = time.perf_counter() - began
        began = time.perf_counter()
        theirs = LogisticRegression(C=C, tol=args.tol, max_iter=args.max_iter).fit(X_train, y_train)
        seconds.append(time.perf_counter() - began)
        losses = [objective(m.coef_, m.intercept_, X_train, y_train, C) for m in (mine, theirs)]
        same = (mine.predict(X_test) == theirs.predict(X_test)).mean()
        print(
            f"C = {C:g}: loss {losses[0]:.6f}, scikit-learn {losses[1]:.6f} after {theirs.n_iter_[0]} "
            f"iterations in {seconds[-1]:.1f} s ({alone:.1f} s here, from zero); relative gap "
            f"{losses[0] / losses[1] - 1:+.1e}, same predictions {same:.4f}",
            flush=True,
        )
    if seconds:
        print(
            f"scikit-learn, extrapolated from {len(seconds)} fits: 45 x {np.mean(seconds):.1f} = "
            f"{45 * np.mean(seconds):.0f} s, {45 * np.mean(seconds) / ours:.1f} times"
        )


if __name__ == "__main__":
    main()
