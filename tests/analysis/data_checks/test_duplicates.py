"""Near-duplicates: all pairs of the plain computation, kinds by both witnesses, limits from the data."""

from __future__ import annotations

import numpy as np
import pytest

from featx.analysis.data_checks import (
    KINDS,
    distance_limits,
    duplicates,
    find_near_duplicates,
    main_directions,
    near_pairs,
)
from featx.errors import InputError

BIT = np.uint64(1)


@pytest.fixture
def planted():
    """300 unrelated rows, all far from zero; 5 near copies, of which 3 by hash as well; one exact copy."""
    rng = np.random.default_rng(0)
    rows = rng.normal(5, 1, (306, 40)).astype(np.float32)
    hashes = rng.integers(0, 2**63, 306).astype(np.uint64)
    for i in range(5):
        rows[300 + i] = rows[i] + rng.normal(0, 0.1, 40)
    hashes[300:303] = hashes[:3] ^ BIT
    rows[305], hashes[305] = rows[7], hashes[7]
    return rows, hashes


def search_in_parts(monkeypatch):
    """Search few rows as many are: by bounds in few directions, in small tiles."""
    monkeypatch.setattr(main_directions, "FEW_ROWS", 32)
    monkeypatch.setattr(main_directions, "_DIRECTIONS", 4)
    monkeypatch.setattr(main_directions, "_MOST_EXACT", 20)
    monkeypatch.setattr(near_pairs, "_WIDTHS", (2,))
    monkeypatch.setattr(near_pairs, "_FEW_NEAR", 0.3)
    monkeypatch.setattr(near_pairs, "_TILE", 32)


def plainly(rows, hashes):
    """The rule of the module, over a full matrix, in double precision."""
    rows = rows.astype(np.float64)
    centred = rows - rows.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    apart = 1 - centred @ centred.T
    np.fill_diagonal(apart, np.inf)
    bits = np.bitwise_count(hashes[:, None] ^ hashes[None])
    # Copies, by hash and nearer than half the way to the nearest picture with another hash, are skipped.
    other = np.where(bits > 8, apart, np.inf).min(axis=1)
    nearest = np.where((bits <= 8) & (apart < other[:, None] / 4), np.inf, apart).min(axis=1)
    agree, upper = np.quantile(nearest, [0.5, 0.84])
    # P(d < x) = 1 - exp(-(x / a)^k) at both quantiles; alike is where it is about 1 / n.
    k = np.log(np.log(1 - 0.84) / np.log(0.5)) / np.log(upper / agree)
    a = agree / np.log(2) ** (1 / k)
    alike = a * len(rows) ** (-1 / k)
    i, j = np.nonzero(np.triu((apart <= alike) | ((bits <= 8) & (apart <= agree)), 1))
    return {(int(a), int(b)): "same" if bits[a, b] <= 8 else "alike" for a, b in zip(i, j, strict=True)}, (
        agree,
        alike,
    )


def test_planted_copies_are_found_and_nothing_else(planted):
    found = find_near_duplicates(*planted)
    assert dict(zip(map(tuple, found.pairs.tolist()), found.kinds.tolist(), strict=True)) == {
        (7, 305): "identical",
        (0, 300): "same",
        (1, 301): "same",
        (2, 302): "same",
        (3, 303): "alike",
        (4, 304): "alike",
    }
    assert found.kinds.tolist() == ["identical"] + 3 * ["same"] + 2 * ["alike"]
    assert found.bits[:4].tolist() == [0, 1, 1, 1]
    groups = found.groups()
    assert groups[7] == groups[305]
    assert groups[0] == groups[300]
    assert groups[3] != groups[303]


def test_in_tiles_and_few_directions_as_computed_plainly(planted, monkeypatch):
    search_in_parts(monkeypatch)
    rows, hashes = planted[0][:305], planted[1][:305]
    # Loosely related rows, so that the limits are put to the test from both sides.
    noise = np.random.default_rng(1).normal(0, np.linspace(0.05, 0.9, 60)[:, None], (60, 40))
    rows[100:160] = rows[:60] + noise
    hashes[101:160:2] = hashes[1:60:2]
    expected, limits = plainly(rows, hashes)
    found = find_near_duplicates(rows, hashes)
    assert len(expected) > 30
    assert set(expected.values()) == {"same", "alike"}
    assert dict(zip(map(tuple, found.pairs.tolist()), found.kinds.tolist(), strict=True)) == expected
    np.testing.assert_allclose([found.agree_below, found.alike_below], limits, rtol=1e-4)


