"""Train a new head on a frozen ResNet-18 for five classes, and plot loss and accuracy.

    python pipelines/resnet18_head.py --data photos/ --output curves.png

The backbone runs once over the images; only the head is trained, by SGD with early stopping on a fifth of the
training images. On five classes of photographs expect a validation accuracy well above 0.9, within seconds
after extraction.
"""

import argparse

import numpy as np

from featx import extract, load_backbone, load_dataset
from featx.data.splits import make_split, validation_part
from featx.methods.finetune import default_recipe, fine_tune

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--backbone", default="resnet18")
parser.add_argument("--data", default="digits", help="a folder, a table or a named dataset")
parser.add_argument("--limit", type=int, help="a stratified subset of this many images")
parser.add_argument("--classes", type=int, default=5, help="the first so many classes")
parser.add_argument("--weights", default="default", help="'random' tries the code without pretrained weights")
parser.add_argument("--image-size", type=int)
parser.add_argument("--output", default="curves.png")


def plot(history, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axes, quantity in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for part in ("train", "val"):
            values = [epoch[f"{part}_{quantity}"] for epoch in history]
            axes.plot(range(1, len(values) + 1), values, label=part)
        axes.set(xlabel="epoch", ylabel=quantity)
        axes.legend()
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    args = parser.parse_args()
    dataset = load_dataset(args.data)
    dataset = dataset.subset(np.flatnonzero(dataset.labels < args.classes))
    if args.limit:
        dataset = dataset.limit(args.limit)
    weights = None if args.weights == "random" else args.weights
    backbone = load_backbone(args.backbone, weights=weights, image_size=args.image_size)
    features = extract(dataset, backbone=backbone, verbose=True)

    split = make_split(features.labels, splits=features.splits, groups=features.groups)
    fit, held = validation_part(split, features.labels, groups=features.groups)
    tuned = fine_tune(
        backbone,
        dataset.images,
        features.labels,
        args.classes,
        recipe=default_recipe("head", n_train=len(fit)),
        train_idx=fit,
        val_idx=held,
        embeddings=features.embeddings,
    )
    predicted = tuned.predict_proba(features.embeddings[split.test]).argmax(axis=1)
    plot(tuned.history, args.output)
    print(
        f"test accuracy {np.mean(predicted == features.labels[split.test]):.3f} on {len(split.test)} images"
    )
    print("curves:", args.output)
