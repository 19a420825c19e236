"""``featx run``: run an experiment file, or resume it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from featx.cli.flags import add_cluster, add_force, add_profile, add_quiet, add_trust
from featx.cli.output import show_experiment

HELP = "run the experiment of a TOML file, or resume it"


def add(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.description = (
        "Runs the study that a TOML file describes. Finished work in the output folder is not done again. "
        "compare, curve, rank, similarity and anomaly write such a file, experiment.toml, beside their "
        "results, with all defaults written out."
    )
    parser.add_argument("experiment", metavar="EXPERIMENT.toml", help="see featx.studies.experiments.schema")
    add_cluster(parser)
    add_trust(parser)
    add_force(parser)
    add_quiet(parser)
    add_profile(parser)


def run(args: Namespace) -> None:
    """Run the experiment."""
    from featx.studies.experiments import load_experiment

    experiment = load_experiment(args.experiment)
    result = experiment.run(verbose=not args.quiet, force=args.force, trust_code=args.trust_code, on=args.on)
    show_experiment(args, result)
