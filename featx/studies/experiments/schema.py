"""What an experiment file may say: its tables and keys, and what each value must be.

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

The keys are parameters of `featx.compare` and `featx.learning_curve`. All but ``kind``, ``output`` and
``source`` may be left out, and then have the defaults of these functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from featx.errors import InputError, UnknownName
from featx.options import KINDS, OPTIONS, Option
from featx.options.checks import check_text

#: A number beyond this is none that any option takes.
LARGEST = 2**31 - 1


def _text(value: Any) -> bool:
    # A null byte is no part of any path or name.
    return isinstance(value, str) and "\0" not in value


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def _texts(value: Any) -> bool:
    return _text(value) or (isinstance(value, list) and bool(value) and all(map(_text, value)))


def _shots(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(_whole(k) or k == "all" for k in value)


#: What the value of an option must be, by the form of the option: a test, and what it expects in words.
FORMS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "text": (_text, "a text"),
    "names": (_texts, "a text or a list of texts"),
    "count": (_whole, "a whole number"),
    "seed": (_whole, "a whole number"),
    "share": (_number, "a number"),
    "batch": (lambda value: _whole(value) or value == "auto", 'a whole number or "auto"'),
    "shots": (_shots, 'a list of whole numbers and "all"'),
    "truth": (lambda value: isinstance(value, bool), "true or false"),
}
_OWN = {
    "experiment": ("kind", "output"),
    "data": ("source",),
}
#: Tables and keys: those of an experiment alone, and the options that experiments have.
TABLES: dict[str, dict[str, Option]] = {
    table: {name: Option(name, "", check_text) for name in _OWN.get(table, ())}
    | {option.name: option for option in OPTIONS.values() if option.table == table}
    for table in ("experiment", "data", "network", "methods", "draws", "run")
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
            fits, expected = FORMS[known[key].form]
            if not fits(value):
                raise InputError(f"{place}: [{table}] {key} must be {expected}, got {_said(value)}")


def _said(value: Any) -> str:
    """Return a value as a message shows it: shortened if it is long, whatever its type."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > LARGEST:
        return f"a number beyond {LARGEST}"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
