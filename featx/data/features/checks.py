"""Check that embeddings can be learned from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from featx.errors import InputError

__all__ = ["check_rows"]


def check_rows(rows: np.ndarray, ids: Sequence[str], place: str) -> list[str]:
    """Refuse embeddings that no classifier can use.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
    ids : sequence of n str
    place : str
        The file or collection, for messages.

    Returns
    -------
    list of str
        What a reader of the results should know: that some rows are zero.

    Raises
    ------
    InputError
        A value is not finite, or all rows are the same.
    """
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise InputError(
            f"{place}: row {bad[0]} ({ids[bad[0]]}) has values that are not finite ({len(bad)} in "
            "all); leave such rows out with Features.subset, or extract them again with precision fp32"
        )
    if len(rows) > 1 and (rows == rows[0]).all():
        what = "zero" if not rows[0].any() else "the same"
        raise InputError(
            f"{place}: the embeddings of all {len(rows)} images are {what}, so nothing can be told from "
            "them; check the weights, the layer and the images"
        )
    zero = np.flatnonzero(~rows.any(axis=1))
    if not len(zero):
        return []
    return [
        f"{place}: the embeddings of {len(zero)} of {len(rows)} images are zero in every value, the first "
        f"that of {ids[zero[0]]}: the network sees nothing in them"
    ]
