"""``featx extract``: images, texts or clips to embeddings."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

import featx
from featx.cli.flags import (
    add_cluster,
    add_columns,
    add_data,
    add_flag,
    add_network,
    add_output,
    add_run,
    keywords,
)
from featx.cli.output import list_failures, show_profile
from featx.terminal import say

HELP = "turn images, texts or clips into embeddings"


def add(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.description = (
        "Writes the embedding of each input, from the cache or the network, into one HDF5 file."
    )
    add_data(parser)
    add_output(parser, "F.h5", "the HDF5 file to write")
    add_flag(parser, "backbone")
    add_columns(parser)
    add_network(parser)
    add_flag(parser, "dtype")
    add_run(parser)
    add_cluster(parser)


def run(args: Namespace) -> None:
    """Extract the embeddings and write them into one file."""
    from featx.results.output_paths import output_file

    target = output_file(args.output, "features", force=args.force)
    features = featx.extract(**keywords(args, featx.extract))
    features.save(target)
    run = features.run or {}
    say(
        f"{args.output}: {len(features)} embeddings of {features.dim} values "
        f"({run.get('forward_passes', 0)} forward passes, {run['seconds']['total']:.1f} s)"
    )
    list_failures(features.failures, features.kind)
    if args.profile:
        show_profile(run["profile"])
