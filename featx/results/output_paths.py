"""Where results may be written: decided before anything is, by looking at what is there.

A file is replaced only where it is featx's own, told by its content: a features file by the attributes of its
HDF5, a model by its container, predictions by their first line. A folder takes results where it has none, or
those of the same study: the same kind, of the same data, so that a study goes on without a question. All else
is refused, and done only with ``--force``. Nothing here writes.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featx.errors import FeatxError, InputError, OutputError, as_one_error
from featx.results.reading import read_json

#: What a kind of file may be called; no suffix at all is fine.
SUFFIXES: dict[str, tuple[str, ...]] = {
    "features": (".h5", ".hdf5"),
    "model": (".featx",),
    "predictions": (".csv", ".jsonl", ".json", ".txt"),
}
#: What a kind of study writes into its folder.
_COMMON = ("report.html", "experiment.toml", "environment.json")
FILES: dict[str, tuple[str, ...]] = {
    "compare": ("results.json", "results.csv", "methods.journal", *_COMMON),
    "curve": ("curve.json", "curve.csv", "cells.journal", *_COMMON),
    "ranking": ("results.json", "results.csv", "report.html"),
    "similarity": ("results.json", "report.html"),
    "anomaly": ("results.json", "results.csv", "report.html"),
    "domains": ("results.json", "results.csv", "report.html"),
    "scores": ("scores.csv", "scores.json"),
}
_TITLES = {
    "compare": "a comparison",
    "curve": "a learning curve",
    "ranking": "a ranking",
    "similarity": "a comparison of two sets",
    "anomaly": "a comparison of detectors",
    "domains": "a comparison of domains",
    "scores": "scores of images",
}
#: A larger file is not looked into.
_MOST = 64 << 20


@dataclass(frozen=True)
class Study:
    """What results are of.

    Attributes
    ----------
    kind : str
        A key of `FILES`.
    sources : tuple of str, or None
        The data, as given; paths in full. None where the results do not say.
    name : str
        The name of the data, for where they do not.
    """

    kind: str
    sources: tuple[str, ...] | None
    name: str = ""

    @classmethod
    def of(cls, kind: str, *data: Any) -> Study:
        """Of the data that a command was given."""
        sources = tuple(located(one) for one in data if one is not None)
        return cls(kind, sources, " -> ".join(Path(source).name for source in sources))

    def __str__(self) -> str:
        of = ", ".join(self.sources) if self.sources else self.name
        return _TITLES[self.kind] + (f" of {of}" if of else "")

    def same(self, other: Study) -> bool:
        """Whether results of the one may take the place of the other's.

        Where one does not say of what data it is, their name decides: the data's, without a suffix.
        """
        if self.kind != other.kind:
            return False
        if self.sources is not None and other.sources is not None:
            return self.sources == other.sources
        return Path(self.name).stem == Path(other.name).stem


def located(data: Any) -> str:
    """A path in full, without links; any other word, such as the name of a dataset, as it is."""
    text = str(data)
    try:
        return os.path.realpath(text) if os.path.exists(text) or os.sep in text else text
    except ValueError:  # a null byte
        return text


def output_file(path: str | os.PathLike[str], kind: str, *, force: bool = False, option: str = "-o") -> Path:
    """Decide whether a file may be written; nothing is.

    Parameters
    ----------
    path : path-like
        As the user gave it.
    kind : {"features", "model", "predictions"}
    force : bool, default=False
        Also where another file would be replaced.
    option : str, default="-o"
        What the user gave it with, for messages.

    Returns
    -------
    Path
        The file to write: what a link leads to, so that the link stays one.

    Raises
    ------
    OutputError
        It is a folder or another thing that is no file, its folder is not there or cannot be written, its
        suffix is that of something else, or it is a file that featx did not write.
    """
    given, known = os.fspath(path), SUFFIXES[kind]
    if not given or "\0" in given:
        raise OutputError(f"{option} {given!r}: not the name of a file")
    target = Path(os.path.realpath(os.path.expanduser(given)))
    if os.path.isdir(target):
        raise OutputError(f"{given}: is a folder; {option} needs the name of a file")
    if target.suffix.lower() not in ("", *known):
        raise OutputError(
            f"{given}: a {kind} file ends in {' or '.join(known)}, not in {target.suffix}; choose another "
            f"{option}"
        )
    if not os.path.isdir(target.parent):
        raise OutputError(f"{given}: the folder {target.parent} does not exist")
    if not os.access(target.parent, os.W_OK):
        raise OutputError(f"{given}: the folder {target.parent} cannot be written; choose another {option}")
    with as_one_error(lambda reason: OutputError(f"{given}: cannot be looked at ({reason})")):
        try:
            found = os.stat(target)
        except FileNotFoundError:
            return target
    if not stat.S_ISREG(found.st_mode):
        raise OutputError(f"{given}: is there, and not a regular file; choose another {option}")
    if found.st_size and not force and not _is_own(target, kind):
        raise OutputError(
            f"{given}: is there, and not a {kind} file of featx; choose another {option}, or replace it with "
            "--force"
        )
    return target


def output_folder(
    path: str | os.PathLike[str], study: Study, *, force: bool = False, option: str = "-o"
) -> Path:
    """Decide whether a study may write into a folder; nothing is written, and no folder made.

    Parameters
    ----------
    path : path-like
        The folder, as the user gave it; it may be missing.
    study : Study
        What will be written.
    force : bool, default=False
        Also over other results and over files of the same names.
    option : str, default="-o"
        What the user gave it with, for messages.

    Returns
    -------
    Path
        The same.

    Raises
    ------
    OutputError
        It is no folder, or holds results of another study, or files of the names that the study writes and
        that featx did not write; the message names them.
    """
    given = os.fspath(path)
    if not given or "\0" in given:
        raise OutputError(f"{option} {given!r}: not the name of a folder")
    folder = Path(given)
    with as_one_error(
        lambda reason: OutputError(f"{given}: cannot be written ({reason}); choose another {option}")
    ):
        if not os.path.lexists(folder):
            return folder
        if not folder.is_dir():
            raise OutputError(f"{given}: cannot be written (it is not a folder); choose another {option}")
        there = {name for name in os.listdir(folder) if os.path.lexists(folder / name)}
    if force:
        return folder
    studies = [found for name, read in _READERS.items() if name in there and (found := read(folder / name))]
    told = any(found.sources for found in studies)
    for other in studies:
        # What one file does not say, another one in the folder does.
        if not study.same(other) and (other.kind != study.kind or other.sources or not told):
            raise OutputError(
                f"{given}: holds {other}; this is {study}; choose another {option}, or write over it with "
                "--force"
            )
    written = sorted(there.intersection(FILES[study.kind]))
    foreign = [] if studies else [name for name in written if not _is_journal(folder / name)]
    if foreign:
        raise OutputError(
            f"{folder / foreign[0]}: is there, and is not of featx; choose another {option}, or write over "
            "it with --force"
        )
    return folder


def _of_experiment(path: Path) -> Study | None:
    """What a run left as its experiment; None where it is none."""
    try:
        with as_one_error(InputError):
            if not path.is_file() or path.stat().st_size > 1 << 20:
                return None
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
            kind, source = tables["experiment"]["kind"], str(tables["data"]["source"])
            named = os.path.join(path.parent, source)
            return Study.of(kind, named if os.path.exists(named) else source) if kind in FILES else None
    except FeatxError:
        return None


def _of_results(path: Path) -> Study | None:
    """What results are of; None where they are none."""
    try:
        with as_one_error(InputError):
            if not path.is_file() or path.stat().st_size > _MOST:
                return None
            content = read_json(path, "file of results")
            if not isinstance(content, Mapping) or not isinstance(content.get("schema"), int):
                return None
            kind = content.get("kind", "compare")
            kind = "compare" if kind in ("classes", "number") else kind
            if kind not in FILES or not any(name in content for name in _PARTS):
                return None
            about = _about(content)
            sources = tuple(source for one in about for source in _sources(one))
            names = [str(one.get("name", "")) for one in about]
            return Study(kind, sources or None, " -> ".join(filter(None, names)))
    except FeatxError:
        return None


#: One of these is in every file of results.
_PARTS = ("methods", "tasks", "detectors", "candidates", "measures", "draws", "scores")
_READERS: dict[str, Callable[[Path], Study | None]] = {
    "experiment.toml": _of_experiment,
    "results.json": _of_results,
    "curve.json": _of_results,
    "scores.json": _of_results,
}


def _about(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The parts of a result that tell what the images are."""
    sets = content.get("sets")
    parts: Sequence[Any] = [content.get("dataset"), content.get("source"), content.get("target")]
    if isinstance(sets, list):
        parts = [*parts, *sets]
    return [part for part in parts if isinstance(part, Mapping)]


