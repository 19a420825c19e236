"""Where backbones come from: a table of sources, one module each.

A source claims a prefix (``timm:``; torchvision has none), lists its networks, and states how each is built,
which weights are published, and what its library says of the layers. To add one, write a module beside these
with a subclass of `BackboneSource` and one of `Architecture`, and put the source into `BUILT_IN`.

Other packages add a source by an entry point of the group ``featx.backbones``, whose name is the prefix::

    [project.entry-points."featx.backbones"]
    mylab = "mylab_networks:MyLabSource"

Entry points are read only for a prefix that no built-in source has, and when backbones are listed.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Sequence

from featx.backbones.architectures import Architecture, BackboneSource, Facts, Pretrained
from featx.backbones.catalogue import GROUP, published_names
from featx.backbones.sources.detection import DetectionSource
from featx.backbones.sources.hf import HfSource
from featx.backbones.sources.hub import HubSource
from featx.backbones.sources.kaldi import KaldiSource
from featx.backbones.sources.onnx import OnnxSource
from featx.backbones.sources.open_clip import OpenClipSource
from featx.backbones.sources.openvino import OpenVINOSource
from featx.backbones.sources.timm import TimmSource
from featx.backbones.sources.torchvision import TorchvisionSource
from featx.errors import InputError, UnknownName, reason_of

BUILT_IN: tuple[BackboneSource, ...] = (
    TorchvisionSource(),
    TimmSource(),
    HfSource(),
    OpenClipSource(),
    DetectionSource(),
    HubSource(),
    KaldiSource(),
    OnnxSource(),
    OpenVINOSource(),
)


def find_architecture(name: str) -> tuple[BackboneSource, Architecture, str | None]:
    """Return the source of a backbone, its architecture, and the tag of weights in its name.

    An `UnknownName` says that no source has the prefix or that the source has no such network; an
    `InputError`, that the package with the prefix is broken.
    """
    prefix = "".join(name.partition(":")[:2]) if ":" in name else ""
    sources = {source.prefix: source for source in BUILT_IN}
    source = sources.get(prefix) or next(iter(load_installed(prefix.removesuffix(":"))), None)
    found = None if source is None else source.find(name.removeprefix(prefix))
    if source is not None and found is not None:
        return source, *found
    known = [] if source is None else [prefix + other for other in source.names()]
    if source is None or not prefix:
        known += published_names()
    if not prefix and (meant := _advice_for_path(name)):
        raise InputError(f"backbone: {name!r} is no name of a backbone; {meant}")
    raise UnknownName("backbone", name, known)


def _advice_for_path(path: str) -> str | None:
    """Say how a file or folder is given that was named as a backbone; None where there is none."""
    ending = os.path.splitext(path)[1].lower()
    if os.path.exists(os.path.join(path, "config.json")):
        return f"for the folder, give hf:{path}"
    if not os.path.isfile(path):
        return None
    if ending in (".onnx", ".xml", ".tflite"):
        return f"for the file, give {'onnx' if ending == '.onnx' else 'openvino'}:{path}"
    return "name its architecture as backbone, and give the file as weights"


def backbone_name(source: str, architecture: str) -> str:
    """Return the name by which `load_backbone` finds the source and architecture of an identity."""
    prefixes = {known.name: known.prefix for known in BUILT_IN}
    return prefixes.get(source, f"{source}:") + architecture


def load_installed(name: str | None = None) -> list[BackboneSource]:
    """Load the sources of other packages: all, or the one of that name.

    An `InputError` names a package that is broken.
    """
    points = [p for p in importlib.metadata.entry_points(group=GROUP) if name in (None, p.name)]
    prefixes = [*(source.prefix for source in BUILT_IN), *(f"{point.name}:" for point in points)]
    return [_load(point, prefixes[: len(BUILT_IN) + i]) for i, point in enumerate(points)]


def listed(source: BackboneSource) -> dict[str, tuple[Facts, Sequence[Pretrained]]]:
    """Return what a source of another package lists, by name; an `InputError` names one that fails."""
    try:
        return {name: (source.facts[name], published) for name, published in source.listed().items()}
    except Exception as error:  # code of another package
        raise InputError(
            f"backbone source {source.name!r} cannot be listed ({reason_of(error)}); repair or uninstall it"
        ) from error


def _load(point: importlib.metadata.EntryPoint, taken: list[str]) -> BackboneSource:
    package = "an unknown package" if point.dist is None else f"{point.dist.name} {point.dist.version}"
    label = f"backbone source {point.name!r} ({point.value}) of {package}"
    prefix = f"{point.name}:"
    if prefix in taken:
        raise InputError(f"{label}: prefix {prefix!r} belongs to another source; uninstall one of them")
    try:
        found = point.load()
        source = found() if isinstance(found, type) else found
    except (Exception, SystemExit) as error:  # code of another package
        raise InputError(f"{label} cannot be loaded ({reason_of(error)}); repair or uninstall it") from error
    if not isinstance(source, BackboneSource) or (source.name, source.prefix) != (point.name, prefix):
        got = f"name {source.name!r}" if isinstance(source, BackboneSource) else f"a {type(source).__name__}"
        raise InputError(f"{label}: expected a BackboneSource with name {point.name!r}, got {got}")
    return source
