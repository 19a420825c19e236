"""Check the options that the public functions share, by name, before anything is opened or built.

Each option is checked in one place, whichever function takes it, and an error names it. What depends on the
data (a column, a class, a layer of the network) is checked where the data is read.
"""

from __future__ import annotations

import functools
import inspect
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from enum import Enum
from numbers import Integral, Real
from typing import Any, TypeVar

from featx.errors import DatasetError, InputError, UnknownName

_Function = TypeVar("_Function", bound=Callable[..., Any])

POOLINGS = ("avg", "max", "none", "identity")
PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")
ENGINES = ("auto", "torch", "openvino", "compile", "eager")
DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("float32", "float16")
ON_ERROR = ("raise", "skip")
#: What the top folders of a folder are: groups, or the classes.
SPLIT_BY = ("folder", "none")

#: Largest seed: those of several splits, which count on from it, still suit every generator.
MOST_SEED = 2**31 - 1
#: Side of the images that a network is given: below, nothing is left to see; above, one image is 200 MB.
IMAGE_SIZES = (8, 8192)
#: Fewest resamples that bound a 95 % interval: of fewer, its ends are the two extremes.
FEWEST_RESAMPLES = 5


def check_options(**given: Any) -> None:
    """Check options of a public function.

    Parameters
    ----------
    **given
        Options by the names that users know.

    Raises
    ------
    InputError
        A value that the option cannot have; the message begins with the name of the option.
    UnknownName
        A word that is none of those known.
    """
    for name, value in given.items():
        _CHECKS[name](name, value)


def checked(**kinds: str) -> Callable[[_Function], _Function]:
    """Have the options of a public function checked, by their names, before it runs.

    Parameters
    ----------
    **kinds : str
        Parameters that are checked as the option of another name: ``checked(source="data")``.

    Returns
    -------
    callable
        The decorator. A parameter that is no option, such as `labels`, is left to the function.
    """

    def decorate(function: _Function) -> _Function:
        signature = inspect.signature(function)
        gathering = next((p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD), None)

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            try:
                given = dict(signature.bind(*args, **kwargs).arguments)
            except TypeError:  # an unknown or missing name: the function's own message says which
                return function(*args, **kwargs)
            given |= given.pop(gathering, {}) if gathering is not None else {}
            for name, value in given.items():
                check = _CHECKS.get(kinds.get(name, name))
                if check is not None:
                    check(name, value)
            return function(*args, **kwargs)

        return run  # type: ignore[return-value]

    return decorate


