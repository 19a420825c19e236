"""Check that scikit-learn's tools send each image through each (backbone, layer, precision) exactly once."""

from __future__ import annotations

import pickle
import threading
from collections import Counter

import numpy as np
import pytest
import torch
from joblib import parallel_backend
from own_modules import SMALL, Branching, Encoder, seeded
from pictures import BACKBONE, OTHER, QUICK, write_photos
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, cross_val_score, learning_curve
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import featx.engines
from featx import FeatureExtractor
from featx.cache import Cache
from featx.cache.header import open_shard
from featx.engines.torch import TorchEngine
from featx.extraction import forget_reused

LAYERS = ["features.3", "features.7"]
CS = [0.01, 0.1, 1.0]


@pytest.fixture
def paths(photos):
    return sorted(photos.rglob("*.png"))


@pytest.fixture
def labels(paths):
    return [path.parent.name for path in paths]


@pytest.fixture
def passes(monkeypatch):
    """How often each image went through each network to get a row; not counting parity checks.

    The keys are backbone, length of the row, precision and the preprocessed pixels.
    """
    counts: Counter = Counter()
    lock, here = threading.Lock(), threading.local()
    call, measure = TorchEngine.__call__, featx.engines.measure_parity

    def counted(self, batch):
        rows = call(self, batch)
        if not getattr(here, "comparing", False):
            with lock:
                space = self.backbone.name, rows.shape[1], self.precision
                counts.update((*space, image.tobytes()) for image in batch)
        return rows

    def comparing(*args, **kwargs):
        here.comparing = True
        try:
            return measure(*args, **kwargs)
        finally:
            here.comparing = False

    monkeypatch.setattr(TorchEngine, "__call__", counted)
    monkeypatch.setattr(featx.engines, "measure_parity", comparing)
    return counts


def once(passes, images, spaces=1):
    """Whether each image was embedded in each space exactly once."""
    return len(passes) == images * spaces and set(passes.values()) == {1}


def extractor(**options):
    return FeatureExtractor(**(QUICK | options))


def pipe(**options):
    return Pipeline([("rows", extractor(**options)), ("scale", StandardScaler()), ("probe", logistic())])


def logistic():
    return LogisticRegression(max_iter=1000)


def committed(root):
    """For each space, how many rows it has, and how many were ever written into its files."""
    return [
        (info.rows, sum(open_shard(path).n_rows for path in info.path.rglob("*.h5")))
        for info in Cache(root).info()
    ]


def test_cross_validation(passes, paths, labels):
    scores = cross_val_score(pipe(), paths, labels, cv=4)
    assert scores.mean() > 0.5
    assert once(passes, len(paths))
    cross_val_score(pipe(), paths[::-1], labels[::-1], cv=3)
    assert once(passes, len(paths))


def test_a_search_over_backbones_layers_and_classifiers(passes, paths, labels):
    grid = {"rows__backbone": [BACKBONE, OTHER], "rows__layer": LAYERS, "probe__C": CS}
    GridSearchCV(pipe(), grid, cv=2, error_score="raise").fit(paths, labels)
    assert once(passes, len(paths), spaces=4)


def test_layers_that_were_extracted_together_cost_nothing_one_by_one(passes, paths, labels):
    for backbone in (BACKBONE, OTHER):
        extractor(backbone=backbone, layer=LAYERS).fit_transform(paths)
    assert once(passes, len(paths), spaces=2)
    grid = {"rows__backbone": [BACKBONE, OTHER], "rows__layer": LAYERS, "probe__C": CS}
    GridSearchCV(pipe(), grid, cv=2, error_score="raise").fit(paths, labels)
    assert once(passes, len(paths), spaces=2)


def test_a_precision_is_a_space_of_its_own(passes, paths):
    for _ in range(2):
        for precision in ("fp32", "bf16"):
            extractor(precision=precision).transform(paths)
    assert once(passes, len(paths), spaces=2)
    assert {precision for _, _, precision, _ in passes} == {"fp32", "bf16"}


def test_a_halving_search(passes, paths, labels):
    grid = {"rows__layer": LAYERS, "probe__C": CS}
    resources = {"min_resources": 12, "factor": 2, "random_state": 0}
    search = HalvingGridSearchCV(pipe(), grid, cv=2, error_score="raise", **resources).fit(paths, labels)
    assert search.n_resources_ == [12, 24]
    assert len(passes) > len(paths)
    assert set(passes.values()) == {1}


def test_learning_curve(passes, paths, labels):
    learning_curve(
        pipe(),
        paths,
        labels,
        cv=3,
        train_sizes=[0.3, 0.6, 1.0],
        shuffle=True,
        random_state=0,  # some draws of a third of the images have one class
        error_score="raise",
    )
    assert once(passes, len(paths))


def test_a_pipeline_with_a_memory_of_its_own(passes, paths, labels, tmp_path):
    remembering = pipe().set_params(memory=str(tmp_path / "joblib"))
    GridSearchCV(remembering, {"probe__C": CS}, cv=2, error_score="raise").fit(paths, labels)
    assert once(passes, len(paths))


