"""Train on photographs and test on altered ones, to see when domain adaptation helps.

    python pipelines/domain_shift.py --data photos/ --output out/

The images are altered in memory: grey, low resolution, blur, noise, edges. The altered test images are
classified by probes trained on the unaltered photographs; on photographs adapted to altered training images,
without their labels; and on labelled altered images, the upper bound.

With MobileNetV2 on a few hundred photographs expect per-domain standardisation and CORAL to recover between a
sixth and two thirds of the accuracy that the alteration costs, and subspace alignment little. All adaptations
assume the same classes in the same shares in both domains: with --target-classes 3 the target lacks most
classes, and adapting does great harm, CORAL the most.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from featx import extract, load_dataset
from featx.data.splits import make_split
from featx.studies.comparison import compare_domains


def grey(image, rng):
    return ImageOps.grayscale(image).convert("RGB")


def edges(image, rng):
    return ImageOps.invert(ImageOps.grayscale(image).filter(ImageFilter.FIND_EDGES)).convert("RGB")


def low_resolution(image, rng):
    shorter = min(image.size)
    kept = min(28, shorter / 3)
    small = image.resize([max(1, round(side * kept / shorter)) for side in image.size])
    return small.resize(image.size, Image.Resampling.BICUBIC)


def noise(image, rng):
    pixels = np.asarray(image, np.float32)
    return Image.fromarray(np.clip(pixels + rng.normal(0, 50, pixels.shape), 0, 255).astype(np.uint8))


def blur(image, rng):
    return image.filter(ImageFilter.GaussianBlur(min(image.size) / 40))


KINDS = {f.__name__.replace("_", "-"): f for f in (grey, low_resolution, blur, noise, edges)}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--backbone", default="mobilenet_v2")
parser.add_argument("--data", default="digits", help="a folder, a table or a named dataset")
parser.add_argument("--limit", type=int, help="a stratified subset of this many images")
parser.add_argument("--weights", default="default", help="'random' tries the code without pretrained weights")
parser.add_argument("--image-size", type=int)
parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="which alterations")
parser.add_argument("--adaptations", nargs="+", default=["per-domain", "coral", "subspace"])
parser.add_argument("--target-classes", type=int, help="only so many classes in the altered images")
parser.add_argument("--cache", help="embedding cache (default: FEATX_CACHE or the user's cache folder)")
parser.add_argument("--output", help="a folder for a report of each kind")

if __name__ == "__main__":
    args = parser.parse_args()
    dataset = load_dataset(args.data, limit=args.limit)
    # One split for all domains: a test image must not be the altered copy of a training image.
    split = make_split(dataset.labels, splits=dataset.splits, groups=dataset.groups)
    is_test = np.isin(np.arange(len(dataset)), split.test)

    def embedded(alter=None, precision="auto"):
        rng = np.random.default_rng(0)
        pictures = [source.read().image().convert("RGB") for source in dataset.images]
        features = extract(
            [alter(picture, rng) for picture in pictures] if alter else pictures,
            dataset.labels,
            backbone=args.backbone,
            weights=None if args.weights == "random" else args.weights,
            image_size=args.image_size,
            precision=precision,
            cache=args.cache,
        )
        features.splits = np.where(is_test, "test", "train")
        return features

    precision = "auto"
    photographs = embedded()
    for kind in args.kinds:
        altered = embedded(KINDS[kind], precision)
        if altered.space != photographs.space:  # only one of them passed the parity check of its precision
            precision = "fp32"
            photographs, altered = embedded(precision=precision), embedded(KINDS[kind], precision)
        if args.target_classes:
            altered = altered.subset(altered.labels < args.target_classes)
        result = compare_domains(photographs, altered, adaptations=args.adaptations)
        result.source["name"], result.target["name"] = dataset.name, kind
        print(f"{result.table()}\n{kind}: {result.advice}\n", flush=True)
        if args.output:
            result.save(Path(args.output) / kind)
