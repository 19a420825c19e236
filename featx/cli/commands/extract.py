"""``featx extract``: images, texts or clips to embeddings."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

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
from featx.errors import InputError
from featx.kinds import count_of
from featx.terminal import say

if TYPE_CHECKING:
    from featx.data.features import Features

HELP = "turn images, texts or clips into embeddings"


def add(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.description = (
        "Writes the embedding of each input, from the cache or the network, into one file: HDF5, or Parquet "
        "where its name ends in .parquet."
    )
    add_data(parser)
    help = "the file to write, .h5 or .parquet; may be left out with --part, to fill the cache only"
    add_output(parser, "F.h5", help, required=False)
    add_flag(parser, "backbone")
    add_columns(parser)
    add_network(parser)
    add_flag(parser, "dtype")
    add_run(parser)
    add_flag(parser, "part")
    add_cluster(parser)


def run(args: Namespace) -> None:
    """Extract the embeddings and write them into one file."""
    from featx.extraction import fill_cache
    from featx.results.output_paths import output_file

    if args.output is None and args.part is None:
        raise InputError("-o F.h5 is missing: the file to write (it may be left out only with --part)")
    target = None if args.output is None else output_file(args.output, "features", force=args.force)
    if target is None:  # rows that go nowhere need not be held
        features = fill_cache(**keywords(args, fill_cache))
    else:
        features = featx.extract(**keywords(args, featx.extract) | {"output": target})
    run = features.run or {}
    if args.part is not None:
        for line in _about_part(args, features, run):
            say(line)
    if target is not None:
        say(
            f"{args.output}: {len(features)} embeddings of {features.dim} values "
            f"({run.get('forward_passes', 0)} forward passes, {run['seconds']['total']:.1f} s)"
        )
    list_failures(features.failures, features.kind)
    if args.profile:
        show_profile(run["profile"])


def _about_part(args: Namespace, features: Features, run: dict[str, Any]) -> list[str]:
    """Say what a part held, what was computed and where it is, in one space or several for all parts."""
    from featx.cache import Cache, Space
    from featx.cli.spaces import describe_space

    of = count_of(run["part"]["of"], features.kind)
    if not run["rows"] and not features.failures:
        return [f"part {args.part}: nothing to do: {of} are fewer than the parts"]
    space = Space(features.space)
    count = f"{run['rows']:,} of {of}, {run['computed']:,} computed"
    lines = [
        f"part {args.part}: {count}; cache: {Cache(args.cache).root}",
        f"space {space.id[:12]}: {' '.join(describe_space(space))}",
    ]
    if args.precision == "auto":
        lines.append(
            f"note: --precision auto was {space.fields.get('precision')} here; rows of another precision are "
            "in another space, so where machines differ, state it for all parts"
        )
    return lines
