"""List and search the published backbones of all sources, from tables, so that nothing heavy is imported.

``tables/SOURCE.csv`` has a row for each published weights of each network, as the script
``docs/write_backbone_tables.py`` finds them in the library itself; the first row of a name is what
``weights="default"`` means. Whether weights are on this machine is told by their file in the cache of torch
hub, in that of the Hugging Face hub, or in an installed package; it is not opened.
"""

from __future__ import annotations

import csv
import difflib
import fnmatch
import functools
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from featx.backbones.weights import default_weights, find_in_repository, find_local, packaged_files
from featx.errors import UnknownName
from featx.options import checked

TABLES = Path(__file__).parent / "tables"
#: Group of the entry points by which other packages add sources.
GROUP = "featx.backbones"
#: Most backbones that the `repr` of their list shows.
_SHOWN = 10
#: Names of a state dict in a repository of the Hugging Face hub.
_HUGGING_FACE_FILES = (
    *("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json"),
    *("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
)


class Library(NamedTuple):
    """What the networks of a source need, and how the source is searched."""

    prefix: str
    #: Package that is imported, and the extra of featx that installs it; empty where featx needs it anyway.
    package: str
    extra: str
    #: A search to try.
    example: str


#: The sources that have a table, in the order in which they are listed.
LIBRARIES = {
    "torchvision": Library("", "torchvision", "", "resnet50"),
    "timm": Library("timm:", "timm", "timm", "dinov2 small"),
    "hf": Library("hf:", "transformers", "transformers", "siglip"),
    "open_clip": Library("open_clip:", "open_clip", "open-clip", "laion"),
    "detection": Library("detection:", "torchvision", "", "ssd"),
}
#: What no table lists: how it is named, and what it is.
UNLISTED = {
    "hf:OWNER/NAME": "any network of images, texts or audio of transformers on the Hugging Face hub",
    "hf:FOLDER": "the same, in a folder; of sentence-transformers, its own pipeline",
    "hub:OWNER/REPO:ENTRY": "a network of torch.hub; runs its code (--trust-code)",
    "kaldi:fbank": "filter banks of audio, mean and deviation over time, no weights (extra: audio)",
    "kaldi:mfcc": "cepstral coefficients in place of filter banks",
    "onnx:FILE": "an ONNX graph (extra: onnx)",
    "openvino:FILE": "a graph of OpenVINO or TFLite (extra: openvino)",
}


@dataclass(frozen=True)
class BackboneInfo:
    """What is known of a backbone without building it.

    Attributes
    ----------
    name : str
        For `load_backbone`.
    dim : int
        Length of an embedding at the default layer.
    parameters : int
        Of the whole network, with its classifier.
    top1 : float or None
        Published top-1 accuracy of the weights on ImageNet, in percent, where the library states it.
    weights_available : bool
        Whether their file is on this machine; it is not opened.
    weights_name : str
        The weights that ``weights="default"`` means here; empty where none are published.
    image_size : int, (int, int) or None
        Side of the square input in pixels, else height and width; None where it is not known.
    licence : str or None
        Licence of the weights, as the library states it, such as ``"apache-2.0"``.
    source : str
        Name of the source, such as ``"timm"``.
    """

    name: str
    dim: int
    parameters: int
    top1: float | None
    weights_available: bool
    weights_name: str
    image_size: int | tuple[int, int] | None = None
    licence: str | None = None
    source: str = ""


class Row(NamedTuple):
    """A row of a table: published weights of a network; every field is text."""

    #: As `load_backbone` takes it, without the prefix of the source.
    name: str
    weights: str
    dim: str
    parameters: str
    image_size: str
    licence: str
    top1: str
    #: Name of a file in the cache of torch hub, or ``OWNER/REPOSITORY`` of the Hugging Face hub.
    file: str

    @property
    def filename(self) -> str:
        """Name of the file, for `default_weights`."""
        return self.file

    @property
    def fetchable(self) -> bool:
        """Whether the weights can be downloaded."""
        return self.file != self.weights  # weights that only a package carries are named by their file

    def find(self, packaged: dict[str, Path] | None = None) -> Path | None:
        """Return the file on this machine, or None."""
        if "/" in self.file:
            return find_in_repository(self.file, _HUGGING_FACE_FILES)
        return find_local(self.file, packaged) if self.file else None

    def info(self, source: str, packaged: dict[str, Path]) -> BackboneInfo:
        """Return what the row says, and whether the weights are here."""
        sides = tuple(int(side) for side in self.image_size.split("x") if side)
        return BackboneInfo(
            name=LIBRARIES[source].prefix + self.name,
            dim=int(self.dim),
            parameters=int(self.parameters),
            top1=float(self.top1) if self.top1 else None,
            weights_available=self.find(packaged) is not None,
            weights_name=self.weights,
            image_size=sides if len(sides) == 2 else sides[0] if sides else None,  # type: ignore[arg-type]
            licence=self.licence or None,
            source=source,
        )


class BackboneList(list[BackboneInfo]):
    """Backbones as a list whose `repr` is short: there are thousands."""

    def __repr__(self) -> str:
        if len(self) <= _SHOWN:
            return super().__repr__()
        names = ", ".join(info.name for info in self[:_SHOWN])
        return f"<{len(self):,} backbones: {names}, ...; give a pattern to list fewer>"


@checked()
def list_backbones(pattern: str | None = None) -> list[BackboneInfo]:
    """List the published backbones of all sources, also of libraries that are not installed.

    Parameters
    ----------
    pattern : str, optional
        Shell-style, such as ``"resnet*"``; text without wildcards may stand anywhere in a name.

    Returns
    -------
    list of BackboneInfo
        Sorted by name. A network whose name does not say the weights, such as ``resnet50``, has one entry,
        with those that ``weights="default"`` means here.
    """
    packaged = packaged_files()
    infos = []
    for source in _tables():
        named: dict[str, list[Row]] = {}
        for row in read_table(source):
            named.setdefault(row.name, []).append(row)
        prefix = LIBRARIES[source].prefix
        for name, rows in named.items():
            chosen = default_weights(rows, packaged)
            if chosen is not None and (pattern is None or _matches(prefix + name, pattern)):
                infos.append(chosen.info(source, packaged))
    infos += [info for info in _installed() if pattern is None or _matches(info.name, pattern)]
    return BackboneList(sorted(infos, key=lambda info: info.name))


def search_backbones(words: Sequence[str] = (), source: str | None = None) -> list[BackboneInfo]:
    """Return all published weights whose name has every word, upper and lower case alike.

    A word with wildcards must fit the whole name. Those on this machine come first, then the sources in the
    order of `LIBRARIES`; within them, numbers in names are sorted as numbers.
    """
    packaged = packaged_files()
    order = list(LIBRARIES)
    found = [
        row.info(name, packaged)
        for name in _tables()
        if source in (None, name)
        for row in read_table(name)
        if _has_all(f"{LIBRARIES[name].prefix}{row.name}", row.weights, words)
    ]
    found += [
        info
        for info in _installed()
        if source in (None, info.source) and _has_all(info.name, info.weights_name, words)
    ]
    return sorted(
        found,
        key=lambda info: (
            not info.weights_available,
            order.index(info.source) if info.source in order else len(order),
            _natural(info.name),
        ),
    )


def require_source(name: str | None) -> str | None:
    """Return the name of a source; `UnknownName` if there is none of that name."""
    known = [*_tables(), *(point.name for point in importlib.metadata.entry_points(group=GROUP))]
    if name is not None and name not in known:
        raise UnknownName("source", name, known)
    return name


def nearest_words(words: Iterable[str]) -> list[str]:
    """Return words in the names of backbones that resemble words which are in none."""
    names = [_plain(name) for name in published_names()] + [_plain(info.name) for info in _installed()]
    parts = [part for name in names for part in re.split(r"[\W_]+", name)]
    known = list(dict.fromkeys([*parts, *names]))
    strange = [word for word in map(_plain, words) if not any(word in name for name in names)]
    return [near for word in strange for near in difflib.get_close_matches(word, known, n=3, cutoff=0.7)]


def published_names() -> list[str]:
    """Return the names of all published backbones of the built-in sources, with prefix."""
    return [
        LIBRARIES[source].prefix + name
        for source in _tables()
        for name in dict.fromkeys(row.name for row in read_table(source))
    ]


def count_weights() -> dict[str, tuple[int, int]]:
    """Return how many networks and how many published weights each source has."""
    counts = {}
    for source in _tables():
        rows = read_table(source)
        # A name may end with that of its weights, behind a dot (timm) or a slash (open_clip).
        networks = {row.name.removesuffix(row.weights).rstrip("./") for row in rows}
        counts[source] = (len(networks), len(rows))
    for info in _installed():
        before = counts.get(info.source, (0, 0))
        counts[info.source] = (before[0] + 1, before[1] + bool(info.weights_name))
    return counts


def is_installed(source: str) -> bool:
    """Return whether the library of a source is installed; it is not imported."""
    return source not in LIBRARIES or importlib.util.find_spec(LIBRARIES[source].package) is not None


def has_installed_sources() -> bool:
    """Return whether another package adds a source."""
    return bool(importlib.metadata.entry_points(group=GROUP))


@functools.cache
def read_table(source: str) -> tuple[Row, ...]:
    """Return the rows of a source's table, in its order."""
    with (TABLES / f"{source}.csv").open(encoding="utf-8", newline="") as lines:
        next(lines)  # the version of the library
        rows = csv.reader(lines)
        next(rows)
        return tuple(Row(*row) for row in rows)


def _tables() -> list[str]:
    """Return the sources that have a table."""
    return [source for source in LIBRARIES if (TABLES / f"{source}.csv").is_file()]


def _installed() -> list[BackboneInfo]:
    """Return the networks that other packages list; importing such a package imports torch."""
    if not has_installed_sources():
        return []
    from featx.backbones.sources import listed, load_installed

    packaged = packaged_files()
    infos = []
    for source in load_installed():
        for name, (facts, published) in listed(source).items():
            chosen = default_weights(published, packaged)
            infos.append(
                BackboneInfo(
                    name=source.prefix + name,
                    dim=facts.dim,
                    parameters=facts.parameters,
                    top1=chosen.top1 if chosen else None,
                    weights_available=chosen is not None and chosen.find(packaged) is not None,
                    weights_name=chosen.name if chosen else "",
                    licence=chosen.licence if chosen else None,
                    source=source.name,
                )
            )
    return infos


def _matches(name: str, pattern: str) -> bool:
    wanted = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
    return fnmatch.fnmatchcase(name, wanted)


def _has_all(name: str, weights: str, words: Iterable[str]) -> bool:
    """Return whether every word is in the name of a network or of its weights, where ``-`` is ``_``."""
    whole = _plain(f"{name} {weights}")
    return all(
        fnmatch.fnmatchcase(name.lower(), word.lower())
        if any(c in word for c in "*?[")
        else _plain(word) in whole
        for word in words
    )


def _plain(text: str) -> str:
    return text.lower().replace("-", "_")


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Return a key that sorts ``resnet50`` before ``resnet101``."""
    return [
        (part.isdecimal(), int(part) if part.isdecimal() else 0, part)
        for part in re.findall(r"\d+|\D+", name.lower())
    ]
