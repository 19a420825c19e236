"""Networks of torch.hub: ``hub:OWNER/REPO:ENTRY``, ``hub:OWNER/REPO:REF:ENTRY`` and ``hub:FOLDER:ENTRY``.

A repository on GitHub, or a folder, holds ``hubconf.py``, and ENTRY is a function in it that returns a
network (https://pytorch.org/docs/stable/hub.html). REF is a branch, tag or commit. A folder begins with
``/``, ``.`` or ``~``, or has no slash. Repositories are kept where torch.hub keeps them, below
``TORCH_HOME``.

The code of the repository runs with all that the user may do, so nothing of it is downloaded, listed or
imported before consent (`trust_code`). An entry says nothing of layers: its network is treated as a module of
the user's own (`featx.backbones.torch_hub.network`). How its images are prepared is given, or stands in
``hubconf.py.json`` beside the code, as the fields of `Preprocessing`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from featx.backbones.architectures import Architecture, BackboneSource
from featx.backbones.torch_hub.code import HubCode
from featx.durable import expand_user, is_there
from featx.errors import InputError

_ENTRY = re.compile(r"(?:(.+):)?([^\W\d]\w*)")
_FORMS = "expected hub:OWNER/REPO:ENTRY, hub:OWNER/REPO:REF:ENTRY or hub:FOLDER:ENTRY"


class HubEntry(Architecture):
    """An entry of a repository or folder, of which nothing is known before it runs."""

    source = "hub"
    runs_code = True

    def __init__(self, place: str | None, entry: str):
        super().__init__(entry if place is None else f"{place}:{entry}")
        self.files, self.entry = None if place is None else HubCode(place), entry

    @property
    def identity_name(self) -> str:
        """Repository and entry; the entry alone of a folder, which may lie elsewhere on another machine."""
        return self.entry if self.files is None or self.files.is_folder else self.name

    def code(self) -> str:
        """Name the repository or folder."""
        assert self.files is not None
        return self.files.describe()

    def at(self, weights: Any) -> HubEntry:
        """Return the entry in the folder that `weights` names, if it names one, in place of its own.

        A file of featx does not say in which folder a network was. The user is asked to consent to the code
        at the place that is returned.
        """
        if (
            isinstance(weights, str | Path)
            and weights != "default"
            and is_there(expand_user(weights), Path.is_dir)
        ):
            return HubEntry(str(expand_user(weights).absolute()), self.entry)
        if self.files is None:
            raise InputError(
                f"hub:{self.name}: {_FORMS}; a file of featx holds the entry of a folder alone: say where "
                "the folder is with weights=FOLDER (--weights)"
            )
        return self


class HubSource(BackboneSource):
    """The entries of all repositories and folders; none is listed."""

    name = "hub"

    def architecture(self, name: str) -> HubEntry:
        """Return the entry of a name ``PLACE:ENTRY``."""
        found = _ENTRY.fullmatch(name)
        if found is None:
            raise InputError(f"hub:{name}: {_FORMS}")
        return HubEntry(*found.groups())

    def find(self, name: str) -> tuple[Architecture, str | None] | None:
        """Return the entry of a name; nothing is looked for before consent."""
        return self.architecture(name), None
