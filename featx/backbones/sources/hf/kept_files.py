"""Keep the small files of a network of transformers beside its values, and put them into a folder again.

A fine-tuned network of texts needs its configuration and its tokenizer, wherever its model file is read.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from featx.backbones.sources.hf.repository import Repository
from featx.backbones.sources.hf.tokenizer import BESIDE, VOCABULARIES
from featx.backbones.values import check_file_names
from featx.durable import read_regular
from featx.errors import OutputError, reason_of

#: Files of the network, of a tokenizer, and of the pipeline of sentence-transformers.
_NAMES = ("config.json", "modules.json", "config_sentence_transformers.json", *VOCABULARIES, *BESIDE)
_PATTERNS = ("sentence_*_config.json", "[0-9]*_*/config.json")
_MOST_BYTES = 2**26

#: Folders of this process, by the hash of what is in them; they are removed when it ends.
_folders: dict[str, str] = {}


def read_files(repository: Repository) -> dict[str, bytes]:
    """Return the files of settings and vocabulary that are on this machine, by path in the repository."""
    config = repository.find("config.json")
    if config is None:
        return {}
    folder = config.parent
    found = [folder / name for name in _NAMES if (folder / name).is_file()]
    found += [path for pattern in _PATTERNS for path in sorted(folder.glob(pattern)) if path.is_file()]
    named = {path.relative_to(folder).as_posix(): path for path in found}
    return {name: read_regular(path, at_most=_MOST_BYTES) for name, path in named.items()}


def write_folder(files: Mapping[str, bytes]) -> str:
    """Return a folder of this process with these files, written at the first call; nothing of it is run."""
    check_file_names(files)
    digest = hashlib.sha256()
    for name, data in sorted(files.items()):
        digest.update(f"{name} {len(data)}\n".encode())
        digest.update(data)
    key = digest.hexdigest()
    if key not in _folders:
        try:
            folder = tempfile.mkdtemp(prefix="featx-network-")
            atexit.register(_remove, folder, os.getpid())
            for name, data in files.items():
                path = Path(folder, name)
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(data)
        except OSError as error:
            raise OutputError(
                f"{tempfile.gettempdir()}: the files of a network cannot be written there "
                f"({reason_of(error)}); name another folder in TMPDIR"
            ) from error
        _folders[key] = folder
    return _folders[key]


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # not in a forked child
        shutil.rmtree(folder, ignore_errors=True)
