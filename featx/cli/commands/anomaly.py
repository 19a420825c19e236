"""``featx anomaly``: compare detectors if the truth is known, or score inputs if it is not."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from featx.cli.flags import add_cluster, add_data, add_flag, add_network, add_output, add_run
from featx.cli.output import run_experiment
from featx.errors import InputError

HELP = "find images, texts or clips unlike the normal ones"


def add(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.description = (
        "Without TEST: takes each class of DATA in turn (or the classes of --normal together) as normal, and "
        "measures how well detectors find the test inputs of the other classes. With TEST: fits on the "
        "normal inputs in DATA and writes how anomalous each input of TEST is; with --normal, which needs "
        "the classes of TEST, detectors are measured on TEST."
    )
    add_data(parser, "; or an .h5 file; with TEST: normal images, texts or clips")
    parser.add_argument("test", nargs="?", metavar="TEST", help="images, texts or clips to judge")
    add_output(parser, "DIR", "folder for the results")
    add_flag(parser, "normal")
    add_flag(parser, "label", nargs=None, help="the column of classes of a table (default: label)")
    add_flag(parser, "detectors")
    add_flag(parser, "contamination")
    add_flag(parser, "backbone")
    add_flag(parser, "test_size", help="share of test inputs without a split")
    add_flag(parser, "seed", help=None)
    add_network(parser)
    add_run(parser)
    add_cluster(parser)


def run(args: Namespace) -> None:
    """Score the inputs of TEST, or compare detectors."""
    data = {"source": args.data, "test": args.test}
    if args.test is None or args.normal:
        run_experiment(args, "anomaly", data)
        return
    from featx.options import OPTIONS

    if args.detectors and len(args.detectors) > 1:
        raise InputError("--detectors takes one name to score inputs with; several need --normal")
    if args.test_size != OPTIONS["test_size"].default:
        raise InputError("--test-size has no effect: all of TEST is judged; leave it out")
    if args.label != OPTIONS["label"].default:
        raise InputError(
            "--label has no effect: all of DATA is normal, and all of TEST is judged; leave it out"
        )
    run_experiment(args, "scores", data, detector=args.detectors[0] if args.detectors else None)
