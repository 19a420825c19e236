import h5py
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import balanced_accuracy_score

from featx import Features, open_features
from featx.errors import FeaturesError, InputError
from featx.estimators.model_file.classifier import describe, rebuild
from featx.methods.probes import block_gaussian, fit_probe, row_blocks
from featx.methods.probes.block_moments import sum_moments
from featx.methods.probes.fitting import fit_to
from featx.methods.probes.large_sets import fit_in_blocks
from featx.methods.probes.probe import Problem
from featx.methods.probes.row_blocks import RowBlocks, rows_of
from featx.methods.probes.table import get_probe
from featx.methods.probes.temperature import fit_sharpness, log_scores, score_kind
from featx.methods.probes.training_rows import TrainingRows
from featx.studies.evaluation.cells import LabelledRows


def overlapping(n=5500, dim=12, classes=3, seed=0, shares=None):
    rng = np.random.default_rng(seed)
    y = rng.choice(classes, n, p=shares)
    centres = rng.normal(size=(classes, dim))
    X = 0.5 * centres[y] + rng.normal(size=(n, dim)) * np.geomspace(0.3, 3, dim) + 5
    return X.astype(np.float32), y


BALANCED = overlapping()
IMBALANCED = overlapping(classes=2, shares=[0.2, 0.8], seed=1)


@pytest.mark.parametrize("data", [BALANCED, IMBALANCED], ids=["balanced", "imbalanced"])
@pytest.mark.parametrize("name", ["logreg", "ridge", "lda", "naive-bayes", "nearest-centroid"])
def test_blocks_give_the_probe_that_rows_in_memory_give(name, data, monkeypatch):
    X, y = data
    whole = fit_probe(name, X, y, n_jobs=1)
    monkeypatch.setattr(row_blocks, "BLOCK", 1237)
    blocks = fit_to(name, TrainingRows(RowBlocks(X), y), n_jobs=1)
    assert blocks.params == whole.params
    assert blocks.notes == whole.notes
    np.testing.assert_array_equal(blocks.classes, whole.classes)
    expected = whole.estimator.estimator_
    train, held = TrainingRows(X, y).folds[0]
    scores = log_scores(clone(expected).fit(X[train], y[train]), X[held], score_kind(expected))
    assert blocks.estimator.temperature_ == pytest.approx(1 / fit_sharpness(scores, y[held]), rel=0.02)
    alone = balanced_accuracy_score(y[held], scores.argmax(axis=1))
    assert blocks.cv_score == pytest.approx(alone if name == "nearest-centroid" else whole.cv_score)
    inner, kind = blocks.estimator.estimator_, score_kind(expected)
    np.testing.assert_allclose(log_scores(inner, X, kind), log_scores(expected, X, kind), atol=0.02)
    again = rebuild(*describe(blocks.estimator, len(blocks.classes)), len(blocks.classes))
    np.testing.assert_array_equal(again.predict_proba(X), blocks.predict_proba(X))
    assert (inner.predict(X) == expected.predict(X)).mean() > 0.999


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("lda", {"lda__shrinkage": "auto"}),
        ("lda", {"lda__shrinkage": "auto", "lda__priors": [0.5, 0.5]}),
        ("lda", {"lda__shrinkage": 0.1, "lda__priors": [0.5, 0.5]}),
        ("ridge", {"ridge__alpha": 3.0, "ridge__class_weight": "balanced"}),
        ("naive-bayes", {"bayes__var_smoothing": 0.1, "bayes__priors": [0.5, 0.5]}),
        ("logreg", {"logreg__C": 0.1, "logreg__class_weight": "balanced", "logreg__tol": 1e-9}),
    ],
)
def test_closed_forms_are_those_of_scikit_learn(name, settings, monkeypatch):
    X, y = IMBALANCED
    monkeypatch.setattr(block_gaussian, "_CLASS_BYTES", 1)  # one class at a time
    estimator, _ = get_probe(name).build(Problem(len(y), 2, X.shape[1], imbalanced=True))
    estimator.set_params(**settings)
    train = np.random.default_rng(0).permutation(len(y))[:4000]
    rows = TrainingRows(RowBlocks(X), y)
    part = np.full(len(y), -1)
    part[train] = 0
    (sums,) = sum_moments(rows, part, 1)
    found = fit_in_blocks(clone(estimator), rows, train, sums)
    reference = estimator.fit(X[train].astype(np.float64), y[train])
    kind = score_kind(found)
    np.testing.assert_allclose(log_scores(found, X, kind), log_scores(reference, X, kind), atol=3e-3)


