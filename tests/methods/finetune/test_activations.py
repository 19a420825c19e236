from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from featx.methods.finetune import activations, default_recipe, fine_tune
from featx.methods.finetune.activations import Activations, bytes_needed, store_activations

TRAIN, VAL = np.arange(36), np.arange(36, 48)
CPU = torch.device("cpu")


def parts(positions, dtype=torch.float32):
    values = torch.from_numpy(positions).to(dtype)
    return values[:, None, None].expand(-1, 2, 3).contiguous(), values[:, None] * 10


def batches(positions, dtype=torch.float32):
    return ((rows, parts(rows, dtype)) for rows in np.array_split(positions, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("limit", [1 << 20, 10])
def test_activations_are_found_by_position_in_memory_and_on_disk(monkeypatch, dtype, limit):
    monkeypatch.setattr(activations, "MEMORY_BYTES", limit)
    positions = np.array([7, 3, 90, 4, 11, 0])
    store, images = store_activations(positions, batches(positions, dtype))
    assert images == 6
    assert store.on_disk == (limit == 10)
    asked = np.array([90, 0, 3, 90])
    for found, expected in zip(store.get(asked, CPU), parts(asked, dtype), strict=True):
        assert found.dtype == dtype
        assert torch.equal(found, expected)


def test_what_finds_no_room_is_not_kept_and_not_computed_to_the_end(monkeypatch):
    monkeypatch.setattr(activations, "MEMORY_BYTES", 10)
    monkeypatch.setattr(activations, "DISK_SHARE", 0)
    positions = np.arange(9)
    assert store_activations(positions, batches(positions)) == (None, 3)
    assert bytes_needed(parts(positions), 9) == 9 * 4 * (6 + 1)


def test_the_temporary_file_goes_with_what_is_kept(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    positions = np.arange(9)
    store = Activations(positions, parts(positions), on_disk=True)
    (folder,) = tmp_path.iterdir()
    assert sum(path.stat().st_size for path in Path(folder).iterdir()) == 9 * 4 * 7
    del store
    assert list(tmp_path.iterdir()) == []


def test_stores_that_are_there_at_once_share_the_memory(monkeypatch):
    positions = np.arange(9)
    monkeypatch.setattr(activations, "MEMORY_BYTES", 3 * bytes_needed(parts(positions), 9))
    assert not store_activations(positions, batches(positions), stores=3)[0].on_disk
    assert store_activations(positions, batches(positions), stores=4)[0].on_disk


# In the training


def tune(backbone, stripes, **changes):
    settings = {"epochs": 4, "lr_search": (), "unfreeze": 1, "lr_backbone": 0.05}
    how = replace(default_recipe("last", 36), refit=False, **settings | changes)
    images, labels = stripes
    return fine_tune(backbone, images, labels, 3, recipe=how, train_idx=TRAIN, val_idx=VAL, device="cpu")


def losses(tuned):
    return [[e["train_loss"], e["val_loss"]] for e in tuned.history]


def test_kept_on_disk_or_in_memory_the_training_is_the_same(tiny, stripes, monkeypatch):
    memory = tune(tiny, stripes, augment=False)
    monkeypatch.setattr(activations, "MEMORY_BYTES", 10)
    disk = tune(tiny, stripes, augment=False)
    assert losses(disk) == losses(memory)
    assert disk.images_forwarded == memory.images_forwarded == 2 * (len(TRAIN) + len(VAL))


def test_as_many_views_as_epochs_give_what_augmenting_anew_gives(tiny, stripes):
    anew = tune(tiny, stripes, jitter=0.2)
    kept_views = tune(tiny, stripes, jitter=0.2, views=4)
    np.testing.assert_allclose(losses(kept_views), losses(anew), rtol=1e-4)
    assert kept_views.images_forwarded == anew.images_forwarded


def test_fewer_views_come_by_turns_and_are_computed_once(tiny, stripes):
    tuned = tune(tiny, stripes, views=2)
    assert tuned.images_forwarded == 2 * len(TRAIN) + len(TRAIN) + 2 * len(VAL)
    one = tune(tiny, stripes, views=1, lr_backbone=1e-12, lr_head=1e-12)
    seen = [e["train_loss"] for e in one.history[1:]]
    assert max(seen) == pytest.approx(min(seen), rel=1e-4)
    two = tune(tiny, stripes, views=2, lr_backbone=1e-12, lr_head=1e-12)
    first, second, third, fourth = (e["train_loss"] for e in two.history[1:])
    assert first == pytest.approx(third, rel=1e-4)
    assert second == pytest.approx(fourth, rel=1e-4)
    assert first != pytest.approx(second, rel=1e-4)


def test_views_repeat_in_the_whole_network_as_well(tiny, stripes):
    images, labels = stripes
    how = replace(
        default_recipe("full", 36),
        epochs=2,
        lr_search=(),
        refit=False,
        views=1,
        lr_backbone=1e-12,
        lr_head=1e-12,
    )
    tuned = fine_tune(tiny, images, labels, 3, recipe=how, train_idx=TRAIN, val_idx=VAL, device="cpu")
    first, second = (e["train_loss"] for e in tuned.history[1:])
    assert first == pytest.approx(second, rel=1e-4)


def test_a_search_and_the_training_after_it_share_what_they_keep(tiny, stripes):
    tuned = tune(tiny, stripes, augment=False, lr_search=(0.01, 0.05), search_epochs=1)
    assert len(tuned.search) == 2
    assert tuned.images_forwarded == 2 * (len(TRAIN) + len(VAL))  # for the embeddings, and once to be kept
