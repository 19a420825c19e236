"""The command line: `parser` reads the arguments, and a module of `commands` runs the command."""

from __future__ import annotations

import _thread
import contextlib
import os
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from featx.cli.commands import command_module
from featx.cli.parser import build_parser
from featx.errors import FeatxError, OutputError, reason_of
from featx.terminal import printable, tell


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Returns
    -------
    int
        0, or 2 when the input was bad, the output could not be written or Ctrl-C ended the run, with one line
        on standard error. An error of featx itself propagates with its traceback, which Python turns into
        status 1.
    """
    hook, sys.unraisablehook = sys.unraisablehook, _insist
    try:
        _open_streams()
        sys.stdout = _Output(sys.stdout)  # type: ignore[assignment]
        status = _run(argv)
        sys.stdout.flush()
        return status
    except FeatxError as error:
        return _stop(" ".join(str(error).split()))
    except KeyboardInterrupt:
        return _stop(
            "interrupted; rows that were committed stay in the cache, and the next run goes on from there"
        )
    except BrokenPipeError:
        # The reader of our output went away (`featx backbones | head`): not an error of anybody's.
        return 0
    finally:
        sys.unraisablehook = hook
        sys.stdout = getattr(sys.stdout, "_stream", sys.stdout)
        _close_streams()


def _run(argv: Sequence[str] | None) -> int:
    try:
        args = build_parser().parse_args(argv)
    except SystemExit:  # of --help and --version, and of arguments that make no sense
        sys.stdout.flush()
        raise
    warnings.showwarning = _one_line_warning
    return command_module(args.command).run(args) or 0


def _open_streams() -> None:
    """Make the standard streams fit for whatever is printed.

    Raises
    ------
    OutputError
        Standard output is closed.
    """
    closed = sys.stdout is None
    # Whatever is opened first takes the number of a closed stream, and would get what is printed.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if closed:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        raise OutputError("standard output is closed; send it to a file, or to /dev/null")
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # what the terminal cannot show is written as an escape
            reconfigure(errors="backslashreplace")


class _Output:
    """Standard output, whose failures are errors of featx."""

    def __init__(self, stream: Any):
        self._stream = stream
        self._failed: OutputError | None = None

    def write(self, text: str) -> int:
        """As the stream's; argparse passes over errors, so the first one is kept for `flush`."""
        return self._guarded(self._stream.write, text)

    def flush(self) -> None:
        """As the stream's."""
        if self._failed is not None:
            raise self._failed
        self._guarded(self._stream.flush)

    def _guarded(self, call: Callable[..., Any], *args: Any) -> Any:
        try:
            return call(*args)
        except BrokenPipeError:
            raise
        except (OSError, ValueError) as error:  # a ValueError is that of a closed file
            self._failed = OutputError(f"standard output cannot be written ({reason_of(error)})")
            raise self._failed from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _close_streams() -> None:
    """Write what is left; where that fails, let nothing be said of it when the interpreter ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _insist(unraisable: sys.UnraisableHookArgs) -> None:
    """Send Ctrl-C again that fell into a destructor or a callback of the interpreter, where it is lost."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    again = threading.Timer(0.05, _thread.interrupt_main)
    again.daemon = True
    again.start()


def _stop(line: str) -> int:
    tell(f"featx: {printable(line)}")
    return 2


def _one_line_warning(message, category, filename, lineno, file=None, line=None) -> None:
    tell(f"featx: warning: {printable(' '.join(str(message).split()))}")
