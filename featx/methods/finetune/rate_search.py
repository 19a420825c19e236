"""Search the learning rate of the pretrained layers, by a short training with each candidate."""

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


def search_rates(
    network: TrainableBackbone,
    head: Head,
    data: TrainingData,
    recipe: Recipe,
    seed: int,
    stored: dict[int, Activations | None],
    replay: Replay | None = None,
) -> tuple[Recipe, list[dict[str, Any]], int]:
    """Choose one of ``recipe.lr_search`` by the tempered validation loss at the end of short trainings.

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
    """
    start = list(network.module.parameters())
    values = snapshot(start)
    epochs = min(recipe.search_epochs, recipe.epochs)
    short = replace(recipe, epochs=epochs, patience=epochs)
    trials: list[dict[str, Any]] = []
    forwarded = 0
    for rate in recipe.lr_search:
        began = time.perf_counter()
        trial = replace(short, lr_backbone=rate)
        run = NetworkTraining(network, copy.deepcopy(head), data, trial, seed, None, stored, replay)
        run.train()
        forwarded += run.forwarded
        restore(start, values)
        end = run.history[-1]
        reached = end if end["epoch"] == epochs and math.isfinite(end["val_tempered_loss"]) else {}
        trials.append(
            {
                "lr_backbone": rate,
                "epochs": epochs,
                **{key: reached.get(key) for key in ("val_loss", "val_accuracy", "val_tempered_loss")},
                "seconds": time.perf_counter() - began,
            }
        )
    finished = [trial for trial in trials if trial["val_tempered_loss"] is not None]
    if not finished:
        return recipe, trials, forwarded
    chosen = min(finished, key=lambda trial: trial["val_tempered_loss"])
    return replace(recipe, lr_backbone=chosen["lr_backbone"]), trials, forwarded
