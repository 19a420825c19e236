"""All exceptions that featx raises on purpose.

::

    FeatxError
    ├── InputError (ValueError)           what was given cannot be used
    │   ├── DatasetError                  a folder, table or array of images and labels
    │   ├── SourceError                   one input that cannot be read or prepared
    │   │   ├── ImageError                one image
    │   │   ├── TextError                 one text
    │   │   └── AudioError                one clip of audio
    │   ├── UnknownName                   no backbone, layer, classifier, ... of that name
    │   ├── WeightsError                  weights missing, damaged or of another architecture
    │   ├── FeaturesError                 a features file that is damaged or of another kind
    │   └── EngineError                   a network that an engine cannot run here
    ├── OutputError (OSError)             a place that cannot be written
    ├── CacheError (OSError)              the embedding cache cannot be used
    ├── ClusterError (RuntimeError)       workers of a cluster are lost, or cannot do what they should
    ├── ModelMismatch (InputError)        a saved model and what is installed disagree
    └── MissingExtra (ImportError)        an optional package is not installed

The command line prints any of them as one line and exits with status 2. It prints a `DataLossWarning`, which
is a `RuntimeWarning`, even with ``--quiet``.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterable, Iterator


class FeatxError(Exception):
    """Base of all errors of this package."""


class DataLossWarning(RuntimeWarning):
    """Stored data is damaged or gone; it is computed again, so results stay the same."""


class InputError(FeatxError, ValueError):
    """What the user gave cannot be used."""


class DatasetError(InputError):
    """A dataset is empty, inconsistent, or not where it should be."""


class SourceError(InputError):
    """One input cannot be read or prepared.

    Parameters
    ----------
    id : str
        Which input: its path relative to the dataset, or the id it was given.
    reason : str
        Why, in a few words (``"truncated JPEG"``).
    """

    def __init__(self, id: str, reason: str):
        super().__init__(id, reason)
        self.id = id
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.id}: {self.reason}"


class ImageError(SourceError):
    """One image cannot be turned into pixels."""


class TextError(SourceError):
    """One text cannot be read or turned into tokens."""


class AudioError(SourceError):
    """One clip of audio cannot be read or decoded."""


class UnknownName(InputError):
    """A name that is in no registry; the message offers the nearest known ones.

    Parameters
    ----------
    kind : str
        What was looked for, such as ``"backbone"``.
    name : object
        The name as given; the message says if it is no text.
    known : iterable of str
        The existing names.
    """

    def __init__(self, kind: str, name: object, known: Iterable[str]):
        super().__init__(kind, name, tuple(known))
        self.kind, self.name, self.known = self.args

    def __str__(self) -> str:
        if not isinstance(self.name, str):
            got = " ".join(repr(self.name).split())
            got = got if len(got) <= 60 else f"{got[:59]}…"
            return f"{self.kind} must be a name, got {got} ({type(self.name).__name__})"
        near = difflib.get_close_matches(self.name, dict.fromkeys(self.known), n=3, cutoff=0.5)
        if near:
            hint = "did you mean " + " or ".join(near) + "?"
        elif len(self.known) <= 20:
            hint = "known: " + ", ".join(self.known)
        else:
            hint = f"{len(self.known)} are known, such as " + ", ".join(self.known[:5])
        return f"unknown {self.kind} {self.name!r}; {hint}"


class WeightsError(InputError):
    """Weights are missing, damaged, or belong to another architecture."""


class FeaturesError(InputError):
    """A features file is damaged or not a features file."""


class EngineError(InputError):
    """An engine cannot run this network on this machine; another one can take its place."""


class OutputError(FeatxError, OSError):
    """A result cannot be written where it was asked for."""


class CacheError(FeatxError, OSError):
    """The embedding cache cannot be read or written."""


class ClusterError(FeatxError, RuntimeError):
    """Workers of a cluster are lost, or cannot do what they should."""


class ModelMismatch(InputError):
    """A saved model does not fit the backbone or packages that are installed."""


class MissingExtra(FeatxError, ImportError):
    """An optional package is needed and not installed.

    Parameters
    ----------
    package : str
        The missing import.
    extra : str
        The extra of featx that installs it.
    purpose : str
        What needs it.
    """

    def __init__(self, package: str, extra: str, purpose: str):
        super().__init__(
            f"{purpose} needs the package {package!r}; install it with: pip install 'featx[{extra}]'"
        )
        self.package, self.extra, self.purpose = package, extra, purpose

    def __reduce__(self):
        return type(self), (self.package, self.extra, self.purpose)


@contextlib.contextmanager
def as_one_error(make: Callable[[str], FeatxError]) -> Iterator[None]:
    """Turn whatever the body raises into the error that `make(reason)` returns; `reason` is one short line.

    For code that reads a file of unknown origin: its bytes can make a library fail in any way, also with
    `MemoryError`, `RecursionError` and `OverflowError`, and with the panic of a library in Rust, which is no
    `Exception`. Errors of featx and Ctrl-C pass unchanged.
    """
    try:
        yield
    except FeatxError:
        raise
    except BaseException as error:  # any library, any bytes: the caller promises one kind of error
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise make(reason_of(error)) from error


def reason_of(error: BaseException, limit: int = 160) -> str:
    """Return the message of another library's error, on one line of at most `limit` characters.

    A system error gives its text alone (``"Permission denied"``), an error without a text its type, and a
    `KeyError` its type and the key.
    """
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    if isinstance(error, MemoryError):
        text = "it asks for more memory than there is"
    elif isinstance(error, KeyError) or not text:
        text = f"{type(error).__name__} {text}".strip()
    return text if len(text) <= limit else text[: limit - 1] + "…"
