"""The schema of experiment files: tables, keys, and the type of each value.

::

    [experiment]
    kind = "curve"                 # or "compare", "rank", "similarity", "anomaly", "scores", "domains"
    output = "out"                 # folder of the results, inside this file's folder (elsewhere: --force)

    [data]
    source = "photos"              # as DATA on the command line; a path is relative to this file
    # similarity: a and b; domains: target_domain; scores, and perhaps anomaly: test
    # text, label, target, normal, test_size, limit, on_error, group, split_by ("folder", "group" or "none")

    [network]
    backbones = ["mobilenet_v2"]   # compare, curve and rank; backbone = "..." for the others
    # weights (also "random"), layer, layers, pooling, image_size, precision
    # of texts: max_length, long ("cut" or "mean"), prefix; of audio: window, hop, join

    [methods]
    classifiers = ["logreg", "lda"]
    baseline = ["head", "last"]    # or "none"
    # epochs, checks; compare: regressors, ensemble; curve: protocol, augment; rank: probe
    # anomaly: detectors, contamination; scores: detector, contamination; domains: classifier, adaptations

    [draws]
    seeds = 10                     # compare: number of splits; curve: number of draws
    shots = [1, 2, 5, 10, "all"]   # curve only
    # similarity: most, n_permutations

    [run]
    seed = 0
    # engine, device, batch_size, cache, n_jobs; compare, anomaly, domains: n_boot; similarity: top

The keys are parameters of the studies, with the same defaults: `featx.compare`, `featx.learning_curve`,
`featx.rank`, `featx.similarity`, and in `featx.studies.comparison` `compare_detectors` (anomaly),
`find_anomalies` (scores) and `compare_domains`. Only ``kind``, ``output`` and the data are required. The file
that a run leaves beside its results has the defaults written out, so that a later featx with others repeats
the run as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from featx.errors import InputError, UnknownName
from featx.options import OPTIONS, Option
from featx.options.checks import check_text
from featx.results.output_paths import DATA_KEYS
from featx.studies.experiments.kinds import KINDS
from featx.terminal import shortened

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
    "seconds": (_number, "a number"),
    "batch": (lambda value: _whole(value) or value == "auto", 'a whole number or "auto"'),
    "shots": (_shots, 'a list of whole numbers and "all"'),
    "truth": (lambda value: isinstance(value, bool), "true or false"),
}
_OWN = {
    "experiment": ("kind", "output"),
    "data": DATA_KEYS,
}
#: Tables and their keys: those of experiments alone, and the options of `featx.options` in experiments.
TABLES: dict[str, dict[str, Option]] = {
    table: {name: Option(name, "", check_text) for name in _OWN.get(table, ())}
    | {option.name: option for option in OPTIONS.values() if option.table == table}
    for table in ("experiment", "data", "network", "methods", "draws", "run")
}


def check_content(content: Mapping[str, Any], place: str) -> None:
    """Refuse a parsed file that does not follow the schema, naming file (`place`), table and key."""
    for table, keys in content.items():
        if table not in TABLES:
            raise InputError(f"{place}: {UnknownName('table', table, TABLES)}")
        if not isinstance(keys, Mapping):
            raise InputError(f"{place}: {table} must be a table, [{table}], got {_show(keys)}")
        # Unknown keys come before missing ones: a mistyped key is both.
        for key in keys:
            if key == "on":
                raise InputError(
                    f"{place}: [{table}] on: whoever runs an experiment chooses the cluster; leave it out, "
                    "and give --on to featx run"
                )
            if key not in TABLES[table]:
                raise InputError(f"{place}: [{table}] {UnknownName('key', key, TABLES[table])}")
    for key in _OWN["experiment"]:
        _require(content, "experiment", key, place)
    name = content["experiment"]["kind"]
    if not isinstance(name, str) or name not in KINDS:
        named = name if isinstance(name, str) else _show(name)
        raise InputError(f"{place}: [experiment] kind: {UnknownName('kind', named, KINDS)}")
    for key in KINDS[name].required:
        _require(content, "data", key, place)
    for table, keys in content.items():
        for key, value in keys.items():
            if table != "experiment" and not _has(name, key):
                *others, last = [kind for kind in KINDS if _has(kind, key)]
                only = f"{', '.join(others)} and {last}" if others else last
                raise InputError(f"{place}: [{table}] {key} is for kind {only}; this is {name}")
            fits, expected = FORMS[TABLES[table][key].form]
            if not fits(value):
                raise InputError(f"{place}: [{table}] {key} must be {expected}, got {_show(value)}")


def _has(kind: str, key: str) -> bool:
    """Return whether experiments of this kind have this key."""
    return key in KINDS[kind].data or key in KINDS[kind].defaults


def _require(content: Mapping[str, Any], table: str, key: str, place: str) -> None:
    if key not in content.get(table, {}):
        raise InputError(f"{place}: [{table}] needs the key {key!r}")


def _show(value: Any) -> str:
    """Return the representation of a value, shortened for a message."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > LARGEST:
        return f"a number beyond {LARGEST}"
    return shortened(repr(value), 80)
