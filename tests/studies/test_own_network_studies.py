"""A user's module wherever a backbone may stand: studies, trained models, files and the command line."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from own_modules import SMALL, Classifier, Encoder, seeded
from pictures import picture, write_photos

import featx
from featx import compare, extract, learning_curve, load_backbone, load_model, rank, similarity, train
from featx.cli import main
from featx.errors import InputError, ModelMismatch
from featx.extraction import backbone_arguments, embed, matching_embedder
from featx.options import Run
from featx.studies.comparison import compare_detectors, compare_domains

MINE = {"preprocessing": SMALL, "name": "mine"}
OPTIONS = {"preprocessing": SMALL, "engine": "eager", "n_jobs": 1}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("own") / "photos", 8)


@pytest.fixture(autouse=True)
def _one_cache(monkeypatch, tmp_path_factory, photos):
    monkeypatch.setenv("FEATX_CACHE", str(photos.parent / "cache"))


def test_a_module_is_compared_with_others_and_fine_tuned(photos):
    module = seeded(Classifier)
    before = copy.deepcopy(module.state_dict())
    result = compare(
        photos,
        backbones=[load_backbone(module, preprocessing=SMALL), load_backbone(seeded(Encoder), **MINE)],
        classifiers=["nearest-centroid", "ridge"],
        baseline=["last"],
        epochs=1,
        n_boot=0,
        checks=False,
        engine="eager",
        n_jobs=1,
    )
    assert {method.backbone for method in result.methods} == {"Classifier", "mine", None}
    tuned = next(method for method in result.methods if method.kind == "finetune")
    assert tuned.backbone in ("Classifier", "mine")
    for key, value in module.state_dict().items():
        assert value.equal(before[key])


def test_layers_of_a_module_are_ranked(photos):
    ranking = rank(photos, backbones=seeded(Classifier), layers="all", probe=False, **OPTIONS)
    assert [candidate.layer for candidate in ranking.candidates] == ["conv", "mean"]
    assert all(candidate.scores["leep"] is not None for candidate in ranking.candidates)


def test_other_studies_take_a_module(photos):
    module = seeded(Encoder)
    curve = learning_curve(
        photos,
        backbones=module,
        classifiers=["ridge"],
        shots=[2],
        seeds=2,
        baseline=None,
        checks=False,
        **OPTIONS,
    )
    assert "Encoder" in {method.backbone for method in curve.methods}
    found = similarity(photos, photos, backbone=module, n_permutations=20, **OPTIONS)
    assert found.space["backbone"]["source"] == "module"
    assert compare_detectors(photos, backbone=module, detectors=["knn"], **OPTIONS).space == found.space
    domains = compare_domains(
        photos, photos, backbone=module, classifier="ridge", adaptations=["coral"], **OPTIONS
    )
    assert domains.backbone == "Encoder"


@pytest.fixture(scope="module")
def module():
    return seeded(Encoder)


@pytest.fixture
def model_file(module, photos, tmp_path):
    return train(photos, classifier="ridge", backbone=module, **OPTIONS).save(tmp_path / "m.featx")


def test_a_model_is_loaded_with_its_module(module, model_file, photos):
    images = sorted(photos.rglob("*.png"))[:3]
    expected = train(photos, classifier="ridge", backbone=module, **OPTIONS).predict(images, engine="eager")
    ours = load_backbone(module, preprocessing=SMALL, name="another label")
    for given in (module, copy.deepcopy(module).train(), ours):
        assert load_model(model_file, backbone=given).predict(images, engine="eager") == expected
    alone = load_model(model_file)
    assert alone.predict_proba(np.zeros((1, 6))).shape == (1, 3)
    with pytest.raises(
        InputError, match=r"network of your own \(Encoder\).*load_model\(path, backbone=module\)"
    ):
        alone.predict([picture((9, 9, 9), 1)])
    assert alone.predict(images) == expected  # from the cache: the network is not needed


def test_another_module_than_the_models_is_refused(module, model_file):
    other = copy.deepcopy(module)
    with torch.no_grad():
        other.fc.weight.mul_(2)
    with pytest.raises(ModelMismatch, match=r"m\.featx does not fit.*backbone\.weights_sha256"):
        load_model(model_file, backbone=other)
    other = copy.deepcopy(module)
    other.scale = 5.0
    with pytest.raises(ModelMismatch, match=r"backbone\.graph_sha256"):
        load_model(model_file, backbone=other)
    with pytest.raises(InputError, match="backbone must be the network"):
        load_model(model_file, backbone="resnet18")


def test_a_module_is_refused_for_rows_of_a_named_network(module):
    space, arguments = {"backbone": {"source": "torchvision"}}, {"name": "resnet18"}
    with pytest.raises(InputError, match=r"f\.h5: its network is resnet18, which is loaded by name"):
        matching_embedder(space, arguments, "f.h5", Run(), module=module)


def test_rows_of_a_features_file_are_found_with_the_module(module, photos, tmp_path, capsys):
    features = extract(photos, backbone=module, **OPTIONS)
    path = tmp_path / "f.h5"
    features.save(path)
    arguments = backbone_arguments(features.space, "f.h5")
    embedder = matching_embedder(features.space, arguments, "f.h5", Run(engine="eager"), module=module)
    image = sorted(photos.rglob("*.png"))[0]
    rows = embed(featx.data.from_arrays([str(image)], None).images, embedder).embeddings
    np.testing.assert_allclose(rows[0], features.embeddings[0], rtol=1e-5, atol=1e-6)
    assert main(["search", str(path), str(image)]) == 2
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1
    assert "rows come from a network of your own (Encoder)" in said


def test_the_command_line_refuses_a_model_of_a_module(model_file, tmp_path, capsys):
    picture((9, 9, 9), 2).save(tmp_path / "new.png")
    assert main(["predict", str(model_file), str(tmp_path / "new.png")]) == 2
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1
    assert "the command line cannot load" in said
