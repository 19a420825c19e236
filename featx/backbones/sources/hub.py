"""Networks of torch.hub: ``hub:OWNER/REPO:ENTRY``, ``hub:OWNER/REPO:REF:ENTRY`` and ``hub:FOLDER:ENTRY``.

A repository on GitHub, or a folder, holds ``hubconf.py``, and ENTRY is a function in it that returns a
network (https://pytorch.org/docs/stable/hub.html). REF is a branch, tag or commit. A folder begins with
``/``, ``.`` or ``~``, or has no slash. Repositories are kept where torch.hub keeps them, below
``TORCH_HOME``.

The code of the repository runs with all that the user may do, so nothing of it is downloaded, listed or
imported before consent (`trust_code`). An entry says nothing of layers and preparation: its network is
treated as a module of the user's own (`featx.backbones.hub_network`).
"""

from __future__ import annotations

import re

from torch import nn

from featx.backbones.architectures import Architecture, BackboneSource, Pretrained
from featx.backbones.hub_code import HubCode
from featx.errors import InputError

_ENTRY = re.compile(r"(.+):([^\W\d]\w*)")


class HubEntry(Architecture):
    """An entry of a repository or folder, of which nothing is known before it runs."""

    source = "hub"
    runs_code = True

    def __init__(self, place: str, entry: str):
        super().__init__(f"{place}:{entry}")
        self.files, self.entry = HubCode(place), entry

    def code(self) -> str:
        """Name the repository or folder."""
        return self.files.describe()

    def build(self, pretrained: Pretrained | None, *, pretrained_style: bool) -> nn.Module:
        """Run the entry for initial values."""
        return self.files.run(self.entry, pretrained=False)


class HubSource(BackboneSource):
    """The entries of all repositories and folders; none is listed."""

    name = "hub"
    hint = "hub:OWNER/REPO:ENTRY and hub:FOLDER:ENTRY run the code of a network of torch.hub (--trust-code)"

    def architecture(self, name: str) -> HubEntry:
        """Return the entry of a name ``PLACE:ENTRY``."""
        found = _ENTRY.fullmatch(name)
        if found is None:
            raise InputError(
                f"hub:{name}: expected hub:OWNER/REPO:ENTRY, hub:OWNER/REPO:REF:ENTRY or hub:FOLDER:ENTRY"
            )
        return HubEntry(*found.groups())

    def find(self, name: str) -> tuple[Architecture, str | None] | None:
        """Return the entry of a name; nothing is looked for before consent."""
        return self.architecture(name), None
