"""Before rows are trusted: an engine is compared with plain fp32 on the first of the real images.

What came out is kept beside the rows of the space, so that the next run need not ask again. An engine that
fails, or cannot run the network at all, gives way to the next of the embedder's fallbacks, and that is said.
In int8 the network is calibrated first, unless the cache has a calibration for it.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.cache import Cache, SpaceStore
from featx.cache.notes import CALIBRATION, recall, remember
from featx.durable import replacing
from featx.errors import CacheError, EngineError, ImageError, InputError
from featx.extraction.embedder import Embedder
from featx.extraction.shelf import Shelf
from featx.extraction.units import identify
from featx.extraction.warm import Key, engine_key, take
from featx.machine import cpu_name

#: Images that tell where the rows of a collection are.
_SAMPLE = 32

#: Fewer new images than this are computed in less time than another comparison takes.
_WORTH_COMPARING = 64

#: The note that says from how many images a calibration is.
_CALIBRATED = "calibration"


@dataclass
class Trusted:
    """An engine whose rows can be trusted.

    Attributes
    ----------
    embedder : Embedder
        Whose engine it is: the one asked for, or one of its fallbacks.
    engine : Engine
    parity : dict
        `featx.engines.Parity` as plain data; empty for an engine that needs no comparison.
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


def known_outcome(
    cache: Cache, embedder: Embedder, images: Sequence[Any], digests: Sequence[bytes | None]
) -> Embedder:
    """The embedder that earlier runs on these images ended with, when they were asked for this one.

    Where an engine was refused, images that already have rows in the space of what took its place go on in
    that space; others get a comparison of their own. For int8, the embedder with the calibration that the
    cache has, if it has one.

    Parameters
    ----------
    cache : Cache
    embedder : Embedder
    images : sequence of sources
    digests : sequence of bytes or None
        Of the images, as far as they are known.

    Warns
    -----
    RuntimeWarning
        When another embedder takes its place.
    """
    if embedder.needs_calibration:
        settled = _calibrated_before(cache, embedder, images, digests)
        if settled is None:
            return embedder
        embedder = settled
    if embedder.plan is None or not _outcome(cache, embedder).get("refused"):
        return embedder
    sample = _sample(images, digests)
    if _rows(cache, embedder, sample) == len(sample):
        return embedder
    for other in embedder.fallbacks:
        if not _outcome(cache, other).get("refused"):
            if other.space == embedder.space or not _rows(cache, other, sample):
                break
            warnings.warn(
                f"{embedder.plan} was too far from plain fp32 for these images before; using {other.plan}",
                RuntimeWarning,
                stacklevel=3,
            )
            return other
    return embedder


def _sample(images: Sequence[Any], digests: Sequence[bytes | None]) -> list[bytes | None]:
    """What the first images are, by their content."""
    return [digests[i] or identify(images[i]).digest for i in range(min(len(images), _SAMPLE))]


def _rows(cache: Cache, embedder: Embedder, digests: Sequence[bytes | None]) -> int:
    """How many of some images have a row in an embedder's space."""
    return len(digests) - len(Shelf(cache, embedder).missing(digests))


def trusted_engine(
    cache: Cache, embedder: Embedder, images: Sequence[Any], count: int, threads: int | None
) -> Trusted:
    """Build an engine and compare it, falling back until one can be trusted.

    Parameters
    ----------
    cache : Cache
    embedder : Embedder
        With its calibration, if it needs one.
    images : sequence of sources
        That are to be computed; the first readable ones are used.
    count : int
        Rows to be computed in all.
    threads : int or None
        Cores to use.

    Warns
    -----
    RuntimeWarning
        When it falls back, saying why.
    """
    building = comparing = 0.0
    while True:
        outcome: dict[str, Any] = {}
        began = time.perf_counter()
        try:
            key = None if embedder.plan is None else engine_key(embedder, count, threads)
            engine = take(key) if key is not None else None
            if engine is None:
                engine = embedder.make_engine(count, threads)
            building += time.perf_counter() - began
            began = time.perf_counter()
            outcome = _compared(cache, embedder, engine, images)
            comparing += time.perf_counter() - began
            if outcome.get("passed", True):
                return Trusted(embedder, engine, outcome, building, comparing, key)
            reason = outcome["reason"]
        except EngineError as error:
            if not embedder.fallbacks:
                raise
            reason = str(error)
        if not embedder.fallbacks:
            raise EngineError(f"no engine here can be trusted with this network: {reason}")
        after = embedder.fallbacks[0]
        warnings.warn(
            f"{embedder.plan} is not used ({reason}); falling back to {after.plan}",
            RuntimeWarning,
            stacklevel=2,
        )
        embedder = after


