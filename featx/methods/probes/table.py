"""List the probes of every task: those of this package, and those of other packages.

To add a probe, write a module in the folder ``catalogue`` with a tuple ``PROBES``. Another package adds one
by an entry point of the group ``featx.probes`` that loads a `Probe`. Such a probe is used only when asked for
by name, so that no result depends on what is installed.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace
from importlib import metadata

from featx.errors import InputError, UnknownName
from featx.methods.probes import catalogue
from featx.methods.probes.probe import Probe, TaskName

#: The group of entry points in which other packages offer probes.
ENTRY_POINTS = "featx.probes"

#: Every classifier and reference of the task "classes", by name.
CLASSIFIERS: dict[str, Probe] = {}
#: Every regressor and reference of the task "numbers", by name.
REGRESSORS: dict[str, Probe] = {}

_BY_TASK = {"classes": CLASSIFIERS, "numbers": REGRESSORS}
# The order in which results list the probes; others follow.
_ORDER = {
    "classes": ("logreg", "svm", "rbf-svm", "knn", "lda", "ridge", "forest", "boosting", "naive-bayes"),
    "numbers": ("ridge", "svr", "knn", "forest"),
}
_loaded: set[tuple[str, str]] = set()


def register(probe: Probe) -> None:
    """Add a probe to the table of its task, which must have none of this name yet."""
    if probe.name in _BY_TASK[probe.task]:
        raise InputError(f"there is a probe {probe.name!r} for {probe.task} already; choose another name")
    _BY_TASK[probe.task][probe.name] = probe


def probe_names(task: TaskName = "classes", *, on_request: bool = False) -> tuple[str, ...]:
    """Return the names of the probes of a task, in the order in which results list them.

    Parameters
    ----------
    task : {"classes", "numbers"}, default="classes"
    on_request : bool, default=False
        Include those that are used only when asked for by name: protocols, and the probes of other packages.
    """
    if on_request:
        _load_entry_points()
    probes = _BY_TASK[task].values()
    return tuple(p.name for p in probes if p.kind == "probe" and (on_request or not p.on_request))


def reference_names(task: TaskName = "classes", inputs: str = "image") -> tuple[str, ...]:
    """Return the names of the references of a task, which learn nothing from the embeddings.

    `inputs` is the kind of input (`featx.kinds`): what can be learnt without a network depends on it.
    """
    floors = (probe for probe in _BY_TASK[task].values() if probe.kind == "floor")
    return tuple(probe.name for probe in floors if probe.inputs in (None, inputs))


def get_probe(name: str, task: TaskName = "classes") -> Probe:
    """Return the probe, or reference, of this name.

    Parameters
    ----------
    name : str
        Case and underscores do not matter.
    task : {"classes", "numbers"}, default="classes"

    Raises
    ------
    UnknownName
        There is no such probe; the message offers the nearest names.
    InputError
        There is none in this package, and the probe of another package cannot be loaded.
    """
    known, key = _BY_TASK[task], name.lower().replace("_", "-")
    if key not in known:
        _load_entry_points()
    if key not in known:
        raise UnknownName("classifier" if task == "classes" else "regressor", name, known)
    return known[key]


def _load_entry_points() -> None:
    """Add the probes of installed packages that are not in the table yet."""
    for entry in metadata.entry_points(group=ENTRY_POINTS):
        if (entry.name, entry.value) in _loaded:
            continue
        package = entry.dist.name if entry.dist else "an installed package"
        try:
            probe = entry.load()
            if not isinstance(probe, Probe):
                raise TypeError(f"expected a featx.methods.probes.Probe, got {type(probe).__name__}")
            register(replace(probe, on_request=True))
        except Exception as error:
            raise InputError(
                f"the probe {entry.name!r} ({entry.value}) of {package} cannot be used: {error}; "
                f"repair or uninstall {package}"
            ) from error
        _loaded.add((entry.name, entry.value))


def _read_catalogue() -> list[Probe]:
    def place(probe: Probe) -> int:
        order = _ORDER[probe.task]
        return order.index(probe.name) if probe.name in order else len(order)

    found: list[Probe] = []
    for module in pkgutil.iter_modules(catalogue.__path__):
        found += importlib.import_module(f"{catalogue.__name__}.{module.name}").PROBES
    return sorted(found, key=place)


for _probe in _read_catalogue():
    register(_probe)
