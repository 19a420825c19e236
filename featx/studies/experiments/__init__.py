"""Experiments, each described by one small TOML file; they can be run again, and resumed after a kill."""

from featx.studies.experiments.experiment import Experiment, load_experiment, parse_experiment
from featx.studies.experiments.schema import TABLES

__all__ = ["TABLES", "Experiment", "load_experiment", "parse_experiment"]
