"""The scales of int8: measured on the first images of a collection, kept with the space that they make."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from featx.cache import Cache
from featx.cache.sidecar import CALIBRATION, read_calibration, read_note, write_note
from featx.errors import ImageError, InputError
from featx.extraction.chunks import identify
from featx.extraction.embedder import Embedder
from featx.extraction.row_store import RowStore

#: Images that tell where the rows of a collection are.
_SAMPLE = 32

#: The note that says from how many images a calibration is.
_CALIBRATED = "calibration"


def first_pixels(embedder: Embedder, images: Sequence[Any], most: int) -> np.ndarray:
    """Return the first images that can be read, preprocessed: uint8 (n, h, w, 3), n at most `most`."""
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
    write_note(store.path, _CALIBRATED, {"images": len(pixels)})
    store.publisher.put(store.path / CALIBRATION, calibration)
    return settled


def calibrated_before(
    cache: Cache, embedder: Embedder, images: Sequence[Any], digests: Sequence[bytes | None]
) -> Embedder | None:
    """Return the embedder with the calibration of an earlier run, if there is one that suits these images.

    One under which they have rows already; else the one from most images, unless these are more.
    """
    from featx.engines.int8 import IMAGES

    found = list(_calibrated(cache, embedder))
    if not found:
        return None
    sample = [digests[i] or identify(images[i]).digest for i in range(min(len(images), _SAMPLE))]
    ranked = [(_rows(cache, settled, sample), count, settled) for count, settled in found]
    rows, count, settled = max(ranked, key=lambda entry: entry[:2])
    return settled if rows or count >= min(IMAGES, len(images)) else None


def _rows(cache: Cache, embedder: Embedder, digests: Sequence[bytes | None]) -> int:
    """How many of some images have a row in an embedder's space."""
    return len(digests) - len(RowStore(cache, embedder).missing(digests))


def _calibrated(cache: Cache, embedder: Embedder) -> Iterator[tuple[int, Embedder]]:
    """Each calibration that the cache has for a backbone and preprocessing, and from how many images."""
    wanted = embedder.space.fields
    for space in cache.spaces():
        fields = dict(space.fields)
        if fields.pop("calibration", None) is None or fields != wanted:
            continue
        folder = cache.space(space).path
        data = read_calibration(folder)
        if data is not None and hashlib.sha256(data).hexdigest() == space.fields["calibration"]:
            count = read_note(folder, _CALIBRATED).get("images")
            yield (count if isinstance(count, int) else 0), embedder.calibrated(data)
