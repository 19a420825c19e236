"""Run a module of the user's on noise, to learn what can be relied on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from featx.backbones.audio_input import AudioInput, is_value
from featx.backbones.image_input import ImageInput
from featx.backbones.layers.pooling import POOLS, Tap
from featx.backbones.layers.rules import LayerRules
from featx.backbones.layers.tracing import DROPOUTS, output_of, trace
from featx.backbones.own.copying import copy_sharing_parameters
from featx.errors import InputError, reason_of
from featx.kinds import with_article

#: Modules that turn class scores into class scores.
_AFTER_CLASSIFIER = (*DROPOUTS, nn.Flatten, nn.Softmax, nn.LogSoftmax, nn.Sigmoid)
#: What follows a convolution that is the classifier, as in a squeezenet.
_AFTER_CONVOLUTION = (*_AFTER_CLASSIFIER, nn.ReLU, nn.AdaptiveAvgPool2d)
_FUNCTIONS = ("flatten", "softmax", "log_softmax", "sigmoid", "dropout", "squeeze")

#: Largest difference of two runs, relative to the largest number: rounding of sums in another order.
_TOLERANCE = 1e-3


class ModuleChecks:
    """Run a copy of the user's module, to learn what can be relied on."""

    def __init__(self, network: nn.Module, inputs: ImageInput | AudioInput, label: str):
        self.network, self.inputs, self.label = network, inputs, label
        if isinstance(inputs, AudioInput):
            clips = torch.from_numpy(inputs.preparation.reference_batch(2))
            self._batch = clips[:, : int(is_value(clips).sum(1).min())]
        else:
            draw = torch.Generator().manual_seed(0)
            self._batch = torch.randn(inputs.example(2).shape, generator=draw)
        self._names: dict[fx.Node, str] = {}
        self._runs = 0  # each run draws other numbers, if it draws any
        self._returned = self._run(copy_sharing_parameters(network), self._batch)

    def graph(self) -> fx.Graph | None:
        """Return the graph of the module; None where it cannot be traced, or computes something else."""
        try:
            traced = trace(self.network, LayerRules())
        except Exception:  # code of the user's; a NameError where it calls a network that is no child of it
            return None
        if traced is None:
            return None
        try:
            found = self._run(fx.GraphModule(copy_sharing_parameters(self.network), traced[0]), self._batch)
        except InputError:
            return None
        ours, graphs = _tensors_in(self._returned), _tensors_in(found)
        self._names = traced[1]
        same = len(ours) == len(graphs) and all(map(_close, ours, graphs))
        return traced[0] if same else None

    def ends_in_classifier(self, graph: fx.Graph | None) -> bool:
        """Return whether the module returns the scores of a layer that is named as a classifier."""
        last = self._last_weighted(graph)
        if last is None or last[0].partition(".")[0] not in LayerRules.heads:
            return False
        name, head = last
        stated = getattr(self.network, "num_classes", None)
        given = head.out_features if isinstance(head, nn.Linear) else head.out_channels
        if isinstance(stated, int) and stated != given:
            return False
        return self._returns(name, graph)

    def narrowing_output(self, graph: fx.Graph | None) -> tuple[str, str, int, int] | None:
        """Return the last linear layer, if the module returns its output and that is shorter than its input.

        Returns
        -------
        tuple of str, str, int, int, or None
            Name of the linear layer, name of the layer before it, length of its input and of its output.
        """
        if isinstance(self.network, torch.jit.ScriptModule):
            return self._narrowing_output_of_script()
        last = self._last_weighted(graph)
        if last is None or not isinstance(last[1], nn.Linear):
            return None
        name, linear = last[0], last[1]
        stated: Any = getattr(self.network, "num_classes", linear.out_features)
        if linear.out_features >= linear.in_features or stated != linear.out_features:
            return None
        if not self._returns(name, graph):
            return None
        before = f"{name}:input"
        if graph is not None:
            called = [node for node in graph.nodes if node.op == "call_module" and node.target == name]
            before = self._names.get(called[-1].args[0], before)
        return name, before, linear.in_features, linear.out_features

    def _narrowing_output_of_script(self) -> tuple[str, str, int, int] | None:
        script: Any = self.network
        graph = script.inlined_graph  # its nodes live as long as it does
        if next(graph.outputs()).node().kind() != "aten::linear":
            return None
        length = self._returned.shape[-1]
        weights = {
            name: module.weight
            for name, module in script.named_modules()
            if getattr(module, "original_name", None) == "Linear" and len(module.weight) == length
        }
        if not weights:
            return None
        name, weight = list(weights.items())[-1]
        given = int(weight.shape[1])
        return (name, f"{name}:input", given, length) if length < given else None

    def _last_weighted(self, graph: fx.Graph | None) -> tuple[str, nn.Linear | nn.Conv2d] | None:
        """Return the last linear layer or convolution, by name; None where there is none."""
        weighted = [
            (name, module)
            for name, module in self.network.named_modules()
            if isinstance(module, nn.Linear | nn.Conv2d)
        ]
        if graph is not None:
            called = [str(node.target) for node in graph.nodes if node.op == "call_module"]
            weighted = [(name, module) for name, module in weighted if name in called]
            weighted.sort(key=lambda item: len(called) - 1 - called[::-1].index(item[0]))
        return weighted[-1] if weighted else None

    def _returns(self, name: str, graph: fx.Graph | None) -> bool:
        """Return whether the module returns the output of its last layer, or a form of it."""
        if graph is None:
            seen: list[Any] = []
            network = copy_sharing_parameters(self.network)
            network.get_submodule(name).register_forward_hook(lambda module, inputs, out: seen.append(out))
            out = self._run(network, self._batch)
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

    def require_any_length(self) -> None:
        """Refuse a module of audio that takes windows of one length, unless all have that length."""
        if not isinstance(self.inputs, AudioInput) or self.inputs.preparation.pad:
            return
        longer = torch.cat([self._batch, self._batch[:, : 1 + self._batch.shape[1] // 3]], 1)
        self._run(copy_sharing_parameters(self.network), longer)

    def require_stable_rows(self, module: nn.Module, tap: Tap, returned: bool) -> None:
        """Refuse a module that gives one input different rows in two runs, or alone and in a batch.

        `module` gives the rows of `tap`; with `returned`, these are pooled from what the module returns.
        """
        kind = self.inputs.kind
        rows = self._run(module, self._batch)
        if returned:
            again = POOLS[tap.pooling](self._returned, tap.channels, tap.prefix)
        else:
            again = self._run(module, self._batch)
        if not _close(rows, again):
            raise InputError(
                f"{self.label}: it gives the same {kind}s different rows in two runs, also in eval mode; "
                "let its random parts follow the mode, as in dropout(x, training=self.training)"
            )
        alone = torch.cat([self._run(module, self._batch[i : i + 1]) for i in range(2)])
        if not _close(rows, alone):
            raise InputError(
                f"{self.label}: the row of {with_article(kind)} depends on the other {kind}s of its batch, "
                "also in eval mode; a BatchNorm must keep running statistics, and forward must not call "
                "train()"
            )

    def _run(self, network: nn.Module, batch: Tensor) -> Any:
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(self._runs)
                self._runs += 1
                return network(batch)
        except Exception as error:  # code of the user's
            raise InputError(
                f"{self.label}: does not run on {self._shown(batch)} ({reason_of(error)}); a backbone "
                f"takes one tensor, {tuple(batch.shape)}{self._advice()}"
            ) from error

    def _advice(self) -> str:
        if not isinstance(self.inputs, AudioInput) or self.inputs.preparation.pad:
            return ""
        return "; if it takes windows of one length, give that as window=, and 'pad': True in preprocessing"

    def _shown(self, inputs: Tensor) -> str:
        if isinstance(self.inputs, AudioInput):
            return f"{len(inputs)} {AudioInput(self.inputs.preparation, inputs.shape[1])}"
        return f"{len(inputs)} {self.inputs}"


def _close(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    largest = float(one.detach().abs().max()) if one.numel() and one.is_floating_point() else 0.0
    return torch.allclose(one, other, rtol=0, atol=_TOLERANCE * largest, equal_nan=True)


def _tensors_in(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
