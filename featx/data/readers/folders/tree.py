"""Read a tree of names, of the members of an archive or the objects of a store, by the rules of folders."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

import numpy as np

from featx.data.collection import lack_of_groups
from featx.data.compact_inputs import CompactInputs, PlaceOf
from featx.data.dataset import Dataset, check_evaluated_classes, quote_names
from featx.data.labels import encode
from featx.data.read_report import ReadReport
from featx.data.readers.folders.folder_layout import Layout, inner_folder_notes, is_unlabelled, read_layout
from featx.data.readers.folders.listing import HEAD, OWN_FILES, Listing, Parts, Sorter, choose_listing, is_own
from featx.data.readers.table import SUFFIXES
from featx.data.string_column import StringColumn
from featx.data.tasks import LABEL, Task
from featx.errors import DatasetError
from featx.inputs import Source
from featx.inputs.image import is_ignored
from featx.inputs.image.decode import MAX_FILE_BYTES
from featx.places import Place, PlaceError, read_start
from featx.places.archives import ArchiveMember

# Suffixes of documents whose text featx does not read.
_DOCUMENTS = {".docx", ".doc", ".pdf", ".odt", ".rtf", ".html", ".htm", ".md", ".epub"}


def read_tree(
    name: str,
    entries: Sequence[tuple[str, Place | None]],
    *,
    labelled: bool = True,
    split_by: str | None = None,
    on_error: str = "raise",
    place: str | None = None,
    ids: Sequence[str] | None = None,
    failures: Sequence[tuple[str, str]] = (),
    notes: Sequence[str] = (),
) -> Dataset:
    """Read named places as `read_folder` reads files: the folders in their names are classes, splits, groups.

    Parameters
    ----------
    name : str
        The name of the dataset.
    entries : sequence of (str, Place or None)
        The POSIX path of each file below the root, and its place; it may make them when it is asked. A path
        that ends in ``/`` is a folder, which may be empty; its place is not used. If it has a method
        ``paths``, this gives the paths alone.
    labelled, split_by, on_error
        As for `read_folder`.
    place : str, optional
        What messages call the root; default: `name`.
    ids : sequence of str, optional
        The id of each entry; default: its path.
    failures : sequence of (str, str), optional
        The path of what could not be listed, and why; raised, or noted in `Dataset.reading`.
    notes : sequence of str, optional
        For the user.

    Returns
    -------
    Dataset
        Its `inputs` are made when they are asked for (`CompactInputs`).

    Raises
    ------
    DatasetError
        As `read_folder`.
    """
    place = name if place is None else place
    if split_by == "group":
        raise no_group_folders(place)
    # Places are not made only to be named.
    paths = entries.paths() if hasattr(entries, "paths") else (path for path, _ in entries)
    split = [_parts_of(path) for path in paths]
    own = _own_folders(entries, split)

    def list_kind(kind: str) -> Listing:
        sorter = _TreeSorter(kind, entries, own)
        for number, parts in enumerate(split):
            sorter.take(parts, number)
        for path, reason in failures:
            sorter.fail(tuple(path.split("/")), reason)
        return sorter.listing(on_error, lambda id: place if id == "." else f"{place}: {id}")

    listed = choose_listing(place, list_kind)

    def make_inputs(listed: Listing) -> Sequence[Source]:
        numbers = listed.files.numbers
        return inputs_in(listed.kind, entries, np.empty(0, np.int64) if numbers is None else numbers, ids)

    return make_dataset_of(
        place, name, listed, make_inputs, labelled=labelled, split_by=split_by, notes=notes
    )


def inputs_in(
    kind: str,
    entries: Sequence[tuple[str, Place | None]],
    numbers: np.ndarray,
    ids: Sequence[str] | None = None,
) -> CompactInputs:
    """Return the inputs of a kind that lie in places, made when they are asked for.

    Parameters
    ----------
    kind : {"image", "text", "clip"}
    entries, ids
        As for `read_tree`.
    numbers : ndarray of shape (n,), int64
        Which entries are the inputs, in order.
    """
    if ids is None and hasattr(entries, "paths"):
        names = StringColumn.of(entries.paths()).take(numbers)
    else:
        names = StringColumn.of(entries[i][0] if ids is None else ids[i] for i in numbers.tolist())
    return CompactInputs(kind, names, PlaceOf(kind, entries), [numbers])


# Most folders in folders: no file system has paths of so many.
_DEEPEST = 512
_LEADS_OUT = "its name leads out of the folder that it lies in"


class _TreeSorter(Sorter):
    """Sorts the files of a tree of names."""

    def __init__(self, kind: str, entries: Sequence[tuple[str, Place | None]], own: set[Parts]) -> None:
        super().__init__(kind)
        self._entries, self._own = entries, own
        self._left_out: set[Parts] = set()
        if any(isinstance(place, ArchiveMember) for _, place in islice(entries, 100)):
            self.archive_advice = "unpack it"  # an archive in another one cannot be given
        self.folders.add(())

    def take(self, parts: Parts | None, number: int) -> None:
        if parts is None:
            path = self._entries[number][0]
            if self.is_input(path):
                deep = path.count("/") > _DEEPEST
                reason = f"it lies in more than {_DEEPEST} folders" if deep else _LEADS_OUT
                self.fail((path,), reason)
            return
        is_folder = not parts[-1]
        above = parts[:-1]
        if above not in self.folders and not self._enter(above):
            return
        if is_folder:
            return
        if is_ignored(parts[-1]):
            self.leave_out_ignored(parts, False)
        else:
            self.take_file(parts, lambda: _head_of(self._entries[number][1]), number)

    def _enter(self, folder: Parts) -> bool:
        """Note a folder and those above it; False, and left out once, if it is hidden or featx's own."""
        known = len(folder) - 1
        while folder[:known] not in self.folders:
            known -= 1
        for depth in range(known + 1, len(folder) + 1):
            outer = folder[:depth]
            if outer in self._left_out:
                return False
            if is_ignored(outer[-1]) or outer in self._own:
                self._left_out.add(outer)
                if outer in self._own:
                    self.leave_out_own(outer)
                else:
                    self.leave_out_ignored(outer, True)
                return False
            self.folders.add(outer)
        return True


