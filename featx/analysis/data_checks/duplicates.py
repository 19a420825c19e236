"""Find near-duplicates: pairs of inputs that are the same, or so similar that a person should look.

The inputs are images, texts or clips; where a name here says picture, a text or a clip and its copies are
one, too.

No fixed limit says what is near: depending on backbone and data, the cosine of unrelated images may be 0.2 or
0.95. So embeddings are centred, which removes what all images have in common, and the distance 1 - cosine of
each image to its nearest other image is measured. Two limits follow from these nearest distances:

``agree_below``   their median. Half of all images have a neighbour that near, so alone it says little.
``alike_below``   the distance at which one of n images without near-duplicates is expected to have a
                  neighbour by chance. The smallest of many distances follows a Weibull distribution,
                  P(d < x) = 1 - exp(-(x / a)^k) (Fisher and Tippett 1928), and is below a (1 / n)^(1 / k)
                  with probability 1 / n. a and k come from the median and the 84th percentile, because
                  near-duplicates are in the lower half.

Where there are hashes, a copy does not count as the nearest image: its hash agrees, and its distance, as a
length, is less than half that of the nearest image with another hash (a ratio test, as in D. G. Lowe,
"Distinctive image features from scale-invariant keypoints", IJCV 60 (2004), section 7.1). So the limits are
right also where most images have copies.

There are three kinds of pairs:

``identical``     the embeddings are equal to the last bit: the network saw the same pixels. A file that
                  occurs twice is such a pair, because both have one row in the cache.
``same``          the hashes (perceptual ones of images, minwise ones of texts) differ in few bits *and* the
                  distance is below ``agree_below``. Each alone errs: hashes on skies and silhouettes,
                  embeddings on things of one kind. If hashes often agree while embeddings do not (plain
                  shapes on a plain ground), fewer bits are allowed, until only a few of all pairs do so by
                  chance. Texts of the same words and forms of one recording are ``same`` whatever their
                  distance.
``alike``         the distance is below ``alike_below``, but there are no hashes or they disagree: mirrored,
                  cropped or redrawn copies, the next picture of a series, a paraphrase, or two similar
                  things.

Texts that differ may have equal rows: where a tokenizer does not know their words (emoji, other scripts), or
the network cut them off. Such a pair is ``same`` or ``alike`` by its hashes, at distance 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from featx.analysis.rows import check_embeddings
from featx.errors import InputError
from featx.inputs.image import hash_distance
from featx.machine import cores
from featx.threads import run_in_threads

__all__ = ["COPIES", "HASH_BITS", "KINDS", "NearDuplicates", "find_near_duplicates"]

#: Hashes that differ in no more bits than this agree.
HASH_BITS = 8
#: The kinds of pairs, the surest first.
KINDS = ("identical", "same", "alike")
#: The kinds that are the same picture beyond doubt. Without hashes, likeness alone joins a pair by chance.
COPIES = KINDS[:2]
#: Most pairs that are kept: the nearest ones.
MOST_PAIRS = 1_000_000

#: Quantiles of the nearest distances to which the Weibull distribution is fitted.
_LEVELS = (0.5, 0.84)
#: Most images from whose nearest distances the limits are estimated.
_SAMPLE = 2000
#: Most copies of an image that the estimate looks past, and their share of the distance (half the squared
#: length) to the nearest other picture.
_MOST_COPIES, _COPY_SHARE = 10, 0.25
#: Fewest different images from which the limits are estimated.
_FEWEST = 20
_TILE = 2048
# If more than one of so many pairs of a block is near in the main directions, they are no help.
_FEW_NEAR = 200
# Strips of so many rows that are searched before pairs beyond the most are dropped.
_STRIPS = 4
#: Main directions in which all pairs are compared, and rows from which they are computed.
_DIRECTIONS, _BASIS_ROWS = 128, 4096
#: Random pairs on which hashes are tested, pairs in one block, and pairs of all that may agree by chance.
_RANDOM_PAIRS, _AT_ONCE, _BY_CHANCE = 4_000_000, 500_000, 3.0
#: Rounding error of a cosine in float32.
_ROUNDING = 1e-5
#: What decides which pairs are found, besides the rows and hashes; the number is raised with the method.
DEFINITION = [1, HASH_BITS, MOST_PAIRS, _LEVELS, _SAMPLE, _MOST_COPIES, _COPY_SHARE, _FEWEST, _RANDOM_PAIRS]


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs of near-duplicate images among n.

    Attributes
    ----------
    n : int
        Images that were compared.
    pairs : ndarray of shape (n_pairs, 2), int64
        Their positions, the lower one first; sorted by kind, the surest first, then by distance. For g
        identical images there are g - 1 pairs, each with the first of them, which also represents the others
        in pairs of other kinds.
    kinds : ndarray of shape (n_pairs,), str
        ``"identical"``, ``"same"`` or ``"alike"``.
    distances : ndarray of shape (n_pairs,), float64
        1 - cosine of the centred embeddings.
    bits : ndarray of shape (n_pairs,), int64
        In how many bits the hashes differ; -1 without hashes.
    agree_below, alike_below : float
        The limits of distance; NaN if there were too few images to estimate them.
    hash_bits : int
        Most bits in which the hashes of one picture may differ; -1 if no hash can be trusted.
    hashed : bool
        Whether there were hashes. Without them no pair is ``same``.
    truncated : bool
        Whether there were more than a million pairs, of which the nearest are kept.
    """

    n: int
    pairs: np.ndarray
    kinds: np.ndarray
    distances: np.ndarray
    bits: np.ndarray
    agree_below: float
    alike_below: float
    hashed: bool
    truncated: bool = False
    hash_bits: int = HASH_BITS

    def __len__(self) -> int:
        return len(self.pairs)

    def of(self, *kinds: str) -> np.ndarray:
        """Return a mask, bool (n_pairs,), of the pairs of these kinds."""
        return np.isin(self.kinds, kinds)

    @property
    def pictures(self) -> tuple[str, ...]:
        """The kinds that make two images one picture; without hashes also ``alike``."""
        return KINDS[:2] if self.hashed else KINDS

    def groups(self, *kinds: str) -> np.ndarray:
        """Return the number of each image's picture, ndarray of shape (n,).

        Pairs of these kinds (default: `pictures`) are followed from image to image: a copy of a copy is a
        copy.
        """
        first, second = self.pairs[self.of(*(kinds or self.pictures))].T
        links = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(self.n, self.n))
        labels: np.ndarray = connected_components(links, directed=False)[1]
        return labels


