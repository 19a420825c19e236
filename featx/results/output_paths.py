"""Decide where results may be written; nothing here writes.

A file is replaced only if its content shows that featx wrote it: the attributes of an HDF5 file, the members
of a model file, the first line of predictions and labels, the foot of a page. A folder takes results if it
holds none, or those of the same study (same kind, same data), so that a study can be resumed. All else is
refused without ``--force``.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
import unicodedata
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featx.errors import FeatxError, InputError, OutputError, as_one_error
from featx.places import is_url, shown
from featx.places.columns.parquet_footer import holds_features
from featx.results.reading import read_json

#: Suffixes of each kind of file; a name without a suffix is fine.
SUFFIXES: dict[str, tuple[str, ...]] = {
    "features": (".h5", ".hdf5", ".parquet"),
    "model": (".featx",),
    "predictions": (".csv", ".jsonl", ".json", ".txt"),
    "labels": (".csv",),
    "page": (".html",),
}
# What every study may leave beside its results; the journal is there if the cache could not be written.
_EXPERIMENT = ("experiment.toml", "environment.json", "checks.journal")
_RESULTS = ("results.json", "results.csv", "report.html")
#: Title of each kind of study, and the files in its folder.
STUDIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "compare": ("a comparison", (*_RESULTS, "predictions.csv", "methods.journal", *_EXPERIMENT)),
    "curve": ("a learning curve", ("curve.json", "curve.csv", "cells.journal", "report.html", *_EXPERIMENT)),
    "rank": ("a ranking", (*_RESULTS, *_EXPERIMENT)),
    "similarity": ("a comparison of two sets", ("results.json", "report.html", *_EXPERIMENT)),
    "anomaly": ("a comparison of detectors", (*_RESULTS, *_EXPERIMENT)),
    "domains": ("a comparison of domains", (*_RESULTS, *_EXPERIMENT)),
    "scores": (
        "scores of images",
        ("scores.csv", "scores.json", "results.json", "report.html", *_EXPERIMENT),
    ),
}
#: The study of a kind of results file, where they have different names.
_STUDY_OF = {"classes": "compare", "number": "compare", "ranking": "rank"}
#: The keys of data in experiment files, in the order in which studies take them.
DATA_KEYS = ("source", "a", "b", "target_domain", "test")
#: A line of ``featx predict --format text``.
_IN_WORDS = re.compile(r".+: (unsure \(.+ [01]\.\d\d(; .+)?\)|.+ [01]\.\d\d)")
#: Larger files are not read.
_MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class Study:
    """A kind of study and its data.

    Attributes
    ----------
    kind : str
        A key of `STUDIES`.
    sources : tuple of str, or None
        The data: full paths, or names of datasets. None if a results file does not say.
    name : str
        The name of the data, to compare if the sources are unknown.
    """

    kind: str
    sources: tuple[str, ...] | None
    name: str = ""

    @classmethod
    def of(cls, kind: str, *data: Any) -> Study:
        """Return the study of a command from its data arguments."""
        sources = tuple(resolve_source(one) for one in data if one is not None)
        return cls(kind, sources, " -> ".join(Path(source).name for source in sources))

    def __str__(self) -> str:
        of = ", ".join(self.sources) if self.sources else self.name
        return STUDIES[self.kind][0] + (f" of {of}" if of else "")

    def same(self, other: Study) -> bool:
        """Return whether results of one may replace the other's; names decide if sources are unknown."""
        if self.kind != other.kind:
            return False
        if self.sources is not None and other.sources is not None:
            return self.sources == other.sources
        return Path(self.name).stem == Path(other.name).stem


def resolve_source(data: Any) -> str:
    """Return a full path without links; other words, such as the name of a dataset, stay as they are."""
    text = str(data)
    if is_url(text):
        return shown(text)
    try:
        return os.path.realpath(text) if os.path.exists(text) or os.sep in text else text
    except ValueError:  # a null byte
        return text


