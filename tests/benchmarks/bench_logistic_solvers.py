"""How long L-BFGS and Newton take for 5 folds and 9 penalties on few rows, in turn; medians of CPU seconds.

``OMP_NUM_THREADS=1 python tests/benchmarks/bench_logistic_solvers.py``; two minutes. Expected: Newton takes 3
to 14 times as long, and names the same labels (99.6 % of 300 rows and more).
"""

from __future__ import annotations

import time

import numpy as np
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from featx.methods.probes.lbfgs import LbfgsPath
from featx.methods.probes.newton import NewtonPath

DIM, ROUNDS = 1280, 3


def embeddings(n: int, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return correlated, skewed rows like embeddings, standardised, and their labels."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % n_classes
    z = rng.normal(size=(n, DIM)) * np.geomspace(3, 0.03, DIM)
    turned = z @ np.linalg.qr(rng.normal(size=(DIM, DIM)))[0]
    X = np.maximum(turned + 0.25 * rng.normal(size=(n_classes, DIM))[y] + 0.2, 0)
    return StandardScaler().fit_transform(X.astype(np.float32)), y


def solve_by_lbfgs(X: np.ndarray, y: np.ndarray, Cs: np.ndarray) -> list:
    path = LbfgsPath(X, y)
    return [path.solve(C, tol=1e-3) for C in Cs]


def solve_by_newton(X: np.ndarray, y: np.ndarray, Cs: np.ndarray) -> list:
    path = NewtonPath(X, y)
    return [path.solve(C, tol=1e-4)[:2] for C in Cs]


def predict(X: np.ndarray, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
    scores = X @ coef.T + intercept
    return scores.argmax(axis=1) if len(intercept) > 1 else (scores[:, 0] > 0).astype(int)


for n in (100, 300, 1000, 3000):
    for n_classes in (2, 5, 12):
        X, y = embeddings(n, n_classes)
        folds = list(StratifiedKFold(5, shuffle=True, random_state=0).split(y, y))
        seconds: dict = {solve_by_lbfgs: [], solve_by_newton: []}
        labels: dict = {}
        for _ in range(ROUNDS):
            for solve, spent in seconds.items():
                began = time.process_time()
                found = [solve(X[train], y[train], np.geomspace(0.1, 1000, 9) / DIM) for train, _ in folds]
                spent.append(time.process_time() - began)
                labels[solve] = [
                    predict(X[held], *one)
                    for (_, held), each in zip(folds, found, strict=True)
                    for one in each
                ]
        slow, fast = (float(np.median(seconds[solve])) for solve in (solve_by_newton, solve_by_lbfgs))
        same = np.mean(np.concatenate(labels[solve_by_lbfgs]) == np.concatenate(labels[solve_by_newton]))
        print(
            f"{n:5d} rows, {n_classes:2d} classes: L-BFGS {fast:6.3f} s, Newton {slow:6.3f} s "
            f"({slow / fast:.1f} times), same labels {same:.2%}",
            flush=True,
        )
