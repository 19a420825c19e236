"""What `featx.similarity`'s test does when two sets have scenes of one kind and differ by nothing.

``python tests/benchmarks/bench_similarity_null.py [--trials 2000]`` prints how often the permutation test of
MMD rejects at 5 %, by rows and by units, for several numbers of frames a scene and shares of the variance
that a scene's frames have in common; then how a linear classifier tells the two apart, on average. Expect
3.5 to 6.5 % by units and 50 %, and up to 100 % by rows.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
from frames import Sizes, frames_of, rejection_rate

from featx.analysis.distances import domain_classifier


def always(scenes: int, frames: int) -> Sizes:
    return lambda rng: np.full(scenes, frames)


def geometric(scenes: int, mean: float) -> Sizes:
    return lambda rng: rng.geometric(1 / mean, scenes)


def with_copies(images: int) -> Sizes:
    """A tenth of the images is there six times."""
    return lambda rng: np.where(rng.random(images) < 0.1, 6, 1)


CASES: dict[str, tuple[Sizes, Sizes, tuple[float, ...]]] = {
    "30 scenes of 5 | 30 of 5": (always(30, 5), always(30, 5), (0.9, 0.5, 0.0)),
    "60 scenes of 5 | 20 of 5": (always(60, 5), always(20, 5), (0.9, 0.5, 0.0)),
    "40 scenes of 1 to 20 | 20 such": (geometric(40, 5), geometric(20, 5), (0.9, 0.5, 0.0)),
    "100 single images | 20 of 10": (always(100, 1), always(20, 10), (0.9, 0.5, 0.0)),
    "40 single images | 100 of 5": (always(40, 1), always(100, 5), (0.9, 0.5, 0.0)),
    "6 scenes of 5 | 6 of 5": (always(6, 5), always(6, 5), (0.9, 0.5, 0.0)),
    "4 scenes of 20 | 8 of 20": (always(4, 20), always(8, 20), (0.9, 0.5, 0.0)),
    "100 images, copies of 10 % | 100 images": (with_copies(100), always(100, 1), (1.0,)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=2000)
    trials = parser.parse_args().trials
    print(f"rejections at 5 %, {trials} trials each (a tenth of them by rows)\n")
    print(f"{'sets':<44}{'in common':>10}{'by rows':>10}{'by units':>10}{'told apart':>12}")
    seen = []
    for name, (first, second, shares) in CASES.items():
        for icc in shares:
            by_rows = rejection_rate(first, second, icc, max(1, trials // 10), by_rows=True)
            by_units = rejection_rate(first, second, icc, trials, n_permutations=199)
            found = []
            for trial in range(min(20, trials)):
                rng = np.random.default_rng(trial)
                (x, u), (y, v) = frames_of(rng, first(rng), icc), frames_of(rng, second(rng), icc)
                found.append(1 - domain_classifier(x, y, units=np.append(u, v + u.max() + 1)).error)
            rates = f"{100 * by_rows:>8.1f} %{100 * by_units:>8.1f} %{100 * np.mean(found):>10.1f} %"
            print(f"{name:<44}{icc:>10.1f}{rates}", flush=True)
            seen.append(by_units)
    print(f"\nby units: {100 * min(seen):.1f} to {100 * max(seen):.1f} % in {len(seen)} cases")


if __name__ == "__main__":
    main()
