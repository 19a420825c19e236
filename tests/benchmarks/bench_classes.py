"""What a comparison with thousands of classes costs: size of results.json and of the page, memory, seconds.

    python tests/benchmarks/bench_classes.py [--classes 5000] [--test 2] [--train 2] [--dim 64]

Synthetic embeddings: a random centre for each class, and noise. Linear discriminant analysis, the ridge
classifier and the nearest class mean are compared, and the result is saved and read again.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from featx import compare
from featx.data.features import Features
from featx.results import ComparisonResult


def synthetic(n_classes: int, n_train: int, n_test: int, dim: int) -> Features:
    """Rows of `n_train` and `n_test` images a class around random centres."""
    rng = np.random.default_rng(0)
    each = n_train + n_test
    labels = np.repeat(np.arange(n_classes), each)
    rows = rng.normal(size=(n_classes, dim))[labels] + 0.7 * rng.normal(size=(len(labels), dim))
    splits = np.tile(["train"] * n_train + ["test"] * n_test, n_classes).astype(object)
    return Features(
        embeddings=rows.astype(np.float32),
        ids=[f"{c:05d}/{i}.jpg" for c, i in zip(labels, np.tile(np.arange(each), n_classes), strict=True)],
        labels=labels,
        classes=tuple(f"class {c:05d}" for c in range(n_classes)),
        splits=splits,
        groups=None,
        space={"backbone": {"architecture": "synthetic"}},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, default=5000)
    parser.add_argument("--train", type=int, default=2)
    parser.add_argument("--test", type=int, default=2)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--classifiers", nargs="+", default=["lda", "ridge", "nearest-centroid"])
    args = parser.parse_args()
    features = synthetic(args.classes, args.train, args.test, args.dim)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        result = compare(features, classifiers=args.classifiers, baseline="none", resume=folder)
        fitted = time.perf_counter()
        _peak("compared")
        result.save(folder)
        saved = time.perf_counter()
        _peak("saved")
        ComparisonResult.read_json(Path(folder) / "results.json")
        print(
            f"{args.classes} classes: compared in {fitted - began:.1f} s, saved in {saved - fitted:.1f} s, "
            f"read again in {time.perf_counter() - saved:.1f} s"
        )
        for file in sorted(Path(folder).iterdir()):
            print(f"{file.name}: {file.stat().st_size / 1e6:.2f} MB")
    _peak("in all")


def _peak(what: str) -> None:
    print(
        f"peak memory, {what}: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB", flush=True
    )


if __name__ == "__main__":
    main()
