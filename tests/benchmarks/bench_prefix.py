"""Training the last blocks on kept activations against the plain loop: seconds an epoch, and loss curves.

``python tests/benchmarks/bench_prefix.py FOLDER`` trains the last two blocks of MobileNetV2 and a head on a
folder with one subfolder for each class, in float32 on the processor, without augmentation, twice:

- *plain*: what one writes by hand. Every epoch decodes every image and sends it through the whole network,
  in eval mode and channels_last, with gradients for the last two blocks and the head alone; validation
  likewise.
- *kept*: `featx.methods.finetune.fine_tune`, where the frozen part's output is computed once.

Both take the same images in the same order, the same head to set out from and the same optimiser. The
time in which activations are computed once is printed apart, and the epochs after which it is earned back.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np


def plain_loop(
    backbone: Any, dataset: Any, head: Any, recipe: Any, train: np.ndarray, val: np.ndarray
) -> Any:
    """The loop by hand; seconds, training losses and validation losses of each epoch."""
    import torch
    from torch.nn import functional as F

    from featx.methods.finetune import parameter_groups, unfreeze_last
    from featx.methods.finetune.batches import decode_batches, decoding_threads, plain_view
    from featx.methods.finetune.head import schedule

    network = backbone.build().to(memory_format=torch.channels_last)
    tuned = unfreeze_last(backbone, network, recipe.unfreeze)
    head = copy.deepcopy(head)
    parameters = [*tuned, *head.linear.parameters()]
    optimizer = torch.optim.SGD(
        parameter_groups(
            tuned,
            head.linear.parameters(),
            lr_backbone=recipe.lr_backbone,
            lr_head=recipe.lr_head,
            weight_decay=recipe.weight_decay,
        ),
        lr=recipe.lr_head,
        momentum=recipe.momentum,
        nesterov=True,
    )
    peaks = [group["lr"] for group in optimizer.param_groups]
    preprocessing = backbone.preprocessing
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) * 255 for v in (preprocessing.mean, preprocessing.std))
    labels = torch.from_numpy(dataset.labels)
    size = recipe.batch_size
    n_steps = recipe.epochs * -(-len(train) // size)
    rng, step, found = np.random.default_rng(0), 0, []
    with ThreadPoolExecutor(decoding_threads()) as pool:

        def loaded(positions: np.ndarray) -> Any:
            for rows, pixels in decode_batches(
                dataset.images, positions, size, plain_view(preprocessing), pool
            ):
                x = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - mean) / std
                yield rows, x

        for _ in range(recipe.epochs):
            began, total = time.perf_counter(), 0.0
            for rows, x in loaded(train[rng.permutation(len(train))]):
                for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                    group["lr"] = peak * schedule(step, n_steps)
                loss = F.cross_entropy(head(network(x)), labels[rows])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(parameters, recipe.clip_norm)
                optimizer.step()
                step += 1
                total += loss.item() * len(rows)
            with torch.no_grad():
                logits = torch.cat([head(network(x)) for _, x in loaded(val)])
            seconds = time.perf_counter() - began
            found.append((seconds, total / len(train), F.cross_entropy(logits, labels[val]).item()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--limit", type=int, help="a stratified subset of this many images")
    args = parser.parse_args()

    from featx import load_backbone, load_dataset
    from featx.data.splits import make_split, validation_part
    from featx.methods.finetune import Recipe, fine_tune

    dataset = load_dataset(args.folder, limit=args.limit)
    split = make_split(dataset.labels, splits=dataset.splits, groups=dataset.groups)
    train, val = validation_part(split, dataset.labels, groups=dataset.groups)
    backbone = load_backbone(args.backbone, image_size=args.image_size)
    recipe = Recipe(
        "last",
        epochs=args.epochs,
        unfreeze=args.blocks,
        lr_backbone=0.01,
        patience=args.epochs,
        augment=False,
    )
    problem = {"train_idx": train, "val_idx": val, "device": "cpu", "precision": "fp32"}
    common = (backbone, dataset.images, dataset.labels, len(dataset.classes))
    head = fine_tune(*common, recipe="head", **problem)._head
    by_hand = plain_loop(backbone, dataset, head, recipe, train, val)
    tuned = fine_tune(*common, recipe=recipe, **problem)
    epochs = tuned.history[1:]
    kept = [(e["seconds"], e["train_loss"], e["val_loss"]) for e in epochs]
    slow, fast = (statistics.median(seconds for seconds, _, _ in run[1:] or run) for run in (by_hand, kept))
    curves = [np.array([losses for _, *losses in run]) for run in (by_hand, kept)]
    once = kept[0][0] - fast
    print(
        json.dumps(
            {
                "images": {"train": len(train), "validation": len(val)},
                "seconds_per_epoch": {"plain": slow, "kept": fast, "ratio": slow / fast},
                "seconds_once": once,
                "epochs_until_earned_back": once / (slow - fast),
                "train_loss": {"plain": curves[0][:, 0].tolist(), "kept": curves[1][:, 0].tolist()},
                "val_loss": {"plain": curves[0][:, 1].tolist(), "kept": curves[1][:, 1].tolist()},
                "largest_relative_difference": float(np.abs(curves[1] / curves[0] - 1).max()),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
