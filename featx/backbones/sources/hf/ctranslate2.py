"""Read Whisper in the format of CTranslate2, which faster-whisper and packages around it use.

A folder holds ``model.bin`` and a ``config.json`` of its own kind. ``model.bin`` is, in little endian:

- ``u32`` version of the format (4 to 6), the name of the layout (``WhisperSpec``), ``u32`` its revision;
- ``u32`` number of variables, and for each its name, ``u8`` rank, ``u32`` sizes, ``u8`` type (float32, int8,
  int16, int32, float16, bfloat16), ``u32`` number of bytes, and the values in the order of C;
- ``u32`` number of aliases, and for each its name and that of the variable whose values it has.

A name is ``u16`` number of bytes, and the bytes with a zero at the end. Whole numbers stand for values that
were multiplied by ``NAME_scale``, of each row or of all, and rounded.

The file states the encoder by its shapes: bands and width are those of the first convolution, the number of
layers is counted, and 64 numbers of the width belong to a head, as in all networks of Whisper, unless
``encoder/num_heads`` says otherwise.
"""

from __future__ import annotations

import hashlib
import io
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from featx.backbones.checkpoint import Checkpoint, read_weights
from featx.errors import WeightsError, as_one_error

#: Name of the file of weights.
MODEL_FILE = "model.bin"
_VERSIONS = range(4, 7)
_LAYOUT = "WhisperSpec"
_TYPES = (torch.float32, torch.int8, torch.int16, torch.int32, torch.float16, torch.bfloat16)
#: Most variables, bytes of a name, and axes.
_MOST_VARIABLES, _MOST_NAME, _MOST_RANK = 2**16, 512, 8
_HEAD = 64
_SCALE = "_scale"
#: Names of transformers for the parts of a layer.
_PARTS = {
    "self_attention/layer_norm": "self_attn_layer_norm",
    "self_attention/linear_1": "self_attn.out_proj",
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
}
_NORMS = {"gamma": "weight", "beta": "bias"}


