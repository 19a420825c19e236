"""What several commands print, and the folders that they write into."""

from __future__ import annotations

import functools
import shlex
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable
from typing import Any

from featx.terminal import printable, say, tell


def into_folder(kind: str, *data: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a command check its folder, ``args.output``, before it begins.

    Parameters
    ----------
    kind : str
        Kind of study, as in `featx.results.output_paths.STUDIES`.
    *data : str
        Names of the arguments that say what the study is of.

    Returns
    -------
    callable
        A decorator of commands. Where the folder holds something else, the command is refused (without
        ``--force``); where the command fails, it leaves no folder behind that it has not filled.
    """

    def decorate(command: Callable[[Namespace], Any]) -> Callable[[Namespace], Any]:
        @functools.wraps(command)
        def run(args: Namespace) -> Any:
            if not args.output:
                return command(args)
            from featx.results.output_paths import Study, output_folder
            from featx.studies.output import removed_if_unused

            study = Study.of(kind, *(getattr(args, name) for name in data))
            with removed_if_unused(output_folder(args.output, study, force=args.force)):
                return command(args)

        return run

    return decorate


def command_line() -> str:
    """Return the command that is running, as a shell takes it."""
    return "featx " + " ".join(shlex.quote(word) for word in sys.argv[1:])


def say_notes(table: str, notes: Iterable[str], verdict: str) -> None:
    """Print a result: its table, an empty line, its notes, its verdict."""
    say(table)
    say("")
    for note in notes:
        say(f"note: {printable(note)}")
    say(verdict)


def show_profile(profile: dict[str, Any], name: str = "") -> None:
    """Print a profile on standard error: standard output belongs to results."""
    from featx.extraction import profile_table

    tell((f"{name}: " if name else "") + profile_table(profile))


def list_failures(failures: list[Any]) -> None:
    """Print on standard error the images that could not be read."""
    if not failures:
        return
    tell(f"{len(failures)} images could not be read and were skipped:")
    for failure in failures[:20]:
        id, reason = (
            (failure["id"], failure["reason"]) if isinstance(failure, dict) else (failure.id, failure.reason)
        )
        tell(f"  {printable(id)}: {printable(reason)}")
    if len(failures) > 20:
        tell(f"  and {len(failures) - 20} more")
