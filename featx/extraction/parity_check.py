"""The parity check: whether an engine's rows are near enough to those of the plain network in fp32.

It decides once for each space, engine, version of its library and kind of machine, on reference inputs. The
decision is stored beside the rows, and later calls follow it without building anything. So the space of a row
depends only on the network and the machine, and never on which inputs are extracted together. An engine that
fails, or cannot run the network, is replaced by the next of the embedder's fallbacks, with a warning.

A run of at least `_WORTH_COMPARING` new inputs is also compared on the first of them. That finding decides
nothing: it is in the result, and a warning names the remedy if these inputs suffer more than the reference
inputs. It is stored for each collection and not repeated.

A space of int8 belongs to the inputs that the network was calibrated on, so there they decide.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.cache import Cache
from featx.cache.sidecar import read_note, write_note
from featx.errors import CacheError, EngineError
from featx.extraction.calibration import find_calibrated, prepare_first
from featx.extraction.chunks import identify
from featx.extraction.embedder import Embedder
from featx.extraction.parts import Part
from featx.extraction.reuse import EngineKey, engine_key, take_engine
from featx.inputs import Source
from featx.machine import cpu_name

#: New inputs from which on a run is compared on its own inputs; fewer take less time than a comparison.
_WORTH_COMPARING = 64

#: Collections of a space whose findings are stored; the oldest are dropped.
_COLLECTIONS = 64

#: A collection is recognised by this many inputs.
_NAMING = 4

#: Kinds of warnings given in this process: several networks with the same fallback need one.
_told: set[tuple[str, ...]] = set()

#: Name of the note beside a space's rows; value of ``on`` for a comparison on the run's own inputs.
_NOTE, _COLLECTION = "parity", "collection"


@dataclass
class CheckedEngine:
    """An engine that passed the parity check.

    Attributes
    ----------
    embedder : Embedder
        The embedder of the engine: the one asked for, or one of its fallbacks.
    engine : Engine
    parity : dict
        `featx.engines.Parity` as plain data, and ``on``: ``"reference images"`` (for images), or
        ``"collection"`` if inputs of this run were compared. Empty for an engine that needs no comparison.
    building, comparing : float
        Seconds for building engines, and for comparing them.
    key : tuple or None
        Key under which the engine may be returned for reuse after the run.
    """

    embedder: Embedder
    engine: Any
    parity: dict[str, Any]
    building: float
    comparing: float
    key: EngineKey | None = None


def apply_decisions(
    cache: Cache, embedder: Embedder, sources: Sequence[Source], digests: Sequence[bytes | None] | None
) -> Embedder:
    """Return `embedder`, or the fallback that stored decisions choose, with a warning; build nothing.

    In int8, it gets the calibration that the cache has for these inputs, if there is one. `digests` are None
    where they are not known; without them, the first inputs are read.
    """
    if embedder.needs_calibration:
        calibrated = find_calibrated(cache, embedder, sources, digests)
        if calibrated is None:
            return embedder
        embedder = calibrated
    asked, reasons = embedder, list[str]()
    while embedder.fallbacks and (reason := _find_refusal(cache, embedder)) is not None:
        reasons.append(reason)
        embedder = embedder.fallbacks[0]
    _say_fallback(asked, embedder, reasons)
    return embedder


def check_engine(
    cache: Cache,
    embedder: Embedder,
    sources: Sequence[Source],
    new: np.ndarray,
    threads: int | None,
    *,
    part: Part | None = None,
) -> CheckedEngine:
    """Build an engine and check it, and fall back, with a warning, until one passes.

    `new` are the positions of the inputs to compute, `threads` the cores to use. A warning also says if these
    inputs suffer from reduced precision more than the reference inputs. Where they are a `part` of a
    collection, what is decided on inputs is decided on the first ones of the whole.
    """
    whole = sources if part is None else part.whole
    building = comparing = 0.0
    asked, reasons = embedder, list[str]()
    while True:
        began = time.perf_counter()
        try:
            key = None if embedder.plan is None else engine_key(embedder, len(new), threads)
            engine = take_engine(key) if key is not None else None
            if engine is None:
                engine = embedder.make_engine(len(new), threads)
            building += time.perf_counter() - began
            began = time.perf_counter()
            decision: dict[str, Any] = {}
            if embedder.plan is not None and embedder.plan.engine != "eager":
                first = new if part is None else np.arange(len(whole))
                decision = _decide(cache, embedder, engine, whole, first)
            if decision.get("passed", True):
                finding: dict[str, Any] = {}
                if decision:
                    finding = _compare_collection(cache, embedder, engine, sources, new, whole)
                comparing += time.perf_counter() - began
                _say_fallback(asked, embedder, reasons)
                return CheckedEngine(embedder, engine, finding or decision, building, comparing, key)
            comparing += time.perf_counter() - began
            reason = decision["reason"]
        except EngineError as error:
            if not embedder.fallbacks:
                raise
            reason = str(error)
        if not embedder.fallbacks:
            raise EngineError(f"no engine here can be trusted with this network: {reason}")
        reasons.append(reason)
        embedder = embedder.fallbacks[0]


def machine_of(embedder: Embedder) -> str:
    """Name what a decision holds for: the engine of a network, and the kind of this machine."""
    return "" if embedder.plan is None else _note_key(embedder)


def require_parity(cache: Cache | None, embedder: Embedder, engine: Any, sources: Sequence[Source]) -> None:
    """Raise `EngineError` if an engine is not near enough to plain fp32 on this machine.

    For a worker that may not choose another engine. The decision is stored if there is a cache.
    """
    if embedder.plan is None or embedder.plan.engine == "eager":
        return
    if cache is not None:
        decision = _decide(cache, embedder, engine, sources, np.arange(len(sources)))
    else:
        decision = _compare(embedder, engine, (lambda: sources) if embedder.calibration else None)
    if not decision.get("passed", True):
        raise EngineError(str(decision["reason"]))


def _say_fallback(asked: Embedder, used: Embedder, reasons: Sequence[str]) -> None:
    """Warn that another engine or precision is used; the first of `reasons` says why `asked` is not."""
    if reasons:
        _warn_once(
            f"{asked.plan} is not used ({reasons[0]}); falling back to {used.plan}, which takes longer; its "
            "rows are at least as exact, so there is nothing to do",
            str(asked.plan),
            str(used.plan),
        )


def _warn_once(message: str, *kind: str) -> None:
    """Warn unless a warning of that kind was given in this process."""
    if kind not in _told:
        _told.add(kind)
        warnings.warn(message, RuntimeWarning, stacklevel=5)


def _decide(
    cache: Cache, embedder: Embedder, engine: Any, sources: Sequence[Source], new: np.ndarray
) -> dict[str, Any]:
    """Return the decision on an engine, stored or made now; empty if nothing can be compared."""
    stored = _read_decision(cache, embedder, engine.version)
    if stored:
        return _result_fields(stored) | {"inherited": True}
    if embedder.calibration:  # the scales suit only the inputs that they were measured on
        decision = _compare(embedder, engine, lambda: (sources[i] for i in new))
    else:
        decision = _compare(embedder, engine)
    if not decision:
        return {}  # the network gives non-finite values; computing its rows will raise
    # If two processes decide at once, both follow the first one.
    stored = _read_decision(cache, embedder, engine.version)
    if not stored:
        stored = decision | {"version": engine.version, "references": embedder.preparation.reference_version}
        if embedder.calibration:
            stored["collections"] = {_collection_name(sources): decision}
        _write_decision(cache, embedder, stored)
    return _result_fields(stored)


def _compare_collection(
    cache: Cache,
    embedder: Embedder,
    engine: Any,
    sources: Sequence[Source],
    new: np.ndarray,
    whole: Sequence[Source],
) -> dict[str, Any]:
    """Compare the rows of these inputs with plain fp32, with a warning if they differ too much.

    Returns the finding on the collection `whole`, stored or made now; empty for few new inputs.
    """
    if len(new) < _WORTH_COMPARING:
        return {}
    stored = _read_decision(cache, embedder, engine.version)
    collections = stored.get("collections")
    collections = dict(collections) if isinstance(collections, dict) else {}
    name = _collection_name(whole)
    finding = collections.get(name)
    if isinstance(finding, dict) and isinstance(finding.get("passed"), bool):
        finding = _result_fields(finding) | {"inherited": True}
    else:
        finding = _compare(embedder, engine, lambda: (sources[i] for i in new))
        if not finding:
            return {}
        collections[name] = finding
        if stored:
            newest = dict(list(collections.items())[-_COLLECTIONS:])
            _write_decision(cache, embedder, stored | {"collections": newest})
    if not finding["passed"]:
        remedy = "engine='eager'" if engine.precision == "fp32" else "precision='fp32'"
        _warn_once(
            f"these {embedder.preparation.kind}s are farther from plain fp32 than most "
            f"({finding.get('reason')}); "
            f"their rows are used all the same: for exact ones, ask for {remedy}",
            "collection",
            str(embedder.plan),
        )
    return finding


def _compare(
    embedder: Embedder, engine: Any, sources: Callable[[], Iterable[Source]] | None = None
) -> dict[str, Any]:
    """Compare an engine with plain fp32 on the reference inputs or `sources()`; on more if it fails."""
    from featx.engines import measure_parity
    from featx.engines.parity import FEW, MANY

    preparation, parity = embedder.preparation, None
    for most in (FEW, MANY):
        if sources is None:
            batch: np.ndarray | None = preparation.reference_batch(most)
        else:
            batch = prepare_first(preparation, sources(), most)
        if batch is None:
            return {}
        parity = measure_parity(engine, embedder.backbone, batch)
        if parity.passed or len(batch) < most:
            break
    if parity is None or not parity.images:
        return {}
    on = f"reference {preparation.kind}s" if sources is None else _COLLECTION
    return parity.to_dict() | {"on": on, "reason": str(parity)}


def _collection_name(sources: Sequence[Source]) -> str:
    """Name a collection by its first inputs, which stay the same when it grows or a run is resumed."""
    digests = [identify(source).digest or b"" for source in sources[:_NAMING]]
    return hashlib.blake2b(b"".join(digests), digest_size=16).hexdigest()


def _find_refusal(cache: Cache, embedder: Embedder) -> str | None:
    """Return why a stored decision for the present version refuses the embedder's engine, or None."""
    stored = _read_decision(cache, embedder)
    if not stored or stored["passed"] or stored["version"] != _version(embedder):
        return None
    return str(stored.get("reason"))


