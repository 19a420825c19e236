"""Experiments described by one small TOML file: re-runnable, and resumable after a kill."""

from featx.studies.experiments.experiment import (
    ENVIRONMENT,
    EXPERIMENT,
    Experiment,
    experiment_of,
    load_experiment,
)
from featx.studies.experiments.schema import KINDS, TABLES

__all__ = [
    "ENVIRONMENT",
    "EXPERIMENT",
    "KINDS",
    "TABLES",
    "Experiment",
    "experiment_of",
    "load_experiment",
]
