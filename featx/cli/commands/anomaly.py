"""``featx anomaly``: compare detectors if the truth is known, or score images if it is not."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from featx.cli.flags import add_data, add_flag, add_network, add_output, add_run, keywords
from featx.cli.output import command_line, into_folder, list_failures, say_notes
from featx.errors import InputError
from featx.terminal import say

HELP = "find images unlike the normal ones"


def add(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.description = (
        "Without TEST: takes each class of DATA in turn (or the classes of --normal together) as normal, and "
        "measures how well detectors find the test images of the other classes. With TEST: fits on the "
        "normal images in DATA and writes how anomalous each image of TEST is; with --normal, which needs "
        "the classes of TEST, detectors are measured on TEST."
    )
    add_data(parser, "; or an .h5 file; with TEST: normal images")
    parser.add_argument("test", nargs="?", metavar="TEST", help="images to judge")
    add_output(parser, "DIR", "folder for the results")
    add_flag(parser, "normal")
    add_flag(parser, "detectors")
    add_flag(parser, "contamination")
    add_flag(parser, "backbone")
    add_flag(parser, "test_size", help="share of test images without a split")
    add_flag(parser, "seed", help=None)
    add_network(parser)
    add_run(parser)


def run(args: Namespace) -> None:
    """Score the images of TEST, or compare detectors, and list what could not be read."""
    if args.split_by is None:
        del args.split_by  # None would override the default of `find_anomalies`
    scoring = args.test is not None and not args.normal
    list_failures(_score(args) if scoring else _compare(args))


@into_folder("scores", "data", "test")
def _score(args: Namespace) -> list[Any]:
    from featx.options import OPTIONS
    from featx.results.output_paths import resolve_source
    from featx.studies.comparison import find_anomalies

    if args.detectors and len(args.detectors) > 1:
        raise InputError("--detectors takes one name to score images with; several need --normal")
    if args.test_size != OPTIONS["test_size"].default:
        raise InputError("--test-size has no effect: all of TEST is judged; leave it out")
    options = {name: value for name, value in keywords(args, find_anomalies).items() if name != "normal"}
    if args.detectors:
        options["detector"] = args.detectors[0]
    scored = find_anomalies(args.data, args.test, **options)
    scored.dataset["source"] = [resolve_source(args.data), resolve_source(args.test)]
    scored.command = command_line()
    report = scored.save(args.output)
    say_notes(scored.table(), scored.warnings, scored.verdict())
    say(f"report: {report}")
    return scored.failures


@into_folder("anomaly", "data", "test")
def _compare(args: Namespace) -> list[Any]:
    from featx.results.output_paths import resolve_source
    from featx.studies.comparison import compare_detectors

    result = compare_detectors(**keywords(args, compare_detectors))
    result.dataset["source"] = [resolve_source(data) for data in (args.data, args.test) if data is not None]
    result.command = command_line()
    report = result.save(args.output)
    say(result.table())
    say("")
    say(result.advice)
    say(f"report: {report}")
    return result.failures
