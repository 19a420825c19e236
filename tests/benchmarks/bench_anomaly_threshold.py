"""How many new normal rows each detector's threshold flags at contamination 0.05: wanted, 5 %.

``python tests/benchmarks/bench_anomaly_threshold.py [FEATURES.h5 ...] [--detectors NAME ...] [--sizes N]``
draws normal rows of each kind (Gaussians of 1,280 values; the rows of one class of a labelled features file),
fits on n of them and judges others, many times. Printed for each detector, kind and n: the share flagged by
the threshold, with the standard error of the mean over draws; by a threshold from the scores of the training
rows (for the one-class SVM, its own); and the time to fit. One draw alone varies by about
sqrt(0.05 * 0.95 / n) around 5 %, because its n rows set the threshold. Expect 4 to 6 % with 20 rows or more.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from featx.methods.detectors import detector_names, get_detector

DIM, NEW, CONTAMINATION = 1280, 400, 0.05

#: Takes n and a generator; returns n training rows and new rows of the same kind, None with too few.
Draw = Callable[[int, np.random.Generator], "tuple[np.ndarray, np.ndarray] | None"]


def gaussian(decay: float, positive: bool = False) -> Draw:
    """Standard deviations fall as k^-decay over the values; `positive` rows are cut at 0, as by ReLU."""
    deviations = np.arange(1.0, DIM + 1) ** -decay

    def draw(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        rows = rng.normal(size=(n + NEW, DIM)) * deviations
        rows = np.maximum(rows, 0) if positive else rows
        return rows[:n], rows[n:]

    return draw


def classes_of(path: str) -> Draw:
    """Rows of one class of a features file, another class each time."""
    from featx.data.features import load_features

    features = load_features(path)
    x, y = np.asarray(features.embeddings), np.asarray(features.labels)

    def draw(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray] | None:
        own = rng.permutation(np.flatnonzero(y == rng.integers(len(features.classes))))
        return (x[own[:n]], x[own[n : n + NEW]]) if len(own) >= n + 20 else None

    return draw


def own_threshold(name: str, detector, rows: np.ndarray) -> float:
    """The threshold without held-out rows."""
    if name == "ocsvm":
        svm = detector.detector_[-1]
        return float(svm.offset_[0] / svm.dual_coef_.sum())
    return float(np.quantile(detector.score_samples(rows), CONTAMINATION))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("features", nargs="*")
    parser.add_argument("--detectors", nargs="+", default=list(detector_names()))
    parser.add_argument("--sizes", nargs="+", type=int, default=[20, 50, 100, 300, 1000])
    parser.add_argument("--draws", type=int, default=0, help="0: 2,000 / n, from 8 to 60")
    args = parser.parse_args()
    kinds = {"Gaussian": gaussian(0.0), "Gaussian, sd 1/k": gaussian(1.0)}
    kinds["cut at 0, sd 1/k^0.5"] = gaussian(0.5, positive=True)
    kinds |= {f"{Path(path).stem}, by class": classes_of(path) for path in args.features}
    print(
        f"{'detector':<18}{'rows':<24}{'n':>6}{'draws':>7}{'flagged':>17}{'training scores':>17}{'fit s':>8}"
    )
    for name in args.detectors:
        for kind, draw in kinds.items():
            for n in args.sizes:
                shares, before, seconds = [], [], []
                for k in range(args.draws or min(60, max(8, 2000 // n))):
                    drawn = draw(n, np.random.default_rng([k, n]))
                    if drawn is None:
                        break
                    train, new = drawn
                    began = time.perf_counter()
                    detector = get_detector(name).build(n, DIM, CONTAMINATION, k).fit(train)
                    seconds.append(time.perf_counter() - began)
                    scores = detector.score_samples(new)
                    shares.append((scores < detector.offset_).mean())
                    before.append((scores < own_threshold(name, detector, train)).mean())
                if shares:
                    error = np.std(shares) / np.sqrt(len(shares))
                    print(
                        f"{name:<18}{kind:<24}{n:>6}{len(shares):>7}{np.mean(shares):>9.3f} ± {error:.3f}"
                        f"{np.mean(before):>17.3f}{np.median(seconds):>8.2f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
