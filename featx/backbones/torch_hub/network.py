"""A network of torch.hub as a backbone: `load_hub_network`.

Its default layer and the hash of its graph are found from the network, as for a module of the user's own
(`featx.backbones.own.module`). Its identity has the hash of the code's files beside those of graph and
values. Its pickle holds no values: where it is unpickled, the entry runs again, with the consent that was
given, and is refused if its code or values have changed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from featx.backbones.architectures import Pretrained
from featx.backbones.audio_settings import describes_audio
from featx.backbones.backbone import Backbone
from featx.backbones.checkpoint import Checkpoint, open_checkpoint
from featx.backbones.graphs.files import read_sidecar, sidecar
from featx.backbones.input_settings import InputSettings
from featx.backbones.loading import fill, random_network, values_sha256
from featx.backbones.own.copying import copy_module
from featx.backbones.own.module import Enclosed, load_module
from featx.backbones.sources.hub import HubEntry
from featx.backbones.torch_hub.code import HUBCONF, HubCode
from featx.durable import expand_user, is_there
from featx.errors import InputError, WeightsError
from featx.inputs.image.preprocess import Preprocessing


class HubNetwork(HubEntry):
    """An entry with its values: its own, a user's file or initial ones."""

    files: HubCode

    def __init__(self, entry: HubEntry, weights: Any):
        assert entry.files is not None
        super().__init__(entry.files.place, entry.entry)
        self._weights = weights
        self._code, self._graph, self._values = self.files.sha256(), "", ""
        self._enclosed = False

    @property
    def identity(self) -> dict[str, str]:
        """The sha256 of the files of code, and that of the graph."""
        return {"code_sha256": self._code, "graph_sha256": self._graph}

    def stamp(self) -> Any:
        """Return the hash of the code, and size and time of a user's file of weights."""
        file = self._weights.path.stat() if isinstance(self._weights, Checkpoint) else None
        return self.files.sha256(), file and (file.st_size, file.st_mtime_ns)

    def learn(self, loaded: Backbone) -> None:
        """Take over what was learnt of the network as a module."""
        self.rules = loaded.architecture.rules  # type: ignore[misc]  # of one network, not of all of a source
        self._graph = loaded.architecture.identity["graph_sha256"]
        self._enclosed = isinstance(loaded.architecture.build(None, pretrained_style=True), Enclosed)
        self._values = loaded.weights_sha256

    def build(self, pretrained: Pretrained | None, *, pretrained_style: bool) -> nn.Module:
        """Run the entry; refuse code or values that changed since it first ran."""
        label = f"hub:{self.name}"
        if self.files.sha256() != self._code:
            raise InputError(f"{label}: its code changed after it was loaded; load the backbone again")
        network = self.files.run(self.entry, pretrained=self._weights == "default")
        if isinstance(self._weights, Checkpoint):
            fill(network, self._weights, self)
        network = copy_module(network, label)
        if self._values and values_sha256(network) != self._values:
            raise WeightsError(
                f"{label}: this entry gives other values than when the backbone was loaded; load it again"
            )
        return Enclosed(network).eval() if self._enclosed else network


def load_hub_network(
    entry: HubEntry,
    *,
    weights: Any,
    seed: int,
    layer: str | None,
    pooling: str | None,
    settings: InputSettings,
) -> Backbone:
    """Load a backbone from an entry, to whose code the user has consented.

    Parameters are as for `featx.backbones.load_backbone`; `weights` is ``"default"`` for the values that come
    with the entry, or the folder of the entry; the path of a file for the whole network; or None for initial
    values.
    """
    name = f"hub:{entry.name}"
    weights_name: str | None = None
    if isinstance(weights, str | Path) and is_there(expand_user(weights), Path.is_dir):
        weights = "default"  # the folder of the code, where `entry` is already
    if weights == "default":
        weights_name = "default"
    elif weights is not None:
        if not isinstance(weights, str | Path) or not is_there(expand_user(weights), Path.exists):
            raise WeightsError(f"{name}: weights must be 'default', None or a file, got {weights!r}")
        weights, weights_name = open_checkpoint(weights), "checkpoint"
    architecture = HubNetwork(entry, weights)
    network = random_network(architecture, seed)
    if settings.preprocessing is None:
        settings = replace(settings, preprocessing=_stated_preprocessing(architecture, network))
    loaded = load_module(
        network,
        layer=layer,
        pooling=pooling,
        settings=settings,
        name=name,
    )
    architecture.learn(loaded)
    architecture.input_type = type(loaded.inputs)  # type: ignore[misc]
    backbone = replace(loaded, architecture=architecture, weights_name=weights_name, seed=seed)
    backbone.keep(loaded.module)
    return backbone


def _stated_preprocessing(entry: HubNetwork, network: nn.Module) -> Preprocessing | dict[str, Any] | None:
    """Return the preprocessing beside the code; None where a network of timm carries its own.

    An `InputError` says that there is neither: with a wrong guess every row would be poor.
    """
    hubconf = entry.files.folder() / HUBCONF
    fields = read_sidecar(hubconf)
    if describes_audio(fields):
        return fields
    if fields is not None:
        try:
            return Preprocessing.from_dict({"interpolation": "bilinear", "antialias": True} | fields)
        except InputError as error:
            raise InputError(f"{sidecar(hubconf)}: {error}") from error
    if any(hasattr(network, name) for name in ("pretrained_cfg", "default_cfg")):
        return None
    raise InputError(
        f"hub:{entry.name}: its code does not state how images are prepared; give preprocessing=, such as "
        f"featx.Preprocessing() with ImageNet's mean and std, or write it into {sidecar(hubconf)}: "
        '{"resize": 256, "crop": [224, 224], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}'
    )
