"""Build networks with values: those of a checkpoint, or random ones drawn from a seed."""

from __future__ import annotations

import copy
import functools
import hashlib
import inspect
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from featx.backbones.checkpoint import Checkpoint
from featx.errors import WeightsError, as_one_error
from featx.forks import fresh_in_child, uninterrupted

if TYPE_CHECKING:
    from featx.backbones.architectures import Architecture, Pretrained
    from featx.backbones.network_input import NetworkInput

_Function = TypeVar("_Function", bound=Callable[..., Any])
_building = fresh_in_child(threading.RLock())

#: A buffer of BatchNorm that is never read in eval mode, and missing in old files.
_COUNTER = "num_batches_tracked"


def one_at_a_time(function: _Function) -> _Function:
    """Let only one thread at a time run any function so decorated, and let nobody fork meanwhile.

    Building a network is not thread-safe: torch draws from one random state and, while it traces a network,
    routes the calls of all modules, in every thread, through the tracer.
    """

    @functools.wraps(function)
    def alone(*args: Any, **kwargs: Any) -> Any:
        with uninterrupted(), _building:
            return function(*args, **kwargs)

    return alone  # type: ignore[return-value]


class ThreadLocalTracing:
    """Mixin for a `torch.fx.Tracer` that keeps what other threads compute out of the trace.

    No other thread may run the network that is traced: trace a copy, see `copy_to_meta`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._thread = threading.get_ident()

    def create_args_for_root(self, *args: Any, **kwargs: Any) -> Any:
        """Trace only the inputs, and clear torch's flag that a trace is going on.

        Optional arguments, such as masks, keep their defaults: a traced one is never None, and takes another
        path. The flag is the process's, and a network that another thread has compiled refuses to run while
        it is set.
        """
        if hasattr(fx._symbolic_trace, "_is_fx_tracing_flag"):
            fx._symbolic_trace._is_fx_tracing_flag = False
        function, traced = super().create_args_for_root(*args, **kwargs)  # type: ignore[misc]
        parameters = list(inspect.signature(self.root.forward).parameters.values())  # type: ignore[attr-defined]
        if any(parameter.kind is not parameter.POSITIONAL_OR_KEYWORD for parameter in parameters):
            return function, traced
        count = 1 + sum(parameter.default is parameter.empty for parameter in parameters)
        for optional in traced[count:]:
            self.graph.erase_node(optional.node)  # type: ignore[attr-defined]
        return function, traced[:count]

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """Return the node of the call; in another thread, its result."""
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)  # type: ignore[misc]


@one_at_a_time
def random_network(architecture: Architecture, seed: int, inputs: NetworkInput | None = None) -> nn.Module:
    """Return a network with values drawn from `seed`, for `inputs` or those of the published weights.

    The caller's random state stays as it is.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return architecture.build_for(inputs, None, pretrained_style=False)


class _SkipInitialValues(TorchFunctionMode):
    """Skip drawing initial values, which takes most of the time that it takes to build a network.

    One value that could have been drawn is taken for all: torch draws a truncated normal distribution again
    until every value is within its bounds, which what was in memory may never be.
    """

    #: Functions that draw, and the name of the argument (the first) with a value that they could draw.
    _DRAWING: ClassVar[dict[Any, str]] = {torch.Tensor.normal_: "mean", torch.Tensor.uniform_: "from"}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in self._DRAWING:
            return args[0].fill_(args[1] if len(args) > 1 else kwargs.get(self._DRAWING[func], 0.0))
        return args[0] if func is torch.Tensor.erfinv_ else func(*args, **kwargs)


@one_at_a_time
def uninitialised_network(
    architecture: Architecture, pretrained: Pretrained | None, inputs: NetworkInput | None = None
) -> nn.Module:
    """Return a network for `fill`, which holds whatever was in memory."""
    with torch.random.fork_rng(devices=[]), _SkipInitialValues():
        return architecture.build_for(inputs, pretrained, pretrained_style=True)


