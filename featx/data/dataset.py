"""The class `Dataset`: images, texts or clips that can be read, with labels, splits and groups."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from featx.data.collection import Collection
from featx.data.compact_inputs import ids_of, is_compact, kinds_of, take_inputs
from featx.data.labels import SPLITS
from featx.data.read_report import ReadReport
from featx.data.string_column import StringColumn
from featx.data.tasks import LABEL, Task, check_targets
from featx.errors import DatasetError, InputError
from featx.inputs import Source
from featx.kinds import count_of
from featx.options.checks import shown

if TYPE_CHECKING:
    import pandas

# How a table has the labels of inputs.
_TABLES = {
    "image": "or give a table with the columns path and label, which featx label writes",
    "text": "or give a table with the columns text and label",
    "clip": "or give a table with the columns path and label (for segments: start and end, too)",
}


@dataclass(eq=False, repr=False)
class Dataset(Collection):
    """Images, texts or clips in order, with labels, splits and groups where they are known.

    Parameters
    ----------
    name : str
        For titles and messages.
    inputs : sequence of Source
        Each has a distinct ``id``. Of large datasets (folders, archives, tables of paths) it is a
        `CompactInputs`, which makes the sources when they are asked for; else it becomes a list.
    labels : ndarray of shape (n,), int64, or None
        Indices into `classes`. Labels that some inputs lack are one of the `targets` (see `labelled`).
    classes : tuple of str or None
        Names of the classes; ``"0"``, ``"1"``, ... when there are labels and no names are given.
    splits : ndarray of shape (n,), str, or None
        "train", "val" or "test".
    groups : ndarray of shape (n,), int64 or str, or None
        Images of one group (a patient, a scene) are never on both sides of a split.
    targets : dict of str to Task
        Further tasks (classes or numbers); an input may have no value in one.
    label_name : str, default="label"
        Name of the labels among the `tasks`.
    reading : ReadReport
        What was left out and what failed when the data was read, and where the splits come from.
    group_name : str, optional
        The column that `groups` come from, such as ``"speaker"``; ``"recording"`` for segments of one file.
    group_like : dict of str to ndarray of shape (n,), str
        Columns such as ``speaker`` or ``patient`` that the data has and that are not the `groups`; a value is
        empty where it is missing.

    Raises
    ------
    DatasetError
        If lengths disagree, an id occurs twice or a value is not valid.
    """

    name: str
    inputs: Sequence[Source]
    labels: np.ndarray | None = None
    classes: tuple[str, ...] | None = None
    splits: np.ndarray | None = None
    groups: np.ndarray | None = None
    targets: dict[str, Task] = field(default_factory=dict)
    label_name: str = LABEL
    reading: ReadReport = field(default_factory=ReadReport)
    group_name: str | None = None
    group_like: dict[str, np.ndarray] = field(default_factory=dict)
    _error: ClassVar[type[InputError]] = DatasetError

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise DatasetError(f"name must be a text, got {self.name!r}")
        for what in ("inputs", "classes"):
            value = getattr(self, what)
            if not isinstance(value, (Sequence, np.ndarray)) and not (what == "classes" and value is None):
                raise DatasetError(f"{self.name}: {what} must be a list, got {type(value).__name__}")
        if not is_compact(self.inputs):
            self.inputs = list(self.inputs)
            odd = next((one for one in self.inputs if not hasattr(one, "kind")), None)
            if odd is not None:
                raise DatasetError(
                    f"{self.name}: inputs must be sources of images, texts or clips, got {shown(odd)}; "
                    "from_arrays and load_dataset make them"
                )
        for what in ("labels", "splits", "groups"):
            value = getattr(self, what)
            if value is None:
                continue
            value = np.asarray(value)
            if value.shape != (len(self.inputs),):
                inputs = count_of(len(self), self.kind)
                raise DatasetError(
                    f"{self.name}: {what} must have one value for each of the {inputs}, "
                    f"got shape {value.shape}"
                )
            setattr(self, what, value)
        kinds = kinds_of(self.inputs)
        if len(kinds) > 1:
            raise DatasetError(
                f"{self.name}: expected inputs of one kind, got {' and '.join(sorted(kinds))}s"
            )
        self._check_ids()
        self._check_labels()
        try:
            name = None if self.labels is None else self.label_name
            self.targets = check_targets(name, self.targets, len(self.inputs))
        except InputError as error:
            raise DatasetError(f"{self.name}: {error}") from error
        if self.splits is not None and (
            unknown := sorted(set(np.unique(self.splits).tolist()) - set(SPLITS))
        ):
            raise DatasetError(
                f"{self.name}: unknown split {unknown[0]!r}; expected one of {', '.join(SPLITS)}"
            )

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def images(self) -> Sequence[Source]:
        """The same as `inputs`, whatever their kind."""
        return self.inputs

    @property
    def kind(self) -> str:
        """The kind of the inputs, such as ``"image"``."""
        return next(iter(kinds_of(self.inputs[:1])), "image")

    @property
    def ids(self) -> Sequence[str]:
        """The ids of the inputs, in order: a list, or a `StringColumn` of compact inputs."""
        return ids_of(self.inputs)

    def targets_frame(self) -> pandas.DataFrame:
        """Return all tasks as columns of a data frame whose index is the ids, to predict several at once.

        A task of classes is a column of names (None where missing), a task of numbers one of float64 (NaN
        where missing).
        """
        import pandas

        index = pandas.Index(self.ids, name="id")
        columns = {name: task.column() for name, task in self.tasks.items()}
        # With an explicit dtype pandas keeps None and does not make it NaN.
        return pandas.DataFrame(
            {name: pandas.Series(c, index=index, dtype=c.dtype) for name, c in columns.items()}, index=index
        )

    def subset(self, indices: Sequence[int] | np.ndarray) -> Dataset:
        """Return the inputs at `indices` (whole numbers or a mask), in that order, with the same classes."""
        rows = self._row_numbers(indices)
        group_like = {name: values[rows] for name, values in self.group_like.items()}
        return self._take(rows, inputs=take_inputs(self.inputs, rows), group_like=group_like)

    def labelled(self) -> Dataset:
        """Return the inputs with a value in some task; `reading` has the ids of the others."""
        present = self._has_value()
        kept = super().labelled()
        if len(kept) == len(self):
            return kept
        others = ids_of(take_inputs(self.inputs, np.flatnonzero(~present)))
        return replace(kept, reading=replace(kept.reading, unlabelled=(*kept.reading.unlabelled, *others)))

    def limit(self, n: int, seed: int = 0) -> Dataset:
        """Draw at most `n` inputs, in proportion from every class of every split, and keep their order.

        The classes are those of the first task that has any.

        Parameters
        ----------
        n : int
            At least 1.
        seed : int, default=0
            With the same seed, the inputs of a smaller limit are among those of a larger one.

        Notes
        -----
        Each stratum gets one place, the largest stratum first; every further place goes to the stratum with
        the largest ``size / (2 k + 1)``, where k counts its places (Webster and Sainte-Laguë). Unlike rounded
        quotas, this takes no place back as `n` grows.
        """
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
            raise DatasetError(f"limit must be a whole number of at least 1, got {n!r}")
        if n >= len(self):
            return self
        members = self._strata()
        places = [0] * len(members)
        queue = [(-float("inf"), -len(rows), s) for s, rows in enumerate(members)]
        heapq.heapify(queue)
        for _ in range(int(n)):
            _, minus_size, s = heapq.heappop(queue)
            places[s] += 1
            if places[s] < -minus_size:
                heapq.heappush(queue, (minus_size / (2 * places[s] + 1), minus_size, s))
        rng = np.random.default_rng(seed)
        drawn = [rng.permutation(rows)[:k] for rows, k in zip(members, places, strict=True)]
        return self.subset(np.sort(np.concatenate(drawn)))

    def _strata(self) -> list[np.ndarray]:
        """Return the row numbers of every class of every split."""
        of_classes = (task.values for task in self.tasks.values() if task.classes is not None)
        label = next(of_classes, np.zeros(len(self), np.int64))
        split = np.zeros(len(self), np.int64)
        if self.splits is not None:
            split = np.select([self.splits == name for name in SPLITS], np.arange(len(SPLITS)))
        _, stratum = np.unique(label * len(SPLITS) + split, return_inverse=True)
        order = np.argsort(stratum, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(stratum[order])) + 1)

    def _check_ids(self) -> None:
        ids = self.ids
        twice = ids.first_repeated() if isinstance(ids, StringColumn) else None
        if twice is not None or (not isinstance(ids, StringColumn) and len(set(ids)) != len(ids)):
            (first, count), *_ = Counter(ids).most_common(1)
            raise DatasetError(
                f"{self.name}: {count_of(count, self.kind)} have the id {first!r}; ids must be distinct"
            )

    def _check_labels(self) -> None:
        if self.classes is not None:
            self.classes = tuple(str(name) for name in self.classes)
            if len(set(self.classes)) != len(self.classes):
                (first, _), *_ = Counter(self.classes).most_common(1)
                raise DatasetError(f"{self.name}: two classes are named {first!r}")
        if self.labels is None:
            return
        if self.labels.dtype.kind not in "iu" and self.labels.size:
            raise DatasetError(
                f"{self.name}: labels must be indices of classes (int64), got dtype {self.labels.dtype}; "
                "from_arrays and load_dataset take class names"
            )
        self.labels = self.labels.astype(np.int64)
        low, high = (int(self.labels.min()), int(self.labels.max())) if self.labels.size else (0, -1)
        if self.classes is None:
            self.classes = tuple(str(i) for i in range(high + 1))
        if low < 0 or high >= len(self.classes):
            wrong = low if low < 0 else high
            raise DatasetError(f"{self.name}: label {wrong} is no index into the {len(self.classes)} classes")


def require_labelled(dataset: Dataset) -> None:
    """Raise `DatasetError` unless classifiers can be trained: two or more classes of two or more inputs."""
    notes = "".join(f"; {note}" for note in dataset.reading.notes)
    if dataset.labels is None or dataset.classes is None:
        raise DatasetError(
            f"{dataset.name}: the {dataset.kind}s have no labels; put them into one folder per class, "
            + _TABLES[dataset.kind]
            + notes
        )
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    present = np.flatnonzero(counts)
    rest = len(dataset.reading.unlabelled)
    hint = f"; {rest} more have no label: featx label" if rest else ""
    if len(present) < 2:
        names = ", ".join(repr(dataset.classes[i]) for i in present) or "none"
        raise DatasetError(
            f"{dataset.name}: a classifier needs at least 2 classes, got {len(present)}: {names}{notes}{hint}"
        )
    small = np.flatnonzero(counts < 2)
    if len(small):
        named = ", ".join(f"{dataset.classes[i]!r} has {counts[i]}" for i in small[:5])
        more = f" and {len(small) - 5} more" if len(small) > 5 else ""
        raise DatasetError(
            f"{dataset.name}: every class needs at least 2 {dataset.kind}s to train and to test; "
            f"{named}{more}{hint}"
        )


def check_evaluated_classes(dataset: Dataset, place: str) -> None:
    """Raise `DatasetError`, naming `place`, if a class of the test (or val) split has no training input."""
    held_out, _, unseen = classes_on_one_side(dataset)
    if unseen:
        raise DatasetError(
            f"{place}: in {held_out} but not in train: {quote_names(unseen)}; "
            f"every class needs training {dataset.kind}s"
        )


def classes_on_one_side(collection: Collection) -> tuple[str, list[str], list[str]]:
    """Return the split that is evaluated (test, or val without it), and the classes found in one part only.

    The first list is of those in the training part, the second of those in the evaluated one; both are empty
    if one part is.
    """
    splits, labels, classes = collection.splits, collection.labels, collection.classes
    if splits is None or labels is None or classes is None:
        return "test", [], []
    held_out = "test" if (splits == "test").any() else "val"
    evaluated = splits == held_out
    if evaluated.all() or not evaluated.any():
        return held_out, [], []
    tested, trained = set(labels[evaluated].tolist()), set(labels[~evaluated].tolist())
    untested, unseen = ([classes[i] for i in sorted(only)] for only in (trained - tested, tested - trained))
    return held_out, untested, unseen


def quote_names(names: Sequence[Any], shown: int = 5) -> str:
    """Return the first `shown` names, quoted, and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(repr(str(name)) for name in names[:shown]) + more
