"""Check the measured forgetting against a plain loop over the whole networks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pictures import BACKBONE, NORMED

from featx.backbones import load_backbone
from featx.errors import InputError, WeightsError
from featx.methods.finetune import FineTuned, default_recipe, fine_tune, forgetting
from featx.methods.finetune.batches import plain_view
from featx.metrics import mcnemar_exact


def tune(backbone, stripes, mode="full", **changes):
    settings = {"epochs": 4, "lr_search": (), "augment": False, "lr_backbone": 0.1, "batch_size": 12}
    recipe = replace(default_recipe(mode, 36), refit=False, **settings | changes)
    return fine_tune(backbone, *stripes, 3, recipe=recipe, train_idx=np.arange(36), device="cpu")


@torch.no_grad()
def by_hand(backbone, images, network=None):
    """Source classes: every image through `network`, or the pretrained one, and the pretrained classifier."""
    p = backbone.preprocessing
    pixels = np.stack([plain_view(p)(image, 0) for image in images])
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    x = (x - torch.tensor(p.mean).view(1, 3, 1, 1)) / torch.tensor(p.std).view(1, 3, 1, 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(backbone.seed)
        whole = backbone.architecture.build(None, pretrained_style=False).eval()
    return whole.fc((network or backbone.build())(x)).argmax(1).numpy()


@pytest.mark.parametrize("mode", ["last", "full"])
def test_the_source_classifier_stands_on_the_frozen_and_on_the_tuned_layers(
    classifier, stripes, proxies, mode
):
    tuned = tune(classifier, stripes, mode, unfreeze=1)
    old, new = by_hand(classifier, proxies), by_hand(classifier, proxies, tuned.network[0])
    assert len(set(old)) > 1
    assert 0 < (old == new).mean() < 1
    labels = np.where(np.arange(40) % 4 == 0, (old + 1) % 5, old)
    found = forgetting(classifier, tuned, proxies, labels)
    np.testing.assert_array_equal(found.predicted_before, old)
    np.testing.assert_array_equal(found.predicted_after, new)
    assert found.n == 40
    assert found.before.value == 0.75
    assert found.after.value == (new == labels).mean() < 0.75
    assert found.agreement.value == (new == old).mean()
    assert found.after.low < found.after.value < found.after.high
    assert found.change == mcnemar_exact(new == labels, old == labels)
    assert found.change.difference == pytest.approx(found.after.value - found.before.value)
    assert str(found).startswith("source accuracy 0.750 [")


def test_without_labels_it_is_the_agreement_alone(classifier, stripes, proxies):
    tuned = tune(classifier, stripes)
    found = forgetting(classifier, tuned, proxies, batch_size=7)
    assert (found.before, found.after, found.change) == (None, None, None)
    assert found.agreement == forgetting(classifier, tuned, proxies, found.predicted_before).agreement
    assert str(found).endswith("of 40 images classified as before")


def test_a_new_head_alone_forgets_nothing(classifier, stripes, proxies):
    found = forgetting(classifier, tune(classifier, stripes, "head"), proxies, np.zeros(40, int))
    assert found.agreement.value == 1
    assert found.change.p_value == 1


def test_neither_network_is_changed_and_a_rebuilt_one_has_forgotten_as_much(classifier, stripes, proxies):
    tuned = tune(classifier, stripes)
    pretrained = {name: p.clone() for name, p in classifier.module.named_parameters()}
    trained = {name: p.clone() for name, p in tuned.network.named_parameters()}
    found = forgetting(classifier, tuned, proxies)
    assert all(torch.equal(p, pretrained[name]) for name, p in classifier.module.named_parameters())
    assert all(torch.equal(p, trained[name]) for name, p in tuned.network.named_parameters())
    again = FineTuned.rebuild(tuned.trained_values(), classifier, device="cpu", **tuned.record())
    np.testing.assert_array_equal(
        forgetting(classifier, again, proxies).predicted_after, found.predicted_after
    )


def test_a_published_architecture_has_its_own_classifier(stripes, proxies):
    backbone = load_backbone(BACKBONE, weights=None, image_size=32)
    tuned = tune(backbone, stripes, "last", epochs=1, unfreeze=1)
    found = forgetting(backbone, tuned, proxies[:4])
    whole = load_backbone(BACKBONE, weights=None, image_size=32, layer="logits")
    x = torch.stack([torch.from_numpy(plain_view(whole.preprocessing)(i, 0)) for i in proxies[:4]])
    p = whole.preprocessing
    x = (x.permute(0, 3, 1, 2) / 255 - torch.tensor(p.mean).view(1, 3, 1, 1)) / torch.tensor(p.std).view(
        1, 3, 1, 1
    )
    np.testing.assert_array_equal(found.predicted_before, whole.module(x).argmax(1).numpy())


def test_without_a_source_classifier_it_says_so(classifier, stripes, proxies, monkeypatch, tmp_path):
    from featx.vision import import_torchvision

    state = import_torchvision().models.get_model(NORMED, weights=None).state_dict()
    path = tmp_path / "headless.pth"
    torch.save({key: value for key, value in state.items() if not key.startswith("fc.")}, path)
    headless = load_backbone(NORMED, weights=path, image_size=32)
    tuned = tune(headless, stripes, "head")
    with pytest.raises(WeightsError, match=r"needs the checkpoint's classifier: .*lacks fc.weight"):
        forgetting(headless, tuned, proxies)
    tuned = tune(classifier, stripes, "head")
    monkeypatch.setattr("featx.methods.finetune.source_task.has_logits", lambda backbone: False)
    with pytest.raises(InputError, match="the network has no classifier"):
        forgetting(classifier, tuned, proxies)


def test_what_does_not_fit_is_named(classifier, stripes, proxies):
    tuned = tune(classifier, stripes, "head")
    with pytest.raises(InputError, match="at least one proxy image"):
        forgetting(classifier, tuned, [])
    with pytest.raises(InputError, match="got 3 labels and 40 images"):
        forgetting(classifier, tuned, proxies, [0, 1, 2])
    with pytest.raises(InputError, match="0 to 4, got 5 at position 1"):
        forgetting(classifier, tuned, proxies, [0, 5] * 20)
    with pytest.raises(InputError, match="labels: expected a one-dimensional array of integers"):
        forgetting(classifier, tuned, proxies, [0.5] * 40)
    with pytest.raises(InputError, match="give the same backbone"):
        forgetting(replace(classifier, weights_sha256="1"), tuned, proxies)
