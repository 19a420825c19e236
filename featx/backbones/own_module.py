"""A network of the user's own, given as a `torch.nn.Module`: `load_module`.

The backbone holds a copy of the module, so that later changes of the module change no embedding. Without a
name of a file or of published weights, its identity is what it computes: the sha256 of its values, and that
of its graph or code (`featx.backbones.module_identity`). The label that users give it is not part of it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from featx.backbones.architectures import Architecture, Pretrained
from featx.backbones.backbone import Backbone
from featx.backbones.hooks import EMBEDDING
from featx.backbones.image_input import ImageInput
from featx.backbones.layer_rules import LayerRules
from featx.backbones.layers import cut
from featx.backbones.loading import one_at_a_time, values_sha256
from featx.backbones.module_identity import graph_sha256
from featx.backbones.module_pickling import packed
from featx.backbones.pooling import POOLS, Tap
from featx.backbones.sources import timm, torchvision
from featx.backbones.tracing import DROPOUTS, output_of, trace
from featx.errors import InputError, reason_of
from featx.inputs.image.preprocess import Preprocessing

#: Name of the source in identities, and of the weights.
SOURCE = "module"

#: Modules that turn class scores into class scores.
_AFTER_CLASSIFIER = (*DROPOUTS, nn.Flatten, nn.Softmax, nn.LogSoftmax, nn.Sigmoid)
#: What follows a convolution that is the classifier, as in a squeezenet.
_AFTER_CONVOLUTION = (*_AFTER_CLASSIFIER, nn.ReLU, nn.AdaptiveAvgPool2d)
_FUNCTIONS = ("flatten", "softmax", "log_softmax", "sigmoid", "dropout", "squeeze")

#: Parameters and buffers of lazy modules before their first run.
_UNINITIALISED = (nn.parameter.UninitializedParameter, nn.parameter.UninitializedBuffer)

#: Largest difference of two runs, relative to the largest number: rounding of sums in another order.
_TOLERANCE = 1e-3


class ModuleLayerRules(LayerRules):
    """Rules for a module whose library is not known.

    Its default layer is what it returns. Only where its last layer with weights is in a child named as
    classifiers are (`heads`), and the module returns the output of that layer, the input of that layer is the
    default.

    Parameters
    ----------
    has_head : bool
        Whether the module ends in a classifier.
    traceable : bool
        Whether the traced graph computes what the module does.
    size : tuple of int
        Height and width of the images.
    """

    states_channels = False

    def __init__(self, has_head: bool, traceable: bool, size: tuple[int, int]):
        self.has_head, self.traceable, self.size = has_head, traceable, size

    def listing(self, name: str) -> str:
        """Say how the layers are listed."""
        return "featx.backbones.list_layers"

    def has_classifier(self, network: nn.Module) -> bool:
        """Return whether the module ends in a classifier."""
        return self.has_head

    def require_embedding(
        self, network: nn.Module, graph: fx.Graph, names: dict[fx.Node, str], node: fx.Node, name: str
    ) -> None:
        """Refuse the input of the last layer where that layer is no classifier."""
        self.require_untraced_embedding(network, "", name)

    def require_untraced_embedding(self, network: nn.Module, head: str, name: str) -> None:
        """Refuse the input of the last layer where that layer is no classifier."""
        if not self.has_head:
            raise InputError(f"{name}: it does not end in a classifier")

    def stated_dim(self, network: nn.Module, classifier: fx.Node | None) -> int | None:
        """Return None: nothing is stated."""
        return None

    def has_embedding(self, network: nn.Module) -> bool:
        """Return True: what the module returns is an embedding."""
        return True

    def embed(self, network: Any, x: Tensor) -> Tensor:
        """Return what the module returns."""
        out: Tensor = network(x)
        return out

    def prefix_tokens(self, network: Any) -> int:
        """Return the number of class and register tokens that the module holds as parameters."""
        for name, _ in network.named_parameters():
            parent, _, last = name.rpartition(".")
            if last in ("cls_token", "class_token", "class_embedding"):
                registers: Any = getattr(network.get_submodule(parent), "register_tokens", None)
                known = isinstance(registers, Tensor) and registers.dim() == 3
                return 1 + (int(registers.shape[1]) if known else 0)
        return 0

    def stated_tokens(self, network: Any) -> tuple[int, ...]:
        """Return the number of patches, and of patches with prefix tokens."""
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                (high, wide), stride = self.size, module.stride
                if module.kernel_size != stride or max(module.kernel_size) < 2:
                    return ()
                patches = (high // int(stride[0])) * (wide // int(stride[1]))
                return tuple(sorted({patches, patches + self.prefix_tokens(network)}))
        return ()


class Enclosed(nn.Module):
    """A module inside another, for names of layers that featx gives a meaning of their own."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Any:
        """Return what the module returns."""
        return self.network(x)


