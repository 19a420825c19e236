"""Estimators that hold a user's module: a changed weight is a miss, copies share a network."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from own_modules import SMALL, Branching, Classifier, Encoder, seeded
from sklearn.base import clone

import featx.backbones.own.module
from featx import FeatureExtractor, FineTunedClassifier, extract, load_backbone
from featx.engines.torch import TorchEngine
from featx.errors import InputError, ModelMismatch
from featx.extraction import forget_reused


@pytest.fixture
def images():
    drawn = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)
    drawn[::2] //= 4
    return list(drawn)


LABELS = ["dark", "bright"] * 6


@pytest.fixture
def loaded(monkeypatch):
    """How many networks were made of modules."""
    made = []
    load = featx.backbones.own.module.ModuleArchitecture.__init__

    def counted(self, *args):
        made.append(self)
        load(self, *args)

    monkeypatch.setattr(featx.backbones.own.module.ModuleArchitecture, "__init__", counted)
    return made


@pytest.fixture
def passes(monkeypatch):
    """Images that went through a network to get a row, parity checks included."""
    seen = []
    call = TorchEngine.__call__

    def counted(self, batch):
        seen.extend(image.tobytes() for image in batch)
        return call(self, batch)

    monkeypatch.setattr(TorchEngine, "__call__", counted)
    return seen


def extractor(module, **options):
    return FeatureExtractor(module, preprocessing=SMALL, engine="eager", **options)


def rows_of(module, images):
    mean, std = np.float32(SMALL.mean), np.float32(SMALL.std)
    x = torch.from_numpy((np.stack(images) / np.float32(255) - mean) / std).permute(0, 3, 1, 2)
    with torch.no_grad():
        return copy.deepcopy(module).eval()(x).numpy()


@pytest.mark.parametrize("kind", [Encoder, Branching])
def test_rows_are_those_of_the_module_in_eval_mode(kind, images):
    module = seeded(kind).train()
    rows = extractor(module).fit_transform(images)
    np.testing.assert_allclose(rows, rows_of(module, images), rtol=1e-4, atol=1e-5)
    features = extract(images, backbone=module, preprocessing=SMALL, engine="eager")
    np.testing.assert_array_equal(features.embeddings, rows)
    assert module.training
    assert features.space["backbone"]["source"] == "module"


def test_a_changed_weight_or_forward_is_a_miss(passes, images):
    module = seeded(Encoder)
    first = extractor(module).transform(images)
    assert len(passes) == len(images)
    assert extractor(copy.deepcopy(module)).transform(images) == pytest.approx(first)
    assert len(passes) == len(images)
    with torch.no_grad():
        module.conv.weight.mul_(1.5)
    np.testing.assert_allclose(
        extractor(module).transform(images), rows_of(module, images), rtol=1e-4, atol=1e-5
    )
    assert len(passes) == 2 * len(images)
    module.scale = 3.0
    np.testing.assert_allclose(
        extractor(module).transform(images), rows_of(module, images), rtol=1e-4, atol=1e-5
    )
    assert len(passes) == 3 * len(images)


def test_a_network_that_changed_after_fit_is_refused(images):
    module = seeded(Encoder)
    fitted = extractor(module).fit(images)
    fitted.transform(images[:2])
    module.scale = 3.0
    with pytest.raises(ModelMismatch, match="the network Encoder has changed since fit"):
        fitted.transform(images)
    fitted.fit(images).transform(images[:2])


def test_clones_and_copies_share_one_network(loaded, images):
    module = seeded(Encoder)
    whole = extractor(module).fit(images)
    for other in (clone(whole), pickle.loads(pickle.dumps(whole)), extractor(copy.deepcopy(module))):
        assert other.backbone is not module
        assert other.fit(images).weights_sha256_ == whole.weights_sha256_
        other.transform(images)
    assert len(loaded) == 1
    backbone = load_backbone(module, preprocessing=SMALL)
    for other in (clone(FeatureExtractor(backbone)), FeatureExtractor(copy.deepcopy(backbone))):
        other.fit(images).transform(images)
    assert len(loaded) == 2


def test_a_pickle_holds_the_network(images):
    fitted = extractor(seeded(Branching)).fit(images)
    expected = fitted.transform(images)
    pickled = pickle.dumps(fitted)
    forget_reused()
    np.testing.assert_array_equal(pickle.loads(pickled).transform(images), expected)


def test_what_is_shown_is_one_short_line():
    module = seeded(Encoder)
    assert repr(extractor(module)).startswith("FeatureExtractor(backbone=<Encoder>, engine='eager', ")
    shown = repr(FeatureExtractor([module, "resnet18"], layer="fc"))
    assert shown == "FeatureExtractor(backbone=[<Encoder>, 'resnet18'], layer='fc')"
    backbone = load_backbone(module, preprocessing=SMALL, name="mine")
    assert repr(FineTunedClassifier(backbone)) == "FineTunedClassifier(backbone=<mine>)"
    assert repr(FeatureExtractor("resnet18")) == "FeatureExtractor(backbone='resnet18')"


def test_modules_and_names_stand_side_by_side(images):
    module = seeded(Classifier)
    both = FeatureExtractor(
        [
            load_backbone(module, preprocessing=SMALL, name=name, layer=layer)
            for name, layer in (("a", None), ("b", "fc"))
        ],
        engine="eager",
    ).fit(images)
    assert both.transform(images).shape == (len(images), 12)
    assert list(both.get_feature_names_out()[[0, 8]]) == ["a_0", "b_0"]
    several = extractor(module, layer=["conv", "fc"]).fit(images)
    assert several.dim_ == 12
    np.testing.assert_array_equal(
        several.transform(images)[:, 8:], extractor(module, layer="fc").transform(images)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preprocessing": None}, "say how images are prepared"),
        ({"preprocessing": 3}, "preprocessing must be"),
        ({"weights": None}, "weights: a network of your own"),
        ({"backbone": [seeded(Encoder), seeded(Encoder)]}, r"'Encoder' is asked for twice.*name=\.\.\."),
        ({"backbone": Encoder}, "a torch.nn.Module, or what load_backbone returned"),
    ],
)
def test_bad_parameters_are_refused(options, message, images):
    with pytest.raises(InputError, match=message):
        extractor(seeded(Encoder)).set_params(**options).fit(images)


def test_a_copy_of_a_module_is_fine_tuned(images):
    module = seeded(Classifier)
    before = copy.deepcopy(module.state_dict())
    options = {"preprocessing": SMALL, "engine": "eager", "random_state": 0, "early_stopping": False}
    model = FineTunedClassifier(module, mode="full", epochs=2, lr_backbone=0.01, **options)
    model.fit(images, LABELS)
    probabilities = model.predict_proba(images)
    assert model._fitted.tuned(model._backbone, "cpu").changed_values()
    for key, value in module.state_dict().items():
        assert value.equal(before[key])
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_allclose(again.predict_proba(images), probabilities, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        again.backbone.conv.weight.mul_(2)
    again = pickle.loads(pickle.dumps(again))
    with pytest.raises(ModelMismatch, match="weights_sha256"):
        again.predict(images)


class Acting(Encoder):
    """Has a lambda, which pickle refuses."""

    def __init__(self):
        super().__init__()
        self.act = lambda x: x.tanh()

    def forward(self, x):
        return self.act(super().forward(x))


def test_a_pickle_holds_lambdas_too(images):
    module = seeded(Acting)
    for backbone in (module, load_backbone(module, preprocessing=SMALL)):
        fitted = FeatureExtractor(backbone, preprocessing=SMALL if backbone is module else None).fit(images)
        again = pickle.loads(pickle.dumps(fitted))
        assert again.weights_sha256_ == fitted.weights_sha256_
        np.testing.assert_array_equal(again.transform(images), fitted.transform(images))


def test_a_module_that_no_pickle_holds_is_refused_in_one_line():
    module = seeded(Encoder)
    module.numbers = (number for number in range(3))
    with pytest.raises(InputError, match=r"Encoder: this module cannot be pickled .*generator.*state_dict"):
        pickle.dumps(FeatureExtractor([module, "resnet18"]))
