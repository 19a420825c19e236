"""Measure what fine-tuning has forgotten of the source task, with the classifier of the checkpoint.

The published source classifier, with the other layers after the embedding, runs on the pretrained layers and
on the fine-tuned ones. The difference in accuracy on a proxy set (images like those of the pretraining) is
what the new classes have cost: the "old task performance" of Li and Hoiem, *Learning without Forgetting*,
2016, section 4. If the classes of the proxy images are unknown, the share of images that keep their class
takes the place of the accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from featx.backbones import Backbone, has_logits, load_layers
from featx.errors import InputError, WeightsError
from featx.methods.finetune.finetuned import FineTuned
from featx.methods.finetune.precision import Arithmetic
from featx.methods.finetune.trainable_backbone import TrainableBackbone, forward_all
from featx.methods.finetune.training_data import check_integers
from featx.metrics import Interval, PairedTest, mcnemar_exact, proportion_interval


@dataclass(frozen=True, eq=False)
class Forgetting:
    """Accuracy on the source task before and after fine-tuning.

    Attributes
    ----------
    n : int
        Number of proxy images.
    agreement : Interval
        Share of the proxy images that keep the class that the pretrained network gives them.
    before, after : Interval or None
        Top-1 accuracy on the source classes with the pretrained and the fine-tuned layers; None without
        labels.
    change : PairedTest or None
        McNemar's exact test of `after` against `before`; its difference is below 0 where something was
        forgotten.
    predicted_before, predicted_after : ndarray of shape (n,), int64
        Source classes, for your own tests: for example, whether one training forgets less than another.
    """

    n: int
    agreement: Interval
    before: Interval | None
    after: Interval | None
    change: PairedTest | None
    predicted_before: np.ndarray = field(repr=False)
    predicted_after: np.ndarray = field(repr=False)

    def __str__(self) -> str:
        agreement = f"{self.agreement} of {self.n} images classified as before"
        if self.change is None:
            return agreement
        return (
            f"source accuracy {self.before} before and {self.after} after "
            f"({self.change.difference:+.3f}, p = {self.change.p_value:.2g}); {agreement}"
        )


def forgetting(
    backbone: Any,
    tuned: FineTuned,
    images: Sequence[Any],
    labels: Any = None,
    *,
    batch_size: int = 32,
) -> Forgetting:
    """Measure what fine-tuning has forgotten of the source task.

    Parameters
    ----------
    backbone : Backbone
        The backbone that was fine-tuned, from a checkpoint with its classifier.
    tuned : FineTuned
        The fine-tuned network; not changed. Mode ``"head"`` changes no layer and forgets nothing.
    images : sequence of image sources of length n
        The proxy set: images like those of the pretraining, but none that replay has shown.
    labels : array-like of int, shape (n,), optional
        The source task's class indices (of ImageNet: 0 to 999). Without them only the agreement with the
        pretrained network is measured.
    batch_size : int, default=32
        Images per forward pass; does not change the result.

    Returns
    -------
    Forgetting
        Accuracies with exact 95 % intervals over the images.

    Raises
    ------
    InputError
        There are no images, labels do not fit them or the source classes, `tuned` was trained on another
        backbone, or the network has no classifier.
    WeightsError
        The checkpoint has no classifier, or one of other classes than the architecture's.
    ImageError
        An image cannot be decoded.
    """
    tuned.check_backbone(backbone, "forgetting")
    if not len(images):
        raise InputError("forgetting: expected at least one proxy image, got none")
    network = source_network(backbone, tuned._arithmetic)
    before = _logits(network, images, batch_size)
    truth = None if labels is None else _check_labels(labels, before.shape)
    network.load_values(tuned.changed_values())
    old, new = before.argmax(axis=1), _logits(network, images, batch_size).argmax(axis=1)
    return Forgetting(
        n=len(images),
        agreement=proportion_interval(new == old),
        before=None if truth is None else proportion_interval(old == truth),
        after=None if truth is None else proportion_interval(new == truth),
        change=None if truth is None else mcnemar_exact(new == truth, old == truth),
        predicted_before=old,
        predicted_after=new,
    )


def source_network(backbone: Backbone, arithmetic: Arithmetic) -> TrainableBackbone:
    """Return the whole pretrained network, frozen: images in, scores of the source classes out.

    Its parameters have the same names as those of the backbone. Raises an `InputError` if the network has no
    classifier, a `WeightsError` if the checkpoint has none.
    """
    if not has_logits(backbone):
        raise InputError(
            f"{backbone.name}: its source task is not known, because the network has no classifier; take a "
            "backbone with one"
        )
    try:
        return TrainableBackbone(load_layers(backbone, ["logits"])[0], arithmetic)
    except WeightsError as error:
        raise WeightsError(
            f"{backbone.name}: its source task needs the checkpoint's classifier: {error}"
        ) from error


def _logits(network: TrainableBackbone, images: Sequence[Any], batch_size: int) -> np.ndarray:
    return forward_all(network, images, batch_size).cpu().numpy()


def _check_labels(labels: Any, shape: tuple[int, ...]) -> np.ndarray:
    n, n_classes = shape
    truth = check_integers("labels", labels)
    if len(truth) != n:
        raise InputError(f"expected as many labels as proxy images, got {len(truth)} labels and {n} images")
    wrong = np.flatnonzero((truth < 0) | (truth >= n_classes))
    if len(wrong):
        raise InputError(
            f"labels: expected classes of the source task, 0 to {n_classes - 1}, got {truth[wrong[0]]} at "
            f"position {wrong[0]}"
        )
    return truth
