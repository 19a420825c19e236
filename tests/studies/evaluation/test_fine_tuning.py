"""The fine-tuned baseline as a method: its key names what it is trained on, its record what it has chosen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from featx.backbones import load_backbone
from featx.data.splits import Split
from featx.inputs.image import PixelImage
from featx.methods import finetune
from featx.studies.evaluation import Cell, FineTuning, LabelledRows, TuningSetup

N = 24
SPLIT = Split(np.arange(20), np.arange(20, 24))


@pytest.fixture(scope="module")
def net():
    return load_backbone("squeezenet1_1", weights=None, image_size=32)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [PixelImage(str(i), rng.integers(0, 256, (40, 40, 3), np.uint8)) for i in range(N)]


def make_cell(net, images, mode="full", **options):
    x = np.random.default_rng(1).normal(size=(N, net.dim)).astype(np.float32)
    rows = LabelledRows(x, np.arange(N) % 2, 2, None)
    return Cell(FineTuning.of(mode, TuningSetup(net, images, "cpu", **options)), rows, SPLIT, seed=0)


def test_crops_of_validation_images_are_in_the_key_if_they_are_trained_on_in_the_end(net, images):
    _, val = make_cell(net, images).method._parts(make_cell(net, images))
    assert len(val)
    other = list(images)
    other[val[0]] = PixelImage("other", images[val[0]].read().payload[::-1].copy())
    keys = [make_cell(net, some).method.define(make_cell(net, some)) for some in (images, other)]
    assert keys[0]["images"] != keys[1]["images"]
    assert make_cell(net, images).key != make_cell(net, other).key
    test_row = [*images[:22], PixelImage("other", other[val[0]].read().payload), images[23]]
    assert make_cell(net, images).key == make_cell(net, test_row).key


@pytest.mark.parametrize("mode", ["head", "last", "full"])
def test_the_recipe_and_that_of_the_head_are_in_the_key(net, images, mode, monkeypatch):
    before = make_cell(net, images, mode).key
    original = finetune.default_recipe
    keys = {before}
    for name, changes in (("head", {"lr_head": 3.0}), (mode, {"refit": False}), (mode, {"epochs": 4})):

        def changed(asked, n, optimizer="sgd", kind="image", *, name=name, changes=changes):
            recipe = original(asked, n, optimizer, kind)
            return replace(recipe, **changes) if asked == name else recipe

        monkeypatch.setattr(finetune, "default_recipe", changed)
        monkeypatch.setattr(finetune.training, "default_recipe", changed)
        keys.add(make_cell(net, images, mode).key)
    assert len(keys) == 4


def test_the_optimiser_is_that_of_the_network(net, images, monkeypatch):
    setup = TuningSetup(net, images, "cpu")
    assert setup.recipe("last", 100).optimizer == "sgd"
    monkeypatch.setitem(vars(net), "is_transformer", True)
    assert setup.recipe("last", 100) == finetune.default_recipe("last", 100, "adamw")
    assert setup.recipe("head", 100) == finetune.default_recipe("head", 100)


def test_a_record_says_what_was_chosen_on_which_images_and_trained_on_how_many(net, images):
    cell = make_cell(net, images, "head")
    fitted = cell.method.fit(cell)
    about, curves = fitted.params, fitted.curves
    at = curves["epoch"].index(curves["best_epoch"])
    assert about["val_accuracy"] == curves["val_accuracy"][at] is not None
    assert about["n_fit"] + about["n_watched"] == about["n_refit"] == len(SPLIT.train)
    assert any("repeated" in note for note in fitted.notes)


def test_a_set_that_is_trained_whole_is_not_refitted(net, images):
    cell = make_cell(net, images, "head", trained_whole=10)
    fitted = cell.method.fit(cell)
    assert (fitted.params["n_watched"], fitted.params["n_refit"]) == (0, 0)
    assert fitted.params["val_accuracy"] is None


def test_what_a_setup_leaves_out_is_said_in_words(net, images):
    setup = TuningSetup(net, images, "cpu", augment=False)
    assert setup.omissions("full") == ("a search for the learning rate", "random crops and flips")
    assert setup.omissions("head") == TuningSetup(net, images, "cpu").omissions("full") == ()
