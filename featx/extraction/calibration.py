"""The calibration of int8: scales measured on the first inputs of a collection, kept with their space."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from featx.cache import Cache
from featx.cache.sidecar import CALIBRATION, read_calibration, read_note, write_note
from featx.errors import InputError, SourceError
from featx.extraction.chunks import identify
from featx.extraction.embedder import Embedder
from featx.extraction.row_store import RowStore
from featx.inputs import Preparation, Source

#: Inputs that are looked up to find the space that has the rows of a collection.
_SAMPLE = 32

#: The note of the number of inputs that a calibration was measured on; its key predates inputs beside images.
_CALIBRATED, _COUNT = "calibration", "images"


def prepare_first(preparation: Preparation, sources: Iterable[Source], most: int) -> np.ndarray | None:
    """Prepare the first `most` different inputs that can be read; None if there are none.

    They are inputs of the network: of an input in pieces, each piece.
    """
    found: list[np.ndarray] = []
    seen: set[bytes] = set()
    for source in sources:
        try:
            content = source.read()
            if content.digest in seen:
                continue
            seen.add(content.digest)
            prepared = preparation.prepare(content)
            found += list(prepared) if preparation.in_pieces else [prepared]
        except SourceError:
            continue  # reported when its row is computed
        if len(found) >= most:
            break
    return preparation.collate(found[:most]) if found else None


def calibrate(cache: Cache, embedder: Embedder, sources: Sequence[Source]) -> Embedder:
    """Measure the scales of int8 on the first of `sources`, store them, and return the calibrated embedder.

    `InputError` if no input can be read or the network cannot be quantised; `CacheError` if the calibration
    cannot be stored.
    """
    from featx.engines.int8 import IMAGES
    from featx.engines.int8 import calibrate as quantise

    batch = prepare_first(embedder.preparation, sources, IMAGES)
    if batch is None:
        kind = embedder.preparation.kind
        raise InputError(f"precision 'int8': none of the {kind}s can be read, and calibration needs some")
    calibration = quantise(embedder.backbone, batch)
    calibrated = embedder.calibrated(calibration)
    store = cache.space(calibrated.space, dim=calibrated.dims[0])
    store.prepare()
    write_note(store.path, _CALIBRATED, {_COUNT: len(batch)})
    store.publisher.put(store.path / CALIBRATION, calibration)
    return calibrated


def find_calibrated(
    cache: Cache, embedder: Embedder, sources: Sequence[Source], digests: Sequence[bytes | None] | None
) -> Embedder | None:
    """Return `embedder` with the calibration of an earlier run that suits these inputs, or None.

    The calibration with most rows of these inputs is taken; without such rows, the one measured on most
    inputs, unless there are more inputs now.
    """
    from featx.engines.int8 import IMAGES

    found = list(_calibrated_embedders(cache, embedder))
    if not found:
        return None
    sample = [
        (digests[i] if digests is not None else None) or identify(sources[i]).digest
        for i in range(min(len(sources), _SAMPLE))
    ]
    ranked = [(_count_rows(cache, calibrated, sample), count, calibrated) for count, calibrated in found]
    rows, count, calibrated = max(ranked, key=lambda entry: entry[:2])
    return calibrated if rows or count >= min(IMAGES, len(sources)) else None


def _count_rows(cache: Cache, embedder: Embedder, digests: Sequence[bytes | None]) -> int:
    return len(digests) - len(RowStore(cache, embedder).missing(digests))


def _calibrated_embedders(cache: Cache, embedder: Embedder) -> Iterator[tuple[int, Embedder]]:
    """Yield `embedder` with each calibration in the cache, after the number of inputs behind it."""
    wanted = embedder.space.fields
    for space in cache.spaces():
        fields = dict(space.fields)
        if fields.pop("calibration", None) is None or fields != wanted:
            continue
        folder = cache.space(space).path
        data = read_calibration(folder)
        if data is not None and hashlib.sha256(data).hexdigest() == space.fields["calibration"]:
            count = read_note(folder, _CALIBRATED).get(_COUNT)
            yield (count if isinstance(count, int) else 0), embedder.calibrated(data)
