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

from featx.analysis.data_checks.distance_limits import (
    COPY_SHARE,
    FEWEST,
    HASH_BITS,
    LEVELS,
    MOST_COPIES,
    RANDOM_PAIRS,
    SAMPLE,
    believable_bits,
    find_limits,
)
from featx.analysis.data_checks.main_directions import MainDirections, centre_and_scale
from featx.analysis.data_checks.near_pairs import find_near_pairs
from featx.analysis.rows import check_embeddings
from featx.errors import InputError
from featx.inputs.image import hash_distance

__all__ = ["COPIES", "HASH_BITS", "KINDS", "NearDuplicates", "find_near_duplicates"]

#: The kinds of pairs, the surest first.
KINDS = ("identical", "same", "alike")
#: The kinds that are the same picture beyond doubt. Without hashes, likeness alone joins a pair by chance.
COPIES = KINDS[:2]
#: Most pairs that are kept: the nearest ones.
MOST_PAIRS = 1_000_000

#: What decides which pairs are found, besides the rows and hashes; the number is raised with the method.
DEFINITION = [1, HASH_BITS, MOST_PAIRS, LEVELS, SAMPLE, MOST_COPIES, COPY_SHARE, FEWEST, RANDOM_PAIRS]


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
    No pair is missed: a bound of all distances along the main directions of the embeddings leaves few pairs,
    which are measured in full. This takes the time of n² / 2 products of 32 to 256 values, and the memory of
    one copy of the embeddings and some tens of MB (a radius search by scikit-learn would hold all pairs below
    ``agree_below`` before their hashes are compared).

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
    directions = MainDirections(centre_and_scale(rows[firsts] if len(copies) else rows))
    different = None if hashes is None else hashes[firsts]
    limits = find_limits(directions, different)
    if different is not None:
        hash_bits = believable_bits(directions.unit, different, limits[0], hash_bits)
    pairs, distances, truncated = find_near_pairs(directions, different, limits, hash_bits, MOST_PAIRS)
    pairs = firsts[pairs]
    if contents is not None:
        copies, others = _divide_copies(copies, contents)
        pairs, distances = np.concatenate([others, pairs]), np.concatenate([np.zeros(len(others)), distances])
        at = np.searchsorted(firsts, first_of)  # the distinct row of each input
        apart = np.sort(np.concatenate([firsts, others[:, 1]]))
        added = _equal_contents(apart, contents, pairs)
        pairs = np.concatenate([pairs, added])
        distances = np.concatenate([distances, directions.distances(at[added])])
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
    # Equal rows have equal sums of their bits; only rows that share a sum are compared.
    words = rows.view(np.uint32) if rows.itemsize == 4 else rows.view(np.uint8)
    sums = words.sum(axis=1, dtype=np.uint64)
    _, of, counts = np.unique(sums, return_inverse=True, return_counts=True)
    first_of = np.arange(len(rows))
    seen: dict[bytes, int] = {}
    for i in np.flatnonzero(counts[of] > 1).tolist():
        first_of[i] = seen.setdefault(rows[i].tobytes(), i)
    copied = first_of != np.arange(len(rows))
    copies = np.column_stack([first_of[copied], np.flatnonzero(copied)])
    return np.flatnonzero(~copied), copies


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
