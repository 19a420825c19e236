"""Backbones that are graph files: find and hash the file, and read how its images are prepared.

Most graph files do not state their preprocessing, and with a wrong one every row is poor and nothing says
so. So none is assumed: it stands in a JSON file beside the graph, ``model.onnx.json`` for ``model.onnx``::

    {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}

`mean` and `std` normalise ``x / 255`` (for a graph that takes values from 0 to 255, `mean` is 0 and `std`
1/255). The other fields of `Preprocessing` may stand there too; by default the shortest side is resized to
that of the graph's own input, and the central part is taken. ``"channels": "bgr"`` reverses the colours.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from featx.backbones.architectures import Architecture, BackboneSource, Pretrained
from featx.backbones.audio_input import AudioInput
from featx.backbones.audio_settings import describes_audio
from featx.backbones.checkpoint import Checkpoint
from featx.backbones.graphs.audio import (
    EXAMPLE,
    AudioGraphInput,
    AudioGraphRules,
    audio_input,
    read_audio_preparation,
)
from featx.backbones.graphs.network import Graph, GraphInput, GraphLayerRules, GraphNetwork
from featx.backbones.graphs.texts import TextGraphInput, TextGraphRules, read_text_preparation
from featx.backbones.image_input import ImageInput
from featx.backbones.input_settings import InputSettings
from featx.backbones.layers.rules import LayerRules
from featx.backbones.network_input import NetworkInput
from featx.backbones.text_input import TextInput
from featx.durable import expand_user, is_there, read_regular
from featx.errors import InputError, WeightsError, as_one_error, reason_of
from featx.inputs.image.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

#: Most bytes of a graph: protobuf, in which ONNX is written, holds no more.
_MOST_BYTES = 2**31
_MOST_SIDECAR = 2**20
_EXAMPLE = json.dumps({"mean": IMAGENET_MEAN, "std": IMAGENET_STD})


#: What turns prepared inputs into those of a graph, by kind; and the rules of layers with a stated pooling.
_INPUTS: dict[str, type[NetworkInput]] = {"image": ImageInput, "text": TextInput, "clip": AudioInput}
_RULES: dict[str, Callable[[str | None], LayerRules]] = {"text": TextGraphRules, "clip": AudioGraphRules}


@dataclass(frozen=True)
class GraphFile(Checkpoint):
    """A graph file; `sha256` covers the files of its weights, too. A subclass must define `parse`.

    `files` are all files that it consists of, the preprocessing beside it included; `audio` is its input
    where that is described as audio.
    """

    files: tuple[Path, ...] = ()
    channels: str = "rgb"
    audio: AudioGraphInput | None = None
    _read: dict[str, Graph] = field(default_factory=dict, compare=False, repr=False)

    def parse(self, data: dict[Path, bytes]) -> Graph:
        """Return the graph of these files; anything wrong with it may raise any error."""
        raise NotImplementedError

    @property
    def graph(self) -> Graph:
        """The graph, read once.

        A `WeightsError` says that the file is damaged or has changed since it was hashed, an `InputError`
        that no network of images, texts or audio is in it.
        """
        if "graph" not in self._read:
            data = {path: read_part(path) for path in self.files if path != sidecar(self.path)}
            if hash_parts(data.values()) != self.sha256:
                raise WeightsError(
                    f"{self.path}: the file changed after it was checked; load the backbone again"
                )
            with as_one_error(lambda reason: WeightsError(f"{self.path}: damaged, or no graph ({reason})")):
                graph = self.parse(data)
            if self.audio is not None:
                graph.take_audio(self.audio)
            elif isinstance(graph.input, GraphInput):
                graph.input = graph.input._replace(channels=self.channels)
            self._read["graph"] = graph
        return self._read["graph"]

    def of_audio(self, taken: AudioGraphInput) -> GraphFile:
        """Return the file with its input as that of audio."""
        self.graph.take_audio(taken)
        return replace(self, audio=taken)

    def state_dict(self) -> dict[str, Tensor]:
        """Return no tensors: the graph holds its own."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_read": {}}


def read_part(path: Path) -> bytes:
    """Read one of the files of a graph; a `WeightsError` says why it cannot be read."""
    try:
        data = read_regular(path, at_most=_MOST_BYTES)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name, or too large
        raise WeightsError(f"{path}: cannot be read ({reason_of(error)})") from error
    if not data:
        raise WeightsError(f"{path}: empty file (0 bytes)")
    return data


