"""Checks of single options: each takes name and value, and raises an error for a bad value.

Values that depend on the data (a column, a class, a layer) are checked where the data is read.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sized
from enum import Enum
from numbers import Integral, Real
from typing import Any

from featx.errors import DatasetError, InputError, UnknownName
from featx.terminal import shortened

#: Takes name and value of an option; raises `InputError` for a bad value.
Check = Callable[[str, Any], None]

#: How a layer with positions becomes one vector, for each kind of input. "identity": it is a vector already.
POOLINGS_OF = {
    "image": ("avg", "max", "cls", "patches", "cls+patches", "none", "identity"),
    "text": ("mean", "cls", "last", "max", "pipeline", "identity"),
    "clip": ("mean", "mean+std", "max", "cls", "identity"),
}
POOLINGS = tuple(dict.fromkeys(pooling for one in POOLINGS_OF.values() for pooling in one))
#: The backbone where none is named, for each kind of input.
DEFAULT_BACKBONES = {
    "image": "mobilenet_v2",
    "text": "hf:sentence-transformers/all-MiniLM-L6-v2",
    "clip": "hf:openai/whisper-tiny.en",
}
#: The option that makes inputs of each kind smaller.
SMALLER = {"image": "image_size", "text": "max_length", "clip": "window"}
#: Most tokens of a text: no network takes more.
MOST_TOKENS = 2**20
#: Shortest and longest window of audio, in seconds.
WINDOWS = (0.02, 600.0)
#: Most windows of one clip whose rows are put beside each other.
MOST_WINDOWS = 64
#: How the rows of the windows of a clip become one row.
JOIN = re.compile(r"mean|max|concat:([2-9]|[1-5][0-9]|6[0-4])")
DEVICES = ("auto", "cpu", "cuda", "mps")
#: Largest seed. Repeated splits use the next seeds too, and every random generator must accept them.
MOST_SEED = 2**31 - 1
#: What can be read as a collection of inputs.
DATA = (
    "a folder, a table (.csv, .tsv, .parquet or .jsonl), an archive (.zip or .tar) or a list of them, an "
    "image, audio or .txt file, a URL of one of these, a list or array of images, clips or texts, a dataset "
    "of Hugging Face, or the name of a dataset"
)


def shown(value: object) -> str:
    """Return a value for a message: short, on one line, with its type."""
    return f"{short(value)} ({type(value).__name__})"


def short(value: object) -> str:
    """Return a value for a message: short, on one line."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # the repr of a foreign object may fail
        text = "?"
    return shortened(text, 60)


def listed(backbones: Any) -> list[Any]:
    """Return one backbone or several as a list."""
    single = isinstance(backbones, str) or is_module(backbones) or hasattr(backbones, "identity")
    return [backbones] if single or not _is_list(backbones) else list(backbones)


def backbone_for(backbone: Any, kind: str) -> Any:
    """Return the name of the default backbone for a kind of input in place of ``"auto"``."""
    return DEFAULT_BACKBONES[kind] if isinstance(backbone, str) and backbone == "auto" else backbone


