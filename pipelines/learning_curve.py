"""Find how many labelled images are enough: frozen features and fine-tuning, from one image per class up.

    python pipelines/learning_curve.py --data photos/ --output out/

It prints the accuracy by images per class, and where fine-tuning overtakes; out/report.html has the plot. A
stopped run continues when it is started again. With MobileNetV2 on photographs expect frozen features to be
close to their best accuracy at 20 images per class.
"""

import argparse

from featx import learning_curve

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--backbone", default="mobilenet_v2")
parser.add_argument("--data", default="digits", help="a folder, a table or a named dataset")
parser.add_argument("--limit", type=int, help="a stratified subset of this many images")
parser.add_argument("--weights", default="default", help="'random' tries the code without pretrained weights")
parser.add_argument("--image-size", type=int)
parser.add_argument("--seeds", type=int, default=10)
parser.add_argument("--output", default="out")

if __name__ == "__main__":
    args = parser.parse_args()
    curve = learning_curve(
        args.data,
        seeds=args.seeds,
        baseline="head",
        backbones=args.backbone,
        weights=None if args.weights == "random" else args.weights,
        image_size=args.image_size,
        limit=args.limit,
        resume=args.output,
        verbose=True,
    )
    print(curve.table())
    print(curve.advice)
    print("report:", curve.save(args.output))
