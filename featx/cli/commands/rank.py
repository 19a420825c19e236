"""``featx rank``: rank backbones, or their layers."""

from __future__ import annotations

from argparse import ArgumentParser, BooleanOptionalAction, Namespace

import featx
from featx.cli.flags import add_data, add_flag, add_network, add_output, add_run, keywords
from featx.cli.output import command_line, into_folder, say_notes
from featx.terminal import say

HELP = "rank backbones or layers by transferability scores and a linear probe"


def add(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.description = (
        "Ranks backbones, or their layers, for a labelled collection: LogME, H-score, TransRate, LEEP, NCE, "
        "the accuracy of a logistic probe with its interval, and the rank correlation of each score with the "
        "probe. One forward pass an image and backbone."
    )
    add_data(parser)
    add_output(parser, "DIR", "folder for results.json, results.csv, report.html", required=False)
    add_flag(parser, "backbones", default=["mobilenet_v2"], help="see featx backbones")
    add_flag(parser, "layers")
    add_flag(parser, "probe", action=BooleanOptionalAction)
    add_flag(parser, "seed", help="of folds and subsets (default: 0)")
    add_flag(parser, "label", nargs=None, help="column of classes in a table (default: label)")
    add_network(parser, layer=False)
    add_run(parser)


@into_folder("ranking", "data")
def run(args: Namespace) -> None:
    """Rank the backbones."""
    from featx.results.output_paths import resolve_source

    if args.layers == ["all"]:
        args.layers = "all"
    result = featx.rank(**keywords(args, featx.rank))
    say_notes(result.table(), result.notes, result.verdict())
    if args.output:
        result.dataset["source"] = resolve_source(args.data)
        result.command = command_line()
        say(f"report: {result.save(args.output)}")
