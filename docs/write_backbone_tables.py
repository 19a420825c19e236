"""Write featx/backbones/tables/*.csv from the installed libraries: a row for each published weights.

python docs/write_backbone_tables.py [SOURCE ...]

Networks are built without memory for their values, to count their parameters. Licences are those that the
library itself states; where it states none, the field is empty.
"""

import csv
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from typing import Any, NamedTuple

import torch

from featx.backbones.architectures import Architecture, Pretrained
from featx.backbones.catalogue import TABLES, Row
from featx.backbones.hugging_face import HuggingFacePretrained
from featx.backbones.image_input import ImageInput
from featx.backbones.layers.cutting import cut
from featx.backbones.loading import meta_network
from featx.backbones.sources.detection import DetectionSource, DetectorArchitecture
from featx.backbones.sources.hf import HfArchitecture
from featx.backbones.sources.hf.networks import build_network, fit_to_size, read_config
from featx.backbones.sources.open_clip import OpenClipArchitecture, OpenClipSource
from featx.backbones.sources.timm import PACKAGED, TimmArchitecture, import_timm
from featx.backbones.sources.torchvision import TorchvisionArchitecture, TorchvisionSource
from featx.inputs.image.preprocess import Preprocessing


def count_parameters(network: Any) -> int:
    """Return the number of parameters of a network, with its classifier."""
    return sum(parameter.numel() for parameter in network.parameters())


def size_of(height: int, width: int) -> str:
    """Return an image size as it is written in a table."""
    return str(height) if height == width else f"{height}x{width}"


def torchvision_rows(names: Iterable[str] | None = None) -> Iterator[Row]:
    """Yield the published weights of torchvision's classification networks, the default of each first."""
    return _rows_of(TorchvisionArchitecture, names or sorted(TorchvisionSource().names()))


def _rows_of(kind: type[Architecture], names: Iterable[str]) -> Iterator[Row]:
    for name in names:
        architecture = kind(name)
        for weights in architecture.published():
            network = meta_network(architecture, weights, pretrained_style=True)
            yield Row(
                name=name,
                weights=weights.name,
                dim=str(default_dim(architecture, weights, network)),
                parameters=str(count_parameters(network)),
                image_size=input_size(weights),
                licence=weights.licence or "",
                top1="" if weights.top1 is None else f"{weights.top1:g}",
                file=weights.filename,
            )


def default_dim(architecture: Architecture, weights: Pretrained, network: Any) -> int:
    """Return the length of an embedding at the default layer."""
    inputs = architecture.input_type(weights.preprocessing)
    return cut(network, inputs, name=architecture.name, rules=architecture.rules).dim


def input_size(weights: Pretrained) -> str:
    """Return the size of image at which published weights were evaluated."""
    prepare = weights.preprocessing
    size = prepare.crop or prepare.resize if prepare is not None else None
    return size_of(*size) if isinstance(size, tuple) else ""


#: Encoders of timm without an embedding of the whole image: its `forward_head` refuses them, so featx does.
TOKENS_ONLY = {
    *("deepseek_vit_412m_enc", "gemma4_vit_167m_enc", "gemma4_vit_570m_enc"),
    *("qwen3_vit_88m_enc", "qwen3_vit_306m_enc", "qwen3_vit_416m_enc"),
}


def timm_rows(names: Iterable[str] | None = None) -> Iterator[Row]:
    """Yield the published weights of timm, by architecture, the default of each first."""
    timm = import_timm()
    from timm.models import get_arch_pretrained_cfgs

    for name in names or timm.list_models():
        if name in TOKENS_ONLY:
            continue
        configs = get_arch_pretrained_cfgs(name)
        if name in PACKAGED:
            filename, top1 = PACKAGED[name]
            dim, parameters = timm_facts(f"{name}.{next(iter(configs.values())).tag}")
            size = input_size(TimmArchitecture(name).published()[0])
            yield Row(name, filename, str(dim), str(parameters), size, "", f"{top1:g}", filename)
        for full, config in configs.items():
            if not (config.hf_hub_id or config.url):
                continue
            dim, parameters = timm_facts(full)
            yield Row(
                name=name if name in PACKAGED else full,
                weights=full.partition(".")[2],
                dim=str(dim),
                parameters=str(parameters),
                image_size=size_of(*config.input_size[1:]),
                licence="" if config.license in (None, "unknown") else config.license,
                top1="",
                file=config.hf_hub_id or config.url.rpartition("/")[2],
            )


