"""Fine-tuning of vision transformers and of networks built like them: tiny ones of timm and torchvision."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import torch
from own_modules import SMALL, seeded
from torch import nn
from torch.nn import functional as F

from featx.backbones import load_backbone
from featx.backbones.layers.blocks import is_transformer
from featx.backbones.sources.timm import import_timm
from featx.errors import UnknownName
from featx.estimators.finetuned import FineTunedClassifier
from featx.methods.finetune import Recipe, choose_optimizer, default_recipe, fine_tune
from featx.methods.finetune.batches import plain_view
from featx.methods.finetune.freezing import block_parameters
from featx.methods.finetune.head import schedule
from featx.methods.finetune.precision import choose_arithmetic
from featx.methods.finetune.trainable_backbone import TrainableBackbone, frozen_outputs
from featx.vision import import_torchvision

pytestmark = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")

TRAIN, VAL = np.arange(24), np.arange(24, 36)
SIZES = {"img_size": 32, "patch_size": 16, "embed_dim": 16, "depth": 3, "num_heads": 2}


def create(name, **options):
    return import_timm().create_model(name, **options)


def tiny_vit():
    """A ViT with registers and layer scale, and no classifier, as DINOv2 is one."""
    return create("vit_tiny_patch16_224", num_classes=0, reg_tokens=2, init_values=0.5, **SIZES)


class Branching(nn.Module):
    """A transformer that cannot be traced, with a classifier behind its embedding."""

    def __init__(self):
        super().__init__()
        self.trunk, self.fc = tiny_vit(), nn.Linear(16, 4)

    def forward(self, x):
        x = self.trunk(x)
        return self.fc(x if x.sum() < 1e9 else -x)


def own(make, **options):
    return load_backbone(seeded(make), preprocessing=SMALL, **options)


@pytest.fixture(scope="module")
def vit():
    return own(tiny_vit)


@pytest.fixture(scope="module")
def hooked():
    return own(Branching)


def recipe(mode="full", **changes):
    settings = {"epochs": 2, "lr_search": (), "refit": False, "augment": False, "batch_size": 8}
    return replace(default_recipe(mode, 24, "adamw"), **settings | changes)


def tune(backbone, stripes, how, **options):
    images, labels = stripes
    return fine_tune(
        backbone, images, labels, 3, **{"recipe": how, "train_idx": TRAIN, "device": "cpu"} | options
    )


# Blocks


def test_the_blocks_of_a_vit_have_the_tokens_in_the_first_and_the_last_norm_in_the_last(vit):
    assert vit.blocks(vit.module) == [
        ["patch_embed", "cls_token", "reg_token", "pos_embed"],
        *(["blocks.0"], ["blocks.1"], ["blocks.2", "norm"]),
    ]


def test_a_network_that_is_read_by_hooks_has_the_same_blocks_without_its_classifier(hooked):
    assert hooked.blocks(hooked.module) == [
        [f"network.trunk.{name}" for name in ("patch_embed", "cls_token", "reg_token", "pos_embed")],
        *(["network.trunk.blocks.0"], ["network.trunk.blocks.1"]),
        ["network.trunk.blocks.2", "network.trunk.norm"],
    ]


def _torchvision(name, **options):
    return lambda: getattr(import_torchvision().models, name)(num_classes=3, **options)


def test_stages_are_not_blocks_but_consist_of_them():
    models = import_torchvision().models
    window = {"patch_size": [4, 4], "window_size": [2, 2], "num_heads": [1, 2], "stochastic_depth_prob": 0.0}
    swin = own(_torchvision("SwinTransformer", embed_dim=8, depths=[2, 1], **window))
    assert swin.blocks(swin.module) == [
        *(["features.0"], ["features.1.0"], ["features.1.1"]),
        *(["features.2"], ["features.3.0", "norm"]),
    ]
    stages = [models.convnext.CNBlockConfig(8, 16, 1), models.convnext.CNBlockConfig(16, None, 2)]
    convnext = own(_torchvision("ConvNeXt", block_setting=stages))
    assert convnext.blocks(convnext.module) == [
        *(["features.0"], ["features.1.0"], ["features.2"], ["features.3.0"]),
        ["features.3.1", "classifier.0"],
    ]
    timm_swin = own(
        lambda: create(
            "swin_tiny_patch4_window7_224",
            img_size=32,
            window_size=4,
            embed_dim=8,
            depths=(1, 2),
            num_heads=(1, 2),
        )
    )
    assert timm_swin.blocks(timm_swin.module) == [
        *(["patch_embed"], ["layers.0.blocks.0"], ["layers.1.downsample"], ["layers.1.blocks.0"]),
        ["layers.1.blocks.1", "norm"],
    ]
    for backbone in (swin, convnext, timm_swin):  # each parameter is in one block
        blocks = block_parameters(backbone, backbone.module)
        assert sum(len(block) for block in blocks) == len(list(backbone.module.parameters()))


# Optimiser and recipe


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), False),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4)), False),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.LayerNorm(4)), False),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.LayerNorm(4)), True),
        (nn.Sequential(nn.BatchNorm2d(4), nn.MultiheadAttention(4, 1)), True),
        (nn.ModuleDict({"attn": nn.ModuleDict({"query": nn.Linear(4, 4), "key": nn.Linear(4, 4)})}), True),
    ],
)
def test_attention_or_layer_norm_alone_make_a_transformer(network, expected):
    assert is_transformer(network) == expected


def test_transformers_are_trained_with_adamw_and_cnns_with_sgd(vit, tiny, stripes):
    assert choose_optimizer(vit) == "adamw"
    assert choose_optimizer(tiny) == "sgd"
    assert choose_optimizer(load_backbone("mobilenet_v2", weights=None, image_size=32)) == "sgd"
    tuned = tune(vit, stripes, "head")
    assert tuned.recipe == default_recipe("head", 24)  # SGD on embeddings, whatever the network


def test_the_recipe_of_adamw_has_its_own_rates():
    how, usual = default_recipe("last", 1000, "adamw"), default_recipe("last", 1000)
    assert (how.lr_search, how.lr_head, how.weight_decay, how.layer_decay) == ((1e-5, 1e-4), 1e-3, 0.05, 0.75)
    assert (usual.optimizer, usual.lr_search, usual.layer_decay) == ("sgd", (0.003, 0.03), 1.0)
    assert default_recipe("last", 10, "adamw").lr_search == pytest.approx((5e-6, 5e-5))  # batches of 8
    assert Recipe.from_dict(how.to_dict()) == how
    older = {name: value for name, value in usual.to_dict().items() if name != "optimizer"}
    assert Recipe.from_dict(older) == usual
    with pytest.raises(UnknownName, match="optimizer 'adam'; did you mean adamw"):
        replace(how, optimizer="adam")


def test_the_classifier_takes_the_optimiser_of_the_network_or_the_one_that_is_given():
    assert FineTunedClassifier(mode="last")._recipe(1000, "adamw") == default_recipe("last", 1000, "adamw")
    given = FineTunedClassifier(mode="last", recipe={"optimizer": "sgd"})
    assert given._recipe(1000, "adamw") == default_recipe("last", 1000)


# Training


def test_weight_decay_spares_tokens_positions_norms_biases_and_scales(vit):
    network = TrainableBackbone(vit, choose_arithmetic("cpu", "fp32"))
    spared = {id(parameter) for parameter in network.not_decayed()}
    several_axes = {name for name, p in network.module.named_parameters() if id(p) in spared and p.ndim > 1}
    assert several_axes == {"cls_token", "reg_token", "pos_embed"}
    relative = own(lambda: create("beit_base_patch16_224", num_classes=0, **SIZES))
    network = TrainableBackbone(relative, choose_arithmetic("cpu", "fp32"))
    spared = {id(parameter) for parameter in network.not_decayed()}
    tables = {n for n, p in network.module.named_parameters() if id(p) in spared and "relative" in n}
    assert tables == {f"blocks.{i}.attn.relative_position_bias_table" for i in range(3)}


def by_hand(backbone, stripes, how):
    """Train all layers in a plain loop with torch's AdamW, parameter by parameter; return the network."""
    images, labels = stripes
    start = tune(backbone, stripes, replace(default_recipe("head", 24), refit=False))
    network, head = backbone.build(), start._head
    tokens = {"cls_token", "reg_token", "pos_embed"}
    groups = []
    for name, parameter in network.named_parameters():
        first = name in tokens or name.startswith("patch_embed")
        depth = 0 if first else 3 if name.startswith("norm") else 1 + int(name.split(".")[1])
        decay = 0.0 if name in tokens or parameter.ndim == 1 else how.weight_decay
        lr = how.lr_backbone * how.layer_decay ** (3 - depth)
        groups.append({"params": [parameter], "lr": lr, "weight_decay": decay})
    linear = head.linear
    groups.append({"params": [linear.weight], "lr": how.lr_head, "weight_decay": how.weight_decay})
    groups.append({"params": [linear.bias], "lr": how.lr_head, "weight_decay": 0.0})
    parameters = [group["params"][0].requires_grad_(True) for group in groups]
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=(how.momentum, 0.999))
    peaks = [group["lr"] for group in groups]
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (SMALL.mean, SMALL.std))
    pixels = np.stack([plain_view(SMALL)(images[i], i) for i in TRAIN])
    x = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std
    rng, step = np.random.default_rng(0), 0
    for _ in range(how.epochs):
        order = rng.permutation(len(TRAIN))
        for begin in range(0, len(order), how.batch_size):
            rows = order[begin : begin + how.batch_size]
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * schedule(step, how.epochs * 3)
            optimizer.zero_grad()
            F.cross_entropy(head(network(x[rows])), torch.from_numpy(labels[rows])).backward()
            torch.nn.utils.clip_grad_norm_(parameters, how.clip_norm)
            optimizer.step()
            step += 1
    return network


