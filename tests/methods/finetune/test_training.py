import random
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from featx.errors import ImageError, InputError, UnknownName
from featx.inputs.image import EncodedImage
from featx.methods.finetune import FineTuned, Recipe, activations, default_recipe, fine_tune
from featx.methods.finetune.batches import plain_view
from featx.methods.finetune.trainable_backbone import TrainableBackbone

TRAIN, VAL, TEST = np.arange(36), np.arange(36, 48), np.arange(48, 60)


def recipe(mode="full", **changes):
    return replace(default_recipe(mode, 36), **{"epochs": 3, "lr_search": (), "refit": False} | changes)


def frozen(backbone, images):
    """Embeddings by a plain loop: one image at a time through the frozen module."""
    module, p = backbone.build(), backbone.preprocessing
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (p.mean, p.std))
    rows = []
    for source in images:
        x = torch.from_numpy(p(source.read().image()).copy()).permute(2, 0, 1) / 255
        with torch.no_grad():
            rows.append(module(((x - mean) / std)[None])[0].numpy())
    return np.stack(rows)


def tune(backbone, stripes, how, **options):
    images, labels = stripes
    settings = {"train_idx": TRAIN, "val_idx": VAL, "device": "cpu"} | options
    return fine_tune(
        backbone, settings.pop("images", images), settings.pop("labels", labels), 3, recipe=how, **settings
    )


def numbers(history):
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in history]


# What is learned, and what is left as it was


@pytest.mark.parametrize("mode", ["head", "last", "gradual", "full"])
def test_every_mode_gives_probabilities_and_a_history(tiny, stripes, mode):
    tuned = tune(tiny, stripes, recipe(mode, unfreeze=1))
    images, _ = stripes
    proba = tuned.predict_proba([images[i] for i in TEST])
    assert proba.shape == (12, 3)
    assert proba.dtype == np.float64
    np.testing.assert_allclose(proba.sum(1), 1)
    np.testing.assert_array_equal(tuned.predict([images[i] for i in TEST]), proba.argmax(1))
    counted = [entry["epoch"] for entry in tuned.history]
    assert counted == list(range(counted[0], counted[0] + len(counted)))
    assert counted[0] == (1 if mode == "head" else 0)
    keys = {"epoch", "phase", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds"}
    keys |= set() if mode == "head" else {"val_tempered_loss"}
    assert all(set(entry) == keys for entry in tuned.history)
    assert tuned.seconds > 0
    assert tuned.recipe.mode == mode
    assert (tuned.device, tuned.precision) == ("cpu", "fp32") or tuned.precision == "bf16"


def test_training_the_whole_network_learns_what_the_frozen_one_cannot(tiny, stripes):
    how = replace(recipe("full", lr_backbone=0.05, patience=30, augment=False), epochs=25)
    tuned = tune(tiny, stripes, how)
    start, best = tuned.history[0], tuned.history[tuned.best_epoch]
    assert best["val_loss"] < 0.7 * start["val_loss"]
    images, labels = stripes
    assert (tuned.predict([images[i] for i in TEST]) == labels[TEST]).mean() >= 0.75


@pytest.mark.parametrize(("mode", "learning"), [("last", {"top"}), ("full", {"stem", "middle", "top"})])
def test_only_what_the_mode_names_is_changed_and_batchnorm_statistics_never(tiny, stripes, mode, learning):
    tuned = tune(tiny, stripes, recipe(mode, unfreeze=1, lr_backbone=0.05, augment=False), val_idx=None)
    before, after = tiny.build().state_dict(), tuned.network[0].state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[0] for name in changed} == learning
    assert not any("running" in name or "num_batches" in name for name in changed)


def test_the_backbone_itself_is_not_changed(tiny, stripes):
    shared = tiny.build()
    before = {k: v.clone() for k, v in shared.state_dict().items()}
    tiny.module = shared
    tune(tiny, stripes, recipe("full"))
    assert all(torch.equal(v, before[k]) for k, v in shared.state_dict().items())


def test_the_network_is_a_plain_module_that_predicts_the_same(tiny, stripes):
    images, _ = stripes
    tuned = tune(tiny, stripes, recipe("full", lr_backbone=0.05))
    assert not tuned.network.training
    p = tiny.preprocessing
    pixels = np.stack([plain_view(p)(images[i], i) for i in TEST])
    x = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - torch.tensor(p.mean).view(1, 3, 1, 1)) / (
        torch.tensor(p.std).view(1, 3, 1, 1)
    )
    with torch.no_grad():
        expected = tuned.network(x).softmax(1).numpy()
    np.testing.assert_allclose(tuned.predict_proba([images[i] for i in TEST]), expected, atol=1e-4)


