"""The results of a comparison, with their reports."""

from __future__ import annotations

from dataclasses import dataclass, field

from featx.results import NOT_STORED, ComparisonResult, RegressionResult
from featx.studies.output import Reported


@dataclass
class Comparison(Reported, ComparisonResult):
    """A comparison of classifiers that can be saved; see `featx.results` for its fields.

    Attributes
    ----------
    thumbnails : dict of str to bytes
        JPEGs of the images that the report shows, by id.
    """

    thumbnails: dict[str, bytes] = field(default_factory=dict, metadata=NOT_STORED)


@dataclass
class RegressionComparison(Reported, RegressionResult):
    """A comparison of regressors that can be saved; `thumbnails` as in `Comparison`."""

    thumbnails: dict[str, bytes] = field(default_factory=dict, metadata=NOT_STORED)
