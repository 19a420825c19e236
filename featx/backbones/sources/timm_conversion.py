"""Give the tensors of a file the names and shapes of a network of timm, as timm itself does.

timm converts what the authors of an architecture published, or what open_clip saved (``visual.trunk.*``), and
resamples position embeddings where the network is built for images of another size.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from featx.backbones.loading import build_on_meta, one_at_a_time
from featx.errors import WeightsError, as_one_error

#: From a state dict and the network to the state dict under the network's names.
Conversion = Callable[..., dict[str, Tensor]]


def convert_tensors(
    name: str, tensors: dict[str, Tensor], network: nn.Module, label: str
) -> dict[str, Tensor]:
    """Return the tensors of a file as the network called `name` takes them.

    A file that fits as it is stays as it is. A `WeightsError` begins with `label`.
    """
    own = network.state_dict()
    if all(key in tensors and tensors[key].shape == value.shape for key, value in own.items()):
        return _without_head(tensors, network)
    conversion = find_conversion(name)
    if conversion is None:
        return _without_head(tensors, network)
    with as_one_error(lambda reason: WeightsError(f"{label}: timm cannot convert it ({reason})")):
        return _without_head(_call(conversion, dict(tensors), network), network)


def _call(conversion: Conversion, tensors: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    try:
        return conversion(tensors, network)
    except TypeError:  # a few take the tensors alone
        return conversion(tensors)


def _without_head(tensors: dict[str, Tensor], network: Any) -> dict[str, Tensor]:
    """Drop a classifier that the file has and the network has not, as where timm builds none."""
    named = (getattr(network, "pretrained_cfg", None) or {}).get("classifier") or ()
    heads = (named,) if isinstance(named, str) else tuple(named)
    own = network.state_dict()
    missing = tuple(f"{head}." for head in heads if not any(key.startswith(f"{head}.") for key in own))
    return {key: value for key, value in tensors.items() if not key.startswith(missing)}


@functools.cache
@one_at_a_time
def find_conversion(name: str) -> Conversion | None:
    """Return the function with which timm converts files of a network; None where it has none.

    timm keeps these functions, some with options, inside the functions that build its networks, and hands
    them to its `load_pretrained`. That one is replaced for this call, in this thread, to see it.
    """
    import timm
    from timm.models import _builder

    load, here, found = _builder.load_pretrained, threading.get_ident(), list[Any]()

    def see(model: nn.Module, *args: Any, **kwargs: Any) -> None:
        if threading.get_ident() != here:
            load(model, *args, **kwargs)
        else:
            found.append(kwargs.get("filter_fn"))

    _builder.load_pretrained = see
    try:
        build_on_meta(functools.partial(timm.create_model, name, pretrained=True))
    finally:
        _builder.load_pretrained = load
    return next(iter(found), None)