def timm_facts(full: str) -> tuple[int, int]:
    """Return the length of timm's pooled embedding, and the parameters, of ``NAME.TAG``."""
    import_timm()
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(full)
    # What timm builds from: weights of one architecture that agree in it are those of the same network.
    key = (full.partition(".")[0], config.num_classes, config.input_size, config.fixed_input_size)
    if key not in _built:
        with torch.device("meta"):
            network = import_timm().create_model(full)
        dim = getattr(network, "head_hidden_size", None) or network.num_features
        _built[key] = int(dim), count_parameters(network)
    return _built[key]


_built: dict[tuple[Any, ...], tuple[int, int]] = {}


def hf_rows(names: Iterable[str] | None = None) -> Iterator[Row]:
    """Yield well-known networks of transformers, built from the settings of their repositories."""
    for known in HUB_NETWORKS:
        if names is not None and known.name not in names:
            continue
        with torch.device("meta"):
            tensors = None if known.pooler else frozenset({"embeddings"})
            network = build_network(read_config(known.config, known.name), tensors, known.name)
        size = (known.image_size, known.image_size)
        inputs = ImageInput(Preprocessing(resize=known.image_size, crop=size))
        fit_to_size(network, *size)
        yield Row(
            name=known.name,
            weights="model.safetensors",
            dim=str(cut(network, inputs, name=known.name, rules=HfArchitecture.rules).dim),
            parameters=str(count_parameters(network)),
            image_size=str(known.image_size),
            licence=known.licence,
            top1="",
            file=known.name,
        )


class HubNetwork(NamedTuple):
    """A well-known repository of the hub, with the settings of its ``config.json``.

    The hub is not asked: only networks whose settings are certain are here, and a licence only where the
    repository's own card is known to state it.
    """

    name: str
    config: dict[str, Any]
    image_size: int
    licence: str = ""
    #: Whether its weights have a pooler that holds parameters; it is left out of the network otherwise.
    pooler: bool = True


def _sizes(width: int, layers: int, heads: int, wide: int | None = None) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": wide or 4 * width,
    }


_TINY, _SMALL, _BASE = _sizes(192, 12, 3), _sizes(384, 12, 6), _sizes(768, 12, 12)
_LARGE, _HUGE, _GIANT = _sizes(1024, 24, 16), _sizes(1280, 32, 16), _sizes(1536, 40, 24)
_SO400M = _sizes(1152, 27, 16, 4304)
_BY_LETTER = {"s": _SMALL, "b": _BASE, "l": _LARGE}


def _dinov2() -> list[HubNetwork]:
    found = []
    for kind, model_type in (("dinov2", "dinov2"), ("dinov2-with-registers", "dinov2_with_registers")):
        for size, sizes in {"small": _SMALL, "base": _BASE, "large": _LARGE, "giant": _GIANT}.items():
            own = {"model_type": model_type, "patch_size": 14, "image_size": 518, **sizes}
            own |= {"use_swiglu_ffn": size == "giant"} | (
                {"num_register_tokens": 4} if "with" in kind else {}
            )
            del own["intermediate_size"]
            found.append(HubNetwork(f"facebook/{kind}-{size}", own, 224, "apache-2.0"))
    return found


def _dinov3() -> list[HubNetwork]:
    return [
        HubNetwork(
            f"facebook/dinov3-vit{letter}16-pretrain-lvd1689m",
            {"model_type": "dinov3_vit", "patch_size": 16, "num_register_tokens": 4, **sizes},
            224,
            "dinov3-license",
        )
        for letter, sizes in _BY_LETTER.items()
    ]


