"""Find files of images, clips or texts: list a folder, or look up a path in either Unicode form."""

from __future__ import annotations

import heapq
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from featx.data.labels import same_form
from featx.data.read_report import LeftOut, skip_hint
from featx.durable import check_regular
from featx.errors import AudioError, DatasetError, ImageError, SourceError, TextError
from featx.inputs.audio import AUDIO_SUFFIXES, FOREIGN_SUFFIXES, is_audio_file
from featx.inputs.image import is_ignored, is_image_file
from featx.inputs.image.containers import sniff
from featx.inputs.text import TEXT_SUFFIXES, is_text_file
from featx.kinds import count_of

#: One file or folder: its path below the root, as parts.
Parts = tuple[str, ...]

#: The error and the test of a file's name of each kind of input.
ERRORS: dict[str, type[SourceError]] = {"image": ImageError, "text": TextError, "clip": AudioError}
_IS_INPUT = {"image": is_image_file, "text": is_text_file, "clip": is_audio_file}
_OF_AUDIO = AUDIO_SUFFIXES + FOREIGN_SUFFIXES
# A folder with more texts than this for each image is not clearly one of images, whose captions they may be.
# One of images and clips is of the kind that has more than this for each of the other: covers, spectrograms.
_CAPTIONS = 10
# Texts about a folder and not in it, by the beginning of their names.
_ABOUT = ("readme", "license", "licence", "copying", "citation", "changelog")
# How many files of each unknown suffix are opened to see whether they hold images.
_LOOKED_INTO = 20
# Files that featx writes into a folder of results, with a text near their beginning; a file of every cache.
_RESULTS = {
    **dict.fromkeys(("results.json", "curve.json", "scores.json"), b'"schema"'),
    "experiment.toml": b"# The experiment as",
}
_CACHE = "stat.sqlite"
_ARCHIVES = frozenset([".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar"])
# Folders into which this process writes results; they may be empty when its data is listed.
_outputs: set[str] = set()


def exclude_folder(folder: str | os.PathLike[str]) -> None:
    """Exclude `folder`, into which results are written, from every dataset around it."""
    _outputs.add(os.path.realpath(folder))


@dataclass
class Listing:
    """Inputs (sorted) and visited folders; what was left out, and what could not be listed or is no file."""

    files: list[Parts]
    folders: set[Parts]
    left_out: LeftOut
    failures: list[SourceError]
    kind: str = "image"


def list_inputs(root: str | os.PathLike[str], *, on_error: str = "raise") -> Listing:
    """List the images in a folder and below it; else its clips; else its ``.txt`` files.

    Of images and clips, those that are ten times as many as the others are listed (covers of albums, a sound
    beside photographs). Text files beside either are left out: captions, transcripts, labels of boxes and
    notes. `DatasetError` if it is not clear what is meant: as many images as clips, or so many texts that
    they may be.
    """
    images = list_images(root, on_error=on_error)
    clips, texts = (_count(images, suffixes) for suffixes in (_OF_AUDIO, TEXT_SUFFIXES))
    listing = images
    if clips > _CAPTIONS * len(images.files):
        listing = _list_files(root, "clip", on_error)
    elif clips and len(images.files) <= _CAPTIONS * clips:
        found = sorted(images.left_out.suffixes.keys() & set(_OF_AUDIO))
        raise DatasetError(
            f"{os.fspath(root)}: holds {count_of(clips, 'clip')} ({', '.join(found)}) and "
            f"{count_of(len(images.files))} ({'/'.join(images.files[0])}); move away what is not meant"
        )
    if listing.files and texts > _CAPTIONS * len(listing.files):
        raise DatasetError(
            f"{os.fspath(root)}: holds {count_of(texts, 'text')} ({', '.join(TEXT_SUFFIXES)}) and "
            f"{count_of(len(listing.files), listing.kind)} ({'/'.join(listing.files[0])}); "
            "move away what is not meant"
        )
    return listing if listing.files or not texts else _list_files(root, "text", on_error)


