"""Define the settings of a fine-tuning, `Recipe`, and their defaults.

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

The defaults are textbook values and depend on nothing but the size of the data:

- SGD with Nesterov momentum 0.9, linear warm-up over the first tenth of the steps, then a cosine to
  zero (Loshchilov and Hutter 2017), and gradients clipped to norm 1 as in Dosovitskiy et al. 2021.
- Pretrained layers learn at `lr_backbone`, far below the new head's `lr_head`: their weights are nearly
  right and the head's gradients are noisy at first (Yosinski et al. 2014; Howard and Ruder 2018).
- A fixed number of images is shown (`IMAGES_SHOWN`): small sets get more epochs than large ones, as in the
  size-dependent schedule of BiT (Kolesnikov et al. 2020).
- The head's input has unit norm, where the loss curves so little that rates of 10 and more are stable
  (MoCo's linear probe uses 30: He et al. 2020). The other modes start from that trained head, which only has
  to follow the layers below it: 0.1. The rate of those layers is searched among `RATES`, by a training
  with each, judged on the validation part. A few epochs would favour low rates, which look best at first (the
  short-horizon bias of Wu et al. 2018), so small sets are trained for all epochs with each rate, and the best
  of these trainings counts. Without a validation part the rate is 0.001, as is usual for SGD on pretrained
  networks.
- Transformers, and networks built like them, are trained with AdamW (`featx.methods.finetune.optimisers`):
  beta1 0.9, weight decay 0.05 and rates that fall from block to block by 0.75 towards the input, as in the
  fine-tuning of BEiT (Bao et al. 2022) and MAE (He et al. 2022, table 9). Its rates are searched among
  `ADAMW_RATES`; the head, which only has to follow, learns at 0.001.
- BatchNorm keeps its pretrained statistics, which the batches of a small set estimate badly. (Training them
  took the accuracy from 0.645 to 0.577 with 20 images of each class of CIFAR-10 at 96 px, and from 0.963 to
  0.954 with 60 of each of 12 flowers; one seed, the best of three rates, the best of one.)
- The schedule runs to its end, where the rate is zero and the loss lowest. That epoch is kept unless an
  earlier one is shown to be better (`NetworkTraining`), and the same training is then repeated on all images.
- Weight decay on convolution and linear weights only, never on biases and normalisation; none for
  ``head``, as is usual for linear probes, where early stopping regularises.
- Random resized crops and flips for all modes but ``head``, whose embeddings come from the central crop.

Texts have defaults of their own (`_TEXTS`), from the literature on BERT and networks like it:

- AdamW with bias correction, warm-up over the first tenth of the steps, batches of 32 and weight decay 0.01
  (Devlin et al., *BERT*, 2019, appendix A). Dropout is on at the rates of the network's configuration.
- `TEXTS_SHOWN` texts in all epochs, at least 3 and at most 20: three to four on the sets of thousands of
  texts and more for which Devlin et al. recommend these, and 20 on small ones, where a few epochs leave the
  network badly trained, and low or different from seed to seed (Mosbach et al., *On the Stability of
  Fine-tuning BERT*, 2021, section 6; Zhang et al., *Revisiting Few-sample BERT Fine-tuning*, 2021, section 5).
- Rates of `TEXT_RATES`: Devlin et al. recommend 2e-5 to 5e-5 for networks of 110 million parameters and more,
  and Turc et al. (*Well-Read Students Learn Better*, 2019, section 4.1) 3e-5 to 3e-4 for compact ones; every
  one of these is within a factor of about three of one of them.
- Rates fall by 0.95 from block to block towards the input (Sun et al., *How to Fine-Tune BERT for Text
  Classification?*, 2019, section 5.3.4; Howard and Ruder, *Universal Language Model Fine-tuning*, 2018,
  section 3.2, by a factor of 2.6).
- No augmentation: changing the words of a text may change its label.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from numbers import Integral
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

#: Training images shown in all epochs of a training, of which there are at least 5 and at most `MOST_EPOCHS`;
#: an image costs `last` half as much as the others.
IMAGES_SHOWN = {"last": 6_000, "gradual": 4_500, "full": 4_500}
MOST_EPOCHS = {"last": 30, "gradual": 20, "full": 20}

#: Images shown in the training of each rate of a search, where a whole training shows more.
SEARCH_SHOWN = 2_500

#: Rates of the pretrained layers that the default recipes try with batches of 32: one for images like those
#: of the pretraining, and ten times as much for others, whose layers must change more (Kornblith et al. 2019
#: and Li et al., *Rethinking the Hyperparameters for Fine-tuning*, 2020: the best rate depends on that
#: distance). Any rate between 0.001 and 0.1 is within a factor of about three of one of them. With smaller
#: batches they are smaller in proportion (Goyal et al., *Accurate, Large Minibatch SGD*, 2017, section 2.1).
RATES = (0.003, 0.03)

#: The same for AdamW: published rates for fine-tuning transformers, for batches of 32, lie within a factor of
#: about three of one of them. With smaller batches they fall with the square root of the size (Malladi et
#: al., *On the SDEs and Scaling Rules for Adaptive Gradient Algorithms*, 2022).
ADAMW_RATES = (1e-5, 1e-4)

#: What the default recipes with AdamW have in place of the values for SGD.
_ADAMW = {"lr_head": 1e-3, "lr_backbone": 3e-5, "weight_decay": 0.05, "layer_decay": 0.75}

#: Texts shown in all epochs of a training, of which there are at least 3 and at most 20.
TEXTS_SHOWN = 20_000

#: Rates of the pretrained layers that the default recipes for texts try with batches of 32.
TEXT_RATES = (3e-5, 1e-4)

#: What the default recipes for texts have in place of the values for images.
_TEXTS = {
    "augment": False,
    "lr_head": 1e-3,
    "lr_backbone": 3e-5,
    "weight_decay": 0.01,
    "layer_decay": 0.95,
    "optimizer": "adamw",
}

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
        Random resized crop, flip and jitter of every training image, new in every epoch.
    crop_scale : float
        Smallest share of the area that a random crop covers, in (0, 1].
    flip : float
        Probability that an image is mirrored; use 0 if left and right have a meaning.
    jitter : float
        Strength in [0, 1] of random brightness, contrast and saturation (Howard 2014).
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
            crops = [(self.augment, "random crops and flips")] if kind == "image" else []
            parts = [(bool(self.lr_search), "a search for the learning rate"), *crops, *parts]
        return tuple(words for done, words in parts if not done)

    def require_kind(self, kind: str) -> None:
        """Refuse what changes images, for other inputs; the `InputError` names the field."""
        if kind == "image" or self.mode == "head":
            return
        for name in ("augment", "mixup"):
            if value := getattr(self, name):
                raise InputError(
                    f"recipe: {name}={value!r} is for images, and a {kind} is always shown as it is; leave it "
                    "out"
                )

    @property
    def omissions(self) -> tuple[str, ...]:
        """Return `omissions_for` images.

        Examples
        --------
        >>> from dataclasses import replace
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