class Variable(NamedTuple):
    """Where the values of a variable stand in the file."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    offset: int
    nbytes: int


@dataclass(frozen=True)
class CTranslate2Checkpoint(Checkpoint):
    """The encoder of Whisper in ``model.bin``, under the names that transformers gives it."""

    def state_dict(self) -> dict[str, Tensor]:
        """Read the tensors of the encoder as float32; `WeightsError` where the file is damaged or changed."""
        data = read_weights(self.path)
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise WeightsError(f"{self.path}: the file changed after it was checked; load the backbone again")
        with _readable(self.path):
            variables = {
                name: variable
                for name, variable in list_variables(io.BytesIO(data), len(data)).items()
                if name.startswith("encoder/")
            }
            values = {
                name: torch.frombuffer(bytearray(data[v.offset : v.offset + v.nbytes]), dtype=v.dtype)
                .reshape(v.shape)
                .float()
                for name, v in variables.items()
                if v.nbytes
            }
            return rename(_unscaled(values, variables))


def _readable(path: Path) -> Any:
    return as_one_error(
        lambda why: WeightsError(f"{path}: damaged, or not Whisper in the format of CTranslate2 ({why})")
    )


def read_config(path: Path) -> dict[str, Any]:
    """Return what a ``config.json`` of transformers would state of the encoder in ``model.bin``."""
    with _readable(path), path.open("rb") as file:
        variables = list_variables(file, path.stat().st_size)
        width, bands, _ = variables["encoder/conv1/weight"].shape
        layers = [
            name for name in variables if name.startswith("encoder/layer_") and "/ffn/linear_0/w" in name
        ]
        heads = variables.get("encoder/num_heads")
        count = width // _HEAD
        if heads is not None:
            file.seek(heads.offset)
            count = int.from_bytes(file.read(heads.nbytes), "little")
        return {
            "model_type": "whisper",
            "num_mel_bins": bands,
            "d_model": width,
            "encoder_layers": sum(not name.endswith(_SCALE) for name in layers),
            "encoder_attention_heads": count,
            "encoder_ffn_dim": variables["encoder/layer_0/ffn/linear_0/weight"].shape[0],
            "max_source_positions": variables["encoder/position_encodings/encodings"].shape[0],
        }


def list_names(path: Path) -> list[str]:
    """Return the names of the variables in ``model.bin``."""
    with _readable(path), path.open("rb") as file:
        return list(list_variables(file, path.stat().st_size))


def states_ctranslate2(content: Mapping[str, Any]) -> bool:
    """Return whether a ``config.json`` is that of Whisper in the format of CTranslate2."""
    return "model_type" not in content and "suppress_ids" in content and "alignment_heads" in content


def list_variables(file: BinaryIO, size: int) -> dict[str, Variable]:
    """Return all variables of a file of `size` bytes, aliases included; values are skipped.

    A `ValueError` says what is wrong. Nothing is read beyond what the file has.
    """

    def read(length: int) -> bytes:
        data = file.read(length)
        if len(data) < length:
            raise ValueError("it is cut off")
        return data

    def number(kind: str) -> int:
        return int(struct.unpack(f"<{kind}", read(struct.calcsize(f"<{kind}")))[0])

    def text() -> str:
        length = number("H")
        if length > _MOST_NAME:
            raise ValueError(f"a name of {length} bytes")
        return read(length).rstrip(b"\0").decode()

    version = number("I")
    if version not in _VERSIONS:
        raise ValueError(f"version {version} of the format; {_VERSIONS[0]} to {_VERSIONS[-1]} are known")
    if (layout := text()) != _LAYOUT:
        raise ValueError(f"it holds {layout!r:.40}, not {_LAYOUT}")
    number("I")
    count = number("I")
    if count > _MOST_VARIABLES:
        raise ValueError(f"{count} variables")
    variables: dict[str, Variable] = {}
    for _ in range(count):
        name, rank = text(), number("B")
        if rank > _MOST_RANK:
            raise ValueError(f"{name!r:.80} has {rank} axes")
        shape = tuple(number("I") for _ in range(rank))
        kind, nbytes = number("B"), number("I")
        if kind >= len(_TYPES):
            raise ValueError(f"{name!r:.80} has the type {kind}")
        offset = file.tell()
        if nbytes != math.prod(shape) * _TYPES[kind].itemsize or offset + nbytes > size:
            raise ValueError(f"{name!r:.80} has {nbytes} bytes for the shape {shape}")
        variables[name] = Variable(shape, _TYPES[kind], offset, nbytes)
        file.seek(nbytes, io.SEEK_CUR)
    count = number("I")
    if count > _MOST_VARIABLES:
        raise ValueError(f"{count} aliases")
    for _ in range(count):
        alias, name = text(), text()
        for end in ("", _SCALE):
            if name + end in variables:
                variables[alias + end] = variables[name + end]
    return variables


def _unscaled(values: dict[str, Tensor], variables: Mapping[str, Variable]) -> dict[str, Tensor]:
    """Return the values without scales: those that were rounded to whole numbers are divided by theirs."""
    found = {}
    for name, value in values.items():
        if name.endswith(_SCALE):
            continue
        scale = values.get(name + _SCALE)
        if scale is None:
            if not variables[name].dtype.is_floating_point and value.dim():
                raise ValueError(f"{name!r:.80} holds whole numbers without a scale")
        elif scale.dim() == 2 and value.dim() == 3:  # of each output and place of a convolution
            value = value / scale[:, None, :]
        else:
            value = value / scale.reshape(-1, *[1] * (value.dim() - 1))
        found[name] = value
    return found


def rename(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the variables of the encoder under the names that transformers gives its tensors.

    Queries, keys and values of an attention are one variable here; keys have no bias there.
    """
    found: dict[str, Tensor] = {}
    for name, value in values.items():
        part, _, kind = name.removeprefix("encoder/").rpartition("/")
        kind = _NORMS.get(kind, kind)
        layer, _, inner = part.partition("/")
        if part in ("conv1", "conv2", "layer_norm"):
            found[f"{part}.{kind}"] = value
        elif part == "position_encodings":
            found["embed_positions.weight"] = value
        elif layer.startswith("layer_") and inner in _PARTS:
            found[f"layers.{layer.removeprefix('layer_')}.{_PARTS[inner]}.{kind}"] = value
        elif inner == "self_attention/linear_0":
            for projection, third in zip("qkv", value.chunk(3), strict=True):
                if (projection, kind) != ("k", "bias"):
                    number = layer.removeprefix("layer_")
                    found[f"layers.{number}.self_attn.{projection}_proj.{kind}"] = third
        elif value.dim():
            raise ValueError(f"it holds {name!r:.80}, which no encoder of Whisper has")
    return found
