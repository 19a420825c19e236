"""The folder that a study writes into: made and tried before the work, removed where the work failed."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

from featx.data import not_data
from featx.errors import OutputError, reason_of
from featx.options import check_options

P = ParamSpec("P")
R = TypeVar("R")


def prepare_output(directory: str | Path) -> Path:
    """Make `directory` and prove that it can be written, before hours of work depend on it."""
    check_options(directory=directory)
    folder = Path(directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".featx-write-test"
        probe.write_bytes(b"")
        probe.unlink()
        not_data(folder)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise OutputError(f"{folder}: cannot be written ({reason_of(error)}); choose another -o") from None
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
