import numpy as np
import pytest
import torch

from featx.methods.finetune.best_epoch import BestEpoch, is_shown_worse, tempered_losses


def test_best_keeps_the_earlier_of_equals_and_never_nan_and_the_latest_without_validation():
    weight = torch.nn.Parameter(torch.zeros(1))
    best = BestEpoch([weight])
    for epoch, loss in enumerate([2.0, 1.0, 1.0, float("nan"), 3.0]):
        with torch.no_grad():
            weight.fill_(epoch)
        best.update(epoch, loss)
    best.restore()
    assert (best.epoch, weight.item()) == (1, 1)
    best = BestEpoch([weight])
    assert [best.update(epoch, None) for epoch in range(3)] == [True] * 3
    assert best.epoch == 2


def test_the_tempered_loss_is_the_least_over_temperatures():
    rng = np.random.default_rng(0)
    y = torch.from_numpy(rng.integers(0, 3, 80))
    logits = 9 * (torch.from_numpy(rng.normal(size=(80, 3))) + torch.nn.functional.one_hot(y, 3))
    grid = np.exp(np.linspace(0, 5, 8001))
    slow = min(torch.nn.functional.cross_entropy(logits / t, y).item() for t in grid)
    found = tempered_losses(logits, y).mean()
    assert found == pytest.approx(slow, rel=1e-5)
    assert found < 0.8 * torch.nn.functional.cross_entropy(logits, y).item()
    # Being too sure does not count; being less sure than one might be does.
    assert tempered_losses(4 * logits, y).mean() == pytest.approx(found, rel=1e-5)
    modest = torch.nn.functional.cross_entropy(logits / 90, y).item()
    assert tempered_losses(logits / 90, y).mean() == pytest.approx(modest)
    assert np.isnan(tempered_losses(logits * np.inf, y)).all()


def test_losses_are_shown_to_be_worse_by_their_paired_differences():
    best, noise = np.full(16, 1.0), np.tile([0.4, -0.4], 8)
    error = noise.std(ddof=1) / 4
    assert not is_shown_worse(best + noise + 1.98 * error, best)
    assert is_shown_worse(best + noise + 2.02 * error, best)
    assert not is_shown_worse(best, best)
    assert is_shown_worse(best * np.nan, best)
    assert not is_shown_worse(best[:1] + 1, best[:1])  # one image shows nothing
