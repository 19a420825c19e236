"""Rebuild the embedder of existing rows, so that new images get rows of the same space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from featx.cache import Space
from featx.errors import InputError, ModelMismatch, WeightsError
from featx.extraction.embedder import Embedder, network_embedder
from featx.inputs.image import Preprocessing
from featx.options import Run

#: The name that a space gives to weights from a file of the user's own.
OWN_WEIGHTS = "checkpoint"


def backbone_arguments(space: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the arguments of `featx.backbones.load_backbone` for the network that a space states.

    Weights from a file of the user's own are ``"checkpoint"``: a space does not say where that file is.
    `InputError`, naming the file `where`, if it states none.
    """
    network, preprocessing = space.get("backbone"), space.get("preprocessing")
    keys = ("architecture", "source", "weights", "layer", "pooling")
    if not (
        isinstance(network, Mapping)
        and isinstance(preprocessing, Mapping)
        and all(isinstance(network.get(key), str) for key in keys)
        and all(isinstance(space.get(key), str) for key in ("precision", "dtype"))
    ):
        raise InputError(f"{where}: does not say which network its rows come from; expected a file of featx")
    from featx.backbones.sources import backbone_name

    return {
        "name": backbone_name(network["source"], network["architecture"]),
        "weights": None if network["weights"] == "random" else network["weights"],
        "layer": network["layer"],
        "pooling": network["pooling"],
        "preprocessing": Preprocessing.fields_of(preprocessing),
    }


def matching_embedder(
    space: Mapping[str, Any],
    arguments: Mapping[str, Any],
    where: str,
    run: Run,
    *,
    weights: Any = None,
    trust_code: bool = False,
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
        The backbone's checkpoint, if it is a file of the user's own.
    trust_code : bool, default=False
        As for `featx.backbones.load_backbone`. No file can give this consent.

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
        The rows are in int8.
    """
    from featx.backbones import load_backbone
    from featx.engines import resolve

    if "calibration" in space:
        raise InputError(
            f"{where}: its rows are in int8, which depends on the images that it was calibrated on; "
            "no other image can be put beside them: extract in bf16 or fp32"
        )
    if weights is None and arguments["weights"] == OWN_WEIGHTS:
        raise WeightsError(
            f"{where}: its weights were a file of your own; say where it is with --weights PATH"
        )
    given = {"trust_code": trust_code} | ({} if weights is None else {"weights": weights})
    network = load_backbone(**(dict(arguments) | given))
    made_in = space["precision"]
    here = resolve(engine=run.engine, device=run.device).precision
    precision = made_in if made_in == here else "fp32"
    embedder = network_embedder(network, replace(run, precision=precision, dtype=space["dtype"]))
    expected = Space({**space, "precision": embedder.space.fields["precision"]})
    differences = expected.differences(embedder.space, here=f"in {where}", there="installed")
    if differences:
        raise ModelMismatch(f"{where} does not fit the installed backbone: {'; '.join(differences)}")
    return embedder
