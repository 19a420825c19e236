"""Write and read model files: plain arrays and a readable description, all checked when they are read."""

from featx.estimators.model_file.classifier import describe, rebuild
from featx.estimators.model_file.container import (
    FORMAT,
    FORMAT_VERSION,
    NETWORK,
    read_model_file,
    write_model_file,
)
from featx.estimators.model_file.description import check_description
from featx.estimators.model_file.unsure import UNSURE, UNSURE_ROWS, rebuild_unsure, unsure_arrays

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "NETWORK",
    "UNSURE",
    "UNSURE_ROWS",
    "check_description",
    "describe",
    "read_model_file",
    "rebuild",
    "rebuild_unsure",
    "unsure_arrays",
    "write_model_file",
]
