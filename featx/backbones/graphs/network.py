"""Networks that are graphs of operators in a file: a library runs them up to any of their tensors.

A layer is a tensor of the graph, under the name that the file gives it. The reference runs each image alone:
a row then cannot depend on its batch, whatever the graph makes of its first axis.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from featx.backbones.layers.pooling import Tap
from featx.backbones.layers.rules import LayerRules
from featx.errors import InputError, UnknownName
from featx.forks import fresh_in_child

if TYPE_CHECKING:
    from featx.backbones.network_input import NetworkInput

#: From one input, an array for each of the graph's inputs, to some of its tensors.
Session = Callable[[Mapping[str, np.ndarray]], Sequence[np.ndarray]]

_starting = fresh_in_child(threading.Lock())


class GraphInput(NamedTuple):
    """The one input of a graph: its name, the order of its axes, its dtype, and the images that it takes.

    `height` and `width` are None where images of any size are taken; `channels` is ``"rgb"`` or ``"bgr"``.
    """

    name: str
    layout: str
    dtype: str
    height: int | None
    width: int | None
    channels: str = "rgb"

    def require(self, network: str, inputs: NetworkInput) -> None:
        """Refuse images of a size that the graph does not take."""
        size = inputs.example(1, "meta").shape[2:]
        for side, wanted, given in zip(("high", "wide"), (self.height, self.width), size, strict=True):
            if wanted is not None and wanted != given:
                raise InputError(
                    f"{network}: takes images that are {wanted} pixels {side}, and these are prepared to "
                    f"{given}; state that size in their preprocessing, or leave image_size out"
                )

    def rows(self, x: Tensor) -> Iterator[dict[str, np.ndarray]]:
        """Yield each normalised image of a batch (n, 3, h, w) as the graph takes it."""
        for image in x.detach().to("cpu", torch.float32).contiguous().numpy():
            yield {self.name: self._of(image[None])}

    def _of(self, image: np.ndarray) -> np.ndarray:
        if self.channels == "bgr":
            image = image[:, ::-1]
        if self.dtype == "uint8":  # its preprocessing only divides by 255
            image = np.rint(image * 255)
            if image.min() < 0 or image.max() > 255:
                raise InputError("the graph takes pixels as they are, so mean must be 0 and std 1")
        if self.layout == "NHWC":
            image = image.transpose(0, 2, 3, 1)
        return np.ascontiguousarray(image, self.dtype)


class Graph:
    """A graph in a file, as a library reads it. A subclass must define all of this.

    Attributes
    ----------
    input : GraphInput, TextGraphInput or AudioGraphInput
    tensors : sequence of str
        All that can be a layer, in the order of computation.
    candidates : sequence of str
        Those worth trying: what convolutions, products with weights and poolings read, and the default.
    classified : str or None
        What the last weighted operator of a classifier reads; None where no classifier is recognised.
    output : str
        The first output.
    first_convolution : (str, int) or None
        Its output and the axis of the channels in it; the positions are the patches of a vision transformer.
    """

    input: Any
    tensors: Sequence[str]
    candidates: Sequence[str]
    classified: str | None
    output: str
    first_convolution: tuple[str, int] | None

    @property
    def default(self) -> str:
        """The layer where no tensor is named: what the classifier reads, else the output."""
        return self.classified or self.output

    def channels_of(self, tensor: str) -> int | None:
        """Return the axis of the channels in a tensor, where its operator states it."""
        return None

    def take_audio(self, taken: Any) -> None:
        """Take the input as `taken`, an `AudioGraphInput` whose axes are known."""
        self.input = taken

    def start(self, tensors: Sequence[str]) -> Session:
        """Return what computes these tensors in fp32, safe to call from several threads."""
        raise NotImplementedError

    def to_openvino(self, tensors: Sequence[str]) -> Any:
        """Return an OpenVINO model with the input of the graph, and these tensors as results."""
        raise NotImplementedError


class LayerNeeded(InputError):
    """A graph has no default layer; `known` are those worth trying."""

    def __init__(self, message: str, known: Sequence[str] = ()):
        super().__init__(message, tuple(known))
        self.known = tuple(known)

    def __str__(self) -> str:
        return str(self.args[0])


class GraphNetwork(nn.Module):
    """A graph as a network: it holds no tensors of PyTorch, has no gradients, and copies share it.

    `file` is what reads it (`featx.backbones.graphs.files.GraphFile`), again wherever it is unpickled;
    `layer` replaces the default, and `inputs` are the images that it is for. `tokens` is
    the number of tokens of the layer that is being examined, None where it has none.
    """

    tokens: int | None = None

    def __init__(self, file: Any, layer: str | None, inputs: NetworkInput | None):
        super().__init__()
        self.file, self.layer, self.inputs = file, layer, inputs
        self._sessions: dict[Any, Session] = {}

    @property
    def graph(self) -> Graph:
        """The graph, read once."""
        graph: Graph = self.file.graph
        return graph

    def run(self, x: Tensor, tensors: Sequence[str]) -> list[Tensor]:
        """Return tensors of the graph for a batch of its inputs, in float32 on their device.

        Where texts differ in length, zeros stand behind the end of the shorter ones.
        """
        session = self.session(tuple(tensors))
        parts: list[list[np.ndarray]] = [[] for _ in tensors]
        for row in self.graph.input.rows(x):
            for name, found, part in zip(tensors, session(row), parts, strict=True):
                if found.ndim < 2 or len(found) != 1 or found.dtype.kind != "f":
                    raise InputError(
                        f"tensor {name!r} gives {found.dtype} {found.shape} for one input; expected numbers "
                        "whose first axis counts inputs"
                    )
                part.append(found.astype(np.float32, copy=False))
        return [torch.from_numpy(_stack(part)).to(x.device) for part in parts]

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the whole graph, such as class scores."""
        return self.run(x, [self.graph.output])[0]

    def find(self, layer: str, name: str) -> str:
        """Return the name of a layer; `UnknownName` offers those nearest to it."""
        if layer not in self.graph.tensors:
            raise UnknownName(f"layer of {name}", layer, self.graph.tensors)
        return layer

    def session(self, tensors: tuple[str, ...]) -> Session:
        """Return what computes these tensors, kept for the next call; an `InputError` says why it cannot."""
        here = os.getpid()
        with _starting:
            if (here, tensors) not in self._sessions:
                # A forked child has none of the threads of its parent's sessions, and must not end them.
                mine = [key for key in self._sessions if key[0] == here]
                for key in mine[:-1]:
                    del self._sessions[key]
                self._sessions[here, tensors] = self.graph.start(tensors)
            return self._sessions[here, tensors]

    def __deepcopy__(self, memo: Any) -> GraphNetwork:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_sessions": {}}


