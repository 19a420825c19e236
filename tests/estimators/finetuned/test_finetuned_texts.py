"""`FineTunedClassifier` on texts, with a tiny BERT."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from texts import QUICK, reviews, write_bert

pytest.importorskip("transformers")
from featx import FineTunedClassifier
from featx.errors import InputError, ModelMismatch
from featx.studies.evaluation.fine_tuning import TuningSetup

TEXTS, LABELS = reviews(12)


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("featx.machine.cpu_has_bf16", lambda: False)
        monkeypatch.setenv("FEATX_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_bert(tmp_path_factory.mktemp("texts") / "bert")


def classifier(folder, **options):
    quick = {"epochs": 2, "lr_backbone": 1e-3, "random_state": 0, "device": "cpu"}
    return FineTunedClassifier(f"hf:{folder}", **{"mode": "last", **QUICK, **quick, **options})


@pytest.fixture(scope="module")
def model(folder):
    return classifier(folder).fit(TEXTS, LABELS)


def test_strings_are_trained_on_and_classified(model):
    assert list(model.predict(TEXTS[:4])) == LABELS[:4]
    assert model.score(TEXTS, LABELS) > 0.9
    np.testing.assert_allclose(model.predict_proba(TEXTS).sum(axis=1), 1)
    assert model.recipe_.optimizer == "adamw"
    assert any("chosen on 5 texts" in note for note in model.notes_)
    assert not any("image" in note for note in model.notes_)


def test_a_clone_and_a_pickle_predict_the_same(model, folder):
    expected = model.predict_proba(TEXTS[:5])
    assert np.array_equal(pickle.loads(pickle.dumps(model)).predict_proba(TEXTS[:5]), expected)
    assert np.array_equal(clone(model).fit(TEXTS, LABELS).predict_proba(TEXTS[:5]), expected)


def test_a_pickle_refuses_another_tokenizer(model, folder, tmp_path):
    other = write_bert(tmp_path / "other")
    vocabulary = other / "tokenizer.json"
    vocabulary.write_text(vocabulary.read_text().replace('"dull"', '"dulled"'))
    moved = pickle.loads(pickle.dumps(model))
    moved.backbone = f"hf:{other}"
    with pytest.raises(ModelMismatch, match="with tokenizer"):
        moved.predict(TEXTS[:2])


def test_settings_of_texts_reach_the_network(folder):
    short = classifier(folder, mode="head", max_length=6, long="mean", prefix="dull ").fit(TEXTS, LABELS)
    settings = short._fitted.tuned(short._backbone, "cpu")._backbone.preparation.to_dict()
    assert settings == {"max_length": 6, "long": "mean", "prefix": "dull "}


def test_what_is_for_images_is_refused(folder):
    with pytest.raises(InputError, match="augment=True is for images and clips, not for texts"):
        classifier(folder, augment=True).fit(TEXTS, LABELS)

    class Net:
        kind, name = "text", "net"

    with pytest.raises(InputError, match="augment is for images and clips, not for texts"):
        TuningSetup(Net(), TEXTS, "cpu", augment=True)
    assert "random crops and flips" not in TuningSetup(Net(), TEXTS, "cpu", augment=False).omissions("full")


def test_labels_are_counted_against_texts(folder):
    with pytest.raises(InputError, match="one label for each of the 24 texts, got 3"):
        classifier(folder).fit(TEXTS, LABELS[:3])
