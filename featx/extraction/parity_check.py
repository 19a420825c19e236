"""The parity check: whether an engine's rows are near enough to those of the network as it is, in fp32.

It decides once for each space, engine, version of its library and kind of machine, on images that featx makes
itself (`reference_images`). The decision is kept beside the rows, and later calls follow it without building
anything. So the space in which an image has its row depends on the network and the machine alone, and never
on what other images are extracted with it or before it. An engine that is refused, or cannot run the network
at all, gives way to the next of the embedder's fallbacks, and that is said.

A run of some size is also compared on the first of its own images. What comes out is a finding and no
decision: it is in the result, and a warning names the remedy where these images suffer more than others. It
is kept for each collection, and not repeated.

The space of int8 belongs to the images that the network was calibrated on (`calibration`), so there the
decision is made on these.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from featx.cache import Cache
from featx.cache.sidecar import read_note, write_note
from featx.errors import CacheError, EngineError
from featx.extraction.calibration import calibrated_before, first_pixels
from featx.extraction.chunks import identify
from featx.extraction.embedder import Embedder
from featx.extraction.reuse import Key, engine_key, take_engine
from featx.inputs.image import reference_images
from featx.machine import cpu_name

#: So many new images are worth a comparison of their own; fewer take less time than that.
_WORTH_COMPARING = 64

#: Collections of a space whose findings are kept; of more, the oldest are forgotten.
_COLLECTIONS = 64

#: Images that a collection is known by.
_NAMING = 4

#: The note beside a space's rows, and on what a comparison was made.
_NOTE, _REFERENCES, _COLLECTION = "parity", "reference images", "collection"


@dataclass
class CheckedEngine:
    """An engine that passed the parity check.

    Attributes
    ----------
    embedder : Embedder
        Whose engine it is: the one asked for, or one of its fallbacks.
    engine : Engine
    parity : dict
        `featx.engines.Parity` as plain data, and ``on``: ``"reference images"``, or ``"collection"`` where
        the images of this run were compared. Empty for an engine that needs no comparison.
    building, comparing : float
        Seconds that it took to build engines, and to compare them.
    key : tuple or None
        Under which the engine may be given back when the run is over.
    """

    embedder: Embedder
    engine: Any
    parity: dict[str, Any]
    building: float
    comparing: float
    key: Key | None = None


def apply_decisions(
    cache: Cache, embedder: Embedder, images: Sequence[Any], digests: Sequence[bytes | None]
) -> Embedder:
    """Return the embedder that is used in place of `embedder`, as far as kept decisions say.

    Nothing is built for that.

    Parameters
    ----------
    cache : Cache
    embedder : Embedder
        In int8, it gets the calibration that the cache has for these images, if it has one.
    images : sequence of sources
    digests : sequence of bytes or None
        Of the images, as far as they are known.

    Warns
    -----
    RuntimeWarning
        When another embedder takes its place, saying why.
    """
    if embedder.needs_calibration:
        calibrated = calibrated_before(cache, embedder, images, digests)
        if calibrated is None:
            return embedder
        embedder = calibrated
    while embedder.fallbacks and (reason := _refusal(cache, embedder)) is not None:
        embedder = _next(embedder, reason)
    return embedder


def check_engine(
    cache: Cache, embedder: Embedder, images: Sequence[Any], new: Sequence[int], threads: int | None
) -> CheckedEngine:
    """Build an engine and check it, falling back until one passes.

    Parameters
    ----------
    cache : Cache
    embedder : Embedder
        With its calibration, if it needs one.
    images : sequence of sources
    new : sequence of int
        Positions of those that are to be computed.
    threads : int or None
        Cores to use.

    Warns
    -----
    RuntimeWarning
        When it falls back, saying why; and when these images suffer from reduced precision more than others.
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
                decision = _decision(cache, embedder, engine, images, new)
            if decision.get("passed", True):
                finding = _finding(cache, embedder, engine, images, new) if decision else {}
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
    """What takes the place of an embedder, with a warning."""
    after = embedder.fallbacks[0]
    warnings.warn(
        f"{embedder.plan} is not used ({reason}); falling back to {after.plan}", RuntimeWarning, stacklevel=4
    )
    return after


def _decision(
    cache: Cache, embedder: Embedder, engine: Any, images: Sequence[Any], new: Sequence[int]
) -> dict[str, Any]:
    """Whether the rows are used, as was kept or is found now; empty where nothing can be compared."""
    kept = _kept(cache, embedder, engine.version)
    if kept:
        return _told(kept) | {"inherited": True}
    if embedder.calibration:  # scales that were measured on some images suit no others
        decision = _compared(embedder, engine, [images[i] for i in new])
    else:
        decision = _compared(embedder, engine)
    if not decision:
        return {}  # the network gives nothing finite, which its rows will tell
    # Of two that decide at once, one is followed.
    kept = _kept(cache, embedder, engine.version)
    if not kept:
        kept = decision | {"version": engine.version, "references": reference_images.VERSION}
        if embedder.calibration:
            kept["collections"] = {_name_of(images): decision}
        _keep(cache, embedder, kept)
    return _told(kept)


