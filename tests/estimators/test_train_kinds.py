"""Train and keep heads, fine-tuned networks and ensembles; from images and from features."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from own_modules import SMALL, Encoder, seeded
from pictures import BACKBONE, OTHER, QUICK, write_photos

from featx import FineTunedClassifier, extract, load_backbone, load_model, train
from featx.cli import main
from featx.data import load_dataset
from featx.data.tasks import Task
from featx.errors import DatasetError, InputError, ModelMismatch, UnknownName
from featx.estimators.model_file import read_model_file
from featx.methods import finetune

PLAIN = {"engine": "torch", "precision": "fp32"}


def version_of(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("model.json"))["format_version"]


def same(one, other):
    """Whether two files hold the same model; the keys of an object have no order."""
    (meta, arrays), (more, others) = map(read_model_file, (one, other))
    equal = all(np.array_equal(arrays[name], others[name]) for name in arrays)
    return meta == more and arrays.keys() == others.keys() and equal


@pytest.fixture
def shades(tmp_path):
    """Three classes that are hard to tell apart, so that no probability is 0 or 1."""
    colours = {"one": (120, 110, 110), "two": (110, 120, 110), "three": (112, 112, 118)}
    return write_photos(tmp_path / "shades", 8, colours=colours)


@pytest.fixture
def tuned(monkeypatch):
    """The trained networks, as `fine_tune` returned them."""
    found, original = [], finetune.fine_tune

    def spy(*args, **options):
        found.append(original(*args, **options))
        return found[-1]

    monkeypatch.setattr("featx.methods.finetune.fine_tune", spy)
    return found


@pytest.mark.parametrize("mode", ["last", "full"])
def test_a_fine_tuned_network_of_ones_own_predicts_as_it_did_in_training(mode, shades, tuned, tmp_path):
    module = seeded(Encoder)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    model = train(
        shades, classifier=f"finetune-{mode}", backbone=module, preprocessing=SMALL, epochs=1, **PLAIN
    )
    images = load_dataset(shades).images
    paths = sorted(shades.rglob("*.png"))
    expected = tuned[0].predict_proba(images)
    predicted = model.predict(paths)
    np.testing.assert_allclose([list(p.probabilities.values()) for p in predicted], expected, atol=2e-5)
    frozen = train(shades, classifier="head", backbone=module, preprocessing=SMALL, **PLAIN)
    assert np.abs(expected - [list(p.probabilities.values()) for p in frozen.predict(paths)]).max() > 1e-4

    path = model.save(tmp_path / "m")
    assert version_of(path) == 3
    without = load_model(path)
    with pytest.raises(
        InputError, match=r"network of your own \(Encoder\).*load_model\(path, backbone=module\)"
    ):
        without.predict(paths, cache=tmp_path / "empty")
    # Its code is needed, its values are not.
    again = load_model(path, backbone=seeded(Encoder, 7))
    assert again.predict(paths, cache=tmp_path / "other") == predicted
    assert again.save(tmp_path / "again").read_bytes() == path.read_bytes()
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    with pytest.raises(ModelMismatch, match="graph_sha256"):
        load_model(path, backbone=Encoder(scale=3.0))
    with pytest.raises(InputError, match="backbone: expected 1 networks of your own"):
        load_model(path, backbone=[module, seeded(Encoder, 1)])


def test_a_fine_tuned_network_of_a_library_needs_nothing_but_its_file(shades, tuned, tmp_path):
    model = train(shades, classifier="finetune-last", epochs=1, **QUICK)
    paths = sorted(shades.rglob("*.png"))
    again = load_model(model.save(tmp_path / "m"))
    predicted = again.predict(paths, cache=tmp_path / "other")
    expected = tuned[0].predict_proba(load_dataset(shades).images)
    np.testing.assert_allclose([list(p.probabilities.values()) for p in predicted], expected, atol=2e-5)
    assert again.backbone["weights"] is None
    with pytest.raises(InputError, match=r"weights='w.pth' has no effect: the network was fine-tuned"):
        again.predict(paths, weights="w.pth")
    assert again.info["params"]["mode"] == "last"
    assert again.info["params"]["epochs"] == 1
    assert again.info["validation"]["n"] == 5
    assert "set aside, before the training on all images" in again.info["validation"]["what"]


def test_a_head_is_that_of_the_comparison_from_images_features_and_a_file(photos, tmp_path, tuned):
    features = extract(photos, **QUICK)
    features.save(tmp_path / "f.h5")
    given = [(photos, "finetune-head", QUICK), (features, "head", {}), (tmp_path / "f.h5", "HEAD", {})]
    for i, (data, name, options) in enumerate(given):
        train(data, classifier=name, **options).save(tmp_path / f"m{i}")
    assert same(tmp_path / "m0", tmp_path / "m1")
    assert same(tmp_path / "m0", tmp_path / "m2")
    model = load_model(tmp_path / "m0")
    assert version_of(tmp_path / "m0") == 3
    assert model.info["classifier"] == "finetune-head"
    rows = features.embeddings
    np.testing.assert_allclose(model.predict_proba(rows), tuned[0].predict_proba(rows), atol=1e-12)
    paths = sorted(photos.rglob("*.png"))
    assert [p.label for p in model.predict(paths)] == [path.parent.name for path in paths]
    alone = FineTunedClassifier(random_state=0, **QUICK).fit(paths, [path.parent.name for path in paths])
    assert alone.recipe_.to_dict().items() <= model.info["params"].items()


def test_a_probe_from_features_is_the_one_from_images_in_the_old_format(photos, tmp_path):
    features = extract(photos, **QUICK)
    train(photos, classifier="lda", sure=None, **QUICK).save(tmp_path / "a")
    train(features, classifier="lda", sure=None).save(tmp_path / "b")
    assert same(tmp_path / "a", tmp_path / "b")
    assert version_of(tmp_path / "a") == 2
    features.splits = np.array(["test", *["train"] * (len(features) - 1)])
    assert train(features, classifier="lda").info["n_train"] == len(features) - 1
    gaps = np.where(np.arange(len(features)) % 4 == 1, -1, features.labels)
    some = features.with_tasks([Task("label", gaps, features.classes)])
    assert train(some, classifier="lda").info["n_train"] == ((gaps >= 0) & (features.splits != "test")).sum()


def test_an_ensemble_of_features_takes_them_in_any_order(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("featx.methods.probes.fitting.probe_names", lambda: ("lda",))
    one, other = (extract(photos, **(QUICK | {"backbone": name})) for name in (BACKBONE, OTHER))
    shuffled = other.subset(np.random.default_rng(0).permutation(len(other)))
    model = train([one, shuffled], classifier="ensemble")
    model.save(tmp_path / "a")
    two = QUICK | {"backbone": [BACKBONE, OTHER]}
    train(photos, classifier="ensemble", **two).save(tmp_path / "b")
    assert same(tmp_path / "a", tmp_path / "b")
    for file, features in (("one", one), ("other", shuffled)):
        features.save(tmp_path / f"{file}.h5")
    command = ["train", str(tmp_path / "one.h5"), str(tmp_path / "other.h5"), "--classifier", "ensemble"]
    assert main([*command, "-o", str(tmp_path / "c"), "--quiet"]) == 0
    assert (tmp_path / "c").read_bytes() == (tmp_path / "a").read_bytes()
    with pytest.raises(InputError, match="has other images than features, such as"):
        train([one, other.subset(np.arange(len(other) - 1))], classifier="ensemble")
    with pytest.raises(InputError, match="same backbone and settings as features"):
        train([one, one], classifier="ensemble")
    swapped = other.subset(np.arange(len(other)))
    swapped.labels = swapped.labels[::-1].copy()
    with pytest.raises(InputError, match="other labels than features for the same images"):
        train([one, swapped], classifier="ensemble")


def test_one_task_of_several_is_chosen_by_its_name(rows):
    shapes = Task("shape", np.array([-1, 0, 1] * 4), ("flat", "round"))
    several = replace(rows, targets={"shape": shapes})
    with pytest.raises(InputError, match="features: has the tasks label, shape; choose one with label"):
        train(several, classifier="lda")
    model = train(several, classifier="lda", label="shape")
    assert (model.classes, model.info["n_train"]) == (("flat", "round"), 8)


@pytest.fixture(scope="module")
def rows():
    from featx import Features

    space = {
        "backbone": dict.fromkeys(("architecture", "source", "weights", "layer", "pooling"), "x"),
        "preprocessing": {},
        "precision": "fp32",
        "dtype": "float32",
    }
    x = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    return Features(x, [f"{i}.png" for i in range(12)], np.arange(12) % 2, ("a", "b"), space=space)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"classifier": "finetune-all"}, UnknownName, "did you mean finetune-full or finetune-last"),
        ({"classifier": "full"}, UnknownName, "unknown classifier 'full'"),
        ({"classifier": "majority"}, InputError, "is a reference for comparisons; train a probe"),
        (
            {"classifier": "finetune-full"},
            InputError,
            "trains the network on the inputs themselves, and features hold",
        ),
        (
            {"classifier": "ensemble"},
            InputError,
            "averages several backbones, got 1: give the features of each",
        ),
        ({"backbone": ["a", "b"], "classifier": "lda"}, InputError, "backbone=.* has no effect"),
        (
            {"epochs": 3},
            InputError,
            r"epochs=3 has no effect: classifier 'logreg' does not train the network",
        ),
        ({"epochs": 3, "classifier": "head"}, InputError, r"epochs=3 has no effect"),
        ({"image_size": 64}, InputError, r"image_size=64 has no effect"),
        ({"labels": [0, 1] * 6}, InputError, "labels: features bring their own"),
        ({"precision": "int8"}, InputError, "'int8' depends on the inputs"),
    ],
)
def test_what_does_not_go_together_is_one_line(rows, given, error, said):
    with pytest.raises(error, match=said) as caught:
        train(rows, **given)
    assert "\n" not in str(caught.value)


def test_backbones_and_classifiers_must_go_together(photos):
    for given, said in (
        (
            {"backbone": [BACKBONE, OTHER]},
            "takes one backbone, got 2 backbones; classifier='ensemble' combines",
        ),
        ({"backbone": [BACKBONE], "classifier": "ensemble"}, "got 1: name them in backbone"),
    ):
        with pytest.raises(InputError, match=said):
            train(photos, **given)


def test_features_that_no_model_can_be_made_of_are_refused(rows):
    for odd, error, said in (
        (replace(rows, labels=None, classes=None), DatasetError, "has no labels"),
        (replace(rows, labels=np.zeros(12, int)), DatasetError, "'b' has 0"),
        (replace(rows, space={}), InputError, "does not say which network"),
        (replace(rows, space=rows.space | {"calibration": "0"}), InputError, "its rows are in int8"),
    ):
        with pytest.raises(error, match=said):
            train(odd, classifier="lda")


def test_a_network_without_gradients_is_refused_before_any_work(photos, monkeypatch):
    backbone = load_backbone(BACKBONE, weights=None, image_size=32)
    monkeypatch.setattr(type(backbone.architecture), "trainable", False)
    monkeypatch.setattr(
        "featx.estimators.model.training_set.extract_for_study", lambda *given: pytest.fail("extracted")
    )
    with pytest.raises(InputError, match="has no gradients, so fine-tuning mode 'full' cannot train it"):
        train(photos, classifier="finetune-full", backbone=backbone)


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The file of a fine-tuned network."""
    folder = tmp_path_factory.mktemp("forged")
    given = {"backbone": seeded(Encoder), "preprocessing": SMALL, "epochs": 1, "cache": folder / "cache"}
    model = train(write_photos(folder / "photos", 3), classifier="finetune-full", **given, **PLAIN)
    return model.save(folder / "m").read_bytes()


