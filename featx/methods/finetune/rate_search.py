"""Search the learning rate of the pretrained layers, by a training with each candidate."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import replace
from typing import Any

from featx.methods.finetune.activations import Activations
from featx.methods.finetune.epochs import NetworkTraining
from featx.methods.finetune.freezing import restore, snapshot
from featx.methods.finetune.head import Head
from featx.methods.finetune.recipe import Recipe
from featx.methods.finetune.replay import Replay
from featx.methods.finetune.trainable_backbone import TrainableBackbone
from featx.methods.finetune.training_data import TrainingData
from featx.methods.finetune.training_progress import TrainingProgress


def search_rates(
    network: TrainableBackbone,
    head: Head,
    data: TrainingData,
    recipe: Recipe,
    seed: int,
    stored: dict[int, Activations | None],
    replay: Replay | None = None,
    watch: TrainingProgress | None = None,
) -> tuple[Recipe, list[dict[str, Any]], int, NetworkTraining | None]:
    """Choose one of ``recipe.lr_search`` by the tempered validation loss at the end of a training with each.

    The parameters are those of `NetworkTraining`. Every training starts from the same values, which are
    restored at the end, and sees the images in the same order.

    Returns
    -------
    recipe : Recipe
        `recipe` with the best rate as `lr_backbone`; unchanged if every training diverged.
    trials : list of dict
        The entries of `FineTuned.search`, with ``val_tempered_loss`` and ``epochs``; None where it diverged.
    forwarded : int
        Images sent through the network.
    whole : NetworkTraining or None
        The training with the best rate if it was a training of all epochs, which need not be run again.
    """
    start = list(network.module.parameters())
    values = snapshot(start)
    epochs = min(recipe.search_epochs, recipe.epochs)
    is_whole = epochs == recipe.epochs
    trials: list[dict[str, Any]] = []
    forwarded, lowest = 0, math.inf
    chosen: Recipe | None = None
    whole: NetworkTraining | None = None
    for number, rate in enumerate(recipe.lr_search, 1):
        if watch is not None:
            watch.begin("rates", f"rate {number} of {len(recipe.lr_search)}")
        began = time.perf_counter()
        with_rate = replace(recipe, lr_backbone=rate)
        trial = with_rate if is_whole else replace(with_rate, epochs=epochs, patience=epochs)
        own = copy.deepcopy(head)
        run = NetworkTraining(network, own, data, trial, seed, None, stored, replay, watch=watch)
        run.train()
        forwarded += run.forwarded
        restore(start, values)
        end = run.kept if is_whole else run.history[-1]
        loss = end["val_tempered_loss"] if run.is_finite else None
        if loss is not None and loss < lowest:
            lowest, chosen, whole = loss, with_rate, run if is_whole else None
        reached = {} if loss is None else end
        trials.append(
            {
                "lr_backbone": rate,
                "epochs": epochs,
                **{key: reached.get(key) for key in ("val_loss", "val_accuracy", "val_tempered_loss")},
                "seconds": time.perf_counter() - began,
            }
        )
    return chosen or recipe, trials, forwarded, whole
