from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from featx.methods.finetune import default_recipe
from featx.methods.finetune.head import Head, schedule, train_head

CPU = torch.device("cpu")


def clusters(n=300, d=40, k=4, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    x = rng.normal(size=(k, d))[y] * 0.6 + rng.normal(size=(n, d))
    return (scale * x).astype(np.float32), y


def trained(x, y, recipe=None, **kw):
    rows = np.arange(len(y))
    options = {"train_idx": rows[:200], "val_idx": rows[200:], "device": CPU, "seed": 0} | kw
    return train_head(x, y, int(y.max()) + 1, recipe=recipe or default_recipe("head", 200), **options)


def test_the_head_matches_a_converged_logistic_regression():
    x, y = clusters()
    head, _, _ = trained(x, y)
    ours = (head.logits(x[200:]).argmax(1).numpy() == y[200:]).mean()
    mean, std = x[:200].mean(0), x[:200].std(0)
    reference = LogisticRegression(max_iter=1000).fit((x[:200] - mean) / std, y[:200])
    assert ours >= reference.score((x[200:] - mean) / std, y[200:]) - 0.02


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_scale_of_the_features_does_not_matter(scale):
    x, y = clusters()
    _, one, _ = trained(x, y)
    _, other, _ = trained((x * scale).astype(np.float32), y)
    assert one[-1]["val_loss"] == pytest.approx(other[-1]["val_loss"], rel=1e-3)


def test_float16_embeddings_give_nearly_the_same_head():
    x, y = clusters()
    _, one, _ = trained(x, y)
    _, other, _ = trained(x.astype(np.float16), y)
    assert one[-1]["val_loss"] == pytest.approx(other[-1]["val_loss"], abs=0.01)


def test_constant_features_are_harmless():
    x, y = clusters()
    x[:, :10] = 3.0
    head, history, _ = trained(x, y)
    assert torch.isfinite(head.logits(x)).all()
    assert history[-1]["val_accuracy"] > 0.5
    head, history, best = trained(np.ones_like(x), y)
    assert history[best - 1]["val_loss"] == pytest.approx(np.log(4), abs=0.05)


def test_an_untrained_head_finds_all_classes_equally_likely_and_inputs_of_unit_norm():
    x, _ = clusters()
    head = Head.for_embeddings(x, 4)
    assert torch.equal(head.logits(x), torch.zeros(300, 4))
    z = (torch.from_numpy(x) - head.mean) * head.scale
    assert z.square().sum(1).mean().item() == pytest.approx(1, abs=0.05)


def test_the_head_is_one_linear_layer():
    x, y = clusters(scale=5)
    head, _, _ = trained(x + 100, y)
    torch.testing.assert_close(
        head.as_linear()(torch.from_numpy(x + 100)), head.logits(x + 100), rtol=1e-3, atol=1e-2
    )


def test_training_keeps_the_epoch_of_lowest_validation_loss_and_stops_soon_after():
    x, y = clusters(d=200)
    recipe = replace(default_recipe("head", 200), patience=4, lr_head=100.0)
    head, history, best = trained(x, y, recipe)
    losses = [entry["val_loss"] for entry in history]
    assert best == int(np.argmin(losses)) + 1
    assert len(history) == best + 4 < recipe.epochs
    found = torch.nn.functional.cross_entropy(head.logits(x[200:]), torch.from_numpy(y[200:])).item()
    assert found == pytest.approx(min(losses), rel=1e-5)


def test_the_same_seed_gives_the_same_history_and_another_seed_another():
    x, y = clusters()
    strip = lambda h: [{k: v for k, v in e.items() if k != "seconds"} for e in h]  # noqa: E731
    assert strip(trained(x, y)[1]) == strip(trained(x, y)[1])
    assert strip(trained(x, y)[1]) != strip(trained(x, y, seed=1)[1])


def test_the_number_of_threads_is_put_back():
    before = torch.get_num_threads()
    trained(*clusters(n=210))
    assert torch.get_num_threads() == before


def test_the_rate_warms_up_and_falls_to_zero():
    rates = [schedule(step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx(np.arange(1, 11) / 10)
    assert all(a >= b for a, b in pairwise(rates[9:]))
    assert rates[-1] < 0.001
    assert schedule(0, 1) == 1
