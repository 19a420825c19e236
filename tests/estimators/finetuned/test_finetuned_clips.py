"""`FineTunedClassifier` on clips, and a fine-tuned network of clips in a model file, with a tiny Whisper."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest
from clips import QUICK, RATE, labelled_sounds, write_whisper
from sklearn.base import clone

pytest.importorskip("transformers")
from featx import FineTunedClassifier, extract, load_model, train
from featx.errors import InputError, ModelMismatch
from featx.studies.evaluation.fine_tuning import TuningSetup

MADE, LABELS = labelled_sounds(10)
CLIPS = [(sound, RATE) for sound in MADE]


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("featx.machine.cpu_has_bf16", lambda: False)
        monkeypatch.setenv("FEATX_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_whisper(tmp_path_factory.mktemp("clips") / "whisper")


def classifier(folder, **options):
    quick = {"epochs": 2, "lr_backbone": 1e-3, "random_state": 0, "device": "cpu"}
    return FineTunedClassifier(f"hf:{folder}", **{"mode": "last", **QUICK, **quick, **options})


@pytest.fixture(scope="module")
def model(folder):
    return classifier(folder).fit(CLIPS, LABELS)


def test_pairs_of_samples_and_rate_are_trained_on_and_classified(model):
    assert model.score(CLIPS, LABELS) > 0.7
    np.testing.assert_allclose(model.predict_proba(CLIPS).sum(axis=1), 1)
    assert model.recipe_.optimizer == "adamw"
    assert any("chosen on 4 clips" in note for note in model.notes_)
    assert not any("image" in note for note in model.notes_)


def test_a_clone_and_a_pickle_predict_the_same(model):
    expected = model.predict_proba(CLIPS[:5])
    assert np.array_equal(pickle.loads(pickle.dumps(model)).predict_proba(CLIPS[:5]), expected)
    assert np.array_equal(clone(model).fit(CLIPS, LABELS).predict_proba(CLIPS[:5]), expected)


def test_a_pickle_refuses_another_front_end(model, folder, tmp_path):
    moved = pickle.loads(pickle.dumps(model))
    other = shutil.copytree(folder, tmp_path / "other")
    settings = other / "preprocessor_config.json"
    settings.write_text(settings.read_text().replace('"n_fft": 400', '"n_fft": 512'))
    moved.backbone = f"hf:{other}"
    with pytest.raises(ModelMismatch, match="with front_end"):
        moved.predict(CLIPS[:2])


@pytest.mark.parametrize("mode", ["head", "last"])
@pytest.mark.parametrize("join", ["max", "concat:2"])
def test_settings_of_windows_reach_the_network(folder, mode, join):
    short = classifier(folder, mode=mode, window=0.2, hop=0.1, join=join).fit(CLIPS, LABELS)
    settings = short._fitted.tuned(short._backbone, "cpu")._backbone.preparation.to_dict()
    assert (settings["window"], settings["hop"], settings["join"]) == (0.2, 0.1, join)
    assert short.predict_proba(CLIPS).shape == (20, 2)
    if join.startswith("concat"):
        with pytest.raises(InputError, match=r"several windows of a clip side by side \(join='concat:2'\)"):
            short._fitted.tuned(short._backbone, "cpu").network  # noqa: B018


def test_clips_may_be_changed_at_random(folder):
    augmented = classifier(folder, augment=True).fit(CLIPS, LABELS)
    assert augmented.recipe_.augment
    again = classifier(folder, augment=True).fit(CLIPS, LABELS)
    assert np.array_equal(augmented.predict_proba(CLIPS), again.predict_proba(CLIPS))
    with pytest.raises(InputError, match=r"mixup=0.2 is for images, not for clips"):
        classifier(folder, recipe={"mixup": 0.2}).fit(CLIPS, LABELS)
    quiet = classifier(folder, augment=True, recipe={"gain": 0.0, "noise": 0.0}).fit(CLIPS, LABELS)
    assert quiet.recipe_.gain == 0

    class Net:
        kind, name = "clip", "net"

    assert TuningSetup(Net(), CLIPS, "cpu", augment=True).augment


@pytest.mark.parametrize("mode", ["last", "full"])
def test_a_fine_tuned_model_predicts_the_same_from_its_file_alone(folder, mode, tmp_path):
    own = shutil.copytree(folder, tmp_path / "own")
    options = {"backbone": f"hf:{own}", "classifier": f"finetune-{mode}", "device": "cpu", "epochs": 10}
    trained = train(CLIPS, LABELS, **options, **QUICK)
    expected = trained.predict_proba(CLIPS)
    trained.save(tmp_path / "m.featx")
    shutil.rmtree(own)
    found = load_model(tmp_path / "m.featx")
    assert found.kind == "clip"
    np.testing.assert_allclose(found.predict_proba(CLIPS), expected, rtol=1e-5, atol=1e-7)
    assert sum(p.label == label for p, label in zip(found.predict(CLIPS), LABELS, strict=True)) >= 15
    rows = extract(CLIPS, backbone=f"hf:{folder}", **QUICK)
    with pytest.raises((InputError, ModelMismatch)):
        found.predict(rows)  # of the network before it was trained