class ModuleArchitecture(Architecture):
    """A module of the user's, with its values; `build` copies it."""

    source = SOURCE

    def __init__(self, network: nn.Module, kind: str, rules: LayerRules, graph: str):
        super().__init__(kind)
        self._network, self._graph = network, graph
        self.rules = rules  # type: ignore[misc]  # of one network, where a library has rules for all

    @property
    def identity(self) -> dict[str, str]:
        """The sha256 of the graph or code."""
        return {"graph_sha256": self._graph}

    def build(self, pretrained: Pretrained | None, *, pretrained_style: bool) -> nn.Module:
        """Return a copy of the module, in eval mode."""
        return copy.deepcopy(self._network)

    def __deepcopy__(self, memo: dict[int, Any]) -> ModuleArchitecture:
        return self  # nothing changes it

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_network": packed(self._network)}


def own_name(module: nn.Module) -> str:
    """Return the name of a module's class, without the wrappers of parallel and compiled modules."""
    return type(_unwrapped(module)).__name__


def module_key(module: nn.Module) -> tuple[str, str, str]:
    """Return what tells modules apart in a process: the name of the class, and hashes of values and code."""
    original = _unwrapped(module)
    try:
        return own_name(module), values_sha256(original), graph_sha256(original, None)
    except InputError as error:
        raise InputError(f"{own_name(module)}: {error}") from error


@one_at_a_time
def load_module(
    module: nn.Module,
    *,
    layer: str | None = None,
    pooling: str | None = None,
    preprocessing: Any = None,
    image_size: int | None = None,
    name: str | None = None,
) -> Backbone:
    """Load a backbone from a module of the user's, which is neither changed nor moved.

    Parameters
    ----------
    module : torch.nn.Module
        From images (n, 3, h, w) to a tensor.
    layer, pooling, preprocessing, image_size, name
        As for `featx.backbones.load_backbone`.

    Raises
    ------
    InputError
        The module cannot be copied, does not run on such images, returns no row of numbers for each, or gives
        an image another row in the next run or in another batch.
    """
    original = _unwrapped(module)
    label = own_name(module) if name is None else name
    prepare = given_preprocessing(preprocessing, label) or _carried_preprocessing(original, label)
    if image_size is not None:
        prepare = prepare.with_size(image_size)
    inputs = ImageInput(prepare)
    network = copy_module(original, label)
    sha256 = values_sha256(network)
    checks = _Checks(_with_same_parameters(network), inputs, label)
    graph = checks.graph()
    rules: LayerRules
    if type(original).__module__.partition(".")[0] == "timm":
        rules = timm.TimmLayerRules()
        rules.traceable = graph is not None
    else:
        has_head = checks.ends_in_classifier(graph)
        if layer in (None, EMBEDDING) and not has_head:
            checks.require_tensor()
        rules = ModuleLayerRules(has_head, graph is not None, prepare.size)
    try:
        identity = graph_sha256(checks.network, graph)
    except InputError as error:
        raise InputError(f"{label}: {error}") from error
    if hasattr(network, EMBEDDING) and not isinstance(rules, timm.TimmLayerRules):
        network = Enclosed(network).eval()
    architecture = ModuleArchitecture(network, type(original).__name__, rules, identity)
    part = cut(
        _with_same_parameters(network),
        inputs,
        name=label,
        layer=layer,
        pooling=pooling,
        rules=rules,
    )
    returned = part.tap.layer == EMBEDDING and isinstance(rules, ModuleLayerRules)
    checks.require_stable_rows(_with_same_parameters(part.module), part.tap, returned)
    backbone = Backbone(
        name=label,
        weights_name=SOURCE,
        weights_sha256=sha256,
        tap=part.tap,
        dim=part.dim,
        preprocessing=prepare,
        architecture=architecture,
    )
    backbone.keep(part.module)
    return backbone


