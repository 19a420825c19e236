"""What the intervals and crossings of learning curves do where the truth is known.

``python tests/benchmarks/bench_curve_null.py [--experiments 400]`` draws experiments from a population
(`curve_simulations`) with 60 training images a class and prints

- how often the 95 % intervals of the points have the true accuracy: expect 93 to 97 %, up to 98 % where the
  accuracy is above 0.97 or there are 100 test images or fewer; and how often Student's interval over the
  draws alone does, for contrast: expect 91 % to 0 %, falling with the shots;
- how often the interval of a crossing with nine equal probes has the true one (95 to 97 %), and whether the
  median estimate is late: about 16 where 16 is true, and 23 if the rival were the probe of the highest mean;
  with probes that differ by little the interval holds less (89 %) and the median is early by a tenth;
- how often one of nine equal probes is told apart from the best: at most 5 %; and how much too high its mean
  is, in truth and as said (equal).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

import curve_simulations as sim

SHOTS = (1, 5, 10, 20, 50, 60)


def percent(rates: np.ndarray) -> str:
    return "".join(f"{100 * rate:8.1f}" for rate in rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=400)
    parser.add_argument("--only", choices=("points", "crossings", "leaders"))
    options = parser.parse_args()
    n, only = options.experiments, options.only
    if only in (None, "points"):
        print(f"95 % intervals of points, {n} experiments; shots of 60:{percent(np.array(SHOTS) / 100)}\n")
        for what, population, sizes in (
            ("10 draws, 240 test images, accuracy 0.46 to 0.80", sim.Population(2.0), {}),
            ("10 draws, 240 test images, 0.70 to 0.94", sim.Population(3.0), {}),
            ("10 draws, 240 test images, 0.87 to 0.98", sim.Population(4.0), {}),
            ("10 draws, 100 test images, 0.70 to 0.94", sim.Population(3.0), {"n_test": 100}),
            ("10 draws, 2,000 test images, 0.70 to 0.94", sim.Population(3.0), {"n_test": 2000}),
            ("5 draws, 240 test images, 0.70 to 0.94", sim.Population(3.0), {"n_draws": 5}),
            ("3 draws, 240 test images, 0.70 to 0.94", sim.Population(3.0), {"n_draws": 3}),
            ("2 draws, 240 test images, 0.70 to 0.94", sim.Population(3.0), {"n_draws": 2}),
        ):
            rates = sim.interval_rates(population, SHOTS, n, **sizes)
            print(f"{what:<54}{percent(rates['held'])}")
            print(f"{'    above the truth':<54}{percent(rates['above'])}")
            print(f"{'    Student over draws alone':<54}{percent(rates['over_draws'])}", flush=True)
        few, logistic = max(10, n // 4), sim.Population(3.0, logistic=True)
        truth = logistic.true_accuracies(SHOTS, n_draws=400)[0]
        rates = sim.interval_rates(logistic, SHOTS, few, truth=truth)
        print(f"{f'logistic regression, {few} experiments':<54}{percent(rates['held'])}", flush=True)
    if only in (None, "crossings"):
        print(
            f"\n{'crossing with the best of 9 probes':<54}    held   early    late    true  median  of best"
        )
        for what, population, sizes in (
            ("equal probes", sim.Population(2.0, 9, 2.0), {}),
            ("equal probes, 1,000 test images", sim.Population(2.0, 9, 2.0), {"n_test": 1000}),
            ("each probe a little worse than the last", sim.Population(2.0, 9, 2.0, worse=0.03), {}),
            ("never ahead", sim.Population(2.0, 9, 1.5), {}),
            ("always ahead", sim.Population(2.0, 9, 3.5), {}),
        ):
            rates = sim.crossing_rates(population, SHOTS, n, **sizes)
            numbers = percent(np.array([rates[k] for k in ("held", "early", "late")]))
            places = "".join(f"{rates[k]:8.1f}" for k in ("true", "median", "median_of_best"))
            print(f"{what:<54}{numbers}{places}", flush=True)
    if only in (None, "leaders"):
        print(f"\n{'best of 9 equal probes':<54}   apart  excess    said")
        for level in (1, 3, 5):
            rates = sim.leader_rates(sim.Population(2.0, 9), SHOTS, n, level=level)
            numbers = percent(np.array([rates[k] for k in ("apart", "excess", "said")]))
            print(f"{f'{SHOTS[level]} shots, 240 test images':<54}{numbers}", flush=True)


if __name__ == "__main__":
    main()
