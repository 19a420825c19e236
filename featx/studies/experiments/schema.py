"""The schema of experiment files: tables, keys, and the type of each value.

::

    [experiment]
    kind = "curve"                 # or "compare"
    output = "out"                 # folder of the results, inside this file's folder (elsewhere: --force)

    [data]
    source = "photos"              # as DATA on the command line; a path is relative to this file
    # label, target, test_size, limit, on_error, split_by ("folder" or "none")

    [network]
    backbones = ["mobilenet_v2"]
    # weights (also "random"), layer, pooling, image_size, precision

    [methods]
    classifiers = ["logreg", "lda"]
    baseline = ["head", "last"]    # or "none"
    # epochs, checks; compare: regressors, ensemble; curve: protocol, augment

    [draws]
    seeds = 10                     # compare: number of splits; curve: number of draws
    shots = [1, 2, 5, 10, "all"]   # curve only

    [run]
    seed = 0
    # engine, device, batch_size, cache, n_jobs; compare: n_boot

The keys are parameters of `featx.compare` and `featx.learning_curve`, with the same defaults; only ``kind``,
``output`` and ``source`` are required.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from featx.errors import InputError, UnknownName
from featx.options import KINDS, OPTIONS, Option
from featx.options.checks import check_text

#: No option takes a larger number.
LARGEST = 2**31 - 1


def _text(value: Any) -> bool:
    # No path or name has a null byte in it.
    return isinstance(value, str) and "\0" not in value


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def _texts(value: Any) -> bool:
    return _text(value) or (isinstance(value, list) and bool(value) and all(map(_text, value)))


def _shots(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(_whole(k) or k == "all" for k in value)


#: For each form of option, the check of a value and what it expects in words.
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
#: Tables and their keys: those of experiments alone, and the options of `featx.options` in experiments.
TABLES: dict[str, dict[str, Option]] = {
    table: {name: Option(name, "", check_text) for name in _OWN.get(table, ())}
    | {option.name: option for option in OPTIONS.values() if option.table == table}
    for table in ("experiment", "data", "network", "methods", "draws", "run")
}
REQUIRED = (("experiment", "kind"), ("experiment", "output"), ("data", "source"))


def check_content(content: Mapping[str, Any], place: str) -> None:
    """Refuse a parsed file that does not follow the schema, naming file (`place`), table and key."""
    for table, keys in content.items():
        if table not in TABLES:
            raise InputError(f"{place}: {UnknownName('table', table, TABLES)}")
        if not isinstance(keys, Mapping):
            raise InputError(f"{place}: {table} must be a table, [{table}], got {_show(keys)}")
        # Unknown keys come before missing ones: a mistyped key is both.
        for key in keys:
            if key not in TABLES[table]:
                raise InputError(f"{place}: [{table}] {UnknownName('key', key, TABLES[table])}")
    for table, key in REQUIRED:
        if key not in content.get(table, {}):
            raise InputError(f"{place}: [{table}] needs the key {key!r}")
    kind = content["experiment"]["kind"]
    if kind not in KINDS:
        named = kind if isinstance(kind, str) else _show(kind)
        raise InputError(f"{place}: [experiment] kind: {UnknownName('kind', named, KINDS)}")
    for table, keys in content.items():
        for key, value in keys.items():
            known = TABLES[table]
            if kind not in known[key].kinds:
                only = " and ".join(known[key].kinds)
                raise InputError(f"{place}: [{table}] {key} is for kind {only}; this is {kind}")
            fits, expected = FORMS[known[key].form]
            if not fits(value):
                raise InputError(f"{place}: [{table}] {key} must be {expected}, got {_show(value)}")


def _show(value: Any) -> str:
    """Return the representation of a value, shortened for a message."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > LARGEST:
        return f"a number beyond {LARGEST}"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
