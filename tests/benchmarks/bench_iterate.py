"""How long studies of cached rows take: comparisons, probes against GridSearchCV, 45 penalties, a curve.

``python tests/benchmarks/bench_iterate.py FEATURES.h5 --part PART ...`` reads a features file with splits
train and test. The figures of ``docs/measured.md`` are of CIFAR-10 (60,000 JPEG files of 32 px, shown to
MobileNetV2 at 224 px: 50,000 + 10,000 rows of 1,280 values), and of the flowers for ``curve``. Parts:

- ``compare``: ridge alone on ``--rows`` (8,000 + 1,000) for the first time, then LDA, then ridge once more;
- ``nine``: all nine probes and the checks on ``--rows``, with the seconds of each;
- ``nine-full``: the same on all rows;
- ``penalties``: the protocol ``linear-probe`` on all training rows, 45 penalties and the refit;
- ``grid``: each probe by ``fit_probe`` and by scikit-learn's ``GridSearchCV`` over the same pipeline, grid
  and folds, scored by balanced accuracy and refitted on all rows. ``fit_probe`` selects on a sample of 4,000
  rows, so there are two ratios: to ``GridSearchCV`` on that sample with a refit on all rows, and on all rows.
  ``fit_probe`` also fits a temperature, which ``GridSearchCV`` does not. A search is stopped after
  ``--limit`` seconds; its ratio is then a lower bound, and the fits that it had finished are printed;
- ``curve``: 560 cells, 5 probes x 7 numbers of shots x 16 draws, without fine-tuning;
- ``million``: ridge, LDA and 10 penalties of logistic regression on 1,000,000 x 384 made-up rows on the disk.

Each run is a process of its own with an empty cache that has imported everything, and has run the study on a
few rows before the clock starts. Printed are CPU seconds (user and system, of the process and its children)
and wall seconds, medians of ``--rounds``. ``--old PATH`` also measures another checkout of featx, in turn,
and prints the ratios. The number of threads is that of ``OMP_NUM_THREADS`` and ``taskset``.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import pkgutil
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

NINE = ("logreg", "svm", "rbf-svm", "knn", "lda", "ridge", "forest", "boosting", "naive-bayes")
CURVE = ("logreg", "svm", "knn", "lda", "ridge")
SELECTION_ROWS = 4000
GIB = 2**30


# What is measured, in a process of its own.


def used() -> tuple[float, float]:
    """Return CPU seconds of this process and its finished children, and the wall clock."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in usages), time.perf_counter()


@contextlib.contextmanager
def measured(label: str) -> Iterator[dict]:
    """Measure a block, and tell the parent process; the block may add to the dictionary."""
    more: dict = {}
    cpu, wall = used()
    yield more
    cpu_after, wall_after = used()
    tell({"label": label, "cpu": cpu_after - cpu, "wall": wall_after - wall, **more})


def tell(found: dict) -> None:
    print("RESULT " + json.dumps(found), flush=True)