def find_near_duplicates(
    embeddings: np.ndarray,
    hashes: np.ndarray | None = None,
    *,
    contents: np.ndarray | None = None,
    hash_bits: int = HASH_BITS,
) -> NearDuplicates:
    """Find the images, texts or clips that are nearly the same, among all pairs.

    Parameters
    ----------
    embeddings : array-like of shape (n, d)
        Embeddings of one backbone and layer.
    hashes : array-like of shape (n,), uint64, optional
        From `featx.inputs.image.perceptual_hashes`, for example. Without them pairs are
        ``identical`` or ``alike`` only.
    contents : array-like of shape (n,), optional
        Equal for inputs that are surely the same, such as texts of the same words; these pairs are
        ``same`` also where their embeddings are apart, and among too few inputs to estimate the limits, and
        equal embeddings of different contents are not ``identical``. Only beside hashes, which must be equal
        where the contents are.
    hash_bits : int, default=8
        Most bits in which the hashes of one picture differ; lowered where hashes often agree by chance.

    Notes
    -----
    No pair is missed: embeddings are compared in an orthonormal basis of their 128 main directions, in which
    no two rows are further apart than in full, and the near ones are then measured in full. This takes the
    time of n² / 2 products of 128 values, and the memory of one copy of the embeddings and some tens of MB
    (a radius search by scikit-learn would hold all pairs below ``agree_below`` before their hashes are
    compared).

    Without hashes the limits are wrong if half of all images or more (identical ones counted once) have a
    near-duplicate; with hashes, if they have more than 10 copies each.
    """
    rows = check_embeddings(embeddings, "embeddings", dtype=np.float32)
    if contents is not None:
        contents = np.asarray(contents)
        if hashes is None or contents.shape != (len(rows),):
            raise InputError(
                f"contents must be one for each of {len(rows)} rows, and beside hashes; got shape "
                f"{contents.shape}"
            )
    if hashes is not None:
        hashes = np.asarray(hashes)
        if hashes.shape != (len(rows),) or hashes.dtype != np.uint64:
            raise InputError(
                f"hashes must be uint64, one for each of {len(rows)} rows; got {hashes.dtype}, "
                f"shape {hashes.shape}"
            )
    firsts, copies = _identical(rows)
    first_of = np.arange(len(rows))
    first_of[copies[:, 1]] = copies[:, 0]
    unit = _centred(rows[firsts] if len(copies) else rows)
    limits = _limits(unit, None if hashes is None else hashes[firsts])
    if hashes is not None:
        hash_bits = _believable_bits(unit, hashes[firsts], limits[0], hash_bits)
    found, truncated = _near(unit, None if hashes is None else hashes[firsts], limits, hash_bits)
    pairs, distances = found
    pairs = firsts[pairs]
    if contents is not None:
        copies, others = _divide_copies(copies, contents)
        pairs, distances = np.concatenate([others, pairs]), np.concatenate([np.zeros(len(others)), distances])
        at = np.searchsorted(firsts, first_of)  # the row in `unit` of each input
        different = np.sort(np.concatenate([firsts, others[:, 1]]))
        added = _equal_contents(different, contents, pairs)
        pairs = np.concatenate([pairs, added])
        distances = np.concatenate([distances, _distances(unit, at[added])])
    bits = np.full(len(pairs), -1) if hashes is None else hash_distance(*hashes[pairs.T])
    confirmed = (bits >= 0) & (bits <= hash_bits)
    if contents is not None:
        confirmed |= contents[pairs[:, 0]] == contents[pairs[:, 1]]
    kinds = np.where(confirmed, "same", "alike")
    pairs = np.concatenate([copies, pairs])
    kinds = np.concatenate([np.full(len(copies), "identical"), kinds])
    distances = np.concatenate([np.zeros(len(copies)), distances])
    bits = np.concatenate([np.full(len(copies), -1 if hashes is None else 0), bits])
    surest = np.select([kinds == kind for kind in KINDS], range(len(KINDS)))
    order = np.lexsort((pairs[:, 1], pairs[:, 0], distances, surest))
    return NearDuplicates(
        n=len(rows),
        pairs=pairs[order],
        kinds=kinds[order],
        distances=distances[order],
        bits=bits[order],
        agree_below=limits[0],
        alike_below=limits[1],
        hash_bits=hash_bits,
        hashed=hashes is not None,
        truncated=truncated,
    )