# Data that must not be seen


@pytest.mark.parametrize("mode", ["head", "last", "full"])
def test_test_images_and_their_embeddings_are_never_looked_at(tiny, stripes, poison, mode):
    images, labels = stripes
    hidden = [poison if i in TEST else image for i, image in enumerate(images)]
    embeddings = frozen(tiny, images)
    embeddings[TEST] = np.nan
    wrong = labels.copy()
    wrong[TEST] = -7
    for rows in (embeddings, None):
        tuned = tune(tiny, stripes, recipe(mode), images=hidden, labels=wrong, embeddings=rows)
        assert np.isfinite(tuned.history[-1]["val_loss"])


@pytest.mark.parametrize("mode", ["head", "full"])
def test_embeddings_that_are_given_change_nothing_but_the_work(tiny, stripes, mode):
    given = tune(tiny, stripes, recipe(mode), embeddings=frozen(tiny, stripes[0]))
    found = tune(tiny, stripes, recipe(mode))
    for one, other in zip(given.history, found.history, strict=True):
        assert one["val_loss"] == pytest.approx(other["val_loss"], rel=1e-3)
    assert found.images_forwarded == given.images_forwarded + len(TRAIN) + len(VAL)


def test_the_head_needs_no_image_when_embeddings_are_there(tiny, stripes):
    embeddings = frozen(tiny, stripes[0])
    tuned = tune(tiny, stripes, "head", images=None, embeddings=embeddings)
    assert tuned.images_forwarded == 0
    from_rows = tuned.predict_proba(embeddings[TEST])
    from_images = tuned.predict_proba([stripes[0][i] for i in TEST])
    np.testing.assert_allclose(from_rows, from_images, atol=1e-4)


def test_fine_tuning_sets_out_from_the_head_trained_on_the_embeddings(tiny, stripes):
    head = tune(tiny, stripes, "head")
    full = tune(tiny, stripes, recipe("full"))
    assert numbers(full.head_history) == numbers(head.history)
    assert full.history[0]["val_loss"] == pytest.approx(
        head.history[head.best_epoch - 1]["val_loss"], rel=1e-4
    )


# Chance


def test_the_same_seed_gives_the_same_history_and_another_seed_another(tiny, stripes):
    runs = [tune(tiny, stripes, recipe("full"), seed=seed) for seed in (1, 1, 2)]
    assert numbers(runs[0].history) == numbers(runs[1].history)
    assert numbers(runs[0].history) != numbers(runs[2].history)
    images = stripes[0][:6]
    np.testing.assert_array_equal(runs[0].predict_proba(images), runs[1].predict_proba(images))


def test_the_callers_random_state_is_neither_read_nor_moved(tiny, stripes):
    states = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())  # noqa: NPY002
    first = tune(tiny, stripes, recipe("last"))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert random.getstate() == states[2]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        assert numbers(tune(tiny, stripes, recipe("last")).history) == numbers(first.history)


# Choosing the epoch


@pytest.mark.parametrize(("low", "kept"), [(0.1, 6), (5.0, 3)])
def test_the_last_epoch_is_kept_unless_an_earlier_one_is_better_by_more_than_two_standard_errors(
    tiny, stripes, monkeypatch, low, kept
):
    losses = iter(range(7))

    def tempered(logits, labels):
        epoch = next(losses)
        noise = np.resize([1.0, -1.0], len(labels)) * (epoch == 6)
        return 10 - low * (epoch == 3) + noise

    monkeypatch.setattr("featx.methods.finetune.epochs.tempered_losses", tempered)
    monkeypatch.setattr("featx.methods.finetune.epochs.NetworkTraining._start", lambda self: next(losses))
    tuned = tune(tiny, stripes, replace(recipe("full", lr_backbone=0.2, patience=9), epochs=6))
    assert [entry["epoch"] for entry in tuned.history] == [1, 2, 3, 4, 5, 6]
    assert tuned.best_epoch == kept


def test_a_training_that_ended_early_keeps_its_best_epoch(tiny, stripes):
    tuned = tune(tiny, stripes, replace(recipe("full", lr_backbone=0.2, patience=1), epochs=9))
    losses = [entry["val_tempered_loss"] for entry in tuned.history]
    assert len(losses) < 10
    assert tuned.best_epoch == int(np.argmin(losses)) < len(losses) - 1


