"""Rows are found in the cache without the network that made them."""

from __future__ import annotations

import time

import numpy as np
import pytest
from pictures import BACKBONE, QUICK, write_photos

import featx
from featx.cache import Cache
from featx.extraction import all_cached, backbone_of, find_cached_rows, network_embedder
from featx.extraction.chunks import identify
from featx.options import Network, Run


@pytest.fixture
def extracted(tmp_path):
    photos = write_photos(tmp_path / "photos", 2)
    options = {**QUICK, "cache": tmp_path / "cache"}
    return featx.load_dataset(photos), featx.extract(photos, **options), options


def test_rows_are_found_as_long_as_none_is_missing(extracted, tmp_path):
    dataset, features, options = extracted
    embedder = network_embedder(backbone_of(BACKBONE, Network.of(options)), Run.of(options))
    cache = options["cache"]
    rows = features.embeddings
    # The files are so new that they have to be read for their digests; then some of these are known.
    np.testing.assert_array_equal(find_cached_rows(dataset.images, features.space, cache), rows)
    assert all_cached(dataset.images, embedder, cache)
    known = [(image.stat_key(), identify(image).digest) for image in dataset.images[::2]]
    Cache(cache).stat_cache.store(known, read_ns=time.time_ns() + 10**12)
    np.testing.assert_array_equal(find_cached_rows(dataset.images, features.space, cache), rows)
    assert all_cached(dataset.images, embedder, cache)
    # An image that cannot be read has no row, and needs none.
    broken = tmp_path / "photos" / "sky" / "broken.png"
    broken.touch()
    images = featx.load_dataset(tmp_path / "photos").images
    assert find_cached_rows(images, features.space, cache) is None
    assert all_cached(images, embedder, cache)
    write_photos(tmp_path / "more", 3)
    more = featx.load_dataset(tmp_path / "more").images
    assert find_cached_rows(more, features.space, cache) is None
    assert not all_cached(more, embedder, cache)
    assert find_cached_rows(dataset.images, features.space, tmp_path / "empty") is None
