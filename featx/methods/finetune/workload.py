"""Count the images that a fine-tuning sends through its network, phase by phase, and estimate its seconds.

An image is sent through the network in one of three ways: trained on (forward, backward, and its share of the
step), checked (forward, for validation), or stored (the frozen layers only, whose output is kept).
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from featx.methods.finetune.recipe import Recipe
from featx.methods.finetune.recipe_defaults import default_recipe

#: Seconds for one embedding in an epoch of the head's training, measured with 1,280 values on one core.
_HEAD_ROW = 9e-6
#: Phases of a training of the network, in their order.
PHASES = ("rates", "epochs", "refit")


class Costs(NamedTuple):
    """Seconds for one image of each kind, and facts about the network's layers; see `measuring`.

    The defaults stand for no measurement, where only proportions count: a backward pass takes about twice as
    long as a forward pass.
    """

    train: float = 1.0
    check: float = 1 / 3
    store: float = 1 / 3
    is_cut: bool = False  # there are frozen layers, whose output is stored
    blocks: int = 1  # those that mode "gradual" unfreezes, a few in each epoch


class Images(NamedTuple):
    """Numbers of images, in units of a whole training step for `train`."""

    train: float = 0.0
    check: float = 0.0
    store: float = 0.0

    def seconds(self, costs: Costs) -> float:
        """Return the seconds that they take."""
        return self.train * costs.train + self.check * costs.check + self.store * costs.store


def share_of_step(unfrozen: int, blocks: int) -> float:
    """Return how much of a whole training step is done while some of the blocks are frozen.

    The forward pass, a third of a step, is always whole; the backward pass ends at the lowest trained block.
    """
    return (1 + 2 * min(1.0, unfrozen / blocks)) / 3


def count_images(recipe: Recipe, n_train: int, n_val: int, costs: Costs, *, stored: bool = False) -> Images:
    """Return the images of one training with `recipe`, all of whose epochs are run.

    With `stored` an earlier training has stored the outputs of the frozen layers.
    """
    epochs = range(1, recipe.epochs + 1)
    shares = [1.0] * recipe.epochs
    if recipe.mode == "gradual":
        shares = [share_of_step(epoch * recipe.unfreeze, costs.blocks) for epoch in epochs]
    once = 0
    if costs.is_cut and not stored:
        views = min(recipe.views or recipe.epochs, recipe.epochs) if recipe.augment else 1
        once = n_val + (n_train * views if not recipe.augment or recipe.views else 0)
    return Images(n_train * sum(shares), n_val * recipe.epochs, once)


def plan_phases(recipe: Recipe, n_train: int, n_val: int, costs: Costs) -> dict[str, Images]:
    """Return the images of each phase: the search over rates, the epochs, and the refit on all images.

    The refit is counted with as many epochs as the training: it has no more, and usually as many.
    """
    phases: dict[str, Images] = {}
    searched = bool(recipe.lr_search and n_val)
    if searched:
        trial = replace(recipe, epochs=min(recipe.search_epochs, recipe.epochs))
        images = count_images(trial, n_train, n_val, costs, stored=True)
        tries = Images(*(len(recipe.lr_search) * number for number in images))
        phases["rates"] = tries._replace(store=count_images(trial, n_train, n_val, costs).store)
    # The best of several whole trainings is not run again.
    if not searched or recipe.search_epochs < recipe.epochs:
        phases["epochs"] = count_images(recipe, n_train, n_val, costs, stored=searched)
    if recipe.refit and n_val:
        phases["refit"] = count_images(recipe, n_train + n_val, 0, costs)
    return phases


def expected_seconds(recipe: Recipe, n_train: int, n_val: int, costs: Costs | None) -> float:
    """Return about how long a fine-tuning takes, from the measured costs; mode ``"head"`` needs none."""
    head = _head_seconds(recipe, n_train, n_val)
    if recipe.mode == "head" or costs is None:
        return head
    return head + sum(i.seconds(costs) for i in plan_phases(recipe, n_train, n_val, costs).values())


def _head_seconds(recipe: Recipe, n_train: int, n_val: int) -> float:
    """Return the seconds of the head, where every mode begins; it is trained again on all images."""
    head = recipe if recipe.mode == "head" else default_recipe("head", n_train)
    again = n_train + n_val if n_val and recipe.refit else 0
    return _HEAD_ROW * head.epochs * (n_train + again)
