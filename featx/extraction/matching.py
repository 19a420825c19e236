"""Rebuild the embedder of existing rows, so that new images get rows of the same space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from featx.cache import Space
from featx.errors import InputError, ModelMismatch, WeightsError
from featx.extraction.embedder import Embedder, network_embedder
from featx.extraction.reuse import find_with_values, is_ready, reuse_backbone, reuse_with_values
from featx.inputs.preparations import settings_of
from featx.kinds import kind_of
from featx.options import Run, is_module, shown

#: The name that a space gives to weights from a file of the user's own.
OWN_WEIGHTS = "checkpoint"
#: The name that a space gives to the source of a user's own module.
OWN_MODULE = "module"
#: The name that a space gives to networks of transformers, which may lie in a folder.
OF_TRANSFORMERS = "hf"
#: The arguments of a module of the user's that a file states, besides its name, which is a label.
_OF_MODULE = ("layer", "pooling", "preprocessing")


def check_states_network(space: Mapping[str, Any], where: str) -> None:
    """Raise `InputError`, naming the file `where`, unless a space states its network and preprocessing."""
    network, preprocessing = space.get("backbone"), space.get("preprocessing")
    keys = ("architecture", "source", "weights", "layer", "pooling")
    if not (
        isinstance(network, Mapping)
        and isinstance(preprocessing, Mapping)
        and all(isinstance(network.get(key), str) for key in keys)
        and all(isinstance(space.get(key), str) for key in ("precision", "dtype"))
    ):
        raise InputError(f"{where}: does not say which network its rows come from; expected a file of featx")


def backbone_arguments(space: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the arguments of `featx.backbones.load_backbone` for the network that a space states.

    Weights from a file of the user's own are ``"checkpoint"``: a space does not say where that file is.
    `InputError`, naming the file `where`, if it states none.
    """
    check_states_network(space, where)
    from featx.backbones.sources import backbone_name

    network = space["backbone"]
    return {
        "name": backbone_name(network["source"], network["architecture"]),
        "weights": None if network["weights"] == "random" else network["weights"],
        "layer": network["layer"],
        "pooling": network["pooling"],
        "preprocessing": settings_of(space["preprocessing"]),
    }


