"""The parity check: whether an engine's rows are near enough to those of the plain network in fp32.

It decides once for each space, engine, version of its library and kind of machine, on the reference inputs
that featx makes itself. The decision is kept beside the rows, and later calls follow it without building
anything. So the space of an input's row depends on the network and the machine alone, and never on what else
is extracted with it or was before it. An engine that is refused, or cannot run the network at all, gives way
to the next of the embedder's fallbacks, with a warning.

A run of some size is also compared on the first of its own inputs. That gives a finding and no decision: it
is in the result, and a warning names the remedy where these inputs suffer more than others. It is kept for
each collection, and not repeated.

The space of int8 belongs to the inputs that the network was calibrated on (`calibration`), so there the
decision is made on them.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.cache import Cache
from featx.cache.sidecar import read_note, write_note
from featx.errors import CacheError, EngineError
from featx.extraction.calibration import find_calibrated, prepare_first
from featx.extraction.chunks import identify
from featx.extraction.embedder import Embedder
from featx.extraction.reuse import EngineKey, engine_key, take_engine
from featx.inputs import Source
from featx.machine import cpu_name

#: This many new inputs are worth a comparison of their own; fewer take less time than that.
_WORTH_COMPARING = 64

#: Collections of a space whose findings are kept; of more, the oldest are dropped.
_COLLECTIONS = 64

#: Inputs that a collection is recognised by.
_NAMING = 4

#: The note beside a space's rows, and what a comparison on inputs of the run itself says that it was made on.
_NOTE, _COLLECTION = "parity", "collection"


@dataclass
class CheckedEngine:
    """An engine that passed the parity check.

    Attributes
    ----------
    embedder : Embedder
        Whose engine it is: the one asked for, or one of its fallbacks.
    engine : Engine
    parity : dict
        `featx.engines.Parity` as plain data, and ``on``: ``"reference images"`` (for images), or
        ``"collection"`` where inputs of this run were compared. Empty for an engine that needs no comparison.
    building, comparing : float
        Seconds that it took to build engines, and to compare them.
    key : tuple or None
        Key under which the engine may be returned for reuse when the run is over.
    """

    embedder: Embedder
    engine: Any
    parity: dict[str, Any]
    building: float
    comparing: float
    key: EngineKey | None = None


def apply_decisions(
    cache: Cache, embedder: Embedder, sources: Sequence[Source], digests: Sequence[bytes | None]
) -> Embedder:
    """Return the embedder to use in place of `embedder`, by the decisions that are kept; build nothing.

    Parameters
    ----------
    cache : Cache
    embedder : Embedder
        In int8, it gets the calibration that the cache has for these inputs, if there is one.
    sources : sequence of Source
    digests : sequence of bytes or None
        Digests of the inputs, as far as they are known.

    Warns
    -----
    RuntimeWarning
        When another embedder takes its place, saying why.
    """
    if embedder.needs_calibration:
        calibrated = find_calibrated(cache, embedder, sources, digests)
        if calibrated is None:
            return embedder
        embedder = calibrated
    while embedder.fallbacks and (reason := _refusal(cache, embedder)) is not None:
        embedder = _next(embedder, reason)
    return embedder


def check_engine(
    cache: Cache, embedder: Embedder, sources: Sequence[Source], new: Sequence[int], threads: int | None
) -> CheckedEngine:
    """Build an engine and check it, falling back until one passes.

    Parameters
    ----------
    cache : Cache
    embedder : Embedder
        With its calibration, if it needs one.
    sources : sequence of Source
    new : sequence of int
        Positions of the inputs that are to be computed.
    threads : int or None
        Cores to use.

    Warns
    -----
    RuntimeWarning
        When it falls back, saying why; and when these inputs suffer from reduced precision more than others.
    """
    building = comparing = 0.0
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
                decision = _decision(cache, embedder, engine, sources, new)
            if decision.get("passed", True):
                finding = _finding(cache, embedder, engine, sources, new) if decision else {}
                comparing += time.perf_counter() - began
                return CheckedEngine(embedder, engine, finding or decision, building, comparing, key)
            comparing += time.perf_counter() - began
            reason = decision["reason"]
        except EngineError as error:
            if not embedder.fallbacks:
                raise
            reason = str(error)
        if not embedder.fallbacks:
            raise EngineError(f"no engine here can be trusted with this network: {reason}")
        embedder = _next(embedder, reason)


def _next(embedder: Embedder, reason: str) -> Embedder:
    """Return what takes the place of an embedder, with a warning."""
    after = embedder.fallbacks[0]
    warnings.warn(
        f"{embedder.plan} is not used ({reason}); falling back to {after.plan}", RuntimeWarning, stacklevel=4
    )
    return after


def _decision(
    cache: Cache, embedder: Embedder, engine: Any, sources: Sequence[Source], new: Sequence[int]
) -> dict[str, Any]:
    """Return the decision on an engine, kept or made now; empty where nothing can be compared."""
    kept = _kept(cache, embedder, engine.version)
    if kept:
        return _for_result(kept) | {"inherited": True}
    if embedder.calibration:  # scales that were measured on some inputs suit no others
        decision = _compared(embedder, engine, [sources[i] for i in new])
    else:
        decision = _compared(embedder, engine)
    if not decision:
        return {}  # the network gives nothing finite, as its rows will show
    # Of two processes that decide at once, both follow one.
    kept = _kept(cache, embedder, engine.version)
    if not kept:
        kept = decision | {"version": engine.version, "references": embedder.preparation.reference_version}
        if embedder.calibration:
            kept["collections"] = {_collection_name(sources): decision}
        _keep(cache, embedder, kept)
    return _for_result(kept)


def _finding(
    cache: Cache, embedder: Embedder, engine: Any, sources: Sequence[Source], new: Sequence[int]
) -> dict[str, Any]:
    """Compare the rows of these inputs with plain fp32; empty for a handful of new ones.

    Warns
    -----
    RuntimeWarning
        When they are farther from it than the parity check allows.
    """
    if len(new) < _WORTH_COMPARING:
        return {}
    kept = _kept(cache, embedder, engine.version)
    collections = kept.get("collections")
    collections = dict(collections) if isinstance(collections, dict) else {}
    name = _collection_name(sources)
    finding = collections.get(name)
    if isinstance(finding, dict) and isinstance(finding.get("passed"), bool):
        finding = _for_result(finding) | {"inherited": True}
    else:
        finding = _compared(embedder, engine, [sources[i] for i in new])
        if not finding:
            return {}
        collections[name] = finding
        if kept:
            newest = dict(list(collections.items())[-_COLLECTIONS:])
            _keep(cache, embedder, kept | {"collections": newest})
    if not finding["passed"]:
        remedy = "engine='eager'" if engine.precision == "fp32" else "precision='fp32'"
        warnings.warn(
            f"these {embedder.preparation.kind}s are farther from plain fp32 than most "
            f"({finding.get('reason')}); "
            f"their rows are used all the same: for exact ones, ask for {remedy}",
            RuntimeWarning,
            stacklevel=4,
        )
    return finding


def _compared(embedder: Embedder, engine: Any, sources: Sequence[Source] | None = None) -> dict[str, Any]:
    """Compare an engine with plain fp32, on `sources` or the reference inputs; on more after a failure."""
    from featx.engines import measure_parity
    from featx.engines.parity import FEW, MANY

    preparation, parity = embedder.preparation, None
    for most in (FEW, MANY):
        if sources is None:
            batch: np.ndarray | None = preparation.reference_batch(most)
        else:
            batch = prepare_first(preparation, sources, most)
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
    """Name a collection by its first inputs, which stay while it grows and when a run is resumed."""
    digests = [identify(source).digest or b"" for source in sources[:_NAMING]]
    return hashlib.blake2b(b"".join(digests), digest_size=16).hexdigest()


def _refusal(cache: Cache, embedder: Embedder) -> str | None:
    """Return why the embedder's engine was refused, if a kept decision for the present version says so."""
    kept = _kept(cache, embedder)
    if not kept or kept["passed"] or kept["version"] != _version(embedder):
        return None
    return str(kept.get("reason"))


