"""The command line: `arguments` says what can be asked, `commands` does it through the public API."""

from __future__ import annotations

import _thread
import os
import sys
import threading
import warnings
from collections.abc import Sequence

from featx.cli.arguments import build_parser
from featx.errors import FeatxError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status.

    Returns
    -------
    int
        0, or 2 when the input was bad or Ctrl-C ended the run, with one line on standard error. An error of
        featx itself propagates with its traceback, which Python turns into status 1.
    """
    args = build_parser().parse_args(argv)
    warnings.showwarning = _one_line_warning
    hook, sys.unraisablehook = sys.unraisablehook, _insist
    try:
        from featx.cli import commands

        return getattr(commands, args.command)(args) or 0
    except FeatxError as error:
        return _stop(" ".join(str(error).split()))
    except KeyboardInterrupt:
        return _stop(
            "interrupted; rows that were committed stay in the cache, and the next run goes on from there"
        )
    except BrokenPipeError:
        # The reader of our output went away (`featx backbones | head`): not an error of anybody's.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    finally:
        sys.unraisablehook = hook


def _insist(unraisable: sys.UnraisableHookArgs) -> None:
    """Ctrl-C that fell into a destructor or a callback of the interpreter is lost there: it comes again."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    again = threading.Timer(0.05, _thread.interrupt_main)
    again.daemon = True
    again.start()


def _stop(line: str) -> int:
    print(f"featx: {line}", file=sys.stderr)
    return 2


def _one_line_warning(message, category, filename, lineno, file=None, line=None) -> None:
    print(f"featx: warning: {' '.join(str(message).split())}", file=file or sys.stderr)
