"""A learning curve that can be saved: curve.json, curve.csv, and the report."""

from __future__ import annotations

from dataclasses import dataclass

from featx.results import CurveResult
from featx.studies.output import Reported


@dataclass
class LearningCurve(Reported, CurveResult):
    """Learning curves of several methods on the same draws; see `featx.results.curve`."""
