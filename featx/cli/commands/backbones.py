"""``featx backbones``: list the backbones, or the layers of one."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

import featx
from featx.cli.flags import add_trust
from featx.errors import InputError
from featx.terminal import say

HELP = "list the backbones"


def add(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.description = (
        "Lists backbones: dimension of the embedding, parameters, published ImageNet top-1, and whether the "
        "weights are on this machine."
    )
    parser.add_argument("pattern", nargs="?", metavar="PATTERN", help="only names that contain this")
    parser.add_argument(
        "--layers", action="store_true", help="the layers of the one backbone named PATTERN, with dimensions"
    )
    add_trust(parser)


def run(args: Namespace) -> None:
    """Print one line for each backbone."""
    from featx.backbones.sources import list_sources

    if args.layers:
        _list_layers(args.pattern, trust_code=args.trust_code)
        return
    rows = featx.list_backbones(args.pattern)
    say(f"{'name':<24}{'dim':>6}{'params':>9}{'top-1':>8}  weights")
    for row in rows:
        top1 = "" if row.top1 is None else f"{row.top1:.1f}"
        here = "on this machine" if row.weights_available else ""
        numbers = f"{row.dim:>6}{row.parameters / 1e6:>8.1f}M{top1:>8}"
        say(f"{row.name:<24}{numbers}  {row.weights_name} {here}".rstrip())
    for source in list_sources():
        if source.hint:
            say(source.hint)


def _list_layers(name: str | None, *, trust_code: bool) -> None:
    from featx.backbones import list_layers
    from featx.backbones.sources import find_architecture

    if name is None:
        raise InputError("--layers lists the layers of one backbone: featx backbones NAME --layers")
    # Layers are the same whatever the weights, which need not be on this machine; a graph file holds its own.
    weights = None if find_architecture(name)[1].in_torch else "default"
    say(f"{'depth':>5}  {'layer':<32}{'dim':>6}")
    for layer in list_layers(name, weights=weights, trust_code=trust_code):
        say(f"{layer.depth:>5}  {layer.name:<32}{layer.dim:>6}{'  default' if layer.is_default else ''}")
