"""Fine-tune a pretrained network to new classes, on the same splits as the probes.

Every mode first trains a linear head on the frozen embeddings. Mode ``head`` ends there. The others continue
from that head, because a random one would send large, meaningless gradients into the pretrained layers and
distort them (linear probing, then fine-tuning: Kumar et al., *Fine-Tuning can Distort Pretrained Features and
Underperform Out-of-Distribution*, 2022).

BatchNorm keeps its pretrained statistics in every mode; `freezing.unfreeze_last` says why. The network then
treats each image on its own, so a batch may be computed in parts that fit into memory: the gradient is the
same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from featx.errors import InputError
from featx.methods.finetune.finetuned import FineTuned
from featx.methods.finetune.optimisers import choose_optimizer
from featx.methods.finetune.phases import HeadFit, train_head_alone, train_network
from featx.methods.finetune.precision import choose_arithmetic
from featx.methods.finetune.recipe import Recipe, require_trainable
from featx.methods.finetune.recipe_defaults import default_recipe
from featx.methods.finetune.replay import Replay
from featx.methods.finetune.trainable import make_trainable
from featx.methods.finetune.trainable_backbone import (
    TrainableBackbone,
    forward_inputs,
    kind_of_backbone,
    row_dim_of,
)
from featx.methods.finetune.training_data import TrainingData
from featx.methods.finetune.training_progress import TrainingProgress


@dataclass(frozen=True)
class RowsOnly:
    """Stand for the backbone of mode ``"head"`` where only its embeddings, of `dim` values, are at hand."""

    dim: int
    name: str = "features"


def choose_recipe(backbone: Any, mode: str, n_train: int, *, epochs: int | None = None) -> Recipe:
    """Return the default recipe of a mode for a backbone, with `epochs` in place of the recipe's.

    Given epochs are all run. They have no effect on mode ``"head"``.
    """
    if mode == "head":
        return default_recipe(mode, n_train)
    recipe = default_recipe(mode, n_train, choose_optimizer(backbone), kind_of_backbone(backbone))
    return recipe if epochs is None else replace(recipe, epochs=epochs, patience=epochs)


def fine_tune(
    backbone: Any,
    images: Sequence[Any] | None,
    labels: Any,
    n_classes: int,
    *,
    recipe: Recipe | str,
    train_idx: Any,
    val_idx: Any = None,
    embeddings: np.ndarray | None = None,
    device: str | torch.device = "auto",
    precision: str = "auto",
    seed: int = 0,
    progress: Callable[[dict[str, Any]], object] | None = None,
    start_from: FineTuned | None = None,
    proxy_images: Sequence[Any] | None = None,
    watch: TrainingProgress | None = None,
) -> FineTuned:
    """Fine-tune a backbone on labelled images, texts or clips.

    Parameters
    ----------
    backbone : Backbone or RowsOnly
        A backbone from `featx.backbones.load_backbone`; it is not changed.
    images : sequence of sources of length n, or None
        Images, texts or clips, as the backbone takes them. May be None for mode ``"head"`` when embeddings
        are given.
    labels : array-like of int, shape (n,)
        Class of each input, in ``range(n_classes)``.
    n_classes : int
        Number of classes, at least 2.
    recipe : Recipe or {"head", "last", "gradual", "full"}
        Settings of the training; a mode means its `default_recipe`, with AdamW for a transformer, and with
        the settings for texts or clips where the backbone takes them.
    train_idx, val_idx : array-like of int
        Positions of the images to train on, and of those that choose the epoch and stop the training. Other
        images and other rows of `embeddings` are never read. Without a validation part all epochs are run
        and the last one is kept. With `Recipe.refit`, as in every `default_recipe`, both parts are trained on
        in the end: the network has then seen the validation images, and only `FineTuned.best` says what it
        reached on them before that. Give a recipe without `refit` to keep them for a measurement.
    embeddings : ndarray of shape (n, d), optional
        The backbone's frozen features of all images; computed here first if they are not given.
    device : str, default="auto"
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    precision : {"auto", "fp32", "bf16", "fp16"}
        See `featx.methods.finetune.precision.choose_arithmetic`.
    seed : int, default=0
        Seed of the order of the inputs, their random changes, mixup and dropout. On a CPU the same seed gives
        the same history, bit for bit. Global random states are neither read nor changed.
    progress : callable, optional
        Called with each entry of the history after its epoch (mode ``"head"``: with the best one).
    start_from : FineTuned, optional
        Continue from its head and layers instead of a new head and the pretrained layers; it is not changed.
        Only mode ``"head"`` then uses `embeddings`. The history begins with epoch 0, which is `start_from` on
        these images. Momentum and learning rates start again. If it was refitted, it has seen its validation
        images, and they cannot choose the epoch once more.
    proxy_images : sequence of image sources, optional
        Images that a recipe with `Recipe.replay` above 0 also shows, to keep the source task; other recipes
        refuse them. They need no labels. `forgetting` on other proxy images measures the effect.
    watch : TrainingProgress, optional
        Is told what is done, also during the search over rates; another thread may show it.

    Returns
    -------
    FineTuned

    Raises
    ------
    UnknownName
        The mode does not exist.
    InputError
        Labels, indices or embeddings do not fit together; the device does not exist; `start_from` has other
        classes or another backbone, or has changed layers and the mode is ``"head"``; proxy images are given
        without replay or missing with it, or the network has no source classifier; the recipe augments texts
        or mixes texts or clips.
    WeightsError
        Replay needs the source classifier, and the checkpoint has none.
    SourceError
        An image or a clip cannot be decoded, or a text not be read.
    """
    began = time.perf_counter()
    kind = kind_of_backbone(backbone)
    data = TrainingData.checked(
        images, labels, n_classes, train_idx, val_idx, embeddings, row_dim_of(backbone), seed, kind
    )
    if isinstance(recipe, str):
        recipe = choose_recipe(backbone, recipe, len(data.train))
    if images is None and recipe.mode != "head":
        raise InputError(f"fine-tuning mode {recipe.mode!r} needs the {kind}s, got None")
    recipe.require_kind(kind)
    require_trainable(backbone, [recipe.mode])
    _check_proxies(recipe, proxy_images)
    arithmetic = choose_arithmetic(device, precision)
    changed = {} if start_from is None else _check_start(start_from, backbone, data.n_classes, recipe)

    watch = watch or TrainingProgress()
    network, forwarded = None, 0
    if data.embeddings is None or recipe.mode != "head":
        network = make_trainable(backbone, arithmetic)
        network.load_values(changed)
        if data.images is not None:
            data = replace(data, images=network.inputs(data.images))
    if changed:
        data = replace(data, embeddings=None)  # they came from the pretrained layers
    if data.embeddings is None:
        assert network is not None
        data = replace(data, embeddings=_embed_images(network, data, recipe.batch_size))
        forwarded += len(data.train) + len(data.val)
    fit_head = HeadFit(
        recipe=recipe if recipe.mode == "head" else default_recipe("head", len(data.train)),
        logistic=recipe.mode != "head" and recipe.head_start == "logistic",
        start=None if start_from is None else start_from._head,
        trains_start=recipe.mode == "head",
        device=arithmetic.device,
        seed=seed,
    )
    if network is None or recipe.mode == "head":
        trained = train_head_alone(fit_head, data, progress)
    else:
        replay = None if proxy_images is None else Replay(backbone, network, proxy_images, recipe, seed)
        trained = train_network(network, fit_head, data, recipe, seed, progress, replay, watch)
    return FineTuned(
        recipe=trained.recipe,
        history=trained.history,
        best_epoch=trained.best_epoch,
        head_history=trained.head_history,
        seconds=time.perf_counter() - began,
        images_forwarded=forwarded + trained.forwarded,
        precision=arithmetic.precision,
        device=str(arithmetic.device),
        notes=data.notes() + trained.notes,
        search=trained.search,
        refit_history=trained.refit_history,
        _head=trained.head,
        _backbone=backbone,
        _arithmetic=arithmetic,
        _network=network,
    )


def fine_tune_seeds(
    backbone: Any, images: Any, labels: Any, n_classes: int, *, seeds: Sequence[int], **options: Any
) -> list[FineTuned]:
    """Fine-tune once with each seed, to show how much is chance.

    Parameters
    ----------
    backbone, images, labels, n_classes, **options
        As in `fine_tune`.
    seeds : sequence of int
        At least one seed.

    Returns
    -------
    list of FineTuned
        One for each seed, in order.
    """
    if not len(seeds):
        raise InputError("seeds: expected at least one, got none")
    return [fine_tune(backbone, images, labels, n_classes, seed=seed, **options) for seed in seeds]


def _check_proxies(recipe: Recipe, images: Sequence[Any] | None) -> None:
    if images is not None and not len(images):
        raise InputError("proxy_images: expected at least one image, got none")
    if recipe.replay and images is None:
        raise InputError(f"recipe: replay is {recipe.replay:g}, which needs proxy_images; got None")
    if images is not None and not recipe.replay:
        raise InputError(
            "proxy_images: the recipe's replay is 0, so they would not be shown; set replay, for example to 1"
        )


def _check_start(start: FineTuned, backbone: Any, n_classes: int, recipe: Recipe) -> dict[str, np.ndarray]:
    """Check that training can continue from `start`; return the values of the layers it has changed."""
    outputs = start._head.linear.out_features
    if outputs != n_classes:
        raise InputError(f"start_from: it was trained for {outputs} classes, and there are {n_classes} now")
    start.check_backbone(backbone, "start_from")
    changed = start.changed_values()
    if changed and recipe.mode == "head":
        raise InputError(
            f"start_from: mode 'head' works on embeddings of the pretrained network, but mode "
            f"{start.recipe.mode!r} has changed {len(changed)} of its tensors; use 'last' or 'full'"
        )
    return changed


def _embed_images(network: TrainableBackbone, data: TrainingData, batch_size: int) -> np.ndarray:
    """Return frozen features of the training and validation inputs; other rows stay 0 and are never read."""
    assert data.images is not None
    used = np.concatenate([data.train, data.val])
    rows = None
    for positions, part in forward_inputs(network, data.images, used, batch_size):
        if rows is None:
            rows = np.zeros((len(data.labels), part.shape[1]), np.float32)
        rows[positions] = part.cpu().numpy()
    assert rows is not None
    return rows