def output_file(path: str | os.PathLike[str], kind: str, *, force: bool = False, option: str = "-o") -> Path:
    """Return the file to write; a link is followed, so that it stays a link.

    Parameters
    ----------
    path : path-like
        As the user gave it.
    kind : {"features", "model", "predictions", "labels", "page"}
    force : bool, default=False
        Also replace a file that featx did not write.
    option : str, default="-o"
        The option that gave the path, for messages.

    Raises
    ------
    OutputError
        The path is not a regular file, its folder is missing or not writable, its suffix is wrong, or featx
        did not write the file.
    """
    given, known = os.fspath(path), SUFFIXES[kind]
    if not given or "\0" in given:
        raise OutputError(f"{option} {given!r}: not the name of a file")
    target = Path(os.path.realpath(os.path.expanduser(given)))
    if os.path.isdir(target):
        raise OutputError(f"{given}: is a folder; {option} needs the name of a file")
    other = f"choose another {option}"
    if target.suffix.lower() not in ("", *known):
        ends = f"ends in {' or '.join(known)}, not in {target.suffix}"
        raise OutputError(f"{given}: a {kind} file {ends}; {other}")
    if not os.path.isdir(target.parent):
        raise OutputError(f"{given}: the folder {target.parent} does not exist")
    if not os.access(target.parent, os.W_OK):
        raise OutputError(f"{given}: the folder {target.parent} cannot be written; {other}")
    with as_one_error(lambda reason: OutputError(f"{given}: cannot be looked at ({reason})")):
        try:
            found = os.stat(target)
        except FileNotFoundError:
            return target
    if not stat.S_ISREG(found.st_mode):
        raise OutputError(f"{given}: exists, and is not a regular file; {other}")
    if found.st_size and not force and not _is_own(target, kind):
        raise OutputError(
            f"{given}: exists, and is not a {kind} file of featx; {other}, or replace it with --force"
        )
    return target


def output_folder(
    path: str | os.PathLike[str], study: Study, *, force: bool = False, option: str = "-o"
) -> Path:
    """Return the folder that a study may write into; it need not exist, and is not created.

    Parameters are as in `output_file`; `force` allows to overwrite other results and other files.

    Raises
    ------
    OutputError
        The path is not a folder, or the folder holds results of another study, or files that the study would
        overwrite and featx did not write.
    """
    given = os.fspath(path)
    if not given or "\0" in given:
        raise OutputError(f"{option} {given!r}: not the name of a folder")
    folder, another = Path(given), f"choose another {option}"
    with as_one_error(lambda reason: OutputError(f"{given}: cannot be written ({reason}); {another}")):
        if not os.path.lexists(folder):
            return folder
        if not folder.is_dir():
            raise OutputError(f"{given}: cannot be written (it is not a folder); {another}")
        there = {name for name in os.listdir(folder) if os.path.lexists(folder / name)}
    if force:
        return folder
    named = {
        name: found for name, read in _READERS.items() if name in there and (found := read(folder / name))
    }
    studies = list(named.values())
    told = any(found.sources for found in studies)  # another file of the folder names the sources
    # An experiment file has relative paths, and stays right where folder and data were moved together.
    own = named.get("experiment.toml")
    moved = own is not None and study.same(own)
    for other in studies:
        unknown = moved or (told and not other.sources)
        if not study.same(other) and not (other.kind == study.kind and unknown):
            raise OutputError(
                f"{given}: holds {other}; this is {study}; {another}, or write over it with --force"
            )
    written = sorted(there.intersection(STUDIES[study.kind][1]))
    foreign = [] if studies else [name for name in written if not _is_journal(folder / name)]
    if foreign:
        raise OutputError(
            f"{folder / foreign[0]}: exists, and featx did not write it; {another}, or write over it with "
            "--force"
        )
    return folder


def _of_experiment(path: Path) -> Study | None:
    """Return the study of an experiment file, or None for any other file."""
    try:
        with as_one_error(InputError):
            if not path.is_file() or path.stat().st_size > 1 << 20:
                return None
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
            kind, data = tables["experiment"]["kind"], tables["data"]
            sources = [_from_folder(str(data[key]), path.parent) for key in DATA_KEYS if key in data]
            return Study.of(kind, *sources) if kind in STUDIES and sources else None
    except FeatxError:
        return None


def _from_folder(source: str, folder: Path) -> str:
    """Return a relative path as one from `folder`; the name of a dataset, and a URL, as it is."""
    if is_url(source):
        return source
    named = os.path.join(folder, source)
    return named if "/" in source or os.path.exists(named) else source