def test_the_weights_of_the_epoch_that_was_kept_predict(tiny, stripes):
    tuned = tune(tiny, stripes, replace(recipe("full", lr_backbone=0.2, patience=9), epochs=6))
    images, labels = stripes
    proba = tuned.predict_proba([images[i] for i in VAL])
    kept = tuned.history[tuned.best_epoch]["val_loss"]
    assert -np.log(proba[np.arange(12), labels[VAL]]).mean() == pytest.approx(kept, rel=1e-3)


def test_training_that_only_harms_stops_early_and_keeps_the_start(tiny, stripes):
    how = replace(recipe("full", lr_backbone=30.0, lr_head=30.0, patience=2, clip_norm=None), epochs=9)
    tuned = tune(tiny, stripes, how)
    assert tuned.best_epoch == 0
    assert len(tuned.history) <= 3
    assert any("was therefore kept" in note for note in tuned.notes)
    images = [stripes[0][i] for i in VAL]
    expected = tune(tiny, stripes, recipe("head", epochs=100)).predict_proba(images)
    np.testing.assert_allclose(tuned.predict_proba(images), expected, atol=1e-4)


def test_a_loss_that_is_no_longer_finite_stops_the_training_with_a_note(tiny, stripes):
    how = recipe("full", lr_backbone=100.0, clip_norm=None)
    tuned = tune(tiny, stripes, how)
    assert any("no longer finite" in note for note in tuned.notes)
    assert np.isfinite(tuned.predict_proba(stripes[0][:3])).all()


def test_without_a_validation_part_all_epochs_run_and_the_last_is_kept(tiny, stripes):
    for val in (None, [], np.array([], int)):
        tuned = tune(tiny, stripes, recipe("last", patience=1), val_idx=val)
        assert tuned.best_epoch == 3 == len(tuned.history) - 1
        assert tuned.history[-1]["val_loss"] is None
        assert any("no validation images" in note for note in tuned.notes)


def test_one_image_a_class_is_enough(tiny, stripes):
    for mode in ("head", "last", "full"):
        tuned = tune(tiny, stripes, recipe(mode), train_idx=[0, 1, 2], val_idx=None)
        assert np.isfinite(tuned.predict_proba(stripes[0][:3])).all()


def test_a_class_without_training_images_is_noted(tiny, stripes):
    only = TRAIN[stripes[1][TRAIN] != 1]
    tuned = tune(tiny, stripes, recipe("head"), train_idx=only)
    assert any("no training image of 1 of 3 classes (1)" in note for note in tuned.notes)


# The shortcuts give what the long way gives


@pytest.mark.parametrize("mode", ["last", "full"])
def test_a_network_that_cannot_be_traced_learns_the_same(tiny, untraceable, stripes, mode):
    one = tune(tiny, stripes, recipe(mode, unfreeze=1))
    other = tune(untraceable, stripes, recipe(mode, unfreeze=1))
    for a, b in zip(one.history, other.history, strict=True):
        assert a["val_loss"] == pytest.approx(b["val_loss"], rel=1e-3)


def test_frozen_activations_are_kept_only_within_the_limit_and_change_nothing(tiny, stripes, monkeypatch):
    how = recipe("last", unfreeze=1, augment=False)
    rows = frozen(tiny, stripes[0])
    kept = tune(tiny, stripes, how, embeddings=rows)
    assert kept.images_forwarded == len(TRAIN) + len(VAL)
    monkeypatch.setattr(activations, "MEMORY_BYTES", 100)
    monkeypatch.setattr(activations, "DISK_SHARE", 0)
    again = tune(tiny, stripes, how, embeddings=rows)
    assert again.images_forwarded > 3 * (len(TRAIN) + len(VAL))
    for one, other in zip(kept.history, again.history, strict=True):
        assert one["val_loss"] == pytest.approx(other["val_loss"], rel=1e-4)


def test_augmented_training_images_come_anew_in_every_epoch(tiny, stripes):
    rows = frozen(tiny, stripes[0])
    tuned = tune(tiny, stripes, recipe("last", unfreeze=1), embeddings=rows)
    assert tuned.images_forwarded == 3 * len(TRAIN) + len(VAL)
    tuned = tune(tiny, stripes, recipe("full"), embeddings=rows)
    assert tuned.images_forwarded == 3 * (len(TRAIN) + len(VAL))


