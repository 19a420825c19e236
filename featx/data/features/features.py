"""Embeddings in memory, with ids, labels, splits and groups; and a check that they can be learned from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from featx.cache.identity import Space
from featx.data.collection import Collection
from featx.data.features.checking import (
    are_names,
    array_of,
    as_float32,
    as_text,
    checked_ids,
    checked_labels,
    encoded_labels,
    strings,
    text_array,
)
from featx.data.features.stored_rows import StoredRows, blocks_of
from featx.data.features.writer import write_features
from featx.data.labels import SPLITS
from featx.data.string_column import positions_of, take_texts
from featx.data.tasks import LABEL, Task, check_targets
from featx.errors import CacheError, FeaturesError, InputError, OutputError, UnknownName, as_one_error
from featx.kinds import kind_of
from featx.options import checked

if TYPE_CHECKING:
    import pandas

__all__ = ["Failure", "Features", "check_rows"]
#: Formats that `Features.save` does not write, by suffix, and what writes them.
_OTHER_FORMATS = {
    ".parquet": "to_parquet",
    ".csv": "to_frame().to_csv",
    ".tsv": "to_frame().to_csv",
    ".xlsx": "to_frame().to_excel",
    ".json": "to_frame().to_json",
    ".pkl": "to_frame().to_pickle",
    ".npy": "numpy.save of embeddings",
    ".npz": "numpy.savez of embeddings and ids",
}
# Rows of a file that are copied into memory by `Features.subset`.
_READ_AT_ONCE = 2**30


@dataclass(frozen=True)
class Failure:
    """An image that could not be read: its id, and why in a few words."""

    id: str
    reason: str

    def __str__(self) -> str:
        return f"{self.id}: {self.reason}"


@dataclass(repr=False)
class Features(Collection):
    """Embeddings of a collection, with labels, splits and groups where they are known.

    Parameters
    ----------
    embeddings : array-like of shape (n, d), dtype float32, float16 or float64
        Row i is image i; float64 is converted to float32. Of a large file, it is a `StoredRows`, which reads
        the rows that are indexed (`load_features`).
    ids : sequence of n str
        Unique: the path relative to the root, or the id given.
    labels : array-like of shape (n,), integer or str, optional
        Index into `classes`, kept as int64; or the name of the class.
    classes : sequence of str, optional
        Names of the classes, unique; only with labels. Default for labels that are names: these, in order.
    splits : array-like of n str, optional
        Each ``"train"``, ``"val"`` or ``"test"``.
    groups : array-like of shape (n,), optional
        Strings or integers (kept as strings): rows of one group belong on the same side of a split.
    failures : sequence of Failure
        Images of the collection that could not be read and have no row.
    space : mapping
        What determines the rows: network, weights, preprocessing, ..., as JSON data.
    about : dict
        What is known of the network and changes no row, such as the ``licence`` of its weights.
    run : dict, optional
        Cost of the extraction (``forward_passes``, ``seconds``, ...); not saved.
    targets : dict of str to Task
        Further tasks (classes or numbers); an image may have no value in one.
    label_name : str, default="label"
        Name of the labels among the `tasks`.

    Raises
    ------
    FeaturesError
        If the parts do not fit one another, naming the part.
    """

    embeddings: np.ndarray
    ids: Sequence[str]
    labels: np.ndarray | None = None
    classes: tuple[str, ...] | None = None
    splits: np.ndarray | None = None
    groups: np.ndarray | None = None
    failures: list[Failure] = field(default_factory=list)
    space: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict, kw_only=True)
    run: dict[str, Any] | None = None
    targets: dict[str, Task] = field(default_factory=dict)
    label_name: str = LABEL
    _error: ClassVar[type[InputError]] = FeaturesError

    def __post_init__(self) -> None:
        if not isinstance(self.embeddings, StoredRows):
            self.embeddings = array_of(self.embeddings)
        if self.embeddings.ndim != 2 or self.embeddings.shape[1] < 1:
            raise FeaturesError(f"embeddings of shape {self.embeddings.shape}: expected (n, d) with d >= 1")
        native = self.embeddings.dtype.newbyteorder("=")
        if native == np.float64:
            self.embeddings = as_float32(self.embeddings)
        elif native in (np.float32, np.float16):
            if self.embeddings.dtype != native:
                self.embeddings = self.embeddings.astype(native)
        else:
            raise FeaturesError(
                f"embeddings of dtype {self.embeddings.dtype}: expected float32, float16 or float64"
            )
        n = len(self.embeddings)
        self.ids = checked_ids(self.ids, n)
        if self.classes is not None:
            self.classes = tuple(strings("classes", self.classes))
            if len(set(self.classes)) != len(self.classes):
                raise FeaturesError("classes: a name comes twice, expected unique names")
            if self.labels is None:
                raise FeaturesError("classes without labels: expected both or neither")
        if self.labels is not None and are_names(self.labels):
            self.labels, self.classes = encoded_labels(self.labels, n, self.classes)
        if self.labels is not None:
            self.labels = checked_labels(self.labels, n, self.classes)
        if self.splits is not None:
            self.splits = text_array("splits", self.splits, n)
            if sum(int((self.splits == name).sum()) for name in SPLITS) < n:
                unknown = sorted(set(self.splits.tolist()) - set(SPLITS))
                raise FeaturesError(f"splits: {unknown[0]!r} is not one of {', '.join(SPLITS)}")
        if self.groups is not None:
            self.groups = text_array("groups", as_text(self.groups), n)
        if not isinstance(self.failures, (list, tuple)):
            raise FeaturesError(f"failures: expected a list, got {type(self.failures).__name__}")
        self.failures = list(self.failures)
        if wrong := [one for one in self.failures if not isinstance(one, Failure)]:
            raise FeaturesError(f"failures: expected Failure(id, reason), got {wrong[0]!r}")
        try:
            self.targets = check_targets(None if self.labels is None else self.label_name, self.targets, n)
            for task in self.targets.values():
                strings(f"classes of {task.name}", [task.name, *(task.classes or ())])
        except FeaturesError:
            raise
        except InputError as error:
            raise FeaturesError(str(error)) from error
        for name in ("space", "about"):
            try:
                setattr(self, name, Space(getattr(self, name)).fields)
            except CacheError as error:
                raise FeaturesError(f"{name}: {error}") from error

    def __len__(self) -> int:
        return len(self.embeddings)

    @property
    def kind(self) -> str:
        """The kind of input that the rows come from, such as ``"image"``."""
        return kind_of(self.space.get("preprocessing"))

    @property
    def dim(self) -> int:
        """Values per row."""
        return int(self.embeddings.shape[1])

    def subset(self, indices: Any) -> Features:
        """Return copies of the rows at `indices` (whole numbers or a mask), in that order, with all classes.

        Failures, space and run stay as they are. Of rows in a file (see `load_features`), up to 1 GiB are
        read, and more stay there.
        """
        rows = self._row_numbers(indices)
        found: Any = self.embeddings
        if isinstance(found, StoredRows) and len(rows) * self.dim * found.itemsize > _READ_AT_ONCE:
            found = found.take(np.where(rows < 0, rows + len(self), rows))
        else:
            found = found[rows]
        return self._take(rows, embeddings=found, ids=take_texts(self.ids, rows))

    def __getitem__(self, which: Any) -> Features:
        """Return the rows of a slice, of numbers, of a mask or of ids, as `subset` does.

        One number or one id gives features of one row: ``features[3].embeddings[0]`` is the row itself.
        """
        if isinstance(which, slice):
            return self.subset(np.arange(len(self))[which])
        if isinstance(which, str):
            return self.subset(self._rows_of([which]))
        with as_one_error(lambda reason: FeaturesError(f"expected rows by number, mask or id ({reason})")):
            chosen = np.asarray(which)
        if chosen.ndim == 1 and chosen.dtype.kind in "UO" and all(isinstance(one, str) for one in which):
            return self.subset(self._rows_of(list(which)) if len(which) else np.empty(0, np.int64))
        return self.subset(chosen.reshape(-1) if chosen.ndim == 0 else chosen)

    #: Features are not iterable: go over `embeddings`.
    __iter__ = None

    def _rows_of(self, ids: Sequence[str]) -> np.ndarray:
        rows = positions_of(self.ids, ids)
        unknown = [id for id in ids if id not in rows]
        if unknown:
            more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
            raise FeaturesError(f"{UnknownName('id', unknown[0], self.ids)}{more}")
        return np.array([rows[id] for id in ids], np.int64)

    @staticmethod
    def concat(parts: Sequence[Features]) -> Features:
        """Return the rows of several features of one space, one after the other.

        Parameters
        ----------
        parts : sequence of Features
            All with splits or all without, and likewise with groups. Classes are united by name, in the order
            in which they come; images of a part without some task have no value in it. A task of classes that
            is complete becomes the labels, as in `with_tasks`.

        Returns
        -------
        Features
            With the failures of all parts, and the `about` of the first one.

        Raises
        ------
        FeaturesError
            The parts are of different spaces (the message names what differs), an id comes twice, or only
            some parts have splits or groups.
        """
        from featx.data.features.joining import concatenate

        return concatenate(parts)

    @checked(on="")  # a column here; the option `on` is a cluster
    def merge(
        self, table: Any, *, on: str = "id", label: Any = None, target: Any = None, strict: bool = True
    ) -> Features:
        """Return these rows with the columns of a table, which is joined by id.

        Parameters
        ----------
        table : pandas.DataFrame or dict of columns
            A row for each image. ``split`` and ``group`` are what they are in `featx.load_dataset`; every
            other column becomes a task, in place of one of the same name. Without labels before, the first
            column of classes that is complete becomes the labels.
        on : str, default="id"
            The column, or index, of ids.
        label, target : str or sequence of str, optional
            The columns of classes, and of numbers; others are then left out. Default: a column of floats with
            a fraction is numbers, every other one is classes.
        strict : bool, default=True
            Whether every image must have a row, and every row an image. With False, images without a row have
            no value, and rows without an image are left out.

        Raises
        ------
        FeaturesError
            An id is missing on one side (the message names some), or comes twice; or a value is not valid.

        Examples
        --------
        >>> features = features.merge(pandas.read_csv("labels.csv"), on="id")  # doctest: +SKIP
        """
        from featx.data.features.joining import merge_table

        return merge_table(self, table, on, label, target, strict)

    def to_frame(self) -> pandas.DataFrame:
        """Return a data frame: ``id``, a column for each task, ``split``, ``group``, and ``x0``, ``x1``, ...

        The labels are in the column ``label`` (or `label_name`), by name; what is not known has no column.
        """
        from featx.data.features.frames import to_frame

        return to_frame(self)

    @checked(path="file")
    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the table of `to_frame` as a parquet file, in one step.

        ``pandas.read_parquet`` reads it; the space is in its metadata, under ``featx_space``. What `save`
        writes can be loaded as features again.

        Raises
        ------
        MissingExtra
            pyarrow is not installed.
        OutputError
            The file cannot be written.
        """
        write_features(self, path, frame=True)

    @checked(path="file")
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one HDF5 file, durably; an older file of that name is replaced.

        Parameters
        ----------
        path : path-like
            Its folder must exist; not the name of a table, such as ``p.csv``.

        Raises
        ------
        OutputError
            If it cannot be written; the older file is then still there.
        """
        if (suffix := os.path.splitext(os.fspath(path))[1].lower()) in _OTHER_FORMATS:
            raise OutputError(
                f"{os.fspath(path)}: save writes HDF5, whose names end in .h5; for {suffix} use "
                f"{_OTHER_FORMATS[suffix]}"
            )
        write_features(self, path)


def check_rows(rows: np.ndarray, ids: Sequence[str], place: str, kind: str = "image") -> list[str]:
    """Refuse embeddings (n, d) that no classifier can use; return a note if some rows are zero.

    Raises
    ------
    InputError
        Beginning with `place`: a value is not finite, or all rows are the same.
    """
    bad, zero = np.empty(0, np.int64), np.empty(0, np.int64)
    same, first = True, rows[:1]
    for at, block in blocks_of(rows):  # once, as reading them may take long
        bad = np.append(bad, at.start + np.flatnonzero(~np.isfinite(block).all(axis=1)))
        zero = np.append(zero, at.start + np.flatnonzero(~block.any(axis=1)))
        same = same and bool((block == first).all())
    if len(bad):
        raise InputError(
            f"{place}: row {bad[0]} ({ids[bad[0]]}) has values that are not finite ({len(bad)} in "
            "all); leave such rows out with Features.subset, or extract them again with precision fp32"
        )
    if len(rows) > 1 and same:
        what = "zero" if len(zero) else "the same"
        raise InputError(
            f"{place}: the embeddings of all {len(rows)} {kind}s are {what}, so nothing can be told from "
            f"them; check the weights, the layer and the {kind}s"
        )
    if not len(zero):
        return []
    return [
        f"{place}: the embeddings of {len(zero)} of {len(rows)} {kind}s are zero in every value, the first "
        f"that of {ids[zero[0]]}: the network sees nothing in them"
    ]