def copy_module(module: nn.Module, label: str) -> nn.Module:
    """Return a copy of a module on the CPU, in fp32 and eval mode; the module stays as it is."""
    memo: dict[int, Any] = {}
    for tensor in _tensors(module):
        if isinstance(tensor, _UNINITIALISED):
            raise InputError(f"{label}: it has parameters without a shape yet; run it once on images first")
        if tensor.is_meta:
            raise InputError(f"{label}: its parameters are on the meta device; load their values first")
        copied = tensor.detach().to("cpu", copy=True)
        memo[id(tensor)] = nn.Parameter(copied, False) if isinstance(tensor, nn.Parameter) else copied
    try:
        with torch.no_grad():  # else copies of scripted parameters are results of an operation
            network = copy.deepcopy(module, memo).to("cpu").float().eval()
    except Exception as error:  # code of the user's
        raise InputError(
            f"{label}: this module cannot be copied ({reason_of(error)}); featx works on a copy, so take out "
            "what cannot be copied, such as open files, locks and generators"
        ) from error
    for part in network.modules():
        part.training = False  # whatever its own eval() does
        if isinstance(part, torch.jit.ScriptModule):
            continue
        # A plain tensor does not move with the network; a buffer does.
        for key, value in [(k, v) for k, v in vars(part).items() if isinstance(v, Tensor)]:
            delattr(part, key)
            part.register_buffer(key, value.float() if value.is_floating_point() else value, persistent=False)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network


class _Checks:
    """Run a copy of the user's module, to learn what can be relied on."""

    def __init__(self, network: nn.Module, inputs: ImageInput, label: str):
        self.network, self.inputs, self.label = network, inputs, label
        draw = torch.Generator().manual_seed(0)
        self._images = torch.randn(inputs.example(2).shape, generator=draw)
        self._runs = 0  # each run draws other numbers, if it draws any
        self._returned = self._run(_with_same_parameters(network), self._images)

    def graph(self) -> fx.Graph | None:
        """Return the graph of the module; None where it cannot be traced, or computes something else."""
        try:
            traced = trace(self.network, LayerRules())
        except Exception:  # code of the user's; a NameError where it calls a network that is no child of it
            return None
        if traced is None:
            return None
        try:
            found = self._run(fx.GraphModule(_with_same_parameters(self.network), traced[0]), self._images)
        except InputError:
            return None
        ours, graphs = _tensors_in(self._returned), _tensors_in(found)
        same = len(ours) == len(graphs) and all(map(_close, ours, graphs))
        return traced[0] if same else None

    def ends_in_classifier(self, graph: fx.Graph | None) -> bool:
        """Return whether the module returns the scores of a layer that is named as a classifier."""
        weighted = [
            (name, module)
            for name, module in self.network.named_modules()
            if isinstance(module, nn.Linear | nn.Conv2d)
        ]
        if graph is not None:
            called = [str(node.target) for node in graph.nodes if node.op == "call_module"]
            weighted = [(name, module) for name, module in weighted if name in called]
            weighted.sort(key=lambda item: len(called) - 1 - called[::-1].index(item[0]))
        if not weighted or weighted[-1][0].partition(".")[0] not in LayerRules.heads:
            return False
        name, head = weighted[-1]
        stated = getattr(self.network, "num_classes", None)
        given = head.out_features if isinstance(head, nn.Linear) else head.out_channels
        if isinstance(stated, int) and stated != given:
            return False
        return self._returns(name, graph)

    def _returns(self, name: str, graph: fx.Graph | None) -> bool:
        """Return whether the module returns the output of its last layer, or a form of it."""
        if graph is None:
            seen: list[Any] = []
            network = _with_same_parameters(self.network)
            network.get_submodule(name).register_forward_hook(lambda module, inputs, out: seen.append(out))
            out = self._run(network, self._images)
            return (
                bool(seen)
                and isinstance(out, Tensor)
                and out.shape == seen[-1].shape
                and _close(out, seen[-1])
            )
        node = output_of(graph)
        convolution = isinstance(self.network.get_submodule(name), nn.Conv2d)
        passed = _AFTER_CONVOLUTION if convolution else _AFTER_CLASSIFIER
        while isinstance(node, fx.Node):
            if node.op == "call_module":
                if node.target == name:
                    return True
                if not isinstance(self.network.get_submodule(str(node.target)), passed):
                    return False
            elif getattr(node.target, "__name__", node.target) not in _FUNCTIONS:
                return False
            node = node.args[0]
        return False

    def require_tensor(self) -> None:
        """Refuse a module that does not return one tensor."""
        out = self._returned
        if isinstance(out, Tensor):
            return
        held = f" with {', '.join(map(str, out))}" if isinstance(out, Mapping) else ""
        raise InputError(
            f"{self.label}: it returns a {type(out).__name__}{held}, and a backbone gives one tensor; name a "
            "layer with layer=, or wrap it in a module whose forward returns the tensor that you mean"
        )

    def require_stable_rows(self, module: nn.Module, tap: Tap, returned: bool) -> None:
        """Refuse a module that gives an image another row in the next run, or alone.

        `module` gives the rows of `tap`, which is what the user's module returns where `returned` says so.
        """
        rows = self._run(module, self._images)
        if returned:
            again = POOLS[tap.pooling](self._returned, tap.channels, tap.prefix)
        else:
            again = self._run(module, self._images)
        if not _close(rows, again):
            raise InputError(
                f"{self.label}: it gives the same images other rows in the next run, also in eval mode; let "
                "its random parts follow the mode, as in dropout(x, training=self.training)"
            )
        alone = torch.cat([self._run(module, self._images[i : i + 1]) for i in range(2)])
        if not _close(rows, alone):
            raise InputError(
                f"{self.label}: the row of an image depends on the other images of its batch, also in eval "
                "mode; a BatchNorm must keep running statistics, and forward must not call train()"
            )

    def _run(self, network: nn.Module, images: Tensor) -> Any:
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(self._runs)
                self._runs += 1
                return network(images)
        except Exception as error:  # code of the user's
            raise InputError(
                f"{self.label}: does not run on {len(images)} {self.inputs} ({reason_of(error)}); a backbone "
                f"takes one tensor, {tuple(images.shape)}"
            ) from error


