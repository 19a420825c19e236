"""Where every network of timm and torchvision is cut by default, and whether that is the library's embedding.

``OMP_NUM_THREADS=1 python tests/benchmarks/check_networks.py timm -o networks.csv`` cuts each architecture on
the meta device, without values, and writes one line for each: the default layer, its dimension, the one that
the library states (`num_features` or `head_hidden_size`; for torchvision, the input of the classifier),
whether it was traced or is read by hooks, and why a network is refused. A second run goes on where the first
stopped; ``--pattern "vit_*"`` takes some, ``--seconds 100`` stops after as many.

``--values`` builds the smallest network of each family (a module of timm) with random weights, and compares
the row of one image with ``forward_head(forward_features(x), pre_logits=True)``, averaged over positions.
Expected: differences of at most 1e-5 of the largest value.

``--summary`` counts what the file holds.
"""

from __future__ import annotations

import argparse
import collections
import csv
import fnmatch
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from featx.backbones.image_input import ImageInput
from featx.backbones.layers import cut
from featx.backbones.loading import meta_network, random_network
from featx.backbones.pooling import usual_channels
from featx.backbones.sources.timm import TimmSource
from featx.backbones.sources.torchvision import TorchvisionSource
from featx.errors import FeatxError
from featx.inputs.image.preprocess import Preprocessing

COLUMNS = ("name", "family", "layer", "pooling", "dim", "stated", "read", "parameters", "seconds", "refused")
SOURCES = {"timm": TimmSource(), "torchvision": TorchvisionSource()}
LIMIT = 1e-5
#: Most parameters of a network that ``--values`` builds.
MOST = 700_000_000


def main() -> None:
    """Check the networks that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", choices=SOURCES)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--pattern", default="*")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--values", action="store_true")
    parser.add_argument("--summary", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    until = time.monotonic() + args.seconds
    if args.values:
        compare_values(args.source, args.output, args.pattern, until)
    elif args.summary:
        print_summary(args.output)
    else:
        cut_all(args.source, args.output, args.pattern, until)


def cut_all(source: str, output: Path, pattern: str, until: float) -> None:
    """Append a line for each network that the file does not have yet."""
    done = {line["name"] for line in read(output)}
    names = [name for name in SOURCES[source].names() if fnmatch.fnmatchcase(name, pattern)]
    for name in names:
        if name not in done and time.monotonic() < until:
            append(output, COLUMNS, check(source, name))


def check(source: str, name: str) -> dict[str, Any]:
    """Cut one network by default, and return what was found."""
    began = time.monotonic()
    found: dict[str, Any] = {"name": name}
    try:
        architecture = SOURCES[source].architecture(name)
        inputs = inputs_of(architecture)
        network = meta_network(architecture, None, inputs, pretrained_style=True)
        found["family"] = type(network).__module__.rpartition(".")[2]
        found["parameters"] = sum(parameter.numel() for parameter in network.parameters())
        stated = stated_dims(network)
        part = cut(network, inputs, name=name, rules=architecture.rules)
        found |= {"layer": part.tap.layer, "pooling": part.tap.pooling, "dim": part.dim}
        found["stated"] = part.dim if part.dim in stated else min(stated, default="")
        found["read"] = "graph" if isinstance(part.module, fx.GraphModule) else "hooks"
    except FeatxError as error:
        found["refused"] = str(error)
    except Exception as error:  # a fault of featx: shown as such
        found["refused"] = f"FAULT {type(error).__name__}: {error}".partition("\n")[0]
    found["seconds"] = f"{time.monotonic() - began:.1f}"
    return found


def inputs_of(architecture: Any) -> ImageInput:
    """Return the inputs of a network, also where its preprocessing is not a crop of an image."""
    prepare = architecture.preprocessing()
    return ImageInput(prepare or Preprocessing(resize=(224, 224), crop=None))


def stated_dims(network: Any) -> set[int]:
    """Return the lengths of the embedding that the library states, before the network is cut."""
    if hasattr(network, "forward_head"):
        return {
            getattr(network, key) for key in ("num_features", "head_hidden_size") if hasattr(network, key)
        }
    return {classifier_of(network)[1]}


def classifier_of(network: nn.Module) -> tuple[nn.Module, int]:
    """Return the last linear layer or convolution of a network, and the length of its input."""
    last: Any = [module for module in network.modules() if isinstance(module, (nn.Linear, nn.Conv2d))][-1]
    return last, last.in_features if isinstance(last, nn.Linear) else last.in_channels


def compare_values(source: str, output: Path, pattern: str, until: float) -> None:
    """Compare the rows of the smallest network of each family that is cut, and print the differences."""
    families = collections.defaultdict(list)
    for line in read(output):
        if not line["refused"] and fnmatch.fnmatchcase(line["name"], pattern):
            families[line["family"]].append((int(line["parameters"]), line["name"]))
    compared = output.with_suffix(".values.csv")
    done = {line["family"] for line in read(compared)}
    for family, networks in sorted(families.items()):
        if family in done or time.monotonic() > until:
            continue
        parameters, name = min(networks)
        found: dict[str, Any] = {"family": family, "name": name, "parameters": parameters}
        if parameters <= MOST:
            found["difference"] = f"{difference(source, name):.2g}"
        print(*found.values(), flush=True)
        append(compared, ("family", "name", "parameters", "difference"), found)


def difference(source: str, name: str) -> float:
    """Return the largest difference of one row from the library's own, relative to its largest value."""
    architecture = SOURCES[source].architecture(name)
    inputs = inputs_of(architecture)
    network = random_network(architecture, 0, inputs).eval()
    torch.manual_seed(0)
    images = torch.randn_like(inputs.example(1))
    with torch.inference_mode():
        expected = own_embedding(network, images)
        found = cut(network, inputs, name=name, rules=architecture.rules).module(images)
    return float((found - expected).abs().max() / expected.abs().max())


