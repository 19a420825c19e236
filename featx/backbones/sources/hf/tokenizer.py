"""The tokenizer of a repository, identified by what in its files changes tokens.

Its sha256 covers the vocabulary with merges, added and special tokens, normalisation and splitting, and the
special tokens around each text: ``tokenizer.json`` (or, without one, the files of the vocabulary) and the
settings beside it. It leaves out what changes no token of a text: paths, padding, the truncation that the
file states (`featx.inputs.text.TextPreparation` states its own), chat templates.
"""

from __future__ import annotations

import functools
import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from featx.backbones.sources.hf.networks import quiet
from featx.backbones.sources.hf.repository import Repository, parse_json
from featx.errors import InputError, as_one_error
from featx.forks import fresh_in_child

#: Files with the vocabulary of a tokenizer, of which one is enough, and those that may stand beside it.
VOCABULARIES = (
    *("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model"),
    *("tokenizer.model", "spm.model"),
)
SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
BESIDE = (*SETTINGS, "merges.txt")
#: Files in which tokens have numbers, and what each stays below: libraries make lists of that length.
_OF_NUMBERS = ("tokenizer.json", "vocab.json", "added_tokens.json")
_MOST_TOKENS = 2**24
#: Settings that change no token.
_WITHOUT_EFFECT = {
    *("name_or_path", "special_tokens_map_file", "tokenizer_file", "vocab_file", "processor_class"),
    *("auto_map", "backend", "is_local", "padding_side", "pad_to_multiple_of", "pad_token_type_id"),
    *("padding", "truncation"),
    *("model_max_length", "max_length", "stride", "truncation_strategy", "chat_template", "device_map"),
    *("clean_up_tokenization_spaces", "transformers_version"),
}
#: Packages with which transformers reads a vocabulary that has no ``tokenizer.json``.
_PACKAGES = ("sentencepiece", "tiktoken", "protobuf")
_loading = fresh_in_child(threading.Lock())


class Special(NamedTuple):
    """What a tokenizer puts around each text.

    Attributes
    ----------
    cls : int or None
        Where the class token stands: 0 in front, -1 at the end, None if there is none.
    trailing : int
        Special tokens behind a text.
    """

    cls: int | None
    trailing: int


