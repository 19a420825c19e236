"""A fine-tuned backbone: the network of another one, with the parameters and buffers of a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np
import torch
from torch import nn

from featx.backbones.backbone import Backbone
from featx.backbones.loading import one_at_a_time, random_network, tensors_with_values, uninitialised_network
from featx.backbones.values import TUNED, hash_values
from featx.errors import InputError, ModelMismatch


@dataclass
class TunedBackbone(Backbone):
    """A backbone that is built with `values` in place of those of its weights.

    Attributes
    ----------
    values : mapping of str to ndarray
        Every parameter and buffer of what `build` returns, by name, as `values_of` returned them.
    style : {"pretrained", "scratch"}
        How the library builds the network, where that differs.
    """

    values: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    style: str = field(default="pretrained", repr=False)

    @classmethod
    def of(
        cls, backbone: Backbone, values: Mapping[str, np.ndarray], style: str | None = None
    ) -> TunedBackbone:
        """Return the network of `backbone`, which is not changed, with other values.

        `ModelMismatch` if the values do not fit.
        """
        same = {f.name: getattr(backbone, f.name) for f in fields(Backbone) if f.init}
        same["weights_sha256"] = hash_values(values)
        style = style or ("scratch" if backbone.checkpoint is None else "pretrained")
        return cls(**same, values=values, style=style)

    @property
    def identity(self) -> dict[str, str]:
        """As of any backbone; the weights are named `TUNED`, and their sha256 is that of the values."""
        return super().identity | {"weights": TUNED}

    def whole_network(self) -> nn.Module:
        """Build the whole network; `values` are not in it yet."""
        if self.style == "scratch":
            return random_network(self.architecture, self.seed, self.inputs)
        return uninitialised_network(self.architecture, self.pretrained, self.inputs)

    @one_at_a_time
    def build(self) -> nn.Module:
        """Build a copy of the network with these values: in eval mode, with gradients on."""
        module = self.cut(self.whole_network()).module
        fill_values(module, self.values, self.name)
        return module.requires_grad_(True)


def values_of(module: nn.Module) -> dict[str, np.ndarray]:
    """Return copies of the parameters and buffers of a module, as float32, float64 or int32.

    `InputError` for what is not finite, for integers that 32 bits do not hold, and for complex numbers.
    """
    found = {}
    for name, tensor in tensors_with_values(module).items():
        array = _to_numpy(tensor)
        if array.dtype.kind in "iub":
            narrow = array.astype(np.int32)
            if not np.array_equal(narrow, array):
                raise InputError(f"{name}: holds integers that a model file cannot keep")
            array = narrow
        elif array.dtype not in (np.float32, np.float64):
            raise InputError(f"{name}: {tensor.dtype} cannot be kept in a model file")
        if not np.isfinite(array).all():
            raise InputError(f"{name}: holds numbers that are not finite, so the training diverged")
        found[name] = np.array(array, order="C")
    return found


def _to_numpy(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu()
    half = tensor.dtype in (torch.float16, torch.bfloat16)
    return np.asarray((tensor.float() if half else tensor).numpy())


@torch.no_grad()
def fill_values(module: nn.Module, values: Mapping[str, np.ndarray], name: str) -> None:
    """Copy `values` into the parameters and buffers of a module.

    `ModelMismatch`, which begins with `name`, unless names, shapes and kinds of number are the same. A module
    on the meta device is only checked.
    """
    own = tensors_with_values(module)
    odd = sorted(own.keys() ^ values.keys())
    if odd:
        which = "lacks" if odd[0] in own else "also holds"
        raise ModelMismatch(
            f"{name}: the fine-tuned network in the model {which} {odd[0]!r:.80}, so the installed library "
            "builds another one; train the model again"
        )
    for key, tensor in own.items():
        value = values[key]
        whole = value.dtype.kind == "i"
        if value.shape != tuple(tensor.shape) or whole == tensor.is_floating_point():
            raise ModelMismatch(
                f"{name}: {key} of the fine-tuned network in the model is {value.dtype} of shape "
                f"{value.shape}, and the installed library builds {tensor.dtype} of {tuple(tensor.shape)}; "
                "train the model again"
            )
        if not tensor.is_meta:
            tensor.copy_(torch.from_numpy(value))
