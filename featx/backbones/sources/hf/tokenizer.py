"""The tokenizer of a repository, identified by the sha256 of its files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from featx.backbones.sources.hf.networks import quiet
from featx.backbones.sources.hf.repository import Repository
from featx.errors import InputError, as_one_error

#: Files with the vocabulary of a tokenizer, of which one is enough, and those that may stand beside it.
VOCABULARIES = (
    *("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model"),
    *("tokenizer.model", "spm.model"),
)
BESIDE = ("tokenizer_config.json", "special_tokens_map.json", "merges.txt", "added_tokens.json")


class HfTokenizer:
    """A tokenizer of transformers, with the special tokens of its network (`featx.inputs.text.Tokenizer`).

    Parameters
    ----------
    repository : Repository
        It is downloaded if need be; nothing of it is run.
    name : str
        Name of the network, for messages.

    Attributes
    ----------
    sha256 : str
        Hash of the names and contents of its files, and of the length of its special tokens.
    files : list of Path
        Its files.
    """

    def __init__(self, repository: Repository, name: str):
        folder = _fetch(repository, name)
        self.name, self.folder = name, folder
        self.files = [folder / file for file in sorted({*VOCABULARIES, *BESIDE}) if (folder / file).is_file()]
        digest = hashlib.sha256()
        for file in self.files:
            data = file.read_bytes()
            digest.update(f"{file.name} {len(data)}\n".encode())
            digest.update(data)
        self.sha256 = digest.hexdigest()
        self._loaded: Any = None
        self._cutting: dict[int, Any] = {}

    @property
    def own(self) -> Any:
        """The tokenizer of transformers, loaded once."""
        if self._loaded is None:
            cannot = as_one_error(
                lambda why: InputError(f"{self.name}: its tokenizer cannot be loaded ({why})")
            )
            with quiet() as transformers, cannot:
                self._loaded = transformers.AutoTokenizer.from_pretrained(
                    self.folder, trust_remote_code=False, local_files_only=True
                )
            if not self._loaded.is_fast:
                raise InputError(f"{self.name}: its tokenizer has no fast form, which featx needs")
        return self._loaded

    def encode(self, text: str, max_length: int) -> list[list[int]]:
        """Return the tokens of a text in pieces of at most `max_length`, each with its special tokens."""
        encoded = self._of_length(max_length).encode(text)
        return [encoded.ids, *(piece.ids for piece in encoded.overflowing)]

    def _of_length(self, max_length: int) -> Any:
        """Return the tokenizer that splits texts into pieces of `max_length`; it is never changed again."""
        found = self._cutting.get(max_length)
        if found is None:
            import tokenizers

            found = tokenizers.Tokenizer.from_str(self.own.backend_tokenizer.to_str())
            found.no_padding()
            found.enable_truncation(max_length, direction="right")
            self._cutting[max_length] = found
        return found

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_loaded": None, "_cutting": {}}


def _fetch(repository: Repository, name: str) -> Path:
    """Return the folder with the files of the tokenizer, downloaded if need be."""

    def lacking(reason: str) -> InputError:
        return InputError(f"{name}: no tokenizer is with it ({reason})")

    found = repository.find(*VOCABULARIES)
    if found is None:
        found = repository.fetch(*VOCABULARIES, make_error=lacking)
        for file in (*VOCABULARIES, *BESIDE):
            _fetch_optional(repository, file, lacking)
    return found.parent


def _fetch_optional(repository: Repository, file: str, make_error: Callable[[str], InputError]) -> None:
    try:
        repository.fetch(file, make_error=make_error)
    except InputError:
        return
