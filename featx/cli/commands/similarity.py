"""``featx similarity``: test whether two sets of inputs differ."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from featx.cli.flags import add_cluster, add_flag, add_network, add_output, add_run
from featx.cli.output import run_experiment

HELP = "test whether two sets of images, texts or clips differ, and show which differ most"


def add(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.description = (
        "Compares two sets of images, texts or clips by their embeddings: a permutation test of the maximum "
        "mean discrepancy decides, the other distances say how much. A and B are data as for other commands, "
        "or two .h5 files of featx extract by one network."
    )
    parser.add_argument("a", metavar="A", help="the reference: a folder, table, named dataset or .h5 file")
    parser.add_argument("b", metavar="B", help="the set to compare with A")
    add_flag(parser, "text")
    add_output(parser, "DIR", "folder for results.json and report.html", required=False)
    add_flag(parser, "backbone", help="(default: %(default)s)")
    add_flag(parser, "n_permutations", "--permutations")
    add_flag(parser, "most")
    add_flag(parser, "top")
    add_flag(parser, "seed", help="of all that is drawn (default: 0)")
    add_network(parser)
    add_run(parser, limit=False)
    add_cluster(parser)


def run(args: Namespace) -> None:
    """Compare the two sets."""
    run_experiment(args, "similarity", {"a": args.a, "b": args.b})