def test_copies_are_found_where_every_image_has_several(planted):
    rows, hashes = planted[0][:90], planted[1][:90]
    limits = find_near_duplicates(rows, hashes).agree_below
    rng = np.random.default_rng(3)
    copied = np.repeat(rows, 6, axis=0) + rng.normal(0, 0.05, (540, 40)).astype(np.float32)
    changed = np.repeat(hashes, 6) ^ (BIT << rng.integers(0, 60, 540).astype(np.uint64))
    found = find_near_duplicates(copied, changed)
    assert len(np.unique(found.groups("same"))) == 90
    assert found.agree_below == pytest.approx(limits, rel=0.1)


def test_unrelated_images_give_a_pair_by_chance_now_and_then():
    counts = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        rows = np.maximum(rng.normal(0.3, 1, (400, 64)), 0).astype(np.float32)
        found = find_near_duplicates(rows, rng.integers(0, 2**63, 400).astype(np.uint64))
        assert not found.of("same", "identical").any()
        counts.append(len(found))
    assert sum(counts) <= 10


def test_a_hash_alone_is_no_evidence(planted):
    rows, hashes = planted
    hashes[:] = 0  # as of flat pictures
    found = find_near_duplicates(rows, hashes)
    assert found.agree_below > found.distances.max()
    near = {tuple(pair) for pair in found.pairs[found.distances < 0.1].tolist()}
    assert near == {(7, 305), (0, 300), (1, 301), (2, 302), (3, 303), (4, 304)}


def test_without_hashes_embeddings_must_do(planted):
    found = find_near_duplicates(planted[0])
    assert not found.hashed
    assert set(found.kinds.tolist()) == {"identical", "alike"}
    assert found.bits.tolist() == 6 * [-1]
    assert found.groups()[3] == found.groups()[303]


def test_of_few_images_only_identical_ones_are_known():
    rows = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    rows[5] = rows[1]
    found = find_near_duplicates(rows)
    assert found.pairs.tolist() == [[1, 5]]
    assert np.isnan(found.alike_below)


def test_many_identical_images_do_not_explode():
    rows = np.concatenate([np.zeros((500, 8)), np.random.default_rng(0).normal(size=(40, 8))])
    found = find_near_duplicates(rows.astype(np.float32))
    assert len(found) == 499
    assert len(np.unique(found.groups())) == 41


def test_the_nearest_pairs_stay_where_there_are_too_many(planted, monkeypatch):
    monkeypatch.setattr(duplicates, "MOST_PAIRS", 2)
    everything = find_near_duplicates(planted[0])
    assert everything.truncated
    assert len(everything) == 3  # identical ones are always kept


def test_what_does_not_fit_is_refused():
    rows = np.ones((4, 2))
    with pytest.raises(InputError, match="hashes must be uint64, one for each of 4 rows; got int64"):
        find_near_duplicates(rows, np.zeros(4, np.int64))
    with pytest.raises(InputError, match=r"shape \(n, d\), got float64 of shape \(4,\)"):
        find_near_duplicates(rows[:, 0])
    rows[2, 0] = np.inf
    with pytest.raises(InputError, match="row 2 has values that are not finite"):
        find_near_duplicates(rows)


def test_hashes_that_agree_on_everything_are_not_believed():
    # Silhouettes: the embeddings tell the images apart, the hashes hardly do.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 32)).astype(np.float32)
    alike = rng.integers(0, 8, 200).astype(np.uint64)  # no two differ in more than 3 bits
    found = find_near_duplicates(X, alike)
    assert found.hash_bits == -1
    assert not found.of("same").any()
    # Hashes that tell unrelated images apart are believed as far as was asked for.
    X[1] = X[0] + rng.normal(scale=0.05, size=32)
    apart = rng.integers(0, 2**63, 200).astype(np.uint64)
    apart[1] = apart[0] ^ np.uint64(7)
    found = find_near_duplicates(X, apart)
    assert found.hash_bits == 8
    assert found.pairs[found.of("same")].tolist() == [[0, 1]]


@pytest.mark.parametrize("hashed", [False, True])
def test_pairs_are_the_same_where_no_direction_is_a_main_one(hashed, monkeypatch):
    search_in_parts(monkeypatch)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(150, 60)).astype(np.float32)
    rows[100:110] = rows[:10] + 0.01 * rng.normal(size=(10, 60))
    hashes = rng.integers(0, 2**63, 150).astype(np.uint64) if hashed else None
    if hashed:
        hashes[100:105] = hashes[:5]
    found = []
    for share in (1.0, -1.0):  # products in full never, or for every block
        monkeypatch.setattr(near_pairs, "_MANY_NEAR", share)
        monkeypatch.setattr(distance_limits, "_MOST_NEAR", share)
        found.append(find_near_duplicates(rows, hashes))
    np.testing.assert_array_equal(found[0].pairs, found[1].pairs)
    np.testing.assert_array_equal(found[0].kinds, found[1].kinds)
    np.testing.assert_array_equal(found[0].distances, found[1].distances)
    assert {(i, 100 + i) for i in range(10)} <= set(map(tuple, found[0].pairs.tolist()))


