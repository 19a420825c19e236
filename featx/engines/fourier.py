"""Short-time Fourier transforms in OpenVINO's graphs, as convolutions with cosines and sines.

OpenVINO has a fast transform only of frames whose length is a power of two. Others, such as 400 samples,
take it 200 times as long as PyTorch: a quarter of a second for a clip of two. As a convolution they take
less than a millisecond.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.backbones.openvino_import import import_openvino

#: Longest frames whose cosines and sines are stored: 67 MB.
_LONGEST = 4096


#: Says of a model that it computes in fp32 alone.
_EXACT = ["featx", "exact"]


def replace_transforms(model: Any) -> Any:
    """Return the model with transforms of frames whose length is no power of two replaced.

    What is computed is the same, and `needs_fp32`: of a quiet frequency beside a loud one, the eight bits of
    bf16 leave nothing.
    """
    replaced = False
    for node in [op for op in model.get_ordered_ops() if op.get_type_name() == "STFT"]:
        window, size, step = (_constant(node.input_value(i)) for i in (1, 2, 3))
        rank = node.input_value(0).get_partial_shape().rank
        if window is None or size is None or step is None or not rank.is_static or rank.get_length() != 2:
            continue
        length = int(size)
        if length & (length - 1) == 0 or length > _LONGEST:
            continue
        transform = _convolution(node, _waves(length, window), int(step))
        transform.set_friendly_name(node.get_friendly_name())
        node.output(0).replace(transform.output(0))
        replaced = True
    if replaced:
        model.validate_nodes_and_infer_types()
        model.set_rt_info("yes", _EXACT)
    return model


def needs_fp32(model: Any) -> bool:
    """Return whether `replace_transforms` has replaced a transform in the model."""
    has: bool = model.has_rt_info(_EXACT)
    return has


def _constant(value: Any) -> np.ndarray | None:
    node = value.get_node()
    return np.array(node.data) if node.get_type_name() == "Constant" else None


def _waves(length: int, window: np.ndarray) -> np.ndarray:
    """Return cosines and sines under the window, which stands amid a frame: (2 * frequencies, 1, length)."""
    before = (length - len(window)) // 2
    weights = np.pad(window.astype(np.float64), (before, length - len(window) - before))
    turns = np.arange(length // 2 + 1)[:, None] * np.arange(length) % length
    angles = 2 * np.pi / length * turns
    return (np.concatenate([np.cos(angles), -np.sin(angles)]) * weights)[:, None].astype(np.float32)


def _convolution(node: Any, waves: np.ndarray, step: int) -> Any:
    """Return a node that gives real and imaginary parts as `node` does: (n, frequencies, frames, 2)."""
    import_openvino()
    from openvino import opset8 as ops

    samples = ops.unsqueeze(node.input_value(0), ops.constant(np.array([1], np.int64)))
    states = ops.convolution(samples, ops.constant(waves), [step], [0], [0], [1])
    parts = ops.reshape(states, ops.constant(np.array([0, 2, len(waves) // 2, -1], np.int64)), True)
    order = [0, 2, 3, 1] if node.get_attributes()["transpose_frames"] else [0, 3, 2, 1]
    return ops.transpose(parts, ops.constant(np.array(order, np.int64)))