def matching_embedder(
    space: Mapping[str, Any],
    arguments: Mapping[str, Any],
    where: str,
    run: Run,
    *,
    weights: Any = None,
    trust_code: bool = False,
    module: Any = None,
    values: Mapping[str, np.ndarray] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> Embedder:
    """Make an embedder whose rows are in `space`.

    Parameters
    ----------
    space : mapping
    arguments : mapping
        Arguments of `featx.backbones.load_backbone`, from a model file or from `backbone_arguments`.
    where : str
        Where the space is from, for messages: ``"the model"``, or a file.
    run : Run
        Engine, device and batch size; precision and dtype are taken from `space`.
    weights : path, optional
        The backbone's checkpoint, if it is a file of the user's own; for a network of transformers
        (``hf:NAME`` and ``hf:FOLDER``), the folder in which it lies now.
    trust_code : bool, default=False
        As for `featx.backbones.load_backbone`. No file can give this consent.
    module : torch.nn.Module or Backbone, optional
        The network, if it is the user's own.
    values : mapping of str to ndarray, optional
        Parameters and buffers of a fine-tuned network, which replace those of the backbone.
    files : mapping of str to bytes, optional
        With `values`, the files of the network and its tokenizer, so that its folder is not needed: see
        `featx.backbones.Architecture.kept_files`.

    Returns
    -------
    Embedder
        In the precision of `space`, or in fp32 if this machine does not have it: fp32 is nearer to the true
        embeddings.

    Raises
    ------
    ModelMismatch
        The installed backbone gives other embeddings.
    WeightsError
        Its weights are not found.
    InputError
        The rows are in int8, or come from a network of the user's that is not given.
    """
    from featx.engines import resolve

    if "calibration" in space:
        kind = kind_of(space.get("preprocessing"))
        raise InputError(
            f"{where}: its rows are in int8, which depends on the {kind}s that it was calibrated on; "
            f"no other {kind} can be put beside them: extract in bf16 or fp32"
        )
    network = _load(
        space,
        arguments,
        where,
        weights=weights,
        trust_code=trust_code,
        module=module,
        values=values,
        files=files,
    )
    made_in = space["precision"]
    here = resolve(engine=run.engine, device=run.device).precision
    precision = made_in if made_in == here else "fp32"
    embedder = network_embedder(network, replace(run, precision=precision, dtype=space["dtype"]))
    expected = Space(
        {
            **space,
            "precision": embedder.space.fields["precision"],
            "backbone": _named_alike(space["backbone"], embedder.space.fields["backbone"]),
        }
    )
    differences = expected.differences(embedder.space, here=f"in {where}", there="installed")
    if differences:
        raise ModelMismatch(f"{where} does not fit the installed backbone: {'; '.join(differences)}")
    return embedder


def network_is_ready(
    space: Mapping[str, Any],
    arguments: Mapping[str, Any],
    *,
    trust_code: bool = False,
    values: Mapping[str, np.ndarray] | None = None,
) -> bool:
    """Return whether this process keeps the network that `matching_embedder` would load by name."""
    if values:
        return find_with_values(values) is not None
    if space["backbone"]["source"] == OWN_MODULE or arguments["weights"] == OWN_WEIGHTS:
        return False
    return is_ready(**_reusable(arguments, trust_code=trust_code))


def _load(
    space: Mapping[str, Any],
    arguments: Mapping[str, Any],
    where: str,
    *,
    weights: Any,
    trust_code: bool,
    module: Any,
    values: Mapping[str, np.ndarray] | None,
    files: Mapping[str, bytes] | None,
) -> Any:
    """Load the backbone of these arguments, or cut the module given where they say; put `values` into it.

    A backbone that this process keeps ready is used again.
    """
    from featx.backbones import TunedBackbone, load_tuned

    stated = space["backbone"]
    if weights is not None and stated["source"] == OF_TRANSFORMERS and Path(weights).expanduser().is_dir():
        arguments, weights = {**arguments, "name": f"hf:{Path(weights).expanduser()}"}, None
    elif values and files:
        from featx.backbones.sources.hf.kept_files import write_folder

        arguments = {**arguments, "name": f"hf:{write_folder(files)}"}
    if values and weights is not None:
        raise InputError(
            f"{where}: weights={str(weights)!r} has no effect: the network was fine-tuned, and the model "
            "holds its values; leave it out"
        )
    if stated["source"] != OWN_MODULE:
        if module is not None:
            raise InputError(
                f"{where}: its network is {arguments['name']}, which is loaded by name; leave backbone= out"
            )
        if values:
            load = partial(load_tuned, values, **arguments, trust_code=trust_code)
            with _naming_folder(stated):
                return reuse_with_values(values, load)
        if weights is None and arguments["weights"] == OWN_WEIGHTS:
            raise WeightsError(
                f"{where}: its weights were a file of your own; say where it is with --weights PATH"
            )
        given = {"trust_code": trust_code} | ({} if weights is None else {"weights": weights})
        with _naming_folder(stated):
            return reuse_backbone(**_reusable(arguments, **given))
    if module is None:
        raise InputError(
            f"{where}: its rows come from a network of your own ({stated['architecture']}), which no file "
            "holds and the command line cannot load; in Python, give it: featx.load_model(path, "
            "backbone=module), or featx.extract(images, backbone=module)"
        )
    if weights is not None:
        raise InputError(
            f"{where}: weights={str(weights)!r} has no effect on a network of your own; leave it out"
        )
    require_module(module)
    if is_module(module):
        own = {key: arguments[key] for key in _OF_MODULE}
        module = reuse_backbone(**_reusable(own, name=module))
    return TunedBackbone.of(module, values) if values else module


@contextmanager
def _naming_folder(stated: Mapping[str, Any]) -> Iterator[None]:
    """Add to the error about a network of transformers that its folder can be given."""
    try:
        yield
    except InputError as error:
        if stated["source"] != OF_TRANSFORMERS or type(error) not in (InputError, WeightsError):
            raise
        raise type(error)(
            f"{error}. If the folder of the network is on this machine, say where with --weights FOLDER "
            "(in Python weights=)"
        ) from error


def _named_alike(stated: Mapping[str, Any], here: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the network that a space states, under the name of the one here if they differ in it alone.

    A network of transformers is named by its repository, or in a folder by its type; behind ``#`` stands a
    hash of its configuration.
    """
    name, digest = str(here["architecture"]), str(stated["architecture"]).partition("#")[2]
    alike = stated["source"] == here["source"] == OF_TRANSFORMERS and digest == name.partition("#")[2]
    return {**stated, "architecture": name} if alike and digest else stated


def _reusable(arguments: Mapping[str, Any], **given: Any) -> dict[str, Any]:
    """Return arguments of `load_backbone`, with `given` ones, as those of `reuse_backbone`."""
    found = {**arguments, **given}
    layer = found.pop("layer")
    return found | {"layers": (layer,)}


def require_module(backbone: Any) -> None:
    """Raise `InputError` unless `backbone` is a network of the user's, or was loaded from one."""
    identity = getattr(backbone, "identity", None)
    loaded = isinstance(identity, Mapping) and identity.get("source") == OWN_MODULE
    if not loaded and not is_module(backbone):
        raise InputError(
            f"backbone must be the network, a torch.nn.Module or what load_backbone made of it, got "
            f"{shown(backbone)}"
        )
