"""Find files in the cache of the Hugging Face hub, and download them."""

from __future__ import annotations

import contextlib
import functools
import logging
import re
import socket
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from featx.backbones.architectures import Pretrained
from featx.errors import InputError, WeightsError, reason_of

WEIGHTS_FILES = ("model.safetensors", "pytorch_model.bin")


def find_in_cache(hub_id: str, names: Sequence[str]) -> Path | None:
    """Return the first of the files that is in the cache of `huggingface_hub`, or None."""
    from huggingface_hub import try_to_load_from_cache

    for name in names:
        try:
            path = try_to_load_from_cache(hub_id, name)
        except ValueError:  # no name that the hub may have
            return None
        if isinstance(path, str):
            return Path(path)
    return None


def fetch_from_hub(hub_id: str, names: Sequence[str], make_error: Callable[[str], InputError]) -> Path:
    """Download the first of the files that the repository has; raise ``make_error(reason)`` on failure."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    if not _find_address():  # `huggingface_hub` would try for half a minute
        raise make_error(_no_connection())
    reason = ""
    for name in names:
        try:
            with _without_warnings():
                return Path(hf_hub_download(hub_id, name))
        except LocalEntryNotFoundError as error:  # an EntryNotFoundError, too
            reason = _no_connection(error.__cause__)
            break
        except EntryNotFoundError as error:
            reason = reason_of(error)
        except (HfHubHTTPError, OSError, ValueError, RuntimeError) as error:  # RuntimeError: HF_HOME=~nobody
            reason = reason_of(error)
            break
    raise make_error(reason)


def may_be_on_hub(hub_id: str, name: str) -> bool:
    """Return whether it is worth while to ask the hub for a file that a repository need not have.

    It is not where the cache knows that there is none, and where the hub cannot be reached:
    `huggingface_hub` tries for half a minute.
    """
    from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache

    try:
        return try_to_load_from_cache(hub_id, name) is not _CACHED_NO_EXIST and _has_address()
    except ValueError:  # no name that the hub may have
        return False


def _no_connection(cause: BaseException | None = None) -> str:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    return "cannot reach the hub" if cause is None else f"cannot reach the hub: {reason_of(cause)}"


@functools.cache
def _has_address() -> bool:
    """Return `_find_address()`, looked up once: a hub may be asked for many files that need not be there."""
    return _find_address()


def _find_address() -> bool:
    """Return whether this machine finds an address of the hub, or goes through a proxy that may."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    address = urllib.parse.urlsplit(constants.ENDPOINT)
    if urllib.request.getproxies():
        return True
    try:
        return bool(socket.getaddrinfo(address.hostname, address.port or address.scheme))
    except OSError:
        return False


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Keep `huggingface_hub` from printing a line for each of its attempts; the error says it once."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def hash_in_cache(path: Path) -> str | None:
    """Return the sha256 that the cache of the Hugging Face hub states for a large file, or None.

    The file is a link to ``blobs/SHA256``; the names of small files are hashes of another kind.
    """
    found = re.fullmatch(r"[0-9a-f]{64}", path.resolve().name)
    return found.group() if found else None


@dataclass(frozen=True)
class HuggingFacePretrained(Pretrained):
    """Weights in a repository of the Hugging Face hub, under the first of `hub_files` that is there."""

    hub_id: str = ""
    hub_files: tuple[str, ...] = WEIGHTS_FILES

    def find(self, packaged: dict[str, Path] | None = None) -> Path | None:
        """Return the file in the cache of `huggingface_hub`, or None."""
        return find_in_cache(self.hub_id, self.hub_files)

    @property
    def fetchable(self) -> bool:
        """Whether the file can be downloaded."""
        return True

    def fetch(self, wanted_by: str, advice: str) -> Path:
        """Download the file; the `WeightsError` raised on failure ends with `advice`."""
        return fetch_from_hub(
            self.hub_id,
            self.hub_files,
            lambda reason: WeightsError(
                f"no weights for {wanted_by}: {self.hub_id} is not in the cache of huggingface_hub and could "
                f"not be downloaded ({reason}); {advice}"
            ),
        )
