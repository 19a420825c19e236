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

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "NETWORK",
    "check_description",
    "describe",
    "read_model_file",
    "rebuild",
    "write_model_file",
]
