"""Read what lies behind a URL: a folder of objects, a table, an archive, or one input."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from featx.data.dataset import Dataset
from featx.data.readers.archives.archives import read_archives
from featx.data.readers.archives.shards import is_archive_name
from featx.data.readers.clips import is_audio_data
from featx.data.readers.folders.listing import ARCHIVES, HEAD, kind_of_name
from featx.data.readers.folders.tree import read_tree
from featx.data.readers.patterns import expand_braces
from featx.data.readers.refusals import refuse_columns, refuse_columns_of_tables, refuse_division
from featx.data.readers.table import SUFFIXES, RemoteTable, read_table
from featx.data.readers.urls import stored_at
from featx.errors import DatasetError
from featx.inputs.image.containers import sniff
from featx.places import PlaceError
from featx.places.urls import is_url, parent_of, path_of, shown

if TYPE_CHECKING:
    from featx.places.remote import RemoteFile


def read_remote(
    url: str,
    *,
    labelled: bool = True,
    split_by: str | None = None,
    on_error: str = "raise",
    **columns: Any,
) -> Dataset:
    """Read what lies behind a URL.

    Parameters
    ----------
    url : str
        A folder: the links of a page of an HTTP server, and of the pages below it, or the objects of a store
        below a prefix, by the rules of `read_folder`; a table (``.csv``, ``.tsv``, ``.jsonl``, ``.json``,
        ``.parquet``), whose paths are URLs or relative to its own; an archive (``.zip``, ``.tar``, ...); or
        one image, audio file or ``.txt``.
    labelled, split_by, on_error
        As for `featx.load_dataset`.
    **columns
        The columns of a table: text, label, target, group.

    Raises
    ------
    DatasetError
        Naming the URL, without user, password and signature.
    MissingExtra
        If the package is missing that reads its protocol.
    """
    from featx.places.remote import open_store

    with _named(url):
        store = open_store(url)
    place = shown(url)
    path = path_of(url)
    suffix = PurePosixPath(path).suffix.lower()
    name = PurePosixPath(path).stem if suffix in SUFFIXES else PurePosixPath(path).name
    name = name or place.partition("://")[2].partition("/")[0]
    divided: dict[str, Any] = {"split_by": split_by, "on_error": on_error}
    if suffix in (".h5", ".hdf5"):
        raise DatasetError(f"{place}: a file of features is read from a disk only; download it")
    if is_table(url):
        refuse_division(split_by, place)
        return read_table(remote_table(url), labelled=labelled, **divided, **columns)
    if suffix in ARCHIVES and not path.endswith("/"):
        return read_remote_archives([url], labelled=labelled, **divided, **columns)
    if not path.endswith("/") and kind_of_name(path):
        is_folder = False
    else:
        with _named(url):
            is_folder = store.is_folder(url)
    if is_folder:
        with _named(url):
            entries = store.list_all(url)
        if all(is_archive_name(path) for path, _ in entries):
            called, archives = zip(*entries, strict=True)
            return _read_archives(list(archives), list(called), name, labelled, divided, columns)
        refuse_columns(columns, place)
        return read_tree(name, entries, place=place, labelled=labelled, **divided)
    refuse_division(split_by, place)
    refuse_columns(columns, place)
    kind = kind_of_name(path)
    if not kind:
        with _named(url):
            file = _opened(url)
            kind = _kind_of_bytes(file.read_range(0, min(HEAD, file.size)))
    if not kind:
        raise DatasetError(
            f"{place}: neither a folder nor an archive, nor a table ({', '.join(SUFFIXES)}), nor an image, "
            "audio or a text (.txt)"
        )
    return Dataset(name, [stored_at(url, name, kind)])


def read_remote_archives(
    urls: Sequence[str],
    *,
    labelled: bool = True,
    split_by: str | None = None,
    on_error: str = "raise",
    **columns: Any,
) -> Dataset:
    """Read archives behind URLs, in which braces may stand for several, as in ``{000..015}.tar``.

    Parameters and errors as for `read_remote`.
    """
    from featx.places.remote import RemoteFile, open_store, refresh_states

    every = [one for url in urls for one in expand_braces(url)]
    local = next((one for one in every if not is_url(one)), None)
    if local is not None:
        raise DatasetError(f"{local}: a file on this machine, among URLs; give either files or URLs")
    with _named(every[0]):
        open_store(every[0])
    files = [RemoteFile(url) for url in every]
    refresh_states(files, lambda prefix: True)
    folders = [parent_of(url) for url in every]
    folder = os.path.commonprefix([min(folders), max(folders)])  # noqa: RUF071
    folder = folder[: folder.rindex("/") + 1]
    called = [
        unquote(parent_of(url)[len(folder) :].strip("/") + "/" + _last(url)).strip("/") for url in every
    ]
    name = _last(every[0]) if len(every) == 1 else _last(folder.rstrip("/")) or shown(folder)
    return _read_archives(
        files, called, name, labelled, {"split_by": split_by, "on_error": on_error}, columns
    )


def _read_archives(
    files: list[RemoteFile],
    called: list[str],
    name: str,
    labelled: bool,
    divided: dict[str, Any],
    columns: dict[str, Any],
) -> Dataset:
    refuse_columns_of_tables({"text": columns.get("text")}, files[0].name)
    for file in files:
        with _named(file.url):
            file.size  # noqa: B018
    asked: dict[str, Any] = {what: columns.get(what) for what in ("label", "target", "group")}
    return read_archives(files, name=name, called=called, labelled=labelled, **divided, **asked)


def _last(url: str) -> str:
    return PurePosixPath(path_of(url)).name


def remote_table(url: str) -> RemoteTable:
    """Return the table behind a URL; `DatasetError` where it cannot be reached."""
    return RemoteTable(shown(url), parent_of(url), _opened(url))


def is_table(url: str) -> bool:
    """Whether a URL is one of a table, by its suffix."""
    return path_of(url).lower().endswith(SUFFIXES)


def _opened(url: str) -> RemoteFile:
    """Return the object, of which size and state are known now."""
    from featx.places.remote import RemoteFile

    file = RemoteFile(url)
    with _named(url):
        file.size  # noqa: B018
    return file


@contextmanager
def _named(url: str) -> Iterator[None]:
    """Name the URL, without what is secret in it, in errors."""
    try:
        yield
    except PlaceError as error:
        raise DatasetError(f"{shown(url)}: {error}") from None


def _kind_of_bytes(head: bytes) -> str | None:
    return "image" if sniff(head) is not None else "clip" if is_audio_data(head) else None
