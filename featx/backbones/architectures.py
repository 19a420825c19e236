"""What a source of backbones states: its networks, how each is built, and which weights are published."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from torch import Tensor, nn

from featx.backbones.checkpoint import Checkpoint, open_checkpoint
from featx.backbones.given_preprocessing import given_preprocessing
from featx.backbones.image_input import ImageInput
from featx.backbones.input_settings import InputSettings
from featx.backbones.layers.rules import LayerRules
from featx.backbones.network_input import NetworkInput
from featx.backbones.weights import download, find_local, hash_in_name, torch_hub_folder
from featx.errors import InputError, WeightsError
from featx.inputs.image.preprocess import Preprocessing

if TYPE_CHECKING:
    from featx.backbones.zero_shot import EncodedTexts


#: Digits of the hash of a configuration that a name states.
_DIGITS = 12


class Facts(NamedTuple):
    """What is known of a network at its default layer without building it."""

    layer: str
    pooling: str
    dim: int
    #: Parameters of the whole network, with its classifier.
    parameters: int


@dataclass(frozen=True)
class Pretrained:
    """Published weights of an architecture.

    Attributes
    ----------
    name : str
        Such as ``"IMAGENET1K_V1"``.
    filename : str
        Name of the file; if it states a hash, the file is checked against it.
    url : str or None
        Where the file is downloaded from.
    preprocessing : Preprocessing or None
        How images were prepared when the weights were evaluated; None where that cannot be described.
    options : dict
        Options that build the network, such as an image size.
    in_order : bool
        Whether tensors are matched by their order, because the file gives them other names.
    top1 : float or None
        Published top-1 accuracy on ImageNet, in percent.
    licence : str or None
        Licence of the weights, as the library states it, such as ``"apache-2.0"``.
    """

    name: str
    filename: str
    url: str | None
    preprocessing: Preprocessing | None
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    in_order: bool = False
    top1: float | None = None
    licence: str | None = None

    @property
    def sha256(self) -> str | None:
        """First digits of the file's sha256, where its name states them."""
        return hash_in_name(self.filename)

    @property
    def fetchable(self) -> bool:
        """Whether the file can be downloaded."""
        return self.url is not None

    def find(self, packaged: dict[str, Path] | None = None) -> Path | None:
        """Return the file on this machine, or None."""
        return find_local(self.filename, packaged)

    def fetch(self, wanted_by: str, advice: str) -> Path:
        """Download the file; the `WeightsError` raised on failure ends with `advice`."""
        if self.url is None:
            raise WeightsError(
                f"no weights for {wanted_by}: {self.filename} is not in {torch_hub_folder()} "
                f"and in no installed package; {advice}"
            )
        return download(self.filename, self.url, wanted_by=wanted_by, advice=advice)

    def open(self, path: Path) -> Checkpoint:
        """Open the file that was found or fetched, and check it against the hash that is stated for it."""
        return open_checkpoint(path, sha256=self.sha256)


