"""Predict with a model: what stays ready, what is not loaded, which answers are unsure."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import threading

import numpy as np
import pandas
import pytest
import torch
from pictures import COLOURS, QUICK, picture, write_photos
from sklearn.linear_model import LogisticRegression

import featx.backbones
from featx import extract, load_features, load_model, train
from featx.cache import Cache
from featx.errors import InputError, ModelMismatch
from featx.estimators.model import prediction_rows
from featx.estimators.model_file import describe, find_plain, read_model_file, rebuild, write_model_file
from featx.inputs.image import as_source
from featx.methods.abstention import UNLIKE
from featx.methods.probes import fit_probe


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with ``m.featx``, a model of three classes with 8 images each, and a row of each class."""
    root = tmp_path_factory.mktemp("saved")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("FEATX_CACHE", "TORCH_HOME"):
            patch.setenv(name, str(root / name))
        features = extract(write_photos(root / "photos", 8), **QUICK)
    train(features).save(root / "m.featx")
    features.save(root / "f.h5")
    return root


@pytest.fixture
def features(saved):
    return load_features(saved / "f.h5")


@pytest.fixture
def model(saved):
    return load_model(saved / "m.featx")


@pytest.fixture
def remember(model, features):
    """``remember(image, row)`` puts a row into the cache; by default the first training image's."""

    def put(image, row=None):
        row = features.embeddings[0] if row is None else np.asarray(row, np.float32)
        Cache().space(model.space, dim=len(row)).publish([as_source(image, "a").read().digest], row[None])
        return image

    return put


@pytest.fixture
def no_network(monkeypatch):
    """A network must not be loaded for a model."""
    monkeypatch.setattr(
        "featx.estimators.model.embedding.matching_embedder", lambda *a, **k: pytest.fail("loaded")
    )


def new(number):
    return picture(COLOURS["leaf"], 9000 + number)


# Ready


