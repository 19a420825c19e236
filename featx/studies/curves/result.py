"""A learning curve on disk: curve.json, curve.csv, and the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from featx.results import CurveResult
from featx.studies.comparison import prepare_output


@dataclass
class LearningCurve(CurveResult):
    """Learning curves of several methods on the same draws; see `featx.results.learning`."""

    def save(self, directory: str | Path) -> Path:
        """Writes ``curve.json``, ``curve.csv`` and ``report.html`` into `directory`.

        Returns
        -------
        Path
            The report.

        Raises
        ------
        OutputError
            The folder cannot be made or written.
        """
        from featx.report import write_report

        folder = prepare_output(directory)
        self.write_json(folder / "curve.json")
        self.write_csv(folder / "curve.csv")
        write_report(folder / "report.html", self)
        return folder / "report.html"