def _kept(cache: Cache, embedder: Embedder, version: str | None = None) -> dict[str, Any]:
    """Return the decision that is kept for this embedder, of one version if it is given; empty without one.

    Notes of earlier versions of featx, which compared the inputs at hand, decide nothing.
    """
    if embedder.plan is None:
        return {}
    note = read_note(cache.space(embedder.space).path, _NOTE).get(_name(embedder))
    if (
        not isinstance(note, dict)
        or note.get("references") != embedder.preparation.reference_version
        or not isinstance(note.get("passed"), bool)
        or not isinstance(note.get("version"), str)
        or (version is not None and note["version"] != version)
    ):
        return {}
    return note


def _keep(cache: Cache, embedder: Embedder, note: dict[str, Any]) -> None:
    store = cache.space(embedder.space, dim=embedder.dims[0])
    try:
        store.prepare()
    except CacheError:
        return  # committing rows will raise it, and a cache that is only read needs no notes
    write_note(store.path, _NOTE, read_note(store.path, _NOTE) | {_name(embedder): note})


def _for_result(note: dict[str, Any]) -> dict[str, Any]:
    """Return what of a note belongs in the result."""
    return {key: value for key, value in note.items() if key not in ("references", "collections")}


def _version(embedder: Embedder) -> str | None:
    """Return the version of the library that would compute."""
    from featx.engines.build import engine_version

    assert embedder.plan is not None
    return engine_version(embedder.plan)


def _name(embedder: Embedder) -> str:
    """Name an engine and the kind of machine: an engine behaves alike on machines of one kind."""
    plan = embedder.plan
    assert plan is not None
    if plan.device == "cpu":
        return f"{plan} {cpu_name()}{_layers(embedder)}"
    import torch

    name = torch.cuda.get_device_name(plan.device) if plan.device.startswith("cuda") else "mps"
    return f"{plan} {name}{_layers(embedder)}"


def _layers(embedder: Embedder) -> str:
    """Name several layers: a decision holds for the whole set, and not for each of them."""
    names = [space.fields["backbone"]["layer"] for space in embedder.spaces]
    return f" with {', '.join(names)}" if len(names) > 1 else ""