def shown(value: object) -> str:
    """A value as messages show it: short, on one line, with its type."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # the repr of a foreign object may do anything
        text = "?"
    return f"{text if len(text) <= 60 else text[:59] + '…'} ({type(value).__name__})"


def listed(backbones: Any) -> list[Any]:
    """One backbone or several as a list."""
    single = isinstance(backbones, str) or hasattr(backbones, "identity") or not _is_list(backbones)
    return [backbones] if single else list(backbones)


def names_in(name: str, value: Any, *, empty: str = "leave it out for the default") -> list[str]:
    """The names in an option that takes one or several.

    Raises
    ------
    InputError
        There is none, or one is no text.
    """
    names = [value] if isinstance(value, str) else value
    if not _is_list(names):
        raise InputError(f"{name} must be a name or a list of names, got {shown(value)}")
    names = list(names)
    if not names:
        raise InputError(f"{name}: at least one is needed, got an empty list; {empty}")
    for one in names:
        _text(name, one)
    return names


def is_features(data: Any) -> bool:
    """Whether `data` names a features file, by its suffix."""
    if not isinstance(data, (str, os.PathLike)):
        return False
    return os.fsdecode(data).lower().endswith((".h5", ".hdf5"))


def modes_in(baseline: Any) -> list[str]:
    """The names in a `baseline`; none of them for None, ``"none"`` and an empty list."""
    if baseline is None or (_is_list(baseline) and not isinstance(baseline, str) and not len(baseline)):
        return []
    names = names_in("baseline", baseline)
    return [] if names == ["none"] else names


def require_no_effect(asked: Mapping[str, Any], defaults: Mapping[str, Any], why: str) -> None:
    """Refuse options that were given although nothing here would use them.

    Parameters
    ----------
    asked : mapping
        Options by name, as given.
    defaults : mapping
        What they are where nobody gives them.
    why : str
        Why they would have no effect, for the message: ``"... has no effect: {why}"``.

    Raises
    ------
    InputError
        Naming the first that differs from its default.
    """
    for name, default in defaults.items():
        if name in asked and not _same(asked[name], default):
            raise InputError(f"{name}={shown(asked[name])} has no effect: {why}; leave it out")


#: Options of the network, and what each is where it is not given.
NETWORK_DEFAULTS: dict[str, Any] = {
    "weights": "default",
    "layer": None,
    "pooling": None,
    "image_size": None,
    "precision": "auto",
    "engine": "auto",
    "device": "auto",
    "batch_size": "auto",
}
#: Of functions that take several backbones. A tuple: one that was asked for is a text or a list.
DEFAULT_BACKBONES = ("mobilenet_v2",)
DEFAULT_TEST_SIZE = 0.25
#: What stands for a collection of images.
DATA = (
    "a folder, a .csv or .parquet table, an image file, a list or array of images, or the name of a dataset"
)
FROM_A_FILE = "the embeddings come from a features file, and no network runs"


def _same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)


def _is_list(value: Any) -> bool:
    # A generator has no length, and would be used up by the check.
    countable = isinstance(value, Iterable) and isinstance(value, Sized)
    return countable and not isinstance(value, (bytes, bytearray, Mapping))


def _text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise UnknownName(name, value, ())
    if not value or "\0" in value:
        raise InputError(f"{name} must be a name, got {value!r}")


def _word(known: Sequence[str], *, optional: bool = False) -> Callable[[str, Any], None]:
    def check(name: str, value: Any) -> None:
        if (optional and value is None) or (isinstance(value, str) and value in known):
            return
        raise UnknownName(name, value, known)

    return check


def _whole(
    low: int, high: int | None = None, *, optional: bool = False, also: tuple[Any, ...] = ()
) -> Callable[[str, Any], None]:
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


def _share(name: str, value: Any) -> None:
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 0 < value < 1:
        raise InputError(f"{name} must lie between 0 and 1 (a share), got {shown(value)}")


def _contamination(name: str, value: Any) -> None:
    _share(name, value)
    if value > 0.5:
        raise InputError(f"{name} must be at most 0.5: most normal images are normal; got {value!r}")


def _truth(name: str, value: Any) -> None:
    # NumPy's booleans, which come out of comparisons, have this name.
    if not isinstance(value, bool) and type(value).__name__ not in ("bool", "bool_"):
        raise InputError(f"{name} must be True or False, got {shown(value)}")


def _verbose(name: str, value: Any) -> None:
    if not isinstance(value, Integral):  # bool is one; scikit-learn counts levels
        _truth(name, value)


def _optional_text(name: str, value: Any) -> None:
    if value is not None:
        _text(name, value)


def _names(name: str, value: Any) -> None:
    if value is not None:
        names_in(name, value)


def _baseline(name: str, value: Any) -> None:
    modes_in(value)


def _columns(name: str, value: Any) -> None:
    if value is None:
        return
    names = names_in(name, value)
    twice = next((one for one in names if names.count(one) > 1), None)
    if twice is not None:
        raise InputError(f"{name}: column {twice!r} is asked for twice")


def _layers(name: str, value: Any) -> None:
    if value is None or isinstance(value, str):
        return _optional_text(name, value)
    names_in(name, ["default" if one is None else one for one in value] if _is_list(value) else value)


def _weights(name: str, value: Any) -> None:
    if value is None or isinstance(value, Enum):
        return
    if not isinstance(value, (str, os.PathLike)):
        raise InputError(f"{name} must be a name, a path or None (random weights), got {shown(value)}")
    _filled(name, value)


def _path(name: str, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, (str, os.PathLike)):
        raise InputError(f"{name} must be a path or None, got {shown(value)}")
    _filled(name, value)


def _file(name: str, value: Any) -> None:
    if value is None:
        raise InputError(f"{name} must be the name of a file or folder, got None")
    _path(name, value)


def _filled(name: str, value: Any) -> None:
    text = os.fspath(value)
    if not text or "\0" in os.fsdecode(text):
        raise InputError(f"{name} must be the name of a file or folder, got {text!r}")


def _cache(name: str, value: Any) -> None:
    if hasattr(value, "root") and hasattr(value, "space"):  # an opened `Cache`
        return
    if value is not None and not isinstance(value, (str, os.PathLike)):
        raise InputError(
            f"{name} must be a folder or None (FEATX_CACHE or the user's cache folder), got {shown(value)}; "
            "the cache cannot be turned off, only put elsewhere"
        )
    _path(name, value)


def _device(name: str, value: Any) -> None:
    # torch.device has a type and an index, and its text is one of these words.
    text = str(value) if type(value).__module__ == "torch" and type(value).__name__ == "device" else value
    kind, _, number = text.partition(":") if isinstance(text, str) else ("", "", "")
    if kind not in DEVICES or (":" in text and not (kind == "cuda" and number.isdecimal())):
        raise UnknownName(name, value, (*DEVICES, "cuda:0"))


def _data(name: str, value: Any) -> None:
    if value is None or isinstance(value, (bool, Real)):
        raise DatasetError(f"{name}: expected {DATA}; got {type(value).__name__}")
    if isinstance(value, str) and (not value or "\0" in value):
        raise DatasetError(f"{name}: expected {DATA}; got {value!r}")


def _backbone(name: str, value: Any) -> None:
    if isinstance(value, str):
        _text(name, value)
    elif not (hasattr(value, "identity") or hasattr(value, "members")) or isinstance(value, type):
        raise InputError(
            f"{name} must be a name such as 'mobilenet_v2', or what load_backbone returned, got "
            f"{shown(value)}"
        )


def _backbones(name: str, value: Any) -> None:
    several = listed(value)
    if not several:
        raise InputError(f"{name}: at least one is needed, got an empty list")
    for one in several:
        _backbone(name, one)
    names = [one if isinstance(one, str) else one.name for one in several]
    twice = next((one for one in names if names.count(one) > 1), None)
    if twice is not None:
        raise InputError(f"{name}: {twice!r} is asked for twice, and results go by name; give it once")


_CHECKS: dict[str, Callable[[str, Any], None]] = {
    "data": _data,
    "a": _data,
    "b": _data,
    "images": _data,
    "backbone": _backbone,
    "backbones": _backbones,
    "weights": _weights,
    "layer": _optional_text,
    "layers": _layers,
    "pooling": _word(POOLINGS, optional=True),
    "image_size": _whole(*IMAGE_SIZES, optional=True),
    "precision": _word(PRECISIONS),
    "engine": _word(ENGINES),
    "device": _device,
    "batch_size": _whole(1, 65_536, also=("auto",)),
    "dtype": _word(DTYPES),
    "cache": _cache,
    "limit": _whole(1, optional=True),
    "on_error": _word(ON_ERROR),
    "split_by": _word(SPLIT_BY, optional=True),
    "n_jobs": _whole(1, 4096, optional=True, also=(-1,)),
    "verbose": _verbose,
    "label": _columns,
    "target": _columns,
    "classifiers": _names,
    "regressors": _names,
    "detectors": _names,
    "adaptations": _names,
    "normal": _names,
    "classifier": _text,
    "detector": _text,
    "protocol": _optional_text,
    "test_size": _share,
    "contamination": _contamination,
    "seed": _whole(0, MOST_SEED),
    "seeds": _whole(1, 10_000),
    "draws": _whole(1, 10_000, optional=True),
    "epochs": _whole(1, 100_000, optional=True),
    "n_boot": _whole(FEWEST_RESAMPLES, 1_000_000, also=(0,)),
    "n_permutations": _whole(1, 1_000_000),
    "top": _whole(0, 10_000),
    "most": _whole(10, 1_000_000),
    "ensemble": _truth,
    "probe": _truth,
    "augment": _truth,
    "resume": _path,
    "baseline": _baseline,
    "file": _file,
    "directory": _file,
    "pattern": _optional_text,
    "labelled": _truth,
}
