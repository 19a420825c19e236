"""``featx backbones``: search the backbones of all sources, or list the layers of one."""

from __future__ import annotations

import dataclasses
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, NamedTuple

from featx.cli.flags import add_trust
from featx.errors import InputError
from featx.terminal import json_line, printable, say, terminal_width

if TYPE_CHECKING:
    from featx.backbones.catalogue import BackboneInfo

HELP = "search the published backbones"


def add(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.description = (
        "Searches the backbones of all sources: dimension of the embedding, parameters, input size, "
        "published ImageNet top-1, licence of the weights, and whether they are on this machine. Without a "
        "word, lists those that are on this machine, and the sources."
    )
    parser.add_argument(
        "words", nargs="*", metavar="WORD", help="only names with all of these (dinov2 small, 'timm:resnet*')"
    )
    parser.add_argument("--source", metavar="S", help="only those of a source, such as timm")
    parser.add_argument("--here", action="store_true", help="only those whose weights are on this machine")
    parser.add_argument(
        "--layers", action="store_true", help="list the layers of the one backbone named WORD"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_trust(parser)


def run(args: Namespace) -> None:
    """Print one line for each published weights of a backbone."""
    from featx.backbones.catalogue import require_source, search_backbones

    if args.layers:
        _list_layers(args.words, trust_code=args.trust_code)
        return
    source = require_source(args.source)
    infos = search_backbones(args.words, source)
    overview = not (args.words or source or args.here or args.json)
    shown = [info for info in infos if info.weights_available] if args.here or overview else infos
    if args.json:
        say(json_line([dataclasses.asdict(info) for info in shown]))
        return
    if shown:
        _print_table(shown)
    if overview:
        _print_overview(len(shown))
    else:
        _print_advice(args, infos, shown)
    _print_hints()


class _Column(NamedTuple):
    title: str
    cells: list[str]
    #: Columns with the largest number are left out first where the terminal is narrow.
    rank: int
    right: bool = False

    @property
    def width(self) -> int:
        return max(map(len, [self.title, *self.cells]))

    def padded(self, cell: str) -> str:
        return cell.rjust(self.width) if self.right else cell.ljust(self.width)


def _print_table(infos: list[BackboneInfo]) -> None:
    """Print aligned columns, as many as the terminal is wide enough for."""
    columns = [
        _Column("name", [printable(info.name) for info in infos], 0),
        _Column("dim", [str(info.dim) for info in infos], 1, right=True),
        _Column("params", [_millions(info.parameters) for info in infos], 3, right=True),
        _Column("input", [_size(info.image_size) for info in infos], 4, right=True),
        _Column("top-1", ["" if i.top1 is None else f"{i.top1:.1f}" for i in infos], 6, right=True),
        _Column("licence", [printable(info.licence or "") for info in infos], 5),
        _Column("weights", [_weights(info) for info in infos], 2),
    ]
    columns = [column for column in columns if any(column.cells)]
    width = terminal_width()
    while width is not None and len(columns) > 1 and sum(c.width + 2 for c in columns) - 2 > width:
        columns.remove(max(columns, key=lambda column: column.rank))
    for cells in zip(*([c.title, *c.cells] for c in columns), strict=True):
        say("  ".join(c.padded(cell) for c, cell in zip(columns, cells, strict=True)).rstrip())


def _print_overview(n_here: int) -> None:
    """Print how many weights are here, and a line on each source."""
    from featx.backbones.catalogue import LIBRARIES, UNLISTED, count_weights, is_installed

    counts = count_weights()
    total = sum(weights for _, weights in counts.values())
    say(f"On this machine: {n_here} of {total:,} weights; others are downloaded when they are first used.\n")
    width = max(map(len, counts), default=0)
    for source, (networks, weights) in counts.items():
        library = LIBRARIES.get(source)
        search = f"featx backbones --source {source}"
        if library is not None:
            search = f"featx backbones {library.example}"
        line = f"{printable(source):<{width}}  {networks:>5,} networks {weights:>6,} weights   {search}"
        say(line if library is None or is_installed(source) else f"{line}   ({_install(library.extra)})")
    say("")
    width = max(map(len, UNLISTED))
    for name, what in UNLISTED.items():
        say(f"{name:<{width}}  {what}")


def _print_advice(args: Namespace, infos: list[BackboneInfo], shown: list[BackboneInfo]) -> None:
    """Raise `InputError` with what to try where nothing is found; print what to install for what is found."""
    from featx.backbones.catalogue import LIBRARIES, is_installed, nearest_words

    if not infos:
        near = nearest_words(args.words)
        hint = f"; near: {', '.join(near)}" if near else ""
        raise InputError(f"no backbone has {' and '.join(args.words) or 'this name'}{hint}")
    if not shown:
        say(f"{len(infos)} found, none with its weights on this machine: leave out --here to see them")
    for source in dict.fromkeys(info.source for info in shown):
        if not is_installed(source):
            say(f"{source} is not installed: {_install(LIBRARIES[source].extra)}")


def _print_hints() -> None:
    """Print what sources of other packages say of themselves."""
    from featx.backbones.catalogue import has_installed_sources

    if has_installed_sources():
        from featx.backbones.sources import load_installed

        for source in load_installed():
            if source.hint:
                say(source.hint)


def _install(extra: str) -> str:
    return f"pip install 'featx[{extra}]'"


def _millions(n: int) -> str:
    return f"{n / 1e6:.1f}M"


def _size(size: int | tuple[int, int] | None) -> str:
    return "x".join(map(str, size)) if isinstance(size, tuple) else str(size or "")


def _weights(info: BackboneInfo) -> str:
    """Return the name of the weights, unless that of the backbone says it, and whether they are here."""
    said = info.name.endswith((f".{info.weights_name}", f"/{info.weights_name}")) or info.source == "hf"
    name = "" if said else info.weights_name
    return " ".join(filter(None, [printable(name), "on this machine" if info.weights_available else ""]))


def _list_layers(words: list[str], *, trust_code: bool) -> None:
    from featx.backbones import list_layers
    from featx.backbones.sources import find_architecture

    if len(words) != 1:
        raise InputError("--layers lists the layers of one backbone: featx backbones NAME --layers")
    # Layers are the same whatever the weights, which need not be on this machine. Graph files and entries of
    # torch.hub have their own.
    _, architecture, _ = find_architecture(words[0])
    weights = None if architecture.in_torch and not architecture.runs_code else "default"
    say(f"{'depth':>5}  {'layer':<32}{'dim':>6}")
    for layer in list_layers(words[0], weights=weights, trust_code=trust_code):
        say(f"{layer.depth:>5}  {layer.name:<32}{layer.dim:>6}{'  default' if layer.is_default else ''}")