def default_recipe(mode: str, n_train: int, optimizer: str = "sgd", kind: str = "image") -> Recipe:
    """Return the default recipe for a number of training images or texts.

    Parameters
    ----------
    mode : {"head", "last", "gradual", "full"}
        Which layers are trained.
    n_train : int
        Number of training inputs, without the validation part.
    optimizer : {"sgd", "adamw"}
        That of the pretrained layers, as `featx.methods.finetune.choose_optimizer` returns it for a backbone;
        rates and weight decay depend on it. Without effect on ``"head"`` and on texts, which have AdamW.
    kind : {"image", "text"}
        The kind of input.

    Returns
    -------
    Recipe

    Raises
    ------
    UnknownName
        `mode` is not in `MODES`, or there is no such optimiser.
    InputError
        `n_train` is below 1.

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
            refit=True,
        )
    if kind == "text":
        epochs = min(20, max(3, round(TEXTS_SHOWN / n_train)))
    else:
        epochs = min(MOST_EPOCHS[mode], max(5, round(IMAGES_SHOWN[mode] / n_train)))
    # Small sets get small batches, or there would be too few steps for the schedule.
    batch_size = 32 if n_train >= 320 else 16 if n_train >= 160 else 8
    recipe = Recipe(
        mode=mode,
        epochs=epochs,
        batch_size=batch_size,
        patience=epochs,  # with a cosine the loss falls at the end, when the rate is small
        lr_search=tuple(rate * batch_size / 32 for rate in RATES),
        search_epochs=epochs if epochs > 5 else max(1, SEARCH_SHOWN // n_train),
        refit=True,
        optimizer=optimizer,
    )
    if kind == "image" and optimizer == "sgd":
        return recipe
    rates, settings = (TEXT_RATES, _TEXTS) if kind == "text" else (ADAMW_RATES, _ADAMW)
    return replace(recipe, lr_search=tuple(rate * math.sqrt(batch_size / 32) for rate in rates), **settings)
