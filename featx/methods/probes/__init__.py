"""Classifiers on frozen embeddings: the probes, how they are fitted, and how their answers are scored."""

from featx.methods.probes.fitting import FittedProbe, definition_of, fit_probe
from featx.methods.probes.held_out import held_out_probabilities
from featx.methods.probes.linear_probe import LogisticProbe, fit_path
from featx.methods.probes.probes import PROBES, Probe, floor_names, get_probe, probe_names
from featx.methods.probes.regressors import (
    REGRESSORS,
    FittedRegressor,
    Regressor,
    fit_regressor,
    regressor_names,
)

__all__ = [
    "PROBES",
    "REGRESSORS",
    "FittedProbe",
    "FittedRegressor",
    "LogisticProbe",
    "Probe",
    "Regressor",
    "definition_of",
    "fit_path",
    "fit_probe",
    "fit_regressor",
    "floor_names",
    "get_probe",
    "held_out_probabilities",
    "probe_names",
    "regressor_names",
]
