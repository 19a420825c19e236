"""Write featx/backbones/tables/*.csv from the installed libraries: a row for each published weights.

python docs/write_backbone_tables.py [SOURCE ...]

Networks are built without memory for their values, to count their parameters. Licences are those that the
library itself states; where it states none, the field is empty.
"""

import csv
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from typing import Any

import torch

from featx.backbones.architectures import Architecture, Pretrained
from featx.backbones.catalogue import TABLES, Row
from featx.backbones.layers import cut
from featx.backbones.loading import meta_network
from featx.backbones.sources.timm import PACKAGED, TimmArchitecture, import_timm
from featx.backbones.sources.torchvision import TorchvisionArchitecture, TorchvisionSource


def count_parameters(network: Any) -> int:
    """Return the number of parameters of a network, with its classifier."""
    return sum(parameter.numel() for parameter in network.parameters())


def size_of(height: int, width: int) -> str:
    """Return an image size as it is written in a table."""
    return str(height) if height == width else f"{height}x{width}"


def torchvision_rows(names: Iterable[str] | None = None) -> Iterator[Row]:
    """Yield the published weights of torchvision's classification networks, the default of each first."""
    for name in names or sorted(TorchvisionSource().names()):
        architecture = TorchvisionArchitecture(name)
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
    crop = weights.preprocessing.crop if weights.preprocessing is not None else None
    return size_of(*crop) if crop else ""


def timm_rows(names: Iterable[str] | None = None) -> Iterator[Row]:
    """Yield the published weights of timm, by architecture, the default of each first."""
    timm = import_timm()
    from timm.models import get_arch_pretrained_cfgs

    for name in names or timm.list_models():
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


SOURCES: dict[str, tuple[str, Callable[[], Iterator[Row]]]] = {
    "torchvision": ("torchvision", torchvision_rows),
    "timm": ("timm", timm_rows),
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
