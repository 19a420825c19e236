"""Choose the inputs of a partly labelled collection to label next, and suggest their labels."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from featx.data import Dataset
from featx.data.features import Failure, Features, check_rows
from featx.data.label_table import LabelTable
from featx.data.labels import class_name, encode
from featx.data.readers.archives.archived_files import path_of_source
from featx.data.readers.segments import segment_in_name
from featx.data.rows import has_rows, take_features
from featx.data.tasks import Task, choose_tasks
from featx.errors import DatasetError, InputError, SourceError, UnknownName
from featx.extraction import backbone_of, extract_features, network_embedder
from featx.inputs.audio import WHOLE, Segment
from featx.inputs.text import is_text_file
from featx.options import Network, Reading, Run, require_no_network
from featx.options.checks import short
from featx.places import is_url
from featx.studies.collections import open_dataset

#: ``"auto"`` and the functions of `featx.analysis.labelling`.
STRATEGIES = ("auto", "typical", "k-center", "margin", "badge")
# Labels for each class, on average, from which a probe knows what it is unsure of. With fewer, a low budget
# in the words of Hacohen et al. (ICML 2022), typical images are best. Of those that the probe is unsure of,
# BADGE (Ash et al., ICLR 2020) does not choose ten photographs of one scene.
_FEW = 10


class LabelRow(NamedTuple):
    """An input with its label, or with a suggested one (None unless two classes have labels).

    Its `path` is ``""`` for a text that is in no file; `text` is the text, None for other inputs; `segment`
    is the part of the file that is the clip.
    """

    id: str
    path: str
    label: str | None
    suggested: str | None
    confidence: float | None
    split: str | None
    group: str | None
    text: str | None = None
    segment: Segment = WHOLE


class LabelChoice(NamedTuple):
    """All inputs as rows of a table: those to label next first, then the others without a label."""

    rows: list[LabelRow]
    n: int  # to label next
    strategy: str
    failures: list[Failure]  # inputs that could not be read


@dataclass
class LabelPool:
    """The images, texts or clips of a collection or of a features file, of which some have a label.

    Attributes
    ----------
    place : str
        The data in messages.
    images : Dataset or Features
    names : list of str or None
        The label of each input, None without one.
    folder : path-like
        The folder that the ids of a features file are relative to.
    """

    place: str
    images: Dataset | Features
    names: list[str | None]
    folder: str | os.PathLike[str] = ""

    @classmethod
    def open(cls, data: Any, *, reading: Reading, run: Run) -> LabelPool:
        """Read the inputs and their labels; of several kinds, those that `reading.label` names."""
        images: Dataset | Features
        if has_rows(data):
            _, place, images = take_features(data, reading)
        else:
            place = str(data)
            images = open_dataset(data, reading=reading, run=run, seed=0, labelled=False)
        task = _task(images, reading.label, place)
        return cls(place, images, [None] * len(images) if task is None else task.column().tolist())

    def path_of(self, i: int) -> str:
        """Return the path of an input; a features file has ids only, which begin in `folder`.

        It is ``""`` for a text that is in no file.
        """
        kind = self.images.kind
        if isinstance(self.images, Features):
            id = self.images.ids[i]
            return os.path.join(self.folder, segment_in_name(id)[0] if kind == "clip" else id)
        path = path_of_source(self.images.inputs[i])
        if path is not None:
            return path
        if kind != "text":
            raise InputError(
                f"{self.place}: a table of labels names {kind}s by their paths or URLs, and these have none; "
                "write each to a file of its own, or give an archive on this machine"
            )
        return ""

    def segment_of(self, i: int) -> Segment:
        """Return the part of its file that a clip is; the whole of it for other inputs."""
        if self.images.kind != "clip":
            return WHOLE
        if isinstance(self.images, Features):
            return segment_in_name(self.images.ids[i])[1]
        return getattr(self.images.inputs[i], "segment", WHOLE)

    @property
    def of_segments(self) -> bool:
        """Whether some clip is a part of its file."""
        return not all(self.segment_of(i).is_whole for i in range(len(self.images)))

    @property
    def of_texts(self) -> bool:
        """Whether a table of labels holds the texts; otherwise it holds paths of files.

        `InputError` for embeddings of texts that were in no file: nobody could label them.
        """
        if self.images.kind != "text":
            return False
        if isinstance(self.images, Dataset):
            return any(path_of_source(source) is None for source in self.images.inputs)
        if not all(is_text_file(id) for id in self.images.ids):
            raise InputError(
                f"{self.place}: a table of labels holds the texts, and these are embeddings only; give the "
                "data that they were made of: its embeddings are in the cache"
            )
        return False

    @property
    def has_inputs(self) -> bool:
        """Whether the images, texts or clips are there, and not only their embeddings."""
        return isinstance(self.images, Dataset)

    def add_labels(self, table: LabelTable) -> None:
        """Take the labels that are filled in; they come before those of the data.

        Raises
        ------
        DatasetError
            The table has a label for an input that is not in the data.
        """
        self.folder = table.file.parent
        everything = range(len(self.names))
        inputs = [
            # Absolute, because the table may lie elsewhere than the working directory.
            (self._text_of(i) or "") if table.of_texts else _absolute(self.path_of(i))
            for i in everything
        ]
        segments = [self.segment_of(i) for i in everything] if table.of_segments else []
        where = {key: i for i, key in enumerate(table.keys_of(inputs, segments))}
        for key, label in table.labels.items():
            if key not in where:
                cells = table.rows[key]
                named = short(cells["text"]) if table.of_texts else cells["path"]
                raise DatasetError(
                    f"{table.file}: {named} has a label and is not in {self.place}; put "
                    f"the {self.images.kind} back, or remove the row"
                )
            self.names[where[key]] = class_name(label)

    def _text_of(self, i: int) -> str | None:
        """Return a text; None for what is no text, cannot be read, or is not at hand."""
        if isinstance(self.images, Features) or self.images.kind != "text":
            return None
        try:
            return str(self.images.inputs[i].read().text)
        except SourceError:
            return None

    def choose(
        self,
        n: int = 20,
        *,
        strategy: str = "auto",
        model: Any = None,
        backbone: Any = "auto",
        network: Network,
        run: Run,
        seed: int = 0,
    ) -> LabelChoice:
        """Choose at most `n` inputs to label next, and suggest a label for every one without a label.

        Parameters
        ----------
        n : int, default=20
        strategy : str, default="auto"
            One of `STRATEGIES`. ``"auto"`` is ``"typical"`` up to ten labels a class, then ``"badge"``; with
            a model ``"margin"``.
        model : featx.Model, optional
            Suggests the labels; default: logistic regression on the inputs with a label.
        backbone, network, run, seed
            As in `featx.extract`.

        Raises
        ------
        InputError
            Every input has a label; or the strategy needs labels of two classes.
        UnknownName
            There is no such strategy.
        """
        if all(name is not None for name in self.names):
            found = sorted({str(name) for name in self.names})
            named = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
            kind = self.images.kind
            raise InputError(
                f"{self.place}: every {kind} has a label ({named}); put new {kind}s into a folder "
                "unlabelled/, or leave their labels blank"
            )
        self._check_strategy(strategy, model, {name for name in self.names if name is not None})
        at = {id: i for i, id in enumerate(self.images.ids)}
        if isinstance(self.images, Features):
            require_no_network(network, run, backbone=backbone)
            features, names = self.images, self.names
        else:
            embedder = network_embedder(backbone_of(backbone, network, self.images.kind), run)
            features = extract_features(self.images, embedder, run)
            names = [self.names[at[id]] for id in features.ids]
        check_rows(features.embeddings, features.ids, self.place, features.kind)
        known = np.array([name is not None for name in names])
        pool = np.flatnonzero(~known)
        if not len(pool):
            raise InputError(f"{self.place}: every {self.images.kind} that can be read has a label")
        y, classes = encode([name for name in names if name is not None])
        if strategy == "auto":
            few = len(classes) < 2 or len(y) < _FEW * len(classes)
            strategy = "margin" if model is not None else "typical" if few else "badge"
        self._check_strategy(strategy, model, classes)  # some inputs may be unreadable
        asked = None if model is None else _ask(model, self.images, features, ~known, run, network.trust_code)
        guess = _Guess.of(model, asked, features, known, y, classes, seed)
        chosen = _choose(strategy, features.embeddings, known, guess, min(n, len(pool)), seed)
        order = [*chosen, *np.setdiff1d(np.arange(len(pool)), chosen)]
        rows = [self._row(at[features.ids[pool[k]]], guess and guess.best(k)) for k in order]
        read = set(features.ids)  # an input that cannot be read may have a label, too
        rest = [i for id, i in at.items() if self.names[i] is not None or id not in read]
        return LabelChoice([*rows, *map(self._row, rest)], len(chosen), strategy, features.failures)

    def _check_strategy(self, strategy: str, model: Any, classes: Collection[str]) -> None:
        """Refuse an unknown strategy, and one that needs a probe where none can be trained."""
        if strategy not in STRATEGIES:
            raise UnknownName("strategy", strategy, STRATEGIES)
        if strategy == "badge" and model is not None:
            raise InputError("--strategy badge needs the probe that is trained here; leave out --model")
        if strategy in ("margin", "badge") and model is None and len(classes) < 2:
            raise InputError(
                f"{self.place}: --strategy {strategy} needs {self.images.kind}s of two classes that are "
                f"labelled, got {len(classes)}; start with --strategy typical"
            )

    def _row(self, i: int, guess: tuple[str, float] | None = None) -> LabelRow:
        of = self.images
        split, group = (None if values is None else str(values[i]) for values in (of.splits, of.groups))
        suggested, confidence = guess or (None, None)
        path, text = self.path_of(i), self._text_of(i)
        segment = self.segment_of(i)
        return LabelRow(of.ids[i], path, self.names[i], suggested, confidence, split, group, text, segment)


def _absolute(path: str) -> str:
    return path if is_url(path) else os.path.abspath(path)


class _Guess(NamedTuple):
    """Probabilities of the inputs without a label, and their rows as the probe takes them."""

    probabilities: np.ndarray  # (n_pool, n_classes)
    classes: tuple[str, ...]
    rows: np.ndarray | None

    def best(self, k: int) -> tuple[str, float]:
        """Return the most probable class of an input, and its probability."""
        c = int(self.probabilities[k].argmax())
        return self.classes[c], float(self.probabilities[k, c])

    @classmethod
    def of(
        cls,
        model: Any,
        asked: np.ndarray | None,
        features: Features,
        known: np.ndarray,
        y: np.ndarray,
        classes: tuple[str, ...],
        seed: int,
    ) -> _Guess | None:
        """Take what a model was asked, or else ask a probe fitted on the inputs with a label.

        None without two classes.
        """
        pool = ~known
        if asked is not None:
            return cls(asked, tuple(model.classes), None)
        if len(classes) < 2:
            return None
        from featx.methods.probes import fit_probe

        groups = None if features.groups is None else features.groups[known]
        fitted = fit_probe("logreg", features.embeddings[known], y, groups=groups, seed=seed)
        rows = features.embeddings[pool]
        return cls(fitted.predict_proba(rows), classes, fitted.estimator.estimator_[:-1].transform(rows))


def _ask(
    model: Any,
    images: Dataset | Features,
    features: Features,
    pool: np.ndarray,
    run: Run,
    trust_code: bool,
) -> np.ndarray:
    """Return the model's probabilities for the inputs without a label."""
    if isinstance(images, Features):
        return np.asarray(model.predict_proba(features.subset(pool)))
    wanted = {id for id, free in zip(features.ids, pool, strict=True) if free}
    # Not `on_error`: these inputs were read before.
    options = {name: getattr(run, name) for name in ("engine", "device", "batch_size", "cache", "verbose")}
    asked = images.subset([i for i, id in enumerate(images.ids) if id in wanted])
    return np.asarray(model.predict_proba(asked, trust_code=trust_code, **options))


def _choose(
    strategy: str, embeddings: np.ndarray, known: np.ndarray, guess: _Guess | None, n: int, seed: int
) -> np.ndarray:
    """Return positions among the inputs without a label, the one to label first on top."""
    from featx.analysis.labelling import badge, k_center, margin, typical

    if strategy == "typical":
        return typical(embeddings[~known], n, labelled=embeddings[known], seed=seed)
    if strategy == "k-center":
        return k_center(embeddings[~known], n, labelled=embeddings[known])
    assert guess is not None
    if strategy == "margin":
        return margin(guess.probabilities, n)
    assert guess.rows is not None
    return badge(guess.rows, guess.probabilities, n, seed=seed)


def _task(images: Dataset | Features, label: Any, place: str) -> Task | None:
    """Return the task with unlabelled inputs, or None if no input has a label."""
    if label is not None:
        return choose_tasks(images.tasks, label, None, place)[0]
    tasks = [task for task in images.tasks.values() if task.kind == "classes"]
    lacking = [task for task in tasks if not task.present.all()] or tasks
    if len(lacking) > 1:
        names = " or ".join(task.name for task in lacking)
        raise InputError(f"{place}: labels of several kinds; say which with --label {names}")
    return lacking[0] if lacking else None
