"""``featx train``: train a classifier and save it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

import featx
from featx.cli.flags import DATA_HELP, add_flag, add_network, add_output, add_run, keywords
from featx.cli.output import list_failures, show_profile
from featx.errors import InputError
from featx.kinds import count_of
from featx.options import is_features
from featx.terminal import say

if TYPE_CHECKING:
    from featx.methods.abstention import UnsureRule

HELP = "train a classifier and save it"


def add(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.description = (
        "Trains one classifier on all labelled images, texts or clips and writes a model file: a probe or a "
        "head on frozen features, the network itself, or an ensemble of several backbones."
    )
    more = "; those of a test split are left out. Also an .h5 file of featx extract; for ensemble, several"
    parser.add_argument("data", nargs="+", metavar="DATA", help=DATA_HELP + more)
    add_flag(parser, "text")
    add_flag(parser, "group")
    add_flag(parser, "split_by")
    add_flag(parser, "label", metavar="C", nargs=None, help="the column of classes (default: label)")
    add_output(parser, "MODEL", "the model file to write")
    add_flag(parser, "classifier")
    default = "mobilenet_v2 for images, all-MiniLM-L6-v2 for texts"
    several = f"see featx backbones (default: {default}); several for ensemble"
    add_flag(parser, "backbone", nargs="+", help=several)
    add_flag(parser, "epochs", help="epochs of finetune-last, -gradual and -full (default: the recipe's)")
    add_flag(parser, "seed", help=None)
    add_flag(parser, "sure")
    add_network(parser)
    add_run(parser)


def run(args: Namespace) -> None:
    """Train the classifier and write its model file."""
    from featx.results.output_paths import output_file

    target = output_file(args.output, "model", force=args.force)
    args.data = _data_of(args.data)
    model = featx.train(**keywords(args, featx.train))
    model.save(target)
    info, found = model.info, model.info["validation"]
    members = [f"{one.backbone['name']} with {one.info['classifier']}" for one in model.members]
    name = info["classifier"] + (f" ({', '.join(members)})" if members else "")
    score = "" if found["score"] is None else f"; {found['what']}: {found['score']:.3f}"
    trained_on = count_of(info["n_train"], model.kind)
    say(f"{args.output}: {name} on {trained_on}, {len(model.classes)} classes{score}")
    if args.sure is not None:
        say(_when_unsure(model.unsure, model.kind))
    list_failures(model.failures, model.kind)
    if args.profile:
        show_profile(model.extraction)


def _when_unsure(rule: UnsureRule | None, kind: str = "image") -> str:
    """Say which answers of the model are marked as unsure; without a rule it is a fine-tuned network."""
    if rule is None:
        return (
            f"no answer is marked as unsure: the network was trained on all {kind}s, so it has seen none "
            "that could show when; a probe and --classifier head mark them"
        )
    found, when = rule.confidence, []
    if found is not None and found.guaranteed and found.right is not None:
        when.append(
            f"below a probability of {found.threshold:.2f} ({100 * found.answered:.0f} % of the held-out "
            f"{kind}s were above it, and {100 * found.right:.1f} % of these right)"
        )
    elif found is not None:
        when.append(
            f"below a probability of {found.threshold:.2f} (too few {kind}s, or too many wrong answers, to "
            f"find the one above which {100 * found.sure:.0f} % are right)"
        )
    when += [] if rule.familiarity is None else [f"unlike the training {kind}s"]
    return (
        f"unsure answers: {', or '.join(when)}" if when else f"no answer is marked as unsure: too few {kind}s"
    )


def _data_of(given: list[str]) -> Any:
    """Return the only DATA, or several features files."""
    if len(given) == 1:
        return given[0]
    odd = [one for one in given if not is_features(one)]
    if odd:
        raise InputError(
            f"{odd[0]}: not a features file (.h5, .parquet); several DATA must be features of the same inputs"
        )
    return given