def _finding(
    cache: Cache, embedder: Embedder, engine: Any, images: Sequence[Any], new: Sequence[int]
) -> dict[str, Any]:
    """How near the rows of these images come to plain fp32; empty for a handful of new ones.

    Warns
    -----
    RuntimeWarning
        When that is farther than the parity check allows.
    """
    if len(new) < _WORTH_COMPARING:
        return {}
    kept = _kept(cache, embedder, engine.version)
    collections = kept.get("collections")
    collections = dict(collections) if isinstance(collections, dict) else {}
    name = _name_of(images)
    finding = collections.get(name)
    if isinstance(finding, dict) and isinstance(finding.get("passed"), bool):
        finding = _told(finding) | {"inherited": True}
    else:
        finding = _compared(embedder, engine, [images[i] for i in new])
        if not finding:
            return {}
        collections[name] = finding
        if kept:
            newest = dict(list(collections.items())[-_COLLECTIONS:])
            _keep(cache, embedder, kept | {"collections": newest})
    if not finding["passed"]:
        remedy = "engine='eager'" if engine.precision == "fp32" else "precision='fp32'"
        warnings.warn(
            f"these images are farther from plain fp32 than most ({finding.get('reason')}); their rows are "
            f"used all the same: for exact ones, ask for {remedy}",
            RuntimeWarning,
            stacklevel=4,
        )
    return finding


def _compared(embedder: Embedder, engine: Any, images: Sequence[Any] | None = None) -> dict[str, Any]:
    """Compare an engine with plain fp32, on `images` or on those that are nobody's; a failure twice."""
    from featx.engines import measure_parity
    from featx.engines.parity import FEW, MANY

    parity = None
    for most in (FEW, MANY):
        if images is None:
            pixels = reference_images.reference_images(most, embedder.preprocessing.size)
        else:
            pixels = first_pixels(embedder, images, most)
        if not len(pixels):
            return {}
        parity = measure_parity(engine, embedder.backbone, pixels)
        if parity.passed or len(pixels) < most:
            break
    if parity is None or not parity.images:
        return {}
    on = _REFERENCES if images is None else _COLLECTION
    return parity.to_dict() | {"on": on, "reason": str(parity)}


def _name_of(images: Sequence[Any]) -> str:
    """A collection by its first images, which stay the same while it grows and when a run is resumed."""
    digests = [identify(image).digest or b"" for image in images[:_NAMING]]
    return hashlib.blake2b(b"".join(digests), digest_size=16).hexdigest()


def _refusal(cache: Cache, embedder: Embedder) -> str | None:
    """Why the embedder's engine was refused, where a decision of the version at hand says that."""
    kept = _kept(cache, embedder)
    if not kept or kept["passed"] or kept["version"] != _version(embedder):
        return None
    return str(kept.get("reason"))


def _kept(cache: Cache, embedder: Embedder, version: str | None = None) -> dict[str, Any]:
    """The decision that is kept for this embedder here, of one version if it is given; empty without one.

    Notes of earlier versions of featx, which compared the images at hand, decide nothing.
    """
    if embedder.plan is None:
        return {}
    note = read_note(cache.space(embedder.space).path, _NOTE).get(_name(embedder))
    if (
        not isinstance(note, dict)
        or note.get("references") != reference_images.VERSION
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
        return  # it is said when rows are committed, and a cache that is only read needs no notes
    write_note(store.path, _NOTE, read_note(store.path, _NOTE) | {_name(embedder): note})


def _told(note: dict[str, Any]) -> dict[str, Any]:
    """What of a note is worth telling with the rows."""
    return {key: value for key, value in note.items() if key not in ("references", "collections")}


def _version(embedder: Embedder) -> str | None:
    """The version of the library that would do the work."""
    from featx.engines.build import engine_version

    assert embedder.plan is not None
    return engine_version(embedder.plan)


def _name(embedder: Embedder) -> str:
    """An engine behaves alike on machines of one kind."""
    plan = embedder.plan
    assert plan is not None
    if plan.device == "cpu":
        return f"{plan} {cpu_name()}{_layers(embedder)}"
    import torch

    name = torch.cuda.get_device_name(plan.device) if plan.device.startswith("cuda") else "mps"
    return f"{plan} {name}{_layers(embedder)}"


def _layers(embedder: Embedder) -> str:
    """Of several layers, the whole set was compared, and what holds for it need not for one of them."""
    names = [space.fields["backbone"]["layer"] for space in embedder.spaces]
    return f" with {', '.join(names)}" if len(names) > 1 else ""
