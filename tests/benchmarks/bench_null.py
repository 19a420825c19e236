"""What tests and intervals of featx.metrics do where it is known which methods are equal and what is true.

``python tests/benchmarks/bench_null.py [--experiments 1000] [--only proportions classes ...]`` prints how
often each test rejects at 5 %, and how often 95 % intervals have the true value. The last lines name whatever
covers less than 93 % or rejects more than 6.5 %, and then what is on the safe side: above 97 %, below 3.5 %.
With 300 experiments, chance moves a rate by 2.5 points. Expect the first list to hold only

- what is marked as blind: it does not know the groups;
- macro F1 of two or three images a class, whose estimate is too low (89 to 92 %), and the log loss of a
  handful of mistakes made with high confidence, or R2 and RMSE of 20 numbers with heavy tails (92 %);
- in the part "splits", for contrast: tests against the best method, and the plain t-test on repeated splits.

Exact intervals and tests, which are nowhere below their level, fill the second one: few mistakes, few groups.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
import simulated_scores as scores
import simulations as sim

#: Groups of images: their sizes, and their intra-class correlations.
GROUPS = {
    "50 groups of 5": (np.full(50, 5), 0.5),
    "25 groups of 20": (np.full(25, 20), 0.9),
    "60 unequal groups": (
        np.maximum(1, np.random.default_rng(1).lognormal(1, 1, 60).round()).astype(int),
        0.5,
    ),
}
wrong: list[str] = []
cautious: list[str] = []


def one_each(n: int) -> np.ndarray:
    """Groups of a single image."""
    return np.ones(n, np.int64)


def note(line: str, is_wrong: bool, is_cautious: bool) -> None:
    if is_wrong or is_cautious:
        (wrong if is_wrong else cautious).append(f"  {line}")


def show(what: str, *, cover: dict[str, float] | None = None, reject: dict[str, float] | None = None) -> None:
    """Print rates of coverage and of rejection, and note those outside their bounds."""
    for name, rate in (cover or {}).items():
        note(f"{what}, {name}: {100 * rate:.1f} %", rate < 0.93, rate > 0.97)
    for name, rate in (reject or {}).items():
        note(f"{what}, {name}: {100 * rate:.1f} %", rate > 0.065, rate < 0.035)
    print(
        f"  {what:<50}" + "  ".join(f"{k} {100 * v:.1f}" for k, v in ((cover or {}) | (reject or {})).items())
    )


def percent(*rates: float) -> str:
    return "".join(f"{100 * rate:>12.1f} %" for rate in rates)


def proportions(n: int) -> None:
    """Top-1 over number of images, accuracy and groups."""
    print("\ntop-1: the interval has the true accuracy")
    for images in (20, 50, 100, 250, 1000):
        for p in (0.5, 0.8, 0.94, 0.99):
            rate, above, _ = scores.proportions(one_each(images), p, 0.0, n)
            show(f"{images} images, accuracy {p}", cover={"covers": rate})
            print(f"{'':<54}above the truth {100 * above:.1f}")
    for name, (sizes, icc) in GROUPS.items():
        for p in (0.5, 0.8, 0.9, 0.95, 0.99):
            blind = scores.proportions(sizes, p, icc, n, units=None)[0]
            rate, _, width = scores.proportions(sizes, p, icc, n)
            show(f"{name}, accuracy {p}", cover={"covers": rate, "blind": blind})
            print(f"{'':<54}mean width {width:.3f}")


def classes(n: int) -> None:
    """Metrics of classes over images, classes, accuracy, certainty and groups."""
    print("\nmetrics of classes: the interval has the true value")
    uneven = (0.6, 0.2, 0.1, 0.06, 0.04)
    for k, prior in ((2, None), (5, uneven), (20, None)):
        for skill, certainty in ((2.0, 1.0), (3.0, 3.0), (4.5, 1.0)):
            for images in (50, 250, 1000):
                rates = scores.classes(one_each(images), k, skill, n, certainty=certainty, prior=prior)
                show(f"{images} images, {k} classes, skill {skill}, certainty {certainty}", cover=rates)
    for name, (sizes, icc) in GROUPS.items():
        for skill in (2.0, 3.0):
            show(f"{name}, 4 classes, skill {skill}", cover=scores.classes(sizes, 4, skill, n, icc=icc))


def numbers(n: int) -> None:
    """Metrics of numbers over images, noise, tails and groups."""
    print("\nmetrics of numbers: the interval has the true value")
    for images in (20, 60, 250):
        for noise, tails in ((0.1, None), (0.5, None), (0.5, 8)):
            rates = scores.numbers(one_each(images), noise, n, tails=tails)
            show(f"{images} images, noise {noise}{f', t({tails})' if tails else ''}", cover=rates)
    show("60 groups of 4, noise 0.5", cover=scores.numbers(np.full(60, 4), 0.5, n, icc=0.5))
    for images in (20, 50, 100, 250, 1000):
        rates = scores.means(lambda rng, k: rng.exponential(1.0, k), 1.0, one_each(images), n)
        show(f"mean of {images} exponential losses", cover={"covers": rates[0]})


def anomalies(n: int) -> None:
    """Metrics of detectors over images, distance and groups."""
    print("\nmetrics of anomalies: the interval has the true value")
    for bad, good in ((20, 200), (50, 50), (100, 100), (500, 500)):
        for distance in (1.0, 2.5, 3.5):
            rates = scores.anomalies(one_each(bad), one_each(good), distance, n)
            show(f"{bad} anomalies, {good} normal images, {distance} apart", cover=rates)
    groups = np.full(40, 5)
    show("40 + 40 groups of 5, 2 apart", cover=scores.anomalies(groups, groups, 2.0, n, icc=0.5))


def pairs(n: int) -> None:
    """Paired tests and intervals over images, accuracy and groups."""
    print("\ntwo equal methods: rejected at 5 %")
    for images, p in ((50, 0.9), (250, 0.9), (1000, 0.8)):
        show(f"{images} images, accuracy {p}", reject=scores.paired_levels(one_each(images), p, 0.0, n))
    for name, (sizes, icc) in GROUPS.items():
        for p in (0.8, 0.95):
            show(f"{name}, accuracy {p}", reject=scores.paired_levels(sizes, p, icc, n))
            show(f"{name}, accuracy {p}, blind", reject=scores.paired_levels(sizes, p, icc, n, blind=True))
    for sizes, icc in ((one_each(40), 0.0), (np.full(25, 8), 0.5), (np.full(60, 4), 0.5)):
        rates = dict(zip(("sign flips", "interval"), scores.flip_levels(sizes, icc, n), strict=True))
        show(f"errors of {len(sizes)} groups of {sizes[0]}", reject=rates)
    print("\ntwo methods that differ: the interval has the true difference")
    for a, b, both in ((0.95, 0.95, 0.92), (0.9, 0.85, 0.8), (0.7, 0.6, 0.5), (0.99, 0.97, 0.96)):
        for images in (20, 50, 250, 1000):
            rate = scores.paired_coverage(images, a, b, both, n)
            show(f"{images} images, {a} and {b}", cover={"covers": rate})


def families(n: int) -> None:
    """Families of equal methods, and references."""
    print("\nsome of several equal methods told apart")
    for methods in (5, 12):
        for images, p in ((100, 0.9), (250, 0.95), (1000, 0.9)):
            rates = scores.family(methods, one_each(images), p, 0.0, n)
            show(f"{methods} methods, {images} images, accuracy {p}", reject=rates)
        for name, (sizes, icc) in GROUPS.items():
            show(f"{methods} methods, {name}", reject=scores.family(methods, sizes, 0.8, icc, n))
    show("5 methods, 200 images, numbers", reject=scores.family(5, one_each(200), 0.8, 0.0, n, numbers=True))
    show("9 methods, 3 references", reject={"max-T": scores.references(9, 3, one_each(200), 0.0, n)})
    print("\nexcess of the best of several equal methods, in points: true, estimated")
    for methods in (3, 9):
        for images, p in ((100, 0.9), (250, 0.9), (250, 0.95), (1000, 0.9)):
            true, estimated = scores.optimism(methods, images, p, n)
            what = f"{methods} methods, {images} images, accuracy {p}"
            print(f"  {what:<50}{100 * true:.2f}  {100 * estimated:.2f}")


def splits(n: int) -> None:
    """McNemar's test over disagreements, sign flips, repeated splits, Holm's method, Friedman's test."""
    print(f"\nrejections at 5 %, {n} experiments each, no method better than another\n")
    print(f"{'McNemar':<44}{'exact':>14}{'mid-p':>14}")
    for images, accuracy in ((100, 0.95), (240, 0.9), (1000, 0.8), (1000, 0.9), (5000, 0.9), (10000, 0.8)):
        disagree = round(images * accuracy * (1 - accuracy))
        what = f"  {images} images, accuracy {accuracy}, {disagree} disagreed on"
        print(f"{what:<44}" + percent(*sim.mcnemar_rates(images, accuracy, n)))
    print(f"\n{'sign flip':<44}")
    for images in (20, 60, 240):
        print(f"{f'  {images} images, skewed errors':<44}" + percent(sim.sign_flip_rate(images, n)))
    print(f"\n{'repeated splits, 4 : 1':<44}{'corrected t':>14}{'plain t':>14}{'interval has 0':>16}")
    for images, splits in ((100, 5), (100, 10), (200, 10), (200, 30), (500, 10)):
        rates = sim.resampled_rates(images, splits, n)
        print(f"{f'  {images} images, {splits} splits':<44}" + percent(*rates))
    print("\nany of several methods told apart from the best; adjusted:")
    print(f"{'':<44}{'none':>14}{'Holm':>14}{'over pairs':>14}{'chosen before':>14}")
    for methods in (5, 12):
        rates = sim.family_rates(methods, 1000, max(1, n // 2))
        print(f"{f'  {methods} methods against the best':<44}" + percent(*rates))
    print(f"\n{'Friedman':<44}{'F':>14}{'chi2':>14}")
    for methods, datasets in ((4, 10), (4, 30), (10, 10)):
        rates = sim.friedman_rates(methods, datasets, n)
        print(f"{f'  {methods} methods on {datasets} datasets':<44}" + percent(*rates))


PARTS = (proportions, classes, numbers, anomalies, pairs, families, splits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--only", nargs="*", default=[part.__name__ for part in PARTS])
    given = parser.parse_args()
    for part in PARTS:
        if part.__name__ in given.only:
            part(given.experiments)
    print("\ncovers less than 93 %, or rejects more than 6.5 %:", *(wrong or ["  nothing"]), sep="\n")
    print("\ncovers more than 97 %, or rejects less than 3.5 %:", *(cautious or ["  nothing"]), sep="\n")


if __name__ == "__main__":
    main()