class HfTokenizer:
    """A tokenizer of transformers, with the special tokens of its network (`featx.inputs.text.Tokenizer`).

    Parameters
    ----------
    repository : Repository
        It is downloaded if need be; nothing of it is run.
    name : str
        Name of the network, for messages.
    lower_case : bool, default=False
        Whether texts are put into lower case first, as sentence-transformers does where a folder says so.

    Attributes
    ----------
    sha256 : str
        Hash of everything that changes tokens.
    files : list of Path
        The files that are read for it.
    """

    def __init__(self, repository: Repository, name: str, *, lower_case: bool = False):
        self.name, self.folder, self.lower_case = name, _fetch(repository, name), lower_case
        whole = VOCABULARIES[:1] if _has_json(self.folder) else (*VOCABULARIES[1:], "merges.txt")
        paths = [self.folder / file for file in (*whole, *SETTINGS)]
        self.files = [path for path in paths if path.is_file()]
        self.sha256 = _hash(self.files, lower_case)
        self._loaded: Any = None
        self._cutting: dict[int, Any] = {}

    @property
    def own(self) -> Any:
        """The tokenizer of transformers, loaded once."""
        with _loading:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    @functools.cached_property
    def special(self) -> Special:
        """What stands around each text."""
        own = self.own
        encoded = self._encode("a", 64)
        at = [position for position, token in enumerate(encoded.ids) if token == own.cls_token_id]
        cls = None
        if own.cls_token_id is not None and at:
            cls = 0 if at[0] == 0 else -1 if at[-1] == len(encoded.ids) - 1 else None
        mask = encoded.special_tokens_mask
        return Special(
            cls, len(mask) - max((i for i, is_special in enumerate(mask) if not is_special), default=0) - 1
        )

    @property
    def most(self) -> int:
        """The highest number of a token, plus one."""
        vocabulary = self.own.backend_tokenizer.get_vocab(with_added_tokens=True)
        # The special tokens around a text may have numbers that stand nowhere else.
        return 1 + max(*vocabulary.values(), *self._encode("a", 64).ids, -1, -1)

    def encode(self, text: str, max_length: int) -> list[list[int]]:
        """Return the tokens of a text in pieces of at most `max_length`, each with its special tokens."""
        encoded = self._encode(text, max_length)
        over, first = encoded.overflowing, encoded.ids
        if len(first) > max_length:
            raise InputError(
                f"{self.name}: its tokenizer puts special tokens around each text, so that max_length="
                f"{max_length} leaves no place for the text; give a larger one"
            )
        return [first, *(piece.ids for piece in over)] if over else [first]

    def count(self, prefix: str) -> int:
        """Return how many tokens a prefix takes up at the beginning of a text, special ones included."""
        ids = self._encode(prefix, 2**20).ids
        return len(ids) - self.special.trailing

    def _encode(self, text: str, max_length: int) -> Any:
        cutting = self._cutting.get(max_length) or self._of_length(max_length)
        with as_one_error(lambda why: InputError(f"{self.name}: its tokenizer fails on a text ({why})")):
            return cutting.encode(text)

    def _load(self) -> Any:
        cannot = as_one_error(self._cannot)
        with quiet() as transformers, cannot:
            loaded = transformers.AutoTokenizer.from_pretrained(
                self.folder, trust_remote_code=False, local_files_only=True
            )
        if not loaded.is_fast:
            raise InputError(
                f"{self.name}: its tokenizer ({type(loaded).__name__}) has no fast form, which featx needs"
            )
        return loaded

    def _cannot(self, why: str) -> InputError:
        missing = [package for package in _PACKAGES if package in why.lower()]
        hint = f"; pip install {' '.join(missing)}" if missing and not _has_json(self.folder) else ""
        return InputError(f"{self.name}: its tokenizer cannot be loaded ({why}){hint}")

    def _of_length(self, max_length: int) -> Any:
        """Return the tokenizer that splits texts into pieces of `max_length`; it is never changed again."""
        own = self.own
        with _loading, as_one_error(self._cannot):
            found = self._cutting.get(max_length)
            if found is None:
                import tokenizers

                found = tokenizers.Tokenizer.from_str(own.backend_tokenizer.to_str())
                found.no_padding()
                found.enable_truncation(max_length, direction=own.truncation_side)
                found.encode_special_tokens = bool(getattr(own, "split_special_tokens", False))
                if self.lower_case:
                    lower = tokenizers.normalizers.Lowercase()
                    before = found.normalizer
                    found.normalizer = (
                        lower if before is None else tokenizers.normalizers.Sequence([lower, before])
                    )
                self._cutting[max_length] = found
            return found

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_loaded": None, "_cutting": {}}


def _has_json(folder: Path) -> bool:
    return (folder / VOCABULARIES[0]).is_file()


def _hash(files: Sequence[Path], lower_case: bool) -> str:
    """Return the sha256 of what changes tokens in the files of a tokenizer."""
    digest = hashlib.sha256()
    for path in files:
        seen = path.stat()
        digest.update(_hash_file(path, seen.st_size, seen.st_mtime_ns).encode())
    if lower_case:
        digest.update(b"lower case\n")
    return digest.hexdigest()


@functools.lru_cache(maxsize=64)
def _hash_file(path: Path, size: int, mtime: int) -> str:
    """Return a line with the name of a file and the sha256 of its content: of JSON, of what has an effect."""
    if path.suffix != ".json":
        with as_one_error(lambda why: InputError(f"{path}: cannot be read ({why})")):
            return f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n"
    content = parse_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object, got {type(content).__name__}")
    _check(path, content)
    kept = {key: value for key, value in content.items() if key not in _WITHOUT_EFFECT}
    if kept.get("truncation_side") == "right":
        del kept["truncation_side"]
    return f"{path.name} {hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()}\n"


def _check(path: Path, content: dict[str, Any]) -> None:
    """Refuse settings that name files outside the hash, and numbers of tokens that would take all memory."""
    if "fast_tokenizer_files" in content:
        raise InputError(
            f"{path}: names further files of a tokenizer (fast_tokenizer_files), which featx does not read; "
            f"without that line, {VOCABULARIES[0]} is used"
        )
    if path.name not in _OF_NUMBERS:
        return
    model = content.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else content
    numbers = vocabulary.values() if isinstance(vocabulary, dict) else ()
    high = next((number for number in numbers if isinstance(number, int) and number >= _MOST_TOKENS), None)
    if high is not None:
        raise InputError(f"{path}: holds a token of number {high}, expected less than {_MOST_TOKENS}")


def _fetch(repository: Repository, name: str) -> Path:
    """Return the folder with the files of the tokenizer, downloaded if need be."""

    def lacking(reason: str) -> InputError:
        return InputError(
            f"{name}: no tokenizer is with it, as one of {', '.join(VOCABULARIES[:3])}, ... ({reason})"
        )

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
