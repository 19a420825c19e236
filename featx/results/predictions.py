"""Keep what each method predicted for each test input: the file ``predictions.csv`` beside the results.

Its columns are ``id``, for texts ``text``, ``true``, then a column for each method with the class (or number)
that it predicted, and, for classes, one called ``METHOD probability`` with the probability of that class. A
method is called by its name, and where several backbones have a method of that name, by name and backbone:
``logreg resnet18``.
"""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from featx.durable import read_regular
from featx.errors import InputError, UnknownName, as_one_error
from featx.options import checked
from featx.results.methods import MethodResult
from featx.results.shown import Shown, brief
from featx.spreadsheet import csv_text, original_cell, text_cell

if TYPE_CHECKING:
    import pandas

#: The name of the file, beside ``results.json``.
PREDICTIONS_FILE = "predictions.csv"
_PROBABILITY = " probability"
# A larger file is not read.
_MOST_BYTES = 2**32


@dataclass(frozen=True, eq=False)
class Predicted(Shown):
    """What one method predicted for the test inputs, in their order.

    Attributes
    ----------
    values : ndarray of shape (n_test,)
        Names of classes (object), or numbers (float64).
    probability : ndarray of shape (n_test,), float64, or None
        Of the predicted class; None for numbers.
    """

    values: np.ndarray
    probability: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class TestPredictions(Shown):
    """What every method predicted for every test input.

    Attributes
    ----------
    ids : list of str
        Ids of the test inputs.
    true : ndarray of shape (n_test,)
        Their classes by name (object), or their numbers (float64).
    methods : dict of str to Predicted
        By the name of the method; see `column_names`.
    texts : list of str, or None
        The inputs themselves, if they are texts.
    kind : str
        The kind of the inputs, if they are no texts.
    """

    __test__ = False  # no test of pytest

    ids: list[str]
    true: np.ndarray
    methods: dict[str, Predicted] = field(default_factory=dict)
    texts: list[str] | None = None
    kind: str = "image"

    @property
    def are_numbers(self) -> bool:
        """Whether numbers were predicted."""
        return self.true.dtype.kind == "f"

    def __len__(self) -> int:
        return len(self.ids)

    def _facts(self) -> dict[str, str]:
        kind = self.kind if self.texts is None else "text"
        return {f"test {kind}s": f"{len(self):,}", "methods": brief(list(self.methods))}

    def __getitem__(self, method: str) -> Predicted:
        if not isinstance(method, str) or method not in self.methods:
            raise UnknownName("method", method, self.methods)
        return self.methods[method]

    def columns(self) -> dict[str, Sequence[Any]]:
        """Return the columns of the file."""
        found: dict[str, Sequence[Any]] = {"id": self.ids}
        if self.texts is not None:
            found["text"] = self.texts
        found["true"] = self.true.tolist()
        for name, predicted in self.methods.items():
            found[name] = predicted.values.tolist()
            if predicted.probability is not None:
                found[name + _PROBABILITY] = predicted.probability.tolist()
        return found

    def to_frame(self) -> pandas.DataFrame:
        """Return the columns of the file as a data frame."""
        import pandas

        return pandas.DataFrame(self.columns())

    def to_csv(self) -> str:
        """Return the file: probabilities with six digits, every cell as a spreadsheet takes it."""
        columns = self.columns()
        if self.texts is not None:
            columns["text"] = [text_cell(text) for text in self.texts]
        for name, predicted in self.methods.items():
            if predicted.probability is not None:
                columns[name + _PROBABILITY] = [float(f"{value:.6g}") for value in predicted.probability]
        return csv_text(list(columns), zip(*columns.values(), strict=True))

    def mistakes(self, method: str) -> list[dict[str, Any]]:
        """Return the inputs that a method got wrong, the worst mistake first.

        Parameters
        ----------
        method : str
            A key of `methods`.

        Returns
        -------
        list of dict
            ``id``, for texts ``text``, ``true``, ``predicted``, and ``probability``: of the predicted class,
            the highest first. For numbers all inputs, and instead of it ``error``, predicted - true, the
            largest first.

        Raises
        ------
        UnknownName
            There is no such method.
        """
        found = self[method]
        if self.are_numbers:
            name, column = "error", found.values - self.true
            order = np.argsort(-np.abs(column), kind="stable")
        else:
            name, column = "probability", found.probability
            column = np.full(len(self), np.nan) if column is None else column
            wrong = np.flatnonzero(found.values != self.true)
            order = wrong[np.argsort(-column[wrong], kind="stable")]
        true, predicted, last = (values[order].tolist() for values in (self.true, found.values, column))
        return [
            {"id": self.ids[i]}
            | ({} if self.texts is None else {"text": self.texts[i]})
            | {"true": t, "predicted": p, name: x}
            for i, t, p, x in zip(order.tolist(), true, predicted, last, strict=True)
        ]

    @classmethod
    @checked(path="file")
    def read_csv(cls, path: str | os.PathLike[str], *, numbers: bool = False) -> Self:
        """Read the file.

        Parameters
        ----------
        path : path-like
        numbers : bool, default=False
            Whether numbers were predicted; the file alone does not tell ``3`` from a class of that name.

        Raises
        ------
        InputError
            It cannot be read, or is no such file.
        """
        place = os.fspath(path)
        with as_one_error(lambda reason: InputError(f"{place}: no predictions of a comparison ({reason})")):
            text = read_regular(path, at_most=_MOST_BYTES).decode("utf-8-sig")
            head, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
            first = 3 if head[1:2] == ["text"] else 2
            if [head[0], *head[first - 1 : first]] != ["id", "true"] or len(set(head)) < len(head):
                raise ValueError("the first columns are not id and true")
            columns = {
                original_cell(name): [original_cell(cell) for cell in cells]
                for name, *cells in zip(head, *rows, strict=True)
            }

            def values(name: str) -> np.ndarray:
                return np.array(columns[name], dtype=np.float64 if numbers else object)

            methods = {}
            for name in list(columns)[first:]:
                stem = name.removesuffix(_PROBABILITY)
                if stem == name or stem not in columns:
                    given = columns.get(name + _PROBABILITY)
                    probability = None if given is None else np.array(given, np.float64)
                    methods[name] = Predicted(values(name), probability)
            return cls(columns["id"], values("true"), methods, columns["text"] if first == 3 else None)


def column_names(methods: Iterable[MethodResult]) -> list[str]:
    """Return the name of each method among `methods`: with the backbone where two have the same name."""
    methods = list(methods)
    counts = Counter(method.name for method in methods)
    return [
        method.name if counts[method.name] == 1 else f"{method.name} {method.backbone}" for method in methods
    ]
