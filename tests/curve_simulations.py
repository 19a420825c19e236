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
from featx.metrics.intervals import student_interval
from featx.studies.curves.crossing import crossing_bounds, last_crossing, score_rival
from featx.studies.curves.leaders import compare_methods
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
                [
                    LogisticRegression(C=1.0, max_iter=300).fit(one.reshape(-1, d), y).predict(x)
                    for one in train
                ]
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


def interval_rates(
    population: Population, shots, experiments: int, *, truth=None, n_pool: int = 60, seed: int = 1, **sizes
) -> dict[str, np.ndarray]:
    """How often the interval has the true accuracy, lies above it, and how wide it is, at each level.

    ``over_draws`` is how often Student's interval over the draws alone has it.
    """
    truth = population.true_accuracies(shots)[0] if truth is None else np.array(truth)
    pool, rng = Pool.of(np.array(shots) / n_pool), np.random.default_rng(seed)
    found = {name: np.zeros(len(shots)) for name in ("held", "above", "width", "over_draws")}
    for _ in range(experiments):
        right = population.right_answers(rng, shots, n_pool=n_pool, **sizes)[0]
        intervals = point_intervals(right, pool)
        low, high = (np.array([getattr(i, end) for i in intervals]) for end in ("low", "high"))
        plain = [student_interval(one, 1 / len(one), 0.95) for one in right.mean(axis=2)]
        found["held"] += (low <= truth) & (truth <= high)
        found["above"] += low > truth
        found["width"] += high - low
        found["over_draws"] += [i.low <= t <= i.high for i, t in zip(plain, truth, strict=True)]
    return {name: total / experiments for name, total in found.items()}


def true_crossing(gap: np.ndarray, shots) -> float:
    """The last change from behind to ahead, by logarithm: 0 before all levels, infinite beyond them."""
    return math.exp(last_crossing(gap, np.log(shots))[1])


def crossing_rates(
    population: Population, shots, experiments: int, *, truth=None, n_pool: int = 60, seed: int = 1, **sizes
) -> dict[str, float]:
    """How often the interval has the true crossing with the best of several probes, or lies beside it.

    ``median`` is that of the estimates; ``median_of_best``, if the rival is the probe of the highest mean.
    """
    log_k, star = np.log(shots), truth
    if star is None:
        accuracies = population.true_accuracies(shots)
        star = true_crossing(accuracies[-1] - accuracies[:-1].max(axis=0), shots)
    pool, rng = Pool.of(np.array(shots) / n_pool), np.random.default_rng(seed)
    found = np.empty((experiments, 4))
    for e in range(experiments):
        right = population.right_answers(rng, shots, n_pool=n_pool, **sizes)
        gaps = right[-1] - score_rival(right[:-1], np.random.default_rng(e))
        best = right[-1].mean(axis=(1, 2)) - right[:-1].mean(axis=(2, 3)).max(axis=0)
        ends = crossing_bounds(TwoWay(gaps, pool.matrix()), log_k, right.shape[-1])
        places = [last_crossing(one, log_k)[1] for one in (gaps.mean(axis=(1, 2)), best)]
        found[e] = np.exp([*places, *ends])
    _, _, low, high = found.T
    return {
        "true": star,
        "median": float(np.median(found[:, 0])),
        "median_of_best": float(np.median(found[:, 1])),
        "held": float(np.mean((low <= star) & (star <= high))),
        "late": float(np.mean(low > star)),
        "early": float(np.mean(high < star)),
    }


def leader_rates(
    population: Population, shots, experiments: int, *, level: int, n_pool: int = 60, seed: int = 1, **sizes
) -> dict[str, float]:
    """Of equal probes: how often any is told apart from the best; how much too high the best is, and said."""
    truth = population.true_accuracies(shots)[0, level]
    pool, rng = Pool.of(np.array(shots) / n_pool), np.random.default_rng(seed)
    apart, said, excess = [], [], []
    for e in range(experiments):
        right = population.right_answers(rng, shots, n_pool=n_pool, **sizes)
        means = right[:, level].mean(axis=(1, 2))
        best = int(means.argmax())
        lead = compare_methods(right, level, pool, right.shape[-1], best, n_resamples=1000, seed=e)
        apart.append(len(lead.not_told_apart) < population.n_probes - 1)
        said.append(lead.optimism)
        excess.append(means[best] - truth)
    return {"apart": np.mean(apart), "said": np.mean(said), "excess": np.mean(excess)}
