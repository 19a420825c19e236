"""Read zip and tar archives, where they lie: class folders in them, or the samples of a WebDataset."""

from __future__ import annotations

import functools
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Unpack

from featx.data.dataset import Dataset
from featx.data.labels import same_form
from featx.data.readers.archives.webdataset import Samples, label_field, read_samples
from featx.data.readers.folders.folder_layout import is_unlabelled, parse_split_name
from featx.data.readers.folders.listing import may_be_input
from featx.data.readers.folders.tree import read_tree
from featx.data.readers.tabular import Asked, Wanted
from featx.data.tasks import names_of
from featx.errors import DatasetError
from featx.inputs.image import is_ignored
from featx.places import PlaceError, RangeReader
from featx.places.archives import ArchiveIndex, Entry, index_archive
from featx.places.made_on_demand import MadeOnDemand


def read_archives(
    archives: Sequence[RangeReader],
    *,
    name: str,
    called: Sequence[str] | None = None,
    labelled: bool = True,
    on_error: str = "raise",
    **asked: Unpack[Asked],
) -> Dataset:
    """Read archives, local or remote, as one dataset; nothing is unpacked.

    Parameters
    ----------
    archives : sequence of RangeReader
        Zip or tar files.
    name : str
        The name of the dataset.
    called : sequence of str, optional
        The POSIX path of each below their folder, such as ``"train/000.tar"``; default: their file names.
    labelled, split_by, on_error
        As for `read_folder`; with ``on_error="skip"``, the members before a damage are read.
    label, target, group : str or sequence of str, optional
        Fields of key.json in a WebDataset, or ``cls`` or ``txt``.

    Returns
    -------
    Dataset
        Ids are the paths in the archive, below its top folder if that holds everything; of several archives,
        the name of the archive stands before them. A sample of a WebDataset is called by its key.

    Raises
    ------
    DatasetError
        If an archive is damaged, naming the byte; and as `read_folder`.

    Notes
    -----
    A tar is a WebDataset if more than half of its inputs share their key with a class, or lie in one folder
    and share it with a text or fields (`webdataset.label_field`); the reading notes say so. Else folders are
    the classes. A split in the names of all archives (``train-000.tar``, ``test.tar``) is that of their
    members. Several archives without folders inside are the classes themselves (``cat.zip``, ``dog.zip``),
    unless their names are only numbered.
    """
    wanted = Wanted(**asked)
    place = archives[0].name if len(archives) == 1 else name
    wanted.check(place)
    if called is None:
        called = [PurePosixPath(archive.name).name for archive in archives]
    parts, samples, failures = _index_all(archives, called, wanted, on_error)
    if samples.are_scattered:
        samples = _gather(parts, wanted, place)
    several = len(archives) > 1
    if len(samples) and not any(part.index.is_zip for part in parts):
        field = label_field(samples, wanted, place)
        if field is not None:
            members = JoinedMembers(parts)
            return read_samples(
                place, name, samples, members, _Ids(members, several, True), field, wanted,
                shard_splits=_splits(parts), failures=failures, on_error=on_error, labelled=labelled,
            )  # fmt: skip
    _refuse_columns(wanted, place)
    for part in parts:
        part.top = _top_folder(part)
    _set_folders(parts)
    members = JoinedMembers(parts)
    return read_tree(
        name,
        members,
        labelled=labelled,
        split_by=wanted.split_by,
        on_error=on_error,
        place=place,
        ids=_Ids(members, several, False),
        failures=failures,
    )


@dataclass
class _Archive:
    """One archive: what it is called, the folder in it that holds everything, and one to put around it."""

    called: str
    index: ArchiveIndex
    top: str = ""  # with a slash behind it
    folder: str = ""

    @property
    def stem(self) -> str:
        """The name without the suffix."""
        return PurePosixPath(self.called).stem


def _index_all(
    archives: Sequence[RangeReader], called: Sequence[str], wanted: Wanted, on_error: str
) -> tuple[list[_Archive], Samples, list[tuple[str, str]]]:
    """Index all archives; return them, the samples in those that are tars, and what failed."""
    parts: list[_Archive] = []
    failures: list[tuple[str, str]] = []
    samples, base = Samples(wanted), 0
    for archive, name in zip(archives, called, strict=True):
        samples.begin_shard(base)
        try:
            index = index_archive(archive, on_error=on_error, visit=samples.visit)
        except PlaceError as error:
            if on_error == "raise":
                raise DatasetError(f"{archive.name}: {error}") from error
            failures.append((name, str(error)))
            continue
        base += len(index)
        parts.append(_Archive(name, index))
        for member, why in index.failures:
            known = "/".join(filter(None, (name if len(archives) > 1 or not member else "", member)))
            failures.append((known, why))
    samples.end()
    return parts, samples, failures


def _gather(parts: Sequence[_Archive], wanted: Wanted, place: str) -> Samples:
    """Visit the members by name: tar packs the files of a folder in the order in which the disk has them."""
    samples, base = Samples(wanted), 0
    for part in parts:
        index = part.index
        if index.ranges.is_remote:
            raise DatasetError(
                f"{place}: the files of a sample do not lie together; pack it again with tar --sort=name"
            )
        lengths = index.ranges_taken[:, 1]
        samples.begin_shard(base)
        for i in sorted(set(range(len(index))) - index.lost.keys(), key=index.name_at):
            read = functools.partial(_read_member, index, i)
            samples.visit(i, index.name_at(i), int(lengths[i]), read)
        base += len(index)
    samples.end()
    return samples


