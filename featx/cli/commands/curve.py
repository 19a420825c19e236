"""``featx curve``: low-data learning curves."""

from __future__ import annotations

from argparse import ArgumentParser, BooleanOptionalAction, Namespace

from featx.cli.flags import add_cluster, add_data, add_flag, add_network, add_output, add_run
from featx.cli.output import run_experiment

HELP = "draw learning curves for few labelled images, texts or clips, with intervals"


def add(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.description = (
        "Measures how accuracy grows with the number of labelled inputs, every method on the same "
        "nested draws; writes curve.json, curve.csv and report.html. A run that was stopped continues."
    )
    add_data(parser, "; or an .h5 file of featx extract")
    add_output(parser, "DIR", "folder for the results")
    add_flag(parser, "backbones", "--backbone", default=None)
    add_flag(parser, "shots")
    add_flag(parser, "draws", "--seeds", dest="seeds")
    add_flag(parser, "classifiers", help="probes (default: logreg svm knn lda ridge)")
    add_flag(
        parser,
        "baseline",
        default=["none"],
        help="fine-tune as well: some of head last full (default: none)",
    )
    add_flag(parser, "protocol")
    add_flag(parser, "label", nargs=None, help="the column of classes of a table (default: label)")
    add_flag(parser, "epochs")
    add_flag(parser, "augment", action="store_true", default=None)
    add_flag(parser, "checks", action=BooleanOptionalAction, default=None)
    add_flag(parser, "test_size")
    add_flag(parser, "seed")
    add_network(parser)
    add_run(parser)
    add_cluster(parser)


def run(args: Namespace) -> None:
    """Run the learning curve."""
    run_experiment(args, "curve", {"source": args.data})
