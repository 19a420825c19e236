"""The kinds of experiment: the study that each runs, its data, and the options that it chose by itself.

A new study is one entry of `KINDS`: its options are those of its function that `featx.options` puts into a
table of experiment files.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from featx.options import OF_NETWORK, OPTIONS, is_features, modes_in
from featx.results.methods import ENSEMBLE, MODE_PREFIX
from featx.studies.comparison import compare, compare_detectors, compare_domains, find_anomalies
from featx.studies.curves import learning_curve
from featx.studies.drift import similarity
from featx.studies.ranking import rank

#: Options without effect where every input is a features file.
_NO_NETWORK = (*OF_NETWORK, "backbone", "backbones")


@dataclass(frozen=True)
class Kind:
    """A kind of experiment.

    Attributes
    ----------
    function : callable
        The study. With a keyword `resume`, it keeps finished work in the folder of the results.
    data : mapping of str to str
        Keys of the table ``[data]``, and the parameter of `function` that each is.
    settled : callable
        From the result, the options that the study chose where they were not given.
    name_data : callable
        Write the sources of the data into the result.
    """

    function: Callable[..., Any]
    data: Mapping[str, str]
    settled: Callable[[Any], dict[str, Any]] = lambda result: {}
    name_data: Callable[[Any, list[str]], None] = lambda result, sources: None

    @cached_property
    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(self.function).parameters

    @property
    def required(self) -> list[str]:
        """The keys of ``[data]`` that must be given."""
        return [
            key
            for key, name in self.data.items()
            if self._parameters[name].default is inspect.Parameter.empty
        ]

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """The options of this kind and their defaults."""
        own = [name for name in self._parameters if name not in self.data.values()]
        return {name: self._parameters[name].default for name in own if name in _IN_FILES}

    @property
    def resumes(self) -> bool:
        """Whether finished work is kept in the folder of the results."""
        return "resume" in self._parameters

    def complete(self, given: Mapping[str, Any], sources: Sequence[str]) -> dict[str, Any]:
        """Return the options that are given, and the defaults of the others; None is not given.

        Without a network, options of networks that are not given, or are the default, are left out.
        """
        options = {}
        rows_only = all(map(is_features, sources))
        for name, default in self.defaults.items():
            value = default if given.get(name) is None else given[name]
            unused = rows_only and name in _NO_NETWORK and value in (default, OPTIONS[name].default)
            # The word for the default weights is no name of weights.
            if value is None or unused or (name == "weights" and value == OPTIONS["weights"].default):
                continue
            options[name] = list(value) if isinstance(value, tuple) else value
        return options

    def settle(self, result: Any, options: Mapping[str, Any], sources: Sequence[str]) -> dict[str, Any]:
        """Return `options` with what a run chose where they left it open, so that it is not chosen again."""
        found = self.settled(result)
        if not all(map(is_features, sources)):
            found |= _settled_network(result)
        open_to_choice = {name: value for name, value in found.items() if _leaves_open(name, options)}
        kept = {name: value for name, value in open_to_choice.items() if name in self.defaults and value}
        whole = {**options, **kept}
        if "baseline" in kept and set(modes_in(kept["baseline"])) <= {"head"}:
            whole.pop("epochs", None)  # refused where no mode trains the network
        return whole


#: Options that are keys of experiment files.
_IN_FILES = frozenset(option.name for option in OPTIONS.values() if option.table is not None)


def _leaves_open(name: str, options: Mapping[str, Any]) -> bool:
    """Return whether the study chooses this option by itself."""
    given = options.get(name)
    return given is None or given == "auto" or (name == "baseline" and modes_in(given) == ["finetune"])


def _settled_network(result: Any) -> dict[str, Any]:
    """Return precision and weights, where all embeddings have the same."""
    spaces = [space for one in _each_task(result) for space in _spaces(one)]
    found: dict[str, Any] = {}
    precisions = {space.get("precision") for space in spaces}
    if len(precisions) == 1:
        (found["precision"],) = precisions
    networks = [space.get("backbone") or {} for space in spaces]
    names = {network.get("weights") for network in networks}
    # Other libraries have the weights in the name of the network.
    if len(names) == 1 and all(network.get("source") == "torchvision" for network in networks):
        (found["weights"],) = names
    return found


def _spaces(result: Any) -> list[Mapping[str, Any]]:
    found = getattr(result, "spaces", None)
    if found is None:
        found = [getattr(result, "space", None) or {}]
    return [space for space in (found.values() if isinstance(found, Mapping) else found) if space]


def _each_task(result: Any) -> list[Any]:
    return list(result.tasks.values()) if hasattr(result, "tasks") else [result]


def _settled_methods(result: Any) -> dict[str, Any]:
    """Return the probes and the modes of fine-tuning that a comparison ran."""
    found: dict[str, list[str]] = {"classifiers": [], "regressors": [], "baseline": []}
    for task in _each_task(result):
        for method in task.methods:
            if method.kind == "finetune":
                found["baseline"].append(method.name.removeprefix(MODE_PREFIX))
            elif _is_probe(method):
                found["regressors" if task.kind == "number" else "classifiers"].append(method.name)
    return {name: list(dict.fromkeys(names)) for name, names in found.items()} | (
        {} if found["baseline"] else {"baseline": "none"}
    )


def _is_probe(method: Any) -> bool:
    return method.kind == "probe" and method.name != ENSEMBLE


def _settled_curve(result: Any) -> dict[str, Any]:
    return {
        "shots": [level.shots for level in result.levels],
        "seeds": len({draw.draw for draw in result.draws}),
        "classifiers": list(dict.fromkeys(m.name for m in result.methods if _is_probe(m))),
    }


def _name_sets(result: Any, sources: list[str]) -> None:
    for one, source in zip(result.sets, sources, strict=True):
        one["source"] = source


def _name_domains(result: Any, sources: list[str]) -> None:
    result.source["source"], result.target["source"] = sources


#: Each kind by its name in experiment files.
KINDS: dict[str, Kind] = {
    "compare": Kind(compare, {"source": "data"}, _settled_methods),
    "curve": Kind(learning_curve, {"source": "data"}, _settled_curve),
    "rank": Kind(rank, {"source": "data"}),
    "similarity": Kind(similarity, {"a": "a", "b": "b"}, name_data=_name_sets),
    "anomaly": Kind(
        compare_detectors,
        {"source": "data", "test": "test"},
        lambda result: {"detectors": [detector.name for detector in result.detectors]},
        lambda result, sources: result.dataset.update(source=sources),
    ),
    "scores": Kind(
        find_anomalies,
        {"source": "normal", "test": "images"},
        name_data=lambda result, sources: result.dataset.update(source=sources),
    ),
    "domains": Kind(
        compare_domains,
        {"source": "source", "target_domain": "target"},
        lambda result: {"adaptations": [m.name for m in result.methods if m.kind == "adapted"]},
        _name_domains,
    ),
}
