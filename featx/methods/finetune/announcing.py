"""Say before a fine-tuning how long it takes, and show its progress."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from featx.kinds import count_of
from featx.methods.finetune.measuring import measure_costs
from featx.methods.finetune.recipe import Recipe
from featx.methods.finetune.trainable_backbone import kind_of_backbone
from featx.methods.finetune.training_progress import TrainingProgress
from featx.methods.finetune.workload import expected_seconds
from featx.progress import LONG, Status, describe_seconds
from featx.terminal import tell


@contextmanager
def announced(
    backbone: Any,
    images: Sequence[Any],
    n_classes: int,
    recipe: Recipe,
    n_train: int,
    n_val: int,
    *,
    device: str = "auto",
    verbose: bool = True,
) -> Iterator[TrainingProgress]:
    """Say about how long a fine-tuning takes, and show what it does in the block.

    The parameters are those of `featx.methods.finetune.fine_tune`, with the numbers of inputs to train on and
    to validate on; the object that this yields is its `watch`. Without `verbose` nothing is measured.
    """
    if not verbose:
        yield TrainingProgress()
        return
    costs = (
        None if recipe.mode == "head" else measure_costs(backbone, images, n_classes, recipe, device=device)
    )
    seconds = expected_seconds(recipe, n_train, n_val, costs)
    what = f"fine-tuning {backbone.name} ({recipe.mode})"
    if recipe.mode == "head":
        what = f"new head on {backbone.name}"
    if seconds >= LONG:
        count = count_of(n_train + n_val, kind_of_backbone(backbone))
        tell(f"{what}: {count}, about {describe_seconds(seconds)}")
    watch = TrainingProgress(costs)

    def describe() -> tuple[float, str]:
        share, text = watch.describe()
        return share, f"{what}: {text}" if text else what

    with Status(describe):
        yield watch


def say_epoch(epoch: dict[str, Any]) -> None:
    """Print loss and validation accuracy of an epoch on standard error."""
    validated = "" if epoch["val_loss"] is None else f", validation accuracy {epoch['val_accuracy']:.3f}"
    when = f"epoch {epoch['epoch']}" if epoch["epoch"] else "before the first epoch"
    tell(f"{when}: training loss {epoch['train_loss']:.3f}{validated}")