def _sources(about: Mapping[str, Any]) -> list[str]:
    found = about.get("sources", about.get("source"))
    return [str(one) for one in (found if isinstance(found, list) else [found]) if one is not None]


def _is_journal(path: Path) -> bool:
    """Whether this is finished work, which is only ever added to and found by what it is of."""
    try:
        with as_one_error(InputError):
            if path.suffix != ".journal" or not path.is_file() or path.is_symlink():
                return False
            with open(path, "rb") as file:
                return re.match(rb"\d{1,4} [0-9a-f]{8} ", file.read(16)) is not None
    except InputError:
        return False


def _is_own(path: Path, kind: str) -> bool:
    """Whether a file is one of featx's, of this kind."""
    try:
        with as_one_error(InputError):
            return _OWN[kind](path)
    except InputError:
        return False


def _is_features(path: Path) -> bool:
    import h5py

    with h5py.File(path, "r") as file:
        return {"format_version", "space_id", "featx_version"} <= set(file.attrs)


def _is_model(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive, archive.open("model.json") as member:
        return b'"featx model"' in member.read(1000)


def _are_predictions(path: Path) -> bool:
    with open(path, "rb") as file:
        first = file.readline(1 << 20).decode("utf-8")
    if first.startswith("id,label,probability"):
        return True
    record = json.loads(first)
    return isinstance(record, dict) and {"id", "label", "probability"} <= set(record)


_OWN: dict[str, Callable[[Path], bool]] = {
    "features": _is_features,
    "model": _is_model,
    "predictions": _are_predictions,
}
