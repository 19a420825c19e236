"""The code of a network of torch.hub: where it is, what identifies it, and how an entry is run.

Nothing here may be called without consent to run the code, apart from `HubCode.describe`.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from featx.backbones.own.code_names import is_installed
from featx.durable import expand_user, is_there, read_regular
from featx.errors import InputError, UnknownName, WeightsError, as_one_error, reason_of

_REPOSITORY = re.compile(r"([\w-][\w.-]*)/([\w-][\w.-]*)(?::([\w-][\w./-]*))?")
#: The file with the entries.
HUBCONF = "hubconf.py"
#: Endings of the files that identify code: Python, and the settings that it commonly reads.
_CODE = (".py", ".yaml", ".yml")
_MOST_BYTES = 2**24

#: The modules that entries have imported from their folders, by name.
_imported: dict[str, ModuleType] = {}


class HubCode:
    """The code of a repository on GitHub (``OWNER/NAME`` or ``OWNER/NAME:REF``), or of a folder.

    A folder begins with ``/``, ``.`` or ``~``, or has no slash; a relative one starts at the
    working directory of the moment.
    """

    def __init__(self, place: str):
        self.place = place
        self._repository = _REPOSITORY.fullmatch(place)
        self._folder = expand_user(place).absolute()

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of the user's."""
        return self._repository is None

    def describe(self) -> str:
        """Say what code this is, without reading it."""
        if self._repository is None:
            return f"the Python code in {self._folder}"
        return f"the Python code of {self._address} ({self._repository[3] or 'its default branch'})"

    def folder(self) -> Path:
        """Return the folder of the code; a repository that is not on this machine is downloaded.

        `InputError` if that fails, or if there is no ``hubconf.py``.
        """
        if self._repository is None:
            if not is_there(self._folder / HUBCONF):
                raise InputError(f"hub:{self.place}: there is no {HUBCONF} in {self._folder}")
            return self._folder
        kept = self._kept()
        if kept is None:
            where = torch.hub.get_dir()
            with (
                as_one_error(
                    lambda reason: InputError(
                        f"hub:{self.place}: {self._address} is not in {where} and could not be fetched "
                        f"({reason}); a copy in a folder loads as hub:FOLDER:ENTRY"
                    )
                ),
                contextlib.redirect_stdout(sys.stderr),
            ):
                torch.hub.list(self.place, trust_repo=True, verbose=False)
                kept = self._kept()
                if kept is None:
                    raise FileNotFoundError(f"it has no {HUBCONF}")
        return kept

    def sha256(self) -> str:
        """Return the sha256 of the names and bytes of the code's files."""
        top, digest = self.folder(), hashlib.sha256()
        for folder, inside, files in os.walk(top):
            inside[:] = sorted(
                name
                for name in inside
                if not name.startswith((".", "__pycache__")) and not Path(folder, name, "pyvenv.cfg").exists()
            )
            for name in sorted(file for file in files if file.endswith(_CODE)):
                path = Path(folder, name)
                try:
                    data = read_regular(path, at_most=_MOST_BYTES)
                except OSError as error:
                    raise InputError(f"{path}: code cannot be read ({reason_of(error)})") from error
                digest.update(f"{path.relative_to(top).as_posix()} {len(data)}\n".encode("utf-8", "replace"))
                digest.update(data)
        return digest.hexdigest()

    def run(self, entry: str, *, pretrained: bool) -> nn.Module:
        """Return the network that an entry gives, with its pretrained values or with initial ones.

        An entry without a parameter `pretrained` is called without arguments for its pretrained values, and
        refused for initial ones.

        Raises
        ------
        InputError
            There is no such entry, a package is missing, the code fails, or it returns no network.
        WeightsError
            The entry cannot read or download what it needs.
        """
        label = f"hub:{self.place}:{entry}"
        with self._importable(label) as folder:
            function = _find_entry(folder, entry, label)
            given: dict[str, Any] = {}
            if "pretrained" in inspect.signature(function).parameters:
                given["pretrained"] = pretrained
            elif not pretrained:
                raise InputError(
                    f"{label}: this entry has no parameter 'pretrained', so it cannot give initial "
                    "values; leave weights out"
                )
            try:
                network = function(**given)
            except OSError as error:  # urllib's are among them
                raise WeightsError(
                    f"{label}: what this entry needs cannot be read or downloaded ({reason_of(error)})"
                ) from error
            except (Exception, SystemExit) as error:  # code of somebody else's
                raise InputError(
                    f"{label}: this entry failed ({type(error).__name__}: {reason_of(error)})"
                ) from error
        if not isinstance(network, nn.Module):
            raise InputError(f"{label}: expected a torch.nn.Module, got a {type(network).__name__}")
        return network

    @property
    def _address(self) -> str:
        assert self._repository is not None
        return f"https://github.com/{self._repository[1]}/{self._repository[2]}"

    def _kept(self) -> Path | None:
        """Return the folder in which torch.hub keeps the repository, None where there is none."""
        assert self._repository is not None
        owner, name, ref = self._repository.groups()
        for branch in (ref,) if ref else ("main", "master"):
            folder = Path(torch.hub.get_dir(), f"{owner}_{name}_{branch.replace('/', '_')}")
            if is_there(folder / HUBCONF):
                return folder
        return None

    @contextlib.contextmanager
    def _importable(self, label: str) -> Iterator[Path]:
        """Let the code import its own modules, as torch.hub does, and not those of other code.

        Modules that earlier entries imported are imported again: their files may have changed, and other
        repositories have modules of the same names.
        """
        folder = self.folder()
        for name, module in _imported.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
        _imported.clear()
        own = {file.stem for file in folder.glob("*.py")}
        own |= {file.parent.name for file in folder.glob("*/*.py")}
        for name in own & sys.modules.keys():
            file = getattr(sys.modules[name], "__file__", None) or ""
            if file and not is_installed(file) and not Path(file).is_relative_to(folder):
                raise InputError(
                    f"{label}: its module {name!r} cannot be imported, since this process uses another of "
                    f"that name, {file}; start a new process, or rename one"
                )
        before = set(sys.modules)
        importlib.invalidate_caches()
        sys.path.insert(0, str(folder))
        try:
            with contextlib.redirect_stdout(sys.stderr):
                yield folder
        finally:
            with contextlib.suppress(ValueError):  # the code may have removed it
                sys.path.remove(str(folder))
            for name in set(sys.modules) - before:
                if name.partition(".")[0] in own:
                    _imported[name] = sys.modules[name]


def _find_entry(folder: Path, entry: str, label: str) -> Callable[..., Any]:
    """Import ``hubconf.py`` and return one of its functions."""
    spec = importlib.util.spec_from_file_location("hubconf", folder / HUBCONF)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        raise InputError(f"{label}: this code needs the package {error.name!r}: pip install it") from error
    except (Exception, SystemExit) as error:  # code of somebody else's
        raise InputError(
            f"{label}: {HUBCONF} cannot be imported ({type(error).__name__}: {reason_of(error)})"
        ) from error
    needed = [str(name) for name in getattr(module, "dependencies", ())]
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"{label}: this code needs the packages {', '.join(missing)}: pip install them")
    functions = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
    if entry not in functions:
        raise UnknownName(f"entry of {label.rpartition(':')[0]}", entry, functions)
    function: Callable[..., Any] = getattr(module, entry)
    return function
