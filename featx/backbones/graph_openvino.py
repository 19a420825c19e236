"""Put a graph that OpenVINO read between normalised images and pooled layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.backbones.graph_network import GraphInput
from featx.backbones.openvino_import import import_openvino
from featx.backbones.pooling import OF_TOKENS, Tap


def pooled_model(
    model: Any, layers: Sequence[str], taps: Sequence[Tap], taken: GraphInput, shape: tuple[int, ...]
) -> Any:
    """Return a model from normalised images (n, 3, h, w), `shape` without n, to pooled layers (n, dim).

    `model` has one result for each of `layers`, in order.
    """
    ov = import_openvino()
    from openvino import opset13 as ops

    images = ops.parameter(ov.PartialShape([-1, *shape]), np.float32)
    x = images
    if taken.channels == "bgr":
        x = ops.gather(x, np.array([2, 1, 0]), np.array(1))
    if taken.dtype == "uint8":
        x = ops.round(ops.multiply(x, np.float32(255)), "half_to_even")
    if taken.dtype != "float32":
        x = ops.convert(x, taken.dtype.replace("float", "f").replace("uint", "u"))
    if taken.layout == "NHWC":
        x = ops.transpose(x, np.array([0, 2, 3, 1]))
    (parameter,) = model.get_parameters()
    parameter.output(0).replace(x.output(0))
    results = dict(zip(layers, model.get_results(), strict=True))
    rows = [_pool(ops, results[tap.layer].input_value(0), tap) for tap in taps]
    joined = rows[0] if len(rows) == 1 else ops.concat(rows, 1)
    return ov.Model([joined], [images], "features")


def _pool(ops: Any, tensor: Any, tap: Tap) -> Any:
    """Pool a tensor as `featx.backbones.pooling.POOLS` do."""
    x = ops.convert(tensor, "f32")
    if tap.pooling in OF_TOKENS:
        parts = [
            ops.gather(x, np.array(0), np.array(1)),
            ops.reduce_mean(_from(ops, x, tap.prefix), np.array([1]), False),
        ]
        kept = {"cls": parts[:1], "patches": parts[1:]}.get(tap.pooling, parts)
        return kept[0] if len(kept) == 1 else ops.concat(kept, 1)
    axes = range(1, tensor.get_partial_shape().rank.get_length())
    positions = np.array([axis for axis in axes if axis != tap.channels])
    if tap.pooling == "avg":
        return ops.reduce_mean(x, positions, False)
    if tap.pooling == "max":
        return ops.reduce_max(x, positions, False)
    return ops.reshape(x, np.array([0, -1]), special_zero=True)


def _from(ops: Any, tokens: Any, start: int) -> Any:
    """Return the tokens from `start` on."""
    (begin, end, step, axis) = (np.array([value]) for value in (start, np.iinfo(np.int64).max, 1, 1))
    return ops.slice(tokens, begin, end, step, axis)