def is_module(value: Any) -> bool:
    """Return whether a value is a network of the user's: a `torch.nn.Module`. Does not import torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def names_in(name: str, value: Any, *, empty: str = "leave it out for the default") -> list[str]:
    """Return the names in an option that takes one name or several, or raise `InputError`."""
    names = [value] if isinstance(value, str) else value
    if not _is_list(names):
        raise InputError(f"{name} must be a name or a list of names, got {shown(value)}")
    names = list(names)
    if not names:
        raise InputError(f"{name}: at least one is needed, got an empty list; {empty}")
    for one in names:
        check_text(name, one)
    return names


def is_features(data: Any) -> bool:
    """Return whether `data` is the path of a features file, by its suffix; a Parquet by what it holds."""
    if not isinstance(data, (str, os.PathLike)):
        return False
    path = os.fsdecode(data)
    suffix = os.path.splitext(path)[1].lower()
    if suffix != ".parquet":
        return suffix in (".h5", ".hdf5")
    from featx.places.columns.parquet_footer import holds_features

    return holds_features(os.path.expanduser(path))


def modes_in(baseline: Any) -> list[str]:
    """Return the fine-tuning modes in `baseline`: an empty list for None, ``"none"`` and an empty list."""
    if baseline is None or (_is_list(baseline) and not isinstance(baseline, str) and not len(baseline)):
        return []
    names = names_in("baseline", baseline)
    return [] if names == ["none"] else names


def _is_list(value: Any) -> bool:
    # Not a generator, which has no length and would be exhausted by the check.
    countable = isinstance(value, Iterable) and isinstance(value, Sized)
    return countable and not isinstance(value, (bytes, bytearray, Mapping))


def check_text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise UnknownName(name, value, ())
    if not value or "\0" in value:
        raise InputError(f"{name} must be a name, got {value!r}")


def one_of(*known: str, optional: bool = False) -> Check:
    """Return a check that accepts these words, and None if `optional`."""

    def check(name: str, value: Any) -> None:
        if (optional and value is None) or (isinstance(value, str) and value in known):
            return
        raise UnknownName(name, value, known)

    return check


def whole_number(
    low: int, high: int | None = None, *, optional: bool = False, also: tuple[Any, ...] = ()
) -> Check:
    """Return a check that accepts whole numbers in a range, the values in `also`, and None if `optional`."""

    def check(name: str, value: Any) -> None:
        if optional and value is None:
            return
        if isinstance(value, Integral) and not isinstance(value, bool):
            number = int(value)
            if (low <= number and (high is None or number <= high)) or number in also:
                return
        elif isinstance(value, str) and value in also:
            return
        words = ["None"] * optional + [repr(word) for word in also]
        span = f"of at least {low}" if high is None else f"from {low} to {high}"
        expected = " or ".join([*words, f"a whole number {span}"])
        raise InputError(f"{name} must be {expected}, got {shown(value)}")

    return check


def seconds(low: float, high: float) -> Check:
    """Return a check that accepts a number of seconds in a range, and None."""

    def check(name: str, value: Any) -> None:
        number = isinstance(value, Real) and not isinstance(value, bool)
        if value is not None and not (number and low <= value <= high):
            raise InputError(f"{name} must be from {low:g} to {high:g} seconds, got {shown(value)}")

    return check


def check_join(name: str, value: Any) -> None:
    """Check how the rows of windows are joined: a word, or ``concat:K``."""
    if value is None or (isinstance(value, str) and JOIN.fullmatch(value)):
        return
    raise InputError(
        f"{name} must be mean, max or concat:K, such as concat:3, with K from 2 to {MOST_WINDOWS}, got "
        f"{shown(value)}"
    )


def check_share(name: str, value: Any) -> None:
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 0 < value < 1:
        raise InputError(f"{name} must lie between 0 and 1 (a share), got {shown(value)}")


def check_optional_share(name: str, value: Any) -> None:
    if value is not None:
        check_share(name, value)


def check_contamination(name: str, value: Any) -> None:
    check_share(name, value)
    if value > 0.5:
        raise InputError(f"{name} must be at most 0.5: most normal images are normal; got {value!r}")


def check_truth(name: str, value: Any) -> None:
    # NumPy's booleans, the results of comparisons, have one of these names.
    if not isinstance(value, bool) and type(value).__name__ not in ("bool", "bool_"):
        raise InputError(f"{name} must be True or False, got {shown(value)}")


def check_verbose(name: str, value: Any) -> None:
    if not isinstance(value, Integral):  # scikit-learn has levels of verbosity
        check_truth(name, value)


def check_optional_text(name: str, value: Any) -> None:
    if value is not None:
        check_text(name, value)


def check_prefix(name: str, value: Any) -> None:
    if value is not None and (not isinstance(value, str) or "\0" in value):
        raise InputError(f"{name} must be a text, got {shown(value)}")


def check_names(name: str, value: Any) -> None:
    if value is not None:
        names_in(name, value)


def check_baseline(name: str, value: Any) -> None:
    modes_in(value)


def check_columns(name: str, value: Any) -> None:
    if value is None:
        return
    names = names_in(name, value)
    twice = next((one for one in names if names.count(one) > 1), None)
    if twice is not None:
        raise InputError(f"{name}: column {twice!r} is asked for twice")


def check_layers(name: str, value: Any) -> None:
    if value is None or isinstance(value, str):
        return check_optional_text(name, value)
    names_in(name, ["default" if one is None else one for one in value] if _is_list(value) else value)


def check_weights(name: str, value: Any) -> None:
    if value is None or isinstance(value, Enum):
        return
    if not isinstance(value, (str, os.PathLike)):
        raise InputError(f"{name} must be a name, a path or None (random weights), got {shown(value)}")
    _filled(name, value)


def check_path(name: str, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, (str, os.PathLike)):
        raise InputError(f"{name} must be a path or None, got {shown(value)}")
    _filled(name, value)


def check_file(name: str, value: Any) -> None:
    if value is None:
        raise InputError(f"{name} must be the name of a file or folder, got None")
    check_path(name, value)


def _filled(name: str, value: Any) -> None:
    text = os.fspath(value)
    if not text or "\0" in os.fsdecode(text):
        raise InputError(f"{name} must be the name of a file or folder, got {text!r}")


def check_cache(name: str, value: Any) -> None:
    if hasattr(value, "root") and hasattr(value, "space"):  # an opened `Cache`
        return
    if value is not None and not isinstance(value, (str, os.PathLike)):
        raise InputError(
            f"{name} must be a folder or None (FEATX_CACHE or the user's cache folder), got {shown(value)}; "
            "the cache cannot be turned off, only put elsewhere"
        )
    check_path(name, value)


def check_on(name: str, value: Any) -> None:
    is_open = any(callable(getattr(value, method, None)) for method in ("submit", "run"))
    if value is None or (is_open and not isinstance(value, type)):
        return  # an executor, or a cluster that was opened already
    if not isinstance(value, str) or not (value == "ray" or value.startswith("ray:")):
        raise InputError(
            f"{name} must be 'ray', 'ray://HOST:PORT' or a concurrent.futures.Executor, got {shown(value)}"
        )


def check_part(name: str, value: Any) -> None:
    if value is not None:
        part_of(name, value)


def part_of(name: str, value: Any) -> tuple[int, int]:
    """Return (k, n) of the text ``"k/n"``; `InputError` unless 1 <= k <= n."""
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", value) if isinstance(value, str) else None
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        hint = "; parts count from 1" if match is not None and int(match[1]) == 0 else ""
        raise InputError(f"{name} must be K/N, such as '3/64', with K from 1 to N, got {shown(value)}{hint}")
    return int(match[1]), int(match[2])


def check_device(name: str, value: Any) -> None:
    # The text of a torch.device is one of these words, perhaps with an index.
    text = str(value) if type(value).__module__ == "torch" and type(value).__name__ == "device" else value
    kind, _, number = text.partition(":") if isinstance(text, str) else ("", "", "")
    if kind not in DEVICES or (":" in text and not (kind == "cuda" and number.isdecimal())):
        raise UnknownName(name, value, (*DEVICES, "cuda:0"))


def check_data(name: str, value: Any) -> None:
    if value is None or isinstance(value, (bool, Real)):
        raise DatasetError(f"{name}: expected {DATA}; got {type(value).__name__}")
    if isinstance(value, str) and (not value or "\0" in value):
        raise DatasetError(f"{name}: expected {DATA}; got {value!r}")


def check_backbone(name: str, value: Any) -> None:
    if isinstance(value, str):
        check_text(name, value)
    elif is_module(value):
        return
    elif not (hasattr(value, "identity") or hasattr(value, "members")) or isinstance(value, type):
        raise InputError(
            f"{name} must be a name such as 'mobilenet_v2', a torch.nn.Module, or what load_backbone returned"
            f", got {shown(value)}"
        )


def check_backbones(name: str, value: Any) -> None:
    several = listed(value)
    if not several:
        raise InputError(f"{name}: at least one is needed, got an empty list")
    for one in several:
        check_backbone(name, one)
    names = [_name_of(one) for one in several]
    twice = next((one for one in names if names.count(one) > 1), None)
    if twice is not None:
        own = any(is_module(one) and _name_of(one) == twice for one in several)
        remedy = "give load_backbone(module, name=...)" if own else "give it once"
        raise InputError(f"{name}: {twice!r} is asked for twice, and results go by name; {remedy}")


def _name_of(backbone: Any) -> str:
    if isinstance(backbone, str):
        return backbone
    name: str = type(backbone).__name__ if is_module(backbone) else backbone.name
    return name


def check_preprocessing(name: str, value: Any) -> None:
    if value is None or isinstance(value, Mapping) or hasattr(value, "front_end"):  # an AudioPreparation
        return
    if not (hasattr(value, "mean") and (hasattr(value, "crop") or hasattr(value, "crop_size"))):
        raise InputError(
            f"{name} must be a Preprocessing, its dict, or the transforms() of torchvision's weights, got "
            f"{shown(value)}"
        )