def test_training_takes_the_steps_of_a_plain_loop_with_adamw(vit, stripes):
    how = recipe("full", lr_backbone=1e-2, weight_decay=10.0)  # so much that a missing decay shows
    expected = dict(by_hand(vit, stripes, how).named_parameters())
    before = dict(vit.module.named_parameters())
    for name, parameter in tune(vit, stripes, how).network[0].named_parameters():
        change = (expected[name] - before[name]).norm()
        assert change > 0, name  # the gradient reaches patches and tokens
        # AdamW takes full steps along gradients that are nothing but rounding, so norms are compared.
        assert (parameter - expected[name]).norm() < 0.02 * change, name


@pytest.mark.parametrize("kind", ["traced", "hooked"])
def test_last_changes_only_the_last_block_and_the_last_norm(vit, hooked, stripes, kind):
    backbone, prefix = (vit, "") if kind == "traced" else (hooked, "network.trunk.")
    changed = tune(backbone, stripes, recipe("last", unfreeze=1), val_idx=VAL).changed_values()
    assert changed
    assert all(name.startswith((f"{prefix}blocks.2.", f"{prefix}norm.")) for name in changed)


def test_a_network_that_is_read_by_hooks_learns_the_same(vit, hooked, stripes):
    how = recipe("full", lr_backbone=1e-3)
    hooked.module.network.trunk.load_state_dict(vit.module.state_dict())
    expected = tune(vit, stripes, how).history
    found = tune(hooked, stripes, how).history
    assert [entry["train_loss"] for entry in found] == pytest.approx(
        [entry["train_loss"] for entry in expected], rel=1e-3
    )


def test_tokens_that_are_stored_below_the_trained_blocks_give_the_features_of_a_plain_pass(vit, stripes):
    images, _ = stripes
    network = TrainableBackbone(vit, choose_arithmetic("cpu", "fp32"))
    network.unfreeze("last", 1)
    assert network.is_cut
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (SMALL.mean, SMALL.std))
    for rows, parts in frozen_outputs(network, images, TRAIN, 8):
        assert [tuple(part.shape) for part in parts] == [(8, 7, 16)]  # class, 2 registers, 4 patches
        pixels = np.stack([plain_view(SMALL)(images[i], i) for i in rows])
        x = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std
        torch.testing.assert_close(network.run_upper(parts), vit.module(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["last", "gradual"])
def test_modes_train_and_their_result_is_rebuilt(vit, stripes, mode):
    tuned = tune(vit, stripes, recipe(mode, unfreeze=2), val_idx=VAL)
    assert tuned.recipe.optimizer == "adamw"
    again = type(tuned).rebuild(tuned.trained_values(), vit, device="cpu", **tuned.record())
    images = stripes[0][36:40]
    np.testing.assert_array_equal(again.predict_proba(images), tuned.predict_proba(images))
