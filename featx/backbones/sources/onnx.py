"""ONNX files as backbones: ``onnx:FILE`` and ``onnx:FILE#TENSOR`` (extra ``onnx``).

ONNX Runtime computes the reference, without optimising the graph; the engine OpenVINO reads the same graph.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np

from featx.backbones.graphs.audio import AudioGraphInput
from featx.backbones.graphs.files import (
    GraphArchitecture,
    GraphFile,
    GraphSource,
    graph_input,
    hash_parts,
    read_part,
    sidecar,
)
from featx.backbones.graphs.network import Graph, GraphInput, Session
from featx.backbones.graphs.texts import IDS, SCORES, TextGraphInput, text_graph_input
from featx.backbones.openvino_import import import_openvino
from featx.errors import InputError, MissingExtra, WeightsError, as_one_error

#: Operators whose input is worth taking as a layer, and those of them with weights.
_POOLING = {"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean"}
_WEIGHTED = {"Conv", "Gemm", "MatMul"}
_PASSING = {"Identity", "Dropout"}
_FLATTENING = {"Flatten", "Reshape", "Squeeze"}
#: What may follow the last weighted operator of a classifier. After a pooling or a ReLU there are features.
_AFTER = {"Softmax", "LogSoftmax", "Sigmoid", "Add", "Cast", "DequantizeLinear", "QuantizeLinear"}
_AFTER |= _PASSING | _FLATTENING
#: What makes probabilities of the scores of classes.
_SCORES = {"Softmax", "LogSoftmax", "Sigmoid"}
#: Operators whose output has its channels on axis 1, and those that work on each value.
_WITH_CHANNELS = {"Conv", "BatchNormalization", "InstanceNormalization"} | _POOLING - {"ReduceMean"}
_OF_EACH_VALUE = _PASSING | {
    "Relu",
    "LeakyRelu",
    "PRelu",
    "Elu",
    "Clip",
    "Max",
    "Add",
    "Mul",
    "Sigmoid",
    "Tanh",
}
#: Domains of operators that ONNX Runtime itself implements.
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
_METADATA = "preprocessing"
#: Most bytes of the weights of a graph, which ONNX Runtime is given as one message of protobuf.
_MOST_BYTES = 2**31


def import_onnx() -> tuple[Any, Any]:
    """Import onnx and onnxruntime."""
    for package in ("onnx", "onnxruntime"):
        try:
            __import__(package)
        except ModuleNotFoundError as error:
            if error.name != package:
                raise
            raise MissingExtra(package, "onnx", "a backbone 'onnx:FILE'") from error
    import onnx
    import onnxruntime

    return onnx, onnxruntime


class OnnxGraph(Graph):
    """A graph of ONNX. The size of its images is checked here and not by the library, so any is tried."""

    def __init__(self, model: Any, where: str):
        self._model, self._where = model, where
        self._onnx, self._runtime = import_onnx()
        graph = model.graph
        if not graph.node:
            raise ValueError("it has no operators")
        self._constants = {tensor.name for tensor in (*graph.initializer, *graph.sparse_initializer)}
        self.input = self._find_input()
        self._made_by: dict[str, Any] = {}
        self._inputs = {v.name for v in graph.input if v.name not in self._constants}
        known = self._inputs | self._constants
        for node in graph.node:
            late = next((name for name in node.input if name and name not in known), None)
            if late is not None:
                raise ValueError(f"{late!r:.80} is read before anything computes it")
            twice = next((name for name in node.output if name and name in known), None)
            if twice is not None:
                raise ValueError(f"{twice!r:.80} is computed twice")
            known |= set(node.output)
            if all(name in self._constants for name in node.input if name) and not _subgraphs(node):
                self._constants |= set(node.output)
            for name in filter(None, node.output):
                self._made_by[name] = node
        self.tensors = [name for name in self._made_by if name not in self._constants]
        convolutions = [node for node in graph.node if node.op_type == "Conv"]
        self.first_convolution = (convolutions[0].output[0], 1) if convolutions else None
        self._scores = False  # whether it ends in probabilities
        self.output, self.classified = self._find_ends()
        read = {name for node in graph.node if (name := self._data_of(node)) is not None}
        # A power that is averaged is the variance of a norm.
        read -= {name for name in read if name in self._made_by and self._made_by[name].op_type == "Pow"}
        worth = read & set(self.tensors) | {self.default}
        self.candidates = [name for name in self.tensors if name in worth]

    def _find_input(self) -> GraphInput | TextGraphInput | AudioGraphInput:
        inputs = [value for value in self._model.graph.input if value.name not in self._constants]
        if IDS in [value.name for value in inputs]:
            return self._find_text_input(inputs)
        if len(inputs) != 1:
            names = ", ".join(value.name for value in inputs)
            raise InputError(
                f"{self._where}: takes {len(inputs)} inputs ({names:.200}); expected one, an image "
                f"or audio, or {IDS} for texts"
            )
        (value,) = inputs
        of = value.type.tensor_type
        types = self._onnx.TensorProto
        known = {types.FLOAT: "float32", types.FLOAT16: "float16", types.UINT8: "uint8"}
        dims = _dims(value)
        found = graph_input(self._where, value.name, known.get(of.elem_type), dims)
        axes: tuple[int, ...] = (0,)  # of audio, see `take_audio`
        if isinstance(found, GraphInput):
            axes = {"NCHW": (0, 2, 3), "NHWC": (0, 1, 2)}[found.layout]
        for axis in axes:
            of.shape.dim[axis].dim_param = f"axis_{axis}"
        return found

    def channels_of(self, tensor: str) -> int | None:
        """Return 1 for what a convolution, pooling or norm gives, also behind what works on each value."""
        node = self._made_by.get(tensor)
        while node is not None and node.op_type not in _WITH_CHANNELS:
            varying = [name for name in node.input if name and name not in self._constants]
            alike = node.op_type in _OF_EACH_VALUE and varying
            node = self._made_by.get(varying[0]) if alike else None
        return None if node is None else 1

    def take_audio(self, taken: AudioGraphInput) -> None:
        """Take the input as `taken`; windows of any length are tried."""
        self.input = taken
        if not self._scores:  # an encoder of audio may end in a layer like that of a classifier
            self.classified = None
            self.candidates = [name for name in self.tensors if name in {*self.candidates, self.output}]
        (value,) = (value for value in self._model.graph.input if value.name == taken.name)
        axis = 1 + taken.at
        value.type.tensor_type.shape.dim[axis].dim_param = f"axis_{axis}"

    def _find_text_input(self, inputs: Sequence[Any]) -> TextGraphInput:
        known = {self._onnx.TensorProto.INT64: "int64", self._onnx.TensorProto.INT32: "int32"}
        dtypes = {value.name: known.get(value.type.tensor_type.elem_type) for value in inputs}
        ids = next(value for value in inputs if value.name == IDS)
        return text_graph_input(self._where, dtypes, _dims(ids))

    def _find_text_output(self) -> str:
        """Return the output with one row a text, else the first of hidden states, and class scores last."""
        numbers = (self._onnx.TensorProto.FLOAT, self._onnx.TensorProto.FLOAT16)
        outputs = [v for v in self._model.graph.output if v.type.tensor_type.elem_type in numbers]
        if not outputs:
            raise InputError(f"{self._where}: it gives no numbers for a text, only whole ones")
        outputs = [value for value in outputs if value.name != SCORES] or outputs
        rows = [value for value in outputs if len(value.type.tensor_type.shape.dim) == 2]
        name: str = (rows or outputs)[0].name
        return name

    def _find_ends(self) -> tuple[str, str | None]:
        """Return the first output, and what the last weighted operator of a classifier reads."""
        outputs = [value.name for value in self._model.graph.output]
        if not outputs or outputs[0] not in self._made_by:
            raise ValueError("it computes no output")
        if isinstance(self.input, TextGraphInput):
            return self._find_text_output(), None
        node = self._made_by[outputs[0]] if len(outputs) == 1 else None
        flattened = False
        while node is not None:
            self._scores |= node.op_type in _SCORES
            flattened |= node.op_type in _FLATTENING
            if node.op_type in _WEIGHTED:
                if node.op_type == "Conv" and not flattened:  # its output is a map, not scores
                    break
                found = self._data_of(node)
                while found in self._made_by and self._made_by[found].op_type in _PASSING:
                    found = self._made_by[found].input[0]
                return outputs[0], found if found in self.tensors else None
            varying = [name for name in node.input if name and name not in self._constants]
            node = self._made_by.get(varying[0]) if node.op_type in _AFTER and len(varying) == 1 else None
        return outputs[0], None

    def _data_of(self, node: Any) -> str | None:
        """Return the tensor that a weighted operator or a pooling reads; None for other operators."""
        if node.op_type not in _WEIGHTED | _POOLING:
            return None
        varying = [name for name in node.input if name and name not in self._constants]
        return varying[0] if len(varying) == 1 else None  # a product of two tensors has no weights

    def _cut(self, tensors: Sequence[str]) -> bytes:
        """Return the part of the graph that computes these tensors."""
        kept, wanted = [], set(tensors)
        for node in reversed(self._model.graph.node):
            if wanted.intersection(node.output):
                kept.append(node)
                wanted |= set(_reads(node))
        local = {function.domain for function in self._model.functions}
        for node in kept:
            if node.domain not in _DOMAINS and node.domain not in local:
                raise InputError(
                    f"{self._where}: has the custom operator {node.domain}:{node.op_type}, which needs code "
                    "that is not in the file; name a tensor before it, or export the network without it"
                )
        part = self._onnx.ModelProto()
        part.ir_version = self._model.ir_version
        part.opset_import.extend(self._model.opset_import)
        part.functions.extend(self._model.functions)
        graph, whole = part.graph, self._model.graph
        graph.name = "part"
        graph.node.extend(reversed(kept))
        graph.input.extend(value for value in whole.input if value.name in self._inputs)
        graph.initializer.extend(value for value in whole.initializer if value.name in wanted)
        graph.sparse_initializer.extend(v for v in whole.sparse_initializer if v.values.name in wanted)
        graph.output.extend(self._onnx.ValueInfoProto(name=name) for name in tensors)
        data: bytes = part.SerializeToString()
        return data

    def start(self, tensors: Sequence[str]) -> Session:
        """Return a session of ONNX Runtime on one thread."""
        options = self._runtime.SessionOptions()
        options.graph_optimization_level = self._runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what it would print is in its errors, too
        with as_one_error(lambda why: WeightsError(f"{self._where}: ONNX Runtime cannot run it ({why})")):
            session = self._runtime.InferenceSession(
                self._cut(tensors), options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        names = list(tensors)

        def run(row: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
            with as_one_error(lambda why: InputError(f"{self._where}: ONNX Runtime fails ({why})")):
                found: Sequence[np.ndarray] = session.run(names, dict(row))
            return found

        return run

    def to_openvino(self, tensors: Sequence[str]) -> Any:
        """Return the part of the graph as OpenVINO reads it."""
        return import_openvino().Core().read_model(self._cut(tensors))

    @property
    def metadata(self) -> dict[str, str]:
        """What the file says of itself, by key."""
        return {entry.key: entry.value for entry in self._model.metadata_props}


class OnnxFile(GraphFile):
    """An ONNX file and the files of its weights."""

    def parse(self, data: dict[Path, bytes]) -> OnnxGraph:
        """Return the graph, with its weights."""
        model = _parse(data[self.path])
        room = _MOST_BYTES
        for tensor, location in _external(model, self.path):
            _fill(tensor, data[location])
            room -= len(tensor.raw_data)
            if room < 0:  # many tensors may be given the same bytes of a file
                raise ValueError(f"its weights have more than {_MOST_BYTES} bytes")
        return OnnxGraph(model, str(self.path))


class OnnxArchitecture(GraphArchitecture):
    """The network of an ONNX file."""

    source = "onnx"

    def open_file(self, path: Path, described: Mapping[str, Any] | None) -> OnnxFile:
        """Hash the file and those of its weights."""
        data = read_part(path)
        with as_one_error(lambda reason: WeightsError(f"{path}: damaged, or not an ONNX file ({reason})")):
            files = [path, *sorted({location for _, location in _external(_parse(data), path)})]
        found = hash_parts([data, *(read_part(file) for file in files[1:])])
        channels = (described or {}).get("channels", "rgb")
        return OnnxFile(path, found, files=(*files, sidecar(path)), channels=channels)

    def stated_preprocessing(self, graph: Graph) -> Mapping[str, Any] | None:
        """Return the preprocessing in the metadata of the file."""
        assert isinstance(graph, OnnxGraph)
        stated = graph.metadata.get(_METADATA)
        if stated is None:
            return None
        with as_one_error(
            lambda why: InputError(f"{self.path}: its metadata {_METADATA!r} is no JSON ({why})")
        ):
            return dict(json.loads(stated))


class OnnxSource(GraphSource):
    """ONNX files."""

    name = "onnx"
    made: ClassVar = OnnxArchitecture


def _parse(data: bytes) -> Any:
    onnx, _ = import_onnx()
    return onnx.ModelProto.FromString(data)


def _dims(value: Any) -> list[int | None]:
    """Return the dimensions of an input, None where any length is taken."""
    dims = value.type.tensor_type.shape.dim
    return [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in dims]


def _subgraphs(node: Any) -> list[Any]:
    return [attribute.g for attribute in node.attribute if attribute.HasField("g")] + [
        graph for attribute in node.attribute for graph in attribute.graphs
    ]


def _reads(node: Any) -> Iterator[str]:
    """Yield the tensors that an operator reads, those of the graphs inside it included."""
    yield from node.input
    for graph in _subgraphs(node):
        for inner in graph.node:
            yield from _reads(inner)
        yield from (value.name for value in graph.output)


def _all_tensors(model: Any) -> Iterator[Any]:
    """Yield all tensors with values, those in attributes and in the graphs inside operators included."""
    graphs, nodes = [model.graph], [node for function in model.functions for node in function.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            nodes += graph.node
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
            continue
        node = nodes.pop()
        graphs += _subgraphs(node)
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)


def _external(model: Any, path: Path) -> list[tuple[Any, Path]]:
    """Return the tensors that lie in other files, which must be beside the graph, with these."""
    onnx, _ = import_onnx()
    found = []
    for tensor in _all_tensors(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        location = PurePosixPath({e.key: e.value for e in tensor.external_data}.get("location", ""))
        if location.is_absolute() or ".." in location.parts or not location.parts:
            raise InputError(f"{path}: its weights must lie beside it, not in {str(location)!r}")
        found.append((tensor, path.parent / location))
    return found


def _fill(tensor: Any, data: bytes) -> None:
    """Put the bytes of a file into the tensor that they belong to."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    start = int(entries.get("offset", 0))
    end = start + int(entries["length"]) if "length" in entries else len(data)
    if not 0 <= start <= end <= len(data):
        raise ValueError(f"the weights of {tensor.name!r} lie outside of their file")
    tensor.raw_data = data[start:end]
    del tensor.external_data[:]
    tensor.data_location = 0
