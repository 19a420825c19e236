"""Reading a folder: one subfolder per class, under train/, val/ and test/ where there are given splits."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from featx.datasets.dataset import Dataset, check_evaluated_classes, listing
from featx.datasets.labels import encode, split_name
from featx.errors import DatasetError
from featx.images import FileImage, is_ignored, is_image_file

# One image: its path below the root, as parts.
_Parts = tuple[str, ...]


def read_folder(path: str | os.PathLike[str], *, labelled: bool = True) -> Dataset:
    """Read a folder of images.

    Parameters
    ----------
    path : str or Path
        Holds one folder per class, whose images may lie in further folders; or ``train/`` and ``test/`` or
        ``val/`` (also ``valid``, ``validation``), each with the folders of the classes; or just images,
        which are then unlabelled.
    labelled : bool, default=True
        With False, a folder whose images lie partly beside the class folders is read as unlabelled
        instead of being refused, and class folders may be empty.

    Returns
    -------
    Dataset
        In sorted order; ids are POSIX paths below `path`.

    Raises
    ------
    DatasetError
        If there is no such folder, no image in it, an image beside the class folders, a class folder
        without images, or a class in test that is not in train.

    Notes
    -----
    Hidden files and folders, ``__MACOSX`` and files that are no images by their suffix are left out.
    Symbolic links are followed; a link back to a folder that is being read is not followed again.
    """
    root = Path(path).expanduser()
    if not root.exists():
        raise DatasetError(f"{root}: no such folder")
    if not root.is_dir():
        raise DatasetError(f"{root}: not a folder")
    found = _image_files(root)
    if not found:
        raise DatasetError(f"{root}: no images in this folder (or below it)")
    splits = _splits(root, found)
    classes = _classes(root, found, splits, labelled)

    images = [FileImage("/".join(parts), os.path.join(root, *parts)) for parts in found]
    labels, names = (None, None) if classes is None else encode(classes)
    name = root.name or root.resolve().name
    dataset = Dataset(name, list(images), labels, names, None if splits is None else np.array(splits, "U5"))
    check_evaluated_classes(dataset, str(root))
    return dataset


def _image_files(root: Path) -> list[_Parts]:
    """Images below `root`, sorted; a pile of folders, so that no depth is too deep."""
    found: list[_Parts] = []
    pile: list[tuple[_Parts, frozenset[str]]] = [((), frozenset([os.path.realpath(root)]))]
    while pile:
        parts, above = pile.pop()
        folder = os.path.join(root, *parts)
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if is_ignored(entry.name):
                        continue
                    if entry.is_dir():
                        real = os.path.realpath(entry.path)
                        if real not in above:  # a link upwards would never end
                            pile.append(((*parts, entry.name), above | {real}))
                    elif is_image_file(entry.name):
                        found.append((*parts, entry.name))
        except OSError as error:
            raise DatasetError(f"{folder}: cannot be listed ({error.strerror or error})") from error
    for parts in found:
        try:
            "/".join(parts).encode("utf-8")
        except UnicodeEncodeError as error:
            raise DatasetError(
                f"{root}: the file name {'/'.join(parts)!a} is not UTF-8; rename it"
            ) from error
    return sorted(found)


def _splits(root: Path, found: list[_Parts]) -> list[str] | None:
    """The split of every image, or None when the top folders are not those of splits."""
    top = {parts[0] for parts in found if len(parts) > 1}
    by_name = {name: split_name(name) for name in top}
    given = {name for name, split in by_name.items() if split is not None}
    others = sorted(top - given)
    if not given:
        return None
    # A class may well be called "train", but then it holds images and not folders.
    if others and len(given) == 1 and any(len(parts) == 2 and parts[0] in given for parts in found):
        return None
    if others:
        raise DatasetError(
            f"{root}: holds both splits ({listing(sorted(given))}) and other folders with images "
            f"({listing(others)}); move the latter into a split or away"
        )
    beside = [parts[0] for parts in found if len(parts) == 1]
    if beside:
        raise DatasetError(
            f"{root}: images lie beside the folders of the splits: {listing(beside)}; move them"
        )
    return [by_name[parts[0]] or "" for parts in found]


def _classes(root: Path, found: list[_Parts], splits: list[str] | None, labelled: bool) -> list[str] | None:
    """The class of every image, or None when there are no class folders."""
    level = 0 if splits is None else 1
    direct = ["/".join(parts) for parts in found if len(parts) == level + 1]
    if len(direct) == len(found):
        return None
    if direct:
        if not labelled:
            return None
        raise DatasetError(
            f"{root}: {len(direct)} image{'s' * (len(direct) > 1)} not in a class folder, while others are: "
            f"{listing(direct)}; move them into a class folder or away"
        )
    classes = [parts[level] for parts in found]
    if labelled and splits is None:
        empty = sorted(
            entry.name
            for entry in os.scandir(root)
            if entry.is_dir() and not is_ignored(entry.name) and entry.name not in set(classes)
        )
        if empty:
            raise DatasetError(
                f"{root}: no images in the class folder {listing(empty)}; add some or remove it"
            )
    return classes
