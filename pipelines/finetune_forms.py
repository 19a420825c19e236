"""Compare forms of fine-tuning with logistic regression on frozen features: mean test accuracy over seeds.

    python pipelines/finetune_forms.py --data photos/ --forms full --seeds 3
    python pipelines/finetune_forms.py --data cifar10/ --limit 7000 --image-size 96 --forms full --seeds 1

Each form is a default recipe with a few fields changed, trained on the same images with the same validation
part; its learning rate is searched on that part. It prints a line for each training, then the mean of each
form. On images unlike those of the pretraining expect the whole network to beat the probe by several points;
on photographs of everyday things expect them to be within noise of each other.
"""

import argparse
from dataclasses import replace

import numpy as np

from featx import extract, load_backbone, load_dataset
from featx.data.splits import make_split, validation_part
from featx.methods.finetune import default_recipe, fine_tune_seeds
from featx.methods.probes import fit_probe

FORMS = {
    "last": ("last", {}),
    "gradual": ("gradual", {}),
    "full": ("full", {}),
    "full-decay": ("full", {"layer_decay": 0.8}),
    "full-lpft": ("full", {"head_start": "logistic"}),
    "full-l2sp": ("full", {"l2_sp": 0.01, "l2_sp_head": 0.001}),
    "full-rich": ("full", {"mixup": 0.2, "jitter": 0.2, "label_smoothing": 0.1, "ema": 0.99}),
}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--backbone", default="mobilenet_v2")
parser.add_argument("--data", default="digits", help="a folder, a table or a named dataset")
parser.add_argument("--limit", type=int, help="a stratified subset of this many images")
parser.add_argument("--image-size", type=int)
parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
parser.add_argument("--seeds", type=int, default=3)
parser.add_argument("--epochs", type=int, help="default: the recipes'")
parser.add_argument("--weights", default="default", help="'random' tries the code without pretrained weights")

if __name__ == "__main__":
    args = parser.parse_args()
    dataset = load_dataset(args.data, limit=args.limit)
    weights = None if args.weights == "random" else args.weights
    backbone = load_backbone(args.backbone, weights=weights, image_size=args.image_size)
    features = extract(dataset, backbone=backbone, verbose=True)
    split = make_split(dataset.labels, splits=dataset.splits, groups=dataset.groups)
    fit, held = validation_part(split, dataset.labels, groups=dataset.groups)
    truth = dataset.labels[split.test]
    probe = fit_probe("logreg", features.embeddings[split.train], dataset.labels[split.train], seed=0)
    predicted = probe.predict_proba(features.embeddings[split.test]).argmax(axis=1)
    print(
        f"logreg: {len(split.train)} and {len(truth)} images, test accuracy {np.mean(predicted == truth):.4f}"
    )
    for form in args.forms:
        mode, changes = FORMS[form]
        recipe = replace(default_recipe(mode, n_train=len(fit)), **changes)
        if args.epochs:
            recipe = replace(recipe, epochs=args.epochs)
        runs = fine_tune_seeds(
            backbone,
            dataset.images,
            dataset.labels,
            len(dataset.classes),
            seeds=range(args.seeds),
            recipe=recipe,
            train_idx=fit,
            val_idx=held,
            embeddings=features.embeddings,
        )
        found = []
        for seed, tuned in enumerate(runs):
            found.append(np.mean(tuned.predict([dataset.images[i] for i in split.test]) == truth))
            print(
                f"{form}, seed {seed}: test accuracy {found[-1]:.4f}, rate {tuned.recipe.lr_backbone:g}, "
                f"epoch {tuned.best_epoch} of {tuned.recipe.epochs}, {tuned.seconds:.0f} s",
                flush=True,
            )
        print(f"{form}: mean test accuracy {np.mean(found):.4f}", flush=True)
