"""Define the settings of a fine-tuning, `Recipe`; their defaults are those of `recipe_defaults`.

Four modes, from the cheapest to the most expensive:

``head``
    The backbone stays frozen; a new linear head is trained with SGD on its embeddings, without the images.
``last``
    The last few blocks of the backbone and the head are trained; the layers below stay frozen.
``gradual``
    Every layer is unfrozen from the top, a few more blocks in each epoch (Howard and Ruder 2018, section
    3.3), so that the most general layers change last and least.
``full``
    Every layer is trained from the first step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from featx.errors import InputError, UnknownName
from featx.methods.finetune.optimisers import OPTIMIZERS

#: The modes, cheapest first.
MODES = ("head", "last", "gradual", "full")

#: Titles of the modes in reports.
TITLES = {
    "head": "New head (SGD), backbone frozen",
    "last": "Fine-tuned, last blocks",
    "gradual": "Fine-tuned, unfrozen block by block",
    "full": "Fine-tuned, all layers",
}

#: What the default recipes for a kind of input change at random, in words.
_CHANGES = {"image": "random crops and flips"}

#: Values of `Recipe.head_start`.
HEAD_STARTS = ("sgd", "logistic")

#: Ranges of the numbers of a recipe: the check, and its wording in a message.
_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    # The head's input is standardised, so rates of about 10 are usual; far higher ones learn nothing.
    "lr_head": (lambda v: 0 < v <= 1000, "above 0, at most 1000"),
    "lr_backbone": (lambda v: 0 < v <= 100, "above 0, at most 100"),
    "momentum": (lambda v: 0 <= v < 1, "in [0, 1)"),
    "weight_decay": (lambda v: 0 <= v <= 100, "from 0 to 100"),
    "label_smoothing": (lambda v: 0 <= v < 1, "in [0, 1)"),
    "clip_norm": (lambda v: v > 0, "above 0, or None"),
    "val_fraction": (lambda v: 0 < v < 1, "in (0, 1)"),
    "layer_decay": (lambda v: 0 < v <= 1, "in (0, 1]"),
    "l2_sp": (lambda v: v >= 0, "at least 0"),
    "l2_sp_head": (lambda v: v >= 0, "at least 0"),
    "crop_scale": (lambda v: 0 < v <= 1, "in (0, 1]"),
    "flip": (lambda v: 0 <= v <= 1, "in [0, 1]"),
    "jitter": (lambda v: 0 <= v <= 1, "in [0, 1]"),
    "time_mask": (lambda v: 0 <= v <= 1, "in [0, 1]"),
    "band_mask": (lambda v: 0 <= v <= 1, "in [0, 1]"),
    "noise": (lambda v: 0 <= v <= 1, "in [0, 1]"),
    "gain": (lambda v: 0 <= v <= 60, "from 0 to 60"),
    "shift": (lambda v: 0 <= v <= 60, "from 0 to 60"),
    "mixup": (lambda v: v >= 0, "at least 0"),
    "ema": (lambda v: 0 <= v < 1, "in [0, 1)"),
    "replay": (lambda v: v >= 0, "at least 0"),
    "replay_temperature": (lambda v: v > 0, "above 0"),
}


@dataclass(frozen=True)
class Recipe:
    """The settings of a fine-tuning.

    Parameters
    ----------
    mode : {"head", "last", "gradual", "full"}
        Which layers are trained.
    epochs : int
        Largest number of passes over the training part; early stopping may end sooner.
    batch_size : int
        Images per step. BatchNorm keeps its pretrained statistics, so small batches are fine.
    lr_head : float
        Peak learning rate of the head, whose input is standardised to about unit norm (see `Head`).
    lr_backbone : float
        Peak learning rate of the pretrained layers that are trained; unused by ``head``.
    momentum : float
        Nesterov momentum, in [0, 1); beta1 of AdamW.
    weight_decay : float
        L2 penalty on weights (of AdamW: decoupled decay), not on biases and normalisation, nor on tokens and
        position embeddings of transformers.
    label_smoothing : float
        Probability moved from the true class to all classes, in [0, 1); only in the training loss.
    clip_norm : float or None
        Largest norm of the gradient over all trained weights; None does not clip.
    unfreeze : int
        Blocks, counted from the output, that ``last`` trains and that ``gradual`` adds in each epoch (Howard
        and Ruder: 1).
    patience : int
        Epochs without a better validation loss after which training stops.
    val_fraction : float
        Share of the training images for the validation part, which the caller draws.
    augment : bool
        Random resized crop, flip and jitter of every training image, new in every epoch. Of a clip: a random
        window, shift, gain, noise and masks.
    crop_scale : float
        Smallest share of the area that a random crop covers, in (0, 1].
    flip : float
        Probability that an image is mirrored; use 0 if left and right have a meaning.
    jitter : float
        Strength in [0, 1] of random brightness, contrast and saturation (Howard 2014).
    time_mask, band_mask : float
        Of clips: largest share of the time, and of the bands of a spectrum, that each of two masks covers
        (SpecAugment: Park et al. 2019; see `featx.inputs.audio.augment`).
    noise : float
        Probability of white noise in a clip, 10 to 30 decibels below it.
    gain : float
        Decibels by which a clip becomes louder or softer, at most; use 0 if loudness has a meaning.
    shift : float
        Seconds by which a clip begins earlier or later, at most, and at most a tenth of it.
    views : int or None
        With augmentation: use this many augmented versions of each image in turn, not a new one in each
        epoch. The frozen layers' activations of them are then stored, as without augmentation. With at least
        as many views as epochs only the work differs.
    mixup : float
        Parameter alpha of mixup (Zhang et al. 2018): inputs and losses of two images are mixed by a share
        drawn from Beta(alpha, alpha), once for each batch; 0 is off. Mixup mixes the input of the lowest
        trained layer: pixels for ``full``, activations for ``last`` (Verma et al.'s manifold mixup, 2019, at
        one layer).
    layer_decay : float
        The rate of each block is this times the rate of the block above it (Clark et al., *ELECTRA*, 2020;
        Bao et al., *BEiT*, 2022); 1 is one rate for all.
    l2_sp, l2_sp_head : float
        L2-SP (Li, Grandvalet and Davoine 2018, equation 2): with alpha = `l2_sp` above 0 the loss has
        alpha/2 ``||w - w0||^2`` for the pretrained parameters w that are trained and their pretrained
        values w0, and beta/2 ``||v||^2`` for the head's weights v, with beta = `l2_sp_head`; both replace
        `weight_decay`.
    ema : float
        Decay d of an exponential moving average of the weights, which is validated and kept in place of the
        weights (Polyak averaging); 0 is off. At step t the decay is min(d, (1 + t) / (10 + t)), so that short
        trainings forget the start, too.
    replay : float
        Weight of the loss that keeps the answers on the source task (lambda_o in Li and Hoiem, *Learning
        without Forgetting*, 2016, eq. 1, where it is 1); 0 is off. Above 0 each step also shows some of
        `fine_tune`'s proxy images and compares the source classifier's scores with the pretrained network's:
        see `featx.methods.finetune.replay`. Unused by ``head``, which forgets nothing.
    replay_temperature : float
        T of that loss (Hinton, Vinyals and Dean, *Distilling the Knowledge in a Neural Network*, 2015,
        section 2); above 1 the less likely classes count for more. Li and Hoiem use 2.
    replay_batch : int
        Proxy images in each step.
    head_start : {"sgd", "logistic"}
        How the head is fitted before the layers below it are trained (LP-FT: Kumar et al. 2022): by SGD on
        the frozen embeddings with early stopping, or by scikit-learn's logistic regression, with C chosen on
        the validation part. Unused by ``head``.
    lr_search : tuple of float
        Values of `lr_backbone` to try in a training with each; the one of lowest validation loss is used.
        Empty is no search. Needs a validation part. Unused by ``head``.
    search_epochs : int
        Epochs of each of those trainings, each with its own whole schedule, at whose end the rates are
        compared. With `epochs` or more, the best of them is the training, which is then not run again.
    optimizer : {"sgd", "adamw"}
        Optimiser of the pretrained layers and of the head on top of them; `default_recipe` has AdamW for
        transformers. Unused by ``head``, which is trained with SGD.
    refit : bool
        Train again on all images, the validation images included, with the rate and the number of epochs
        that they have chosen (see `featx.methods.finetune.phases`). Has no effect without a validation part.

    Raises
    ------
    UnknownName
        `mode` is not in `MODES`, or `optimizer` or `head_start` not among their values.
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
    crop_scale: float = 0.35
    flip: float = 0.5
    jitter: float = 0.0
    time_mask: float = 0.2
    band_mask: float = 0.3
    noise: float = 0.5
    gain: float = 6.0
    shift: float = 0.1
    views: int | None = None
    mixup: float = 0.0
    layer_decay: float = 1.0
    l2_sp: float = 0.0
    l2_sp_head: float = 0.0
    ema: float = 0.0
    replay: float = 0.0
    replay_temperature: float = 2.0
    replay_batch: int = 8
    head_start: str = "sgd"
    lr_search: tuple[float, ...] = ()
    search_epochs: int = 2
    refit: bool = False
    optimizer: str = "sgd"

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UnknownName("fine-tuning mode", str(self.mode), MODES)
        if self.head_start not in HEAD_STARTS:
            raise UnknownName("recipe: head_start", str(self.head_start), HEAD_STARTS)
        if self.optimizer not in OPTIMIZERS:
            raise UnknownName("recipe: optimizer", str(self.optimizer), OPTIMIZERS)
        for name in (
            "epochs",
            "batch_size",
            "unfreeze",
            "patience",
            "search_epochs",
            "views",
            "replay_batch",
        ):
            value = getattr(self, name)
            if name == "views" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"recipe: {name} must be a whole number of at least 1, got {value!r}")
        for name, (test, range_) in _RANGES.items():
            value = getattr(self, name)
            if name == "clip_norm" and value is None:
                continue
            if not _is_number(value) or not test(value):
                raise InputError(f"recipe: {name} must be a number {range_}, got {value!r}")
        for name in ("augment", "refit"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"recipe: {name} must be True or False, got {getattr(self, name)!r}")
        rates = self.lr_search
        if not isinstance(rates, (tuple, list)) or not all(_is_number(rate) and rate > 0 for rate in rates):
            raise InputError(f"recipe: lr_search must be numbers above 0, got {rates!r}")
        object.__setattr__(self, "lr_search", tuple(rates))  # JSON gives a list back

    @property
    def title(self) -> str:
        """Return the mode in words."""
        return TITLES[self.mode]

    def omissions_for(self, kind: str) -> tuple[str, ...]:
        """Return in words what the default recipe of this mode does for a kind of input, and this one not."""
        parts = [(self.refit, f"training again on all {kind}s after the validation")]
        if self.mode != "head":
            changes = [(self.augment, _CHANGES[kind])] if kind in _CHANGES else []
            parts = [(bool(self.lr_search), "a search for the learning rate"), *changes, *parts]
        return tuple(words for done, words in parts if not done)

    def require_kind(self, kind: str) -> None:
        """Refuse what cannot be done with inputs of a kind; the `InputError` names the field."""
        if kind == "image" or self.mode == "head":
            return
        refused = {"text": ("augment", "mixup"), "clip": ("mixup",)}[kind]
        for name in refused:
            if value := getattr(self, name):
                known = "images" if name == "mixup" else "images and clips"
                raise InputError(f"recipe: {name}={value!r} is for {known}, not for {kind}s; leave it out")

    @property
    def omissions(self) -> tuple[str, ...]:
        """Return `omissions_for` images.

        Examples
        --------
        >>> from dataclasses import replace
        >>> from featx.methods.finetune import default_recipe
        >>> replace(default_recipe("full", 576), augment=False, lr_search=()).omissions
        ('a search for the learning rate', 'random crops and flips')
        """
        return self.omissions_for("image")

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON data; `from_dict` reads it."""
        return asdict(self) | {"lr_search": list(self.lr_search)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Recipe:
        """Read a recipe that `to_dict` wrote.

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


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def require_trainable(backbone: Any, modes: Sequence[str]) -> None:
    """Refuse to train the layers of a network that has no gradients, such as a graph file."""
    needing = [mode for mode in modes if mode != "head"]
    if needing and not getattr(backbone, "trainable", True):
        raise InputError(
            f"{backbone.name}: has no gradients, so fine-tuning mode {needing[0]!r} cannot train it; use "
            "mode 'head' or a probe on its embeddings"
        )
