"""Whether `fit_probe` gives the answers of scikit-learn: chosen settings, accuracy and log loss on test rows.

``python tests/benchmarks/bench_same_answers.py CIFAR10.h5 FLOWERS.h5`` (features files with splits train and
test) fits each probe by `fit_probe` and by scikit-learn alone (`slow_probes`): every setting is cloned and
fitted on every fold. The data: all flowers; 2,000 and 8,000 rows of CIFAR-10; 2,000 rows with class sizes in
a geometric series; 2,000 rows in groups of four near copies; 2,000 rows in float16. Tested on 10,000 rows of
CIFAR-10. scikit-learn takes many minutes; ``--keep FOLDER`` keeps what it found for the next run.

A row says ``ok`` if the settings are the same or tied (log loss out of fold within 1 %, balanced accuracy
within 0.3 points or one row), accuracy on the test rows differs by 0.3 points or by one row at most, and log
loss by 1 %. Where it says ``DIFFERS``, a second row compares with scikit-learn's solvers run until they have
converged, on exact principal components (`slow_probes.CONVERGED`).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import joblib
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from slow_probes import CONVERGED, Slow, fit_slowly, log_loss, matches

from featx import load_features
from featx.methods.probes import fit_probe

NINE = ("logreg", "svm", "rbf-svm", "knn", "lda", "ridge", "forest", "boosting", "naive-bayes")


def draw(y: np.ndarray, sizes, seed: int = 0) -> np.ndarray:
    """Return sorted positions of so many rows of each class."""
    rng = np.random.default_rng(seed)
    chosen = [
        rng.permutation(np.flatnonzero(y == label))[: int(n)]
        for label, n in zip(np.unique(y), sizes, strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def make_groups(X: np.ndarray, y: np.ndarray, seed: int = 0):
    """Return rows in groups of four: one row of each group, and three more with noise."""
    rng = np.random.default_rng(seed)
    kept = np.sort(rng.permutation(len(y))[: len(y) // 4])
    rows = np.repeat(X[kept], 4, axis=0)
    noise = 0.5 * X.std(axis=0) * rng.normal(size=rows.shape)
    noise[::4] = 0
    return np.maximum(rows + noise, 0).astype(np.float32), np.repeat(y[kept], 4), np.repeat(kept, 4)


def make_data(cifar: str, flowers: str) -> dict[str, tuple]:
    """Return training rows, labels, groups, test rows and their labels of each set."""

    def read(path):
        features = load_features(path)
        test = np.asarray(features.splits) == "test"
        X, y = features.embeddings, np.asarray(features.labels)
        return X[~test], y[~test], X[test], y[test]

    X, y, X_test, y_test = read(flowers)
    data = {"flowers": (X, y, None, X_test, y_test)}
    X, y, X_test, y_test = read(cifar)
    k = len(np.unique(y))
    uneven = np.geomspace(600, 30, k)
    for name, sizes in (
        ("cifar-2000", [2000 / k] * k),
        ("cifar-8000", [8000 / k] * k),
        ("imbalanced", uneven),
    ):
        rows = draw(y, sizes)
        data[name] = X[rows], y[rows], None, X_test, y_test
    even = data["cifar-2000"]
    data["grouped"] = *make_groups(even[0], even[1]), X_test, y_test
    data["float16"] = even[0].astype(np.float16), even[1], None, X_test.astype(np.float16), y_test
    return data


def reference(folder: str | None, what: str, *args, **options) -> Slow:
    """Return what scikit-learn finds, from the folder if it is there."""
    path = None if folder is None else Path(folder) / f"{what}.joblib"
    if path is not None and path.exists():
        return joblib.load(path)
    found = fit_slowly(*args, **options)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        joblib.dump(found, path)
    return found


def compare(fitted, log_p: np.ndarray, codes: np.ndarray, slow: Slow, n_train: int) -> tuple[bool, str]:
    """Return whether a probe agrees with scikit-learn's, and the figures."""
    right, slow_right = log_p.argmax(axis=1) == codes, slow.log_p.argmax(axis=1) == codes
    loss, slow_loss = log_loss(log_p, codes), log_loss(slow.log_p, codes)
    rows_more = int(right.sum()) - int(slow_right.sum())
    same = matches(slow.chosen, fitted.params)
    choice = "same" if same else "tied" if slow.is_tied(fitted.params, n_train) else "OTHER"
    near = abs(rows_more) <= max(1, 0.003 * len(codes)) and abs(loss / slow_loss - 1) <= 0.01
    agrees = near and choice != "OTHER"
    settings = choice if same else f"{choice}: {fitted.params}, scikit-learn {slow.chosen}"
    return agrees, (
        f"{'ok' if agrees else 'DIFFERS':7s} {right.mean():.4f} "
        f"({100 * (right.mean() - slow_right.mean()):+.2f}, {rows_more:+d}) "
        f"{loss:.4f} ({100 * (loss / slow_loss - 1):+.2f} %) {settings}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cifar")
    parser.add_argument("flowers")
    parser.add_argument("--probes", nargs="+", default=NINE)
    parser.add_argument("--data", nargs="+", help="names of the sets; default: all")
    parser.add_argument("--keep", help="folder for what scikit-learn found")
    args = parser.parse_args()
    print(f"{'probe':12s} {'data':11s} accuracy (difference, rows), log loss (difference), settings, CPU s")
    wrong = 0
    for data, (X, y, groups, X_test, y_test) in make_data(args.cifar, args.flowers).items():
        if args.data and data not in args.data:
            continue
        for name in args.probes:
            rows, test = X.astype(np.float32), X_test.astype(np.float32)
            began = time.process_time()
            fitted = fit_probe(name, X, y, groups=groups, n_jobs=1)
            seconds = time.process_time() - began
            p = np.concatenate([fitted.predict_proba(part) for part in np.array_split(X_test, 8)])
            codes = np.searchsorted(fitted.classes, y_test)
            for end, changed in (("", {}), ("-converged", CONVERGED)):
                slow = reference(args.keep, f"{data}-{name}{end}", name, rows, y, test, groups, **changed)
                agrees, said = compare(fitted, np.log(p), codes, slow, len(y))
                print(f"{name:12s} {data + end:21s} {said} {seconds:6.1f} s", flush=True)
                if agrees:
                    break
            wrong += not agrees
    print(f"{wrong} differ")


if __name__ == "__main__":
    main()