def test_numbers_are_fitted_in_blocks():
    X, _ = BALANCED
    y = X @ np.arange(X.shape[1]) + np.random.default_rng(0).normal(size=len(X))
    whole = fit_probe("ridge", X, y, task="numbers", n_jobs=1)
    blocks = fit_to("ridge", TrainingRows(RowBlocks(X), y, task="numbers"), n_jobs=1)
    assert blocks.params == whole.params
    np.testing.assert_allclose(blocks.predict(X), whole.predict(X), rtol=1e-4, atol=1e-3)


def test_a_probe_that_needs_all_rows_takes_a_stated_sample(monkeypatch):
    X, y = overlapping(n=600)
    monkeypatch.setattr(row_blocks, "IN_MEMORY", 1000)
    monkeypatch.setattr("featx.methods.probes.fit_plan.SAMPLE", 200)
    fitted = fit_probe("knn", X, y, n_jobs=1)
    n = len(fitted.estimator.estimator_.steps[-1][1]._fit_X)
    assert abs(n - 200) < 3
    assert fitted.notes == [
        f"fitted on a stratified sample of {n} of 600 training images: knn needs all rows in memory"
    ]


def test_a_study_reads_large_rows_in_blocks_and_small_ones_at_once(monkeypatch):
    X, y = overlapping(n=400)
    train = np.arange(0, 400, 2)
    rows = LabelledRows(X, y, 3)
    assert isinstance(rows.training_rows(train, 0).X, np.ndarray)
    monkeypatch.setattr(row_blocks, "IN_MEMORY", 1000)
    found = rows.training_rows(train, 1).X
    assert isinstance(found, RowBlocks)
    np.testing.assert_array_equal(found[:], X[train])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4", np.int16])
def test_rows_of_any_source_in_any_order(dtype, tmp_path):
    X = (9 * np.random.default_rng(0).normal(size=(500, 5))).astype(dtype)
    at = np.random.default_rng(1).permutation(500)[:300]
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        sources = X, file.create_dataset("x", data=X, chunks=(7, 5))
        for source in sources:
            rows = RowBlocks(source, at)
            wide = np.float64 if dtype is np.float64 else np.float32
            assert rows.dtype == rows[:].dtype == wide
            np.testing.assert_array_equal(rows[:], X[at].astype(wide))
            np.testing.assert_array_equal(rows.take(np.array([5, 2]))[:], X[at[[5, 2]]].astype(wide))
            np.testing.assert_array_equal(rows[np.array([], int)], np.empty((0, 5)))


def test_many_rows_are_predicted_in_blocks(monkeypatch):
    X, y = overlapping(n=400)
    fitted = fit_probe("ridge", X, y, n_jobs=1)
    expected, labels = fitted.predict_proba(X), fitted.predict(X)
    monkeypatch.setattr("featx.methods.probes.fitted._TOGETHER", 1000)
    monkeypatch.setattr(row_blocks, "BLOCK", 37)
    sizes, predict = [], fitted.estimator.predict_proba
    monkeypatch.setattr(
        fitted.estimator, "predict_proba", lambda rows: sizes.append(len(rows)) or predict(rows)
    )
    np.testing.assert_allclose(fitted.predict_proba(X), expected, rtol=1e-5)
    assert max(sizes) == 37
    np.testing.assert_array_equal(fitted.predict(X.tolist()), labels)


def test_rows_that_are_not_finite_are_refused_by_number(monkeypatch):
    X, y = overlapping(n=400)
    X[[77, 300], 3] = np.nan
    monkeypatch.setattr(row_blocks, "IN_MEMORY", 1000)
    monkeypatch.setattr(row_blocks, "BLOCK", 50)
    with pytest.raises(InputError, match=r"row 77 are not finite \(2 such rows\)"):
        fit_probe("ridge", X, y)


def test_a_damaged_file_is_named(tmp_path, monkeypatch):
    X, _ = overlapping(n=4000)
    path = tmp_path / "rows.h5"
    Features(X, [str(i) for i in range(len(X))]).save(path)
    content = bytearray(path.read_bytes())
    at = content.find(X[2000].tobytes())
    content[at] ^= 255
    path.write_bytes(content)
    monkeypatch.setattr(row_blocks, "IN_MEMORY", 1000)
    with open_features(path) as file, pytest.raises(FeaturesError, match=r"rows\.h5: the rows asked for are"):
        rows_of(file.embeddings)
