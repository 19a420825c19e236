"""Make datasets of images, clips and texts in memory, of lists of paths, and of torch Datasets."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.data.dataset import Dataset
from featx.data.labels import encode_labels, list_per_input, merge_classes, parse_groups, parse_splits
from featx.data.readers.clips import clip_of, clips_in, is_sampled, make_clip_sources
from featx.data.readers.images import IMAGE_KEYS, fetch_image, list_rows, make_sources
from featx.data.readers.known_columns import AUDIO_KEYS
from featx.data.readers.label_keys import refuse_labels_in
from featx.data.readers.naming import name_of_object
from featx.data.readers.texts import TEXT_KEYS, make_text_sources, texts_in
from featx.data.tasks import LABEL, check_not_empty, make_task, make_tasks
from featx.errors import DatasetError
from featx.inputs import Source
from featx.inputs.audio import SOURCES as CLIP_SOURCES
from featx.inputs.audio import LazyClip
from featx.inputs.image import SOURCES, LazyImage
from featx.inputs.text import SOURCES as TEXT_SOURCES
from featx.inputs.text import LazyText
from featx.kinds import KINDS
from featx.options.checks import one_of
from featx.places import is_url, shown


def from_arrays(
    images: Any,
    labels: Any = None,
    *,
    splits: Any = None,
    groups: Any = None,
    ids: Any = None,
    classes: Sequence[str] | None = None,
    name: str = "arrays",
    label: Any = None,
    target: Any = None,
    on_error: str = "raise",
    kind: str | None = None,
) -> Dataset:
    """Make a dataset of images, clips or texts in memory, or of paths.

    Parameters
    ----------
    images : sequence of str, Path, bytes, PIL image, array or tensor; or one array of all images
        Images, clips or texts, see `inputs_of`; samples in an array: ``clips(samples, rate)``, see
        `featx.data.clips`.
    labels : array-like of shape (n,) or (n, k), DataFrame or dict of columns, optional
        Class names or whole numbers, None or NaN for an image without a label; with `classes`, indices into
        them. Each of several columns is a task of the inputs that have a value in it; a column of floats with
        any fraction is numbers, every other one is classes.
    splits : array-like of shape (n,), optional
        "train", "val" or "test".
    groups : array-like of shape (n,), optional
    ids : array-like of shape (n,), optional
        Distinct; default: the path, or the position of an input in memory.
    classes : sequence of str, optional
        Names of the classes in order.
    name : str, default="arrays"
    label, target : str or sequence of str, optional
        Which columns of `labels` are classes, and which are numbers; default: all, by the rule above.
    on_error : {"raise", "skip"}, default="raise"
        Whether a row that is no input of that kind is an error now, or when it is read, as a broken file is.
    kind : {"image", "text", "clip"}, optional
        What strings are: paths of images or of audio files, or texts. By default they decide, see
        `inputs_of`.

    Raises
    ------
    DatasetError
        If lengths disagree or a value is wrong, naming the parameter and the position.
    """
    one_of(*KINDS, optional=True)("kind", kind)
    listed = list_rows(images, name, kind or "image")
    n = len(listed)
    if n == 0:
        raise DatasetError(f"{name}: no {kind or 'image'}s")
    refuse_labels_in(listed, name, (*AUDIO_KEYS, *IMAGE_KEYS, *TEXT_KEYS))
    listed, make = _inputs_in(listed, kind)
    if ids is None:
        names = _ids(listed, of_texts=make is make_text_sources)
    else:
        names = [str(id) for id in list_per_input(ids, n, "ids")]
    tasks = None if labels is None else make_tasks(labels, n, label, target)
    if tasks is None and labels is not None and classes is None:
        tasks = [make_task(LABEL, list_per_input(labels, n, "labels"), _label_error)]
    encoded, class_list = None, None
    if tasks is not None:
        if classes is not None:
            raise DatasetError("classes: each of several columns has classes of its own; leave classes out")
        check_not_empty(tasks, name)
    elif classes is not None:
        indices = [] if labels is None else list_per_input(labels, n, "labels")
        encoded, class_list = merge_classes(indices, classes)
    dataset = Dataset(
        name,
        make(listed, name, names, on_error=on_error),
        None if labels is None else encoded,
        class_list,
        None if splits is None else parse_splits(splits, n),
        None if groups is None else parse_groups(groups, n),
    )
    return dataset if tasks is None else dataset.with_tasks(tasks)


def _inputs_in(rows: list[Any], kind: str | None) -> tuple[list[Any], Any]:
    """Return rows as inputs of the kind that they are, and the function that makes their sources."""
    sounds = clips_in(rows, kind)
    if sounds is not None:
        return sounds, make_clip_sources
    texts = texts_in(rows, kind)
    return (rows, make_sources) if texts is None else (texts, make_text_sources)


def from_torch(dataset: Any, name: str | None = None) -> Dataset:
    """Make a dataset of a map-style torch Dataset; inputs are fetched when they are read.

    Parameters
    ----------
    dataset : object with ``__len__`` and ``__getitem__``
        Its items are ``(input, label)`` or inputs: a PIL image, a uint8 array, a tensor (CHW; uint8, or
        floating in [0, 1]), a clip ``(samples, rate)``, or a text; a string is the path of an image or clip
        if the first one ends like one or is a file. Items ``(samples, rate, label, ...)``, as torchaudio's
        datasets have them, are clips, too. The dataset's own transform should neither be random nor
        normalise. Labels come from ``.targets``, ``.labels`` or ``._labels`` (also through
        ``torch.utils.data.Subset``), else from all items; class names from ``.classes``.
    name : str, optional
        Default: see `featx.data.readers.naming.name_of_object`.
    """
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise DatasetError(
            f"expected a dataset with __len__ and __getitem__, got {type(dataset).__name__}; "
            "an iterable dataset has no order: make it a list"
        )
    name = name or name_of_object(dataset)
    n = len(dataset)
    if n == 0:
        raise DatasetError(f"{name}: the dataset is empty")
    first = dataset[0]
    labels = None
    if isinstance(first, (tuple, list)) and not is_sampled(first):
        labels = _stored_labels(dataset)
        if labels is None or len(labels) != n:
            labels = [_item_label(dataset[i], i, name) for i in range(n)]
    width = len(str(n - 1))
    ids = [f"{i:0{width}d}" for i in range(n)]
    texts = texts_in([_input_of(first)])
    inputs: list[Source]
    if clips_in([_input_of(first)]) is not None:
        inputs = [LazyClip(id, functools.partial(_item_clip, dataset, i, id)) for i, id in enumerate(ids)]
    elif texts and isinstance(texts[0], str):
        inputs = [LazyText(id, functools.partial(_item_text, dataset, i)) for i, id in enumerate(ids)]
    else:
        inputs = [LazyImage(id, functools.partial(_item_image, dataset, i, id)) for i, id in enumerate(ids)]
    if labels is None:
        return Dataset(name, inputs)
    labels = [label.item() if hasattr(label, "item") else label for label in labels]
    classes = _classes(dataset)
    indices = all(isinstance(label, int) and not isinstance(label, bool) for label in labels)
    if classes and indices and min(labels) >= 0 and max(labels) < len(classes):
        return Dataset(name, inputs, *merge_classes(np.array(labels, np.int64), classes))
    encoded, names = encode_labels(labels, n)
    return Dataset(name, inputs, encoded, names)


def _label_error(i: int, problem: str) -> DatasetError:
    return DatasetError(f"labels[{i}]: {problem}")


def _ids(inputs: list, *, of_texts: bool) -> list[str]:
    """Return an id for each input: path, source's id, or position; repeated ids get their position added."""
    width = len(str(len(inputs) - 1))
    names = []
    for i, one in enumerate(inputs):
        if not of_texts and is_url(one):
            names.append(shown(one))
        elif isinstance(one, os.PathLike) or (isinstance(one, str) and not of_texts):
            names.append(Path(one).as_posix())
        elif isinstance(one, (*SOURCES, *TEXT_SOURCES, *CLIP_SOURCES)):
            names.append(one.id)
        else:
            names.append(f"{i:0{width}d}")
    counts = Counter(names)
    return [f"{name}#{i}" if counts[name] > 1 else name for i, name in enumerate(names)]