def _identical(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the position of each distinct row, and a pair (first, copy) for each copy."""
    seen: dict[bytes, int] = {}
    firsts, copies = [], []
    for i, row in enumerate(rows):
        first = seen.setdefault(row.tobytes(), i)
        if first == i:
            firsts.append(i)
        else:
            copies.append((first, i))
    return np.array(firsts, np.int64), np.array(copies, np.int64).reshape(-1, 2)


def _centred(rows: np.ndarray) -> np.ndarray:
    """Return rows less their mean, scaled to length 1."""
    unit = rows - rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    norms = np.sqrt(np.einsum("ij,ij->i", unit, unit))[:, None]
    return np.divide(unit, norms, out=unit, where=norms > 0)


def _limits(unit: np.ndarray, hashes: np.ndarray | None) -> tuple[float, float]:
    """Return (agree_below, alike_below), from the nearest distances of a sample of the rows."""
    from featx.methods.probes.fitters.neighbours import find_neighbours

    n = len(unit)
    if n < _FEWEST:
        return float("nan"), float("nan")
    sample = np.linspace(0, n - 1, min(n, _SAMPLE)).astype(np.int64)
    # The nearest of all is the row itself.
    places, lengths = find_neighbours(unit, unit[sample], 2 if hashes is None else min(n, _MOST_COPIES + 2))
    # Half the squared distance of rows of length 1 is 1 - cosine; rows of zeros have no direction.
    directed = np.einsum("ij,ij->i", unit, unit) > 0
    distances = np.where(directed[places] & directed[sample][:, None], lengths**2 / 2, 1.0)
    places, distances = places[:, 1:], distances[:, 1:]
    if hashes is not None:
        agree = hash_distance(hashes[sample][:, None], hashes[places]) <= HASH_BITS
        # Of an image whose neighbours all agree, the furthest is taken for another picture.
        other = np.where(agree.all(axis=1), agree.shape[1] - 1, agree.argmin(axis=1))
        other_distances = np.take_along_axis(distances, other[:, None], axis=1)
        copies = agree & (distances < _COPY_SHARE * other_distances)
        distances = np.take_along_axis(distances, copies.argmin(axis=1)[:, None], axis=1)
    middle, upper = np.log(np.maximum(np.quantile(distances[:, 0], _LEVELS), _ROUNDING))
    # By the distribution log x = log a + log(-log(1 - P)) / k, a straight line through the two.
    from_middle, from_upper = np.log(-np.log1p(-np.array(_LEVELS)))
    slope = (upper - middle) / (from_upper - from_middle)  # 1 / k
    return float(np.exp(middle)), float(np.exp(middle - slope * (np.log(n) + from_middle)))


def _believable_bits(unit: np.ndarray, hashes: np.ndarray, agree: float, most: int) -> int:
    """Return the most bits, up to `most`, at which few pairs agree by hash but not by embedding."""
    n = len(unit)
    if np.isnan(agree):
        return most
    rng = np.random.default_rng(0)
    wrong = [0] * (most + 1)  # by the number of bits
    for _ in range(_RANDOM_PAIRS // _AT_ONCE):
        first, second = rng.integers(0, n, _AT_ONCE), rng.integers(0, n - 1, _AT_ONCE)
        second += second >= first
        bits = hash_distance(hashes[first], hashes[second])
        few = bits <= most
        apart = _distances(unit, np.column_stack([first[few], second[few]])) > agree
        for b, count in enumerate(np.bincount(bits[few][apart], minlength=most + 1)):
            wrong[b] += int(count)
    expected = np.cumsum(wrong) * (n * (n - 1) / 2 / _RANDOM_PAIRS)
    return int((expected <= _BY_CHANCE).sum()) - 1


def _near(
    unit: np.ndarray, hashes: np.ndarray | None, limits: tuple[float, float], hash_bits: int
) -> tuple[tuple[np.ndarray, np.ndarray], bool]:
    """Return ((pairs, distances), truncated) of all pairs that are alike, or agree and hash alike."""
    agree, alike = limits
    pairs, distances = np.empty((0, 2), np.int64), np.empty(0)
    truncated = False
    if np.isnan(agree):
        return (pairs, distances), truncated
    short = _main_directions(unit)
    half = np.einsum("ij,ij->i", short, short)[:, None] / 2
    one = np.ones_like(half)
    # Their product is a.b - |a|^2 / 2 - |b|^2 / 2, minus half the squared distance, in full 1 - cosine.
    rows, columns = np.hstack([short, -half, one]), np.hstack([short, one, -half])
    squares = np.einsum("ij,ij->i", unit, unit) / 2
    reach = (alike if hashes is None else agree) + _ROUNDING

    def search(top: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the pairs of a strip of rows with all later ones, and their distances."""
        near, gaps = [np.empty((0, 2), np.int64)], [np.empty(0)]
        for left in range(top, len(unit), _TILE):
            tile = rows[top : top + _TILE] @ columns[left : left + _TILE].T
            at = np.flatnonzero(tile >= -reach)
            if len(at) > tile.size // _FEW_NEAR:
                # Without main directions most pairs seem near: products in full tell them apart faster.
                tile = unit[top : top + _TILE] @ unit[left : left + _TILE].T
                tile -= squares[top : top + _TILE, None]
                tile -= squares[left : left + _TILE]
                at = np.flatnonzero(tile >= -reach)
            i, j = np.divmod(at, tile.shape[1])
            close = tile[i, j] >= -(alike + _ROUNDING)
            i, j = i + top, j + left
            if hashes is not None:
                close |= hash_distance(hashes[i], hashes[j]) <= hash_bits
            close &= i < j
            found = np.column_stack([i[close], j[close]])
            exact = _distances(unit, found)
            sure = exact <= alike
            if hashes is not None:
                agreed = hash_distance(hashes[found[:, 0]], hashes[found[:, 1]]) <= hash_bits
                sure |= agreed & (exact <= agree)
            near.append(found[sure])
            gaps.append(exact[sure])
        return np.concatenate(near), np.concatenate(gaps)

    tops = [(top,) for top in range(0, len(unit), _TILE)]
    # Some strips at a time, because each may hold a million pairs.
    for at in range(0, len(tops), _STRIPS):
        strips = run_in_threads(search, tops[at : at + _STRIPS], cores())
        pairs = np.concatenate([pairs, *(found for found, _ in strips)])
        distances = np.concatenate([distances, *(gaps for _, gaps in strips)])
        if len(pairs) > MOST_PAIRS:
            truncated = True
            kept = np.sort(np.argsort(distances, kind="stable")[:MOST_PAIRS])
            pairs, distances = pairs[kept], distances[kept]
    return (pairs, distances), truncated


def _divide_copies(copies: np.ndarray, contents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of equal rows and contents, and pairs of equal rows whose contents differ.

    The latter are inputs that the network cannot tell apart: texts of words that its tokenizer does not know,
    or that differ only behind its most tokens. Each content is in one of them, with the first of the rows.
    """
    seen = {(first, contents[first]): first for first in copies[:, 0].tolist()}
    equal, others = [], []
    for first, copy in copies.tolist():
        known = seen.setdefault((first, contents[copy]), copy)
        if known == copy:
            others.append((first, copy))
        else:
            equal.append((known, copy))
    return np.array(equal, np.int64).reshape(-1, 2), np.array(others, np.int64).reshape(-1, 2)


def _equal_contents(different: np.ndarray, contents: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return pairs of the first of each content and the others among `different`, where `pairs` lack them."""
    _, first, of = np.unique(contents[different], return_index=True, return_inverse=True)
    equal = np.column_stack([different[first[of]], different])
    equal = equal[equal[:, 0] != equal[:, 1]]
    known = set(map(tuple, pairs[contents[pairs[:, 0]] == contents[pairs[:, 1]]].tolist()))
    lacking = np.array([pair not in known for pair in map(tuple, equal.tolist())], bool)
    return equal[lacking]


def _main_directions(unit: np.ndarray) -> np.ndarray:
    """Return coordinates in which no two rows are further apart than in `unit`."""
    if len(unit) <= _TILE or unit.shape[1] <= _DIRECTIONS:
        return unit
    # Any orthonormal basis is right; one that keeps most of a distance leaves few pairs to measure in full.
    # One step of subspace iteration from seeded directions (Halko, Martinsson and Tropp 2011) finds one.
    sample = unit[np.linspace(0, len(unit) - 1, min(len(unit), _BASIS_ROWS)).astype(np.int64)]
    start = np.random.default_rng(0).standard_normal((unit.shape[1], _DIRECTIONS), np.float32)
    basis = np.linalg.qr(sample.T @ (sample @ np.linalg.qr(sample.T @ (sample @ start))[0]))[0]
    return unit @ basis


def _distances(unit: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return 1 - cosine of each pair, float64."""
    gaps = np.empty(len(pairs))
    for start in range(0, len(pairs), _TILE):
        first, second = unit[pairs[start : start + _TILE].T].astype(np.float64)
        gaps[start : start + _TILE] = ((first - second) ** 2).sum(axis=1) / 2
    return gaps