def hash_parts(parts: Any) -> str:
    """Return the sha256 of a file; of several files, that of their sha256s."""
    hashes = [hashlib.sha256(part).hexdigest() for part in parts]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256(" ".join(hashes).encode()).hexdigest()


def sidecar(path: Path) -> Path:
    """Return the path of the preprocessing beside a graph file."""
    return path.with_name(f"{path.name}.json")


class GraphArchitecture(Architecture):
    """The network of a graph file, ``FILE`` or ``FILE#TENSOR``. A subclass must define `open_file`."""

    trainable = False
    in_torch = False
    identity_name = "graph"  # a file that is moved or renamed gives the same rows
    opened: GraphFile | None = None
    #: The pooling that is stated for a graph of texts or audio.
    pooling: str | None = None

    def __init__(self, name: str):
        super().__init__(name)
        file, _, tensor = name.partition("#")
        whole = expand_user(name)
        there = is_there(whole, Path.exists)
        self.path = whole if there else expand_user(file)
        self.tensor = None if there else tensor or None

    @property
    def kind(self) -> str:
        """The kind of input; whether it is a clip is known when `prepare_inputs` has found it out."""
        if self.opened is None:
            return "image"
        if isinstance(self.opened.graph.input, TextGraphInput):
            return "text"
        return "image" if self.opened.audio is None else "clip"

    @property
    def input_type(self) -> type[NetworkInput]:  # type: ignore[override]
        """Class that turns prepared inputs into the graph's."""
        return _INPUTS[self.kind]

    @property
    def rules(self) -> LayerRules:  # type: ignore[override]
        """What is known of its layers."""
        return _RULES[self.kind](self.pooling) if self.kind in _RULES else GraphLayerRules()

    def prepare_inputs(self, pretrained: Pretrained | None, settings: InputSettings, name: str) -> Any:
        """Return the preparation of the graph's inputs."""
        described = read_sidecar(self.path)
        if self.kind == "text":
            settings.require("text", name)
            prepare, self.pooling = read_text_preparation(self.path, described, settings, name)
            return prepare
        assert self.opened is not None
        taken = self.opened.graph.input
        if describes_audio(described, settings.preprocessing):
            settings.require("clip", name)
            found, taken, self.pooling = read_audio_preparation(audio_input(taken), described, settings, name)
            self.opened = self.opened.of_audio(taken)
            return found
        if isinstance(taken, AudioGraphInput):
            raise InputError(
                f"{self.path}: its input {taken.name!r} {_shown(taken.dims)} is not an image; if it "
                f"takes audio, write what it takes of it into {sidecar(self.path)}, such as {EXAMPLE}, or "
                "give preprocessing="
            )
        return super().prepare_inputs(pretrained, settings, name)

    def open_file(self, path: Path, described: Mapping[str, Any] | None) -> GraphFile:
        """Hash a graph file, without reading its graph."""
        raise NotImplementedError

    def stated_preprocessing(self, graph: Graph) -> Mapping[str, Any] | None:
        """Return the preprocessing that the file itself states, as fields of `Preprocessing`."""
        return None

    def open(self, name: str, weights: Any) -> GraphFile:
        """Open the file, or the one that `weights` names in its place."""
        if weights is None:
            raise InputError(f"{name}: a graph file holds its weights; random ones are not possible")
        if isinstance(weights, Path) or weights != "default":
            self.path = expand_user(weights)
        if not is_there(self.path):
            raise WeightsError(f"{self.path}: no such graph file")
        self.opened = self.open_file(self.path, read_sidecar(self.path))
        return self.opened

    def build_for(
        self, inputs: NetworkInput | None, pretrained: Pretrained | None, *, pretrained_style: bool
    ) -> nn.Module:
        """Return the graph as a network."""
        return GraphNetwork(self.opened, self.tensor, inputs)

    def preprocessing(self) -> Preprocessing | None:
        """Return the preprocessing that stands in the file or beside it."""
        assert self.opened is not None
        graph, where = self.opened.graph, sidecar(self.path)
        fields: Mapping[str, Any] | None = read_sidecar(self.path)
        if fields is None:
            fields = self.stated_preprocessing(graph)
            where = self.path
        if fields is None:
            if graph.input.dtype != "uint8":
                raise InputError(
                    f"{self.path}: does not state how images are normalised, and with a wrong guess "
                    f"every row would be poor; write it into {sidecar(self.path)}, for most networks "
                    f"exported from PyTorch {_EXAMPLE}, or give preprocessing="
                )
            fields = {}
        try:
            return _preprocessing(graph.input, fields)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error

    @property
    def identity(self) -> dict[str, str]:
        """What else changes an embedding: the order of the colours, where it is not red, green, blue."""
        assert self.opened is not None
        return {} if self.opened.channels == "rgb" else {"channels": self.opened.channels}


