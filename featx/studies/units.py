"""Find the units of a test set: what counts as one independent observation.

Inputs of one group (the frames of a video, the photographs of a patient, the letters of a customer) and
copies of one picture, text or clip are right or wrong together. An interval or a test that took them for
independent would be too sure, so they count as one unit (J. N. K. Rao and A. J. Scott, "A simple method for
the analysis of clustered binary data", Biometrics 48, 1992). A unit is a connected component: two groups that
share a picture are one unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.data.features.stored_rows import StoredRows
from featx.errors import InputError
from featx.kinds import count_of, picture_of, with_article
from featx.studies import equal_rows
from featx.studies.checkpoints import digest_rows
from featx.studies.equal_rows import find_equal_rows
from featx.studies.kept_checks import Found, KeptChecks

if TYPE_CHECKING:
    from featx.analysis.data_checks import NearDuplicates
    from featx.studies.fingerprints import Fingerprints

__all__ = [
    "MOST_IMAGES",
    "Units",
    "copies_count_apart",
    "count_groups",
    "explain_limited_search",
    "find_copies",
    "find_units",
    "unchecked",
    "unsearched",
]

#: With more inputs, searching all pairs for copies would take too long.
MOST_IMAGES = 100_000
#: Rows of a file that take more bytes stay there, and not all pairs of them are searched.
MOST_BYTES = 2**30


def copies_count_apart(kind: str) -> str:
    """Return what follows where no copies were searched for."""
    return f"copies of {with_article(picture_of(kind))} count as different {kind}s"


def unsearched(kind: str = "image") -> str:
    """Return what a study that searches for copies only says where `checks` is off."""
    return f"the data was not checked (checks=False): {copies_count_apart(kind)}"


def unchecked(kind: str = "image") -> str:
    """Return what a comparison or a curve says where `checks` is off."""
    return f"{unsearched(kind)}, and leaks and wrong labels were not looked for"


def explain_limited_search(embeddings: Any, kind: str = "image") -> str | None:
    """Return why near-duplicates are not searched for among these embeddings; None where they are."""
    if len(embeddings) > MOST_IMAGES:
        why = f"there are more than {count_of(MOST_IMAGES, kind)}"
    elif isinstance(embeddings, StoredRows) and embeddings.nbytes > MOST_BYTES:
        why = "their embeddings stay in their file"
    else:
        return None
    return (
        f"of the copies among the {kind}s only those with equal embeddings were looked for, because {why}; "
        f"see featx.analysis.data_checks"
    )


@dataclass(frozen=True, eq=False)
class Units:
    """The units of all rows of a study.

    Attributes
    ----------
    of : ndarray of shape (n,), int64
        The number of each row's unit.
    grouped : bool
        Whether the data has groups.
    pictures : ndarray of shape (n,), int64, or None
        The number of each row's picture, text or clip, equal for copies; None if no copies were searched for.
    search : dict, or None
        What the search for copies cost: ``seconds``, and ``earlier_run``, when an earlier run did it.
    """

    of: np.ndarray
    grouped: bool = False
    pictures: np.ndarray | None = None
    search: dict[str, Any] | None = None

    def take(self, rows: np.ndarray) -> np.ndarray | None:
        """Return the units of some rows, int64 of the same shape; None if each row is its own unit."""
        units = self.of[rows]
        return None if len(np.unique(units)) == len(units) else units

    def describe(self, rows: np.ndarray) -> dict[str, Any]:
        """Return the field ``units`` of a result, for the test rows (see `featx.results`)."""
        copies = None if self.pictures is None else len(rows) - len(np.unique(self.pictures[rows]))
        return {
            "images": len(rows),
            "units": len(np.unique(self.of[rows])),
            "groups": self.grouped,
            "copies": copies,
        }


def find_units(groups: np.ndarray | None, copies: Found | NearDuplicates | None, n: int) -> Units:
    """Join the inputs of each group and the copies of each picture to units.

    Parameters
    ----------
    groups : ndarray of shape (n,), or None
        The group of each input, numbers or names; None if the data has none.
    copies : Found, NearDuplicates, or None
        Copies among the n inputs (see `find_copies`), of which the pairs that merely look alike do not count;
        None, or a `Found` without an outcome, if they were not searched for.
    n : int
        Number of inputs.

    Raises
    ------
    InputError
        `groups` or `copies` are about another number of inputs.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    from featx.analysis.data_checks import COPIES

    search = None
    found = copies.outcome if isinstance(copies, Found) else copies
    if isinstance(copies, Found) and found is not None:
        search = {"seconds": copies.seconds, "earlier_run": copies.earlier_run}
    pictures = None if found is None else found.groups(*COPIES)
    for name, members in (("groups", groups), ("copies", pictures)):
        if members is not None and np.shape(members) != (n,):
            raise InputError(f"{name} must be those of {n} inputs, got shape {np.shape(members)}")
    grouped = groups is not None
    codes = np.unique(groups, return_inverse=True)[1] if groups is not None else np.arange(n)
    if pictures is None:
        return Units(codes.astype(np.int64), grouped)
    # Nodes: n pictures at most, then the groups; every input is an edge from its picture to its group.
    links = coo_array((np.ones(n, np.int8), (pictures, n + codes)), shape=(2 * n, 2 * n))
    joined = connected_components(links, directed=False)[1]
    of = np.unique(joined[pictures], return_inverse=True)[1].astype(np.int64)
    return Units(of, grouped, pictures, search)


def count_groups(groups: np.ndarray | None, labels: np.ndarray, n_classes: int) -> list[int] | None:
    """Return how many groups each class has, if the label follows the group.

    It does where every group of several inputs has inputs of one class only: what tells two groups apart
    (the camera, the background) then tells classes apart as well. Otherwise, and without groups of several
    inputs, None.
    """
    if groups is None:
        return None
    codes = np.unique(groups, return_inverse=True)[1]
    pairs = np.unique(np.column_stack([codes, labels]), axis=0)
    n_groups = int(codes.max()) + 1
    if len(pairs) > n_groups or n_groups == len(codes):
        return None
    return np.bincount(pairs[:, 1], minlength=n_classes).tolist()


def find_copies(
    embeddings: np.ndarray,
    *,
    fingerprints: Fingerprints | None = None,
    kept: KeptChecks | None = None,
    digests: np.ndarray | None = None,
) -> Found:
    """Find copies among all images, texts or clips of a collection.

    The limits of the search come from the inputs, so it sees all of them, also where only copies among the
    test inputs count.

    Parameters
    ----------
    embeddings : ndarray of shape (n, d)
        Embeddings of all inputs by one backbone.
    fingerprints : Fingerprints, optional
        Those of all inputs. Without them only equal rows are sure to be copies.
    kept : KeptChecks, optional
        Where finished searches are kept.
    digests : ndarray of shape (n,), optional
        The digest of each embedding, if it is known (see `featx.studies.checkpoints.digest_rows`).

    Returns
    -------
    Found
        Its ``outcome`` is a `NearDuplicates`; of equal rows only where `explain_limited_search` says so.
    """
    from featx.analysis.data_checks import find_near_duplicates

    kept = kept or KeptChecks()
    if explain_limited_search(embeddings):
        known = digest_rows(embeddings) if digests is None else digests
        return kept.find_copies(
            embeddings, None, lambda: find_equal_rows(known), known, equal_rows.DEFINITION
        )

    def search() -> NearDuplicates:
        if fingerprints is None:
            return find_near_duplicates(embeddings)
        return find_near_duplicates(embeddings, fingerprints.hashes(), contents=fingerprints.contents())

    return kept.find_copies(embeddings, fingerprints, search, digests)
