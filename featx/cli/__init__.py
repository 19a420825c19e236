"""The command line: `parser` parses the arguments, and a module in `commands` runs the command."""

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
from featx.errors import DataLossWarning, FeatxError, OutputError, reason_of
from featx.terminal import printable, silent, tell, tell_always

#: Exit status after Ctrl-C: that of a program that SIGINT ends.
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Returns
    -------
    int
        0; with one line on standard error, 2 if the input is bad or the output cannot be written, and 130 if
        Ctrl-C ended the run; 3 if ``featx cache verify`` found damage. An internal error propagates with its
        traceback, which Python turns into status 1.
    """
    hook, sys.unraisablehook = sys.unraisablehook, _send_interrupt_again
    try:
        _open_streams()
        sys.stdout = _Output(sys.stdout)  # type: ignore[assignment]
        status = _run(argv)
        sys.stdout.flush()
        return status
    except FeatxError as error:
        return _stop(" ".join(str(error).split()))
    except KeyboardInterrupt as error:
        kept = "rows that were committed stay in the cache, and the next run goes on from there"
        _stop(f"interrupted; {error if error.args else kept}")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of the output has stopped (`featx backbones | head`), which is not an error.
        return 0
    finally:
        sys.unraisablehook = hook
        sys.stdout = getattr(sys.stdout, "_stream", sys.stdout)
        _close_streams()


def _run(argv: Sequence[str] | None) -> int:
    try:
        args = build_parser().parse_args(argv)
    except SystemExit:  # raised by --help, --version and wrong arguments
        sys.stdout.flush()
        raise
    warnings.showwarning = _one_line_warnings()
    with silent(args.quiet):
        return command_module(args.command).run(args) or 0


def _open_streams() -> None:
    """Open closed standard streams, and let them print any character; `OutputError` if stdout is closed."""
    closed = sys.stdout is None
    # The next file to be opened would get the number of a closed stream, and receive what is printed.
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
        if reconfigure is not None:  # characters that the terminal cannot show become escapes
            reconfigure(errors="backslashreplace")


class _Output:
    """Standard output that raises `OutputError` if it cannot be written."""

    def __init__(self, stream: Any):
        self._stream = stream
        self._failed: OutputError | None = None

    def write(self, text: str) -> int:
        """Write to the stream; keep the first error for `flush`, as argparse ignores errors here."""
        return self._guarded(self._stream.write, text)

    def flush(self) -> None:
        """Flush the stream, or raise the error of an earlier write."""
        if self._failed is not None:
            raise self._failed
        self._guarded(self._stream.flush)

    def _guarded(self, call: Callable[..., Any], *args: Any) -> Any:
        try:
            return call(*args)
        except BrokenPipeError:
            raise
        except (OSError, ValueError) as error:  # ValueError: the file is closed
            self._failed = OutputError(f"standard output cannot be written ({reason_of(error)})")
            raise self._failed from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _close_streams() -> None:
    """Flush the streams; if that fails, keep the interpreter from reporting it at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _send_interrupt_again(unraisable: sys.UnraisableHookArgs) -> None:
    """Send Ctrl-C again if it came in a destructor or callback, where the interpreter drops it."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    again = threading.Timer(0.05, _thread.interrupt_main)
    again.daemon = True
    again.start()


def _stop(line: str) -> int:
    from featx.places.urls import hide_secrets

    tell(f"featx: {printable(hide_secrets(line))}")
    return 2


def _one_line_warnings() -> Callable[..., None]:
    """Return a `warnings.showwarning` that prints each warning once, on one line.

    Other packages' warnings about their own parts are left out: a user of the command line cannot act on
    them.
    """
    own, said = os.path.dirname(os.path.dirname(os.path.abspath(__file__))), set[str]()

    def show(message, category, filename, lineno, file=None, line=None) -> None:
        from featx.places.urls import hide_secrets

        text = printable(hide_secrets(" ".join(str(message).split())))
        lost = issubclass(category, DataLossWarning)
        if text in said or not (lost or os.path.abspath(filename).startswith(own + os.sep)):
            return
        said.add(text)
        (tell_always if lost else tell)(f"featx: warning: {text}")

    return show
