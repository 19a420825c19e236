"""Classifiers on frozen embeddings: the probes, how they are fitted, and how their answers are scored."""

from featx.classifiers.fitting import FittedProbe, fit_probe
from featx.classifiers.probes import PROBES, Probe, floor_names, get_probe, probe_names
from featx.classifiers.scoring import METRICS, score

__all__ = [
    "METRICS",
    "PROBES",
    "FittedProbe",
    "Probe",
    "fit_probe",
    "floor_names",
    "get_probe",
    "probe_names",
    "score",
]
