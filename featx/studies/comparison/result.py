"""The results of a comparison, with their reports."""

from __future__ import annotations

from dataclasses import dataclass, field

from featx.inputs.samples import Sample
from featx.results import NOT_STORED, ComparisonResult, RegressionResult
from featx.studies.output import Reported


@dataclass
class Comparison(Reported, ComparisonResult):
    """A comparison of classifiers that can be saved; see `featx.results` for its fields.

    Attributes
    ----------
    samples : dict of str to Sample
        What the report shows of inputs, by id (see `featx.inputs.samples`).
    """

    samples: dict[str, Sample] = field(default_factory=dict, metadata=NOT_STORED)

    @property
    def thumbnails(self) -> dict[str, bytes]:
        """The JPEGs among the `samples`, by id."""
        return {id: sample for id, sample in self.samples.items() if isinstance(sample, bytes)}


@dataclass
class RegressionComparison(Reported, RegressionResult):
    """A comparison of regressors that can be saved; `samples` as in `Comparison`."""

    samples: dict[str, Sample] = field(default_factory=dict, metadata=NOT_STORED)
