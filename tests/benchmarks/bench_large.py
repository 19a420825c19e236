"""Large training sets, read in blocks: seconds by probe, and the peak of memory above the interpreter's.

``OMP_NUM_THREADS=2 python tests/benchmarks/bench_large.py 1000000 384 --folder /tmp`` writes a features file
of made-up rows (10 overlapping classes, a fifth of them test rows), then fits to its training rows, block by
block from the file or, with ``--in-memory``, from one array: a path of 10 penalties of logistic regression,
and each probe as `featx.methods.probes.fit_to` does, with selection, temperature and the test accuracy.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

PROBES = ("ridge", "lda", "naive-bayes", "nearest-centroid", "logreg")
CLASSES, BLOCK = 10, 50_000


def make(path: Path, n: int, d: int) -> None:
    from featx import Features

    rng = np.random.default_rng(0)
    y = rng.integers(0, CLASSES, n)
    centres = rng.normal(size=(CLASSES, d)).astype(np.float32) * 0.12
    mixing = rng.normal(size=(d, d)).astype(np.float32) / np.sqrt(d)
    raw = path.with_suffix(".raw")
    rows = np.memmap(raw, np.float32, "w+", shape=(n, d))
    for at in range(0, n, BLOCK):
        noise = rng.standard_normal((min(BLOCK, n - at), d), np.float32)
        rows[at : at + BLOCK] = np.maximum((noise + centres[y[at : at + BLOCK]]) @ mixing + 0.5, 0)
    splits = np.where(np.arange(n) % 5 == 4, "test", "train")
    names = [str(c) for c in range(CLASSES)]
    Features(rows, [str(i) for i in range(n)], y, names, splits).save(path)
    raw.unlink()


def memory() -> float:
    """Return the peak of this process's memory in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("n", type=int)
    parser.add_argument("d", type=int)
    parser.add_argument("--folder", help="where a temporary folder is made")
    parser.add_argument("--in-memory", action="store_true", help="read the rows once into one array")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.make:
        make(args.make, args.n, args.d)
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        path = Path(folder, "rows.h5")
        subprocess.run([sys.executable, __file__, str(args.n), str(args.d), "--make", str(path)], check=True)
        run(path, args.in_memory)


def run(path: Path, in_memory: bool) -> None:
    from featx import open_features
    from featx.methods.probes.fitting import fit_to
    from featx.methods.probes.large_sets import logistic_path
    from featx.methods.probes.row_blocks import RowBlocks
    from featx.methods.probes.training_rows import TrainingRows

    before = memory()
    with open_features(path) as file:
        source = file.embeddings[...] if in_memory else file.embeddings
        train, test = (np.flatnonzero(file.splits == part) for part in ("train", "test"))
        rows = TrainingRows(RowBlocks(source, train), file.labels[train])
        everything, held, truth = np.arange(len(train)), RowBlocks(source, test), file.labels[test]
        began = time.perf_counter()
        sums = rows.moments.whole
        print(f"moments: {time.perf_counter() - began:.1f} s, peak {memory() - before:.2f} GiB", flush=True)
        began = time.perf_counter()
        path_of = logistic_path(rows, everything, sums)
        for C in np.logspace(-5, 1, 10):
            path_of.solve(C)
        print(
            f"logreg, 10 penalties: {time.perf_counter() - began:.1f} s, {path_of.n_passes} passes, "
            f"peak {memory() - before:.2f} GiB",
            flush=True,
        )
        for name in PROBES:
            began = time.perf_counter()
            probe = fit_to(name, rows)
            fitted = time.perf_counter() - began
            right = (probe.predict(held) == truth).mean()
            print(
                f"{name}: {fitted:.1f} s, and {time.perf_counter() - began - fitted:.1f} s to predict; "
                f"accuracy {right:.4f}, peak {memory() - before:.2f} GiB",
                flush=True,
            )


if __name__ == "__main__":
    main()
