"""Check each form of fine-tuning against plain code for the equation of its paper."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional as F

from featx.errors import InputError
from featx.methods.finetune import default_recipe, fine_tune, fine_tune_seeds, parameter_groups
from featx.methods.finetune.batches import plain_view
from featx.methods.finetune.freezing import block_parameters
from featx.methods.finetune.head import Head, schedule
from featx.methods.finetune.logistic_start import logistic_head
from featx.methods.finetune.recipe import _RANGES as RANGES
from featx.methods.finetune.regularisers import MovingAverage, mix_images

TRAIN, VAL = np.arange(36), np.arange(36, 48)


def recipe(mode="full", **changes):
    settings = {"epochs": 3, "lr_search": (), "augment": False, "lr_backbone": 0.02, "batch_size": 8}
    settings["refit"] = False
    return replace(default_recipe(mode, 36), **settings | changes)


def tune(backbone, stripes, how, **options):
    images, labels = stripes
    settings = {"train_idx": TRAIN, "val_idx": None, "device": "cpu"} | options
    return fine_tune(backbone, images, settings.pop("labels", labels), 3, recipe=how, **settings)


def normalised(backbone, images):
    p = backbone.preprocessing
    pixels = np.stack([plain_view(p)(image, i) for i, image in enumerate(images)])
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    return (x - torch.tensor(p.mean).view(1, 3, 1, 1)) / torch.tensor(p.std).view(1, 3, 1, 1)


def by_hand(backbone, stripes, how, *, trained, penalty=None, mix=False):
    """SGD written out: (network, head) after all epochs on the whole network, nothing stored or folded.

    `trained(epoch, blocks)` gives the blocks that learn in an epoch, as (parameters, rate) pairs.
    """
    images, labels = stripes
    head = deepcopy(tune(backbone, stripes, "head")._head)
    network = backbone.build()
    blocks = block_parameters(backbone, network)
    x, y = normalised(backbone, images), torch.from_numpy(labels)
    velocity = {}
    rng = np.random.default_rng(0)
    n_steps, step = how.epochs * -(-len(TRAIN) // how.batch_size), 0
    for epoch in range(1, how.epochs + 1):
        rated = [(p, rate) for block, rate in trained(epoch, blocks) for p in block]
        rated += [(p, how.lr_head) for p in head.linear.parameters()]
        order = TRAIN[rng.permutation(len(TRAIN))]
        for first in range(0, len(order), how.batch_size):
            rows = order[first : first + how.batch_size]
            inputs, targets = x[rows], [(1.0, y[rows])]
            if mix:
                inputs, targets = mix(inputs, y[rows], step)
            logits = head(network(inputs))
            loss = sum(share * F.cross_entropy(logits, target) for share, target in targets)
            gradients = torch.autograd.grad(loss, [p for p, _ in rated])
            norm = torch.stack([g.norm() for g in gradients]).norm()
            share = schedule(step, n_steps)
            with torch.no_grad():
                for (p, rate), gradient in zip(rated, gradients, strict=True):
                    g = gradient / max(1.0, float(norm) + 1e-6)
                    g = g + (penalty(p) if penalty else how.weight_decay * p * (p.ndim > 1))
                    v = velocity[p] = how.momentum * velocity.get(p, 0) + g
                    p -= rate * share * (g + how.momentum * v)
            step += 1
    return network, head


def assert_same_network(tuned, network, head):
    for (name, found), expected in zip(
        tuned.network[0].named_parameters(), network.parameters(), strict=True
    ):
        torch.testing.assert_close(found.detach(), expected.detach(), rtol=1e-3, atol=2e-5, msg=name)
    torch.testing.assert_close(tuned._head.linear.weight, head.linear.weight, rtol=1e-3, atol=2e-4)


# Which layers learn, and how fast


def test_gradual_unfreezing_trains_one_more_block_from_the_top_in_each_epoch(tiny, stripes):
    how = recipe("gradual", unfreeze=1, epochs=4)
    tuned = tune(tiny, stripes, how)
    expected = by_hand(
        tiny, stripes, how, trained=lambda epoch, blocks: [(block, 0.02) for block in blocks[-epoch:]]
    )
    assert_same_network(tuned, *expected)


def test_gradual_unfreezing_leaves_what_it_has_not_come_to(tiny, stripes):
    tuned = tune(tiny, stripes, recipe("gradual", unfreeze=1, epochs=2))
    assert {name.split(".")[0] for name in tuned.changed_values()} == {"top", "middle"}
    tuned = tune(tiny, stripes, recipe("gradual", unfreeze=3, epochs=1))
    assert {name.split(".")[0] for name in tuned.changed_values()} == {"top", "middle", "stem"}


def test_gradual_unfreezing_does_not_lose_patience_before_every_block_has_learned(tiny, stripes):
    how = recipe("gradual", unfreeze=1, epochs=6, patience=1, lr_backbone=1e-9, lr_head=30.0)
    tuned = tune(tiny, stripes, how, val_idx=VAL)
    assert len(tuned.history) - 1 >= 3


def test_each_block_learns_at_a_fixed_share_of_the_rate_of_the_block_above(tiny, stripes):
    how = recipe("full", layer_decay=0.5)
    rates = [0.005, 0.01, 0.02]
    expected = by_hand(
        tiny, stripes, how, trained=lambda epoch, blocks: list(zip(blocks, rates, strict=True))
    )
    assert_same_network(tune(tiny, stripes, how), *expected)


def test_layer_decay_leaves_the_last_block_and_the_head_their_rates():
    blocks = [[nn.Parameter(torch.zeros(2, 2))], [nn.Parameter(torch.zeros(2))]]
    head = [nn.Parameter(torch.zeros(3, 3))]
    groups = parameter_groups(
        blocks, head, lr_backbone=0.1, lr_head=1.0, weight_decay=0.3, layer_decay=0.2, head_decay=0.7
    )
    assert [(g["lr"], g["weight_decay"]) for g in groups] == [
        (pytest.approx(0.02), 0.3),
        (0.1, 0.0),
        (1.0, 0.7),
    ]


# What the weights are pulled to, and averaged over


def test_l2_sp_pulls_to_the_pretrained_weights_and_the_head_to_zero(tiny, stripes):
    how = recipe("full", l2_sp=0.5, l2_sp_head=0.2, weight_decay=0.1)
    network = tiny.build()
    start = {p.shape: p.detach().clone() for p in network.parameters()}
    assert len(start) < len(list(network.parameters()))  # shapes do not tell tensors apart: use the order
    origin = [p.detach().clone() for p in tiny.build().parameters()]

    def penalised():
        """The penalty's gradient of each parameter of `by_hand`'s network, in the order of the calls."""
        seen = {}

        def penalty(p):
            if p.shape == (3, 8):
                return 0.2 * p
            if p.shape == (3,):
                return torch.zeros_like(p)
            if p not in seen:
                seen[p] = origin[len(seen)]
            return 0.5 * (p - seen[p])

        return penalty

    expected = by_hand(
        tiny,
        stripes,
        how,
        trained=lambda epoch, blocks: [(block, 0.02) for block in blocks],
        penalty=penalised(),
    )
    assert_same_network(tune(tiny, stripes, how), *expected)


def test_a_strong_pull_keeps_the_network_near_its_start_also_when_it_goes_on(tiny, stripes):
    def distance(tuned):
        pairs = zip(tuned.network[0].parameters(), tiny.build().parameters(), strict=True)
        return float(sum((a - b).detach().square().sum() for a, b in pairs))

    free = tune(tiny, stripes, recipe("full", epochs=6))
    pulled = tune(tiny, stripes, recipe("full", epochs=6, l2_sp=5.0))
    assert 0 < distance(pulled) < 0.5 * distance(free)
    back = tune(tiny, stripes, recipe("full", epochs=6, l2_sp=5.0), start_from=free)
    assert distance(back) < distance(free)


def test_the_moving_average_forgets_its_start_as_its_warm_up_says():
    parameter = nn.Parameter(torch.tensor([1.0]))
    average = MovingAverage([parameter], 0.25)
    expected = 1.0
    for step, value in enumerate((2.0, 5.0, -1.0, 4.0)):
        with torch.no_grad():
            parameter.fill_(value)
        average.update()
        decay = min(0.25, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        with average.applied():
            assert parameter.item() == pytest.approx(expected)
    assert parameter.item() == 4.0


def test_the_averaged_weights_are_what_is_validated_and_kept(tiny, stripes):
    plain_run = tune(tiny, stripes, recipe("full"), val_idx=VAL)
    averaged = tune(tiny, stripes, recipe("full", ema=0.9), val_idx=VAL)
    for one, other in zip(plain_run.history, averaged.history, strict=True):
        assert one["train_loss"] == other["train_loss"]  # the training itself is the same
    assert plain_run.history[-1]["val_loss"] != averaged.history[-1]["val_loss"]
    images, labels = stripes
    proba = averaged.predict_proba([images[i] for i in VAL])
    loss = -np.log(proba[np.arange(len(VAL)), labels[VAL]]).mean()
    assert loss == pytest.approx(averaged.best["val_loss"], rel=1e-3)


# Mixup


def test_mixup_mixes_images_and_losses_by_the_same_share(tiny, stripes):
    how = recipe("full", mixup=0.4)

    def mix(x, y, step):
        rng = np.random.default_rng([0, step, 0, 7])
        share = rng.beta(0.4, 0.4)
        other = torch.from_numpy(rng.permutation(len(y)))
        return share * x + (1 - share) * x[other], [(share, y), (1 - share, y[other])]

    expected = by_hand(
        tiny, stripes, how, trained=lambda epoch, blocks: [(block, 0.02) for block in blocks], mix=mix
    )
    assert_same_network(tune(tiny, stripes, how), *expected)


def test_mixup_draws_its_share_from_beta():
    x, y = torch.arange(4.0)[:, None], torch.arange(4)
    shares = []
    for seed in range(400):
        (mixture,), targets = mix_images((x,), y, 2.0, np.random.default_rng(seed))
        (share, first), (rest, second) = targets
        assert share + rest == pytest.approx(1)
        torch.testing.assert_close(mixture[:, 0], share * first + rest * second)
        shares.append(share)
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)
    assert np.var(shares) == pytest.approx(1 / 20, abs=0.01)  # of Beta(2, 2)


# Where the head starts


def test_the_logistic_start_is_scikit_learns_optimum_on_standardised_rows():
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    rows = (rng.normal(size=(90, 6)) * 5 + 3 + labels[:, None]).astype(np.float32)
    nothing = np.array([], int)
    head, history, best = logistic_head(rows, labels, 3, np.arange(60), nothing)
    mean, scale = head.mean.numpy(), head.scale.numpy()
    model = LogisticRegression(C=6.0, tol=1e-8, max_iter=5000).fit((rows[:60] - mean) * scale, labels[:60])
    expected = model.predict_proba((rows - mean) * scale)
    found = head.logits(rows).softmax(1).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert [entry["C"] for entry in history] == [6.0]
    assert best == 1


def test_the_logistic_start_takes_the_penalty_that_validates_best():
    rng = np.random.default_rng(1)
    labels = np.arange(60) % 2
    rows = (rng.normal(size=(60, 20)) + 0.3 * labels[:, None]).astype(np.float32)
    head, history, best = logistic_head(rows, labels, 2, np.arange(40), np.arange(40, 60))
    losses = [entry["val_loss"] for entry in history]
    assert best == 1 + int(np.argmin(losses))
    loss = F.cross_entropy(head.logits(rows[40:]), torch.from_numpy(labels[40:])).item()
    assert loss == pytest.approx(min(losses), rel=1e-5)


def test_the_logistic_start_never_says_a_class_that_it_has_not_seen():
    rows = np.random.default_rng(2).normal(size=(30, 4)).astype(np.float32)
    for labels in (np.arange(30) % 2 * 2, np.full(30, 1)):
        head, _, _ = logistic_head(rows, labels, 4, np.arange(30), np.array([], int))
        assert set(head.logits(rows).argmax(1).tolist()) <= set(labels.tolist())


def test_a_head_takes_any_linear_model_of_the_embeddings():
    rng = np.random.default_rng(0)
    rows = rng.normal(2, 3, size=(20, 5)).astype(np.float32)
    coef, intercept = rng.normal(size=(3, 5)), rng.normal(size=3)
    head = Head.for_embeddings(rows, 3).set_weights(coef, intercept)
    np.testing.assert_allclose(head.logits(rows).numpy(), rows @ coef.T + intercept, atol=1e-4)


def test_fine_tuning_sets_out_from_the_logistic_head(tiny, stripes):
    tuned = tune(tiny, stripes, recipe("full", head_start="logistic"), val_idx=VAL)
    best = min(tuned.head_history, key=lambda entry: entry["val_loss"])
    assert "C" in best
    assert tuned.history[0]["val_loss"] == pytest.approx(best["val_loss"], rel=1e-3)


# The search, and several seeds


def test_the_search_takes_the_rate_whose_short_training_validates_best(tiny, stripes, monkeypatch):
    monkeypatch.setitem(RANGES, "lr_backbone", (lambda rate: rate > 0, "above 0"))
    how = recipe("full", lr_search=(1e-7, 0.05, 1e30), search_epochs=2)
    tuned = tune(tiny, stripes, how, val_idx=VAL)
    assert [trial["lr_backbone"] for trial in tuned.search] == [1e-7, 0.05, 1e30]
    assert tuned.search[2]["val_loss"] is None  # it diverged
    losses = [trial["val_loss"] for trial in tuned.search[:2]]
    assert tuned.recipe.lr_backbone == (1e-7, 0.05)[int(np.argmin(losses))]
    assert tuned.seconds > sum(trial["seconds"] for trial in tuned.search)
    alone = tune(
        tiny, stripes, replace(how, lr_search=(), lr_backbone=0.05, epochs=2, patience=2), val_idx=VAL
    )
    assert losses[1] == pytest.approx(alone.history[-1]["val_loss"], rel=1e-6)  # at the end of the schedule


def test_the_search_leaves_no_trace_in_the_training_after_it(tiny, stripes):
    how = recipe("full", lr_backbone=0.05)
    direct = tune(tiny, stripes, how, val_idx=VAL)
    searched = tune(tiny, stripes, replace(how, lr_search=(0.05,)), val_idx=VAL)
    assert [e["val_loss"] for e in searched.history] == [e["val_loss"] for e in direct.history]
    assert searched.images_forwarded == direct.images_forwarded  # the best training of a search counts
    short = tune(tiny, stripes, replace(how, lr_search=(0.05,), search_epochs=1), val_idx=VAL)
    assert [e["val_loss"] for e in short.history] == [e["val_loss"] for e in direct.history]
    assert short.images_forwarded > direct.images_forwarded


@pytest.mark.parametrize("refit", [False, True])
def test_the_best_training_of_a_search_is_the_result_as_if_it_had_run_alone(tiny, stripes, refit):
    start = tune(tiny, stripes, recipe("head", epochs=1))
    how = recipe("full", lr_backbone=0.05, refit=refit)
    options = {"val_idx": VAL, "start_from": start}
    direct = tune(tiny, stripes, how, **options)
    told = []
    searched = tune(
        tiny, stripes, replace(how, lr_search=(0.05, 1e-7), search_epochs=9), progress=told.append, **options
    )
    assert searched.recipe.lr_backbone == 0.05
    assert told == searched.history + searched.refit_history
    assert direct.best_epoch == searched.best_epoch > 0
    images = [stripes[0][i] for i in VAL]
    np.testing.assert_array_equal(searched.predict_proba(images), direct.predict_proba(images))


def test_without_validation_images_there_is_no_search(tiny, stripes):
    tuned = tune(tiny, stripes, recipe("full", lr_search=(0.5, 0.6)))
    assert tuned.search == []
    assert any("no validation images to search on: lr_backbone is 0.02" in note for note in tuned.notes)


def test_several_seeds_give_a_training_each(tiny, stripes):
    how = recipe("full", epochs=1)
    images, labels = stripes
    runs = fine_tune_seeds(
        tiny, images, labels, 3, seeds=(0, 1), recipe=how, train_idx=TRAIN, val_idx=VAL, device="cpu"
    )
    assert runs[0].history[1]["val_loss"] == tune(tiny, stripes, how, val_idx=VAL).history[1]["val_loss"]
    assert runs[0].history[1]["val_loss"] != runs[1].history[1]["val_loss"]
    with pytest.raises(InputError, match="seeds: expected at least one"):
        fine_tune_seeds(tiny, images, labels, 3, seeds=(), recipe=how, train_idx=TRAIN)
