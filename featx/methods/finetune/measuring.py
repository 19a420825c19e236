"""Measure how long a training takes for one input, by a few steps on a copy of the network."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from featx.methods.finetune.batches import decoding_threads
from featx.methods.finetune.epochs import NetworkTraining
from featx.methods.finetune.head import Head
from featx.methods.finetune.precision import choose_arithmetic
from featx.methods.finetune.recipe import Recipe
from featx.methods.finetune.trainable import make_trainable
from featx.methods.finetune.trainable_backbone import TrainableBackbone, row_dim_of
from featx.methods.finetune.training_data import TrainingData
from featx.methods.finetune.workload import Costs

#: Images of a measured step on a CPU, where the time of an image hardly depends on the batch.
_IMAGES = 8
#: Texts or clips whose lengths are looked at.
_LOOKED_AT = 128
#: Images of the first step, which also prepares the network.
_FIRST = 2
#: Measured steps, if they are short.
_STEPS = 3
#: After a first step of more seconds, the second, which is measured, has as few inputs.
_SLOW = 4.0


def measure_costs(
    backbone: Any,
    images: Sequence[Any],
    n_classes: int,
    recipe: Recipe,
    *,
    device: str = "auto",
    threads: int | None = None,
) -> Costs:
    """Return the seconds for one input in a training of this network with `recipe`.

    A copy of the network is trained for a few steps; the global random state is not used. `threads` is the
    number of threads for the steps: one where several trainings run at once.

    Parameters
    ----------
    backbone, images, n_classes, device
        As in `featx.methods.finetune.fine_tune`; a few of the inputs are read, from all over the sequence.
    recipe : Recipe
        In any mode but ``"head"``.
    """
    arithmetic = choose_arithmetic(device, "auto")
    on_cpu = arithmetic.device.type == "cpu"
    network = make_trainable(backbone, arithmetic)
    inputs = network.inputs(_choose_inputs(network, images, recipe, on_cpu=on_cpu))
    n = len(inputs)
    empty = np.zeros((n, row_dim_of(backbone)), np.float32)
    data = TrainingData(inputs, np.zeros(n, np.int64), n_classes, np.arange(n), np.arange(0), empty)
    head = Head.for_embeddings(empty, n_classes).to(arithmetic.device)
    # The rates do not matter for the time; with low ones the loss stays finite.
    slow = replace(recipe, epochs=1, lr_head=1e-6, lr_backbone=1e-6, lr_search=(), replay=0.0)
    training = NetworkTraining(network, head, data, slow, 0, None, {})
    view = inputs.view(replace(recipe, augment=True), 0, 1)
    began = time.perf_counter()
    with ThreadPoolExecutor(1) as pool:
        _, batch = next(inputs.batches(np.arange(n), n, view, pool))
    decode = (time.perf_counter() - began) / n / (1 if threads else decoding_threads())

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        cut = network.is_cut and recipe.mode != "gradual"  # traces the network, outside of what is measured
        first = _time_step(training, batch[:_FIRST]) * _FIRST
        batch = batch if first < _SLOW else batch[:_FIRST]
        train = _time_steps(training, batch)
        lower, upper = _time_forward(network, batch, arithmetic.device)
    finally:
        torch.set_num_threads(before)

    def with_decoding(seconds: float) -> float:
        # On a CPU the threads that decode take cores from the training; a device does not wait for them.
        return seconds + decode if on_cpu else max(seconds, decode)

    keeps_train = cut and not (recipe.augment and recipe.views is None)
    return Costs(
        train=max(train - lower, train / 3) if keeps_train else with_decoding(train),
        check=upper if cut else with_decoding(lower + upper),
        store=with_decoding(lower),
        is_cut=cut,
        blocks=max(1, training.n_blocks),
    )


def _choose_inputs(
    network: TrainableBackbone, sources: Sequence[Any], recipe: Recipe, *, on_cpu: bool
) -> list[Any]:
    """Return the inputs of a measured step: some from all over, and of texts and clips those of mean length.

    The batches of a training hold inputs of about one length, and the share of the optimiser in a step, which
    is large where a network has many embeddings, depends on the size of the batch.
    """
    if network.kind == "image":
        return _spread(sources, _IMAGES if on_cpu else recipe.batch_size)
    some = _spread(sources, _LOOKED_AT)
    shapes = network.inputs(some).shapes(np.arange(len(some)))
    assert shapes is not None
    costs = shapes.prod(axis=1)
    usual = np.argsort(abs(costs - costs.mean()), kind="stable")
    return [some[i] for i in usual[: recipe.batch_size]]


def _spread(sources: Sequence[Any], most: int) -> list[Any]:
    return [sources[i] for i in np.linspace(0, len(sources) - 1, min(most, len(sources))).astype(int)]


def _time_steps(training: NetworkTraining, batch: np.ndarray) -> float:
    """Return the median of up to three steps: another process may take the cores from one of them."""
    found: list[float] = []
    while len(found) < _STEPS and sum(found) * len(batch) < _SLOW / 2:
        found.append(_time_step(training, batch))
    return statistics.median(found)


def _time_step(training: NetworkTraining, batch: np.ndarray) -> float:
    """Return the seconds for an input in a training step on this batch."""
    rows = np.arange(len(batch))
    return _time(lambda: training.take_step(rows, partial(training.network.run_lower, batch)), len(batch))


@torch.no_grad()
def _time_forward(network: TrainableBackbone, batch: np.ndarray, device: torch.device) -> tuple[float, float]:
    """Return the seconds for an image in the frozen layers and in the others, without gradients."""
    found: list[Any] = []

    def finish(result: Any) -> None:
        found.append(result)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    lower = _time(lambda: finish(network.run_lower(batch)), len(batch))
    upper = _time(lambda: finish(network.run_upper(found[0])), len(batch))
    return lower, upper


def _time(work: Callable[[], object], images: int) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) / images
