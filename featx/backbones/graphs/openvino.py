"""Put a graph that OpenVINO read between normalised images and pooled layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from featx.backbones.graphs.audio import AudioGraphInput
from featx.backbones.graphs.network import GraphInput
from featx.backbones.graphs.texts import IDS, MASK, TYPES
from featx.backbones.layers.pooling import LEAST_VARIANCE, OF_TOKENS, Tap
from featx.backbones.openvino_import import import_openvino


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
    return _rows_of(model, layers, taps, images, lambda tensor, tap: _pool(ops, tensor, tap))


def pooled_audio_model(
    model: Any,
    layers: Sequence[str],
    taps: Sequence[Tap],
    taken: AudioGraphInput,
    shape: tuple[int | None, ...],
) -> Any:
    """Return a model from windows of audio (n, t) or (n, t, bands), `shape` without n, to pooled layers.

    `model` has one result for each of `layers`, in order.
    """
    ov = import_openvino()
    from openvino import opset13 as ops

    sides = [-1, *(-1 if side is None else side for side in shape)]
    windows = ops.parameter(ov.PartialShape(sides), np.float32)
    x = windows
    if taken.dtype != "float32":
        x = ops.convert(x, taken.dtype.replace("float", "f"))
    if taken.order == (1, 0):
        x = ops.transpose(x, np.array([0, 2, 1]))
    if taken.ones:
        x = ops.unsqueeze(x, np.array([1 + at for at in taken.ones]))
    (parameter,) = model.get_parameters()
    parameter.output(0).replace(x.output(0))
    return _rows_of(model, layers, taps, windows, lambda tensor, tap: _pool(ops, tensor, tap))


def pooled_text_model(model: Any, layers: Sequence[str], taps: Sequence[Tap]) -> Any:
    """Return a model from tokens int64 (n, t), negative behind each text, to pooled layers (n, dim).

    `model` has the inputs of a graph of texts, and one result for each of `layers`, in order.
    """
    ov = import_openvino()
    from openvino import opset13 as ops

    tokens = ops.parameter(ov.PartialShape([-1, -1]), np.int64)
    is_token = ops.greater_equal(tokens, np.int64(0))
    ids = ops.maximum(tokens, np.int64(0))
    mask = ops.convert(is_token, "i64")
    values = {IDS: ids, MASK: mask, TYPES: ops.multiply(mask, np.int64(0))}
    for parameter in model.get_parameters():
        name = next(name for name in parameter.output(0).get_names() if name in values)
        dtype = parameter.get_element_type().get_type_name()
        parameter.output(0).replace(ops.convert(values[name], dtype).output(0))
    return _rows_of(
        model, layers, taps, tokens, lambda tensor, tap: _pool_tokens(ops, tensor, tap.pooling, is_token)
    )


def _rows_of(
    model: Any, layers: Sequence[str], taps: Sequence[Tap], given: Any, pool: Callable[[Any, Tap], Any]
) -> Any:
    """Return a model from what is `given` to the pooled layers side by side.

    `model` has one result for each of `layers`, in order.
    """
    ov = import_openvino()
    from openvino import opset13 as ops

    results = dict(zip(layers, model.get_results(), strict=True))
    rows = [pool(results[tap.layer].input_value(0), tap) for tap in taps]
    joined = rows[0] if len(rows) == 1 else ops.concat(rows, 1)
    return ov.Model([joined], [given], "features")


def _pool_tokens(ops: Any, tensor: Any, pooling: str, is_token: Any) -> Any:
    """Pool hidden states (n, t, c) as `featx.backbones.sources.hf.text_pooling.pool_tokens` does."""
    x = ops.convert(tensor, "f32")
    if pooling == "identity":
        return x
    if pooling == "cls":
        return ops.gather(x, np.array(0), np.array(1))
    along = np.array([1])
    here = ops.unsqueeze(is_token, np.array(2))
    if pooling == "max":
        least = np.float32(np.finfo(np.float32).min)
        return ops.reduce_max(ops.select(here, x, least), along, False)
    weights = ops.convert(here, "f32")
    if pooling == "last":  # the token behind which nothing stands
        behind = ops.cum_sum(weights, np.array(1), reverse=True)
        weights = ops.multiply(weights, ops.convert(ops.equal(behind, np.float32(1)), "f32"))
    total = ops.reduce_sum(ops.multiply(x, weights), along, False)
    return ops.divide(total, ops.reduce_sum(weights, along, False))


def _pool(ops: Any, tensor: Any, tap: Tap) -> Any:
    """Pool a tensor as `featx.backbones.layers.pooling.POOLS` do."""
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
    if tap.pooling in ("avg", "mean"):
        return ops.reduce_mean(x, positions, False)
    if tap.pooling == "mean+std":
        mean = ops.reduce_mean(x, positions, True)
        difference = ops.subtract(x, mean)
        variance = ops.reduce_mean(ops.multiply(difference, difference), positions, False)
        least = np.float32(LEAST_VARIANCE)
        return ops.concat([ops.squeeze(mean, positions), ops.sqrt(ops.maximum(variance, least))], 1)
    if tap.pooling == "max":
        return ops.reduce_max(x, positions, False)
    return ops.reshape(x, np.array([0, -1]), special_zero=True)


def _from(ops: Any, tokens: Any, start: int) -> Any:
    """Return the tokens from `start` on."""
    (begin, end, step, axis) = (np.array([value]) for value in (start, np.iinfo(np.int64).max, 1, 1))
    return ops.slice(tokens, begin, end, step, axis)
