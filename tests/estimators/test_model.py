"""Train, save, load and predict; refuse damaged model files."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
from pictures import COLOURS, QUICK, picture
from sklearn.dummy import DummyClassifier

from featx import load_model, train
from featx.errors import InputError, ModelMismatch, OutputError, UnknownName
from featx.methods.probes import probe_names


@pytest.fixture
def model(split_photos):
    return train(split_photos, classifier="logreg", **QUICK)


def rewrite(path, change):
    """Rewrites model.json inside a model file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    meta = json.loads(members["model.json"])
    change(meta)
    members["model.json"] = json.dumps(meta).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


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
    x = np.random.default_rng(0).normal(size=(5, 512)).astype(np.float32)
    for rows in (x, x[:1], x.astype(np.float64)):
        np.testing.assert_array_equal(model.predict_proba(rows), again.predict_proba(rows))
        np.testing.assert_array_equal(model.classifier.predict(rows), again.classifier.predict(rows))
    again.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "m").read_bytes()


@pytest.mark.parametrize(("name", "error"), [("logrg", UnknownName), ("pixels", InputError)])
def test_a_classifier_that_cannot_be_trained_is_told_before_any_work(name, error, photos, monkeypatch):
    monkeypatch.setattr(
        "featx.estimators.model.training_set.extract_for_study",
        lambda *args, **options: pytest.fail("extracted"),
    )
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
    with pytest.raises(ModelMismatch, match=r"trained with scikit-learn '0\.24\.1'"):
        load_model(tmp_path / "m")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["model.json"], "classifier is missing"),
        (["model.json", "classifier.skops"], "older featx.*train the model again"),
        ([], "no model.json"),
    ],
)
def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path, names, said):
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        for name in names:
            archive.writestr(name, '{"format": "featx model", "format_version": 2}')
    if said.startswith("classifier"):
        said = "unknown, or missing, in model.json"
    with pytest.raises(InputError, match=said) as caught:
        load_model(tmp_path / "z")
    assert str(caught.value).startswith(str(tmp_path / "z"))
    assert "\n" not in str(caught.value)


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "m").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(InputError, match="not a model file"):
        load_model(tmp_path / "m")
    with pytest.raises(InputError, match="no such file"):
        load_model(tmp_path / "none")
    with pytest.raises(InputError, match="not a file"):
        load_model(tmp_path)
    with pytest.raises(InputError, match="path must be the name of a file"):
        load_model("nul\0")


def junk():
    return [None, True, -1, 10**400, 0.5, "", "\ud800", [], [[]], {}, {"kind": {}}, ["a", "a"], [1, 2]]


def test_any_field_of_the_description_may_be_junk(model, tmp_path):
    """Either one line that names the file, or the same model if the field does not matter."""
    model.save(tmp_path / "m")
    content = (tmp_path / "m").read_bytes()
    for field in ("format", "format_version", "classes", "space", "backbone", "info", "classifier", "more"):
        for value in junk():
            (tmp_path / "m").write_bytes(content)
            rewrite(tmp_path / "m", lambda meta, f=field, v=value: meta.update({f: v}))
            with pytest.raises(InputError, match=r"/m: ") as caught:
                load_model(tmp_path / "m")
            assert "\n" not in str(caught.value)
            assert len(str(caught.value)) < 400


def test_any_argument_of_the_backbone_may_be_junk(model, tmp_path):
    model.save(tmp_path / "m")
    content = (tmp_path / "m").read_bytes()
    for field in model.backbone:
        for value in junk():
            (tmp_path / "m").write_bytes(content)
            rewrite(tmp_path / "m", lambda meta, f=field, v=value: meta["backbone"].update({f: v}))
            try:
                loaded = load_model(tmp_path / "m")
            except InputError:
                continue
            if (loaded.backbone[field], type(loaded.backbone[field])) == (
                model.backbone[field],
                type(model.backbone[field]),
            ):
                continue
            with pytest.raises(InputError):
                loaded.predict([picture(COLOURS["sky"], 1)])


def test_names_of_classes_keep_their_characters(photos, tmp_path):
    names = ["=1+1", "NaN", "日本 \u202e", "0"]
    for folder, name in zip(sorted(photos.iterdir()), names, strict=False):
        folder.rename(photos / name)
    model = train(photos, classifier="nearest-centroid", **QUICK)
    model.save(tmp_path / "m")
    assert load_model(tmp_path / "m").classes == model.classes
    assert set(model.classes) == set(names[:3])


def test_rows_of_another_backbone_are_refused_before_they_are_classified(model):
    with pytest.raises(InputError, match="expects embeddings of 512 numbers, got an array of shape"):
        model.predict_proba(np.zeros((2, 7), np.float32))
    with pytest.raises(InputError, match="cannot classify these embeddings"):
        model.predict_proba(np.full((2, 512), np.nan, np.float32))


def test_a_classifier_of_ones_own_cannot_be_kept(model, tmp_path):
    model.classifier = DummyClassifier().fit(np.zeros((2, 512)), [0, 1])
    with pytest.raises(InputError, match="a DummyClassifier cannot be kept in a model file"):
        model.save(tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_model_that_cannot_be_written_leaves_nothing(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        model.save(tmp_path / "file" / "m")
    assert [p.name for p in tmp_path.iterdir() if "file" in p.name or "part" in p.name] == ["file"]