class _EmptyOnMeta(TorchFunctionMode):
    """Create new parameters without memory; other tensors have values, with which constructors compute."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


@one_at_a_time
def build_on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """Return what `build` builds, on the meta device: layers and shapes without values, at almost no cost."""
    try:
        with torch.random.fork_rng(devices=[]), _EmptyOnMeta():
            network = build()
    except (RuntimeError, NotImplementedError):  # its constructor computes with its own parameters
        with torch.random.fork_rng(devices=[]), _SkipInitialValues():
            network = build()
    return network.to("meta")


def meta_network(
    architecture: Architecture,
    pretrained: Pretrained | None,
    inputs: NetworkInput | None = None,
    *,
    pretrained_style: bool,
) -> nn.Module:
    """Return the network on the meta device; see `build_on_meta`."""
    return build_on_meta(
        lambda: architecture.build_for(inputs, pretrained, pretrained_style=pretrained_style)
    )


def copy_to_meta(module: nn.Module) -> nn.Module:
    """Copy a network to the meta device: its layers and shapes, without its numbers.

    The copy serves what would disturb threads that run `module`, such as tracing.
    """
    tensors = (*module.parameters(), *module.buffers())
    empty: dict[int, Any] = {
        id(tensor): nn.Parameter(tensor.detach().to("meta"), requires_grad=tensor.requires_grad)
        if isinstance(tensor, nn.Parameter)
        else tensor.to("meta")
        for tensor in tensors
    }
    return copy.deepcopy(module, empty)


def lay_channels_last(module: nn.Module) -> nn.Module:
    """Lay tensors with four axes out as convolutions run them fastest, in place.

    ``Module.to(memory_format=torch.channels_last)`` fails where a network has a buffer with five axes, such
    as the attention mask of timm's Swin.
    """
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    return module


def values_sha256(network: nn.Module) -> str:
    """Return the sha256 of the names, dtypes, shapes and values of a network's tensors."""
    digest = hashlib.sha256()
    for key, value in network.state_dict().items():
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(tensor_bytes(value))
    return digest.hexdigest()


def tensors_with_values(network: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by name, without counters, which no prediction depends on."""
    return {key: value for key, value in network.state_dict().items() if not key.endswith(_COUNTER)}


def tensor_bytes(tensor: Tensor) -> bytes:
    """Return the values of a tensor in memory order of C; of any dtype, also of those that NumPy lacks."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes()


def fill(
    network: nn.Module,
    checkpoint: Checkpoint,
    architecture: Architecture,
    *,
    pretrained: Pretrained | None = None,
    needed: Collection[str] | None = None,
    behind: tuple[str, ...] = (),
) -> None:
    """Copy the tensors of a checkpoint into a network of that architecture, in place.

    `needed` are the tensors that an embedding needs, by default all. Others may be missing or have another
    shape, such as the classifier of a network that was fine-tuned to other classes; `behind` are prefixes of
    tensors behind the layer, of which the file may hold any. A `WeightsError` names needed tensors that are
    missing or have another shape, and tensors that the network does not know.
    """
    own = network.state_dict()
    needed = own.keys() if needed is None else needed
    label = f"{checkpoint.path} does not fit {architecture.name}"
    given = architecture.convert(checkpoint.state_dict(), network, label)
    if pretrained is not None and pretrained.in_order:
        given = _in_order(own, given, label)
    missing = [key for key in own if key in needed and key not in given and not key.endswith(_COUNTER)]
    if missing:
        raise WeightsError(f"{label}: it lacks {_first(missing)}; is it of another architecture?")
    free = behind + architecture.extras
    strange = [key for key in given if key not in own and not key.startswith(free)]
    if strange:
        raise WeightsError(f"{label}: it also holds {_first(strange)}; is it of another architecture?")
    fitting: OrderedDict[str, Tensor] = OrderedDict()
    for key, value in given.items():
        if key not in own:
            continue
        if value.is_floating_point() != own[key].is_floating_point() and not key.endswith(_COUNTER):
            raise WeightsError(f"{label}: {key} holds {value.dtype} and should hold {own[key].dtype}")
        if value.shape == own[key].shape:
            fitting[key] = value
        elif key in needed:
            raise WeightsError(
                f"{label}: {key} has shape {tuple(value.shape)} and should have {tuple(own[key].shape)}; "
                "is it of another architecture?"
            )
    # MNASNet asks for the version of its layout, which only a network's own state dict carries.
    fitting._metadata = own._metadata  # type: ignore[attr-defined]
    with as_one_error(lambda reason: WeightsError(f"{label} ({reason})")):
        network.load_state_dict(fitting, strict=False)
    architecture.check_values(network)


def _in_order(own: dict[str, Tensor], given: dict[str, Tensor], label: str) -> dict[str, Tensor]:
    """Give the tensors of a file the names that the network gives them, in order."""
    names = [key for key in own if not key.endswith(_COUNTER)]
    values = [value for key, value in given.items() if not key.endswith(_COUNTER)]
    if len(names) != len(values):
        raise WeightsError(f"{label}: it holds {len(values)} tensors where the network has {len(names)}")
    return dict(zip(names, values, strict=True))


def _first(keys: Iterable[str], n: int = 3) -> str:
    keys = list(keys)
    rest = f" and {len(keys) - n} more" if len(keys) > n else ""
    return ", ".join(keys[:n]) + rest
