"""Keep the finished checks of data beside the cache or in the folder of the results, to do each only once.

There are two pieces: the copies among all inputs, which depend on rows and fingerprints only, so every study
of these inputs finds them again; and the labels that look wrong, which depend on labels, split and seed as
well. The file ``checks.journal`` in the folder of the cache holds both (see `featx.studies.checkpoints`), or,
where that cannot be written, the one in the folder of the results. Its records are found by content: the name
of a features file does not matter. Where neither folder can be written, checks are kept for this run only.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from featx.cache.files import CHECKS_FILE
from featx.errors import CacheError, OutputError
from featx.studies.checkpoints import Checkpoints, digest_rows, key_of
from featx.studies.output import folder_of_results

if TYPE_CHECKING:
    from featx.analysis.data_checks import NearDuplicates
    from featx.studies.fingerprints import Fingerprints

__all__ = ["CHECKS_FILE", "Found", "KeptChecks", "copies_key", "label_errors_key"]

#: Raised where older records would be misread.
_FORMAT = 1
_PACKAGES = ("numpy", "scipy", "scikit-learn")
#: Bytes of a pair of inputs, and of an input, in a record.
_PAIR_BYTES, _IMAGE_BYTES = 40, 48


class Found(NamedTuple):
    """The outcome of a check, the seconds that it took, and when an earlier run did it (None: this run)."""

    outcome: Any
    seconds: float
    earlier_run: str | None


class KeptChecks:
    """Checks of data, taken from an earlier run or done now.

    Parameters
    ----------
    *folders : path-like
        Folders that may keep them, made when needed: a check is looked for in each, and kept in the first one
        that can be written; without one, in memory.
    """

    def __init__(self, *folders: Any):
        self._records: list[Checkpoints] = []
        for folder in folders:
            with contextlib.suppress(OutputError):
                self._records.append(Checkpoints(Path(folder) / CHECKS_FILE))
        self._records.append(Checkpoints())

    @classmethod
    def beside(cls, cache: Any) -> KeptChecks:
        """Open the checks beside a cache, and those in the folder of the results of the running study.

        `cache` is a `Cache`, a folder, or None for the default folder.
        """
        from featx.cache import Cache

        results = folder_of_results()
        others = [] if results is None else [results]
        try:
            return cls((cache if isinstance(cache, Cache) else Cache(cache)).root, *others)
        except CacheError:
            return cls(*others)

    def find_copies(
        self,
        embeddings: np.ndarray,
        fingerprints: Fingerprints | None,
        search: Callable[[], NearDuplicates],
        digests: np.ndarray | None = None,
        definition: list[Any] | None = None,
    ) -> Found:
        """Return the copies among all inputs, a `NearDuplicates`; `search` finds them.

        Parameters
        ----------
        embeddings : ndarray of shape (n, d)
        fingerprints : Fingerprints of the n inputs, or None
        search : callable
        digests : ndarray of shape (n,), optional
            What `digest_rows` returns for `embeddings`, if it is known.
        definition : list, optional
            What decides which copies `search` finds; default: that of `find_near_duplicates`.
        """
        from featx.analysis.data_checks import duplicates

        known = digest_rows(embeddings) if digests is None else digests
        key = copies_key(known, fingerprints, definition)
        n, hashed = len(embeddings), fingerprints is not None
        record, made = self._fetch(
            key,
            lambda: _copies_record(search()),
            lambda found: _valid_copies(found, n, hashed),
            _PAIR_BYTES * (duplicates.MOST_PAIRS + n),
        )
        return Found(_copies_of(record, n), record["seconds"], made)

    def find_label_errors(
        self,
        digests: np.ndarray,
        y: np.ndarray,
        split: tuple[np.ndarray, np.ndarray],
        groups: np.ndarray | None,
        seed: int,
        search: Callable[[], dict[str, np.ndarray] | None],
    ) -> Found:
        """Return what models that had not seen the inputs say of their labels; None without such models.

        `digests` are those of the rows of all inputs (see `featx.studies.checkpoints.digest_rows`).
        The outcome holds for the inputs of the split, in order of position: ``predicted`` (n,), the most
        probable class of each; and of the labels that look wrong, the likeliest error first: ``rows``,
        ``suggested``, ``confidence`` and ``self_confidence``. `search` finds it.
        """
        rows, key = np.sort(np.concatenate(split)), label_errors_key(digests, y, split, groups, seed)
        labels, n_classes = y[rows], int(y.max()) + 1
        record, made = self._fetch(
            key,
            lambda: {"errors": search()},
            lambda found: _valid_errors(found, labels, n_classes),
            _IMAGE_BYTES * len(rows),
        )
        return Found(record["errors"], record["seconds"], made)

    def __contains__(self, key: str) -> bool:
        return any(key in records for records in self._records)

    def _fetch(
        self, key: str, work: Callable[[], dict[str, Any]], is_valid: Callable[[Any], bool], most: int
    ) -> tuple[dict[str, Any], str | None]:
        """Return a record and when an earlier run made it; do the work if there is none."""

        def checked(record: Any) -> bool:
            return isinstance(record, dict) and _is_real(record.get("seconds"), 0, 1e9) and is_valid(record)

        for records in self._records:
            found = records.get(key, checked, most)
            if found is not None:
                return found, records.made(key)
        began = time.perf_counter()
        record = work()
        record |= {"seconds": time.perf_counter() - began}
        for records in self._records:
            # The study does not depend on a file; the last ones are in memory.
            with contextlib.suppress(OutputError, OSError):
                if records.path is not None:
                    records.path.parent.mkdir(parents=True, exist_ok=True)
                record = records.add(key, record)
                break
        return record, None


def copies_key(
    digests: np.ndarray, fingerprints: Fingerprints | None, definition: list[Any] | None = None
) -> str:
    """Return the key of the search for copies; `digests` are those of the rows of all inputs."""
    from featx.analysis.data_checks import duplicates

    return _key(
        "copies",
        rows=_digest(digests),
        pixels=None if fingerprints is None else _digest(fingerprints.evidence),
        definition=definition or duplicates.DEFINITION,
    )


def label_errors_key(
    digests: np.ndarray,
    y: np.ndarray,
    split: tuple[np.ndarray, np.ndarray],
    groups: np.ndarray | None,
    seed: int,
) -> str:
    """Return the key of the search for wrong labels; parameters as in `KeptChecks.find_label_errors`."""
    from featx.analysis.data_checks import confident_learning

    return _key(
        "label errors",
        rows=_digest(digests),
        labels=_digest(y),
        train=_digest(split[0]),
        test=_digest(split[1]),
        groups=None if groups is None else _digest(np.unique(groups, return_inverse=True)[1]),
        seed=seed,
        definition=confident_learning.DEFINITION,
    )


def _key(check: str, **parts: Any) -> str:
    import featx
    from featx.studies.evaluation.cells import installed_version

    versions = {name: installed_version(name) for name in _PACKAGES} | {"featx": featx.__version__}
    return key_of({"format": _FORMAT, "check": check, "packages": versions, **parts})


def _digest(values: np.ndarray) -> str:
    """Return a digest of dtype, shape and bytes; the bytes are not copied."""
    values = np.ascontiguousarray(values)
    found = hashlib.blake2b(f"{values.dtype.str}{values.shape}".encode("ascii"), digest_size=16)
    found.update(values.reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def _copies_record(found: NearDuplicates) -> dict[str, Any]:
    from featx.analysis.data_checks import KINDS

    codes = np.select([found.kinds == kind for kind in KINDS], range(len(KINDS)))
    return {
        "pairs": found.pairs.astype(np.int32),
        "kinds": codes.astype(np.int8),
        "distances": found.distances,
        "bits": found.bits.astype(np.int8),
        # JSON has no NaN.
        "limits": [None if np.isnan(x) else float(x) for x in (found.agree_below, found.alike_below)],
        "hash_bits": int(found.hash_bits),
        "hashed": found.hashed,
        "truncated": found.truncated,
    }


def _copies_of(record: dict[str, Any], n: int) -> NearDuplicates:
    from featx.analysis.data_checks import KINDS, NearDuplicates

    agree, alike = (float("nan") if x is None else float(x) for x in record["limits"])
    return NearDuplicates(
        n=n,
        pairs=record["pairs"].astype(np.int64),
        kinds=np.array(KINDS)[record["kinds"].astype(np.int64)],
        distances=record["distances"].astype(np.float64),
        bits=record["bits"].astype(np.int64),
        agree_below=agree,
        alike_below=alike,
        hashed=record["hashed"],
        truncated=record["truncated"],
        hash_bits=record["hash_bits"],
    )


def _valid_copies(record: dict[str, Any], n: int, hashed: bool) -> bool:
    """Whether a record, of which nothing is sure, holds pairs of n inputs as a search returns them."""
    from featx.analysis.data_checks import KINDS

    pairs, kinds, distances, bits = (record[name] for name in ("pairs", "kinds", "distances", "bits"))
    m = len(pairs)
    if not (
        _is_array(pairs, (m, 2), "i", 0, n - 1)
        and _is_array(kinds, (m,), "i", 0, len(KINDS) - 1)
        and _is_array(distances, (m,), "f", 0, 3)
        and _is_array(bits, (m,), "i", 0 if hashed else -1, 64 if hashed else -1)
    ):
        return False
    limits, hash_bits = record["limits"], record["hash_bits"]
    return bool(
        (pairs[:, 0] < pairs[:, 1]).all()
        and (np.diff(kinds) >= 0).all()
        and (hashed or not (kinds == KINDS.index("same")).any())
        and record["hashed"] is hashed
        and isinstance(record["truncated"], bool)
        and isinstance(limits, list)
        and len(limits) == 2
        and all(x is None or _is_real(x, 0, np.inf) for x in limits)
        and type(hash_bits) is int
        and -1 <= hash_bits <= 64
    )


def _valid_errors(record: dict[str, Any], labels: np.ndarray, n_classes: int) -> bool:
    """Whether a record, of which nothing is sure, holds predictions for inputs with these labels."""
    errors = record["errors"]
    if errors is None:
        return True
    rows, suggested = errors["rows"], errors["suggested"]
    m = len(rows)
    return bool(
        _is_array(errors["predicted"], (len(labels),), "iu", 0, n_classes - 1)
        and _is_array(rows, (m,), "iu", 0, len(labels) - 1)
        and len(np.unique(rows)) == m
        and _is_array(suggested, (m,), "iu", 0, n_classes - 1)
        and (suggested != labels[rows]).all()
        and all(_is_array(errors[name], (m,), "f", 0, 1.001) for name in ("confidence", "self_confidence"))
    )


def _is_array(value: Any, shape: tuple[int, ...], kinds: str, low: float, high: float) -> bool:
    """Whether `value` is an array of this shape with numbers from `low` to `high`."""
    if not (isinstance(value, np.ndarray) and value.shape == shape and value.dtype.kind in kinds):
        return False
    # A comparison with NaN is false.
    return bool(((value >= low) & (value <= high)).all())


def _is_real(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