def limited(monkeypatch, most):
    """Pretend that memory runs out beyond `most` images; return the list of batch sizes."""
    sizes, after = [], TrainableBackbone.run_upper

    def scarce(self, parts, at=slice(None)):
        sizes.append(len(parts[0][at]))
        if sizes[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return after(self, parts, at)

    monkeypatch.setattr(TrainableBackbone, "run_upper", scarce)
    return sizes


def test_scarce_memory_splits_batches_and_changes_nothing(tiny, stripes, monkeypatch):
    how = recipe("full", batch_size=8)
    plenty = tune(tiny, stripes, how)
    sizes = limited(monkeypatch, 3)
    scarce = tune(tiny, stripes, how)
    for one, other in zip(plenty.history, scarce.history, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-3)
        assert one["val_loss"] == pytest.approx(other["val_loss"], rel=1e-3)
    assert min(sizes) >= 1
    assert scarce.predict_proba(stripes[0][:9], batch_size=9).shape == (9, 3)


def test_memory_for_not_even_one_image_is_one_clear_error(tiny, stripes, monkeypatch):
    rows = frozen(tiny, stripes[0])
    limited(monkeypatch, 0)
    for embeddings in (rows, None):
        with pytest.raises(InputError, match="one image does not fit into the device's memory"):
            tune(tiny, stripes, recipe("full"), embeddings=embeddings)


def test_bf16_training_runs_and_stays_close(tiny, stripes, monkeypatch):

    monkeypatch.setattr("featx.machine.cpu_has_bf16", lambda: False)
    exact = tune(tiny, stripes, recipe("full"))
    monkeypatch.setattr("featx.machine.cpu_has_bf16", lambda: True)
    rough = tune(tiny, stripes, recipe("full"))
    assert (exact.precision, rough.precision) == ("fp32", "bf16")
    assert rough.history[-1]["val_loss"] == pytest.approx(exact.history[-1]["val_loss"], abs=0.1)
    assert all(p.dtype == torch.float32 for p in rough.network.parameters())


def test_batch_size_and_order_do_not_change_predictions(tiny, stripes):
    tuned = tune(tiny, stripes, recipe("full"))
    images = stripes[0][:10]
    expected = tuned.predict_proba(images)
    np.testing.assert_allclose(tuned.predict_proba(images, batch_size=1), expected, atol=1e-5)
    np.testing.assert_allclose(tuned.predict_proba(images[::-1])[::-1], expected, atol=1e-5)
    assert tuned.predict_proba([]).shape == (0, 3)


@pytest.mark.parametrize("mode", ["head", "last"])
def test_a_copy_predicts_the_same(tiny, stripes, mode):
    tuned = tune(tiny, stripes, recipe(mode))
    images = stripes[0][:5]
    np.testing.assert_allclose(deepcopy(tuned).predict_proba(images), tuned.predict_proba(images), atol=1e-6)


def test_more_blocks_than_there_are_trains_them_all(tiny, stripes):
    tuned = tune(tiny, stripes, recipe("last", unfreeze=50))
    assert np.isfinite(tuned.history[-1]["val_loss"])


def test_progress_is_told_every_epoch(tiny, stripes):
    told = []
    tuned = tune(tiny, stripes, recipe("last"), progress=told.append)
    assert told == tuned.history
    told.clear()
    tuned = tune(tiny, stripes, "head", progress=told.append)
    assert told == [tuned.history[tuned.best_epoch - 1]]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("mode", ["head", "last", "full"])
def test_training_on_cuda_learns_what_it_learns_on_the_cpu(tiny, stripes, mode):
    here = tune(tiny, stripes, recipe(mode))
    there = tune(tiny, stripes, recipe(mode), device="cuda")
    assert there.device.startswith("cuda")
    assert there.history[-1]["val_loss"] == pytest.approx(here.history[-1]["val_loss"], abs=0.1)
    assert there.predict_proba(stripes[0][:4]).shape == (4, 3)


# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": np.zeros(59, int)}, "59 labels and 60 images"),
        ({"labels": np.zeros(60)}, "labels: expected a one-dimensional array of integers"),
        ({"labels": np.zeros((60, 1), int)}, "labels: expected a one-dimensional"),
        ({"labels": np.full(60, 3)}, "labels: expected values from 0 to 2, got 3 at position 0"),
        ({"labels": np.full(60, -1)}, "labels: expected values from 0 to 2, got -1"),
        ({"train_idx": []}, "train_idx: expected at least one image"),
        ({"train_idx": [0, 60]}, "train_idx: expected positions from 0 to 59, got 60"),
        ({"val_idx": [-1]}, "val_idx: expected positions from 0 to 59, got -1"),
        ({"train_idx": [0, 1, 1]}, "train_idx: position 1 is there more than once"),
        ({"train_idx": [0.5]}, "train_idx: expected a one-dimensional array of integers"),
        (
            {"train_idx": np.ones(60, bool)},
            "train_idx: expected a one-dimensional array of integers, got bool",
        ),
        ({"val_idx": [35, 36]}, "share 1 image, the first at position 35"),
        ({"embeddings": np.zeros((60, 9), np.float32)}, r"embeddings: expected floats of shape \(60, 8\)"),
        ({"embeddings": np.zeros((59, 8), np.float32)}, r"embeddings: expected floats of shape \(60, 8\)"),
        ({"embeddings": np.zeros((60, 8), int)}, "embeddings: expected floats"),
        ({"embeddings": np.full((60, 8), np.nan, np.float32)}, "row 0 has values that are not finite"),
        ({"images": None}, "needs images or embeddings, got neither"),
        ({"images": None, "embeddings": np.zeros((60, 8), np.float32)}, "mode 'full' needs the images"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"seed": -1}, "seed: expected a whole number"),
        ({"seed": 0.5}, "seed: expected a whole number"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_in_one_line(tiny, stripes, options, message):
    with pytest.raises(InputError, match=message) as caught:
        tune(tiny, stripes, recipe("full"), **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("n_classes", [1, 0, 2.5, "3", True])
def test_a_wrong_number_of_classes_is_refused(tiny, stripes, n_classes):
    with pytest.raises(InputError, match="n_classes"):
        fine_tune(tiny, *stripes, n_classes, recipe="head", train_idx=TRAIN)


def test_an_unknown_mode_is_refused(tiny, stripes):
    with pytest.raises(UnknownName, match="fine-tuning mode"):
        tune(tiny, stripes, "everything")


@pytest.mark.parametrize("mode", ["head", "last", "full"])
def test_an_unreadable_image_stops_with_its_id(tiny, stripes, mode):
    images = list(stripes[0])
    images[TRAIN[5]] = EncodedImage("rose/5.jpg", b"not an image at all")
    for embeddings in (None, frozen(tiny, stripes[0])):
        if mode == "head" and embeddings is not None:
            continue
        with pytest.raises(ImageError, match=r"rose/5\.jpg"):
            tune(tiny, stripes, recipe(mode), images=images, embeddings=embeddings)


def test_embeddings_are_refused_for_a_network_that_was_changed(tiny, stripes):
    tuned = tune(tiny, stripes, recipe("last"))
    with pytest.raises(InputError, match="give the images"):
        tuned.predict_proba(np.zeros((2, 8), np.float32))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((2, 9), np.float32), r"expected shape \(n, 8\), got \(2, 9\)"),
        (np.zeros(8, np.float32), r"expected shape \(n, 8\), got \(8,\)"),
        (np.full((2, 8), np.inf, np.float32), "expected finite values"),
    ],
)
def test_embeddings_of_another_shape_are_refused(tiny, stripes, rows, message):
    tuned = tune(tiny, stripes, "head")
    with pytest.raises(InputError, match=message):
        tuned.predict_proba(rows)


