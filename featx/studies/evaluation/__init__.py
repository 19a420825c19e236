"""Evaluate methods on splits, cell by cell; every study is a list of cells and a summary of their outcomes.

`LabelledRows` are the embeddings (or pixels) of all inputs with their labels. A `Method` is fitted on some
of these rows and predicts others. A `Cell` is a method on a split; its key names everything that decides its
outcome. `run_cells` takes finished cells from the checkpoints, runs the others, and keeps each at once.
"""

from featx.studies.evaluation.cells import Cell, LabelledRows
from featx.studies.evaluation.fine_tuning import FineTuning, TuningSetup, require_network_mode
from featx.studies.evaluation.methods import Fit, Method, ProbeMethod, choose_probes, probe_method
from featx.studies.evaluation.outcomes import Outcome
from featx.studies.evaluation.running import run_cells, run_cells_in_parallel

__all__ = [
    "Cell",
    "FineTuning",
    "Fit",
    "LabelledRows",
    "Method",
    "Outcome",
    "ProbeMethod",
    "TuningSetup",
    "choose_probes",
    "probe_method",
    "require_network_mode",
    "run_cells",
    "run_cells_in_parallel",
]
