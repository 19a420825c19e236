"""Classifiers on frozen embeddings: the probes, how they are fitted, and how their answers are scored."""

from featx.methods.probes.fitting import FittedProbe, definition_of, fit_probe
from featx.methods.probes.held_out import held_out_probabilities
from featx.methods.probes.linear_probe import LogisticProbe, fit_path
from featx.methods.probes.number_scoring import NUMBER_METRICS, score_numbers
from featx.methods.probes.probes import PROBES, Probe, floor_names, get_probe, probe_names
from featx.methods.probes.regressors import (
    REGRESSORS,
    FittedRegressor,
    Regressor,
    fit_regressor,
    regressor_names,
)
from featx.methods.probes.scoring import METRICS, Answers, answers, answers_in_parts, score, score_answers

__all__ = [
    "METRICS",
    "NUMBER_METRICS",
    "PROBES",
    "REGRESSORS",
    "Answers",
    "FittedProbe",
    "FittedRegressor",
    "LogisticProbe",
    "Probe",
    "Regressor",
    "answers",
    "answers_in_parts",
    "definition_of",
    "fit_path",
    "fit_probe",
    "fit_regressor",
    "floor_names",
    "get_probe",
    "held_out_probabilities",
    "probe_names",
    "regressor_names",
    "score",
    "score_answers",
    "score_numbers",
]
