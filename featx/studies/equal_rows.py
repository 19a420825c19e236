"""Find equal rows among any number of inputs, also where the rows stay in their file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from featx.analysis.data_checks import NearDuplicates

__all__ = ["DEFINITION", "find_equal_rows"]

#: What decides which pairs are found, besides the rows.
DEFINITION = ["equal rows", 1]


def find_equal_rows(digests: np.ndarray) -> NearDuplicates:
    """Find rows that are equal to the last bit, by what `digest_rows` returned for them, (n,).

    As `featx.analysis.data_checks.find_near_duplicates` of rows of which none are merely near.
    """
    from featx.analysis.data_checks import NearDuplicates

    digests = digests.view(np.uint64).reshape(-1, 2)
    order = np.lexsort(digests.T)  # stable: the first of equal rows comes first
    new = np.ones(len(order), bool)
    new[1:] = (digests[order[1:]] != digests[order[:-1]]).any(axis=1)
    first_of = order[np.flatnonzero(new)[np.cumsum(new) - 1]]
    pairs = np.column_stack([first_of, order])[~new]
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].astype(np.int64)
    return NearDuplicates(
        n=len(digests),
        pairs=pairs,
        kinds=np.full(len(pairs), "identical"),
        distances=np.zeros(len(pairs)),
        bits=np.full(len(pairs), -1),
        agree_below=float("nan"),
        alike_below=float("nan"),
        hashed=False,
    )
