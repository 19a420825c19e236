"""Check that a refit is the same training on all images, and that the validated one stays readable."""

import json
from dataclasses import replace

import numpy as np
import pytest

from featx.methods.finetune import FineTuned, Recipe, default_recipe, fine_tune
from featx.methods.finetune.epochs import NetworkTraining, _Diverged

TRAIN, VAL, TEST = np.arange(36), np.arange(36, 48), np.arange(48, 60)
BOTH = np.arange(48)


def recipe(mode="full", **changes):
    settings = {"epochs": 2, "lr_search": (), "augment": False, "lr_backbone": 0.02, "unfreeze": 1}
    return replace(default_recipe(mode, 36), **settings | changes)


def tune(backbone, stripes, how, **options):
    images, labels = stripes
    settings = {"train_idx": TRAIN, "val_idx": VAL, "device": "cpu"} | options
    return fine_tune(backbone, images, labels, 3, recipe=how, **settings)


def numbers(history):
    return [{k: v for k, v in entry.items() if k not in ("seconds", "phase")} for entry in history]


def test_default_recipes_are_refitted_and_those_of_version_0_1_are_not():
    for mode in ("head", "last", "gradual", "full"):
        old = default_recipe(mode, 576).to_dict()
        assert old.pop("refit") is True
        assert Recipe.from_dict(json.loads(json.dumps(old))).refit is False


@pytest.mark.parametrize("mode", ["head", "last", "gradual", "full"])
def test_a_refit_is_the_same_training_on_both_parts(tiny, stripes, mode):
    start = tune(tiny, stripes, recipe("head", epochs=1, refit=False))
    tuned = tune(tiny, stripes, recipe(mode), start_from=start)
    assert tuned.best_epoch == 2
    whole = tune(tiny, stripes, recipe(mode), start_from=start, train_idx=BOTH, val_idx=None)
    images = [stripes[0][i] for i in TEST]
    np.testing.assert_array_equal(tuned.predict_proba(images), whole.predict_proba(images))
    assert numbers(tuned.refit_history) == numbers(whole.history)


@pytest.mark.parametrize("mode", ["head", "full"])
def test_a_refit_has_a_whole_schedule_of_the_chosen_number_of_epochs(tiny, stripes, mode):
    start = tune(tiny, stripes, recipe("head", epochs=1, refit=False))
    how = recipe(mode, epochs=6, lr_head=300.0, patience=9 if mode == "head" else 2)
    tuned = tune(tiny, stripes, how, start_from=start)
    assert 0 < tuned.best_epoch < 6
    short = replace(how, epochs=tuned.best_epoch)
    whole = tune(tiny, stripes, short, start_from=start, train_idx=BOTH, val_idx=None)
    assert numbers(tuned.refit_history) == numbers(whole.history)
    images = [stripes[0][i] for i in TEST]
    np.testing.assert_array_equal(tuned.predict_proba(images), whole.predict_proba(images))


@pytest.mark.parametrize("mode", ["head", "last", "full"])
def test_the_validated_training_stays_readable(tiny, stripes, mode):
    tuned = tune(tiny, stripes, recipe(mode))
    before = tune(tiny, stripes, recipe(mode, refit=False))
    assert numbers(tuned.history) == numbers(before.history)
    assert tuned.head_history == tuned.history if mode == "head" else tuned.head_history
    assert tuned.best["epoch"] == tuned.best_epoch == before.best_epoch
    assert tuned.best["val_accuracy"] == before.best["val_accuracy"] is not None
    assert {entry["phase"] for entry in tuned.refit_history} == {"refit"}
    assert all(entry["val_loss"] is None for entry in tuned.refit_history)
    assert before.refit_history == []
    assert any("chosen on 12 images, and the training then repeated" in note for note in tuned.notes)
    assert not any("repeated" in note for note in before.notes)