def test_a_union_of_extractors(passes, paths, labels):
    both = FeatureUnion(
        [("one", extractor()), ("other", extractor(backbone=OTHER)), ("again", clone(extractor()))]
    )
    scores = cross_val_score(make_pipeline(both, StandardScaler(), logistic()), paths, labels, cv=3)
    assert scores.mean() > 0.5
    assert once(passes, len(paths), spaces=2)


def test_a_stack_of_pipelines(passes, paths, labels):
    members = [
        ("linear", pipe()),
        ("bayes", make_pipeline(extractor(), GaussianNB())),
        ("other", pipe(layer=LAYERS[0])),
    ]
    stack = StackingClassifier(members, logistic(), cv=2)
    stack.fit(paths, labels).predict(paths)
    assert once(passes, len(paths), spaces=2)


def test_calibrated_probabilities(passes, paths, labels):
    calibrated = CalibratedClassifierCV(pipe(), cv=2).fit(paths, labels)
    calibrated.predict_proba(paths)
    assert once(passes, len(paths))


def test_new_images_alone_cost_a_pass(passes, paths, labels, tmp_path):
    fitted = pipe().fit(paths, labels)
    new = sorted(write_photos(tmp_path / "new", 2, seed=500).rglob("*.png"))
    fitted.predict([*paths, *new, *new])
    assert once(passes, len(paths) + len(new))


def test_threads_of_a_search_share_the_passes_and_score_as_one(passes, paths, labels):
    grid = {"rows__layer": LAYERS, "probe__C": CS}
    with parallel_backend("threading"):
        threaded = GridSearchCV(pipe(), grid, cv=2, n_jobs=2, error_score="raise").fit(paths, labels)
    assert once(passes, len(paths), spaces=2)
    serial = GridSearchCV(pipe(), grid, cv=2, error_score="raise").fit(paths, labels)
    assert once(passes, len(paths), spaces=2)
    np.testing.assert_array_equal(
        threaded.cv_results_["mean_test_score"], serial.cv_results_["mean_test_score"]
    )


def test_processes_of_a_search_compute_each_row_once_and_score_as_one(paths, labels, tmp_path):
    grid = {"rows__layer": LAYERS, "probe__C": CS}
    # Workers may be older than this test's environment, so the root is a parameter.
    among = GridSearchCV(pipe(cache=tmp_path / "c"), grid, cv=2, n_jobs=2, refit=False, error_score="raise")
    with parallel_backend("loky", inner_max_num_threads=1):
        among.fit(paths, labels)
    assert committed(tmp_path / "c") == [(len(paths), len(paths))] * len(LAYERS)
    alone = GridSearchCV(pipe(cache=tmp_path / "d"), grid, cv=2, refit=False, error_score="raise")
    alone.fit(paths, labels)
    assert committed(tmp_path / "d") == [(len(paths), len(paths))] * len(LAYERS)
    np.testing.assert_array_equal(among.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])


def test_processes_share_the_rows_of_a_network_of_the_users(paths, labels, tmp_path):
    def search(module, n_jobs=2, cache="c"):
        rows = FeatureExtractor(module, preprocessing=SMALL, engine="eager", cache=tmp_path / cache)
        pipe = make_pipeline(rows, logistic())
        grid = {"logisticregression__C": [0.1, 1.0]}
        found = GridSearchCV(pipe, grid, cv=2, n_jobs=n_jobs, refit=False, error_score="raise")
        return found.fit(paths, labels).cv_results_["mean_test_score"]

    modules = [seeded(kind) for kind in (Encoder, Branching)]
    n = len(paths)
    with parallel_backend("loky", inner_max_num_threads=1):
        scores = [search(module) for module in modules]
        assert committed(tmp_path / "c") == [(n, n)] * 2
        with torch.no_grad():
            modules[0].fc.weight.mul_(2)
        search(modules[0])
        assert committed(tmp_path / "c") == [(n, n)] * 3
    with torch.no_grad():
        modules[0].fc.weight.div_(2)
    alone = [search(module, None, "d") for module in modules]
    np.testing.assert_array_equal(alone, scores)
    # Processes have hash seeds of their own, and agree on the identities all the same.
    assert {info.path.name for info in Cache(tmp_path / "d").info()} <= {
        info.path.name for info in Cache(tmp_path / "c").info()
    }


def test_a_pickle_goes_on_under_another_cache(passes, paths, labels, tmp_path, monkeypatch):
    monkeypatch.setenv("FEATX_CACHE", str(tmp_path / "here"))
    fitted = pipe().fit(paths, labels)
    expected = fitted.predict_proba(paths)
    pickled = pickle.dumps(fitted)
    assert str(tmp_path / "here").encode() not in pickled
    forget_reused()
    monkeypatch.setenv("FEATX_CACHE", str(tmp_path / "there"))
    again = pickle.loads(pickled)
    np.testing.assert_allclose(again.predict_proba(paths), expected, rtol=1e-5, atol=1e-6)
    assert committed(tmp_path / "here") == committed(tmp_path / "there") == [(len(paths), len(paths))]
    assert set(passes.values()) == {2}  # once for each cache
