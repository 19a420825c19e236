"""What the sources of networks have in common: an architecture, and the weights published for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from featx.backbones.weights import download, find_local, hash_in_name, hub_folder
from featx.errors import WeightsError
from featx.inputs.image.preprocess import Preprocessing


@dataclass(frozen=True)
class Pretrained:
    """Published weights of an architecture.

    Attributes
    ----------
    name : str
        Such as ``"IMAGENET1K_V1"``.
    filename : str
        Of the file; a hash in it is checked.
    url : str or None
        Where it is downloaded from.
    preprocessing : Preprocessing or None
        What the weights were evaluated with; None where that cannot be described.
    options : dict
        For building the network, such as an image size.
    in_order : bool
        The file names its tensors in another way; they fit one by one, in order.
    top1 : float or None
        Published top-1 accuracy on ImageNet, in percent.
    """

    name: str
    filename: str
    url: str | None
    preprocessing: Preprocessing | None
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    in_order: bool = False
    top1: float | None = None

    @property
    def sha256(self) -> str | None:
        """How the sha256 of the file must begin, where its name says."""
        return hash_in_name(self.filename)

    @property
    def fetchable(self) -> bool:
        """Whether it can be downloaded."""
        return self.url is not None

    def find(self, packaged: dict[str, Path] | None = None) -> Path | None:
        """The file on this machine, or None."""
        return find_local(self.filename, packaged)

    def fetch(self, wanted_by: str, advice: str) -> Path:
        """Download the file; `WeightsError`, ending with the advice, when that fails."""
        if self.url is None:
            raise WeightsError(
                f"no weights for {wanted_by}: {self.filename} is not in {hub_folder()} "
                f"and in no installed package; {advice}"
            )
        return download(self.filename, self.url, wanted_by=wanted_by, advice=advice)


class Architecture(Protocol):
    """How a source of networks builds one of them."""

    name: str
    source: str
    #: Prefixes of tensors that published files hold and no embedding needs (auxiliary classifiers).
    extras: tuple[str, ...]

    def published(self) -> list[Pretrained]:
        """All published weights; the first is the default."""

    def build(self, pretrained: Pretrained | None, *, pretrained_style: bool) -> nn.Module:
        """The network with fresh values.

        `pretrained_style` builds it as for weights trained elsewhere (`pretrained` or a user's file), where
        that differs from training anew.
        """

    def preprocessing(self) -> Preprocessing | None:
        """For weights that state none."""

    def rename(self, key: str) -> str:
        """The present name of a tensor that old files name otherwise."""