def rewrite(path, change):
    """Change the description and the arrays of a file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    meta = json.loads(members["model.json"])
    change(meta, members)
    members["model.json"] = json.dumps(meta).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def flipped(data):
    return data[:-1] + bytes([data[-1] ^ 0x10])


def an_array(members):
    return next(name for name in members if name.startswith("network."))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda meta, m: m.update({an_array(m): flipped(m[an_array(m)])}), "whose sha256 model.json states"),
        (lambda meta, m: m.pop(an_array(m)), "whose sha256 model.json states"),
        (lambda meta, m: m.update({"network.x.npy": m[an_array(m)]}), "whose sha256 model.json states"),
        (
            lambda meta, m: meta["space"]["backbone"].update(weights="random"),
            "differ on whether the network was",
        ),
        (lambda meta, m: meta.update(format_version=2), "which no file of format 2 has"),
        (lambda meta, m: meta.update(members=[]), "unknown, or missing, in model.json"),
    ],
)
def test_forged_values_are_refused(change, said, content, tmp_path):
    path = tmp_path / "m"
    path.write_bytes(content)
    rewrite(path, change)
    with pytest.raises(InputError, match=rf"{path}: .*({said})"):
        load_model(path)


def test_the_command_says_what_was_trained(photos, tmp_path, capsys):
    quick = [f"--{name.replace('_', '-')}={value or 'random'}" for name, value in QUICK.items()]
    command = ["train", str(photos), "-o", str(tmp_path / "m"), "--quiet", "--classifier"]
    assert main([*command, "head", *quick]) == 0
    said = capsys.readouterr().out
    assert "finetune-head on 24 images, 3 classes; accuracy on images that were set aside, before" in said
    assert main([*command, "lda", "--epochs", "2", *quick, "--force"]) == 2
    assert "epochs=2 has no effect" in capsys.readouterr().err
    assert main([*command[:2], "f.h5", *command[2:], "lda"]) == 2
    assert (
        "photos: not a features file (.h5, .parquet); several DATA must be features of the same inputs"
        in capsys.readouterr().err
    )
