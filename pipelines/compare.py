"""Compare nine classifiers on frozen features with fine-tuning, on one split.

    python pipelines/compare.py --data photos/ --output out/

It prints the table and the advice, and writes out/report.html. With MobileNetV2 on a few hundred images
expect logistic regression on frozen features to be within noise of full fine-tuning.
"""

import argparse

from featx import compare

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--backbone", nargs="+", default=["mobilenet_v2"])
parser.add_argument("--data", default="digits", help="a folder, a table or a named dataset")
parser.add_argument("--limit", type=int, help="a stratified subset of this many images")
parser.add_argument("--weights", default="default", help="'random' tries the code without pretrained weights")
parser.add_argument("--image-size", type=int)
parser.add_argument("--output", default="out")

if __name__ == "__main__":
    args = parser.parse_args()
    result = compare(
        args.data,
        backbones=args.backbone,
        weights=None if args.weights == "random" else args.weights,
        image_size=args.image_size,
        limit=args.limit,
        verbose=True,
    )
    print(result.table())
    print(result.advice)
    print("report:", result.save(args.output))
