"""Graph files that OpenVINO reads: ``openvino:FILE`` and ``openvino:FILE#TENSOR`` (extra ``openvino``).

These are OpenVINO's own IR (``.xml``), TFLite, TensorFlow's frozen graphs and Paddle. OpenVINO in fp32, on
one stream and one thread, is the reference.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from featx.backbones.graphs.files import (
    GraphArchitecture,
    GraphFile,
    GraphSource,
    graph_input,
    hash_parts,
    read_part,
    sidecar,
)
from featx.backbones.graphs.network import Graph, Session
from featx.backbones.openvino_import import import_openvino
from featx.backbones.signal_stack import kept_signal_stack
from featx.errors import InputError, WeightsError, as_one_error
from featx.forks import fresh_in_child

_PURPOSE = "a backbone 'openvino:FILE'"
_WEIGHTED = {"Convolution", "GroupConvolution", "MatMul"}
_POOLING = {"MaxPool", "AvgPool", "AdaptiveAvgPool", "ReduceMean", "ReduceMax"}
#: What only changes the form of a tensor.
_FORMS = {"Transpose", "Convert", "Reshape", "Squeeze", "Unsqueeze", "FakeQuantize"}
#: What may follow the last weighted operator of a classifier. After a pooling or a ReLU there are features.
_AFTER = {"Softmax", "LogSoftmax", "Sigmoid", "Add", *_FORMS}
#: By the suffix of a graph file, that of its weights.
_WEIGHTS = {".xml": ".bin", ".pdmodel": ".pdiparams"}
#: Suffixes of graph files. Of any other file, OpenVINO would try all that it knows, and print parts of it.
_SUFFIXES = (".xml", ".tflite", ".pb", ".pdmodel")

_compiling = fresh_in_child(threading.Lock())


class OpenVINOGraph(Graph):
    """A graph as OpenVINO reads it; a tensor has the name in the file, or else that of its operator."""

    first_convolution = None

    def __init__(self, path: Path):
        self._ov, self._where = import_openvino(_PURPOSE), str(path)
        self._model, self._outputs, whole = _read(self._ov, path)
        parameters = self._model.get_parameters()
        if len(parameters) != 1:
            names = ", ".join(parameter.friendly_name for parameter in parameters)
            raise InputError(
                f"{path}: takes {len(parameters)} inputs ({names}); expected one, an image or audio"
            )
        (parameter,) = parameters
        known = {"f32": "float32", "f16": "float16", "u8": "uint8"}
        shape = parameter.get_partial_shape()
        dims = [d.get_length() if d.is_static else None for d in shape] if shape.rank.is_static else []
        dtype = known.get(parameter.get_element_type().get_type_name())
        self.input = graph_input(str(path), parameter.friendly_name, dtype, dims)
        self.tensors = list(self._outputs)
        self.output, self.classified = whole[0], self._find_classified(whole)
        worth = {name for name, output in self._outputs.items() if _is_read(_before_forms(output))}
        self.candidates = [name for name in self.tensors if name in worth | {self.default}]

    def _find_classified(self, whole: Sequence[str]) -> str | None:
        """Return what the last weighted operator of a classifier reads."""
        named = {_key(_before_forms(output)): name for name, output in self._outputs.items()}
        output = self._outputs[whole[0]] if len(whole) == 1 else None
        while output is not None:
            node = output.get_node()
            varying = [source for source in _sources(node) if not _is_constant(source)]
            if node.get_type_name() in _WEIGHTED and len(varying) == 1:
                return named.get(_key(_before_forms(varying[0])))
            output = varying[0] if node.get_type_name() in _AFTER and len(varying) == 1 else None
        return None

    def start(self, tensors: Sequence[str]) -> Session:
        """Return a session of OpenVINO in fp32, on one stream and one thread."""
        options = {
            **{"NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": "1", "INFERENCE_PRECISION_HINT": "f32"},
            "ENABLE_CPU_PINNING": False,
        }
        model, core = self.to_openvino(tensors), self._ov.Core()
        compiled: dict[tuple[int, ...], Any] = {}

        def run(row: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
            (image,) = row.values()
            with as_one_error(lambda why: InputError(f"{self._where}: OpenVINO fails ({why})")):
                with _compiling:
                    if image.shape not in compiled:
                        model.reshape(list(image.shape))
                        with kept_signal_stack():
                            compiled[image.shape] = core.compile_model(model, "CPU", options)
                    request = compiled[image.shape].create_infer_request()
                found = request.infer([image])
                return [np.array(found[i]) for i in range(len(tensors))]

        return run

    def to_openvino(self, tensors: Sequence[str]) -> Any:
        """Return a copy of the part of the graph that computes these tensors."""
        outputs = [self._outputs[name] for name in tensors]
        return self._ov.Model(outputs, self._model.get_parameters(), "part").clone()


def _read(ov: Any, path: Path) -> tuple[Any, dict[str, Any], list[str]]:
    """Return the model in a file, its tensors by name in the order of computation, and its outputs."""
    if path.suffix == ".tflite":
        return _read_tflite(path)
    core = ov.Core()
    # A file that is written anew while it is mapped into memory would change the weights, or end the process.
    core.set_property({"ENABLE_MMAP": False})
    model = core.read_model(path)
    found: dict[str, Any] = {}
    for output in _computed(model):
        node = output.get_node()
        rest = f":{output.get_index()}" if node.get_output_size() > 1 else ""
        found[min(output.get_names(), default=node.friendly_name + rest)] = output
    named = {_key(output): name for name, output in found.items()}
    return model, found, [named[_key(r.input_value(0))] for r in model.get_results()]


def _read_tflite(path: Path) -> tuple[Any, dict[str, Any], list[str]]:
    """Read a TFLite file, whose names OpenVINO keeps only for what it is told to give as outputs.

    A fused operator has the names of all its parts, joined by semicolons; the first one is taken where it is
    the only one of that name.
    """
    from openvino.frontend import FrontEndManager

    reader = FrontEndManager().load_by_framework("tflite")
    decoded = reader.decode(reader.load(path))
    full = [name for output in _computed(decoded) for name in output.get_names()]
    short = [name.partition(";")[0] for name in full]
    often = Counter([*short, *(name for name in full if ";" not in name)])
    names = {
        name: brief if ";" in name and often[brief] == 1 else name
        for name, brief in zip(full, short, strict=True)
    }
    whole = [names[name] for result in decoded.get_results() for name in result.input_value(0).get_names()]
    del decoded
    graph = reader.load(path)
    graph.override_all_outputs([graph.get_place_by_tensor_name(name) for name in names])
    model = reader.convert(graph)
    outputs = [result.input_value(0) for result in model.get_results()]
    return model, dict(zip(names.values(), outputs, strict=True)), whole


def _computed(model: Any) -> Iterator[Any]:
    """Yield the outputs of all operators that depend on the input, in the order of computation."""
    for node in model.get_ordered_ops():
        if node.get_type_name() not in ("Parameter", "Result", "Constant"):
            yield from (output for output in node.outputs() if not _is_constant(output))


def _sources(node: Any) -> list[Any]:
    return [port.get_source_output() for port in node.inputs()]


def _is_constant(output: Any) -> bool:
    """Return whether a tensor depends on no values of the input, as weights and what is made of them."""
    seen, waiting = set(), [output.get_node()]
    while waiting:
        node = waiting.pop()
        if node.get_type_name() == "Parameter":
            return False
        if node.get_type_name() != "ShapeOf" and node.friendly_name not in seen:
            seen.add(node.friendly_name)
            waiting += [source.get_node() for source in _sources(node)]
    return True


def _before_forms(output: Any) -> Any:
    """Return the tensor before operators that only change its form."""
    while output.get_node().get_type_name() in _FORMS:
        output = output.get_node().input_value(0)
    return output


def _is_read(output: Any) -> bool:
    """Return whether a convolution, a product with weights or a pooling reads a tensor."""
    for port in output.get_target_inputs():
        node = port.get_node()
        kind = node.get_type_name()
        if kind in _FORMS and any(_is_read(inner) for inner in node.outputs()):
            return True
        if kind in _POOLING and port.get_index() == 0:
            return True
        if kind in _WEIGHTED and sum(not _is_constant(source) for source in _sources(node)) == 1:
            return True
    return False


def _key(output: Any) -> tuple[str, int]:
    return output.get_node().get_name(), output.get_index()


class OpenVINOFile(GraphFile):
    """A graph file, and that of its weights where they lie apart."""

    def parse(self, data: dict[Path, bytes]) -> OpenVINOGraph:
        """Return the graph."""
        graph = OpenVINOGraph(self.path)
        if any(read_part(path) != before for path, before in data.items()):
            raise WeightsError(f"{self.path}: the file changed while it was read; load the backbone again")
        return graph


class OpenVINOArchitecture(GraphArchitecture):
    """The network of a graph file that OpenVINO reads."""

    source = "openvino"

    def open_file(self, path: Path, described: Mapping[str, Any] | None) -> OpenVINOFile:
        """Hash the file and that of its weights."""
        if path.suffix.lower() == ".onnx":
            raise InputError(
                f"{path}: an ONNX file is the backbone onnx:{path}; engine 'openvino' runs it, too"
            )
        if path.suffix not in _SUFFIXES:
            raise InputError(
                f"{path}: not a graph file of OpenVINO; expected one that ends in {', '.join(_SUFFIXES)}"
            )
        weights = path.with_suffix(_WEIGHTS.get(path.suffix, path.suffix))
        files = [path, weights] if weights != path and weights.is_file() else [path]
        found = hash_parts([read_part(file) for file in files])
        channels = (described or {}).get("channels", "rgb")
        return OpenVINOFile(path, found, files=(*files, sidecar(path)), channels=channels)


class OpenVINOSource(GraphSource):
    """Graph files that OpenVINO reads."""

    name = "openvino"
    made: ClassVar = OpenVINOArchitecture
