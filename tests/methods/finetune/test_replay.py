"""Check replay against a plain loop, what it preserves, and that replay=0 changes nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from featx.errors import InputError
from featx.methods.finetune import activations, default_recipe, fine_tune, forgetting
from featx.methods.finetune.batches import plain_view
from featx.methods.finetune.head import schedule
from featx.methods.finetune.replay import distillation_loss
from featx.methods.finetune.trainable_backbone import TrainableBackbone

TRAIN = np.arange(36)


def recipe(mode="full", **changes):
    settings = {"epochs": 3, "lr_search": (), "augment": False, "lr_backbone": 0.05, "batch_size": 12}
    return replace(default_recipe(mode, 36), refit=False, **settings | changes)


def tune(backbone, stripes, how, **options):
    return fine_tune(backbone, *stripes, 3, recipe=how, train_idx=TRAIN, **{"device": "cpu"} | options)


def normalised(p, images):
    x = torch.from_numpy(np.stack([plain_view(p)(image, 0) for image in images])).permute(0, 3, 1, 2).float()
    return (x / 255 - torch.tensor(p.mean).view(1, 3, 1, 1)) / torch.tensor(p.std).view(1, 3, 1, 1)


def whole_network(backbone):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(backbone.seed)
        return backbone.architecture.build(None, pretrained_style=False).eval()


def by_hand(backbone, stripes, proxies, how, trained):
    """The whole network after plain SGD on both losses; `trained(epoch)` names the trained parts."""
    network, frozen = whole_network(backbone), whole_network(backbone)
    head = tune(backbone, stripes, "head")._head
    x, y = normalised(backbone.preprocessing, stripes[0]), torch.from_numpy(stripes[1])
    old, t = normalised(backbone.preprocessing, proxies), how.replay_temperature
    rng, step = np.random.default_rng(0), 0
    for epoch in range(1, how.epochs + 1):
        layers = [p for n, p in network.named_parameters() if n.split(".")[0] in trained(epoch)]
        rated = [(p, how.lr_backbone) for p in layers] + [(p, how.lr_head) for p in head.linear.parameters()]
        order = TRAIN[rng.permutation(len(TRAIN))]
        for rows in np.split(order, len(order) // how.batch_size):
            shown = np.random.default_rng([0, step, 11]).choice(len(old), how.replay_batch, replace=False)
            targets = (frozen(old[shown]) / t).softmax(1).detach()
            now = (network(old[shown]) / t).softmax(1)
            kept = (targets * (targets / now).log()).sum() / how.replay_batch
            embeddings = super(type(network), network).forward(x[rows])
            loss = F.cross_entropy(head(embeddings), y[rows]) + how.replay * t**2 * kept
            gradients = torch.autograd.grad(loss, [p for p, _ in rated])
            with torch.no_grad():
                for (p, rate), gradient in zip(rated, gradients, strict=True):
                    p -= rate * schedule(step, how.epochs * 3) * gradient
            step += 1
    return network, head


@pytest.mark.parametrize(
    ("mode", "trained"),
    [
        ("last", lambda epoch: {"top"}),
        ("gradual", lambda epoch: set(["top", "middle", "stem"][:epoch])),
        ("full", lambda epoch: {"stem", "middle", "top"}),
    ],
)
def test_each_step_follows_both_losses(classifier, stripes, proxies, mode, trained):
    how = recipe(
        mode,
        unfreeze=1,
        momentum=0.0,
        weight_decay=0.0,
        clip_norm=None,
        lr_backbone=0.002,  # unclipped, the sharp source classifier's gradients are large
        replay=0.3,
        replay_temperature=3.0,
        replay_batch=5,
    )
    tuned = tune(classifier, stripes, how, proxy_images=proxies)
    network, head = by_hand(classifier, stripes, proxies, how, trained)
    expected = dict(network.named_parameters())
    for name, found in tuned.network[0].named_parameters():
        torch.testing.assert_close(found.detach(), expected[name].detach(), rtol=1e-6, atol=1e-6, msg=name)
    torch.testing.assert_close(tuned._head.linear.weight, head.linear.weight, rtol=1e-6, atol=1e-6)
    free = tune(classifier, stripes, replace(how, replay=0.0))
    alone = dict(free.network[0].named_parameters())
    difference = alone["top.0.weight"] - expected["top.0.weight"]
    assert difference.abs().max() > 1e-4  # a hundred times what the comparison lets pass


def test_the_source_task_is_forgotten_less(classifier, stripes, proxies):
    shown, others = proxies[:20], proxies[20:]
    how = recipe(epochs=8, lr_backbone=0.2)
    free = tune(classifier, stripes, how)
    replayed = tune(classifier, stripes, replace(how, replay=1.0), proxy_images=shown)
    without, with_ = (forgetting(classifier, one, others).agreement for one in (free, replayed))
    assert without.value < 0.8
    assert with_.value > without.value
    assert replayed.history[-1]["train_loss"] < replayed.history[0]["train_loss"]


def test_going_on_from_a_tuned_network_the_pretrained_one_stays_the_measure(classifier, stripes, proxies):
    free = tune(classifier, stripes, recipe(epochs=8, lr_backbone=0.2))
    how = recipe(epochs=8, replay=20.0, replay_batch=20)
    back = tune(classifier, stripes, how, start_from=free, proxy_images=proxies)
    agreement = [forgetting(classifier, one, proxies).agreement.value for one in (free, back)]
    assert agreement[1] > agreement[0]


def test_the_loss_is_the_divergence_times_the_temperature_squared():
    rng = torch.Generator().manual_seed(0)
    old, new = torch.randn(4, 6, generator=rng), torch.randn(4, 6, generator=rng)
    for t in (1.0, 2.0, 5.0):
        p, q = (old / t).softmax(1), (new / t).softmax(1)
        found = distillation_loss(new, p.log(), t)
        torch.testing.assert_close(found, t**2 * (p * (p.log() - q.log())).sum(1))
    torch.testing.assert_close(distillation_loss(old, p.log(), 5.0), torch.zeros(4), atol=1e-5, rtol=0)
    # At high temperatures it is half the mean squared difference of centred scores: Hinton's eq. 4.
    t = 1000.0
    found = distillation_loss(new.double(), (old.double() / t).log_softmax(1), t)
    difference = (new - new.mean(1, keepdim=True)) - (old - old.mean(1, keepdim=True))
    torch.testing.assert_close(found, difference.double().square().mean(1) / 2, rtol=1e-2, atol=0)


def test_the_search_replays_too_and_leaves_no_trace(classifier, stripes, proxies):
    how = recipe("last", unfreeze=1, replay=1.0)
    options = {"proxy_images": proxies, "val_idx": np.arange(36, 48)}
    direct = tune(classifier, stripes, how, **options)
    searched = tune(classifier, stripes, replace(how, lr_search=(0.05,)), **options)
    assert [e["val_loss"] for e in searched.history] == [e["val_loss"] for e in direct.history]


def test_scarce_memory_splits_the_proxies_and_changes_nothing(classifier, stripes, proxies, monkeypatch):
    how = recipe(replay=1.0, replay_batch=12)
    plenty = tune(classifier, stripes, how, proxy_images=proxies)
    after = TrainableBackbone.run_upper

    def scarce(self, parts, at=slice(None)):
        if len(parts[0][at]) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return after(self, parts, at)

    monkeypatch.setattr(TrainableBackbone, "run_upper", scarce)
    found = tune(classifier, stripes, how, proxy_images=proxies)
    for one, other in zip(plenty.history, found.history, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-3)


def test_proxies_are_decoded_once_and_their_frozen_activations_kept(classifier, stripes, proxies):
    embeddings = np.zeros((60, 8), np.float32)
    options = {"proxy_images": proxies, "embeddings": embeddings}
    last = tune(classifier, stripes, recipe("last", unfreeze=1, replay=1.0), **options)
    # The scores before, the frozen part, and the training images' frozen part: none in any step.
    assert last.images_forwarded == 40 + 40 + 36
    full = tune(classifier, stripes, recipe("full", replay=1.0), **options)
    assert full.images_forwarded == 40 + 3 * (36 + 3 * 8)


def test_too_many_proxies_for_this_machine_are_refused(classifier, stripes, proxies, monkeypatch):
    monkeypatch.setattr(activations, "MEMORY_BYTES", 100)
    monkeypatch.setattr(activations, "DISK_SHARE", 0)
    with pytest.raises(InputError, match="room for 40 proxy images; give fewer"):
        tune(classifier, stripes, recipe(replay=1.0), proxy_images=proxies)


def test_replay_and_proxies_come_together_or_not_at_all(classifier, stripes, proxies):
    with pytest.raises(InputError, match=r"replay is 0\.5, which needs proxy_images; got None"):
        tune(classifier, stripes, recipe(replay=0.5))
    with pytest.raises(InputError, match="the recipe's replay is 0"):
        tune(classifier, stripes, recipe(), proxy_images=proxies)
    with pytest.raises(InputError, match="at least one image, got none"):
        tune(classifier, stripes, recipe(replay=0.5), proxy_images=[])