def _of_results(path: Path) -> Study | None:
    """Return the study of a results file, or None for any other file."""
    try:
        with as_one_error(InputError):
            if not path.is_file() or path.stat().st_size > _MOST_BYTES:
                return None
            content = read_json(path, "file of results")
            if not isinstance(content, Mapping) or not isinstance(content.get("schema"), int):
                return None
            kind = content.get("kind", "compare")
            kind = _STUDY_OF.get(kind, kind)
            if kind not in STUDIES or not any(name in content for name in _PARTS):
                return None
            about = _about(content)
            sources = tuple(source for one in about for source in _sources(one))
            names = [str(one.get("name", "")) for one in about]
            return Study(kind, sources or None, " -> ".join(filter(None, names)))
    except FeatxError:
        return None


#: Every results file has one of these keys.
_PARTS = ("methods", "tasks", "detectors", "candidates", "measures", "draws", "scores")
_READERS: dict[str, Callable[[Path], Study | None]] = {
    "experiment.toml": _of_experiment,
    "results.json": _of_results,
    "curve.json": _of_results,
    "scores.json": _of_results,
}


def _about(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the parts of a result that describe the data."""
    sets = content.get("sets")
    parts = [content.get(name) for name in ("dataset", "source", "target")]
    return [part for part in [*parts, *(sets if isinstance(sets, list) else [])] if isinstance(part, Mapping)]


def _sources(about: Mapping[str, Any]) -> list[str]:
    found = about.get("sources", about.get("source"))
    return [str(one) for one in (found if isinstance(found, list) else [found]) if one is not None]


def _is_journal(path: Path) -> bool:
    """Return whether this is a journal of finished cells, which a study only appends to."""
    try:
        with as_one_error(InputError):
            if path.suffix != ".journal" or not path.is_file() or path.is_symlink():
                return False
            with open(path, "rb") as file:
                return re.match(rb"\d{1,4} [0-9a-f]{8} ", file.read(16)) is not None
    except InputError:
        return False


def _is_own(path: Path, kind: str) -> bool:
    """Return whether featx wrote this file as a file of this kind."""
    try:
        with as_one_error(InputError):
            return _OWN[kind](path)
    except InputError:
        return False


def _is_features(path: Path) -> bool:
    if path.suffix.lower() == ".parquet":
        return holds_features(str(path))
    import h5py

    with h5py.File(path, "r") as file:
        return {"format_version", "space_id", "featx_version"} <= set(file.attrs)


def _is_model(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive, archive.open("model.json") as member:
        return b'"featx model"' in member.read(1000)


def _are_predictions(path: Path) -> bool:
    with open(path, "rb") as file:
        first = file.readline(1 << 20).decode("utf-8")
        more = file.read(1 << 20).decode("utf-8", "replace").split("\n")
    if first.startswith("id,label,probability"):
        return True
    # The last line may have been cut by the limit.
    if all(_IN_WORDS.fullmatch(line) for line in (first.rstrip("\n"), *more[:-1])):
        return True
    record = json.loads(first)
    return isinstance(record, dict) and {"id", "label", "probability"} <= set(record)


def _are_labels(path: Path) -> bool:
    with open(path, "rb") as file:  # a spreadsheet may have saved it with another separator
        first = file.readline(1 << 20).decode("utf-8-sig").lower()
    columns = set(re.findall(r"\w+", first))
    return {"label", "suggested", "confidence"} <= columns and (
        "path" in columns or {"id", "text"} <= columns
    )


def _is_page(path: Path) -> bool:
    return b"Made by featx" in path.read_bytes()


_OWN: dict[str, Callable[[Path], bool]] = {
    "features": _is_features,
    "model": _is_model,
    "predictions": _are_predictions,
    "labels": _are_labels,
    "page": _is_page,
}


def file_stem(task: str) -> str:
    """Return a name of a file or folder for a task: letters, digits, ``_`` and ``-``, at most 80."""
    return re.sub(r"[^\w-]+", "-", unicodedata.normalize("NFC", task)).strip("-")[:80] or "task"
