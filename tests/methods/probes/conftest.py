"""Small made-up embeddings, and every probe fitted on them once."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from featx.methods.probes import fit_probe, probe_names, reference_names


@pytest.fixture(scope="session", autouse=True)
def _one_thread_for_tiny_matrices():
    with threadpool_limits(1):
        yield


def clusters(counts, dim=24, spread=1.5, seed=0):
    """Rows of len(counts) overlapping clusters, like embeddings: not negative, of unequal scales."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    centres = np.random.default_rng(99).normal(size=(len(counts), dim))
    rows = np.maximum(centres[labels] + spread * rng.normal(size=(len(labels), dim)) + 1, 0)
    return (rows * np.geomspace(0.1, 10, dim)).astype(np.float32), labels


@pytest.fixture(scope="session")
def train():
    return clusters([25, 20, 15])


@pytest.fixture(scope="session")
def held_out():
    return clusters([40, 40, 40], seed=1)


@pytest.fixture(scope="session", params=[*probe_names(), *reference_names()])
def fitted(request, train):
    return fit_probe(request.param, *train, seed=4, n_jobs=2)
