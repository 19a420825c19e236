"""Studies and models of features whose rows stay in their file: they are read in blocks, never at once."""

from __future__ import annotations

import numpy as np
import pytest

from featx import Features, compare, learning_curve, load_features, train
from featx.data.features import features as features_module
from featx.data.features import file
from featx.data.features.stored_rows import StoredRows
from featx.methods.probes import fit_plan, row_blocks
from featx.studies import units

N, DIM = 1200, 8
SPACE = {
    "backbone": dict.fromkeys(("architecture", "source", "weights", "layer", "pooling"), "x"),
    "preprocessing": {},
    "precision": "fp32",
    "dtype": "float32",
}
QUIET = {"verbose": False, "n_jobs": 1}


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=N)
    rows = (rng.normal(size=(3, DIM))[y] + rng.normal(size=(N, DIM))).astype(np.float32)
    rows[-1] = rows[0]  # a test row that was trained on
    splits = np.where(np.arange(N) % 3 == 2, "test", "train")
    return Features(rows, [str(i) for i in range(N)], y, ("a", "b", "c"), splits, space=SPACE)


@pytest.fixture(params=[".h5", ".parquet"])
def path(request, features, tmp_path, monkeypatch):
    """A file of which few rows may be in memory."""
    if request.param == ".parquet":
        pytest.importorskip("pyarrow")
        from featx.data.features.writer import FeaturesWriter

        with FeaturesWriter(tmp_path / "f.parquet", features, DIM, np.float32, SPACE) as writer:
            writer.write(np.arange(N), features.embeddings)
            writer.finish()
    else:
        features.save(tmp_path / "f.h5")
    limit = 150 * DIM * 4
    for module in (file, row_blocks):
        monkeypatch.setattr(module, "IN_MEMORY", limit)
    monkeypatch.setattr(features_module, "_READ_AT_ONCE", limit)
    monkeypatch.setattr(units, "MOST_BYTES", limit)
    monkeypatch.setattr(fit_plan, "SAMPLE", 120)
    monkeypatch.setattr(row_blocks, "BLOCK", 100)
    monkeypatch.setattr(StoredRows, "__array__", lambda rows, *_: pytest.fail("all rows were read"))
    return tmp_path / f"f{request.param}"


def test_a_comparison_and_its_checks(features, path, tmp_path):
    names = ["logreg", "ridge", "lda", "naive-bayes", "nearest-centroid", "knn"]
    options = {"classifiers": names, "baseline": "none", "n_boot": 20, "cache": tmp_path / "c", **QUIET}
    found, expected = compare(path, **options), compare(features, **options)
    assert found.dataset["n_test"] == N // 3
    exact = [method.name for method in found.methods if method.name != "knn"]
    for name in exact:
        (one,), (other,) = ([m for m in r.methods if m.name == name] for r in (found, expected))
        assert one.metrics["top1"].value == pytest.approx(other.metrics["top1"].value, abs=0.006)
        assert one.params == other.params
    (knn,) = (method for method in found.methods if method.name == "knn")
    assert "of 800 training images: knn needs all rows in memory" in knn.notes[0]
    assert [pair["test"] for pair in found.hygiene["leaks"]["pairs"]] == [str(N - 1)]
    assert found.hygiene["label_errors"]["images"] == expected.hygiene["label_errors"]["images"]
    assert any("because their embeddings stay in their file" in note for note in found.findings)


def test_a_curve(path, tmp_path):
    curve = learning_curve(
        path, shots=[5, "all"], seeds=1, classifiers="ridge", cache=tmp_path / "c", **QUIET
    )
    assert len(curve.points) == 2
    assert any("because their embeddings stay in their file" in note for note in curve.warnings)


def test_a_model(features, path, tmp_path):
    model = train(path, classifier="ridge", cache=tmp_path / "c", verbose=False)
    expected = train(features, classifier="ridge", cache=tmp_path / "c", verbose=False)
    given = load_features(path)
    assert isinstance(given.embeddings, StoredRows)
    found = model.predict_proba(given)
    np.testing.assert_allclose(found, expected.predict_proba(features), atol=0.05)
