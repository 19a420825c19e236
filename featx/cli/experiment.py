"""Print what an experiment found: for the commands compare, curve and run."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from featx.cli.output import list_failures, say_notes, show_profile
from featx.terminal import say


def show(args: Namespace, found: tuple[Any, Path]) -> None:
    """Print the result and the place of its report, as `Experiment.run` returned them."""
    result, report = found
    # A learning curve has no data checks, so no findings.
    notes = [*result.warnings, *getattr(result, "findings", [])]
    say_notes(result.table(), notes, result.advice)
    list_failures(result.failures)
    say(f"report: {report}")
    if args.profile:
        for name, extraction in result.extraction.items():
            show_profile(extraction["profile"], name)