def _read_decision(cache: Cache, embedder: Embedder, version: str | None = None) -> dict[str, Any]:
    """Return the stored decision on this embedder, of `version` if it is given; empty if there is none.

    Notes of earlier versions of featx, which compared the inputs at hand, are ignored.
    """
    if embedder.plan is None:
        return {}
    note = read_note(cache.space(embedder.space).path, _NOTE).get(_note_key(embedder))
    if (
        not isinstance(note, dict)
        or note.get("references") != embedder.preparation.reference_version
        or not isinstance(note.get("passed"), bool)
        or not isinstance(note.get("version"), str)
        or (version is not None and note["version"] != version)
    ):
        return {}
    return note


def _write_decision(cache: Cache, embedder: Embedder, note: dict[str, Any]) -> None:
    store = cache.space(embedder.space, dim=embedder.dims[0])
    try:
        store.prepare()
    except CacheError:
        return  # committing rows will raise it; a cache that is only read needs no notes
    write_note(store.path, _NOTE, read_note(store.path, _NOTE) | {_note_key(embedder): note})


def _result_fields(note: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a note that belong in the result."""
    return {key: value for key, value in note.items() if key not in ("references", "collections")}


def _version(embedder: Embedder) -> str | None:
    """Return the version of the engine's library."""
    from featx.engines.build import engine_version

    assert embedder.plan is not None
    return engine_version(embedder.plan)


def _note_key(embedder: Embedder) -> str:
    """Return the key of a decision: the engine, the kind of machine and, if several, the layers."""
    plan = embedder.plan
    assert plan is not None
    if plan.device == "cpu":
        return f"{plan} {cpu_name()}{_layers(embedder)}"
    import torch

    name = torch.cuda.get_device_name(plan.device) if plan.device.startswith("cuda") else "mps"
    return f"{plan} {name}{_layers(embedder)}"


def _layers(embedder: Embedder) -> str:
    """Name several layers: a decision holds only for all of them together."""
    names = [space.fields["backbone"]["layer"] for space in embedder.spaces]
    return f" with {', '.join(names)}" if len(names) > 1 else ""
