"""A definition changes with whatever changes the outcome, and with nothing else."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from featx.methods.probes import CLASSIFIERS, REGRESSORS, definition_of, fitting
from featx.methods.probes.catalogue import protocols
from featx.methods.probes.definitions import define
from featx.methods.probes.fitters.linear import LogisticFitter

Y = np.repeat(np.arange(4), 10)


def model(**changes):
    return Pipeline([("scale", StandardScaler()), ("logreg", LogisticRegression(**changes))])


def scaled(factor, x):
    return factor * x


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (model(C=1.0), model(C=1.0 + 1e-12)),
        (model(), Pipeline([("scale", StandardScaler(with_mean=False)), ("logreg", LogisticRegression())])),
        (model(), Pipeline([("logreg", LogisticRegression())])),
        (FunctionTransformer(np.log1p), FunctionTransformer(np.exp)),
        (FunctionTransformer(lambda x: x + 1), FunctionTransformer(lambda x: x + 2)),
        ({"C": [1, 2]}, {"C": [2, 1]}),
        ({"a": [1], "b": [2]}, {"b": [2], "a": [1]}),
        (1, 1.0),
        (np.arange(3), np.arange(3.0)),
        (np.arange(4), np.arange(4).reshape(2, 2)),
        ([None], [False]),
        (
            protocols.choose_penalty(protocols.DINOV2_CS, 0.1, weakest=False),
            protocols.choose_penalty(protocols.DINOV2_CS, 0.2, weakest=False),
        ),
        (
            protocols.choose_penalty(protocols.DINOV2_CS, 0.1, weakest=False),
            protocols.choose_penalty(protocols.DINOV2_CS, 0.1, weakest=True),
        ),
        (functools.partial(scaled, 1), functools.partial(scaled, 2)),
    ],
)
def test_what_differs_is_told_apart(one, other):
    assert define(one) == define(one)
    assert define(one) != define(other)
    json.dumps([define(one), define(other)])


def test_a_function_is_what_it_does_with_the_constants_it_names(monkeypatch):
    before = define(protocols.choose_neighbours)
    assert define(protocols.choose_neighbours) == before
    monkeypatch.setattr(protocols, "DINOV2_NEIGHBOURS", (5,))
    assert define(protocols.choose_neighbours) != before


def test_what_cannot_be_written_down_equals_nothing():
    class Odd:
        __slots__ = ()

    odd = Odd()
    assert define(odd) != define(odd)
    around: list = []
    around.append(around)
    assert define(around) != define(around)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_probe_has_a_definition_that_stays(name):
    text = json.dumps(definition_of(name, Y, 16))
    assert "once" not in text
    assert text == json.dumps(definition_of(name, Y, 16))
    assert len({json.dumps(definition_of(name, Y, dim, seed=3)) for dim in (8, 16)}) == 2


def test_a_definition_is_the_same_in_another_process():
    code = (
        "import json, numpy as np; from featx.methods.probes import CLASSIFIERS, definition_of; "
        "y = np.repeat(np.arange(4), 10); print(json.dumps([definition_of(n, y, 16) for n in CLASSIFIERS]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [definition_of(name, Y, 16) for name in CLASSIFIERS]


def test_the_grid_the_steps_and_the_choice_are_part_of_it(monkeypatch):
    lda = CLASSIFIERS["lda"]
    seen = [definition_of("lda", Y, 16)]

    def other_grid(task):
        estimator, grid = lda.build(task)
        return estimator, grid | {"lda__shrinkage": [0.3]}

    def other_step(task):
        estimator, grid = lda.build(task)
        return estimator.set_params(scale__with_std=False), grid

    for changed in (
        replace(lda, build=other_grid),
        replace(lda, build=other_step),
        replace(lda, fitter=LogisticFitter()),
    ):
        with monkeypatch.context() as patch:
            patch.setitem(CLASSIFIERS, "lda", changed)
            seen.append(definition_of("lda", Y, 16))
    for name, value in (("SELECTION_ROWS", 5), ("MOST_FOLDS", 2)):
        with monkeypatch.context() as patch:
            patch.setattr(fitting, name, value)
            seen.append(definition_of("lda", Y, 16))
    seen.append(definition_of("lda", np.concatenate([Y, np.zeros(30, int)]), 16))  # classes may be weighted
    texts = {json.dumps(one) for one in seen}
    assert len(texts) == len(seen)
    assert definition_of("lda", Y, 16) == seen[0]


def test_a_regressor_has_one_too():
    y = np.linspace(0, 1, 30)
    texts = {json.dumps(definition_of(name, y, 8, task="numbers")) for name in REGRESSORS}
    assert len(texts) == len(REGRESSORS)
    assert not texts & {json.dumps(definition_of(name, Y, 8)) for name in CLASSIFIERS}
