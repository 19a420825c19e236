"""How the time of each probe grows with the rows: seconds of `fit_probe` for 1,000 to 50,000, slopes, a plot.

``OMP_NUM_THREADS=1 python tests/benchmarks/bench_growth.py FEATURES.h5 -o docs/growth.svg`` (rows of CIFAR-10
by MobileNetV2 at 224 px, 50,000 x 1,280 to train) fits each probe of the table on stratified samples. Printed
are CPU seconds, medians of ``--rounds``, and the slope s of each line, seconds ~ rows^s, by least squares on
logarithms: 1 means twice the time for twice the rows. A probe is not tried on more rows if it would take more
than ``--limit`` seconds by the line through its last two points. The figures are kept beside the plot, in
JSON; ``--draw`` draws the plot from them again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np

NINE = ("logreg", "svm", "rbf-svm", "knn", "lda", "ridge", "forest", "boosting", "naive-bayes")
SIZES = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
# Colours that the colour-blind tell apart (Okabe and Ito 2008), and marks that anyone does.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8A8A8A", "#999900", "#5A4FCF")
MARKS = "osD^vPX<>"


def measure(X: np.ndarray, y: np.ndarray, name: str, sizes, rounds: int, limit: float) -> dict[int, float]:
    """Return the CPU seconds of `fit_probe` by the number of rows."""
    from featx.methods.probes import fit_probe
    from featx.methods.probes.targets import stratified_sample

    found: dict[int, float] = {}
    few = stratified_sample(y, 300, 0)
    fit_probe(name, X[few], y[few], n_jobs=1)
    for size in sizes:
        if size > len(y):
            break
        if len(found) > 1:
            (n0, s0), (n1, s1) = list(found.items())[-2:]
            grown = max(np.log(s1 / s0) / np.log(n1 / n0), 1.0)
            if s1 * (size / n1) ** grown > limit:
                print(f"{name}: not tried on {size} rows, over {limit:.0f} s", flush=True)
                break
        rows = stratified_sample(y, size, 0)
        chosen, labels = X[rows], y[rows]
        seconds = []
        for _ in range(rounds if not found or found[max(found)] < 10 else 1):
            began = time.process_time()
            fit_probe(name, chosen, labels, n_jobs=1)
            seconds.append(time.process_time() - began)
        found[size] = statistics.median(seconds)
    return found


def slope(found: dict[int, float]) -> float:
    """Return s of seconds ~ rows^s."""
    return float(np.polyfit(np.log(list(found)), np.log(list(found.values())), 1)[0])


def draw(lines: dict[str, dict[int, float]], path: Path) -> None:
    """Write the plot."""
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.8), layout="constrained")
    axes = figure.add_subplot()
    for (name, found), colour, mark in zip(lines.items(), COLOURS, MARKS, strict=False):
        label = f"{name} ({slope(found):.2f})" if len(found) > 1 else name
        axes.plot(list(found), list(found.values()), color=colour, marker=mark, markersize=5, label=label)
    axes.set(xscale="log", yscale="log", xlabel="training rows of 1,280 values", ylabel="CPU seconds")
    axes.set_xticks(SIZES, [f"{n:,}" for n in SIZES])
    seconds = [s for found in lines.values() for s in found.values()]
    ticks = [s for s in (0.1, 0.3, 1, 3, 10, 30, 100) if min(seconds) / 2 < s < 2 * max(seconds)]
    axes.set_yticks(ticks, [f"{s:g}" for s in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, title="probe (slope)")
    with matplotlib.rc_context({"svg.hashsalt": "growth", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("features", nargs="?")
    parser.add_argument("-o", "--output", default="growth.svg")
    parser.add_argument("--probes", nargs="+", default=NINE)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=120, help="seconds that a fit may take")
    parser.add_argument("--draw", action="store_true", help="draw from the figures of an earlier run")
    args = parser.parse_args()
    output = Path(args.output)
    kept = output.with_suffix(".json")
    if args.draw:
        lines = {k: {int(n): s for n, s in v.items()} for k, v in json.loads(kept.read_text()).items()}
    else:
        if args.features is None:
            parser.error("FEATURES or --draw")
        from featx import load_features

        features = load_features(args.features)
        train = np.asarray(features.splits) != "test"
        X, y = features.embeddings[train], np.asarray(features.labels)[train]
        lines = {}
        for name in args.probes:
            lines[name] = measure(X, y, name, args.sizes, args.rounds, args.limit)
            kept.write_text(json.dumps(lines, indent=1) + "\n")
            said = ", ".join(f"{n:,}: {s:.2f}" for n, s in lines[name].items())
            grown = f"slope {slope(lines[name]):.2f}" if len(lines[name]) > 1 else ""
            print(f"{name:12s} {said}; {grown}", flush=True)
    draw(lines, output)


if __name__ == "__main__":
    main()
