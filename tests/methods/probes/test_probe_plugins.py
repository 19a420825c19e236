"""Another package offers a probe as an entry point: it is found, fitted, and named where it is broken."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest

import featx.methods.probes.catalogue as catalogue
from featx import Features, compare
from featx.errors import InputError, UnknownName
from featx.methods.probes import CLASSIFIERS, Probe, fit_probe, get_probe, probe_names, table

MODULE = """
from sklearn.linear_model import SGDClassifier
from featx.methods.probes import Probe

def build(problem):
    return SGDClassifier(random_state=problem.seed), {"alpha": [1.0, 0.01]}

PROBE = Probe("sgd", "Stochastic gradient descent", build, calibrated=True)
TAKEN = Probe("lda", "Mine", build)
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a package with entry points as pip leaves it, for one test."""

    def install(*entries):
        (tmp_path / "sgd_probe.py").write_text(MODULE)
        about = tmp_path / "sgd_probe-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: sgd-probe\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text("\n".join(["[featx.probes]", *entries]))
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()

    monkeypatch.setattr(table, "_loaded", set())
    before = dict(CLASSIFIERS)
    yield install
    CLASSIFIERS.clear()
    CLASSIFIERS.update(before)
    sys.modules.pop("sgd_probe", None)


def test_a_probe_of_an_installed_package_is_fitted_when_it_is_asked_for(install, train, held_out):
    install("sgd = sgd_probe:PROBE")
    assert "sgd" not in probe_names()
    fitted = fit_probe("sgd", *train, n_jobs=1)
    assert fitted.title == "Stochastic gradient descent"
    assert fitted.params["alpha"] in (1.0, 0.01)
    assert (fitted.predict(held_out[0]) == held_out[1]).mean() > 0.6
    assert "sgd" in probe_names(on_request=True)
    # By default none is used: results do not depend on what is installed.
    assert "sgd" not in probe_names()
    assert get_probe("sgd").on_request


def test_compare_fits_it(install):
    install("sgd = sgd_probe:PROBE")
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    rows = (rng.normal(size=(60, 4)) + 2 * labels[:, None]).astype(np.float32)
    ids = [str(i) for i in range(60)]
    features = Features(rows, ids, labels=labels, classes=["a", "b"], space={"backbone": {}})
    result = compare(features, classifiers=["sgd", "lda"], baseline="none", ensemble=False)
    assert {m.title for m in result.methods} >= {
        "Stochastic gradient descent",
        "Linear discriminant analysis",
    }


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "sgd = not_there:PROBE",
            "the probe 'sgd' .* of sgd-probe cannot be used: No module named 'not_there'",
        ),
        ("sgd = sgd_probe:build", "expected a featx.methods.probes.Probe, got function"),
        ("lda = sgd_probe:TAKEN", "of sgd-probe cannot be used: there is a probe 'lda' for classes already"),
    ],
)
def test_a_package_that_cannot_be_used_is_named(install, entry, message):
    install(entry)
    for ask in (lambda: get_probe("unknown"), lambda: probe_names(on_request=True)):
        with pytest.raises(InputError, match=message):
            ask()
    assert get_probe("lda").title == "Linear discriminant analysis"  # others go on to work


def test_a_new_module_of_the_catalogue_is_all_that_a_probe_takes(tmp_path, monkeypatch):
    (tmp_path / "toy.py").write_text(MODULE + "PROBES = (PROBE,)\n")
    monkeypatch.setattr(catalogue, "__path__", [*catalogue.__path__, str(tmp_path)])
    found = table._read_catalogue()
    sys.modules.pop(f"{catalogue.__name__}.toy")
    assert [probe.name for probe in found if probe.task == "classes" and not probe.on_request][9:] == [
        "majority",
        "pixels",
        "filterbanks",
        "tfidf",
        "sgd",
    ]


def test_a_name_is_given_once():
    with pytest.raises(InputError, match="there is a probe 'lda' for classes already; choose another name"):
        table.register(Probe("lda", "Mine", lambda problem: None))
    with pytest.raises(UnknownName, match="unknown regressor 'rigde'; did you mean ridge"):
        get_probe("rigde", "numbers")
