"""Compare domain adaptation with skada."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn import config_context

from featx.methods.adaptation.alignment import SubspaceAlignment
from featx.methods.adaptation.moments import CORAL

# Importing skada warns, and switches metadata routing on for every estimator of the process.
with warnings.catch_warnings(), config_context():
    warnings.simplefilter("ignore")
    skada = pytest.importorskip("skada", reason="needs skada")


@pytest.fixture
def domains():
    rng = np.random.default_rng(0)
    source = rng.normal(size=(80, 6)) @ rng.normal(size=(6, 6))
    return source, rng.normal(size=(80, 6)) @ rng.normal(size=(6, 6)) + 3


def by_skada(adapter, source, target):
    both, side = np.concatenate([source, target]), np.repeat([1, -2], [len(source), len(target)])
    with config_context(enable_metadata_routing=True):
        fitted = adapter.fit(both, sample_domain=side)
        adapted = fitted.transform(both, sample_domain=side, allow_source=True)
    return adapted[side > 0], adapted[side < 0]


def test_coral(domains):
    source, target = domains
    coral = CORAL(regularization=1e-9).fit(source, target=target)
    theirs, _ = by_skada(skada.CORALAdapter(reg=0.0), source, target)  # which leaves the means at 0
    np.testing.assert_allclose(coral.transform_source(source) - target.mean(axis=0), theirs, atol=1e-6)


def test_subspace_alignment(domains):
    source, target = domains
    ours = SubspaceAlignment(3).fit(source, target=target)
    theirs = by_skada(skada.SubspaceAlignmentAdapter(n_components=3), source, target)
    for own, their in zip((ours.transform_source(source), ours.transform(target)), theirs, strict=True):
        np.testing.assert_allclose(np.abs(own), np.abs(their), atol=1e-8)  # an axis has no sign
