"""Read a file of weights, and check it.

A file may come from anybody. No code in it is run, the bytes that are hashed are the bytes that are loaded,
and the sizes that it states are compared with its own before anything is unpacked: reading takes about three
times the file's size in memory, whatever is in it.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import pickletools
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from featx.durable import expand_user, read_regular
from featx.errors import MissingExtra, WeightsError, as_one_error, reason_of

#: Most bytes of a file of weights: those of the largest network of timm have 7 GB.
_MOST_BYTES = 2**34

# What the pickle of a state dict, or of the checkpoint around it, may call. PyTorch allows more, among it
# functions that fill as much memory as the file tells them to.
_CALLED = re.compile(
    r"collections (OrderedDict|Counter)|builtins (set|complex)|__builtin__ (set|complex)|_codecs encode"
    r"|torch\._utils _rebuild_(tensor(_v[23])?|parameter(_with_state)?)|torch\._tensor _rebuild_from_type_v2"
    r"|torch\.nn\.parameter Parameter|torch\.serialization _get_layout"
    r"|torch(\.cuda|\.storage)? (\w+Storage|Tensor|Size|device|[a-z]\w*\d\w*|bool|float|double|half|int|long)"
)
_WRAPPERS = ("state_dict", "model", "model_state_dict", "state_dict_ema", "model_ema")
_PREFIXES = ("module.", "_orig_mod.", "model.")


@dataclass(frozen=True)
class Checkpoint:
    """A file of weights, and the sha256 of the whole file in 64 hexadecimal digits."""

    #: What the weights are called in the identity of a backbone: a renamed file gives the same numbers.
    called: ClassVar[str] = "checkpoint"

    path: Path
    sha256: str

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Read the tensors, without running any code that the file may hold.

        A state dict inside a training checkpoint is unwrapped, and prefixes that data parallel training or
        compilation put before every name are removed.

        Raises
        ------
        WeightsError
            The file is damaged, has changed since it was hashed, or holds no state dict.
        """
        data = read_weights(self.path)
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise WeightsError(f"{self.path}: the file changed after it was checked; load the backbone again")
        return _unwrap(_parse(self.path, data), self.path)


def open_checkpoint(path: str | Path, *, sha256: str | None = None) -> Checkpoint:
    """Hash a file of weights; refuse one whose sha256 does not begin with the digits given."""
    path = expand_user(path)
    data = read_weights(path)
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and not found.startswith(sha256):
        raise WeightsError(
            f"{path}: damaged or not the file its name says: its sha256 should begin with {sha256} and "
            f"begins with {found[: len(sha256)]} ({len(data)} bytes); delete it and get it again"
        )
    return Checkpoint(path, found)


def read_weights(path: Path) -> bytes:
    """Return the bytes of a file of weights; `WeightsError` where it is empty or cannot be read."""
    try:
        data = read_regular(path, at_most=_MOST_BYTES)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise WeightsError(f"{path}: weights cannot be read ({reason_of(error)})") from error
    if not data:
        raise WeightsError(f"{path}: empty file (0 bytes), not weights")
    return data


def _parse(path: Path, data: bytes) -> Any:
    if path.suffix == ".safetensors":
        try:
            import safetensors.torch
        except ImportError as error:
            raise MissingExtra("safetensors", "timm", "reading .safetensors weights") from error
        with as_one_error(lambda why: WeightsError(f"{path}: damaged or not a safetensors file ({why})")):
            return safetensors.torch.load(data)
    with as_one_error(
        lambda why: WeightsError(f"{path}: truncated, damaged or not a file of weights ({why})")
    ):
        stranger = _first_stranger(data)
        if stranger is None:
            try:
                return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
            except pickle.UnpicklingError as error:
                stranger = reason_of(error)
        raise WeightsError(
            f"{path}: not a plain state dict: it is damaged or holds other Python objects, which are not "
            f"loaded ({stranger}); expected what torch.save(model.state_dict(), path) writes"
        )


def _first_stranger(data: bytes) -> str | None:
    """Return the first name in a file's pickles that no state dict calls, without loading them.

    A `ValueError` says that the parts of an archive grow when unpacked, or that a pickle is cut off.
    """
    pickles = [io.BytesIO(data)]
    if data.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            grown = sum(entry.file_size for entry in entries)
            if grown > len(data) or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise ValueError(
                    f"{len(data)} bytes that would grow to {grown}; torch.save compresses nothing"
                )
            pickles = [io.BytesIO(archive.read(e)) for e in entries if e.filename.endswith("data.pkl")]
    for stream in pickles:
        # Files from before 2020 begin with three more pickles: magic number, version, system.
        for _ in range(1 if data.startswith(b"PK") else 4):
            for operation, argument, _ in pickletools.genops(stream):
                if operation.name == "GLOBAL" and not _CALLED.fullmatch(str(argument)):
                    return f"{argument!r:.80}"
    return None


def _unwrap(content: Any, path: Path) -> dict[str, torch.Tensor]:
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if not isinstance(content, dict) or not content or not all(isinstance(key, str) for key in content):
        got = f"a {type(content).__name__}" if not isinstance(content, dict) else "a dict without names"
        raise WeightsError(f"{path}: expected a state dict (names and tensors), got {got}")
    odd_names = [key for key in content if not key.isprintable()]
    if odd_names:
        raise WeightsError(f"{path}: {odd_names[0]!r:.80} is not the name of a tensor")
    strangers = [key for key, value in content.items() if not isinstance(value, torch.Tensor)]
    if strangers:
        raise WeightsError(
            f"{path}: expected a state dict (names and tensors), but {strangers[0]!r} holds "
            f"a {type(content[strangers[0]]).__name__}"
        )
    for key, value in content.items():
        if (odd := _oddity(value)) is not None:
            raise WeightsError(f"{path}: {key!r:.80} is a tensor {odd}; expected plain numbers on the CPU")
    stripped = dict(content)
    for _ in _PREFIXES:
        for prefix in _PREFIXES:
            if all(key.startswith(prefix) for key in stripped):
                stripped = {key[len(prefix) :]: value for key, value in stripped.items()}
    return stripped


def _oddity(value: torch.Tensor) -> str | None:
    """Say why a tensor is not an array of numbers that all lie in the file; None if it is one."""
    if value.layout != torch.strided or value.is_quantized or value.is_nested:
        return f"of layout {value.layout}" if not value.is_quantized else "that is quantised"
    if value.device.type != "cpu":
        return f"on the device {value.device}"
    if value.is_complex():
        return f"of dtype {value.dtype}"
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return "whose elements lie over one another"
    return None