def import_everything() -> None:
    import featx

    for module in pkgutil.walk_packages(featx.__path__, "featx."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(ImportError):  # optional packages
                importlib.import_module(module.name)


def choose_rows(features, n_train: int | None, n_test: int | None, seed: int = 0):
    """Return a stratified part of a `Features` with splits train and test; None: all rows of a split."""
    from featx import Features

    rng = np.random.default_rng(seed)
    splits, y = np.asarray(features.splits), np.asarray(features.labels)
    chosen = []
    for split, most in (("train", n_train), ("test", n_test)):
        rows = np.flatnonzero((splits == "test") == (split == "test"))
        # In turn from each class, so that the part has as many of each.
        shuffled = rng.permutation(rows)
        rank = np.empty(len(rows), int)
        for label in np.unique(y[shuffled]):
            members = y[shuffled] == label
            rank[members] = np.arange(members.sum())
        chosen.append(np.sort(shuffled[np.argsort(rank, kind="stable")[: most or len(rows)]]))
    rows = np.concatenate(chosen)
    return Features(
        features.embeddings[rows],
        [features.ids[i] for i in rows],
        y[rows],
        features.classes,
        np.where(splits[rows] == "test", "test", "train"),
        space=features.space,
    )


def warm_up(features, names) -> None:
    """Run a study on a few rows, so that nothing is imported or compiled later."""
    from featx import compare

    few = choose_rows(features, 12 * len(features.classes), 4 * len(features.classes))
    compare(few, classifiers=list(names), baseline="none", n_boot=100, verbose=False)


def run_compare(path: str, args) -> None:
    from featx import compare, load_features

    warm_up(load_features(path), ("ridge", "lda"))
    for label, name in (("ridge, first", "ridge"), ("lda, after it", "lda"), ("ridge, again", "ridge")):
        with measured(label) as more:
            result = compare(path, classifiers=name, baseline="none", verbose=False)
            more.update(describe(result))


def run_nine(path: str, args) -> None:
    from featx import compare, load_features

    names = args.probes or NINE
    warm_up(load_features(path), names)
    label = "nine and checks" if len(names) == len(NINE) else ", ".join(names)
    with measured(label) as more:
        result = compare(path, classifiers=list(names), baseline="none", verbose=False)
        more.update(describe(result))


def describe(result) -> dict:
    """Return the accuracies of a comparison, and the seconds of its parts."""
    checks = (getattr(result, "hygiene", None) or {}).get("seconds")
    fits = {m.name: round(m.seconds.get("fit") or 0, 2) for m in result.methods}
    top1 = {m.name: round(m.metrics["top1"].value, 4) for m in result.methods if "top1" in m.metrics}
    return {"seconds of checks": checks, "seconds of fits": fits, "top1": top1}


def run_penalties(path: str, args) -> None:
    from featx import load_features
    from featx.methods.probes import fit_probe

    features = load_features(path)
    train = features.splits == "train"
    X, y = features.embeddings[train], features.labels[train]
    fit_probe("linear-probe", X[::500], y[::500])
    with measured(f"45 penalties, {len(y)} x {X.shape[1]}") as more:
        probe = fit_probe("linear-probe", X, y)
        more["C"] = probe.params["C"]
    right = probe.predict(features.embeddings[~train]) == features.labels[~train]
    tell({"label": f"45 penalties, {len(y)} x {X.shape[1]}", "test accuracy": float(right.mean())})


def run_curve(path: str, args) -> None:
    from featx import learning_curve, load_features

    warm_up(load_features(path), CURVE)
    options = {"classifiers": list(CURVE), "shots": [1, 2, 5, 10, 20, 50, "all"], "verbose": False}
    with measured("curve of 560 cells") as more:
        result = learning_curve(path, seeds=args.draws, **options)
        more["cells"] = len(result.draws)


def run_probe(path: str, args) -> None:
    """Fit one probe by `fit_probe`; or, with names joined by +, several that share rows if they can."""
    from featx.methods.probes import fit_probe, fitting

    X, y = load_train(path)
    names = args.only.split("+")
    for name in names:
        fit_probe(name, X[:: len(X) // 400], y[:: len(y) // 400])
    shares = len(names) > 1 and hasattr(fitting, "fit_to")
    with measured(args.only) as told:
        if shares:
            from featx.methods.probes.training_rows import TrainingRows

            rows = TrainingRows(X, y)
            found = [fitting.fit_to(name, rows) for name in names]
        else:
            found = [fit_probe(name, X, y) for name in names]
        told["chosen"] = found[-1].params


def run_search(path: str, args) -> None:
    """Run scikit-learn's search for one probe, as `fit_probe` builds it."""
    from sklearn.base import clone
    from sklearn.metrics import balanced_accuracy_score, make_scorer
    from sklearn.model_selection import GridSearchCV

    from featx.methods.probes.table import get_probe
    from featx.methods.probes.targets import describe_problem, target_of

    X, y = load_train(path)
    probe = get_probe(args.only)
    target = target_of("classes", 0)
    problem, drawn = describe_problem(target, probe, y, X.shape[1])
    if drawn is not None:
        X, y = X[drawn], y[drawn]
    estimator, grid = probe.build(problem)
    done, began = 0, used()[0]

    def score(truth, predicted):
        nonlocal done
        done += 1
        tell({"label": args.only, "fits": done, "so far": used()[0] - began})
        return balanced_accuracy_score(truth, predicted)

    few = y[:: max(1, len(y) // 400)]
    clone(estimator).fit(X[:: max(1, len(y) // 400)], few)
    sampled = args.on == "sample" and len(y) > SELECTION_ROWS and len(grid) > 0
    with measured(args.only) as told:
        rows = target.sample(y, SELECTION_ROWS) if sampled else np.arange(len(y))
        folds = target.folds(y[rows], None)
        search = GridSearchCV(
            estimator, grid, cv=folds, scoring=make_scorer(score), refit=not sampled, error_score="raise"
        )
        search.fit(X[rows], y[rows])
        if sampled:
            clone(estimator).set_params(**search.best_params_).fit(X, y)
        told["of"] = len(search.cv_results_["params"]) * len(folds)
        told["chosen"] = str(search.best_params_)


def load_train(path: str) -> tuple[np.ndarray, np.ndarray]:
    from featx import load_features

    features = load_features(path)
    train = np.asarray(features.splits) != "test"
    return features.embeddings[train], features.labels[train]


def run_million(path: str, args) -> None:
    """Measure seconds, and the peak of resident memory above that of the interpreter with its libraries."""
    from featx import compare, load_features
    from featx.methods.probes import fit_path

    few = choose_rows(load_features(path), 2000, 500)
    compare(few, classifiers=["ridge", "lda"], baseline="none", n_boot=100, verbose=False)
    del few
    before = reset_peak()
    with measured("ridge and lda, 1,000,000 x 384") as more:
        result = compare(path, classifiers=["ridge", "lda"], baseline="none", verbose=False)
        more.update(describe(result))
        more["GiB above"] = round((peak() - before) / GIB, 2)
    before = reset_peak()
    with measured("10 penalties, 1,000,000 x 384") as more:
        X, y = load_train(path)
        more["models"] = len(list(fit_path(X, y, np.geomspace(0.1, 1e4, 10) / 384)))
        more["GiB above"] = round((peak() - before) / GIB, 2)


def status_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def reset_peak() -> int:
    """Start a new peak of resident memory; return what is resident now. Linux only."""
    Path("/proc/self/clear_refs").write_text("5")
    return status_bytes("VmRSS")


def peak() -> int:
    return status_bytes("VmHWM")


def write_million(path: Path, n: int = 1_000_000, dim: int = 384, n_classes: int = 10) -> None:
    """Write made-up rows like embeddings: not negative, of unequal scales, classes that overlap."""
    from featx import Features

    rng = np.random.default_rng(0)
    scales = np.geomspace(2, 0.05, dim).astype(np.float32)
    centres = rng.normal(size=(n_classes, dim)).astype(np.float32) * 0.25
    mix = np.linalg.qr(rng.normal(size=(dim, dim)))[0].astype(np.float32)
    y = rng.integers(n_classes, size=n)
    rows = np.empty((n, dim), np.float32)
    for at in range(0, n, 50_000):
        labels = y[at : at + 50_000]
        z = rng.standard_normal((len(labels), dim), np.float32) + centres[labels]
        rows[at : at + 50_000] = np.maximum((z * scales) @ mix + 0.2, 0)
    splits = np.where(np.arange(n) % 100 == 0, "test", "train")
    names = [str(k) for k in range(n_classes)]
    Features(rows, [str(i) for i in range(n)], y, names, splits).save(path)


RUNS = {
    "compare": run_compare,
    "nine": run_nine,
    "penalties": run_penalties,
    "curve": run_curve,
    "probe": run_probe,
    "search": run_search,
    "million": run_million,
}


# The parent process: files, rounds, ratios.


def run(part: str, path: Path, code: Path, args, *more: str, limit: float | None = None) -> dict[str, dict]:
    """Run a part in a process of its own with the code of a checkout; return what it told, by label.

    After `limit` seconds it is killed; each label then has what was told last, without ``cpu``.
    """
    found: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as cache:
        env = {**os.environ, "PYTHONPATH": str(code), "FEATX_CACHE": cache}
        command = [sys.executable, __file__, str(path), "--run", part, "--draws", str(args.draws), *more]
        if args.probes and part == "nine":
            command += ["--probes", *args.probes]
        child = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        timed_out = False
        try:
            out, err = child.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            timed_out = True
            child.kill()
            out, err = child.communicate()
        if child.returncode and not timed_out:
            raise SystemExit(f"{' '.join(command)}\n{err}")
        for line in out.splitlines():
            if line.startswith("RESULT "):
                told = json.loads(line.removeprefix("RESULT "))
                found[told["label"]] = found.get(told["label"], {}) | told
    return found


def compare_codes(part: str, path: Path, args, *more: str) -> None:
    """Measure a part with each checkout in turn, print medians and ratios."""
    codes = {"new": Path(__file__).parents[2], **({"old": Path(args.old)} if args.old else {})}
    rounds: dict[str, list] = {name: [] for name in codes}
    for _ in range(args.rounds):
        for name, code in codes.items():
            rounds[name].append(run(part, path, code, args, *more, limit=args.limit))
    for name, found in rounds.items():
        if not any(found):
            print(f"{part} {' '.join(args.probes or ())} [{name}]: stopped after {args.limit:.0f} s")
    for label in dict.fromkeys(label for all_rounds in rounds.values() for f in all_rounds for label in f):
        cpu = {}
        for name, found in rounds.items():
            times = [each[label] for each in found if "cpu" in each.get(label, {})]
            if not times:
                print(f"{label} [{name}]: stopped after {args.limit:.0f} s", flush=True)
                continue
            cpu[name] = statistics.median(t["cpu"] for t in times)
            wall = statistics.median(t["wall"] for t in times)
            rest = {k: v for k, v in times[-1].items() if k not in ("label", "cpu", "wall")}
            print(f"{label} [{name}]: {cpu[name]:.2f} CPU s, {wall:.2f} s {rest or ''}", flush=True)
        if len(cpu) == 2:
            print(f"{label}: {cpu['old'] / cpu['new']:.1f} times", flush=True)


def compare_with_search(path: Path, args) -> None:
    """Print the seconds of `fit_probe` and of both searches for each probe, and the ratios."""
    code = Path(__file__).parents[2] if args.old is None else Path(args.old)
    names = args.probes or NINE
    totals: dict[str, float] = {"fit_probe": 0.0, "sample": 0.0, "all": 0.0}
    print(f"fit_probe of {code}, then GridSearchCV on a sample of {SELECTION_ROWS} or on all rows; CPU s")
    for name in names:
        times = [run("probe", path, code, args, "--only", name).popitem()[1] for _ in range(args.rounds)]
        ours = statistics.median(t["cpu"] for t in times)
        totals["fit_probe"] += ours
        said = f"{name:12s} fit_probe {ours:8.2f} {times[-1]['chosen']}"
        for on in args.on.split("+"):
            found = run("search", path, code, args, "--only", name, "--on", on, limit=args.limit)
            told = found.get(name, {})
            complete = "cpu" in told
            spent = told.get("cpu", told.get("so far", args.limit or 0.0))
            totals[on] += spent
            at_least = "" if complete else f"at least, stopped after {told.get('fits', 0)} fits "
            said += f" | {on} {at_least}{spent:8.2f} ({spent / ours:.1f} times) {told.get('chosen', '')}"
        print(said, flush=True)
    shared = run("probe", path, code, args, "--only", "+".join(names)).popitem()[1]["cpu"]
    ratios = ", ".join(f"{on} {totals[on] / totals['fit_probe']:.1f}" for on in args.on.split("+"))
    print(
        f"over all: fit_probe {totals['fit_probe']:.1f} alone, {shared:.1f} in one process; times: {ratios}"
    )


def write_part(source: Path, folder: Path, n_train: int | None, n_test: int | None) -> Path:
    from featx import load_features

    chosen = choose_rows(load_features(source), n_train, n_test)
    path = folder / f"rows-{n_train}-{n_test}.h5"
    chosen.save(path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("features")
    parts = ("compare", "nine", "nine-full", "penalties", "grid", "curve", "million")
    parser.add_argument("--part", nargs="+", choices=parts, default=["compare", "nine", "curve"])
    parser.add_argument("--old", metavar="PATH", help="another checkout of featx to measure in turn")
    parser.add_argument("--rows", type=int, nargs=2, default=[8000, 1000], metavar=("TRAIN", "TEST"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--probes", nargs="+", help="of nine and grid; default: all nine")
    parser.add_argument("--limit", type=float, help="stop a run, or a search, after so many seconds")
    parser.add_argument("--draws", type=int, default=16, help="of curve")
    parser.add_argument("--on", default="sample+all", help="of grid: rows of GridSearchCV")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        import_everything()
        RUNS[args.run](args.features, args)
        return
    source = Path(args.features)
    with tempfile.TemporaryDirectory() as folder:
        for part in args.part:
            whole = part in ("nine-full", "penalties", "curve", "million")
            path = source if whole else write_part(source, Path(folder), *args.rows)
            if part == "million":
                write_million(path := Path(folder) / "million.h5")
            print(f"# {part}", flush=True)
            if part == "grid":
                compare_with_search(path, args)
            else:
                compare_codes(part.removesuffix("-full"), path, args)


if __name__ == "__main__":
    main()