def holds_media(root: str | os.PathLike[str]) -> bool:
    """Whether there are images or clips in a folder or below it."""
    images = list_images(root, on_error="skip")
    return bool(images.files or _count(images, _OF_AUDIO))


def _count(listing: Listing, suffixes: Sequence[str]) -> int:
    return sum(listing.left_out.suffixes.get(suffix, 0) for suffix in suffixes)


def list_images(root: str | os.PathLike[str], *, on_error: str = "raise") -> Listing:
    """List the images in a folder and below it.

    A file without a suffix counts as an image if its first bytes are those of one. With ``on_error="raise"``,
    the first of `Listing.failures` is raised as a `DatasetError`.
    """
    return _list_files(root, "image", on_error)


def _list_files(root: str | os.PathLike[str], kind: str, on_error: str) -> Listing:
    walk = _Walk(os.fspath(root), kind)
    walk.visit_all()
    walk.failures.sort(key=lambda error: error.id)
    if walk.failures and on_error == "raise":
        first = walk.failures[0]
        more = f" (and {len(walk.failures) - 1} more)" if len(walk.failures) > 1 else ""
        place = os.path.normpath(os.path.join(root, first.id))
        raise DatasetError(f"{place}: {first.reason}{more}; {skip_hint(kind)}")
    left_out = LeftOut(dict(walk.suffixes), walk.images, dict(walk.others), walk.first, kind)
    return Listing(sorted(walk.files), walk.folders, left_out, walk.failures, kind)


class _Walk:
    """Walks through a folder, each subfolder once by its real path; with a stack, so that any depth works."""

    def __init__(self, root: str, kind: str) -> None:
        self.root, self.real = root, os.path.realpath(root)
        self.kind = kind
        self._is_input = _IS_INPUT[kind]
        self.files: list[Parts] = []
        self.folders: set[Parts] = set()
        self.failures: list[SourceError] = []
        self.suffixes: Counter[str] = Counter()
        self.images: dict[str, str] = {}
        self.others: Counter[str] = Counter()
        self.first: dict[str, str] = {}
        self._seen = {self.real}
        self._pile: list[tuple[Parts, str]] = [((), self.real)]
        # Links are followed after all real folders: a folder counts where it really is.
        self._links: list[Parts] = []

    def visit_all(self) -> None:
        while self._pile or self._links:
            if self._pile:
                self._visit(*self._pile.pop())
                continue
            parts = heapq.heappop(self._links)
            real = os.path.realpath(os.path.join(self.root, *parts))
            above = self.real.startswith(real.rstrip(os.sep) + os.sep)
            if real in self._seen or above:
                self._leave_out("link (to a folder that is listed already)", parts)
            else:
                self._seen.add(real)
                self._pile.append((parts, real))

    def _visit(self, parts: Parts, real: str) -> None:
        path = os.path.join(self.root, *parts)
        try:
            with os.scandir(path) as opened:
                entries = sorted(opened, key=lambda entry: entry.name)
        except OSError as error:
            self._fail(parts, f"cannot be listed ({error.strerror or error})")
            return
        if parts and (real in _outputs or _is_own(path, {entry.name for entry in entries})):
            self._leave_out("folder (results or cache of featx)", parts)
            return
        self.folders.add(parts)
        for entry in entries:
            self._take(entry, (*parts, entry.name), real)

    def _take(self, entry: os.DirEntry[str], parts: Parts, real: str) -> None:
        try:
            is_folder, is_file = entry.is_dir(), entry.is_file()
            is_link = entry.is_symlink()
        except OSError:  # a link to itself
            is_folder, is_file, is_link = False, False, True
        if is_ignored(entry.name):
            kind = "folder" if is_folder else "file"
            self._leave_out(f"hidden {kind}" if entry.name.startswith(".") else f"{kind} of macOS", parts)
        elif is_folder:
            if is_link:
                heapq.heappush(self._links, parts)
            elif (inside := os.path.join(real, entry.name)) not in self._seen:
                self._seen.add(inside)
                self._pile.append((parts, inside))
        elif is_file:
            self._take_file(entry, parts)
        elif is_link and not os.path.exists(entry.path):
            # A broken link with an input's name fails when it is read, as a missing file does.
            if self._is_input(entry.name):
                self._add(parts)
            else:
                self._leave_out("broken link", parts)
        elif self._is_input(entry.name):
            self._fail(parts, "not a file but a pipe, socket or device")
        else:
            self._leave_out("special file (pipe, socket or device)", parts)

    def _take_file(self, entry: os.DirEntry[str], parts: Parts) -> None:
        if self._is_input(entry.name):
            if self.kind == "text" and entry.name.lower().startswith(_ABOUT):
                self._leave_out("file (about the data, by its name)", parts)
            else:
                self._add(parts)
            return
        suffix = PurePath(entry.name).suffix.lower()
        # A file without a suffix is read if it holds an image: crawlers name files by their hash.
        looked = self.kind == "image" and (not suffix or self.suffixes[suffix] < _LOOKED_INTO)
        format = format_of_file(entry.path) if looked else None
        if format is not None and not suffix:
            self._add(parts)
            return
        if format is not None:
            self.images.setdefault(suffix, format)
        if suffix in _ARCHIVES:
            self._leave_out(f"archive (unpack it to have its {self.kind}s read)", parts)
            return
        self.suffixes[suffix] += 1
        self._note_first("", parts)

    def _add(self, parts: Parts) -> None:
        try:
            "/".join(parts).encode("utf-8")
        except UnicodeEncodeError:
            self._fail(parts, "the file name is not UTF-8; rename it")
        else:
            self.files.append(parts)

    def _fail(self, parts: Parts, reason: str) -> None:
        id = "/".join(parts).encode("utf-8", "backslashreplace").decode()
        self.failures.append(ERRORS[self.kind](id or ".", reason))

    def _leave_out(self, kind: str, parts: Parts) -> None:
        self.others[kind] += 1
        self._note_first(kind, parts)

    def _note_first(self, kind: str, parts: Parts) -> None:
        self.first.setdefault(kind, "/".join(parts).encode("utf-8", "backslashreplace").decode())


