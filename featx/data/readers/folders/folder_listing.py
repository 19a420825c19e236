"""Find files of images, clips or texts: list a folder, or look up a path in either Unicode form."""

from __future__ import annotations

import functools
import heapq
import os
import unicodedata

from featx.data.compact_inputs import CompactInputs, FileBelow
from featx.data.labels import same_form
from featx.data.readers.folders.early import listener
from featx.data.readers.folders.listing import (
    HEAD,
    OWN_FILES,
    Listing,
    Parts,
    Sorter,
    choose_listing,
    is_own,
    refuse_failures,
)
from featx.data.string_column import StringColumn
from featx.durable import check_regular
from featx.inputs.image import is_ignored
from featx.inputs.image.containers import sniff

# How many inputs are told of at a time.
_TOLD = 8192
# Folders into which this process writes results; they may be empty when its data is listed.
_outputs: set[str] = set()


def exclude_folder(folder: str | os.PathLike[str]) -> None:
    """Exclude `folder`, into which results are written, from every dataset around it."""
    _outputs.add(os.path.realpath(folder))


def list_inputs(
    root: str | os.PathLike[str],
    *,
    on_error: str = "raise",
    images: Listing | None = None,
) -> Listing:
    """List the images in a folder and below it, else its clips, else its texts (`choose_listing`).

    Parameters
    ----------
    root : path-like
    on_error : {"raise", "skip"}, default="raise"
        As for `read_folder`.
    images : Listing, optional
        What `list_images` returned with ``on_error="skip"``, so that the folder is not listed again.

    Notes
    -----
    A listener (`told_early`) is told of some thousand inputs at a time, while the listing goes on; in the
    order of the walk, and only once it is clear which kind is meant.
    """

    def list_kind(kind: str) -> Listing:
        return _list_files(root, kind, on_error)

    if images is not None and on_error == "raise":
        refuse_failures(images.failures, images.kind, functools.partial(_locate, root))
    return choose_listing(os.fspath(root), list_kind, images)


def list_images(root: str | os.PathLike[str], *, on_error: str = "raise") -> Listing:
    """List the images in a folder and below it.

    A file without a suffix counts as an image if its first bytes are those of one. With ``on_error="raise"``,
    the first of `Listing.failures` is raised as a `DatasetError`. A listener is told as by `list_inputs`.
    """
    return _list_files(root, "image", on_error)


def inputs_below(root: str | os.PathLike[str], kind: str, ids: StringColumn) -> CompactInputs:
    """Return the inputs of a kind that have these paths below a folder."""
    home = os.path.realpath(root) if kind == "image" else None
    return CompactInputs(kind, ids, FileBelow(kind, os.fspath(root), home))


def _list_files(root: str | os.PathLike[str], kind: str, on_error: str) -> Listing:
    walk = _Walk(os.fspath(root), kind)
    walk.visit_all()
    return walk.listing(on_error, functools.partial(_locate, root))


def _locate(root: str | os.PathLike[str], id: str) -> str:
    return os.path.normpath(os.path.join(root, id))


class _Walk(Sorter):
    """Walks through a folder, each subfolder once by its real path; with a stack, so that any depth works."""

    def __init__(self, root: str, kind: str) -> None:
        super().__init__(kind)
        self._listener, self._told = listener(), 0
        self.root, self.real = root, os.path.realpath(root)
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
                self.leave_out("link (to a folder that is listed already)", parts)
            else:
                self._seen.add(real)
                self._pile.append((parts, real))

    def add(self, parts: Parts, number: int = -1) -> None:
        """Take a file as an input, whatever its name; tell of it, with others."""
        super().add(parts, number)
        if self._listener is None or len(self.files) < self._told + _TOLD:
            return
        if self.is_clear:
            new = self.files.last(len(self.files) - self._told)
            self._listener(inputs_below(self.root, self.kind, new))
            self._told = len(self.files)

    def _visit(self, parts: Parts, real: str) -> None:
        path = os.path.join(self.root, *parts)
        files: list[str] = []
        others: dict[str, os.DirEntry[str]] = {}
        try:
            with os.scandir(path) as opened:
                for entry in opened:
                    # Of a plain file only the name is kept: there may be millions in one folder.
                    if _is_plain(entry):
                        files.append(entry.name)
                    else:
                        others[entry.name] = entry
        except OSError as error:
            self.fail(parts, f"cannot be listed ({error.strerror or error})")
            return
        known = OWN_FILES.intersection([*files, *others])
        if parts and (real in _outputs or is_own(known, lambda name: _head_of(os.path.join(path, name)))):
            self.leave_out_own(parts)
            return
        self.folders.add(parts)
        files += others
        files.sort()
        for name in files:
            if name in others:
                self._take(others[name], (*parts, name), real)
            elif is_ignored(name):
                self.leave_out_ignored((*parts, name), False)
            else:
                self.take_file((*parts, name), functools.partial(_head_in, path, name))

    def _take(self, entry: os.DirEntry[str], parts: Parts, real: str) -> None:
        try:
            is_folder, is_file = entry.is_dir(), entry.is_file()
            is_link = entry.is_symlink()
        except OSError:  # a link to itself
            is_folder, is_file, is_link = False, False, True
        if is_ignored(entry.name):
            self.leave_out_ignored(parts, is_folder)
        elif is_folder:
            if is_link:
                heapq.heappush(self._links, parts)
            elif (inside := os.path.join(real, entry.name)) not in self._seen:
                self._seen.add(inside)
                self._pile.append((parts, inside))
        elif is_file:
            self.take_file(parts, functools.partial(_head_of, entry.path))
        elif is_link and not os.path.exists(entry.path):
            # A broken link with an input's name fails when it is read, as a missing file does.
            if self.is_input(entry.name):
                self.add(parts)
            else:
                self.leave_out("broken link", parts)
        elif self.is_input(entry.name):
            self.fail(parts, "not a file but a pipe, socket or device")
        else:
            self.leave_out("special file (pipe, socket or device)", parts)


def _is_plain(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file(follow_symlinks=False)
    except OSError:
        return False


def _head_in(folder: str, name: str) -> bytes:
    return _head_of(os.path.join(folder, name))


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
    return sniff(_head_of(path))


def _head_of(path: str) -> bytes:
    """Return the first bytes of a regular file; none of anything else, or where they cannot be read."""
    try:
        check_regular(path)  # opening a pipe would wait for ever
        with open(path, "rb") as file:
            return file.read(HEAD)
    except (OSError, ValueError):
        return b""
