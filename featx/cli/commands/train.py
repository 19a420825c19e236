"""``featx train``: train a classifier and save it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

import featx
from featx.cli.flags import add_data, add_flag, add_network, add_output, add_run, keywords
from featx.cli.output import list_failures, show_profile
from featx.terminal import say

if TYPE_CHECKING:
    from featx.methods.abstention import UnsureRule

HELP = "train a classifier and save it"


def add(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.description = "Trains one probe on all labelled images and writes a model file."
    add_data(parser, "; images of a test split are left out")
    add_output(parser, "MODEL", "the model file to write")
    add_flag(parser, "classifier")
    add_flag(parser, "backbone")
    add_flag(parser, "seed", help=None)
    add_flag(parser, "sure")
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
    if model.unsure is not None:
        say(_when_unsure(model.unsure))
    list_failures(model.failures)
    if args.profile:
        show_profile(model.extraction)


def _when_unsure(rule: UnsureRule) -> str:
    """Say which answers of the model are marked as unsure."""
    found, when = rule.confidence, []
    if found is not None and found.guaranteed and found.right is not None:
        when.append(
            f"below a probability of {found.threshold:.2f} (of the held-out images {found.answered:.0%} are "
            f"above it, and {found.right:.1%} of these were right)"
        )
    elif found is not None:
        when.append(
            f"below a probability of {found.threshold:.2f} (there are too few images, or too many wrong "
            f"answers, to show from which one on {found.sure:.0%} are right)"
        )
    when += [] if rule.familiarity is None else ["unlike the training images"]
    return (
        f"unsure answers: {', or '.join(when)}" if when else "no answer is marked as unsure: too few images"
    )