def test_recipes_are_plain_data_that_can_be_replaced(tiny, stripes):
    how = replace(default_recipe("last", 36), epochs=1)
    assert isinstance(how, Recipe)
    assert len(tune(tiny, stripes, how).history) == 2


# The real thing, small


def test_a_real_backbone_with_random_weights_trains_in_every_mode(stripes):
    from featx.backbones import load_backbone

    backbone = load_backbone("mobilenet_v3_small", weights=None, image_size=32)
    for mode in ("head", "last", "full"):
        tuned = tune(backbone, stripes, replace(recipe(mode, lr_backbone=0.01), epochs=1))
        assert np.isfinite(tuned.predict_proba(stripes[0][:2])).all()
        assert isinstance(tuned.network, nn.Sequential)


# Going on from a training


@pytest.mark.parametrize("mode", ["head", "last", "full"])
def test_a_training_goes_on_from_another_and_leaves_that_as_it_was(tiny, stripes, mode):
    how = recipe(mode, unfreeze=1, lr_backbone=0.02, augment=False)
    labels = np.arange(60) // 7 % 3  # nothing that could be learned in a few epochs
    first = tune(tiny, stripes, how, labels=labels, val_idx=None)
    images = [stripes[0][i] for i in TEST]
    before = first.predict_proba(images)
    second = tune(tiny, stripes, how, labels=labels, val_idx=None, start_from=first)
    start, reached = second.history[0], first.predict_proba([stripes[0][i] for i in TRAIN])
    assert start["epoch"] == 0
    loss = -np.log(reached[np.arange(36), labels[TRAIN]]).mean()
    assert start["train_loss"] == pytest.approx(loss, rel=1e-3)
    assert [entry["epoch"] for entry in second.history] == list(range(len(second.history)))
    assert second.head_history == (second.history if mode == "head" else [])
    assert not np.array_equal(second.predict_proba(images), before)
    np.testing.assert_array_equal(first.predict_proba(images), before)