def test_the_head_below_the_layers_is_refitted_with_the_c_that_validation_chose(tiny, stripes):
    tuned = tune(tiny, stripes, recipe("full", head_start="logistic", lr_backbone=1e-12, lr_head=1e-12))
    chosen = min(tuned.head_history, key=lambda entry: entry["val_loss"])["C"]
    from featx.methods.finetune.logistic_start import logistic_head
    from featx.methods.finetune.trainable_backbone import TrainableBackbone, forward_inputs

    network = TrainableBackbone(tiny, tuned._arithmetic)
    rows = np.concatenate([part.numpy() for _, part in forward_inputs(network, stripes[0], BOTH, 48)])
    head, _, _ = logistic_head(rows, stripes[1][BOTH], 3, BOTH, BOTH[:0], c=chosen)
    np.testing.assert_allclose(
        tuned._head.linear.weight.detach(), head.linear.weight.detach(), rtol=1e-3, atol=1e-3
    )


def test_where_the_frozen_network_was_best_its_head_alone_is_refitted(tiny, stripes):
    harmful = recipe("full", lr_backbone=30.0, lr_head=30.0, clip_norm=None)
    tuned = tune(tiny, stripes, harmful)
    assert tuned.best_epoch == 0
    assert tuned.changed_values() == {}
    assert any("repeated, the head only, on all 48" in note for note in tuned.notes)
    head = tune(tiny, stripes, "head")
    images = [stripes[0][i] for i in TEST]
    np.testing.assert_allclose(tuned.predict_proba(images), head.predict_proba(images), atol=1e-4)


@pytest.mark.parametrize("mode", ["head", "full"])
def test_a_start_that_no_epoch_improves_is_kept_as_it_is(tiny, stripes, mode):
    first = tune(tiny, stripes, recipe("head", epochs=3, refit=False))
    harmful = recipe(mode, epochs=3, lr_backbone=30.0, clip_norm=None, patience=1)
    object.__setattr__(harmful, "lr_head", 1e4)  # no recipe may have it
    second = tune(tiny, stripes, harmful, start_from=first)
    assert second.best_epoch == 0
    assert second.refit_history == []
    assert any("no epoch was better than the start" in note for note in second.notes)
    images = [stripes[0][i] for i in TEST]
    np.testing.assert_allclose(second.predict_proba(images), first.predict_proba(images), atol=1e-5)


def test_without_validation_images_there_is_nothing_to_refit(tiny, stripes):
    tuned = tune(tiny, stripes, recipe("last"), val_idx=None)
    assert tuned.refit_history == []
    assert not any("repeated" in note for note in tuned.notes)


def test_a_refit_whose_loss_is_not_finite_leaves_the_validated_network(tiny, stripes, monkeypatch):
    fit = NetworkTraining._fit

    def diverge(self, *arguments):
        if self.phase == "refit":
            raise _Diverged
        return fit(self, *arguments)

    monkeypatch.setattr(NetworkTraining, "_fit", diverge)
    start = tune(tiny, stripes, recipe("head", epochs=1, refit=False))
    tuned = tune(tiny, stripes, recipe("full"), start_from=start)
    kept = tune(tiny, stripes, recipe("full", refit=False), start_from=start)
    assert kept.best_epoch > 0
    assert tuned.refit_history == []
    assert any("no longer finite" in note for note in tuned.notes)
    images = [stripes[0][i] for i in TEST]
    np.testing.assert_array_equal(tuned.predict_proba(images), kept.predict_proba(images))


def test_progress_follows_the_refit_too_and_a_record_keeps_it(tiny, stripes):
    told = []
    start = tune(tiny, stripes, recipe("head", epochs=1, refit=False))
    tuned = tune(tiny, stripes, recipe("last"), progress=told.append, start_from=start)
    assert told == tuned.history + tuned.refit_history
    again = FineTuned.rebuild(tuned.trained_values(), tiny, device="cpu", **tuned.record())
    assert again.refit_history == tuned.refit_history
    old = {key: value for key, value in tuned.record().items() if key != "refit_history"}
    assert FineTuned.rebuild(tuned.trained_values(), tiny, device="cpu", **old).refit_history == []


def test_what_a_recipe_leaves_out_is_said_in_words():
    assert default_recipe("full", 100).omissions == default_recipe("head", 100).omissions == ()
    spare = recipe("full", refit=False)
    assert [words.split()[0] for words in spare.omissions] == ["a", "random", "training"]
