"""Learning curves of experiments from a population whose true accuracies are known.

Classes are normal distributions in the same features for all methods, plus features of each method's own that
are equally telling for all probes: probes are equally good by symmetry, yet not alike. A "fine-tuned" method
has many features of its own, which need more images: it is behind with few and ahead with many. All methods
are linear discriminants with a fixed ridge, or scikit-learn's logistic regression.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from featx.metrics import Interval
from featx.studies.curves.crossing import find_crossing
from featx.studies.curves.two_way import Pool, TwoWay, share_intervals

RIDGE = 0.3
SHARED, OWN, MORE = 8, 6, 60


@dataclass
class Population:
    """Classes whose means are `distance` from their common mean, in root mean square."""

    distance: float = 3.0
    n_probes: int = 1
    tuned: float | None = None  # the same distance in the features of the fine-tuned method
    worse: float = 0.0  # by this share the own features of each next probe tell less
    n_classes: int = 6
    logistic: bool = False
    means: list[np.ndarray] = field(init=False)

    def __post_init__(self):
        rng = np.random.default_rng(0)

        def draw_means(d: int, distance: float) -> np.ndarray:
            found = rng.standard_normal((self.n_classes, d))
            found -= found.mean(axis=0)
            return found * distance / np.sqrt((found**2).sum(axis=1).mean())

        shared, own = draw_means(SHARED, self.distance), draw_means(OWN, 0.6 * self.distance)
        self.means = [shared, *(own * (1 - self.worse * i) for i in range(self.n_probes))]
        if self.tuned is not None:
            self.means.append(draw_means(MORE, self.tuned))

    @property
    def n_methods(self) -> int:
        return len(self.means) - 1

    def sample(self, rng: np.random.Generator, y: np.ndarray) -> list[np.ndarray]:
        """Features (n, d) of images of the classes y, for each method."""
        shared, *own = (m[y] + rng.standard_normal((len(y), m.shape[1])) for m in self.means)
        return [np.hstack([shared, x]) for x in own]

    def predict(self, train: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Classes (n_draws, n) of x after training on each of some draws, (n_draws, n_classes, k, d)."""
        n_draws, n_classes, k, d = train.shape
        if self.logistic:
            from sklearn.linear_model import LogisticRegression

            y = np.repeat(np.arange(n_classes), k)
            return np.stack(
                [LogisticRegression(C=1.0, max_iter=300).fit(one.reshape(-1, d), y).predict(x) for one in train]
            )
        means = train.mean(axis=2)
        centred = (train - means[:, :, None]).reshape(n_draws, -1, d)
        scatter = np.einsum("jni,jnk->jik", centred, centred) / (n_classes * k) + RIDGE * np.eye(d)
        w = np.linalg.solve(scatter, means.transpose(0, 2, 1))
        offset = -0.5 * np.einsum("jcd,jdc->jc", means, w)
        return (np.einsum("nd,jdc->jnc", x, w) + offset[:, None]).argmax(axis=2)

    def true_accuracies(self, shots, n_draws: int = 2000, n_test: int = 1000) -> np.ndarray:
        """Mean accuracy (n_methods, n_levels) over fresh training sets; equal probes share theirs."""
        one = self
        if self.n_probes > 1 and not self.worse:
            one = Population(self.distance, 1, self.tuned, 0.0, self.n_classes, self.logistic)
            one.means = [self.means[0], self.means[1], *self.means[1 + self.n_probes :]]
        rng, together = np.random.default_rng(99), 20
        found = np.zeros((one.n_methods, len(shots)))
        for _ in range(n_draws // together):
            y_test = rng.integers(0, self.n_classes, n_test)
            test = one.sample(rng, y_test)
            for level, k in enumerate(shots):
                train = one.sample(rng, np.repeat(np.arange(self.n_classes), k * together))
                for m, x in enumerate(train):
                    draws = x.reshape(self.n_classes, together, k, -1).swapaxes(0, 1)
                    found[m, level] += (self.predict(draws, test[m]) == y_test).mean()
        found /= n_draws // together
        return found if one is self else np.vstack([np.repeat(found[:1], self.n_probes, 0), found[1:]])

    def right_answers(
        self, rng: np.random.Generator, shots, *, n_pool: int = 60, n_test: int = 240, n_draws: int = 10
    ) -> np.ndarray:
        """Whether each test image is right, (n_methods, n_levels, n_draws, n_test), in one experiment."""
        train = self.sample(rng, np.repeat(np.arange(self.n_classes), n_pool))
        y_test = rng.integers(0, self.n_classes, n_test)
        test = self.sample(rng, y_test)
        orders = rng.permuted(np.tile(np.arange(n_pool), (n_draws, self.n_classes, 1)), axis=2)
        found = np.empty((self.n_methods, len(shots), n_draws, n_test))
        for m, (x, own) in enumerate(zip(train, test, strict=True)):
            by_class = x.reshape(self.n_classes, n_pool, -1)
            for level, k in enumerate(shots):
                draws = by_class[np.arange(self.n_classes)[:, None], orders[:, :, :k]]
                found[m, level] = self.predict(draws, own) == y_test
        return found


def point_intervals(right: np.ndarray, pool: Pool) -> list[Interval]:
    """The interval of each level, from right answers (n_levels, n_draws, n_test) of a method."""
    found = TwoWay(right, pool.matrix()).estimate(np.eye(len(right)))
    return share_intervals(found, right.shape[-1])


def interval_coverage(
    population: Population, shots, experiments: int, *, n_pool: int = 60, seed: int = 1, **sizes
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How often the interval has the true accuracy, and lies above it, and its mean width, at each level."""
    truth = population.true_accuracies(shots)[0]
    pool, rng = Pool.of(np.array(shots) / n_pool), np.random.default_rng(seed)
    held, above, width = np.zeros((3, len(shots)))
    for _ in range(experiments):
        right = population.right_answers(rng, shots, n_pool=n_pool, **sizes)[0]
        found = point_intervals(right, pool)
        low, high = (np.array([getattr(i, end) for i in found]) for end in ("low", "high"))
        held += (low <= truth) & (truth <= high)
        above += low > truth
        width += high - low
    return held / experiments, above / experiments, width / experiments


def true_crossing(gap: np.ndarray, shots) -> float:
    """The last change from behind to ahead, by logarithm: 0 before the first level, infinite beyond the last."""
    behind = np.flatnonzero(gap <= 0)
    if not len(behind) or behind[-1] == len(gap) - 1:
        return math.inf if len(behind) else 0.0
    at, log_k = behind[-1], np.log(shots)
    return float(np.exp(np.interp(0, gap[at : at + 2], log_k[at : at + 2])))


def crossing_coverage(
    population: Population, shots, experiments: int, *, n_pool: int = 60, seed: int = 1, **sizes
) -> dict[str, float]:
    """How often the interval has the true crossing with the best of several probes, and what is estimated."""
    truth = population.true_accuracies(shots)
    star = true_crossing(truth[-1] - truth[:-1].max(axis=0), shots)
    pool, rng = Pool.of(np.array(shots) / n_pool), np.random.default_rng(seed)
    lows, highs, places = [], [], []
    for e in range(experiments):
        right = population.right_answers(rng, shots, n_pool=n_pool, **sizes)
        found = find_crossing(
            right[-1],
            right[:-1],
            np.array(shots, float),
            pool=pool,
            size=right.shape[-1],
            method="tuned",
            backbone=None,
            rivals=[f"probe {i}" for i in range(population.n_probes)],
            n_resamples=1,
            seed=e,
        )
        ahead = found.status == "before"
        places.append(found.shots if found.status == "within" else 0.0 if ahead else math.inf)
        lows.append(0.0 if found.low is None and found.status != "none" else found.low or 0.0)
        highs.append(math.inf if found.high is None and not ahead else found.high or math.inf)
    return {
        "true": star,
        "median": float(np.median(places)),
        "held": float(np.mean((np.array(lows) <= star) & (star <= np.array(highs)))),
        "late": float(np.mean(np.array(lows) > star)),
        "early": float(np.mean(np.array(highs) < star)),
    }
