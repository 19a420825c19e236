"""Train, keep, load, predict; and what a model file refuses."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
from pictures import COLOURS, QUICK, picture

from featx import load_model, train
from featx.classifiers import probe_names
from featx.errors import InputError, ModelMismatch, OutputError, UnknownName


@pytest.fixture
def model(split_photos):
    return train(split_photos, classifier="logreg", **QUICK)


def rewrite(path, change):
    """Rewrites model.json inside a model file."""
    with zipfile.ZipFile(path) as archive:
        meta, blob = json.loads(archive.read("model.json")), archive.read("classifier.skops")
    change(meta)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.json", json.dumps(meta))
        archive.writestr("classifier.skops", blob)


def test_the_test_split_is_left_out_of_training(model):
    assert model.info["n_train"] == 30


def test_a_saved_model_predicts_the_same(model, split_photos, tmp_path):
    model.save(tmp_path / "m.featx")
    images = sorted((split_photos / "test").rglob("*.png"))
    ours, loaded = model.predict(images), load_model(tmp_path / "m.featx").predict(images)
    assert ours == loaded
    assert [p.label for p in loaded] == [path.parent.name for path in images]
    for p in loaded:
        assert p.probability == max(p.probabilities.values())
        assert sum(p.probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert list(p.probabilities) == list(COLOURS)


@pytest.mark.parametrize("name", probe_names(on_request=True))
def test_every_classifier_survives_the_file(name, photos, tmp_path):
    model = train(photos, classifier=name, **QUICK)
    model.save(tmp_path / "m")
    again = load_model(tmp_path / "m")
    x = np.random.default_rng(0).normal(size=(5, 1024)).astype(np.float32)
    np.testing.assert_allclose(model.classifier.predict_proba(x), again.classifier.predict_proba(x))


@pytest.mark.parametrize(("name", "error"), [("logrg", UnknownName), ("pixels", InputError)])
def test_a_classifier_that_cannot_be_trained_is_told_before_any_work(name, error, photos, monkeypatch):
    monkeypatch.setattr("featx.model.extract_features", lambda *args, **options: pytest.fail("extracted"))
    with pytest.raises(error, match=name):
        train(photos, classifier=name, **QUICK)


def test_predict_skips_what_cannot_be_read(model, split_photos, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"")
    good = split_photos / "train" / "sky" / "000.png"
    predictions = model.predict([tmp_path / "bad.png", good], on_error="skip")
    assert [p.id for p in predictions] == [str(good)]
    assert "empty" in model.failures[0].reason
    assert predictions == model.predict([good])


def test_another_backbone_than_the_models_is_refused(model, tmp_path):
    def change(meta):
        meta["space"]["backbone"]["weights_sha256"] = "0" * 64

    model.save(tmp_path / "m")
    rewrite(tmp_path / "m", change)
    with pytest.raises(ModelMismatch, match=r"backbone\.weights_sha256: 0{64} in the model"):
        load_model(tmp_path / "m").predict([picture(COLOURS["sky"], 1)])


def test_another_scikit_learn_is_refused(model, tmp_path):
    model.save(tmp_path / "m")
    rewrite(tmp_path / "m", lambda meta: meta["info"].update({"scikit-learn": "0.24.1"}))
    with pytest.raises(ModelMismatch, match=r"trained with scikit-learn 0\.24\.1"):
        load_model(tmp_path / "m")


def test_a_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "m").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(InputError, match="not a model file"):
        load_model(tmp_path / "m")
    with pytest.raises(InputError, match="cannot be read"):
        load_model(tmp_path / "none")
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        archive.writestr("model.json", "{}")
        archive.writestr("classifier.skops", "")
    with pytest.raises(InputError, match="not a model file"):
        load_model(tmp_path / "z")


def test_types_that_no_model_has_are_refused_and_not_built(model, tmp_path):
    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    model.save(tmp_path / "m")
    with zipfile.ZipFile(tmp_path / "m") as archive:
        meta = archive.read("model.json")
    with zipfile.ZipFile(tmp_path / "m", "w") as archive:
        archive.writestr("model.json", meta)
        archive.writestr("classifier.skops", skops.io.dumps(FunctionTransformer(print)))
    with pytest.raises(InputError, match="refused, it holds types"):
        load_model(tmp_path / "m")


def test_a_model_that_cannot_be_written_leaves_nothing(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        model.save(tmp_path / "file" / "m")
    assert [p.name for p in tmp_path.iterdir() if "file" in p.name or "part" in p.name] == ["file"]
