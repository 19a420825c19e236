"""Experiments, each described by one small TOML file; they can be run again, and resumed after a kill."""

from featx.studies.experiments.experiment import (
    ENVIRONMENT,
    EXPERIMENT,
    Experiment,
    load_experiment,
    parse_experiment,
)
from featx.studies.experiments.schema import KINDS, TABLES

__all__ = [
    "ENVIRONMENT",
    "EXPERIMENT",
    "KINDS",
    "TABLES",
    "Experiment",
    "load_experiment",
    "parse_experiment",
]
