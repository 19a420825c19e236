"""Print results, profiles and failures, and check output folders, for several commands."""

from __future__ import annotations

import functools
import shlex
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from featx.terminal import printable, say, tell


def into_folder(kind: str, *data: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a command so that it checks its folder, ``args.output``, before it begins.

    Without ``--force``, the folder may hold only a study of this `kind` (a key of `output_paths.STUDIES`) of
    the same data; `data` names the arguments. A command that fails leaves no empty folder behind.
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
    """Return the running command, quoted for a shell."""
    return "featx " + " ".join(shlex.quote(word) for word in sys.argv[1:])


def say_notes(table: str, notes: Iterable[str], verdict: str) -> None:
    """Print a result: its table, an empty line, its notes, its verdict."""
    say(table)
    say("")
    for note in notes:
        say(f"note: {printable(note)}")
    say(verdict)


def show_profile(profile: dict[str, Any], name: str = "") -> None:
    """Print a profile on standard error, as standard output is for results."""
    from featx.extraction import profile_table

    tell((f"{name}: " if name else "") + profile_table(profile))


def list_failures(failures: list[Any]) -> None:
    """Print on standard error the images that could not be read."""
    if not failures:
        return
    tell(f"{len(failures)} images could not be read and were skipped:")
    for failure in failures[:20]:
        about = failure if isinstance(failure, dict) else vars(failure)
        tell(f"  {printable(about['id'])}: {printable(about['reason'])}")
    if len(failures) > 20:
        tell(f"  and {len(failures) - 20} more")


def show_experiment(args: Namespace, found: tuple[Any, Path]) -> None:
    """Print the result and the path of its report, as `Experiment.run` returned them."""
    result, report = found
    # Learning curves have no data checks and so no findings.
    notes = [*result.warnings, *getattr(result, "findings", [])]
    say_notes(result.table(), notes, result.advice)
    for line in getattr(result, "next_steps", []):
        say(f"next: {line}")
    list_failures(result.failures)
    say(f"report: {report}")
    if args.profile:
        for name, extraction in result.extraction.items():
            show_profile(extraction["profile"], name)