class PathFinder:
    """Finds a file whether its name is composed (NFC) or decomposed (NFD) on the disk.

    Both forms look the same. macOS wrote decomposed names; the tables that people type have composed ones.
    """

    def __init__(self) -> None:
        self._listed: dict[str, dict[str, str]] = {}

    def find(self, path: str) -> str:
        """Return the path on disk that `path` means; `path` itself if there is none."""
        if path.isascii() or "\0" in path or os.path.lexists(path):
            return path
        for form in ("NFC", "NFD"):
            other = unicodedata.normalize(form, path)  # type: ignore[arg-type]
            if os.path.lexists(other):
                return other
        # Forms may differ from one folder of the path to the next.
        folder, name = os.path.split(path)
        if not name:
            return path
        folder = self.find(folder) if folder else folder
        known = self._names(folder).get(same_form(name))
        return path if known is None else os.path.join(folder, known)

    def _names(self, folder: str) -> dict[str, str]:
        if folder not in self._listed:
            try:
                names = os.listdir(folder or ".")
            except (OSError, ValueError):
                names = []
            self._listed[folder] = {same_form(name): name for name in names}
        return self._listed[folder]


def format_of_file(path: str) -> str | None:
    """Return the image format that a file's first bytes show, or None."""
    try:
        if not os.path.isfile(path):  # opening a pipe would wait for ever
            return None
        with open(path, "rb") as file:
            return sniff(file.read(64))
    except (OSError, ValueError):
        return None


def _is_own(folder: str, names: set[str]) -> bool:
    """Whether featx wrote results, or a cache, into a folder that holds these names."""
    if _CACHE in names:
        return True
    for name in _RESULTS.keys() & names:
        try:
            check_regular(os.path.join(folder, name))  # opening a pipe would wait
            with open(os.path.join(folder, name), "rb") as file:
                if _RESULTS[name] in file.read(64):
                    return True
        except OSError:
            continue
    return False
