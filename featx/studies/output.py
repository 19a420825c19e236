"""What a study writes: its report; its folder, made before the work and removed where that fails."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

from featx.data import exclude_folder
from featx.results.writing import make_writable_folder

P = ParamSpec("P")
R = TypeVar("R")


class Reported:
    """Add the report to a result: ``class Audit(Reported, AuditResult)``; `thumbnails` are shown in it."""

    def _write_report(self, folder: Path) -> Path | None:
        from featx.report import write_report

        path = folder / "report.html"
        write_report(path, self, getattr(self, "thumbnails", None))
        return path


def prepare_output(directory: str | Path) -> Path:
    """Make `directory` and prove that it can be written, before hours of work depend on it.

    Raises
    ------
    OutputError
        It cannot.
    """
    folder = make_writable_folder(directory)
    exclude_folder(folder)
    return folder


@contextlib.contextmanager
def removed_if_unused(directory: str | Path) -> Iterator[Path]:
    """Make `directory` for some work; where that fails and has left nothing in it, remove it again.

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
    except BaseException:  # Ctrl-C too: nobody needs an empty folder
        with contextlib.suppress(OSError):
            for place in made:
                place.rmdir()
        raise


def removes_unused_folder(work: Callable[P, R]) -> Callable[P, R]:
    """Decorate a study with a keyword `resume`: a run that fails before it writes leaves no folder behind."""

    @functools.wraps(work)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        resume = kwargs.get("resume")
        if not isinstance(resume, str | Path):
            return work(*args, **kwargs)
        with removed_if_unused(resume):
            return work(*args, **kwargs)

    return run