def _input_of(item: Any) -> Any:
    if not isinstance(item, (tuple, list)):
        return item
    return tuple(item[:2]) if is_sampled(item[:2]) else item[0]


def _item_image(dataset: Any, i: int, id: str) -> object:
    return fetch_image(_input_of(dataset[i]), id)


def _item_clip(dataset: Any, i: int, id: str) -> object:
    return clip_of(_input_of(dataset[i]), id)


def _item_text(dataset: Any, i: int) -> object:
    return _input_of(dataset[i])


def _item_label(item: Any, i: int, name: str) -> Any:
    if not isinstance(item, (tuple, list)) or len(item) < 2:
        raise DatasetError(f"{name}: item {i} is not (input, label)")
    return item[2] if len(item) > 2 and is_sampled(item[:2]) else item[1]


def _stored_labels(dataset: Any) -> list | None:
    """Return the labels that the dataset keeps, without opening an image; None if it keeps none."""
    if hasattr(dataset, "dataset") and hasattr(dataset, "indices"):
        whole = _stored_labels(dataset.dataset)
        return None if whole is None else [whole[int(i)] for i in dataset.indices]
    for attribute in ("targets", "labels", "_labels"):
        kept = getattr(dataset, attribute, None)
        # A target_transform would change the stored labels.
        if kept is None or getattr(dataset, "target_transform", None) is not None:
            continue
        kept = kept.tolist() if hasattr(kept, "tolist") else kept
        if isinstance(kept, (list, tuple)) and all(isinstance(label, (int, str)) for label in kept):
            return list(kept)
    return None


def _classes(dataset: Any) -> list | None:
    while not hasattr(dataset, "classes") and hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    classes = getattr(dataset, "classes", None)
    return list(classes) if isinstance(classes, (list, tuple)) else None
