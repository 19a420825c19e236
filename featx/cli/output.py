"""Run studies, and print results, profiles and failures, for several commands."""

from __future__ import annotations

import shlex
import sys
from argparse import Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featx.kinds import count_of
from featx.places import is_url, shown
from featx.terminal import (
    in_lines,
    is_on_screen,
    printable,
    say,
    shortened,
    tell_always,
    terminal_width,
)

if TYPE_CHECKING:
    from featx.results.tables import Lines

#: Width of a line with a text where standard output is no terminal, and the fewest characters of a text.
PLAIN_WIDTH, NARROWEST = 160, 24


def command_line() -> str:
    """Return the running command, quoted for a shell."""
    return "featx " + " ".join(shlex.quote(shown(word) if is_url(word) else word) for word in sys.argv[1:])


def run_experiment(args: Namespace, kind: str, data: Mapping[str, str | None], **changes: Any) -> None:
    """Run a study as an experiment, which leaves its file beside the results, and print what it found.

    `kind` and the keys of `data` are those of experiment files; `changes` replace options in `args`.
    """
    from featx.studies.experiments import Experiment

    given = {key: value for key, value in data.items() if value is not None}
    experiment = Experiment(kind, Path(args.output) if args.output else None, given, vars(args) | changes)
    show_experiment(
        args,
        experiment.run(
            verbose=not args.quiet,
            command=command_line(),
            force=args.force,
            trust_code=args.trust_code,
            on=getattr(args, "on", None),
        ),
    )


def show_profile(profile: dict[str, Any], name: str = "") -> None:
    """Print a profile on standard error, as standard output is for results."""
    from featx.extraction import profile_table

    tell_always((f"{name}: " if name else "") + profile_table(profile))


def fit_first_column(lines: Lines) -> Lines:
    """Return a table whose first column, of texts, is cut so that a line fits into the terminal."""
    rest = [2 + max(len(printable(cell)) for cell in column) for column in list(zip(*lines, strict=True))[1:]]
    return [[text_in_line(first, sum(rest)), *cells] for first, *cells in lines]


def text_in_line(text: str, taken: int = 0) -> str:
    """Return a text on one line, cut to what is left of the terminal's width beside `taken` characters."""
    width = terminal_width() or PLAIN_WIDTH
    return shortened(printable(" ".join(text.split())), max(width - taken, NARROWEST))


def list_failures(failures: list[Any], kind: str) -> None:
    """Print on standard error the inputs that could not be read."""
    if not failures:
        return
    n, was = len(failures), "was" if len(failures) == 1 else "were"
    tell_always(f"{count_of(n, kind)} could not be read and {was} skipped:")
    for failure in failures[:20]:
        about = failure if isinstance(failure, dict) else vars(failure)
        tell_always(f"  {printable(about['id'])}: {printable(about['reason'])}")
    if len(failures) > 20:
        tell_always(f"  and {len(failures) - 20} more")


def show_experiment(args: Namespace, found: tuple[Any, Path | None]) -> None:
    """Print the result and the path of its report, as `Experiment.run` returned them."""
    result, report = found
    # Results without advice call their warnings notes; only comparisons have data checks and so findings.
    notes = result.warnings if hasattr(result, "warnings") else getattr(result, "notes", [])
    notes = [*notes, *getattr(result, "findings", [])]
    say_notes(result.table(terminal_width()), notes, result.verdict())
    for line in result.next_steps:
        say(f"next: {printable(line)}")  # a folder may have a line end in its name
    list_failures(result.failures, getattr(result, "input_kind", "image"))
    if report is not None:
        say(f"report: {report}")
    if args.profile:
        for name, extraction in getattr(result, "extraction", {}).items():
            show_profile(extraction["profile"], name)


def say_notes(table: str, notes: Iterable[str], verdict: str) -> None:
    """Print a result: table, empty line, verdict, and between them notes that this terminal has not shown."""
    say(table)
    say("")
    for note in notes:
        said = f"note: {printable(note)}"
        if not is_on_screen(said) and not is_on_screen(printable(note)):
            say(said)
    if verdict:
        say(in_lines(verdict, terminal_width()))