class GraphSource(BackboneSource):
    """Graph files: none is listed."""

    made: ClassVar[type[GraphArchitecture]]

    def names(self) -> Sequence[str]:
        """Return nothing: any file may be named."""
        return ()

    def find(self, name: str) -> tuple[Architecture, str | None] | None:
        """Return the architecture of a file, which `GraphArchitecture.open` looks for."""
        return (self.made(name), None) if name else None


def read_sidecar(path: Path) -> dict[str, Any] | None:
    """Return the preprocessing beside a graph file, None where there is none; refuse what is no object."""
    beside = sidecar(path)
    if not beside.exists():
        return None
    with as_one_error(lambda reason: InputError(f"{beside}: not a preprocessing in JSON ({reason})")):
        found = json.loads(read_regular(beside, at_most=_MOST_SIDECAR))
        if not isinstance(found, dict):
            raise ValueError(f"expected an object such as {_EXAMPLE}")
        if found.get("channels", "rgb") not in ("rgb", "bgr"):
            raise ValueError(f"channels must be 'rgb' or 'bgr', got {found['channels']!r}")
    return found


def graph_input(
    where: str, name: str, dtype: str | None, dims: Sequence[int | None]
) -> GraphInput | AudioGraphInput:
    """Return the input of these dimensions, None where any is taken: of RGB images, or else of audio.

    Whether a graph takes audio is described beside it (`GraphArchitecture.prepare_inputs`).
    """
    is_image = dtype is not None and len(dims) == 4 and 3 in (dims[1], dims[3])
    floats = dtype is not None and dtype != "uint8"
    if not is_image and not (floats and len(dims) in (2, 3, 4)):
        raise InputError(
            f"{where}: its input {name!r} {_shown(dims[1:])} is not an image; expected floats or bytes "
            "(1, 3, h, w) or (1, h, w, 3)"
        )
    if dims[0] not in (None, 1):
        of = "images" if is_image else "inputs"
        raise InputError(
            f"{where}: takes {dims[0]} {of} at once; export it for one, or for any number of them"
        )
    if not is_image:
        return AudioGraphInput(name, str(dtype), tuple(dims[1:]))
    assert dtype is not None
    if dims[1] == 3:
        return GraphInput(name, "NCHW", dtype, dims[2], dims[3])
    return GraphInput(name, "NHWC", dtype, dims[1], dims[2])


def _shown(dims: Sequence[int | None]) -> str:
    return f"({', '.join(['n', *('any' if side is None else str(side) for side in dims)])})"


def _preprocessing(taken: GraphInput, given: Mapping[str, Any]) -> Preprocessing:
    """Return the preprocessing of these fields; what is left out follows from the graph's own input."""
    fields = {name: value for name, value in given.items() if name != "channels"}
    known = Preprocessing.__dataclass_fields__
    unknown = [name for name in fields if name not in known]
    if unknown:
        raise InputError(f"unknown field {unknown[0]!r}; expected {', '.join([*known, 'channels'])}")
    if taken.dtype == "uint8":
        fields = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)} | fields
    lacking = [name for name in ("mean", "std") if name not in fields]
    if lacking:
        raise InputError(f"missing field {lacking[0]!r}; expected at least mean and std, such as {_EXAMPLE}")
    if "crop" not in fields and "resize" not in fields:
        if taken.height is None or taken.width is None:
            raise InputError("the graph takes images of any size, so resize and crop must be stated")
        fields["crop"] = (taken.height, taken.width)
        square = taken.height == taken.width
        fields["resize"] = taken.height if square else (taken.height, taken.width)
    elif "crop" not in fields:
        fields["crop"] = None
    prepared = replace(Preprocessing(), **fields)
    if taken.dtype == "uint8" and (set(prepared.mean), set(prepared.std)) != ({0.0}, {1.0}):
        raise InputError("the graph takes pixels as they are, uint8, so mean must be 0 and std 1")
    return prepared