def test_the_network_is_loaded_once_for_all_calls_copies_and_threads(model, monkeypatch):
    loaded, original = [], featx.backbones.load_backbone
    monkeypatch.setattr(
        featx.backbones, "load_backbone", lambda name, **o: loaded.append(name) or original(name, **o)
    )
    for number, one in enumerate((model, copy.deepcopy(model), pickle.loads(pickle.dumps(model)))):
        assert one.predict([new(number)])[0].label == "leaf"
    found = {}
    threads = [
        threading.Thread(target=lambda i=i: found.update({i: model.predict_proba([new(i)])[0]}))
        for i in range(3, 7)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = model.predict_proba([new(i) for i in range(3, 7)])
    np.testing.assert_allclose([found[i] for i in range(3, 7)], again, rtol=1e-4)  # matrix products differ
    assert len(loaded) == 1
    assert len(pickle.dumps(model)) < 200_000


# From the cache


def test_cached_images_need_no_network(model, remember, tmp_path, no_network):
    path = tmp_path / "a.png"
    new(0).save(path)
    images = [remember(new(0)), remember(path)]
    first, second = model.predict(images)
    assert first.probabilities == second.probabilities
    assert (first.label, second.id) == ("crimson", str(path))
    assert model.extraction["images"] == 0
    for more in ({"images": [*images, new(1)]}, {"images": images, "weights": "to-be-checked.pth"}):
        with pytest.raises(pytest.fail.Exception, match="loaded"):
            model.predict(**more)


def test_damaged_rows_are_not_used(model, remember, no_network):
    remember(new(0))
    store = Cache().space(model.space)
    store.missing([])
    (shard,) = store.shard_paths()
    data = bytearray(shard.read_bytes())
    data[-600:-500] = bytes(100)
    shard.write_bytes(data)
    with pytest.warns(RuntimeWarning), pytest.raises(pytest.fail.Exception, match="loaded"):
        model.predict([new(0)])


def test_a_model_that_states_another_length_of_rows_leaves_the_cache_alone(model, remember, no_network):
    remember(new(0))
    store = Cache().space(model.space)
    store.missing([])
    model.classifier = LogisticRegression().fit(np.eye(7)[:3], [0, 1, 2])
    with pytest.raises(InputError, match="expects embeddings of 7 numbers"):
        model.predict([new(0)])
    assert all(path.exists() for path in store.shard_paths())


def test_predicting_a_cached_image_imports_nothing_heavy(saved, remember, tmp_path):
    path = tmp_path / "a.png"
    new(0).save(path)
    remember(path)
    code = (
        "import sys; from featx.cli import main; main(sys.argv[1:]); "
        "heavy = 'torch', 'torchvision', 'sklearn', 'scipy', 'pandas'; "
        "print([m for m in heavy if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, "predict", saved / "m.featx", path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1].startswith(f"{path},crimson,")
    assert done.stdout.splitlines()[-1] == "[]"


# Plain arrays


@pytest.mark.parametrize("colours", [3, 2])
@pytest.mark.parametrize("name", ["logreg", "ridge"])
def test_plain_arrays_give_the_probabilities_of_the_classifier(name, colours, tmp_path):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(colours), 10)
    rows = rng.normal(size=(len(labels), 12)).astype(np.float32) + 2 * np.eye(12, dtype=np.float32)[labels]
    fitted = fit_probe(name, rows, labels).estimator
    description, arrays = describe(fitted, colours)
    plain = find_plain(description, arrays, colours)
    assert plain is not None
    for x in (rows, rows[:1], rows.astype(np.float64), rows.astype(np.float16)):
        np.testing.assert_allclose(plain.predict_proba(x), fitted.predict_proba(x), rtol=1e-6, atol=1e-12)
    assert type(plain.build()) is type(fitted)


def test_what_rebuild_refuses_is_not_read_as_plain_arrays(saved):
    meta, arrays = read_model_file(saved / "m.featx")
    arrays.pop("unsure.rows")
    description = meta["classifier"]
    assert find_plain(description, arrays, 3) is not None
    steps = description["estimator"]["steps"]
    scale, linear = (f"classifier.{step['name']}" for step in steps)
    for change in (
        {f"{linear}.coef": arrays[f"{linear}.coef"][:2]},
        {f"{linear}.coef": arrays[f"{linear}.coef"] * np.nan},
        {f"{linear}.intercept": arrays[f"{linear}.intercept"].astype(np.int32)},
        {f"{linear}.intercept": arrays[f"{linear}.intercept"].astype(np.float16)},
        {f"{scale}.scale": arrays[f"{scale}.scale"] * 0},
        {"classifier.temperature": np.zeros(())},
        {"classifier.more": np.zeros(3)},
    ):
        assert find_plain(description, arrays | change, 3) is None
        with pytest.raises(InputError):
            rebuild(description, arrays | change, 3)
    for change in (
        {"features": True},
        {"features": 511},
        {"classes": 4},
        {"kind": "pipeline"},
        {"scores": "probabilities"},
        {"more": 1},
        {"estimator": None},
        {"estimator": {"kind": "pipeline", "steps": steps[::-1]}},
        {"estimator": {"kind": "pipeline", "steps": [steps[0], steps[1] | {"settings": {"C": -1}}]}},
        {"estimator": {"kind": "pipeline", "steps": [steps[0], steps[1] | {"name": "a b"}]}},
        {"estimator": {"kind": "pipeline", "steps": [steps[0], steps[1] | {"kind": []}]}},
    ):
        assert find_plain(description | change, arrays, 3) is None
        with pytest.raises(InputError):
            rebuild(description | change, arrays, 3)


# Probabilities


def test_probabilities_of_images_and_of_rows_are_the_same(model, features, remember, no_network):
    images = [remember(new(i), features.embeddings[8 * i]) for i in range(3)]
    found = model.predict_proba(images)
    assert [model.classes[i] for i in found.argmax(axis=1)] == list(COLOURS)
    predicted = model.predict(images)
    assert [list(p.probabilities.values()) for p in predicted] == found.tolist()
    rows = features.embeddings[::8]
    forms = (features.subset([0, 8, 16]), rows, torch.from_numpy(rows), pandas.DataFrame(rows), list(rows))
    tensor = torch.from_numpy(rows)
    for form in (*forms, tensor.clone().requires_grad_(), list(tensor)):
        np.testing.assert_array_equal(model.predict_proba(form), found)
    np.testing.assert_allclose(model.predict_proba(tensor.bfloat16()), found, atol=0.05)
    np.testing.assert_allclose(model.predict_proba(rows.tolist()), found, rtol=1e-4, atol=1e-12)


def test_pixels_are_no_rows(model, remember, no_network):
    grey = np.asarray(new(0).convert("L"))
    for pixels in (grey, grey / 255):
        assert model.predict_proba([remember(pixels)]).shape == (1, 3)


def test_rows_that_do_not_fit_are_refused(model, features):
    with pytest.raises(InputError, match=r"512 numbers, got an array of shape \(24, 9\)"):
        model.predict_proba(features.embeddings[:, :9])
    with pytest.raises(InputError, match="on_error"):
        model.predict_proba(features, on_error="skip")
    with pytest.raises(InputError, match=r"these are embeddings, .*; predict_proba takes both"):
        model.predict(features)
    with pytest.raises(InputError, match="not finite"):
        model.predict_proba(features.embeddings * np.nan)


def test_features_of_another_network_are_refused(model, features):
    features.space = {**features.space, "preprocessing": {**features.space["preprocessing"], "resize": 40}}
    with pytest.raises(ModelMismatch, match=r"do not fit the model: preprocessing\.resize: 32 in the model"):
        model.predict_proba(features)
    features.space = {}
    assert model.predict_proba(features).shape == (24, 3)


def test_no_readable_image_gives_no_row(model, tmp_path, monkeypatch):
    (tmp_path / "bad.png").write_bytes(b"")
    assert model.predict_proba([tmp_path / "bad.png"], on_error="skip").shape == (0, 3)
    assert "empty" in model.failures[0].reason


# Unsure


def test_an_image_unlike_the_training_images_is_unsure(model, features, remember, no_network):
    row = features.embeddings[0]
    known, other = model.predict([remember(new(0), row), remember(new(1), row[::-1])])
    assert (known.unsure, known.reason) == (False, "")
    assert (other.unsure, other.reason) == (True, UNLIKE)


def test_an_improbable_answer_is_unsure(model, features, remember, no_network):
    """Few images leave the share of right answers itself as the least probability."""
    confidence = model.unsure.confidence
    assert (confidence.threshold, confidence.guaranteed) == (0.95, False)
    assert model.info["unsure"] == model.unsure.to_dict()
    between = (features.embeddings[0] + features.embeddings[8]) / 2
    (found,) = model.predict([remember(new(0), between)])
    assert found.probability < 0.95
    assert found.unsure
    assert found.reason in ("probability below 0.95", UNLIKE)


def test_the_rule_survives_the_file(model, saved, tmp_path):
    model.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (saved / "m.featx").read_bytes()
    again = load_model(tmp_path / "again")
    assert again.unsure.confidence == model.unsure.confidence
    np.testing.assert_array_equal(again.unsure.familiarity.rows, model.unsure.familiarity.rows)


def test_a_model_without_a_rule_does_not_say(features, remember, no_network, tmp_path):
    model = train(features, sure=None)
    assert model.unsure is None
    model.save(tmp_path / "m")
    (found,) = load_model(tmp_path / "m").predict([remember(new(0))])
    assert (found.unsure, found.reason) == (None, "")
    assert list(prediction_rows([found])[0])[:4] == ["id", "label", "probability", "unsure"]


def test_another_share_is_asked_for_with_sure(features):
    assert train(features, sure=0.8).unsure.confidence.sure == 0.8


def test_numbers_of_numpy_can_be_saved(features, tmp_path):
    model = train(features, seed=np.int64(3), sure=np.float32(0.75))
    model.save(tmp_path / "m.featx")
    again = load_model(tmp_path / "m.featx")
    assert (again.info["seed"], again.unsure.confidence.sure) == (3, 0.75)


def test_the_rule_of_one_backbone_copies_no_rows(features, monkeypatch):
    seen = []
    for name in ("held_out_probabilities", "fit_familiarity"):
        patched = f"featx.estimators.model.fitting.{name}"
        monkeypatch.setattr(patched, lambda *given, **_: seen.append(given))
    train(features)
    (_, fitted, *_), (compared, *_) = seen
    assert np.shares_memory(fitted, compared)


def test_a_head_on_frozen_rows_knows_the_training_images(features):
    rule = train(features, classifier="head").unsure
    assert rule.confidence is None
    assert rule.familiarity.rows.shape == (24, 512)


def test_a_forged_rule_is_one_line(saved, tmp_path):
    meta, arrays = read_model_file(saved / "m.featx")
    rule, rows = meta["info"]["unsure"], arrays["unsure.rows"]
    given = {key: value for key, value in meta.items() if not key.startswith("format")}

    def refused(unsure, some=rows):
        kept = arrays | ({} if some is None else {"unsure.rows": some})
        if some is None:
            kept.pop("unsure.rows")
        write_model_file(tmp_path / "m", given | {"info": meta["info"] | {"unsure": unsure}}, kept)
        with pytest.raises(InputError, match=r"/m: .*unsure") as caught:
            load_model(tmp_path / "m")
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400

    for junk in (1, "", [], {}, {"distance": 0.1}, rule | {"more": 1}, rule | {"confidence": []}, None):
        refused(junk)
    for name in rule["confidence"]:
        for value in (None, True, "a", -1, 10**400, [], 1.5):
            if (name, value) not in (("right", None), ("guaranteed", True)):
                refused(rule | {"confidence": rule["confidence"] | {name: value}})
    for distance in (None, True, "a", -1, 5, []):
        refused(rule | {"distance": distance})
    for odd in (
        None,
        rows.astype(np.float32),
        rows[:, :9],
        rows[:0],
        rows[0],
        rows * 2,
        rows * np.float16("nan"),
    ):
        refused(rule, odd)