def _read_member(index: ArchiveIndex, i: int) -> bytes:
    name, place = index[i]
    try:
        return b"" if place is None else place.read(2**30)
    except PlaceError as error:
        raise DatasetError(f"{index.ranges.name}: {name}: {error}") from error


class JoinedMembers(MadeOnDemand[Entry]):
    """The members of several archives, one behind the other, with the paths by which they are laid out."""

    def __init__(self, parts: Sequence[_Archive]) -> None:
        self.parts = parts
        self._starts = [0]
        for part in parts:
            self._starts.append(self._starts[-1] + len(part.index))

    def __len__(self) -> int:
        return self._starts[-1]

    def locate(self, i: int) -> tuple[_Archive, int]:
        """Return the archive of member `i`, and its number in it."""
        at = bisect_right(self._starts, i) - 1
        return self.parts[at], i - self._starts[at]

    def make(self, i: int) -> Entry:
        """Return the path and the place of member `i`."""
        part, number = self.locate(i)
        name, place = part.index.make(number)
        return _path(part, name), place

    def paths(self) -> Iterator[str]:
        """Return the paths, without making the places."""
        return (_path(part, name) for part in self.parts for name in part.index.paths())


def _path(part: _Archive, name: str) -> str:
    inner = name.removeprefix(part.top)
    return part.folder + inner if inner else ""


class _Ids(Sequence[str]):
    """What members are called: by their path in the archive, or the key of their sample."""

    def __init__(self, members: JoinedMembers, several: bool, keys: bool) -> None:
        self._members, self._several, self._keys = members, several, keys

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, i: Any) -> Any:
        part, number = self._members.locate(i)
        name = part.index.name_at(number).decode("utf-8", "surrogateescape").removeprefix(part.top)
        if self._keys:
            folder, slash, file = name.rpartition("/")
            name = folder + slash + file.partition(".")[0]
        return f"{part.called}/{name}" if self._several else name


def _top_folder(part: _Archive) -> str:
    """Return the one folder that holds all that may be an input, if it is not a class, a split or a group.

    It holds folders, or is called like the archive: ``photos/`` in photos.zip.
    """
    top, nested = "", False
    for name in part.index.paths():
        first, slash, rest = name.removeprefix("./").partition("/")
        if not slash:
            if may_be_input(first):
                return ""
            continue
        if not first or first == ".." or is_ignored(first):
            continue
        if top not in ("", first):
            return ""
        top, nested = first, nested or "/" in rest
    role = parse_split_name(top)
    if not top or is_unlabelled(top) or (role is not None and not role[1]):
        return ""
    alike = same_form(top).casefold() == same_form(part.stem).casefold()
    return f"{top}/" if nested or alike else ""


def _splits_of_names(parts: Sequence[_Archive]) -> list[str] | None:
    """Return the split that each archive's name, or a folder above it, says; None unless all say one."""
    found: list[str] = []
    for part in parts:
        path = PurePosixPath(part.called)
        words = (parse_split_name(word) for word in (path.stem, *reversed(path.parts[:-1])))
        role = next((role[0] for role in words if role is not None), None)
        if role is None:
            return None
        found.append(role)
    return found if len(set(found)) > 1 else None


class _ArchiveSplits(Sequence[str]):
    """The split of each member, by the archive that it lies in."""

    def __init__(self, parts: Sequence[_Archive], splits: Sequence[str]) -> None:
        self._members = JoinedMembers(parts)
        self._of = {id(part): split for part, split in zip(parts, splits, strict=True)}

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, i: Any) -> Any:
        return self._of[id(self._members.locate(i)[0])]


def _splits(parts: Sequence[_Archive]) -> Sequence[str] | None:
    splits = _splits_of_names(parts)
    return None if splits is None else _ArchiveSplits(parts, splits)


def _set_folders(parts: Sequence[_Archive]) -> None:
    """Put a folder around the members of each of several archives: its split, or its class."""
    if len(parts) < 2:
        return
    splits = _splits_of_names(parts)
    if splits is not None:
        for part, split in zip(parts, splits, strict=True):
            part.folder = f"{split}/"
        return
    flat = all("/" not in name.removeprefix(part.top) for part in parts for name in part.index.paths())
    stems = [part.stem for part in parts]
    numbered = len({re.sub(r"\d+", "", stem) for stem in stems}) == 1
    if flat and not numbered and len(set(stems)) == len(stems):
        for part in parts:
            part.folder = f"{part.stem}/"


def _refuse_columns(wanted: Wanted, place: str) -> None:
    for what, asked in (("label", wanted.label), ("target", wanted.target), ("group", wanted.group)):
        if asked is not None:
            raise DatasetError(
                f"{place}: {what} (--{what}) chooses a field of key.json in a WebDataset, and none here has "
                f"{' and '.join(names_of(asked))}"
            )