def _stack(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Join outputs (1, ...) for single inputs into (n, ...), with zeros behind shorter ones."""
    if all(part.shape[1:] == parts[0].shape[1:] for part in parts):
        return np.concatenate(parts)
    longest = np.max([part.shape for part in parts], axis=0)
    out = np.zeros((len(parts), *longest[1:]), np.float32)
    for row, part in zip(out, parts, strict=True):
        row[tuple(slice(side) for side in part.shape[1:])] = part[0]
    return out


class GraphFeatures(nn.Module):
    """From inputs to the pooled layers of a graph, side by side."""

    def __init__(self, network: GraphNetwork, taps: Sequence[Tap], rules: LayerRules):
        super().__init__()
        self.network, self.taps, self.rules = network, tuple(taps), rules

    def forward(self, x: Tensor) -> Tensor:
        return self._size(x) if x.is_meta else self._pool(self._run(x, self.layers), x)

    @property
    def layers(self) -> list[str]:
        """The layers, each once."""
        return list(dict.fromkeys(tap.layer for tap in self.taps))

    def _run(self, x: Tensor, tensors: Sequence[str]) -> dict[str, Tensor]:
        return dict(zip(tensors, self.network.run(x, tensors), strict=True))

    def _pool(self, found: dict[str, Tensor], x: Tensor) -> Tensor:
        rows = [self.rules.pool(self.network, tap, found[tap.layer], x) for tap in self.taps]
        return rows[0] if len(rows) == 1 else torch.cat(rows, 1)

    def _size(self, x: Tensor) -> Tensor:
        """Return what `forward` gives, without values, through tensors as large as those of the graph.

        An estimate of the memory counts these: the layers, and the output of the first convolution.
        """
        first = self.network.graph.first_convolution
        names = self.layers if first is None else [*self.layers, first[0]]
        found = self._run(torch.zeros((1, *x.shape[1:]), dtype=x.dtype), list(dict.fromkeys(names)))
        sizes = {name: torch.empty((len(x), *one.shape[1:]), device="meta") for name, one in found.items()}
        return self._pool(sizes, x)

    def to_openvino(self, inputs: NetworkInput) -> Any:
        """Return an OpenVINO model from a batch of the network's inputs to what `forward` gives."""
        from featx.backbones.graphs.openvino import pooled_audio_model, pooled_model, pooled_text_model

        model = self.network.graph.to_openvino(self.layers)
        if inputs.kind == "text":
            return pooled_text_model(model, self.layers, self.taps)
        if inputs.kind == "clip":
            sides = inputs.preparation.shape
            return pooled_audio_model(model, self.layers, self.taps, self.network.graph.input, sides)
        shape = inputs.example(1, "meta").shape[1:]
        return pooled_model(model, self.layers, self.taps, self.network.graph.input, tuple(shape))


class GraphLayerRules(LayerRules):
    """What is known of the layers of a graph: no library states anything about it."""

    #: Tokens that vision transformers put before those of the patches: none, a class token, one more for
    #: distillation, a class token and four registers.
    PREFIXES: ClassVar = (0, 1, 2, 5)

    def has_classifier(self, network: Any) -> bool:
        """Return False: the scores of a classifier are a tensor with a name like any other."""
        return False

    def prefix_tokens(self, network: Any) -> int:
        """Return how many tokens the layer has before those of the patches, as far as its length tells."""
        positions = self._positions(network)
        prefix = (network.tokens or 0) - (positions or 0)
        return prefix if positions is not None and prefix in self.PREFIXES else 0

    def stated_tokens(self, network: Any) -> tuple[int, ...]:
        """Return the number of tokens of the layer, if a vision transformer could have as many."""
        positions = self._positions(network)
        if positions is None or network.tokens is None or network.tokens - positions not in self.PREFIXES:
            return ()
        return (network.tokens,)

    def _positions(self, network: Any) -> int | None:
        """Return how many positions the first convolution has: one for each patch."""
        first = network.graph.first_convolution
        if first is None or network.inputs is None:
            return None
        (patches,) = network.run(network.inputs.example(1), [first[0]])
        return int(patches.numel()) // patches.shape[first[1]]
