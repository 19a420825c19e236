"""``featx rank``: rank backbones, or their layers."""

from __future__ import annotations

from argparse import ArgumentParser, BooleanOptionalAction, Namespace

from featx.cli.flags import add_cluster, add_data, add_flag, add_network, add_output, add_run
from featx.cli.output import run_experiment

HELP = "rank backbones or layers by transferability scores and a linear probe"


def add(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.description = (
        "Ranks backbones, or their layers, for a labelled collection: LogME, H-score, TransRate, LEEP, NCE, "
        "the accuracy of a logistic probe with its interval, and the rank correlation of each score with the "
        "probe. One forward pass an input and backbone."
    )
    add_data(parser)
    add_output(parser, "DIR", "folder for results.json, results.csv, report.html", required=False)
    add_flag(parser, "backbones", default=["auto"], help="see featx backbones")
    add_flag(parser, "layers")
    add_flag(parser, "probe", action=BooleanOptionalAction)
    add_flag(parser, "seed", help="of folds and subsets (default: 0)")
    add_flag(parser, "label", nargs=None, help="column of classes in a table (default: label)")
    add_network(parser, layer=False)
    add_run(parser)
    add_cluster(parser)


def run(args: Namespace) -> None:
    """Rank the backbones."""
    layers = "all" if args.layers == ["all"] else args.layers
    run_experiment(args, "rank", {"source": args.data}, layers=layers)