class Architecture:
    """One network of a backbone source. A subclass must define `source`, and `build` or `build_for`.

    Parameters
    ----------
    name : str
        As the source calls it, without prefix.

    Attributes
    ----------
    source : str
        Name of the source; part of the identity of cached rows.
    extras : tuple of str
        Prefixes of tensors that published files hold and no embedding needs (auxiliary classifiers).
    input_type : type of NetworkInput
        Class that turns prepared inputs into the network's tensors.
    rules : LayerRules
        What the library states about the layers of its networks.
    trainable : bool
        Whether the network has gradients, so that it can be fine-tuned.
    runs_code : bool
        Whether building it runs code that the user got from elsewhere, which needs consent.
    in_torch : bool
        Whether PyTorch runs the network; if not, only its reference and OpenVINO do.
    """

    source: ClassVar[str]
    input_type: ClassVar[type[NetworkInput]] = ImageInput
    rules: ClassVar[LayerRules] = LayerRules()
    trainable: ClassVar[bool] = True
    runs_code: ClassVar[bool] = False
    in_torch: ClassVar[bool] = True
    extras: tuple[str, ...] = ()

    def __init__(self, name: str):
        self.name = name

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.name == self.name  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((self.source, self.name))

    @property
    def identity_name(self) -> str:
        """Its name in the identity of cached rows, which is the same on every machine."""
        return self.name

    def open(self, name: str, weights: Any) -> Checkpoint | None:
        """Return the file that holds both network and weights; None where weights are chosen apart.

        `name` is the name of the backbone, for messages.
        """
        return None

    def build(self, pretrained: Pretrained | None, *, pretrained_style: bool) -> nn.Module:
        """Build the network, with initial values.

        With `pretrained_style`, build it for weights that were trained elsewhere (`pretrained` or a user's
        file), where that differs from a network to be trained from scratch.
        """
        raise NotImplementedError

    def build_for(
        self, inputs: NetworkInput | None, pretrained: Pretrained | None, *, pretrained_style: bool
    ) -> nn.Module:
        """Build the network for these inputs; with None, for those of its weights, as `build` does.

        A source whose networks are built for one size of input, such as vision transformers, overrides it.
        """
        return self.build(pretrained, pretrained_style=pretrained_style)

    def code(self) -> str:
        """Name the code that building the network would run, and its origin, where `runs_code` is true.

        The name is shown before the user has consented, so the code itself must not be read here.
        """
        raise NotImplementedError

    @property
    def identity(self) -> dict[str, str]:
        """What changes an embedding besides name and weights; part of `Backbone.identity`."""
        return {}

    def stamp(self) -> Any:
        """Return a value that changes with the files the network is built from; None where there are none."""
        return None

    def kept_files(self) -> dict[str, bytes]:
        """Return small files that a fine-tuned network needs beside its values, by name."""
        return {}

    def published(self) -> list[Pretrained]:
        """Return all published weights; the first is the default."""
        return []

    def preprocessing(self) -> Preprocessing | None:
        """Return the preprocessing for weights that state none: by default, that of the default weights."""
        published = self.published()
        return published[0].preprocessing if published else None

    def preprocessing_of(self, pretrained: Pretrained | None) -> Preprocessing | None:
        """Return the preprocessing of published weights, or that for a user's own and random ones (None)."""
        return pretrained.preprocessing if pretrained is not None else self.preprocessing()

    def prepare_inputs(self, pretrained: Pretrained | None, settings: InputSettings, name: str) -> Any:
        """Return the preparation of the inputs: that of the weights, with the settings that are given.

        Parameters
        ----------
        pretrained : Pretrained or None
            None for a user's own weights and random ones.
        settings : InputSettings
            `InputError` for one of another kind of input.
        name : str
            Name of the backbone, for messages.
        """
        settings.require(self.input_type.kind, name)
        prepare = given_preprocessing(settings.preprocessing, name)
        if prepare is None:
            prepare = self.preprocessing_of(pretrained)
        if prepare is None:
            raise InputError(
                f"{name}: its preprocessing is not a central crop of an RGB image; give preprocessing="
            )
        return prepare if settings.image_size is None else prepare.with_size(settings.image_size)

    def trained_from(self, pretrained: Pretrained) -> Architecture:
        """Return the architecture for a user's file that was trained from these published weights.

        A source overrides it where the weights state more of the network than its preprocessing.
        """
        return self

    def has_texts(self) -> bool:
        """Return whether a text tower and a tokenizer come with the image network, as in CLIP."""
        return False

    def encode_texts(
        self, texts: Sequence[str], checkpoint: Checkpoint | None, pretrained: Pretrained | None
    ) -> EncodedTexts:
        """Load the text tower, and encode texts into the space of the layer ``"projection"``."""
        raise NotImplementedError

    def check_values(self, network: nn.Module) -> None:
        """Raise `InputError` for a network that its values make unusable; by default there is none."""

    def rename(self, key: str) -> str:
        """Return the name that the network gives to a tensor called `key` in a file, which may be older."""
        return key

    def convert(self, tensors: dict[str, Tensor], network: nn.Module, label: str) -> dict[str, Tensor]:
        """Return the tensors of a file under the names, and with the shapes, that `network` gives them.

        A `WeightsError` begins with `label`, which names the file and the architecture.
        """
        renamed = {self.rename(key): value for key, value in tensors.items()}
        if len(renamed) < len(tensors):
            raise WeightsError(f"{label}: two of its tensors have the same name once old names are replaced")
        return renamed


def hash_settings(settings: Mapping[str, Any]) -> str:
    """Return the first digits of the sha256 of settings, which tell apart two configurations of one name."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:_DIGITS]


class BackboneSource:
    """A library of networks. A subclass must define `name`, `facts` or `names`, and `architecture`.

    Attributes
    ----------
    name : str
        Such as ``"timm"``; part of the identity of cached rows, so it never changes.
    facts : mapping of str to Facts
        What is known of the networks that are listed, by their name without prefix.
    hint : str
        One line that ``featx backbones`` prints below its list, such as how to name networks beyond it.
    """

    name: ClassVar[str]
    facts: ClassVar[Mapping[str, Facts]] = {}
    hint: ClassVar[str] = ""

    @property
    def prefix(self) -> str:
        """Prefix of the names of its backbones, with the colon."""
        return f"{self.name}:"

    def names(self) -> Iterable[str]:
        """Return the names of all its networks, without prefix."""
        return self.facts

    def architecture(self, name: str) -> Architecture:
        """Return the architecture of a name without prefix and tag."""
        raise NotImplementedError

    def find(self, name: str) -> tuple[Architecture, str | None] | None:
        """Return the architecture of a name without prefix, and the tag of weights in it; None if unknown."""
        return (self.architecture(name), None) if name in self.names() else None

    def listed(self) -> dict[str, list[Pretrained]]:
        """Return the networks that `list_backbones` shows, each with its published weights."""
        names = set(self.names())
        return {name: self.architecture(name).published() for name in self.facts if name in names}
