"""Train VGG16 on CIFAR-10 at 32 px and 224 px: a head on frozen features, then the last four layers as well.

    python pipelines/cifar10_vgg16.py --data cifar10 --limit 12000

Features are the average-pooled last convolutional block; other backbones use their own penultimate layer.
First only the head is trained, then the last four layers as well, at a tenth of the head's learning rate.
The tutorial that this follows printed test accuracies of 0.785 (frozen) and 0.805 (unfrozen) at 32 px on the
whole set. Expect far higher ones at 224 px, for 49 times the arithmetic.
"""

import argparse
from dataclasses import replace

import numpy as np

from featx import extract, load_backbone, load_dataset
from featx.data.splits import make_split, validation_part
from featx.methods.finetune import default_recipe, fine_tune

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--backbone", default="vgg16")
parser.add_argument("--data", default="cifar10", help="a folder, a table or a named dataset")
parser.add_argument("--limit", type=int, help="a stratified subset of this many images")
parser.add_argument("--sizes", type=int, nargs="+", default=[32, 224])
parser.add_argument("--epochs", type=int, help="epochs of the unfrozen run (default: the recipe's)")
parser.add_argument("--weights", default="default", help="'random' tries the code without pretrained weights")

if __name__ == "__main__":
    args = parser.parse_args()
    dataset = load_dataset(args.data, limit=args.limit)
    split = make_split(dataset.labels, splits=dataset.splits, groups=dataset.groups)
    fit, held = validation_part(split, dataset.labels, groups=dataset.groups)
    layer = {"layer": "features", "pooling": "avg"} if args.backbone.startswith("vgg") else {}
    for size in args.sizes:
        weights = None if args.weights == "random" else args.weights
        backbone = load_backbone(args.backbone, weights=weights, image_size=size, **layer)
        features = extract(dataset, backbone=backbone, verbose=True)
        for mode in ("head", "last"):
            recipe = default_recipe(mode, n_train=len(fit))
            if mode == "last":
                recipe = replace(
                    recipe, unfreeze=4, lr_backbone=recipe.lr_head / 10, epochs=args.epochs or recipe.epochs
                )
            tuned = fine_tune(
                backbone,
                dataset.images,
                dataset.labels,
                len(dataset.classes),
                recipe=recipe,
                train_idx=fit,
                val_idx=held,
                embeddings=features.embeddings,
            )
            test = split.test
            given = features.embeddings[test] if mode == "head" else [dataset.images[i] for i in test]
            accuracy = np.mean(tuned.predict_proba(given).argmax(axis=1) == dataset.labels[test])
            print(f"{size} px, {mode}: test accuracy {accuracy:.3f} ({tuned.seconds:.0f} s)", flush=True)
