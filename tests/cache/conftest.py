"""Small spaces, digests and rows for the cache's tests."""

from __future__ import annotations

import numpy as np
import pytest

from featx.cache import Cache, Space, digest_bytes

DIM = 12


@pytest.fixture
def space():
    return Space({"backbone": "tiny", "preprocessing": {"interpolation": "bilinear", "size": [4, 4]}})


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache")


@pytest.fixture
def store(cache, space):
    return cache.space(space)


@pytest.fixture
def batch():
    """``batch(start, stop)`` gives digests and the rows that belong to them."""

    def make(start: int, stop: int, dim: int = DIM) -> tuple[list[bytes], np.ndarray]:
        digests = [digest_bytes(b"image %d" % i) for i in range(start, stop)]
        rows = [np.random.default_rng(i).standard_normal(dim, dtype=np.float32) for i in range(start, stop)]
        return digests, np.array(rows, dtype=np.float32).reshape(-1, dim)

    return make
