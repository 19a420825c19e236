"""``featx train``: train a classifier and save it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

import featx
from featx.cli.flags import add_data, add_flag, add_network, add_output, add_run, keywords
from featx.cli.output import list_failures, show_profile
from featx.terminal import say

HELP = "train a classifier and save it"


def add(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.description = "Trains one probe on all labelled images and writes a model file."
    add_data(parser, "; images of a test split are left out")
    add_output(parser, "MODEL", "the model file to write")
    add_flag(parser, "classifier")
    add_flag(parser, "backbone")
    add_flag(parser, "seed", help=None)
    add_network(parser)
    add_run(parser)


def run(args: Namespace) -> None:
    """Train the classifier and write its model file."""
    from featx.results.output_paths import output_file

    target = output_file(args.output, "model", force=args.force)
    model = featx.train(**keywords(args, featx.train))
    model.save(target)
    score = model.info["cv_score"]
    estimate = "" if score is None else f", cross-validated score {score:.3f}"
    say(
        f"{args.output}: {model.info['classifier']} on {model.info['n_train']} images, "
        f"{len(model.classes)} classes{estimate}"
    )
    list_failures(model.failures)
    if args.profile:
        show_profile(model.extraction)
