"""Fit the coefficients of `featx.studies.evaluation.cost` to measured times, and print the table to paste.

``python tests/benchmarks/bench_cost.py [--rows 100 300 1000 4000 16000] [--probes ...] [--at-most 60]`` times
every probe, and the data checks (``--probes checks``: these alone), on rows of overlapping classes for each
number of rows, of features and of classes, in seconds of the processor, on one thread. A probe that took more
than `--at-most` seconds is not timed on more rows. Coefficients are the non-negative ones with the least
squared error of the logarithm. The comments say how far the estimates are from the times: expect factors from
0.5 to 2.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from itertools import product

import numpy as np
from scipy.optimize import least_squares, nnls
from sklearn.datasets import make_classification

from featx.analysis.data_checks import find_near_duplicates, predict_out_of_sample
from featx.data.splits import Split
from featx.inputs.text import StringText
from featx.methods.probes import get_probe, probe_names, reference_names
from featx.studies.evaluation import Cell, LabelledRows, probe_method
from featx.studies.evaluation.cost import COPIES, WRONG_LABELS, Size, _multiply, check_terms, terms
from featx.studies.evaluation.text_rows import TextRows
from featx.threads import limit_threads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 300, 1000, 4000, 16000])
    parser.add_argument("--dims", type=int, nargs="+", default=[256, 1280])
    parser.add_argument("--classes", type=int, nargs="+", default=[3, 30])
    parser.add_argument("--probes", nargs="+")
    parser.add_argument("--at-most", type=float, default=60.0)
    options = parser.parse_args()
    print("# fmt: off\nCOEFFICIENTS: dict[str, dict[str, tuple[float, ...]]] = {")
    for task in ("classes", "numbers"):
        references = [*reference_names(task), *reference_names(task, "text")]
        known = (*probe_names(task), *dict.fromkeys(references))
        print(f'    "{task}": {{')
        for name in [n for n in known if options.probes is None or n in options.probes]:
            sizes, seconds = measure(name, task, options)
            fit(name, sizes, seconds)
        print("    },")
    print("}")
    if options.probes is None or "checks" in options.probes:
        print("CHECK_COEFFICIENTS: dict[str, tuple[float, ...]] = {")
        for name, check in (("COPIES", COPIES), ("WRONG_LABELS", WRONG_LABELS)):
            fit(name, *measure_check(check, options), terms=check_terms)
        print("}")
    print("# fmt: on")
    with limit_threads(1):
        print(f"REFERENCE_SECONDS = {min(_multiply() for _ in range(20)):.4f}")


def measure_check(check: str, options: argparse.Namespace) -> tuple[list[Size], list[float]]:
    """Time a data check."""
    sizes, seconds = [], []
    for dim, k, n in product(options.dims, options.classes, sorted(options.rows)):
        X, y = make_rows(n, dim, k)
        X, train, test = X.astype(np.float32), np.arange(n), np.arange(n, len(X))
        with limit_threads(1):
            began = time.process_time()
            if check == COPIES:
                find_near_duplicates(X)
            else:
                predict_out_of_sample(X, y, train, test)
        sizes.append(Size(check, n, len(test), dim, k))
        seconds.append(time.process_time() - began)
        print(f"  {check} {n} x {dim}, {k} classes: {seconds[-1]:.2f} s", file=sys.stderr, flush=True)
    return sizes, seconds


def make_rows(n: int, dim: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `n` training rows and a quarter as many test rows of overlapping classes."""
    return make_classification(
        n + n // 4,
        dim,
        n_informative=min(dim, 40),
        n_redundant=0,
        n_classes=max(k, 2),
        n_clusters_per_class=1,
        class_sep=0.8,
        random_state=0,
    )


def measure(name: str, task: str, options: argparse.Namespace) -> tuple[list[Size], list[float]]:
    """Time the cells of a probe."""
    sizes, seconds = [], []
    numbers = task == "numbers"
    for dim, k in product(options.dims, [1] if numbers else options.classes):
        for n in sorted(options.rows):
            X, y = make_rows(n, dim, k)
            x = write_texts(X, dim) if get_probe(name, task).inputs == "text" else X.astype(np.float32)
            rows = LabelledRows(x, X[:, 0] if numbers else y, None if numbers else k)
            split = Split(np.arange(n), np.arange(n, len(X)))
            cell = Cell(probe_method(name, task=task), rows, split, 0, "values" if numbers else "answers")
            with limit_threads(1):
                began = time.process_time()
                cell.run(n_jobs=1)
            sizes.append(Size.of(cell))
            seconds.append(time.process_time() - began)
            print(f"  {name} {n} x {dim}, {k} classes: {seconds[-1]:.2f} s", file=sys.stderr, flush=True)
            if seconds[-1] > options.at_most:
                break
    return sizes, seconds


def write_texts(X: np.ndarray, characters: int) -> TextRows:
    """Write a text of about so many characters for each row: the numbers of its largest features as words."""
    words = max(1, characters // 7)
    largest = np.argsort(-np.abs(X), axis=1)[:, :words] * 2 + (np.sort(-np.abs(X), axis=1)[:, :words] > -1)
    common = np.random.default_rng(0).zipf(1.3, size=(len(X), words)) % 30_000
    spelled = [np.base_repr(number * 7919 + 36**4, 36).lower() for number in range(30_000 + 2 * X.shape[1])]
    texts = [
        " ".join(spelled[number] for pair in zip(mine + 30_000, others, strict=False) for number in pair)
        for mine, others in zip(largest[:, : words // 2 + 1], common, strict=True)
    ]
    return TextRows([StringText(str(i), text) for i, text in enumerate(texts)])


def fit(
    name: str, sizes: list[Size], seconds: list[float], terms: Callable[[Size], list[float]] = terms
) -> None:
    """Print the coefficients of a probe or a check, and the factors between estimates and times."""
    measured = np.maximum(seconds, 1e-3)
    table = np.array([terms(size) for size in sizes])
    # Squares keep coefficients from being negative; factors of 2 and of 1/2 count alike.
    start = np.sqrt(nnls(table / measured[:, None], np.ones(len(measured)))[0]) + 1e-3
    found = least_squares(lambda a: np.log(table @ a**2 / measured), start).x ** 2
    factor = table @ found / measured
    shown = ", ".join(f"{x:.3g}" for x in found)
    named = name if terms is check_terms else f'    "{name}"'
    print(f"    {named}: ({shown}),  # {factor.min():.2f} to {factor.max():.2f}", flush=True)


if __name__ == "__main__":
    main()
