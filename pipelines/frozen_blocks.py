"""Find how many blocks to train: the test accuracy by the number of trained blocks.

    python pipelines/frozen_blocks.py --data photos/
    python pipelines/frozen_blocks.py --limit 600 --image-size 96 --epochs 6 --trained 0 1 3 6 12

From a new head on the frozen network to all blocks trained, on the same images, validation part and seed. The
blocks below the trained ones run once for each version of an image, so fewer trained blocks make cheaper
epochs. Each line has the 95 % bootstrap interval over the test images, and McNemar's test against the first
line, usually the frozen network.

How many blocks are worth training depends on how far the images are from those of the pretraining (Yosinski
et al., *How transferable are features in deep neural networks?*, 2014). With the second command, MobileNetV2
on digits, expect no gain from training the last 6 of 19 blocks and about six points from the last 12. That is
one split with 150 test images and one seed; other image sizes and numbers of epochs may give other results.
"""

import argparse
from dataclasses import replace

from featx import extract, load_backbone, load_dataset
from featx.data.splits import make_split, validation_part
from featx.methods.finetune import block_parameters, default_recipe, fine_tune
from featx.metrics import mcnemar_exact, proportion_interval

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--backbone", default="mobilenet_v2")
parser.add_argument("--data", default="digits", help="a folder, a table or a named dataset")
parser.add_argument("--limit", type=int, help="a stratified subset of this many images")
parser.add_argument("--image-size", type=int)
parser.add_argument("--trained", type=int, nargs="+", help="numbers of trained blocks (default: 0 to all)")
parser.add_argument("--views", type=int, default=0, help="augmented versions of each image (default: none)")
parser.add_argument("--epochs", type=int, help="default: the recipe's")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--weights", default="default", help="'random' tries the code without pretrained weights")

if __name__ == "__main__":
    args = parser.parse_args()
    dataset = load_dataset(args.data, limit=args.limit)
    weights = None if args.weights == "random" else args.weights
    backbone = load_backbone(args.backbone, weights=weights, image_size=args.image_size)
    features = extract(dataset, backbone=backbone, verbose=True)
    split = make_split(dataset.labels, splits=dataset.splits, groups=dataset.groups)
    fit, held = validation_part(split, dataset.labels, groups=dataset.groups)
    test_images, truth = [dataset.images[i] for i in split.test], dataset.labels[split.test]
    blocks = len(block_parameters(backbone, backbone.module))
    first = None
    for trained in args.trained or range(blocks + 1):
        recipe = default_recipe("last" if trained else "head", n_train=len(fit))
        if trained:
            recipe = replace(recipe, unfreeze=trained, augment=args.views > 0, views=args.views or None)
            recipe = replace(recipe, epochs=args.epochs or recipe.epochs)
        tuned = fine_tune(
            backbone,
            dataset.images,
            dataset.labels,
            len(dataset.classes),
            recipe=recipe,
            train_idx=fit,
            val_idx=held,
            embeddings=features.embeddings,
            seed=args.seed,
        )
        right = tuned.predict(test_images) == truth
        first = right if first is None else first
        print(
            f"{trained} of {blocks} blocks trained: test accuracy {proportion_interval(right)}, "
            f"p = {mcnemar_exact(right, first).p_value:.2g}, "
            + (f"rate {tuned.recipe.lr_backbone:g}, " if trained else "")
            + f"epoch {tuned.best_epoch} of {tuned.recipe.epochs}, {tuned.seconds:.0f} s",
            flush=True,
        )
