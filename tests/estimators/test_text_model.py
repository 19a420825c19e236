"""Train on texts, keep the model in a file and predict with it."""

from __future__ import annotations

import json
import shutil
import zipfile
from functools import partial

import numpy as np
import pandas
import pytest
from pictures import QUICK as QUICK_IMAGES
from pictures import picture
from texts import QUICK, reviews, write_bert

from featx import extract, load_features, load_model, train
from featx.backbones.sources.hf.kept_files import write_folder
from featx.errors import InputError, ModelMismatch, OutputError
from featx.estimators.model import prediction_rows
from featx.estimators.model_file import read_model_file, write_model_file
from featx.methods.probes import fit_probe

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return write_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def saved(bert, tmp_path_factory):
    """A folder with ``m.featx``, a model of texts, and their rows in ``f.h5``."""
    root = tmp_path_factory.mktemp("saved")
    features = extract(*reviews(8), backbone=f"hf:{bert}", cache=root / "cache", **QUICK)
    features.save(root / "f.h5")
    train(*reviews(8), backbone=f"hf:{bert}", cache=root / "cache", **QUICK).save(root / "m.featx")
    return root


@pytest.fixture
def model(saved):
    return load_model(saved / "m.featx")


def meta_of(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("model.json"))


def rewrite(path, change):
    """Rewrite model.json inside a model file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    meta = json.loads(members["model.json"])
    change(meta)
    members["model.json"] = json.dumps(meta).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def test_every_string_of_a_list_or_column_is_a_text(model, saved):
    texts, labels = reviews(8)
    assert model.kind == "text"
    predicted = model.predict(texts, cache=saved / "cache")
    assert np.mean([p.label == label for p, label in zip(predicted, labels, strict=True)]) > 0.8
    assert [p.text for p in predicted] == texts
    assert prediction_rows(predicted)[3]["text"] == texts[3]
    columns = (
        np.array(texts),
        pandas.Series(texts),
        pandas.DataFrame({"said": texts}),
        pandas.DataFrame({"n": range(16), "review": texts}),
    )
    for form in columns:
        found = model.predict_proba(form, cache=saved / "cache")
        np.testing.assert_array_equal(found, [list(p.probabilities.values()) for p in predicted])
    # A name of a file among texts is a text.
    odd = [str(saved / "m.featx"), "photo.png"]
    assert [p.text for p in model.predict(odd)] == odd


def test_cached_texts_load_no_network(model, saved, monkeypatch):
    monkeypatch.setattr(
        "featx.estimators.model.embedding.matching_embedder", lambda *a, **k: pytest.fail("loaded")
    )
    texts, _ = reviews(8)
    assert len(model.predict(texts, cache=saved / "cache")) == 16
    with pytest.raises(pytest.fail.Exception, match="loaded"):
        model.predict([*texts, "new"], cache=saved / "cache")


def test_inputs_of_another_kind_are_one_error(model, tmp_path):
    picture((1, 2, 3), 0).save(tmp_path / "a.png")
    for images in (tmp_path, tmp_path / "a.png"):
        with pytest.raises(InputError, match="the model was trained on texts, and these are images"):
            model.predict(images)
    with pytest.raises(InputError, match=r"'a lovely film' is no file .*put it into a list"):
        model.predict("a lovely film")
    images, labels = [picture((200 * (i % 2), 2, 3), i) for i in range(8)], [0, 1] * 4
    of_images = train(images, labels, **QUICK_IMAGES)
    with pytest.raises(InputError, match="trained on images, and these are texts such as 'a lovely film'"):
        of_images.predict(["a lovely film"])
    with pytest.raises(InputError, match=r"text='said'.* has no effect: the model takes images"):
        of_images.predict(images, text="said")


def test_texts_that_cannot_be_read_are_named_or_skipped(model):
    with pytest.raises(InputError, match="row 1: an empty text"):
        model.predict(["it", " "])
    found = model.predict(["it", " ", None], on_error="skip")
    assert [p.text for p in found] == ["it"]
    assert [failure.id for failure in model.failures] == ["1", "2"]


def test_an_answer_unlike_the_training_texts_says_so(model, saved):
    (found,) = model.predict(["zzzz 9 qqq 0 xx"])
    assert found.unsure in (True, False)
    rows = load_features(saved / "f.h5").embeddings
    reasons = model.unsure.reasons(-rows[:1], model.predict_proba(-rows[:1]), model.kind)
    assert reasons == ["unlike the training texts"]


def test_the_file_of_a_model_of_texts_has_version_4(model, saved, tmp_path):
    path = saved / "m.featx"
    meta = meta_of(path)
    assert meta["format_version"] == 4
    assert meta["backbone"]["preprocessing"] == {"max_length": 64, "prefix": "", "long": "cut"}
    assert model.save(tmp_path / "again").read_bytes() == path.read_bytes()
    for change, said in (
        (lambda m: m.update(format_version=3), "no file before format 4 has one"),
        (lambda m: m["backbone"]["preprocessing"].update(long="drop"), "long must be cut or mean"),
        (lambda m: m["backbone"]["preprocessing"].update(resize=4), "unknown setting 'resize' of texts"),
        (lambda m: m["backbone"]["preprocessing"].pop("prefix"), "'prefix' is missing"),
    ):
        shutil.copy(path, tmp_path / "m")
        rewrite(tmp_path / "m", change)
        with pytest.raises(InputError, match=rf"/m: .*{said}"):
            load_model(tmp_path / "m")


def test_a_network_that_moved_is_given_and_one_that_changed_is_refused(saved, bert, tmp_path, monkeypatch):
    def offline(repository, names, make_error):
        raise make_error("no connection")

    monkeypatch.setattr("featx.backbones.sources.hf.repository.fetch_from_hub", offline)
    moved = tmp_path / "elsewhere"
    shutil.copytree(bert, moved)
    by_features = train(load_features(saved / "f.h5"))
    expected = load_model(saved / "m.featx").predict(["a new text"])
    # Features do not say where the folder is.
    with pytest.raises(InputError, match=r"lay in a folder, .* say where it is with --weights FOLDER"):
        by_features.predict(["a new text"], cache=tmp_path / "cache")
    found = by_features.predict(["a new text"], cache=tmp_path / "cache", weights=moved)
    assert found == expected
    vocabulary = moved / "tokenizer.json"
    vocabulary.write_text(vocabulary.read_text().replace('"warm"', '"cold"'))
    with pytest.raises(ModelMismatch, match=r"preprocessing\.tokenizer: \w+ in the model, \w+ installed"):
        by_features.predict(["another text"], weights=moved)


@pytest.mark.parametrize("classifier", ["head", "ensemble"])
def test_other_classifiers_keep_their_answers_in_the_file(classifier, bert, tmp_path, monkeypatch):
    texts, labels = reviews(6)
    backbone = f"hf:{bert}"
    if classifier == "ensemble":
        # One probe in place of all of them: which is the best is not the question here.
        monkeypatch.setattr("featx.estimators.model.fitting.fit_best", partial(fit_probe, "nearest-centroid"))
        features = [
            extract(texts, labels, backbone=backbone, layer=layer, **QUICK)
            for layer in (None, "encoder.layer.0")
        ]
        model = train(features, classifier="ensemble")
    else:
        model = train(texts, labels, classifier=classifier, backbone=backbone, **QUICK)
    again = load_model(model.save(tmp_path / "m"))
    assert again.kind == "text"
    assert meta_of(tmp_path / "m")["format_version"] == 4
    assert again.predict(texts) == model.predict(texts)


def test_a_fine_tuned_network_needs_nothing_but_its_file(bert, tmp_path):
    folder = tmp_path / "bert"
    shutil.copytree(bert, folder)
    texts, labels = reviews(6)
    model = train(texts, labels, classifier="finetune-last", epochs=1, backbone=f"hf:{folder}", **QUICK)
    path = model.save(tmp_path / "m")
    shutil.rmtree(folder)
    again = load_model(path)
    assert set(again.files) == {"config.json", "tokenizer.json", "tokenizer_config.json"}
    assert again.predict(texts, cache=tmp_path / "cache") == model.predict(texts)
    assert again.save(tmp_path / "again").read_bytes() == path.read_bytes()
    # A file from elsewhere may hold anything.
    meta, arrays = read_model_file(path)
    given = {key: value for key, value in meta.items() if not key.startswith("format")}
    some = arrays["files.config.json"]
    odd = (
        ({"files.../../evil.json": some}, {}, "a file '../../evil.json', which no network has"),
        ({"files.run.py": some}, {}, "a file 'run.py', which no network has"),
        ({f"files.{i}.txt": some for i in range(50)}, {}, "files of a network, expected 40 at most"),
        ({}, {"version": 3}, "before format 4"),
        ({"files.config.json": some.astype(np.int32)}, {}, "no array of int32 has this name"),
        ({"classifier.more": some}, {}, "no array of uint8 has this name"),
    )
    for change, version, said in odd:
        write_model_file(tmp_path / "odd", given, arrays | change, **version)
        with pytest.raises(InputError, match=rf"/odd: .*{said}"):
            load_model(tmp_path / "odd")
    changed = some.tobytes().replace(b'"hidden_size"', b'"other_size"')
    write_model_file(
        tmp_path / "odd", given, arrays | {"files.config.json": np.frombuffer(changed, np.uint8)}
    )
    with pytest.raises(ModelMismatch, match=r"train the model again|does not fit"):
        load_model(tmp_path / "odd").predict(["a new text"])


def test_a_full_disk_is_one_error_when_a_network_is_unpacked(monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OutputError, match=r"files of a network cannot be written there \(No space left"):
        write_folder({"config.json": b"{}"})
