"""The options that many functions share.

Users write flat keywords (``compare("photos/", precision="fp32")``), which the TypedDicts here list; a public
function turns them into objects (``Run.of(options)``), which travel inside the package.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, Literal, Self, TypedDict

from featx.errors import InputError
from featx.options.checks import short
from featx.options.table import OPTIONS

#: Options that have no effect where no network runs.
OF_NETWORK = (
    *("weights", "layer", "pooling", "preprocessing", "image_size", "trust_code"),
    *("max_length", "long", "prefix"),
    *("window", "hop", "join"),
    *("precision", "engine", "device", "batch_size"),
)
FROM_A_FILE = "the embeddings come from a features file, and no network runs"


class _Group:
    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Make the object from the keywords in `options`; those of other groups are ignored."""
        known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
        return cls(**{name: options[name] for name in known if name in options})


@dataclass(frozen=True)
class Network(_Group):
    """The frozen network of an embedding, apart from the name of the backbone."""

    weights: Any = OPTIONS["weights"].default
    layer: str | None = OPTIONS["layer"].default
    pooling: str | None = OPTIONS["pooling"].default
    preprocessing: Any = OPTIONS["preprocessing"].default
    image_size: int | None = OPTIONS["image_size"].default
    max_length: int | None = OPTIONS["max_length"].default
    long: str | None = OPTIONS["long"].default
    prefix: str | None = OPTIONS["prefix"].default
    window: float | None = OPTIONS["window"].default
    hop: float | None = OPTIONS["hop"].default
    join: str | None = OPTIONS["join"].default
    trust_code: bool = OPTIONS["trust_code"].default

    @property
    def besides_layer(self) -> dict[str, Any]:
        """The keywords of `featx.backbones.load_layers`, which takes several layers."""
        return {name: value for name, value in vars(self).items() if name != "layer"}


@dataclass(frozen=True)
class Reading(_Group):
    """The inputs and labels to read from a collection."""

    text: str | None = OPTIONS["text"].default
    label: Any = OPTIONS["label"].default
    target: Any = OPTIONS["target"].default
    group: str | None = OPTIONS["group"].default
    split_by: str | None = OPTIONS["split_by"].default
    limit: int | None = OPTIONS["limit"].default


@dataclass(frozen=True)
class Run(_Group):
    """How to run a network over images, where to keep its rows, and whether to check the data."""

    precision: str = OPTIONS["precision"].default
    engine: str = OPTIONS["engine"].default
    device: Any = OPTIONS["device"].default
    batch_size: int | str = OPTIONS["batch_size"].default
    dtype: str = OPTIONS["dtype"].default
    cache: Any = OPTIONS["cache"].default
    on_error: str = OPTIONS["on_error"].default
    n_jobs: int | None = OPTIONS["n_jobs"].default
    verbose: bool = OPTIONS["verbose"].default
    checks: bool = OPTIONS["checks"].default
    on: Any = OPTIONS["on"].default

    @property
    def embedding(self) -> dict[str, Any]:
        """The keywords of `featx.extraction.embed`."""
        return {name: getattr(self, name) for name in ("cache", "on_error", "n_jobs", "verbose", "on")}


#: The run with all defaults.
DEFAULT_RUN = Run()


class PredictOptions(TypedDict, total=False):
    """Keywords of `featx.Model.predict`."""

    text: str | None
    engine: Literal["auto", "torch", "openvino", "compile", "eager"] | str
    device: Any
    batch_size: int | Literal["auto"] | str
    cache: Any
    on_error: Literal["raise", "skip"] | str
    verbose: bool


class RunOptions(PredictOptions, total=False):
    """Keywords of functions that run a network over images."""

    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] | str
    n_jobs: int | None
    on: Any


class NetworkOptions(TypedDict, total=False):
    """Keywords for the weights, and for the preparation of inputs."""

    weights: str | os.PathLike[str] | Enum | None
    pooling: (
        Literal["avg", "max", "cls", "patches", "cls+patches", "mean", "mean+std", "last", "none", "identity"]
        | str
        | None
    )
    preprocessing: Any
    image_size: int | None
    max_length: int | None
    long: Literal["cut", "mean"] | str | None
    prefix: str | None
    window: float | None
    hop: float | None
    join: Literal["mean", "max"] | str | None
    trust_code: bool


class ReadingOptions(TypedDict, total=False):
    """Keywords that choose images of a collection."""

    group: str | None
    split_by: Literal["folder", "group", "none"] | str | None
    limit: int | None


class RankOptions(NetworkOptions, ReadingOptions, RunOptions, total=False):
    """Keywords of `featx.rank`, which takes `layers` instead of `layer`."""

    label: str | None


class SimilarityOptions(NetworkOptions, RunOptions, total=False):
    """Keywords of `featx.similarity`, which reads all images of both sets."""

    layer: str | None


class StudyOptions(SimilarityOptions, ReadingOptions, total=False):
    """Keywords of studies that read images by class."""


class CheckedStudyOptions(StudyOptions, total=False):
    """Keywords of studies that read images by class and search for copies."""

    checks: bool


class ColumnOptions(StudyOptions, total=False):
    """Keywords of studies that read columns of a table."""

    label: Any


class CheckedOptions(ColumnOptions, total=False):
    """Keywords of studies that check their data."""

    checks: bool


def require_no_network(network: Network, run: Run, **backbone: Any) -> None:
    """Raise `InputError` for options of the network, as the embeddings come from a features file.

    `backbone` is ``backbone`` or ``backbones``; the message names the first option that is not its default.
    """
    asked = {**vars(network), **vars(run), **backbone}
    for name in (*OF_NETWORK, *backbone):
        require_no_effect(name, asked[name], OPTIONS[name].default, FROM_A_FILE)


def require_no_effect(name: str, value: Any, default: Any, why: str) -> None:
    """Raise `InputError` if an option that has no effect is not its default; `why` ends the message."""
    if type(value) is not type(default) or value != default:
        raise InputError(f"{name}={short(value)} has no effect: {why}; leave it out")
