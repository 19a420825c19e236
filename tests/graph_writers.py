"""Write small graph files: ONNX, by torch and by hand, and TFLite."""

from __future__ import annotations

import json
import warnings

import numpy as np
import torch
from torch import nn

SIZE = 32
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


class Tiny(nn.Module):
    """A classifier of three convolutions; `trunk` gives its maps."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU(), nn.Conv2d(12, 16, 3, 2, 1), nn.ReLU()),
        )
        self.head = nn.Linear(16, 5)

    def embed(self, x):
        return self.trunk(x).mean((2, 3))

    def forward(self, x):
        return self.head(self.embed(x))


def write_preprocessing(path, **fields):
    """Write the preprocessing beside a graph file."""
    described = {"mean": MEAN, "std": STD} | fields
    path.with_name(f"{path.name}.json").write_text(json.dumps(described))


def export_onnx(network, path, size=SIZE, **options):
    """Export a network with torch, for one image of one size, with its preprocessing beside it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about its exporter
        torch.onnx.export(
            network.eval(), (torch.zeros(1, 3, size, size),), str(path), dynamo=False, **options
        )
    write_preprocessing(path)
    return path


def write_onnx(
    path, nodes, *, shape=(1, 3, SIZE, SIZE), dtype="FLOAT", inputs=("x",), outputs=("y",), **weights
):
    """Write a graph of ``(operator, inputs, outputs, attributes)``, with its preprocessing beside it."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kind = getattr(TensorProto, dtype)
    graph = helper.make_graph(
        [
            helper.make_node(op, read, made, domain=more.pop("domain", ""), **more)
            for op, read, made, more in nodes
        ],
        "graph",
        [helper.make_tensor_value_info(name, kind, shape) for name in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.acme", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    write_preprocessing(path)
    return path


def write_tflite(path, kernel, bias):
    """Write a graph of one convolution with stride 2 and a ReLU, NHWC; `kernel` is (out, h, w, in).

    The tables and their fields are numbered as in TensorFlow's schema.fbs.
    """
    import flatbuffers

    build = flatbuffers.Builder(1024)

    def vector(values, prepend, width):
        build.StartVector(width, len(values), width)
        for value in reversed(values):
            prepend(value)
        return build.EndVector()

    def numbers(values):
        return vector(values, build.PrependInt32, 4)

    def references(values):
        return vector(values, build.PrependUOffsetTRelative, 4)

    def table(fields):
        build.StartObject(max(fields, default=0) + 1)
        for slot, (kind, value) in fields.items():
            {
                "ref": build.PrependUOffsetTRelativeSlot,
                "i8": build.PrependInt8Slot,
                "u8": build.PrependUint8Slot,
                "i32": build.PrependInt32Slot,
                "u32": build.PrependUint32Slot,
            }[kind](slot, value, 0)
        return build.EndObject()

    def buffer(array=None):
        if array is None:
            return table({})
        data = build.CreateByteVector(array.tobytes())
        return table({0: ("ref", data)})

    def tensor(shape, place, name):
        dims, label = numbers(shape), build.CreateString(name)
        return table({0: ("ref", dims), 2: ("u32", place), 3: ("ref", label)})  # type 0: float32

    out = kernel.shape[0]
    buffers = references([buffer(), buffer(kernel), buffer(bias)])
    tensors = references(
        [
            tensor((1, SIZE, SIZE, 3), 0, "image"),
            tensor(kernel.shape, 1, "kernel"),
            tensor(bias.shape, 2, "bias"),
            tensor((1, SIZE // 2, SIZE // 2, out), 0, "conv/Relu;conv/BiasAdd;conv/Conv2D"),
        ]
    )
    options = table({1: ("i32", 2), 2: ("i32", 2), 3: ("i8", 1)})  # padding SAME, strides 2, then a ReLU
    read, made = numbers([0, 1, 2]), numbers([3])
    # Operator: inputs, outputs, type of its options (1: Conv2DOptions), options.
    operator = table({1: ("ref", read), 2: ("ref", made), 3: ("u8", 1), 4: ("ref", options)})
    given, result, operators = numbers([0]), numbers([3]), references([operator])
    graph = table({0: ("ref", tensors), 1: ("ref", given), 2: ("ref", result), 3: ("ref", operators)})
    code = table({0: ("i8", 3), 2: ("i32", 1), 3: ("i32", 3)})  # CONV_2D
    codes, graphs = references([code]), references([graph])
    model = table({0: ("u32", 3), 1: ("ref", codes), 2: ("ref", graphs), 4: ("ref", buffers)})
    build.Finish(model, b"TFL3")
    path.write_bytes(bytes(build.Output()))
    write_preprocessing(path)
    return path


def pictures(count=3, size=SIZE):
    """Return random prepared images, uint8 (count, size, size, 3)."""
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def normalised(pixels):
    """Return prepared images as a network of PyTorch takes them."""
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).double() / 255
    mean, std = (torch.tensor(values, dtype=torch.double).view(1, 3, 1, 1) for values in (MEAN, STD))
    return ((x - mean) / std).float()
