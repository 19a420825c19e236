"""``featx compare``: compare classifiers on one dataset, or train on one domain and test on another."""

from __future__ import annotations

from argparse import ArgumentParser, BooleanOptionalAction, Namespace

from featx.cli.flags import add_cluster, add_columns, add_data, add_flag, add_network, add_output, add_run
from featx.cli.output import run_experiment
from featx.errors import InputError

HELP = "compare probes, reference rows and the fine-tuned baseline on one split"


def add(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.description = (
        "Compares classifiers on frozen embeddings with each other and with fine-tuning; writes "
        "results.json, results.csv and report.html."
    )
    add_data(parser, "; or an .h5 file of featx extract")
    add_output(parser, "DIR", "folder for the results")
    add_flag(parser, "backbones", "--backbone", default=None)
    add_flag(parser, "classifiers")
    add_flag(parser, "regressors")
    add_columns(parser)
    add_flag(parser, "baseline", default=["finetune"])
    add_flag(parser, "epochs")
    add_flag(parser, "checks", action=BooleanOptionalAction, default=None)
    add_flag(parser, "test_size")
    add_flag(
        parser,
        "ensemble",
        "--no-ensemble",
        action="store_false",
        default=None,
        help="with several backbones, leave out the ensemble of their best classifiers",
    )
    parser.add_argument(
        "--target-domain",
        metavar="DATA2",
        help="train on DATA and test on DATA2, which has the same classes: source-only, adapted without the "
        "labels of DATA2, and trained on DATA2 itself (one backbone, one classifier, no fine-tuning)",
    )
    add_flag(parser, "seed")
    add_flag(parser, "seeds")
    add_network(parser)
    add_run(parser)
    add_cluster(parser)


def run(args: Namespace) -> None:
    """Compare classifiers, or domains."""
    if args.target_domain is not None:
        _compare_domains(args)
    else:
        run_experiment(args, "compare", {"source": args.data})


def _compare_domains(args: Namespace) -> None:
    """Compare domains, and refuse the flags that have no meaning there."""
    for option in ("label", "target", "regressors"):
        if getattr(args, option):
            raise InputError(f"--{option} does not go with --target-domain: both domains are read by class")
    for option, given in (("--backbone", args.backbones), ("--classifiers", args.classifiers)):
        if given and len(given) > 1:
            raise InputError(f"{option} takes one name with --target-domain, got {len(given)}")
    if args.seeds > 1:
        raise InputError(f"--seeds does not go with --target-domain: there is one split, got {args.seeds}")
    if args.epochs is not None or args.baseline not in (["finetune"], ["none"]):
        option = "--baseline" if args.epochs is None else "--epochs"
        raise InputError(f"{option} does not go with --target-domain: nothing is fine-tuned")
    if not args.ensemble:
        raise InputError("--no-ensemble does not go with --target-domain: there is one backbone")
    run_experiment(
        args,
        "domains",
        {"source": args.data, "target_domain": args.target_domain},
        backbone=args.backbones[0] if args.backbones else None,
        classifier=args.classifiers[0] if args.classifiers else None,
    )
