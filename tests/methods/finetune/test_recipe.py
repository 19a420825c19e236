import json
from dataclasses import replace

import pytest

from featx.errors import InputError, UnknownName
from featx.methods.finetune import MODES, TITLES, Recipe, default_recipe


def test_every_mode_has_a_title_and_a_default_that_survives_json():
    for mode in MODES:
        recipe = default_recipe(mode, 576)
        assert recipe.title == TITLES[mode]
        assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_small_sets_get_more_epochs_and_smaller_batches_within_bounds():
    epochs = [default_recipe("full", n).epochs for n in (10, 100, 576, 2_000, 1_000_000)]
    assert epochs == sorted(epochs, reverse=True)
    for recipe in (default_recipe("full", 2_000), default_recipe("last", 10)):
        assert recipe.patience == recipe.epochs  # the end of the cosine is always reached


def test_small_sets_are_trained_for_all_epochs_with_each_rate_and_large_ones_for_fewer():
    for n in (10, 100, 576, 1_000, 10_000):
        recipe = default_recipe("full", n)
        assert (recipe.search_epochs == recipe.epochs) == (n <= 576)
    assert default_recipe("full", 1_000).search_epochs == 2
    assert recipe.search_epochs == 1


def test_rates_to_try_are_in_proportion_to_the_batch():
    for n, batch in ((10, 8), (200, 16), (1_000, 32)):
        recipe = default_recipe("full", n)
        assert recipe.batch_size == batch
        assert recipe.lr_search == pytest.approx([0.003 * batch / 32, 0.03 * batch / 32])


def test_the_bounds_of_epochs_and_batches():
    epochs = [default_recipe("full", n).epochs for n in (10, 1_000_000)]
    assert (epochs[0], epochs[-1]) == (20, 5)
    assert default_recipe("full", 10).batch_size < default_recipe("full", 1000).batch_size


def test_pretrained_layers_learn_slower_than_the_head():
    for mode in ("last", "full"):
        recipe = default_recipe(mode, 576)
        assert recipe.lr_backbone <= recipe.lr_head / 10
        assert recipe.augment
    assert not default_recipe("head", 576).augment


def test_a_wrong_mode_names_the_known_ones():
    for make in (lambda: Recipe("ful", epochs=1), lambda: default_recipe("ful", 5)):
        with pytest.raises(UnknownName, match="fine-tuning mode 'ful'; did you mean full"):
            make()


@pytest.mark.parametrize("n_train", [0, -1, 2.5, "10", True, None])
def test_a_wrong_number_of_images_is_refused(n_train):
    with pytest.raises(InputError, match="n_train"):
        default_recipe("full", n_train)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in ("epochs", "batch_size", "unfreeze", "patience")
        for value in (0, 1.5, "3", True)
    ]
    + [("lr_head", 0), ("lr_head", float("nan")), ("lr_backbone", -1), ("lr_backbone", float("inf"))]
    + [("momentum", 1), ("momentum", -0.1), ("weight_decay", -1e-9), ("label_smoothing", 1), ("clip_norm", 0)]
    + [("val_fraction", 0), ("val_fraction", 1), ("lr_head", "0.1"), ("lr_head", None), ("augment", 1)]
    + [("layer_decay", 0), ("layer_decay", 1.1), ("l2_sp", -1), ("l2_sp_head", -1), ("crop_scale", 0)]
    + [("flip", 2), ("jitter", -0.1), ("mixup", -1), ("ema", 1), ("views", 0), ("search_epochs", 0)]
    + [("replay", -1), ("replay", None), ("replay_temperature", 0), ("replay_batch", 0)]
    + [("lr_search", (0.1, 0)), ("lr_search", 0.1), ("lr_search", ("0.1",))],
)
def test_a_value_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(InputError, match=rf"recipe: {name} must be"):
        replace(default_recipe("full", 100), **{name: value})


def test_no_clipping_is_allowed():
    assert Recipe("full", epochs=1, clip_norm=None).clip_norm is None


def test_an_unknown_start_of_the_head_is_refused():
    with pytest.raises(UnknownName, match="did you mean logistic"):
        replace(default_recipe("full", 100), head_start="logistics")


def test_unknown_and_missing_fields_are_named():
    with pytest.raises(UnknownName, match="recipe field 'epoch'; did you mean epochs"):
        Recipe.from_dict({"mode": "full", "epoch": 3})
    with pytest.raises(InputError, match="missing field 'epochs'"):
        Recipe.from_dict({"mode": "full"})
