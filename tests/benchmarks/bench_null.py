"""What the tests and intervals of featx.metrics do when no method is better than another.

``python tests/benchmarks/bench_null.py [--experiments 4000]`` prints how often each test rejects at 5 %, and
how often 95 % intervals have the true value. Expect 5 % +- 1.5 for the tests, less from the exact McNemar
test where two methods disagree on few images, and far more from the plain t-test on repeated splits, which
is there for contrast.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import simulations as sim


def percent(*rates: float) -> str:
    return "".join(f"{100 * rate:>12.1f} %" for rate in rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=4000)
    n = parser.parse_args().experiments

    print(f"rejections at 5 %, {n} experiments each, no method better than another\n")
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

    print(f"\n95 % intervals of a mean over draws{'':<9}{'bootstrap':>14}{'Student':>14}")
    shapes = {
        "normal": (lambda rng, k: rng.standard_normal(k), 0.0),
        # An accuracy near 1 has a tail to the left.
        "skewed (beta 20, 1)": (lambda rng, k: rng.beta(20, 1, k), 20 / 21),
    }
    for name, (draw, truth) in shapes.items():
        for k in (3, 5, 10, 20, 30, 100):
            print(f"{f'  {k} draws, {name}':<44}" + percent(*sim.coverage(draw, truth, k, n)))


if __name__ == "__main__":
    main()
