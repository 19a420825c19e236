"""Fit probes: classifiers and regressors on frozen embeddings.

==================  ========================================================================================
`probe`             what describes a probe
`catalogue`         the probes of this package, one module for each family
`table`             all probes by name and task, those of other packages included
`fitting`           choose the settings of a probe and fit it; `arguments` checks what is given, `fit_plan`
                    decides what is fitted to which rows
`training_rows`     the rows of a split, which probes share; `parts`, `fold_moments`: those of a fold
`targets`           differences between classes and numbers
`selection`         out-of-fold predictions of many settings
`held_out`          out-of-fold probabilities of a fitted probe
`definitions`       estimators as JSON, the keys of finished work
`logistic`          logistic regression at its optimum
`newton_folds`      linear classifiers on all folds at once; `fold_rows`, `fold_losses`: its products
`newton`            solver for many penalties on many rows; `softmax`, `torch_rows`: its sums over rows
`ridge`             least squares in closed form
`term_counts`       words and groups of characters in texts, and TF-IDF
`temperature`       log scores divided by a temperature
`packed_trees`      fitted trees as plain arrays
==================  ========================================================================================
"""

from featx.methods.probes.fitted import FittedProbe
from featx.methods.probes.fitting import definition_of, fit_best, fit_probe
from featx.methods.probes.held_out import held_out_probabilities
from featx.methods.probes.logistic import LogisticProbe, fit_path
from featx.methods.probes.probe import Probe, Problem
from featx.methods.probes.table import CLASSIFIERS, REGRESSORS, get_probe, probe_names, reference_names

__all__ = [
    "CLASSIFIERS",
    "REGRESSORS",
    "FittedProbe",
    "LogisticProbe",
    "Probe",
    "Problem",
    "definition_of",
    "fit_best",
    "fit_path",
    "fit_probe",
    "get_probe",
    "held_out_probabilities",
    "probe_names",
    "reference_names",
]
