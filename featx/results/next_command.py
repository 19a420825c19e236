"""Write the next commands: train the recommended method on all inputs and keep it; compare on a backbone.

A comparison holds the arguments of `featx.train` for the recommended method, under the key ``training``. They
become a command for the shell where a command made the comparison, and else lines of Python.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from featx.options import OPTIONS
from featx.places import is_url, shown
from featx.results.methods import ENSEMBLE, MethodResult

MODEL_FILE = "model.featx"
#: Options of a comparison that `featx.train` has too and that change what is trained, or where.
_SHARED = (
    *("text", "label", "group", "split_by", "limit", "on_error"),
    *("weights", "layer", "pooling", "preprocessing", "image_size", "precision", "trust_code"),
    *("max_length", "long", "prefix"),
    *("window", "hop", "join"),
    *("engine", "device", "batch_size", "cache", "seed"),
)
_PATHS = "weights", "cache"
#: Options of the command line that another study of the same inputs needs again; the last takes no value.
_AGAIN = (
    *("--text", "--group", "--split-by", "--limit", "--on-error", "--label"),
    *("--weights", "--pooling", "--image-size"),
    *("--max-length", "--long", "--prefix", "--window", "--hop", "--join"),
    *("--precision", "--engine", "--device", "--batch-size", "--cache", "--trust-code"),
)


def training_arguments(
    pick: MethodResult, data: Any, labels: Any, backbones: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments that train a method as it was compared, as plain values.

    Parameters
    ----------
    pick : MethodResult
        The method.
    data, labels
        What was compared.
    backbones : mapping
        Name in the results -> the backbone that was asked for; empty for embeddings from a file.
    given : mapping
        All options of the comparison; those with their default are left out.

    Returns
    -------
    dict
        Keywords of `featx.train`, `data` and ``labels``. A value that is no text, number or truth value (an
        image, a network) is a null: the caller has it.
    """
    found: dict[str, Any] = {"data": None if isinstance(data, list | tuple) else _plain(data)}
    if labels is not None:
        found["labels"] = None
    found["classifier"] = pick.name
    if backbones:
        asked = [_plain(backbone) for name, backbone in backbones.items() if name == pick.backbone]
        if pick.name == ENSEMBLE:
            asked = [_plain(backbone) for backbone in backbones.values()]
        found["backbone"] = asked if len(asked) > 1 else asked[0]
    for name in _SHARED:
        value = given.get(name, OPTIONS[name].default)
        if name == "precision" and value == "int8":
            continue  # a model meets other inputs than those that int8 was calibrated on
        if name == "weights" and value is None:
            value = "random"
        if type(value) is not type(OPTIONS[name].default) or value != OPTIONS[name].default:
            found[name] = _plain(value)
    if pick.trains_network and given.get("epochs") is not None:
        found["epochs"] = given["epochs"]
    return found


def shell_lines(training: Mapping[str, Any], file: str = MODEL_FILE, kind: str = "image") -> list[str]:
    """Return the commands that train, and that predict with the model `file`, quoted for a shell."""
    words = ["featx", "train", near(training["data"])]
    for name, value in training.items():
        if name in ("data", "labels"):
            continue
        flag = f"--{name.replace('_', '-')}"
        several = value if isinstance(value, list) else [value]
        given = [near(str(v)) if name in _PATHS else str(v) for v in several]
        if value is True:
            words.append(flag)
        elif given[0].startswith("-"):  # without = it would be taken for an option
            words.append(f"{flag}={given[0]}")
        else:
            words += [flag, *given]
    words += ["-o", file]
    predict = ["featx", "predict", file, f"NEW_{kind.upper()}S"]
    if training.get("text") is not None:  # new texts lie in a column of that name, too
        predict += option_words({"text": training["text"]})
    return [shlex.join(words), shlex.join(predict)]


def compare_line(
    data: str, *, backbone: str | None = None, layer: str | None = None, again: Sequence[str] = ()
) -> str:
    """Return the command that compares classifiers, quoted for a shell; `again`: words of `options_again`."""
    words = ["featx", "compare", near(data)]
    for name, value in (("--backbone", backbone), ("--layer", layer)):
        words += [] if value is None else [name, value]
    return shlex.join([*words, *again, "-o", "results"])


def python_lines(training: Mapping[str, Any], file: str = MODEL_FILE, kind: str = "image") -> list[str]:
    """Return the calls that train, save and predict; what is no plain value is a variable."""
    parts = []
    for name, value in training.items():
        if name == "weights" and value == "random":
            parts.append("weights=None")
        elif name in ("data", "labels"):
            parts.append(name if value is None else repr(value))
        else:
            parts.append(f"{name}={name if value is None else repr(value)}")
    calls = f"model.save({file!r})", f"model.predict(new_{kind}s)"
    return [f"model = featx.train({', '.join(parts)})", *calls]


def options_again(command: str | None, *more: str) -> list[str]:
    """Return the words of a `command` of featx that set network, reading and machine; `more`: other options.

    Without a command, as for a study in Python, there are none.
    """
    try:
        words = iter(shlex.split(command or ""))
    except ValueError:  # a file that somebody edited
        return []
    kept: list[str] = []
    for word in words:
        name, given, value = word.partition("=")
        # The command line takes a beginning for the whole name, where it is the beginning of one only.
        known = {flag for flag in (*_AGAIN, *more) if len(name) > 2 and flag.startswith(name)}
        known = known & {name} or known
        if len(known) == 1:
            flag = known.pop()
            if flag != "--trust-code":
                value = value if given else next(words, "")
                flag = f"{flag}={value}" if value.startswith("-") else f"{flag} {value}"
            kept += flag.split(" ", 1)
    return kept


def option_words(options: Mapping[str, Any]) -> list[str]:
    """Return options as words of the command line, without those that have their default."""
    words: list[str] = []
    for name, value in options.items():
        if value is False or value == OPTIONS[name].default:
            continue
        flag, several = f"--{name.replace('_', '-')}", value if isinstance(value, list) else [value]
        if value is True:
            words.append(flag)
        elif str(several[0]).startswith("-"):
            words.append(f"{flag}={several[0]}")
        else:
            words += [flag, *map(str, several)]
    return words


def near(place: str) -> str:
    """Return an absolute path inside the working directory as a relative one, anything else as it is.

    A path that begins like an option gets ``./``.
    """
    relative = os.path.relpath(place) if os.path.isabs(place) else place
    if relative.startswith(os.pardir):
        relative = place
    return os.path.join(os.curdir, relative) if relative.startswith("-") else relative


def _plain(value: Any) -> Any:
    """Return a value as JSON; None for one that has no such form."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        plain = [_plain(v) for v in value[:100]]
        if None in plain or not plain or len(plain) < len(value):
            return None
        return plain if len(plain) > 1 else plain[0]
    if is_url(value):
        return shown(value)  # no user, no password, no signature
    return value if isinstance(value, bool | int | float | str) else None
