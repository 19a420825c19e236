"""Commands that leave their results in a folder: whether they may is decided before they begin."""

from __future__ import annotations

import functools
from argparse import Namespace
from collections.abc import Callable
from typing import Any

from featx.results.output_paths import Study, output_folder


def into_folder(kind: str, *data: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a command ask for its folder, ``args.output``, before it begins.

    Parameters
    ----------
    kind : str
        Of study, as in `featx.results.output_paths.STUDIES`.
    *data : str
        Names of the arguments that say what the study is of.

    Returns
    -------
    callable
        A decorator of commands. Where the folder holds something else, the command is refused (without
        ``--force``); where the command fails, it leaves no folder behind that it has not filled.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def run(args: Namespace, **options: Any) -> Any:
            if not args.output:
                return command(args, **options)
            from featx.studies.output import removed_if_unused

            study = Study.of(kind, *(getattr(args, name) for name in data))
            with removed_if_unused(output_folder(args.output, study, force=args.force)):
                return command(args, **options)

        return run

    return decorate
