"""Group the layers of a network into blocks, from input to output, and tell transformers from CNNs.

The blocks of a CNN are its stages, or the children of its one long sequence. Those of a transformer (and of a
network built like one, such as ConvNeXt) are the repeated blocks, in whatever stages they stand: fine-tuning
gives each one a learning rate of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

# Each child of a container with one of these names is a block; any other container is one block.
_EXPANDED = {
    *("features", "classifier", "blocks", "trunk_output", "stages", "encoder", "layers", "network"),
    *("layer", "resblocks", "transformer", "trunk", "visual", "vision_model", "body", "backbone", "model"),
    *("audio_model", "audio_encoder"),
}

# Names under which implementations of attention hold their queries and keys.
_QUERIES_AND_KEYS = (
    *({"qkv"}, {"to_qkv"}, {"q", "k"}, {"q", "kv"}, {"to_q", "to_kv"}),
    *({"query", "key"}, {"q_proj", "k_proj"}, {"linear_q", "linear_k"}),
)

# Convolutions of audio networks that stand for positions.
_POSITIONS = "pos_conv_embed"


def is_transformer(network: nn.Module) -> bool:
    """Return whether a network has attention, or LayerNorm and no BatchNorm, as ConvNeXt and MLP-Mixer have.

    `network` is the whole network as its library builds it: a traced graph has lost the types of its layers.
    """
    modules = list(network.modules())
    if any(_has_attention(module) for module in modules):
        return True
    kinds = [type(module).__name__ for module in modules]
    has_layer_norm = any(
        isinstance(module, (nn.LayerNorm, nn.RMSNorm)) or "LayerNorm" in kind or "RMSNorm" in kind
        for module, kind in zip(modules, kinds, strict=True)
    )
    return has_layer_norm and not any(
        isinstance(module, _BatchNorm) or "BatchNorm" in kind
        for module, kind in zip(modules, kinds, strict=True)
    )


def _has_attention(module: nn.Module) -> bool:
    if isinstance(module, nn.MultiheadAttention):
        return True
    names = {name for name, _ in module.named_children()}
    return any(pair <= names for pair in _QUERIES_AND_KEYS)


def group_layers(module: nn.Module, ran: Sequence[str] | None = None) -> list[list[str]]:
    """Return the blocks of a CNN that have parameters, as lists of names of modules, in order.

    A convolution and the norm that follows it are one block. `ran` are the modules that run before the
    embedding is known, in order; the others are left out. A graph tells them itself.
    """
    return _group(module, _in_order(module, _units(module), ran), _is_norm)


def group_transformer(module: nn.Module, ran: Sequence[str] | None = None) -> list[list[str]]:
    """Return the blocks of a transformer that have parameters, as lists of names, in order.

    Names are those of modules, and of parameters that belong to no block (class token, position embedding,
    registers): these stand in the first block, beside the patch embedding. A norm belongs to the block before
    it. `ran` is as in `group_layers`.
    """
    units = _units(module, repeated=True)
    blocks = _group(module, _in_order(module, units, ran), _has_vectors_only)
    inside = tuple(f"{unit}." for unit in units)
    loose = [name for name, _ in module.named_parameters() if not name.startswith(inside)]
    if loose:
        blocks[:1] = [[*(blocks[0] if blocks else []), *loose]]
    return blocks


def add_tables(module: nn.Module, blocks: list[list[str]]) -> list[list[str]]:
    """Add tables of embeddings that are in no block to the first one, in place, and return the blocks.

    A network of texts or audio may read a table (of positions) without calling its module.
    """
    named = dict(module.named_modules(remove_duplicate=False))
    parts = [named[name] for block in blocks for name in block if name in named]
    grouped = {id(parameter) for part in parts for parameter in part.parameters()}
    for name, part in module.named_modules():
        if isinstance(part, nn.Embedding) and id(part.weight) not in grouped:
            blocks[:1] = [[*(blocks[0] if blocks else []), name]]
    return blocks


def join_stem(blocks: list[list[str]]) -> list[list[str]]:
    """Return the blocks of an audio network with all before its first layer as one.

    These are convolutions, also those that stand for positions.
    """
    numbered = (
        any(name.rpartition(".")[2].isdigit() and _POSITIONS not in name for name in block)
        for block in blocks
    )
    first = next((place for place, found in enumerate(numbered) if found), 0)
    stem = [name for block in blocks[:first] for name in block]
    return [*([stem] if stem else []), *blocks[first:]]


def _group(
    module: nn.Module, units: Sequence[str], belongs_to_previous: Callable[[nn.Module], bool]
) -> list[list[str]]:
    blocks: list[list[str]] = []
    for name in units:
        if blocks and belongs_to_previous(module.get_submodule(name)):
            blocks[-1].append(name)
        else:
            blocks.append([name])
    return blocks


def _units(module: nn.Module, prefix: str = "", *, repeated: bool = False) -> list[str]:
    """Return the modules that are blocks or parts of one; `repeated` looks for blocks inside of stages."""
    units = []
    for name, child in module.named_children():
        if next(child.parameters(), None) is None:
            continue
        named = name in _EXPANDED and next(child.children(), None) is not None
        if named or (repeated and _is_sequence(child)):
            units += _units(child, f"{prefix}{name}.", repeated=repeated)
        else:
            units.append(prefix + name)
    return units


def _is_sequence(module: nn.Module) -> bool:
    """Return whether a module is a sequence of blocks, or a stage that holds one."""
    if _is_numbered(module):
        return True
    return any(name in _EXPANDED and _is_numbered(child) for name, child in module.named_children())


def _is_numbered(module: nn.Module) -> bool:
    """Return whether all children are numbered, and consist of layers rather than being layers."""
    children = [child for child in module.named_children() if next(child[1].parameters(), None) is not None]
    return bool(children) and all(
        name.isdigit() and next(child.children(), None) is not None for name, child in children
    )


def _in_order(module: nn.Module, units: Sequence[str], ran: Sequence[str] | None) -> list[str]:
    """Return units in the order in which they first run; with `ran`, only those that do."""
    order = _execution_order(module) if ran is None else ran
    place = {unit: _first_use(unit, order) for unit in units}
    return sorted((unit for unit in units if ran is None or place[unit] < len(ran)), key=place.__getitem__)


def _execution_order(module: nn.Module) -> list[str]:
    if isinstance(module, fx.GraphModule):
        return [str(node.target) for node in module.graph.nodes if node.op in ("call_module", "get_attr")]
    return [name for name, _ in module.named_modules()]


def _first_use(unit: str, order: Sequence[str]) -> int:
    for position, target in enumerate(order):
        if target == unit or target.startswith(f"{unit}."):
            return position
    return len(order)


def _is_norm(module: nn.Module) -> bool:
    # timm's norms hold an activation, so a norm may have children; a Conv2dNormActivation has no own weight.
    return "norm" in type(module).__name__.lower() and "weight" in module._parameters


def _has_vectors_only(module: nn.Module) -> bool:
    # A norm, or a scale of each channel; tracing has taken its type away.
    return all(parameter.ndim < 2 for parameter in module.parameters())