def _vit() -> list[HubNetwork]:
    found = []
    for size, patch, side, more in (
        *(("base", 16, 224, ""), ("base", 16, 384, ""), ("base", 32, 384, ""), ("large", 16, 224, "")),
        *(("large", 16, 384, ""), ("large", 32, 384, "")),
        *(("base", 16, 224, "-in21k"), ("large", 16, 224, "-in21k"), ("huge", 14, 224, "-in21k")),
    ):
        sizes = {"base": _BASE, "large": _LARGE, "huge": _HUGE}[size]
        own = {"model_type": "vit", "patch_size": patch, "image_size": side, **sizes}
        name = f"google/vit-{size}-patch{patch}-{side}{more}"
        found.append(HubNetwork(name, own, side, "apache-2.0", pooler=bool(more)))
    for letter, patch in (("s", 16), ("s", 8), ("b", 16), ("b", 8)):
        own = {"model_type": "vit", "patch_size": patch, "image_size": 224, **_BY_LETTER[letter]}
        found.append(HubNetwork(f"facebook/dino-vit{letter}{patch}", own, 224, "apache-2.0", pooler=False))
    for size, sizes in {"tiny": _TINY, "small": _SMALL, "base": _BASE}.items():
        own = {"model_type": "vit", "patch_size": 16, "image_size": 224, **sizes}
        found.append(HubNetwork(f"facebook/deit-{size}-patch16-224", own, 224, "apache-2.0", pooler=False))
    for size, patch, sizes in (("base", 16, _BASE), ("large", 16, _LARGE), ("huge", 14, _HUGE)):
        own = {"model_type": "vit", "patch_size": patch, "image_size": 224, **sizes}
        found.append(HubNetwork(f"facebook/vit-mae-{size}", own, 224, pooler=False))
    return found


def _clip() -> list[HubNetwork]:
    found = []
    for name, sizes, patch, side, projection in (
        ("openai/clip-vit-base-patch32", _BASE, 32, 224, 512),
        ("openai/clip-vit-base-patch16", _BASE, 16, 224, 512),
        ("openai/clip-vit-large-patch14", _LARGE, 14, 224, 768),
        ("openai/clip-vit-large-patch14-336", _LARGE, 14, 336, 768),
        ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", _BASE, 32, 224, 512),
        ("laion/CLIP-ViT-L-14-laion2B-s32B-b82K", _LARGE, 14, 224, 768),
        ("laion/CLIP-ViT-H-14-laion2B-s32B-b79K", _HUGE, 14, 224, 1024),
    ):
        own = {
            "model_type": "clip_vision_model",
            "patch_size": patch,
            "image_size": side,
            "projection_dim": projection,
            **sizes,
        }
        found.append(HubNetwork(name, own, side))
    return found


def _siglip() -> list[HubNetwork]:
    found = []
    for family, size, patch, sides in (
        *(("siglip", "base", 16, (224, 256, 384, 512)), ("siglip", "large", 16, (256, 384))),
        *(("siglip", "so400m", 14, (224, 384)), ("siglip2", "so400m", 14, (224, 384))),
        *(("siglip2", "base", 16, (224, 256, 384, 512)), ("siglip2", "large", 16, (256, 384, 512))),
        ("siglip2", "so400m", 16, (256, 384, 512)),
    ):
        sizes = {"base": _BASE, "large": _LARGE, "so400m": _SO400M}[size]
        for side in sides:
            own = {"model_type": "siglip_vision_model", "patch_size": patch, "image_size": side, **sizes}
            name = f"google/{family}-{size}-patch{patch}-{side}"
            found.append(HubNetwork(name, own, side, "apache-2.0"))
    return found