def test_going_on_keeps_the_start_where_no_epoch_is_better(tiny, stripes):
    first = tune(tiny, stripes, recipe("head"))
    worse = recipe("head", patience=1)
    object.__setattr__(worse, "lr_head", 1e4)  # no recipe may have it
    second = tune(tiny, stripes, worse, start_from=first)
    assert second.best_epoch == 0
    images = [stripes[0][i] for i in TEST]
    np.testing.assert_array_equal(second.predict_proba(images), first.predict_proba(images))


def test_a_changed_network_is_not_gone_on_from_by_its_old_embeddings(tiny, stripes):
    full = tune(tiny, stripes, recipe("full", lr_backbone=0.05, augment=False), val_idx=None)
    stale = frozen(tiny, stripes[0])
    given = tune(tiny, stripes, recipe("last", unfreeze=1), start_from=full, embeddings=stale)
    found = tune(tiny, stripes, recipe("last", unfreeze=1), start_from=full)
    assert numbers(given.history) == numbers(found.history)
    with pytest.raises(InputError, match=r"mode 'full' has changed \d+ of its tensors"):
        tune(tiny, stripes, recipe("head"), start_from=full)


def test_going_on_needs_the_same_classes_and_backbone(tiny, stripes):
    first = tune(tiny, stripes, recipe("head"))
    with pytest.raises(InputError, match="trained for 3 classes, and there are 4 now"):
        fine_tune(tiny, *stripes, 4, recipe="head", train_idx=TRAIN, start_from=first)
    with pytest.raises(InputError, match="give the same backbone"):
        tune(type(tiny)(), stripes, recipe("head"), start_from=first)


# Plain arrays


@pytest.mark.parametrize("mode", ["head", "last", "full"])
def test_a_training_is_rebuilt_from_its_arrays_to_the_last_bit(tiny, stripes, mode):
    how = recipe(mode, unfreeze=1, lr_backbone=0.05, augment=False)
    tuned = tune(tiny, stripes, how, val_idx=None)
    arrays = tuned.trained_values()
    assert all(isinstance(value, np.ndarray) for value in arrays.values())
    changed = {name.split(".")[1] for name in arrays if name.startswith("network.")}
    assert changed == {"head": set(), "last": {"top"}, "full": {"stem", "middle", "top"}}[mode]
    again = FineTuned.rebuild(arrays, tiny, device="cpu", **tuned.record())
    images = [stripes[0][i] for i in TEST]
    np.testing.assert_array_equal(again.predict_proba(images), tuned.predict_proba(images))
    assert {k: v.tobytes() for k, v in again.trained_values().items()} == {
        k: v.tobytes() for k, v in arrays.items()
    }
    assert again.record() == tuned.record()


def test_layers_that_were_trained_earlier_are_rebuilt_too(tiny, stripes):
    full = tune(tiny, stripes, recipe("full", lr_backbone=0.05, augment=False), val_idx=None)
    last = tune(tiny, stripes, recipe("last", unfreeze=1, augment=False), val_idx=None, start_from=full)
    again = FineTuned.rebuild(last.trained_values(), tiny, device="cpu", **last.record())
    images = [stripes[0][i] for i in TEST]
    np.testing.assert_array_equal(again.predict_proba(images), last.predict_proba(images))


def test_a_row_of_embeddings_is_classified_alike_in_any_company(tiny, stripes):
    rows = frozen(tiny, stripes[0])
    tuned = tune(tiny, stripes, "head", images=None, embeddings=rows)
    alone = np.concatenate([tuned.logits(rows[i : i + 1]) for i in range(len(rows))])
    np.testing.assert_allclose(tuned.logits(rows), alone, rtol=1e-12)
