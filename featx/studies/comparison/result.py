"""A comparison on disk: results.json, results.csv, and the report with its thumbnails."""

from __future__ import annotations

import contextlib
import functools
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

from featx.data import Dataset, exclude_folder
from featx.errors import OutputError, reason_of
from featx.options import check_options
from featx.results import ComparisonResult, RegressionResult

P = ParamSpec("P")
R = TypeVar("R")
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


def prepare_output(directory: str | Path) -> Path:
    """Makes `directory` and proves that it can be written, before hours of work depend on it."""
    check_options(directory=directory)
    folder = Path(directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".featx-write-test"
        probe.write_bytes(b"")
        probe.unlink()
        exclude_folder(folder)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise OutputError(f"{folder}: cannot be written ({reason_of(error)}); choose another -o") from None
    return folder


@contextlib.contextmanager
def leaving_nothing(directory: str | Path) -> Iterator[Path]:
    """Make `directory` for the time of some work; where that fails before it has left anything, remove it.

    Yields
    ------
    Path
        The folder.

    Raises
    ------
    OutputError
        As `prepare_output`.
    """
    folder = Path(directory)
    made = [place for place in (folder, *folder.parents) if not os.path.lexists(place)]
    try:
        yield prepare_output(folder)
    except BaseException:  # also of Ctrl-C: an empty folder is of no use to anybody
        with contextlib.suppress(OSError):
            for place in made:
                place.rmdir()
        raise


def tidying(work: Callable[P, R]) -> Callable[P, R]:
    """The same, of a function with a keyword `resume`: a run that cannot begin leaves no folder behind."""

    @functools.wraps(work)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        resume = kwargs.get("resume")
        if not isinstance(resume, str | Path):
            return work(*args, **kwargs)
        with leaving_nothing(resume):
            return work(*args, **kwargs)

    return run


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
