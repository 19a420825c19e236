"""Nearest neighbours in blocks are those of the plain computation."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from featx.analysis import neighbours
from featx.analysis.neighbours import SimilarImages, nearest
from featx.data.features import Features
from featx.errors import InputError, MissingExtra, UnknownName


def plainly(queries, rows, k, metric):
    q, r = queries.astype(np.float64), rows.astype(np.float64)
    if metric == "cosine":
        q, r = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q, r))
    apart = np.linalg.norm(q[:, None] - r[None], axis=2)
    if metric == "cosine":
        apart = 1 - q @ r.T
    order = np.argsort(apart, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(apart, order, 1)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 3, 90])
def test_as_computed_plainly(metric, k, monkeypatch):
    monkeypatch.setattr(neighbours, "_BLOCK_BYTES", 1000)  # several blocks
    rng = np.random.default_rng(3)
    rows, queries = rng.normal(1, 1, (90, 12)), rng.normal(1, 1, (30, 12))
    rows, queries = rows.astype(np.float32), queries.astype(np.float32)
    indices, distances = nearest(queries, rows, k, metric=metric)
    expected, apart = plainly(queries, rows, k, metric)
    assert (indices == expected).all()
    np.testing.assert_allclose(distances, apart, atol=1e-6)


def test_a_copy_is_at_distance_zero_and_the_first_of_two_comes_first():
    rows = np.random.default_rng(0).normal(100, 1, (50, 8)).astype(np.float32)
    rows[40] = rows[10]
    for metric in ("cosine", "euclidean"):
        indices, distances = nearest(rows[40:41], rows, 2, metric=metric)
        assert indices.tolist() == [[10, 40]]
        assert distances.tolist() == [[0, 0]]


def test_a_row_of_zeros_has_cosine_zero():
    indices, distances = nearest(np.eye(3), np.array([[0, 0, 0], [-1, 0, 0], [0, 1, 1]]), 3)
    assert indices[0, 2] == 1
    np.testing.assert_allclose(distances[0], [1, 1, 2])


def test_images_like_one_of_them():
    embeddings = np.array([[1, 0], [0.9, 0.1], [0, 1], [-1, 0]], np.float32)
    images = SimilarImages(Features(embeddings, ["a", "b", "c", "d"]))
    assert [match.id for match in images.like("a", 2)] == ["b", "c"]
    assert [match.id for match in images.like("a", 99)] == ["b", "c", "d"]
    assert images.search(np.array([[0, 2.0]]), 1)[0][0] == neighbours.Match("c", 0.0)
    with pytest.raises(UnknownName, match="unknown image 'e'"):
        images.like("e")


def clustered(n, dim=16, seed=0):
    rng = np.random.default_rng(seed)
    rows = (3 * rng.normal(size=(20, dim)))[rng.integers(20, size=n)] + rng.normal(size=(n, dim))
    return Features(rows.astype(np.float32), [f"{i}.jpg" for i in range(n)])


@pytest.fixture
def faiss():
    return pytest.importorskip("faiss")


@pytest.mark.parametrize("metric", neighbours.METRICS)
def test_faiss_that_looks_everywhere_finds_the_same(faiss, metric, monkeypatch):
    monkeypatch.setattr(neighbours, "_SEARCHED_SHARE", 1)
    features = clustered(900)
    features.embeddings[40] = features.embeddings[10]
    queries = clustered(30, seed=1).embeddings
    exact = SimilarImages(features, metric)
    found = SimilarImages(features, metric, index="faiss")
    assert found.search(queries, 7) == exact.search(queries, 7)
    assert found.like("40.jpg", 3) == exact.like("40.jpg", 3)


@pytest.mark.parametrize("metric", neighbours.METRICS)
def test_a_flat_index_of_faiss_finds_the_same(faiss, metric):
    rows, queries = clustered(900).embeddings, clustered(30, seed=1).embeddings
    a, b = (
        x / np.linalg.norm(x, axis=1, keepdims=True) if metric == "cosine" else x for x in (rows, queries)
    )
    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(a)
    assert (nearest(queries, rows, 7, metric=metric)[0] == index.search(b, 7)[1]).all()


def test_faiss_misses_few_and_its_distances_are_exact(faiss):
    features, queries = clustered(4000), clustered(100, seed=1).embeddings
    exact = SimilarImages(features).search(queries, 10)
    found = SimilarImages(features, index="faiss").search(queries, 10)
    assert np.mean([len({*a} & {*b}) for a, b in zip(exact, found, strict=True)]) >= 9


def test_where_the_cells_hold_too_few_all_rows_are_looked_at(faiss):
    features = clustered(1000)
    queries = features.embeddings[:3]
    found = SimilarImages(features, index="faiss").search(queries, 1000)
    assert found == SimilarImages(features).search(queries, 1000)


def test_faiss_that_is_not_installed_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtra, match=r"index='faiss' needs the package 'faiss'.*featx\[faiss\]"):
        SimilarImages(clustered(9), index="faiss")
    with pytest.raises(UnknownName, match="unknown index 'fais'; did you mean faiss"):
        SimilarImages(clustered(9), index="fais")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nearest(np.ones((2, 3)), np.ones((4, 2))), "queries have 3 values and rows 2"),
        (lambda: nearest(np.ones((2, 3)), np.ones((4, 3)), 5), "between 1 and the number of rows, 4; got 5"),
        (lambda: nearest(np.ones((2, 3)), np.ones((4, 3)), metric="l1"), "unknown metric 'l1'"),
        (lambda: nearest([[np.nan]], [[1.0]]), "queries: row 0 has values that are not finite"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
