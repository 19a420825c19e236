"""What an experiment file may say: tables, keys, and what each value must be.

::

    [experiment]
    kind = "curve"                 # or "compare"
    output = "out"                 # folder of the results, below this file's (elsewhere: --force)

    [data]
    source = "photos"              # as DATA on the command line; a path is relative to this file
    # label, target, test_size, limit, on_error, split_by ("folder" or "none")

    [network]
    backbones = ["mobilenet_v2"]
    # weights ("random" for random ones), layer, pooling, image_size, precision

    [methods]
    classifiers = ["logreg", "lda"]
    baseline = ["head", "last"]    # or "none"
    # epochs; compare: regressors, ensemble; curve: protocol, augment

    [draws]
    seeds = 10                     # compare: drawn splits; curve: draws
    shots = [1, 2, 5, 10, "all"]   # of curve only

    [run]
    seed = 0
    # engine, device, batch_size, cache, n_jobs; compare: n_boot

Everything but ``kind``, ``output`` and ``source`` may be left out and is then as in `featx.compare` and
`featx.learning_curve`, whose parameters these are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from featx.errors import InputError, UnknownName

KINDS = ("compare", "curve")
#: A number beyond this is none that any option takes.
LARGEST = 2**31 - 1


def _text(value: Any) -> bool:
    # A null byte is no part of any path or name.
    return isinstance(value, str) and "\0" not in value


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def _truth(value: Any) -> bool:
    return isinstance(value, bool)


def _texts(value: Any) -> bool:
    return _text(value) or (isinstance(value, list) and bool(value) and all(map(_text, value)))


def _shots(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(_whole(k) or k == "all" for k in value)


def _batch(value: Any) -> bool:
    return _whole(value) or value == "auto"


@dataclass(frozen=True)
class Key:
    """What a key's value must be, in words; and the kinds of experiment it belongs to."""

    right: Callable[[Any], bool]
    expected: str
    kinds: tuple[str, ...] = KINDS


TEXT, TEXTS = Key(_text, "a text"), Key(_texts, "a text or a list of texts")
WHOLE, NUMBER = Key(_whole, "a whole number"), Key(_number, "a number")

TABLES: dict[str, dict[str, Key]] = {
    "experiment": {"kind": TEXT, "output": TEXT},
    "data": {
        "source": TEXT,
        "label": TEXTS,
        "target": Key(_texts, "a text or a list of texts", ("compare",)),
        "test_size": NUMBER,
        "limit": WHOLE,
        "on_error": TEXT,
        "split_by": TEXT,
    },
    "network": {
        "backbones": TEXTS,
        "weights": TEXT,
        "layer": TEXT,
        "pooling": TEXT,
        "image_size": WHOLE,
        "precision": TEXT,
    },
    "methods": {
        "classifiers": TEXTS,
        "regressors": Key(_texts, "a text or a list of texts", ("compare",)),
        "baseline": TEXTS,
        "epochs": WHOLE,
        "ensemble": Key(_truth, "true or false", ("compare",)),
        "protocol": Key(_text, "a text", ("curve",)),
        "augment": Key(_truth, "true or false", ("curve",)),
    },
    "draws": {
        "shots": Key(_shots, 'a list of whole numbers and "all"', ("curve",)),
        "seeds": WHOLE,
    },
    "run": {
        "seed": WHOLE,
        "engine": TEXT,
        "device": TEXT,
        "batch_size": Key(_batch, 'a whole number or "auto"'),
        "cache": TEXT,
        "n_jobs": WHOLE,
        "n_boot": Key(_whole, "a whole number", ("compare",)),
    },
}
REQUIRED = (("experiment", "kind"), ("experiment", "output"), ("data", "source"))


def check(content: Mapping[str, Any], place: str) -> None:
    """Refuse what is not in the schema.

    Parameters
    ----------
    content : mapping
        The parsed file.
    place : str
        Its name, for messages.

    Raises
    ------
    InputError
        A table or key is unknown (with the nearest known), missing, of another kind of experiment, or has a
        value of another type; the message names file, table and key.
    """
    for table, keys in content.items():
        if table not in TABLES:
            raise InputError(f"{place}: {UnknownName('table', table, TABLES)}")
        if not isinstance(keys, Mapping):
            raise InputError(f"{place}: {table} must be a table, [{table}], got {_said(keys)}")
        # Before what is missing: a mistyped key is not there under its own name.
        for key in keys:
            if key not in TABLES[table]:
                raise InputError(f"{place}: [{table}] {UnknownName('key', key, TABLES[table])}")
    for table, key in REQUIRED:
        if key not in content.get(table, {}):
            raise InputError(f"{place}: [{table}] needs the key {key!r}")
    kind = content["experiment"]["kind"]
    if kind not in KINDS:
        named = kind if isinstance(kind, str) else _said(kind)
        raise InputError(f"{place}: [experiment] kind: {UnknownName('kind', named, KINDS)}")
    for table, keys in content.items():
        for key, value in keys.items():
            known = TABLES[table]
            if kind not in known[key].kinds:
                only = " and ".join(known[key].kinds)
                raise InputError(f"{place}: [{table}] {key} is for kind {only}; this is {kind}")
            if not known[key].right(value):
                raise InputError(
                    f"{place}: [{table}] {key} must be {known[key].expected}, got {_said(value)}"
                )


def _said(value: Any) -> str:
    """A value for a message: not all of a long one, and a whole number of any length."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > LARGEST:
        return f"a number beyond {LARGEST}"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