def _parts_of(path: str) -> Parts | None:
    """Return the parts of a path below the root, the last one empty for a folder; None for one outside.

    None also where it lies too deep: each folder of it would be kept, with all above it.
    """
    if path.count("/") > _DEEPEST:
        return None
    parts = tuple(path.split("/"))
    if "." in parts or "" in parts:
        if path.startswith("/"):
            return None
        parts = (*(part for part in parts[:-1] if part not in ("", ".")), parts[-1])
    return None if ".." in parts or parts == ("",) or "\0" in path else parts


def _own_folders(entries: Sequence[tuple[str, Place | None]], split: Sequence[Parts | None]) -> set[Parts]:
    """Return the folders into which featx wrote results, or a cache."""
    found: dict[Parts, dict[str, Place]] = {}
    for number, parts in enumerate(split):
        if parts and len(parts) > 1 and parts[-1] in OWN_FILES and (place := entries[number][1]) is not None:
            found.setdefault(parts[:-1], {})[parts[-1]] = place
    return {folder for folder, places in found.items() if is_own(places, functools.partial(_head_in, places))}


def _head_in(places: Mapping[str, Place], name: str) -> bytes:
    return _head_of(places[name])


def _head_of(place: Place | None) -> bytes:
    if place is None:
        return b""
    try:
        return read_start(place, HEAD, MAX_FILE_BYTES)
    except PlaceError:
        return b""


def no_group_folders(place: str) -> DatasetError:
    """Return the error about ``split_by="group"``, where there are only folders to divide by."""
    return DatasetError(
        f"{place}: {lack_of_groups()}; --split-by folder (split_by='folder'): the top folders are groups"
    )