def own_embedding(network: Any, images: Tensor) -> Tensor:
    """Return what the library gives: timm by its functions, torchvision at the input of the classifier."""
    if hasattr(network, "forward_head"):
        try:
            out = network.forward_head(network.forward_features(images), pre_logits=True)
        except (NotImplementedError, TypeError):  # an encoder has no head
            out = network(images)
    else:
        seen: list[Tensor] = []
        hook = classifier_of(network)[0].register_forward_pre_hook(
            lambda module, x: seen.append(x[0].clone())
        )
        network(images)
        hook.remove()
        out = seen[0]
    channels = usual_channels(out.dim())
    if out.shape[channels] != getattr(network, "num_features", out.shape[channels]):
        channels = out.dim() - 1
    positions = [axis for axis in range(1, out.dim()) if axis != channels]
    return out.mean(positions) if out.dim() > 2 else out


def print_summary(output: Path) -> None:
    """Count the networks, how they are read, and print those that are refused or whose dimension differs."""
    lines = read(output)
    cut_ones = [line for line in lines if not line["refused"]]
    differ = [line for line in cut_ones if line["dim"] != line["stated"]]
    print(f"{len(lines)} networks, {len(cut_ones)} cut, {len(lines) - len(cut_ones)} refused")
    print("dimension as stated:", len(cut_ones) - len(differ))
    for key in ("read", "pooling"):
        print(f"{key}:", dict(collections.Counter(line[key] for line in cut_ones)))
    print("layer 'embedding':", sum(line["layer"] == "embedding" for line in cut_ones))
    for line in differ:
        print(f"differs: {line['name']} {line['layer']} {line['dim']}, stated {line['stated']}")
    for line in lines:
        if line["refused"]:
            print(f"refused: {line['refused']}")
    compared = read(output.with_suffix(".values.csv"))
    if compared:
        known = [line for line in compared if line["difference"]]
        right = sum(float(line["difference"]) <= LIMIT for line in known)
        print(f"values: {len(compared)} families, {len(known)} compared, {right} within {LIMIT:g}")


def read(path: Path) -> list[dict[str, str]]:
    """Return the lines of a file; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def append(path: Path, columns: tuple[str, ...], line: dict[str, Any]) -> None:
    """Append one line to a file."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        if new:
            writer.writeheader()
        writer.writerow(line)


if __name__ == "__main__":
    main()
