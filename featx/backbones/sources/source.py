"""What a source of backbones has to say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from featx.backbones.architectures import Architecture, Facts, Pretrained


class BackboneSource:
    """A library of networks. A subclass must define `name`, `facts` or `names`, and `architecture`.

    Attributes
    ----------
    name : str
        Such as ``"timm"``; part of the identity of cached rows, so it never changes.
    facts : mapping of str to Facts
        What is known of networks without building them, by their name without prefix. These are listed.
    """

    name: ClassVar[str]
    facts: ClassVar[Mapping[str, Facts]] = {}

    @property
    def prefix(self) -> str:
        """What the names of its backbones begin with."""
        return f"{self.name}:"

    def names(self) -> Iterable[str]:
        """Return the names of all its networks, without prefix."""
        return self.facts

    def architecture(self, name: str) -> Architecture:
        """Return the architecture of a name without prefix and tag."""
        raise NotImplementedError

    def find(self, name: str) -> tuple[Architecture, str | None] | None:
        """Return architecture and tag of weights of a name without prefix; None where it is unknown."""
        return (self.architecture(name), None) if name in self.names() else None

    def listed(self) -> dict[str, list[Pretrained]]:
        """Return the networks that `list_backbones` shows, each with its published weights."""
        names = set(self.names())
        return {name: self.architecture(name).published() for name in self.facts if name in names}