def make_dataset_of(
    place: str,
    name: str,
    listed: Listing,
    make_inputs: Callable[[Listing], Sequence[Source]],
    *,
    labelled: bool,
    split_by: str | None,
    notes: Sequence[str] = (),
    inside: str = "in it",
) -> Dataset:
    """Make the dataset of a listing: the folders above its files are classes, splits or groups.

    Parameters
    ----------
    place : str
        What messages call the root.
    name : str
        Of the dataset.
    listed : Listing
    make_inputs : callable
        Returns the sources of `listed.files`.
    labelled, split_by
        As for `read_folder`.
    notes : sequence of str, optional
        For the user, before those on the folders.
    inside : str, default="in it"
        Where nothing was found, for a message.
    """
    if not listed.files:
        raise _nothing_found(place, listed, inside)
    layout = read_layout(place, listed.files, listed.folders, split_by, listed.kind)
    origin = f"the folders {layout.origin}"
    reading = ReadReport(
        splits_from=origin if layout.splits else "",
        groups_from=origin if layout.groups else "",
        left_out=listed.left_out,
        failures=tuple(listed.failures),
        notes=(*notes, *_check(place, listed, layout, labelled)),
    )
    dataset = Dataset(
        name,
        make_inputs(listed),
        splits=None if layout.splits is None else np.array(layout.splits, "U5")[listed.files.folder_of],
        groups=None if layout.groups is None else np.array(layout.groups)[listed.files.folder_of],
        reading=reading,
    )
    if layout.classes is not None:
        dataset = dataset.with_tasks([_labels(layout.classes, listed.files.folder_of)])
    check_evaluated_classes(dataset.labelled(), place)
    return dataset


def _nothing_found(place: str, listed: Listing, inside: str) -> DatasetError:
    found = f"; left out: {listed.left_out}" if listed.left_out else ""
    failed = f"; failed: {listed.failures[0]}" if listed.failures else ""
    suffixes = listed.left_out.suffixes.keys()
    documents, tables = sorted(suffixes & _DOCUMENTS), sorted(suffixes & set(SUFFIXES))
    hint = f"; {', '.join(documents)}: save each text as a .txt file" if documents else ""
    hint += f"; {', '.join(tables)}: give the table itself" if tables else ""
    return DatasetError(f"{place}: no images {inside}, no audio, and no texts (.txt){found}{failed}{hint}")


def _labels(names: Sequence[str | None], folder_of: np.ndarray) -> Task:
    """Return the labels of files whose folders have the classes `names`."""
    codes = np.full(len(names), -1, np.int64)
    rows = [i for i, name in enumerate(names) if name is not None]
    codes[rows], classes = encode([name for name in names if name is not None])
    return Task(LABEL, codes[folder_of], classes)


def _check(place: str, listed: Listing, layout: Layout, labelled: bool) -> list[str]:
    """Refuse empty class folders if labels are needed; else return notes on them and on nested folders."""
    notes = []
    within = [folder for folder in listed.files.folders if folder and not is_unlabelled(folder[0])]
    top = {folder[0] for folder in within}
    inside = {folder[1] for folder in within if len(folder) > 1}
    if layout.splits is layout.groups is None and len(top) == 1 and len(inside) > 1:
        (only,) = top
        notes = [
            f"all {listed.kind}s lie in the one folder {only!r}, which holds folders itself: "
            f"if those are the classes, give {place.rstrip('/')}/{only}"
        ]
    elif layout.groups is None and layout.splits is None:
        notes = inner_folder_notes(listed.files.folders, listed.kind)
    empty = _empty(listed, layout)
    if empty and labelled and layout.splits is layout.groups is None:
        raise DatasetError(
            f"{place}: no {listed.kind}s in the class folder {quote_names(empty)}; add some or remove it"
        )
    return [*notes, f"no {listed.kind}s in the folder {quote_names(empty)}"] if empty else notes


def _empty(listed: Listing, layout: Layout) -> list[str]:
    """Return the class folders that hold no input."""
    depths = {len(folder) for folder in layout.class_folders}
    full: set[Parts] = {folder[:depth] for folder in listed.files.folders for depth in depths}
    failed = {tuple(error.id.split("/"))[:depth] for error in listed.failures for depth in depths}
    return sorted("/".join(folder) for folder in layout.class_folders - full - failed)