def _with_same_parameters(network: nn.Module) -> nn.Module:
    """Return a copy that shares the frozen parameters, so that large networks need their memory once."""
    return copy.deepcopy(network, {id(parameter): parameter for parameter in network.parameters()})


def _close(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    largest = float(one.detach().abs().max()) if one.numel() and one.is_floating_point() else 0.0
    return torch.allclose(one, other, rtol=0, atol=_TOLERANCE * largest, equal_nan=True)


def _tensors_in(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    """Yield parameters, buffers and other tensors that modules hold as attributes."""
    yield from module.parameters()
    yield from module.buffers()
    for part in module.modules():
        yield from (value for value in vars(part).values() if isinstance(value, Tensor))


def _unwrapped(module: nn.Module) -> nn.Module:
    """Return the module inside the wrappers of torch.compile and of parallel training."""
    while True:
        inner = getattr(module, "_orig_mod", None)  # torch.compile
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = module.module
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def given_preprocessing(given: Any, label: str) -> Preprocessing | None:
    """Return the preprocessing that is given in one of its forms, None for None."""
    if given is None or isinstance(given, Preprocessing):
        return given
    if isinstance(given, Mapping):
        return Preprocessing.from_dict(given)
    if hasattr(given, "crop_size") and hasattr(given, "resize_size"):
        return torchvision._preprocessing(given)
    raise InputError(
        f"{label}: preprocessing must be a Preprocessing, its dict, or the transforms() of torchvision's "
        f"weights, got {type(given).__name__}"
    )


def _carried_preprocessing(module: nn.Module, label: str) -> Preprocessing:
    """Return the preprocessing of the timm configuration that a module carries."""
    config = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None)
    needed = {"input_size", "mean", "std", "interpolation", "crop_pct"}
    if isinstance(config, Mapping) and needed <= set(config):
        stated = timm._preprocessing(SimpleNamespace(**{"crop_mode": "center", **config}))
        if stated is not None:
            return stated
    raise InputError(
        f"{label}: say how images are prepared for this module: preprocessing=featx.Preprocessing() resizes "
        "to 256, crops 224 x 224 and has ImageNet's mean and std; torchvision's weights state theirs as "
        "WEIGHTS.transforms()"
    )
