"""Read well-known datasets by name, with their official splits, from installed packages or torchvision.

Downloads go into ``FEATX_DATA``, or into the platform's folder for caches.
"""

from __future__ import annotations

import os
import re
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featx.data.dataset import Dataset
from featx.data.readers import fashion_mnist
from featx.data.readers.arrays import from_arrays
from featx.errors import DatasetError, UnknownName
from featx.inputs.image import FileImage

#: Where Debian's package dataset-fashion-mnist installs it; FEATX_FASHION_MNIST overrides this.
FASHION_MNIST_FOLDER = Path("/usr/share/datasets/fashion-mnist")

# What torchvision raises without a network, for a wrong checksum, a damaged archive or a damaged pickle.
_FETCH_ERRORS = (
    RuntimeError,
    OSError,
    ValueError,
    EOFError,
    KeyError,
    ImportError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class _Named:
    """A dataset class of torchvision; `parts` are (its arguments, the split) in the order of the images."""

    torchvision_name: str
    parts: tuple[tuple[dict[str, Any], str | None], ...]


_BY_FLAG = (({"train": True}, "train"), ({"train": False}, "test"))
_TRAIN_TEST = (({"split": "train"}, "train"), ({"split": "test"}, "test"))
_TRAIN_VAL_TEST = (({"split": "train"}, "train"), ({"split": "val"}, "val"), ({"split": "test"}, "test"))

_TORCHVISION = {
    "cifar10": _Named("CIFAR10", _BY_FLAG),
    "cifar100": _Named("CIFAR100", _BY_FLAG),
    "flowers102": _Named("Flowers102", _TRAIN_VAL_TEST),
    "oxfordiiitpet": _Named("OxfordIIITPet", (({"split": "trainval"}, "train"), ({"split": "test"}, "test"))),
    "dtd": _Named("DTD", _TRAIN_VAL_TEST),
    "food101": _Named("Food101", _TRAIN_TEST),
    "eurosat": _Named("EuroSAT", (({}, None),)),
    "stl10": _Named("STL10", _TRAIN_TEST),
}

#: Names of the datasets; case, dashes, underscores and spaces do not matter.
NAMES = ("digits", "fashion-mnist", *_TORCHVISION)


def canonical_name(name: str) -> str | None:
    """Return the entry of `NAMES` that matches `name`, or None."""
    plain = {re.sub(r"[-_ ]", "", known): known for known in NAMES}
    return plain.get(re.sub(r"[-_ ]", "", name.lower()))


def data_root() -> Path:
    """Return the folder of downloads: ``FEATX_DATA``, or ``featx/datasets`` in the platform's cache."""
    if given := os.environ.get("FEATX_DATA"):
        return Path(given).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "featx" / "datasets"


def named_dataset(name: str, *, root: str | os.PathLike[str] | None = None, download: bool = True) -> Dataset:
    """Read a well-known dataset with its official splits; case and dashes of its name do not matter.

    It is looked for in `root` (default: `data_root`) and downloaded if it is not there. `UnknownName` if it
    is not one of `NAMES`; `DatasetError` if it is not found and cannot be downloaded.
    """
    known = canonical_name(name)
    if known is None:
        raise UnknownName("dataset", name, NAMES)
    where = data_root() if root is None else Path(root).expanduser()
    if known == "digits":
        return _digits()
    if known == "fashion-mnist":
        return _fashion_mnist(where, download)
    return _from_torchvision(known, where, download)


def _digits() -> Dataset:
    """Read the 1,797 handwritten digits of 8 x 8 pixels in scikit-learn; 0..16 becomes 0..255."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.rint(data.images * (255 / 16)).astype(np.uint8)
    return from_arrays(images, data.target, classes=[str(i) for i in range(10)], name="digits")


def _fashion_mnist(root: Path, download: bool) -> Dataset:
    given = os.environ.get("FEATX_FASHION_MNIST")
    if given:
        files = fashion_mnist.find_files(Path(given).expanduser())
        if files is None:
            raise DatasetError(
                f"fashion-mnist: FEATX_FASHION_MNIST is {given}, where the four files "
                "*-images-idx3-ubyte and *-labels-idx1-ubyte (or .gz) were not all found"
            )
    else:
        below = root / "FashionMNIST" / "raw"
        files = fashion_mnist.find_files(FASHION_MNIST_FOLDER) or fashion_mnist.find_files(below)
        if files is None:
            advice = (
                "install Debian's package dataset-fashion-mnist, or set FEATX_FASHION_MNIST to its folder"
            )
            looked = f"{FASHION_MNIST_FOLDER} and {below}"
            for train in (True, False):
                _fetch("fashion-mnist", "FashionMNIST", {"train": train}, root, download, looked, advice)
            files = fashion_mnist.find_files(below)
            if files is None:
                raise DatasetError(f"fashion-mnist: downloaded, but its files are not in {below}; {advice}")
    parts = [(split, *arrays) for split, arrays in fashion_mnist.read_fashion_mnist(files).items()]
    return _joined("fashion-mnist", fashion_mnist.CLASSES, parts)


def _from_torchvision(name: str, root: Path, download: bool) -> Dataset:
    entry = _TORCHVISION[name]
    advice = f"connect this machine, or copy the files there, or set FEATX_DATA to a folder that has {name}"
    opened = [
        (split, _fetch(name, entry.torchvision_name, arguments, root, download, str(root), advice))
        for arguments, split in entry.parts
    ]
    classes = tuple(str(c) for c in opened[0][1].classes)
    parts = [(split, *_contents(part)) for split, part in opened]
    return _joined(name, classes, parts, root)


def _fetch(
    name: str,
    torchvision_name: str,
    arguments: dict[str, Any],
    root: Path,
    download: bool,
    looked: str,
    advice: str,
) -> Any:
    """Open a dataset of torchvision; download it only if it is not found."""
    from featx.vision import import_torchvision

    factory: Callable[..., Any] = getattr(import_torchvision().datasets, torchvision_name)
    try:
        return factory(root=str(root), download=False, **arguments)
    except _FETCH_ERRORS as error:
        if not download:
            raise DatasetError(f"{name}: not found in {looked}, and download is off; {advice}") from error
    try:
        root.mkdir(parents=True, exist_ok=True)
        return factory(root=str(root), download=True, **arguments)
    except _FETCH_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(
            f"{name}: not found in {looked}, and the download failed ({reason}); {advice}"
        ) from error


def _contents(part: Any) -> tuple[Any, Any]:
    """Return (images or paths, labels) of a dataset of torchvision.

    Take the files or the array behind it, not its decoded items: the cache finds a file without decoding it,
    and featx decodes it by its own rules.
    """
    if hasattr(part, "samples"):
        return [path for path, _ in part.samples], [label for _, label in part.samples]
    for attribute in ("_image_files", "_images"):
        if hasattr(part, attribute):
            return list(getattr(part, attribute)), part._labels
    data = np.asarray(part.data)
    if data.ndim == 4 and data.shape[1] == 3 and data.shape[3] != 3:
        data = data.transpose(0, 2, 3, 1)  # STL10 keeps its channels first
    return data, part.targets if hasattr(part, "targets") else part.labels


def _joined(
    name: str,
    classes: tuple[str, ...],
    parts: Sequence[tuple[str | None, Any, Any]],
    root: Path | None = None,
) -> Dataset:
    """Join splits into one dataset; the id of a file is its path, of another image like ``train/00007``."""
    images: list[Any] = []
    ids: list[str] = []
    for split, members, _ in parts:
        width = len(str(max(len(members) - 1, 0)))
        for i, member in enumerate(members):
            if isinstance(member, np.ndarray):
                ids.append(f"{split or 'all'}/{i:0{width}d}")
                images.append(member)
            else:
                path = Path(member)
                inside = root is not None and path.is_relative_to(root)
                ids.append((path.relative_to(root) if inside and root else path).as_posix())
                images.append(FileImage(ids[-1], str(path)))
    labels = np.concatenate([np.asarray(part_labels, dtype=np.int64) for _, _, part_labels in parts])
    named = [split for split, members, _ in parts for _ in range(len(members)) if split is not None]
    return from_arrays(images, labels, splits=named or None, ids=ids, classes=classes, name=name)
