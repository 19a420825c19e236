"""Tell by names which files of a folder, an archive or a remote store are inputs, and of which kind.

The rules are the same wherever the files lie: `folder_listing` walks through a folder, and `tree` through the
names of an archive or a store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from featx.data.read_report import LeftOut, skip_hint
from featx.data.readers.folders.listed_files import FileSorter, ListedFiles, Parts
from featx.errors import AudioError, DatasetError, ImageError, SourceError, TextError
from featx.inputs.audio import AUDIO_SUFFIXES, FOREIGN_SUFFIXES, is_audio_file
from featx.inputs.image import is_image_file
from featx.inputs.image.containers import sniff
from featx.inputs.text import TEXT_SUFFIXES, is_text_file
from featx.kinds import count_of

#: The error and the test of a file's name of each kind of input.
ERRORS: dict[str, type[SourceError]] = {"image": ImageError, "text": TextError, "clip": AudioError}
_IS_INPUT = {"image": is_image_file, "text": is_text_file, "clip": is_audio_file}
_OF_AUDIO = AUDIO_SUFFIXES + FOREIGN_SUFFIXES
#: A folder with more texts than this for each image is not clearly one of images, whose captions they may be.
#: One of images and clips is of the kind that has more than this for each of the other: covers, spectrograms.
MANY_MORE = 10
# From this many images on, a folder with few clips and texts is one of images, whatever else is found in it.
_CLEAR = 20_000
# Texts about a folder and not in it, by the beginning of their names.
_ABOUT = ("readme", "license", "licence", "copying", "citation", "changelog")
# How many files of each unknown suffix are opened to see whether they hold images.
_LOOKED_INTO = 20
#: How many bytes show what a file holds.
HEAD = 64
# Files that featx writes into a folder of results, with a text near their beginning; a file of every cache.
_RESULTS = {
    **dict.fromkeys(("results.json", "curve.json", "scores.json"), b'"schema"'),
    "experiment.toml": b"# The experiment as",
}
_CACHE = "stat.sqlite"
#: Files of which one says that a folder may be one of results, or a cache, of featx.
OWN_FILES = frozenset((*_RESULTS, _CACHE))
#: Suffixes of archives whose members are read where they lie.
READ_ARCHIVES = frozenset([".zip", ".tar"])
#: Suffixes of all archives.
ARCHIVES = READ_ARCHIVES | {".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar"}


@dataclass
class Listing:
    """Inputs (sorted) and visited folders; what was left out, and what could not be listed or is no file."""

    files: ListedFiles
    folders: set[Parts]
    left_out: LeftOut
    failures: list[SourceError]
    kind: str = "image"
    archives: list[Parts] = field(default_factory=list)  # that were left out and could be read


class Sorter:
    """Sorts files by their names into inputs of a kind and what is left out."""

    archive_advice = "give it by itself"

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.is_input = _IS_INPUT[kind]
        self.files = FileSorter()
        self.folders: set[Parts] = set()
        self.failures: list[SourceError] = []
        self.archives: list[Parts] = []
        self._suffixes: Counter[str] = Counter()
        self._images: dict[str, str] = {}
        self._others: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def take_file(self, parts: Parts, head: Callable[[], bytes], number: int = -1) -> None:
        """Take a file that is not hidden; `head` returns its first bytes, or none where it cannot be read."""
        name = parts[-1]
        if self.is_input(name):
            if self.kind == "text" and name.lower().startswith(_ABOUT):
                self.leave_out("file (about the data, by its name)", parts)
            else:
                self.add(parts, number)
            return
        suffix = PurePath(name).suffix.lower()
        # A file without a suffix is read if it holds an image: crawlers name files by their hash.
        looked = self.kind == "image" and (not suffix or self._suffixes[suffix] < _LOOKED_INTO)
        format = sniff(head()) if looked else None
        if format is not None and not suffix:
            self.add(parts, number)
            return
        if format is not None:
            self._images.setdefault(suffix, format)
        if suffix in READ_ARCHIVES:
            self.archives.append(parts)
            self.leave_out(f"archive ({self.archive_advice} to have its {self.kind}s read)", parts)
        elif suffix in ARCHIVES:
            self.leave_out(f"archive (unpack it to have its {self.kind}s read)", parts)
        else:
            self._suffixes[suffix] += 1
            self._note_first("", parts)

    def leave_out_ignored(self, parts: Parts, is_folder: bool) -> None:
        """Leave out a file or folder whose name `is_ignored`."""
        kind = "folder" if is_folder else "file"
        self.leave_out(f"hidden {kind}" if parts[-1].startswith(".") else f"{kind} of macOS", parts)

    @property
    def is_clear(self) -> bool:
        """Whether so many inputs of the kind were found, and so few of others, that it hardly changes."""
        others = sum(self._suffixes.get(suffix, 0) for suffix in (*_OF_AUDIO, *TEXT_SUFFIXES))
        return self.kind != "image" or (len(self.files) >= _CLEAR and MANY_MORE * others <= len(self.files))

    def leave_out_own(self, parts: Parts) -> None:
        """Leave out a folder that featx wrote."""
        self.leave_out("folder (results or cache of featx)", parts)

    def add(self, parts: Parts, number: int = -1) -> None:
        """Take a file as an input, whatever its name."""
        try:
            self.files.add(parts[:-1], parts[-1], number)
        except UnicodeEncodeError:
            self.fail(parts, "the file name is not UTF-8; rename it")

    def fail(self, parts: Parts, reason: str) -> None:
        """Note a file or folder that cannot be taken, and why."""
        id = "/".join(parts).encode("utf-8", "backslashreplace").decode()
        self.failures.append(ERRORS[self.kind](id or ".", reason))

    def leave_out(self, kind: str, parts: Parts) -> None:
        """Note a file or folder that is no input, and what it is."""
        self._others[kind] += 1
        self._note_first(kind, parts)

    def _note_first(self, kind: str, parts: Parts) -> None:
        self._first.setdefault(kind, "/".join(parts).encode("utf-8", "backslashreplace").decode())

    def listing(self, on_error: str, locate: Callable[[str], str]) -> Listing:
        """Return what was found, sorted.

        With ``on_error="raise"``, the first of the failures is raised as a `DatasetError` that calls it
        ``locate(id)``.
        """
        self.failures.sort(key=lambda error: error.id)
        if on_error == "raise":
            refuse_failures(self.failures, self.kind, locate)
        left_out = LeftOut(dict(self._suffixes), self._images, dict(self._others), self._first, self.kind)
        return Listing(self.files.sort(), self.folders, left_out, self.failures, self.kind, self.archives)


def refuse_failures(failures: Sequence[SourceError], kind: str, locate: Callable[[str], str]) -> None:
    """Raise the first failure as a `DatasetError` that calls it ``locate(id)``, if there is one."""
    if failures:
        first, more = failures[0], f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise DatasetError(f"{locate(first.id)}: {first.reason}{more}; {skip_hint(kind)}")


def choose_listing(place: str, list_kind: Callable[[str], Listing], images: Listing | None = None) -> Listing:
    """Return the listing of images; else that of clips; else that of ``.txt`` files.

    Of images and clips, those that are ten times as many as the others are listed (covers of albums, a sound
    beside photographs). Text files beside either are left out: captions, transcripts, labels of boxes and
    notes. `DatasetError`, naming `place`, if it is not clear what is meant: as many images as clips, or so
    many texts that they may be. `images` is given if they were listed already.
    """
    images = list_kind("image") if images is None else images
    clips, texts = (_count(images, suffixes) for suffixes in (_OF_AUDIO, TEXT_SUFFIXES))
    listing = images
    if clips > MANY_MORE * len(images.files):
        listing = list_kind("clip")
    elif clips and len(images.files) <= MANY_MORE * clips:
        found = sorted(images.left_out.suffixes.keys() & set(_OF_AUDIO))
        raise DatasetError(
            f"{place}: holds {count_of(clips, 'clip')} ({', '.join(found)}) and "
            f"{count_of(len(images.files))} ({'/'.join(images.files[0])}); move away what is not meant"
        )
    if listing.files and texts > MANY_MORE * len(listing.files):
        raise DatasetError(
            f"{place}: holds {count_of(texts, 'text')} ({', '.join(TEXT_SUFFIXES)}) and "
            f"{count_of(len(listing.files), listing.kind)} ({'/'.join(listing.files[0])}); "
            "move away what is not meant"
        )
    return listing if listing.files or not texts else list_kind("text")


def kind_of_name(name: str) -> str | None:
    """Return the kind of input that a file of this name counts as; None for any other file."""
    return next((kind for kind, is_input in _IS_INPUT.items() if is_input(name)), None)


def may_be_input(name: str) -> bool:
    """Whether a file of this name counts as an input of some kind, and is not about the data."""
    kind = kind_of_name(name)
    return kind is not None and not (kind == "text" and name.lower().startswith(_ABOUT))


def has_media(images: Listing) -> bool:
    """Whether a listing of images has some, or left out clips."""
    return bool(images.files or _count(images, _OF_AUDIO))


def count_texts(images: Listing) -> int:
    """Return how many texts a listing of images left out."""
    return _count(images, TEXT_SUFFIXES)


def is_own(names: Collection[str], head: Callable[[str], bytes]) -> bool:
    """Whether featx wrote results, or a cache, into a folder that holds these names.

    `head` returns the first `HEAD` bytes of a file in the folder, or none where it cannot be read.
    """
    if _CACHE in names:
        return True
    return any(_RESULTS[name] in head(name) for name in _RESULTS.keys() & set(names))


def _count(listing: Listing, suffixes: Sequence[str]) -> int:
    return sum(listing.left_out.suffixes.get(suffix, 0) for suffix in suffixes)
