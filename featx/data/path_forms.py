"""What a path, a URL or a name may be, and which reader takes it: the forms are tried in order."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from featx.data.dataset import Dataset
from featx.data.readers.archives.archives import read_archives
from featx.data.readers.archives.shards import (
    archives_in,
    expand_pattern,
    is_archive,
    name_shards,
    refuse_compressed,
)
from featx.data.readers.clips import holds_audio
from featx.data.readers.folders.folder import read_folder
from featx.data.readers.folders.folder_listing import PathFinder, format_of_file, list_images
from featx.data.readers.folders.listing import Listing, has_media
from featx.data.readers.named import NAMES, canonical_name, named_dataset
from featx.data.readers.patterns import find_files, is_pattern
from featx.data.readers.refusals import refuse_columns, refuse_columns_of_tables, refuse_division
from featx.data.readers.remote import read_remote
from featx.data.readers.split_tables import find_split_tables, read_split_tables
from featx.data.readers.stored.column_files import (
    is_column_file,
    read_column_files,
)
from featx.data.readers.stored.saved_folder import (
    PREFIX,
    find_hub,
    find_saved,
    has_card,
    read_named,
    read_saved,
)
from featx.data.readers.table import SUFFIXES, read_table
from featx.data.readers.urls import local_path
from featx.errors import DatasetError, UnknownName, as_one_error, reason_of
from featx.inputs.audio import FileClip, is_audio_file
from featx.inputs.image import as_source, is_image_file
from featx.inputs.image.containers import describe_data
from featx.inputs.text import FileText, is_text_file
from featx.options import DATA
from featx.places import LocalRanges, is_url
from featx.terminal import shortened

# A URL with one slash, which commands may have made a path of.
_ALMOST_URL = re.compile(r"(?:^|/)([a-z][a-z0-9+.-]+):/(?!/)(.*)")
#: The columns of a table that may be asked for.
COLUMNS = ("text", "label", "target", "group")


@dataclass(frozen=True)
class GivenPath:
    """What was given, and how it is to be read: parameters of `featx.load_dataset`."""

    text: str
    reading: dict[str, Any]
    _listed: list[Listing] = field(default_factory=list, init=False, repr=False)

    @property
    def split_by(self) -> str | None:
        """What the data is divided by."""
        divided: str | None = self.reading["split_by"]
        return divided

    @property
    def divided(self) -> dict[str, Any]:
        """The reading without the columns, of data that has none."""
        return {name: value for name, value in self.reading.items() if name not in COLUMNS}

    @property
    def asks_for_columns(self) -> bool:
        """Whether a column is asked for."""
        return any(self.reading[name] is not None for name in COLUMNS)

    def refuse_columns(self) -> None:
        """Raise `DatasetError` if a column is asked for, of data that has none."""
        refuse_columns({name: self.reading[name] for name in COLUMNS}, self.text)

    @cached_property
    def path(self) -> Path:
        """The path on this machine, in the form in which the disk has it."""
        try:
            path = Path(self.text).expanduser()
            return path if path.exists() else Path(PathFinder().find(str(path)))
        except (OSError, RuntimeError) as error:  # too long a name, no permission, no home folder
            raise DatasetError(f"{self.text}: cannot be read ({reason_of(error)})") from error

    @property
    def listing(self) -> Listing | None:
        """The images in a folder and below it, looked for once: there may be millions of files."""
        # Not a cached property, whose lock in Python 3.11 lets only one thread at a time list a folder.
        if not self._listed and self.path.is_dir():
            self._listed.append(list_images(self.path, on_error="skip"))
        return self._listed[0] if self._listed else None

    @property
    def holds_media(self) -> bool:
        """Whether it is a folder with images or clips in it or below it."""
        return self.listing is not None and has_media(self.listing)

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.path.name or self.path.resolve().name

    @property
    def suffix(self) -> str:
        """The suffix of the file, in lower case."""
        return self.path.suffix.lower()

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.path.is_file()


def read_path(data: str | Path, **reading: Any) -> Dataset:
    """Read what a path, a URL or a name means.

    Parameters
    ----------
    data : str or Path
        The first of `FORMS` that it has: a URL; ``hf-dataset:FOLDER``; a folder that `save_to_disk` of
        Hugging Face wrote, of tables called like splits, of a dataset as the hub has it, of archives, or of
        files; an archive, or a pattern of several; a pattern of Parquet files; a table; one input; a name.
    **reading
        ``labelled``, ``split_by``, ``on_error``, ``text``, ``label``, ``target`` and ``group``, as in
        `featx.load_dataset`.

    Raises
    ------
    DatasetError
        Nothing is there, or nothing that is read.
    """
    text = os.fspath(data)
    if is_url(text) and (local := local_path(text)) is not None:
        text = local
    given = GivenPath(text, reading)
    found = (form(given) for form in FORMS)
    return next(dataset for dataset in found if dataset is not None)


def means_data(text: str) -> bool:
    """Whether a string means data by its form: a URL, ``hf-dataset:``, a pattern of files, or a path here."""
    if is_url(text) or text.startswith(PREFIX):
        return True
    try:
        if Path(text).expanduser().exists():
            return True
        return expand_pattern(text) is not None or (is_column_file(text) and is_pattern(text))
    except DatasetError:  # a pattern that means no file
        return True
    except (OSError, ValueError, RuntimeError):  # too long a name, a null byte, no home folder
        return False


def _url(given: GivenPath) -> Dataset | None:
    return read_remote(given.text, **given.reading) if is_url(given.text) else None


def _named_saved_dataset(given: GivenPath) -> Dataset | None:
    return read_named(given.text, **given.reading) if given.text.startswith(PREFIX) else None


def _saved_dataset(given: GivenPath) -> Dataset | None:
    saved = find_saved(given.path) if given.path.is_dir() else None
    return None if saved is None else read_saved(saved, str(given.path), given.name, **given.reading)


def _split_tables(given: GivenPath) -> Dataset | None:
    tables = find_split_tables(given.path) if given.path.is_dir() else {}
    if not tables or given.split_by == "folder":
        return None
    if not given.asks_for_columns and given.holds_media:
        return None
    return read_split_tables(given.path, tables, **given.reading)


def _hub_folder(given: GivenPath) -> Dataset | None:
    if given.listing is None or not given.listing.left_out.suffixes.get(".parquet"):
        return None
    hub = find_hub(given.path)
    # A card may show pictures; a table beside images may describe them.
    certain = hub is not None and has_card(given.path) and any(hub.splits)
    if hub is None or (not certain and given.holds_media):
        return None
    return read_saved(hub, str(given.path), given.name, **given.reading)


def _archive_folder(given: GivenPath) -> Dataset | None:
    archives = archives_in(given.path, given.listing) if given.path.is_dir() else []
    files = [os.path.join(given.path, *archive.split("/")) for archive in archives]
    return read_local_archives(files, given.path, **given.reading) if files else None


def _folder(given: GivenPath) -> Dataset | None:
    if not given.path.is_dir():
        return None
    given.refuse_columns()
    return read_folder(given.path, **given.divided, images=given.listing)


def _archives(given: GivenPath) -> Dataset | None:
    if given.is_file and is_archive(given.path):
        return read_local_archives([str(given.path)], **given.reading)
    files = None if given.path.exists() else expand_pattern(given.text)
    return read_local_archives(files, **given.reading) if files else None


def _no_folder(given: GivenPath) -> None:
    refuse_division(given.split_by, given.text)


def _column_files(given: GivenPath) -> Dataset | None:
    if given.is_file and given.suffix == ".arrow":
        return read_column_files([given.path], str(given.path), given.path.stem, **given.reading)
    if given.path.exists() or not is_column_file(given.text) or not is_pattern(given.text):
        return None
    files = list(map(Path, find_files(given.text)))
    return read_column_files(files, given.text, files[0].absolute().parent.name, **given.reading)


def _table(given: GivenPath) -> Dataset | None:
    return read_table(given.path, **given.reading) if given.is_file and given.suffix in SUFFIXES else None


def _one_input(given: GivenPath) -> Dataset | None:
    path = given.path
    if not given.is_file:
        return None
    given.refuse_columns()
    if is_image_file(path.name) or format_of_file(str(path)) is not None:
        return Dataset(path.name, [as_source(path, path.name)])
    if is_audio_file(path.name) or holds_audio(path):
        return Dataset(path.name, [FileClip(path.name, str(path))])
    if is_text_file(path.name):
        return Dataset(path.name, [FileText(path.name, str(path))])
    if given.suffix in (".h5", ".hdf5"):
        raise DatasetError(f"{path}: a file of features, not of inputs; open it with open_features")
    refuse_compressed(path)
    raise DatasetError(f"{path}: {_describe_file(path)}; expected {DATA}")


def _name(given: GivenPath) -> Dataset:
    text = given.text
    if given.path.exists():
        given.refuse_columns()
        raise DatasetError(f"{given.path}: neither a folder nor a file, but a pipe, socket or device")
    if canonical_name(text) is not None:
        given.refuse_columns()
        return named_dataset(text)
    # A word is a misspelt name; anything that looks like a path is a path.
    if given.suffix or os.sep in text or "/" in text or text.startswith("~"):
        if almost := _ALMOST_URL.search(text):
            raise DatasetError(f"{text}: no such file; a URL has two slashes: {almost[1]}://{almost[2]}")
        raise DatasetError(f"{text}: no such file or folder; expected {DATA}")
    if len(text.split()) > 2:
        raise DatasetError(f"{shortened(text, 60)!r} is no file or folder; put a text into a list: [text]")
    raise DatasetError(
        f"{text!r} is no folder, no table and no named dataset: {UnknownName('dataset', text, NAMES)}"
    )


#: What a path may be, in order; each form returns the dataset, or None for what is of another form.
FORMS: tuple[Callable[[GivenPath], Dataset | None], ...] = (
    _url,
    _named_saved_dataset,
    _saved_dataset,
    _split_tables,
    _hub_folder,
    _archive_folder,
    _folder,
    _archives,
    _no_folder,
    _column_files,
    _table,
    _one_input,
    _name,
)


def read_local_archives(
    files: list[str],
    root: Path | None = None,
    *,
    labelled: bool = True,
    split_by: str | None = None,
    on_error: str = "raise",
    text: str | None = None,
    **columns: Any,
) -> Dataset:
    """Read archives that lie in the folder `root`, or anywhere; other parameters as for `read_archives`."""
    if text is not None:
        refuse_columns_of_tables({"text": text}, files[0])
    folder, called = name_shards(files)
    if root is not None:
        folder, called = str(root), [os.path.relpath(file, root).replace(os.sep, "/") for file in files]
    name = Path(files[0]).name if len(files) == 1 else Path(folder).name or Path(folder).resolve().name
    return read_archives(
        [LocalRanges(file) for file in files],
        name=name,
        called=called,
        labelled=labelled,
        split_by=split_by,
        on_error=on_error,
        **columns,
    )


def _describe_file(path: Path) -> str:
    """Say what a file is that is no table, image, clip or text."""
    unreadable = as_one_error(lambda reason: DatasetError(f"{path}: cannot be read ({reason})"))
    with unreadable, open(path, "rb") as file:
        found = describe_data(file.read(512))
    # No message quotes a file that may have been given by mistake.
    if not found.startswith(("text", "data")):
        return found
    return f"neither a table ({', '.join(SUFFIXES)}) nor an image, nor audio, nor a text (.txt)"
