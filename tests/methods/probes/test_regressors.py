"""Regressors on frozen features: chosen on the training rows alone."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from featx.errors import InputError, UnknownName
from featx.methods.probes import fit_probe, probe_names

fit = partial(fit_probe, task="numbers")


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((120, 12)).astype(np.float32)
    return x, 100 + 5 * (x @ rng.standard_normal(12)) + rng.normal(0, 0.5, 120)


@pytest.mark.parametrize("name", probe_names("numbers"))
def test_every_regressor_beats_the_mean(problem, name):
    x, y = problem
    fitted = fit(name, x[:80], y[:80])
    floor = fit("mean", x[:80], y[:80])
    assert fitted.kind == "probe"
    assert floor.kind == "floor"
    errors = [np.abs(f.predict(x[80:]) - y[80:]).mean() for f in (fitted, floor)]
    assert errors[0] < 0.95 * errors[1]


def test_ridge_finds_the_penalty_that_suits(problem):
    x, y = problem
    fitted = fit("ridge", x, y)
    assert fitted.params["alpha"] <= 1.2
    assert fitted.cv_score > 0.97
    noise = fit("ridge", x, np.random.default_rng(1).standard_normal(120))
    assert noise.params["alpha"] == 1200


def test_no_group_is_on_both_sides_of_a_fold():
    # Rows of a group are copies with one number: only a fold that splits groups could predict them.
    rng = np.random.default_rng(0)
    x = np.repeat(rng.standard_normal((12, 30)), 5, axis=0).astype(np.float32)
    y = np.repeat(rng.standard_normal(12), 5)
    groups = np.repeat(np.arange(12), 5)
    assert fit("knn", x, y).cv_score > 0.9
    assert fit("knn", x, y, groups=groups).cv_score < 0.5


def test_the_same_seed_gives_the_same_predictions(problem):
    x, y = problem
    a, b = (fit("forest", x, y, seed=3).predict(x) for _ in range(2))
    np.testing.assert_array_equal(a, b)


def test_few_rows_or_one_group_leave_the_settings_and_say_so(problem):
    x, y = problem
    for options in ({"groups": np.zeros(20)}, {}):
        n = 20 if options else 3
        fitted = fit("ridge", x[:n], y[:n], **options)
        assert fitted.cv_score is None
        assert any("not selected" in note for note in fitted.notes)


def test_bad_input_is_refused(problem):
    x, y = problem
    with pytest.raises(UnknownName, match="unknown regressor 'rigde'; did you mean ridge"):
        fit("rigde", x, y)
    with pytest.raises(InputError, match="expected a finite number for each of 120 rows"):
        fit("ridge", x, np.where(np.arange(120) == 5, np.nan, y))
