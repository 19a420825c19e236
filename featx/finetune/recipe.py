"""What is fine-tuned, for how long and at which rates: a recipe, and where its defaults come from.

Three modes, from the cheapest to the dearest:

``head``
    The backbone stays frozen; a new linear head is trained with SGD on its embeddings. No image is
    needed once the embeddings are there.
``last``
    The last few blocks of the backbone and the head are trained; everything below stays frozen.
``full``
    Every layer is trained.

The defaults are textbook values and do not look at the data beyond its size:

- SGD with Nesterov momentum 0.9, linear warm-up over the first tenth of the steps, then a cosine to
  zero (Loshchilov and Hutter 2017), and gradients clipped to norm 1 as in Dosovitskiy et al. 2021.
- Pretrained layers learn at `lr_backbone`, far below the new head's `lr_head`: their weights are nearly
  right and the head's gradients are noisy at first (Yosinski et al. 2014; Howard and Ruder 2018).
- A fixed number of images is shown (`IMAGES_SHOWN`), so that small sets get more epochs and large
  ones fewer, as in the size-dependent schedule of BiT (Kolesnikov et al. 2020).
- The head's rate refers to an input of unit norm, where the loss curves so little that rates of 10 and
  more are stable (MoCo's linear probe uses 30: He et al. 2020). ``last`` and ``full`` set out from that
  trained head, so it only has to follow the layers below it: 0.1, and a hundredth of that for them, the
  0.001 that is customary for SGD on pretrained networks.
- Weight decay on convolution and linear weights only, never on biases and normalisation; none for
  ``head``, as is usual for linear probes, where early stopping regularises.
- Random resized crops and flips for ``last`` and ``full`` only: ``head`` works on embeddings, which are
  taken once from the central crop.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from numbers import Integral
from typing import Any

from featx.errors import InputError, UnknownName

#: The modes, cheapest first.
MODES = ("head", "last", "full")

#: What a reader of a report sees.
TITLES = {
    "head": "New head (SGD), backbone frozen",
    "last": "Fine-tuned, last blocks",
    "full": "Fine-tuned, all layers",
}

#: Training images shown in all epochs together, within 5 to 30 epochs; fewer layers settle sooner.
IMAGES_SHOWN = {"last": 3_500, "full": 4_500}


@dataclass(frozen=True)
class Recipe:
    """How a backbone is adapted to new classes.

    Parameters
    ----------
    mode : {"head", "last", "full"}
        What is trained.
    epochs : int
        Passes over the training part at most; early stopping may end sooner.
    batch_size : int
        Images per step. Batch normalisation uses its pretrained statistics throughout, so small
        batches are fine.
    lr_head : float
        Peak learning rate of the head, whose input is standardised to about unit norm (see `Head`).
    lr_backbone : float
        Peak learning rate of the pretrained layers that are trained; unused by ``head``.
    momentum : float
        Nesterov momentum, in [0, 1).
    weight_decay : float
        L2 penalty on weights, not on biases and normalisation.
    label_smoothing : float
        Mass moved from the true class to all classes, in [0, 1); only in the training loss.
    clip_norm : float or None
        The gradient's largest norm over all trained weights; None does not clip.
    unfreeze : int
        Blocks counted from the output that ``last`` trains.
    patience : int
        Epochs without a better validation loss after which training stops.
    val_fraction : float
        Share of the training images that whoever draws the validation part should set aside.
    augment : bool
        Random resized crop and horizontal flip of every training image, anew in every epoch.

    Raises
    ------
    UnknownName
        `mode` is none of `MODES`.
    InputError
        A value is out of its range; the message names the parameter.
    """

    mode: str
    epochs: int
    batch_size: int = 32
    lr_head: float = 0.1
    lr_backbone: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 1e-4
    label_smoothing: float = 0.0
    clip_norm: float | None = 1.0
    unfreeze: int = 3
    patience: int = 3
    val_fraction: float = 0.2
    augment: bool = True

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UnknownName("fine-tuning mode", str(self.mode), MODES)
        for name in ("epochs", "batch_size", "unfreeze", "patience"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"recipe: {name} must be a whole number of at least 1, got {value!r}")
        for name, test, range_ in (
            ("lr_head", lambda v: v > 0, "above 0"),
            ("lr_backbone", lambda v: v > 0, "above 0"),
            ("momentum", lambda v: 0 <= v < 1, "in [0, 1)"),
            ("weight_decay", lambda v: v >= 0, "at least 0"),
            ("label_smoothing", lambda v: 0 <= v < 1, "in [0, 1)"),
            ("clip_norm", lambda v: v > 0, "above 0, or None"),
            ("val_fraction", lambda v: 0 < v < 1, "in (0, 1)"),
        ):
            value = getattr(self, name)
            if name == "clip_norm" and value is None:
                continue
            number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            if not number or not test(value):
                raise InputError(f"recipe: {name} must be a number {range_}, got {value!r}")
        if not isinstance(self.augment, bool):
            raise InputError(f"recipe: augment must be True or False, got {self.augment!r}")

    @property
    def title(self) -> str:
        """The mode in words."""
        return TITLES[self.mode]

    def to_dict(self) -> dict[str, Any]:
        """The recipe as JSON-able data; `from_dict` takes it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Recipe:
        """The recipe that `to_dict` wrote.

        Raises
        ------
        InputError
            A field is unknown, missing or out of range.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(data) - known)
        if unknown:
            raise UnknownName("recipe field", unknown[0], sorted(known))
        missing = sorted({"mode", "epochs"} - set(data))
        if missing:
            raise InputError(f"recipe: missing field {missing[0]!r}")
        return cls(**data)


def default_recipe(mode: str, n_train: int) -> Recipe:
    """The recipe for a number of training images.

    Parameters
    ----------
    mode : {"head", "last", "full"}
        What is trained.
    n_train : int
        Labelled images that are trained on, the validation part not counted.

    Returns
    -------
    Recipe

    Raises
    ------
    UnknownName
        `mode` is none of `MODES`.
    InputError
        `n_train` is below 1.

    Notes
    -----
    Small sets get small batches, because the number of steps would otherwise fall below what the
    schedule needs.

    Examples
    --------
    >>> default_recipe("full", 576).epochs
    8
    """
    if mode not in MODES:
        raise UnknownName("fine-tuning mode", str(mode), MODES)
    if isinstance(n_train, bool) or not isinstance(n_train, Integral) or n_train < 1:
        raise InputError(f"n_train must be a whole number of at least 1, got {n_train!r}")
    if mode == "head":
        # A step costs next to nothing: large batches keep the number of steps low.
        large = n_train >= 10_000
        return Recipe(
            mode="head",
            epochs=50 if large else 100,
            batch_size=512 if large else 128,
            lr_head=10.0,
            weight_decay=0.0,
            patience=10,
            augment=False,
        )
    epochs = min(30, max(5, round(IMAGES_SHOWN[mode] / n_train)))
    # Under a cosine the losses fall last, when the rates are small: a short run is not stopped before that.
    patience = epochs if epochs <= 10 else math.ceil(epochs / 2)
    batch_size = 32 if n_train >= 320 else 16 if n_train >= 160 else 8
    return Recipe(mode=mode, epochs=epochs, batch_size=batch_size, patience=patience)