def _others() -> list[HubNetwork]:
    found = []
    for size, side, sizes in (("base", 224, _BASE), ("base", 384, _BASE), ("large", 224, _LARGE)):
        own = {"model_type": "beit", "patch_size": 16, "image_size": side, **sizes}
        own |= {"use_relative_position_bias": True, "use_mean_pooling": True}
        found.append(HubNetwork(f"microsoft/beit-{size}-patch16-{side}", own, side, "apache-2.0"))
    for size, width, depths, heads, window, side in (
        ("tiny", 96, [2, 2, 6, 2], [3, 6, 12, 24], 7, 224),
        ("small", 96, [2, 2, 18, 2], [3, 6, 12, 24], 7, 224),
        ("base", 128, [2, 2, 18, 2], [4, 8, 16, 32], 7, 224),
        ("base", 128, [2, 2, 18, 2], [4, 8, 16, 32], 12, 384),
        ("large", 192, [2, 2, 18, 2], [6, 12, 24, 48], 7, 224),
    ):
        own = {"model_type": "swin", "embed_dim": width, "depths": depths, "num_heads": heads}
        own |= {"window_size": window, "image_size": side}
        found.append(HubNetwork(f"microsoft/swin-{size}-patch4-window{window}-{side}", own, side))
    for size, depths, widths in (
        ("tiny", [3, 3, 9, 3], [96, 192, 384, 768]),
        ("small", [3, 3, 27, 3], [96, 192, 384, 768]),
        ("base", [3, 3, 27, 3], [128, 256, 512, 1024]),
        ("large", [3, 3, 27, 3], [192, 384, 768, 1536]),
    ):
        own = {"model_type": "convnext", "depths": depths, "hidden_sizes": widths}
        found.append(HubNetwork(f"facebook/convnext-{size}-224", own, 224, "apache-2.0"))
    for layers, kind, depths in (
        *((18, "basic", [2, 2, 2, 2]), (34, "basic", [3, 4, 6, 3]), (50, "bottleneck", [3, 4, 6, 3])),
        *((101, "bottleneck", [3, 4, 23, 3]), (152, "bottleneck", [3, 8, 36, 3])),
    ):
        widths = [64, 128, 256, 512] if kind == "basic" else [256, 512, 1024, 2048]
        own = {"model_type": "resnet", "layer_type": kind, "depths": depths, "hidden_sizes": widths}
        found.append(HubNetwork(f"microsoft/resnet-{layers}", own, 224, "apache-2.0"))
    return found


HUB_NETWORKS = [*_dinov2(), *_dinov3(), *_vit(), *_clip(), *_siglip(), *_others()]


def open_clip_rows(names: Iterable[str] | None = None) -> Iterator[Row]:
    """Yield the published weights of open_clip; the parameters are those of the image tower."""
    facts: dict[tuple[str, bool], tuple[int, int]] = {}
    for name in names or OpenClipSource().names():
        architecture = OpenClipArchitecture(name)
        for weights in architecture.published():
            key = name, architecture.uses_quick_gelu(weights)
            if key not in facts:
                with torch.device("meta"):
                    network = architecture.build_for(None, weights, pretrained_style=True)
                facts[key] = default_dim(architecture, weights, network), count_parameters(network)
            dim, parameters = facts[key]
            yield Row(
                name=f"{name}/{weights.name}",
                weights=weights.name,
                dim=str(dim),
                parameters=str(parameters),
                image_size=input_size(weights),
                licence=weights.licence or "",
                top1="",
                file=weights.hub_id if isinstance(weights, HuggingFacePretrained) else weights.filename,
            )


def detection_rows(names: Iterable[str] | None = None) -> Iterator[Row]:
    """Yield the published weights of torchvision's detectors."""
    return _rows_of(DetectorArchitecture, names or sorted(DetectionSource().names()))


SOURCES: dict[str, tuple[str, Callable[[], Iterator[Row]]]] = {
    "torchvision": ("torchvision", torchvision_rows),
    "timm": ("timm", timm_rows),
    "hf": ("transformers", hf_rows),
    "open_clip": ("open_clip_torch", open_clip_rows),
    "detection": ("torchvision", detection_rows),
}


def write_table(source: str) -> int:
    """Write the table of a source, and return how many rows it has."""
    package, rows = SOURCES[source]
    found = list(rows())
    TABLES.mkdir(exist_ok=True)
    with (TABLES / f"{source}.csv").open("w", encoding="utf-8", newline="") as file:
        file.write(f"# {package} {version(package)}\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows(found)
    return len(found)


if __name__ == "__main__":
    for source in sys.argv[1:] or SOURCES:
        print(f"{source}: {write_table(source)} rows", flush=True)
