"""Read folders of datasets of Hugging Face: as `save_to_disk` writes them, and as the hub has them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from featx.data.dataset import Dataset, quote_names
from featx.data.labels import split_name
from featx.data.readers.patterns import find_files, is_pattern
from featx.data.readers.split_tables import split_in_name
from featx.data.readers.stored.column_files import (
    is_column_file,
    read_column_files,
)
from featx.durable import check_regular, read_regular
from featx.errors import DatasetError, as_one_error

#: What stands before the name of such a folder.
PREFIX = "hf-dataset:"
_PARTS, _STATE, _INFO, _CARD = "dataset_dict.json", "state.json", "dataset_info.json", "README.md"
# Most bytes of a file that describes a dataset.
_MOST_BYTES = 2**26
# Entries of a folder that are looked at to see whether it may hold Parquet files.
_LOOKED_AT = 64
_FRONT = re.compile(r"---[ \t\r]*\n(.*?)\n---", re.DOTALL)
# Most bytes of a card that are read, and of a path in it.
_MOST_CARD, _MOST_PATH = 2**19, 2**10


@dataclass(frozen=True)
class SavedFiles:
    """The files of a dataset in order, with the split of each, where it has one."""

    files: list[Path]
    splits: list[str | None]


def find_saved(folder: Path) -> SavedFiles | None:
    """Return the files of a folder that `save_to_disk` wrote; None for any other folder.

    `DatasetError` where its description is damaged, or names a file that is not there.
    """
    if (folder / _PARTS).is_file():
        names = _described(folder / _PARTS).get("splits")
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise DatasetError(f"{folder / _PARTS}: expected a list of splits")
        files, splits = [], []
        for name in names:
            if not (folder / name).resolve().is_relative_to(folder.resolve()):
                raise DatasetError(f"{folder / _PARTS}: the split {name!r} lies outside of the folder")
            part = _files_of_state(folder / name)
            split = split_in_name(name) or split_name(name)
            if split is None and len(names) > 1:
                raise DatasetError(
                    f"{folder}: its parts are {quote_names(names)}, and not train, validation and test; give "
                    f"one of them: {PREFIX}{folder / name}"
                )
            files += part
            splits += [split] * len(part)
        return SavedFiles(files, splits)
    if (folder / _STATE).is_file() and (folder / _INFO).is_file():
        found = _files_of_state(folder)
        return SavedFiles(found, [None] * len(found))
    return None


def _files_of_state(folder: Path) -> list[Path]:
    state = _described(folder / _STATE)
    if state.get("_indices_data_files") or state.get("_indices_files"):
        raise DatasetError(f"{folder}: it was saved with a table of indices; save it after flatten_indices()")
    listed = state.get("_data_files")
    files = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    names = [str(one.get("filename")) for one in files]
    if not names or not all(name == os.path.basename(name) for name in names):
        raise DatasetError(f"{folder / _STATE}: expected a list of data files")
    missing = next((name for name in names if not (folder / name).is_file()), None)
    if missing is not None:
        raise DatasetError(f"{folder}: {missing} is missing, which {_STATE} names")
    return [folder / name for name in names]


def _described(file: Path) -> Mapping[str, Any]:
    with as_one_error(lambda reason: DatasetError(f"{file}: cannot be read ({reason})")):
        found = json.loads(read_regular(file, at_most=_MOST_BYTES))
    if not isinstance(found, dict):
        raise DatasetError(f"{file}: expected an object in braces")
    return found


def find_hub(folder: Path) -> SavedFiles | None:
    """Return the Parquet files of a folder as the hub has it; None if it holds none.

    The card (README.md) may name them; else they are in the folder, in ``data`` or in folders called like
    splits, and named like ``train-00000-of-00005.parquet``. Other folders with such files are configurations.

    Raises
    ------
    DatasetError
        There are several configurations, and none is the default.
    """
    named = _files_of_card(folder)
    if named is not None:
        return named
    own = _column_files(folder) or _column_files(folder / "data")
    for split in sorted(_folders(folder)) if not own else ():
        own += _column_files(folder / split) if split_in_name(split) else []
    if own:
        return SavedFiles(own, [split_in_name(file.stem) or split_in_name(file.parent.name) for file in own])
    configurations = [name for name in sorted(_folders(folder)) if find_hub_files(folder / name)]
    if "default" in configurations or len(configurations) == 1:
        only = "default" if "default" in configurations else configurations[0]
        return find_hub(folder / only)
    if configurations:
        raise _several(folder, configurations)
    return None


def find_hub_files(folder: Path) -> bool:
    """Whether a folder, or one called data or like a split in it, begins with Parquet files."""
    names = [name for name in _folders(folder) if split_in_name(name) or name == "data"]
    return any(_begins_with_columns(one) for one in (folder, *(folder / name for name in names)))


def _begins_with_columns(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(entry.name.lower().endswith(".parquet") for entry in islice(entries, _LOOKED_AT))
    except OSError:
        return False


def has_card(folder: Path) -> bool:
    """Whether a folder has a card as datasets of the hub have: README.md with a description in front."""
    try:
        return _start_of_card(folder, 4).rstrip(b"\r\n") == b"---"
    except OSError:
        return False


def _start_of_card(folder: Path, most: int) -> bytes:
    """Return the first bytes of a card; `OSError` where it is none, or no regular file."""
    check_regular(folder / _CARD)
    with open(folder / _CARD, "rb") as file:
        return file.read(most)


def _several(folder: Path, names: Sequence[str]) -> DatasetError:
    return DatasetError(
        f"{folder}: several configurations: {quote_names(names)}; give one: {PREFIX}{folder}#{names[0]}"
    )


def _files_of_card(folder: Path, wanted: str | None = None) -> SavedFiles | None:
    """Return the files that the card names for a configuration; None if it names none."""
    try:
        import yaml
    except ImportError:
        return None
    try:
        front = _FRONT.match(_start_of_card(folder, _MOST_CARD).decode(errors="replace"))
        given = (yaml.safe_load(front[1]) or {}).get("configs") if front else None
        found = [one for one in given or () if "data_files" in one]
        # Not str() of whatever there is: references to references may unfold without end.
        configs = {name: one for one in found if isinstance(name := one.get("config_name", "default"), str)}
    except (yaml.YAMLError, OSError, ValueError, AttributeError, TypeError, RecursionError, MemoryError):
        return None
    if not configs:
        return None
    chosen = wanted or next((name for name, one in configs.items() if one.get("default") is True), None)
    chosen = chosen or ("default" if "default" in configs else None)
    if chosen is None and len(configs) > 1:
        raise _several(folder, list(configs))
    if chosen is not None and chosen not in configs:
        raise DatasetError(f"{folder}: no configuration {chosen!r}; it has {quote_names(list(configs))}")
    one = configs[chosen or next(iter(configs))]
    return _files_of_config(folder, one["data_files"], one.get("data_dir"))


def _files_of_config(folder: Path, listed: Any, below: Any) -> SavedFiles | None:
    entries = listed if isinstance(listed, list) else [listed]
    files, splits = [], []
    for entry in entries:
        about = entry if isinstance(entry, dict) else {"path": entry}
        paths = about.get("path")
        for path in paths if isinstance(paths, list) else [paths]:
            if not isinstance(path, str) or not (is_pattern(path) or is_column_file(path)):
                return None  # images, or tables of another kind
            if len(path) > _MOST_PATH:
                raise DatasetError(f"{folder / _CARD}: a path of {len(path)} characters")
            inside = os.path.join(below, path) if isinstance(below, str) else path
            if os.path.isabs(inside) or ".." in Path(inside).parts:
                raise DatasetError(f"{folder / _CARD}: {inside} lies outside of the folder")
            given = folder / inside
            found = list(map(Path, find_files(str(given)))) if is_pattern(path) else [given]
            found = list(filter(is_column_file, found))
            if not found:
                return None
            files += found
            split = about.get("split")
            named = (split_in_name(split) or split) if split and isinstance(split, str) else None
            splits += [named or split_in_name(one.stem) for one in found]
    return SavedFiles(files, splits)


def _column_files(folder: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [
        folder / name for name in names if name.lower().endswith(".parquet") and (folder / name).is_file()
    ]


def _folders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    except OSError:
        return []


def read_saved(saved: SavedFiles, place: str, name: str, only: str | None = None, **reading: Any) -> Dataset:
    """Read the files of a saved dataset; parameters as for `read_column_files`.

    `only` is a split of which the inputs are read, without a split.
    """
    files, splits = saved.files, saved.splits
    if only is not None:
        chosen = split_in_name(only) or only
        kept = [i for i, split in enumerate(splits) if split == chosen]
        if not kept:
            known = quote_names(sorted({str(split) for split in splits if split})) or "none"
            raise DatasetError(f"{place}: no split {only!r}; it has {known}")
        files, splits = [files[i] for i in kept], [None] * len(kept)
    odd = next((split for split in splits if split not in (None, "train", "val", "test")), None)
    if odd is not None and len(set(splits)) > 1:
        raise DatasetError(
            f"{place}: the split {odd!r} is none of train, validation and test; give one: "
            f"{PREFIX}{place}#{odd}"
        )
    return read_column_files(files, place, name, splits=splits, **reading)


def read_named(data: str, **reading: Any) -> Dataset:
    """Read what ``hf-dataset:`` names: a folder, with ``#split`` or ``#configuration`` behind it.

    Raises
    ------
    DatasetError
        There is no such folder, or it is no dataset of Hugging Face.
    """
    given, _, part = data.removeprefix(PREFIX).partition("#")
    folder = Path(given).expanduser()
    if not given or not folder.is_dir():
        raise DatasetError(
            f"{data}: no such folder; for a dataset of the hub, give what datasets.load_dataset returns, or "
            "the folder to which save_to_disk wrote it"
        )
    name = folder.name or folder.resolve().name
    saved = find_saved(folder)
    if saved is None and part:
        inside = folder / part
        if _files_of_card_has(folder, part):
            return read_saved(_require(_files_of_card(folder, part), data), str(folder), name, **reading)
        if find_hub_files(inside):
            return read_saved(_require(find_hub(inside), data), str(inside), f"{name} ({part})", **reading)
    saved = saved or find_hub(folder)
    return read_saved(_require(saved, data), str(folder), name, part or None, **reading)


def _files_of_card_has(folder: Path, configuration: str) -> bool:
    try:
        return _files_of_card(folder, configuration) is not None
    except DatasetError:
        return False


def _require(saved: SavedFiles | None, data: str) -> SavedFiles:
    if saved is None:
        raise DatasetError(
            f"{data}: no dataset of Hugging Face: expected what save_to_disk writes ({_STATE} or {_PARTS}), "
            "or Parquet files in it or in data"
        )
    return saved
