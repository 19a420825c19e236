"""A comparison on disk: results.json, results.csv, and the report with its thumbnails."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path

from featx.data import Dataset
from featx.results import ComparisonResult, RegressionResult
from featx.studies.output import prepare_output

#: Edge of a thumbnail in the report, in pixels.
THUMBNAIL = 224


@dataclass
class Comparison(ComparisonResult):
    """A comparison and the thumbnails that its report shows; see `featx.results.ComparisonResult`."""

    thumbnails: dict[str, bytes] = field(default_factory=dict)

    def save(self, directory: str | Path) -> Path:
        """Writes ``results.json``, ``results.csv`` and ``report.html`` into `directory`.

        Returns
        -------
        Path
            The report.

        Raises
        ------
        OutputError
            The folder cannot be made or written.
        """
        return _save(self, directory)


@dataclass
class RegressionComparison(RegressionResult):
    """A comparison of regressors and its thumbnails; see `featx.results.RegressionResult`."""

    thumbnails: dict[str, bytes] = field(default_factory=dict)

    def save(self, directory: str | Path) -> Path:
        """Writes ``results.json``, ``results.csv`` and ``report.html``, as `Comparison.save`."""
        return _save(self, directory)


def _save(result: Comparison | RegressionComparison, directory: str | Path) -> Path:
    from featx.report import write_report

    folder = prepare_output(directory)
    result.write_json(folder / "results.json")
    result.write_csv(folder / "results.csv")
    write_report(folder / "report.html", result, result.thumbnails)
    return folder / "report.html"


def thumbnails_of(dataset: Dataset, ids: set[str]) -> dict[str, bytes]:
    """Small JPEGs of the images with these ids, for the report."""
    thumbnails = {}
    for id, source in zip(dataset.ids, dataset.images, strict=True):
        if id in ids:
            image = source.read().image()
            image.thumbnail((THUMBNAIL, THUMBNAIL))
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=80)
            thumbnails[id] = buffer.getvalue()
    return thumbnails