@pytest.mark.parametrize("n", [6, 60])
def test_equal_contents_are_the_same_however_far_apart_and_few(n):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n, 16)).astype(np.float32)
    rows[5] = rows[4]
    hashes = rng.integers(0, 2**63, n).astype(np.uint64)
    contents = np.arange(n)
    for first, others in ((0, [2, 3]), (4, [5])):
        contents[others], hashes[others] = contents[first], hashes[first]
    found = find_near_duplicates(rows, hashes, contents=contents)
    pairs = {kind: sorted(map(tuple, found.pairs[found.of(kind)].tolist())) for kind in KINDS}
    assert pairs == {"identical": [(4, 5)], "same": [(0, 2), (0, 3)], "alike": []}
    centred = rows - np.delete(rows, 5, axis=0).mean(axis=0)
    a, b = centred[0], centred[2]
    assert found.distances[found.of("same")].min() == pytest.approx(
        min(1 - a @ x / np.linalg.norm(a) / np.linalg.norm(x) for x in (b, centred[3])), rel=1e-4
    )
    assert find_near_duplicates(rows, hashes).of("same").sum() == 0


def test_a_near_pair_of_equal_contents_is_one_pair():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 16)).astype(np.float32)
    rows[8] = rows[2] + 1e-3
    hashes, contents = rng.integers(0, 2**63, 60).astype(np.uint64), np.arange(60)
    hashes[8], contents[8] = hashes[2], contents[2]
    found = find_near_duplicates(rows, hashes, contents=contents)
    assert found.pairs.tolist() == [[2, 8]]


def test_equal_rows_of_different_contents_are_no_copies():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 16)).astype(np.float32)
    rows[[3, 7, 9, 20]] = rows[1]  # what the tokenizer makes of all of them is the same
    hashes, contents = rng.integers(0, 2**63, 60).astype(np.uint64), np.arange(60)
    for first, other in ((7, 9), (7, 30)):  # 30 has the words of 7, and another row
        hashes[other], contents[other] = hashes[first], contents[first]
    hashes[20] = hashes[1] ^ np.uint64(1)
    found = find_near_duplicates(rows, hashes, contents=contents)
    pairs = {kind: sorted(map(tuple, found.pairs[found.of(kind)].tolist())) for kind in KINDS}
    assert pairs == {"identical": [(7, 9)], "same": [(1, 20), (7, 30)], "alike": [(1, 3), (1, 7)]}
    assert found.distances[found.of("alike")].tolist() == [0, 0]
    assert found.distances[found.bits == 0].tolist()[:1] == [0]
    a, b = (rows[i] - np.delete(rows, [3, 7, 9, 20], axis=0).mean(axis=0) for i in (7, 30))
    expected = 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert found.distances[found.of("same")].max() == pytest.approx(expected, rel=1e-4)


def test_contents_without_hashes_or_of_other_rows_are_refused():
    rows = np.zeros((3, 2), np.float32)
    with pytest.raises(InputError, match="one for each of 3 rows, and beside hashes"):
        find_near_duplicates(rows, contents=np.arange(3))
    with pytest.raises(InputError, match="one for each of 3 rows"):
        find_near_duplicates(rows, np.zeros(3, np.uint64), contents=np.arange(2))


@pytest.mark.parametrize("k", [1, 3, 8])
def test_no_distance_is_below_its_bound(monkeypatch, k):
    monkeypatch.setattr(main_directions, "FEW_ROWS", 32)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 8)) * np.linspace(3, 0.1, 8)
    rows[1] = rows[0] * (1 + 1e-6)
    rows[2] = 0
    unit = main_directions.centre_and_scale(rows.astype(np.float32))
    unit[2] = 0
    directions = main_directions.MainDirections(unit)
    A, B = directions.bounds(k)
    exact = ((unit[:, None].astype(np.float64) - unit[None]) ** 2).sum(axis=2) / 2
    bounds = -(A @ B.T)
    assert (bounds <= exact + 1e-6).all()
    if k == 8:  # in all directions nothing is left to bound
        assert (bounds >= exact - 2e-5).all()
    variances = np.var(A[:, :k], axis=0)
    assert (np.diff(variances) <= 1e-6).all()


def test_copies_of_equal_rows_are_told_from_rows_of_equal_sums():
    rows = np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32)
    rows[7] = rows[3][::-1]  # the same bits in another order
    rows[[9, 20]] = rows[3]
    firsts, copies = duplicates._identical(rows)
    assert copies.tolist() == [[3, 9], [3, 20]]
    assert firsts.tolist() == [i for i in range(30) if i not in (9, 20)]