def _compared(cache: Cache, embedder: Embedder, engine: Any, images: Sequence[Any]) -> dict[str, Any]:
    """How near an engine comes to plain fp32 on the first of `images`; empty where that is no question.

    A comparison on few images is repeated with more before an engine is refused, and one that has passed
    is not asked again for a handful, whose outcome is then said to be inherited.
    """
    from featx.engines import compare
    from featx.engines.parity import FEW, MANY

    if embedder.plan is None or embedder.plan.engine == "eager" or embedder.trusted:
        return {}
    before = _outcome(cache, embedder, engine.version)
    if before.get("passed") and len(images) < _WORTH_COMPARING:
        return before | {"inherited": True}
    pixels = first_pixels(embedder, images, FEW)
    if not len(pixels):
        return {}  # nothing to be computed either
    parity = compare(engine, embedder.backbone, pixels)
    if not parity.passed and len(images) > FEW:
        parity = compare(engine, embedder.backbone, first_pixels(embedder, images, MANY))
    if not parity.images:
        return {}  # the network gives nothing that could be compared, which its rows will tell
    outcome = parity.to_dict()
    _note(cache.space(embedder.space, dim=embedder.dims[0]), embedder, engine.version, outcome)
    return outcome | {"reason": str(parity)}


def first_pixels(embedder: Embedder, images: Sequence[Any], most: int) -> np.ndarray:
    """The first images that can be read, preprocessed: uint8 (n, h, w, 3), n at most `most`."""
    found: list[np.ndarray] = []
    seen: set[bytes] = set()
    for image in images:
        try:
            content = image.read()
            if content.digest in seen:
                continue
            seen.add(content.digest)
            found.append(content.resized(embedder.preprocessing))
        except ImageError:
            continue  # named when its turn comes
        if len(found) == most:
            break
    return np.stack(found) if found else np.empty((0, *embedder.preprocessing.size, 3), np.uint8)


def calibrate(cache: Cache, embedder: Embedder, images: Sequence[Any]) -> Embedder:
    """Find the scales of int8 on the first of `images`, and keep them with their space.

    Raises
    ------
    InputError
        When no image can be read, or the network cannot be quantised.
    CacheError
        When the calibration cannot be kept.
    """
    from featx.engines.int8 import IMAGES
    from featx.engines.int8 import calibrate as quantise

    pixels = first_pixels(embedder, images, IMAGES)
    if not len(pixels):
        raise InputError("precision 'int8': none of the images can be read, and the network needs some")
    calibration = quantise(embedder.backbone, pixels)
    settled = embedder.calibrated(calibration)
    store = cache.space(settled.space, dim=settled.dims[0])
    store.prepare()
    remember(store.path, _CALIBRATED, {"images": len(pixels)})
    try:
        with replacing(store.path / CALIBRATION, parts=store.path / "tmp") as file:
            file.write(calibration)
    except OSError as error:
        raise CacheError(f"cannot write to the cache {cache.root}: {error.strerror or error}") from error
    return settled


def _calibrated_before(
    cache: Cache, embedder: Embedder, images: Sequence[Any], digests: Sequence[bytes | None]
) -> Embedder | None:
    """The embedder with the calibration of an earlier run, if there is one that suits these images.

    One under which they have rows already; else the one from most images, unless these are more.
    """
    from featx.engines.int8 import IMAGES

    found = list(_calibrated(cache, embedder))
    if not found:
        return None
    sample = _sample(images, digests)
    ranked = [(_rows(cache, settled, sample), count, settled) for count, settled in found]
    rows, count, settled = max(ranked, key=lambda entry: entry[:2])
    return settled if rows or count >= min(IMAGES, len(images)) else None


def _calibrated(cache: Cache, embedder: Embedder) -> Iterator[tuple[int, Embedder]]:
    """Each calibration that the cache has for a backbone and preprocessing, and from how many images."""
    wanted = embedder.space.fields
    for space in cache.spaces():
        fields = dict(space.fields)
        if fields.pop("calibration", None) is None or fields != wanted:
            continue
        folder = cache.space(space).path
        try:
            data = (folder / CALIBRATION).read_bytes()
        except OSError:
            continue
        if hashlib.sha256(data).hexdigest() == space.fields["calibration"]:
            count = recall(folder, _CALIBRATED).get("images")
            yield (count if isinstance(count, int) else 0), embedder.calibrated(data)


def _outcome(cache: Cache, embedder: Embedder, version: str | None = None) -> dict[str, Any]:
    """What is known of this embedder's plan on this kind of machine, by this version if one is given."""
    notes = recall(cache.space(embedder.space).path, "parity")
    found = notes.get(_name(embedder))
    if not isinstance(found, dict) or (version is not None and found.get("version") != version):
        return {}
    return found


def _note(store: SpaceStore, embedder: Embedder, version: str, outcome: dict[str, Any]) -> None:
    try:
        store.prepare()
    except CacheError:
        return  # it is said when rows are committed, and a cache that is only read needs no notes
    notes = recall(store.path, "parity")
    name = _name(embedder)
    before = notes.get(name)
    # For some images, once: theirs are in another space.
    refused = not outcome["passed"] or (isinstance(before, dict) and bool(before.get("refused")))
    remember(store.path, "parity", notes | {name: outcome | {"version": version, "refused": refused}})


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
