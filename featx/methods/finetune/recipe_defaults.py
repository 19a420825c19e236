"""The default recipe of each mode, for images, texts and clips.

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
- `TEXTS_SHOWN` texts in all epochs, of which there are at least 3 and at most 20: three on sets of many
  thousands of texts, as Devlin et al. have it, and 20 on those of a thousand and fewer, where a few epochs
  give results that are worse and differ from seed to seed (Mosbach et al., *On the Stability of Fine-tuning
  BERT*, 2021; Zhang et al., *Revisiting Few-sample BERT Fine-tuning*, 2021).
- Rates of `TEXT_RATES`: Devlin et al. recommend 2e-5 to 5e-5 for networks of 110 million parameters and more,
  and Turc et al. (*Well-Read Students Learn Better*, 2019) try 3e-5 to 3e-4 for compact ones; each of these
  is within a factor of about three of one of the two.
- Rates fall by 0.95 from block to block towards the input (Sun et al., *How to Fine-Tune BERT for Text
  Classification?*, 2019; the idea is that of Howard and Ruder 2018, section 3.2).
- No augmentation: changing the words of a text may change its label.

Clips have these (`_CLIPS`), from the literature on transformers of audio; epochs and batches are those of
images:

- AdamW with warm-up over the first tenth of the steps. Dropout is on at the rates of the configuration, and
  whole layers are never left out.
- Rates of `ADAMW_RATES`: wav2vec 2.0 (Baevski et al. 2020) is fine-tuned with rates of some 1e-5 to 1e-4, AST
  (Gong et al. 2021) with 1e-5 to 2.5e-4; each of these is within a factor of about three of one of the two.
- Rates fall by 0.75 from block to block towards the input, as those of transformers of images do above. The
  convolutions at the input, which wav2vec 2.0 keeps frozen in fine-tuning, are the lowest block and hardly
  move.
- No augmentation unless it is asked for: with Whisper tiny and 5 clips of each class, all layers trained,
  random changes took the accuracy from 0.953 to 0.963 on spoken digits, and from 0.590 to 0.563 on made-up
  calls of six shapes in noise (300 test clips each, one seed: neither is more than chance). Without it, the
  frozen layers run once.
"""

from __future__ import annotations

import math
from dataclasses import replace
from numbers import Integral
from typing import Any

from featx.errors import InputError, UnknownName
from featx.methods.finetune.recipe import MODES, Recipe

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

#: What the default recipes for clips have in place of the values for images.
_CLIPS = {
    "augment": False,
    "lr_head": 1e-3,
    "lr_backbone": 3e-5,
    "weight_decay": 0.01,
    "layer_decay": 0.75,
    "optimizer": "adamw",
}

#: Rates and further settings of AdamW, by kind of input.
_WITH_ADAMW: dict[str, tuple[tuple[float, ...], dict[str, Any]]] = {
    "image": (ADAMW_RATES, _ADAMW),
    "text": (TEXT_RATES, _TEXTS),
    "clip": (ADAMW_RATES, _CLIPS),
}


def default_recipe(mode: str, n_train: int, optimizer: str = "sgd", kind: str = "image") -> Recipe:
    """Return the default recipe for a number of training inputs.

    Parameters
    ----------
    mode : {"head", "last", "gradual", "full"}
        Which layers are trained.
    n_train : int
        Number of training inputs, without the validation part.
    optimizer : {"sgd", "adamw"}
        That of the pretrained layers, as `featx.methods.finetune.choose_optimizer` returns it for a backbone;
        rates and weight decay depend on it. Without effect on ``"head"``, and on texts and clips, which have
        AdamW.
    kind : {"image", "text", "clip"}
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
    rates, settings = _WITH_ADAMW[kind]
    return replace(recipe, lr_search=tuple(rate * math.sqrt(batch_size / 32) for rate in rates), **settings)
