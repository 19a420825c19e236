"""Read a folder of images, clips or texts: one subfolder per class, perhaps inside train/, val/ and test/."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from featx.data.collection import lack_of_groups
from featx.data.dataset import Dataset, check_evaluated_classes, quote_names
from featx.data.labels import encode
from featx.data.read_report import ReadReport
from featx.data.readers.folder_layout import Layout, inner_folder_notes, is_unlabelled, read_layout
from featx.data.readers.folder_listing import Listing, Parts, PathFinder, list_inputs
from featx.data.readers.table import SUFFIXES
from featx.data.tasks import LABEL, Task
from featx.errors import DatasetError
from featx.inputs import Source
from featx.inputs.audio import FileClip
from featx.inputs.image import FileImage
from featx.inputs.text import FileText

# Suffixes of documents whose text featx does not read.
_DOCUMENTS = {".docx", ".doc", ".pdf", ".odt", ".rtf", ".html", ".htm", ".md", ".epub"}


def read_folder(
    path: str | os.PathLike[str],
    *,
    labelled: bool = True,
    split_by: str | None = None,
    on_error: str = "raise",
) -> Dataset:
    """Read a folder of images, of audio files, or of ``.txt`` files with a text each.

    Parameters
    ----------
    path : str or Path
        Holds one folder per class, whose inputs may lie in further folders; or folders named like splits
        (``train/`` and ``test/``, ``training_set/`` and ``val_images/``), each with class folders; or only
        inputs, which are then unlabelled. Inputs in a folder ``unlabelled`` (or ``unlabeled``, in any case),
        and inputs beside the class folders, have no label (see `Dataset.labelled`).
    labelled : bool, default=True
        With False, class folders may be empty.
    split_by : {"folder", "none"}, optional
        Says what the top folders are, whatever their names: groups such as sites or cameras, each on one side
        of a split only, with the classes inside them (``"folder"``); or the classes (``"none"``). A folder
        has no other groups, for ``"group"``.
    on_error : {"raise", "skip"}, default="raise"
        Whether to stop at a folder that cannot be listed and at a pipe or device named like an input, or to
        list it in `Dataset.reading`. An input that cannot be opened is an error when it is read.

    Returns
    -------
    Dataset
        In sorted order; ids are POSIX paths below `path`. Its `reading` says what was left out.

    Raises
    ------
    DatasetError
        If there is no such folder, no input in it, an input beside the splits or groups, an empty class
        folder, or a class in test that is not in train; or if the top folders are not named like splits and
        hold folders of the same names, without `split_by`; or if it is not clear which kind of input is
        meant: images and clips with less than ten of one for each of the other, or more than ten texts for
        each image or clip.

    Notes
    -----
    With images or clips anywhere, it is a folder of these, and its ``.txt`` files (captions, transcripts,
    notes) are left out; so are a few images among more than ten times as many clips, and a few clips among
    images. Left out are also hidden files and folders, ``__MACOSX``, files of other suffixes, files without a
    suffix that hold no image, folders with results of featx, and in a folder of texts what is called
    ``README.txt``, ``LICENSE.txt`` or the like. A folder is visited once, by its real path, however many
    links lead to it.
    """
    root = Path(path).expanduser()
    if not root.exists():
        root = Path(PathFinder().find(os.fspath(root)))
    if not root.exists():
        raise DatasetError(f"{root}: no such folder")
    if not root.is_dir():
        raise DatasetError(f"{root}: not a folder")
    if split_by == "group":
        raise DatasetError(
            f"{root}: {lack_of_groups()}; --split-by folder (split_by='folder'): the top folders are groups"
        )
    listed = list_inputs(root, on_error=on_error)
    if not listed.files:
        found = f"; left out: {listed.left_out}" if listed.left_out else ""
        failed = f"; failed: {listed.failures[0]}" if listed.failures else ""
        suffixes = listed.left_out.suffixes.keys()
        documents, tables = sorted(suffixes & _DOCUMENTS), sorted(suffixes & set(SUFFIXES))
        hint = f"; {', '.join(documents)}: save each text as a .txt file" if documents else ""
        hint += f"; {', '.join(tables)}: give the table itself" if tables else ""
        raise DatasetError(
            f"{root}: no images in this folder (or below it), no audio, and no texts (.txt)"
            f"{found}{failed}{hint}"
        )
    layout = read_layout(str(root), listed.files, listed.folders, split_by, listed.kind)
    notes = _check(root, listed, layout, labelled)
    origin = f"the folders {layout.origin}"
    reading = ReadReport(
        splits_from=origin if layout.splits else "",
        groups_from=origin if layout.groups else "",
        left_out=listed.left_out,
        failures=tuple(listed.failures),
        notes=tuple(notes),
    )
    home = os.path.realpath(root)
    files = [("/".join(parts), os.path.join(root, *parts)) for parts in listed.files]
    if listed.kind == "image":
        inputs: list[Source] = [FileImage(id, place, tree=home) for id, place in files]
    else:
        of_kind = FileText if listed.kind == "text" else FileClip
        inputs = [of_kind(id, place) for id, place in files]
    dataset = Dataset(
        root.name or root.resolve().name,
        inputs,
        splits=None if layout.splits is None else np.array(layout.splits, "U5"),
        groups=None if layout.groups is None else np.array(layout.groups),
        reading=reading,
    )
    if layout.classes is not None:
        dataset = dataset.with_tasks([_labels(layout.classes)])
    check_evaluated_classes(dataset.labelled(), str(root))
    return dataset


def _labels(names: Sequence[str | None]) -> Task:
    labels = np.full(len(names), -1, np.int64)
    rows = [i for i, name in enumerate(names) if name is not None]
    labels[rows], classes = encode([name for name in names if name is not None])
    return Task(LABEL, labels, classes)


def _check(root: Path, listed: Listing, layout: Layout, labelled: bool) -> list[str]:
    """Refuse empty class folders if labels are needed; else return notes on them and on nested folders."""
    notes = []
    within = [parts for parts in listed.files if len(parts) > 1 and not is_unlabelled(parts[0])]
    top = {parts[0] for parts in within}
    inside = {parts[1] for parts in within if len(parts) > 2}
    if layout.splits is layout.groups is None and len(top) == 1 and len(inside) > 1:
        (only,) = top
        notes = [
            f"all {listed.kind}s lie in the one folder {only!r}, which holds folders itself: "
            f"if those are the classes, give {root / only}"
        ]
    elif layout.groups is None and layout.splits is None:
        notes = inner_folder_notes(listed.files, listed.kind)
    empty = _empty(listed, layout)
    if empty and labelled and layout.splits is layout.groups is None:
        raise DatasetError(
            f"{root}: no {listed.kind}s in the class folder {quote_names(empty)}; add some or remove it"
        )
    return [*notes, f"no {listed.kind}s in the folder {quote_names(empty)}"] if empty else notes


def _empty(listed: Listing, layout: Layout) -> list[str]:
    """Return the class folders that hold no input."""
    depths = {len(folder) for folder in layout.class_folders}
    full: set[Parts] = {parts[:depth] for parts in listed.files for depth in depths}
    failed = {tuple(error.id.split("/"))[:depth] for error in listed.failures for depth in depths}
    return sorted("/".join(folder) for folder in layout.class_folders - full - failed)
