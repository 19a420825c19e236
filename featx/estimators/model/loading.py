"""Read a model file and check everything in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.backbones.values import TUNED, check_file_names, hash_values
from featx.errors import FeatxError, InputError, ModelMismatch, as_one_error
from featx.estimators.model.model import Model
from featx.extraction import matching_embedder
from featx.extraction.matching import OWN_MODULE, check_states_network, require_module
from featx.options import DEFAULT_RUN, checked, listed

#: Largest sum of shares, with rounding.
_SHARE = 1.001


@checked(path="file", backbone="module")  # not as the option: None is the default, and no name is taken
def load_model(path: str | Path, *, backbone: Any = None) -> Model:
    """Read a model file. Nothing in it is executed, and everything is checked.

    Parameters
    ----------
    path : path-like
        A file that `Model.save` or ``featx train`` wrote.
    backbone : torch.nn.Module, Backbone or sequence of them, optional
        The network, for a model that was trained on one of your own: the file holds its identity, and not its
        code. If it was fine-tuned, the file also holds its values, which a copy of `backbone` then gets;
        those that `backbone` has do not matter. For an ensemble, its networks of your own in order. Without
        it, such a model predicts from embeddings only (`Model.predict_proba`).

    Returns
    -------
    Model

    Raises
    ------
    InputError
        The file is not a model file, is damaged, or contains anything that is not part of a featx model.
    ModelMismatch
        The file has another format version, was trained with another minor version of scikit-learn, or on
        another network than `backbone`.

    Notes
    -----
    Reading takes at most a small multiple of the file's size in memory (see
    `featx.estimators.model_file.container`).
    """
    from featx.estimators.model_file import (
        FILES,
        NETWORK,
        UNSURE_ROWS,
        check_description,
        read_model_file,
        rebuild_unsure,
    )

    given = [] if backbone is None else listed(backbone)
    for module in given or ([] if backbone is None else [backbone]):
        require_module(module)
    path = Path(path)
    meta, arrays = read_model_file(path)
    # The inner block says what is wrong, this one in which file.
    with as_one_error(lambda reason: InputError(f"{path}: not a model file of featx, or damaged ({reason})")):
        try:
            classes = check_description(meta)
            several = "members" in meta
            if meta["format_version"] < 3 and any(name.startswith(NETWORK) for name in arrays):
                raise InputError("holds the values of a network, which no file of format 2 has")
            if meta["format_version"] < 4 and any(name.startswith(FILES) for name in arrays):
                raise InputError("holds files of a network, which no file before format 4 has")
            rows = arrays.pop(UNSURE_ROWS, None)
            model = (_rebuild_ensemble if several else _rebuild_single)(meta, arrays, classes)
            model.unsure = rebuild_unsure(meta["info"], rows, model.dim)
        except FeatxError as error:
            kind = ModelMismatch if isinstance(error, ModelMismatch) else InputError
            raise kind(f"{path}: {error}") from None
    if backbone is not None:
        _give_modules(model, given, str(path))
    return model


def _rebuild_single(meta: dict[str, Any], arrays: dict[str, np.ndarray], classes: tuple[str, ...]) -> Model:
    """Build the model of one network from checked fields; the classifier and the values are checked here."""
    from featx.estimators.model_file import FILES, NETWORK, find_plain

    space = meta["space"]
    check_states_network(space, "space of model.json")
    values = {
        name.removeprefix(NETWORK): arrays.pop(name) for name in list(arrays) if name.startswith(NETWORK)
    }
    files = {
        name.removeprefix(FILES): arrays.pop(name).tobytes()
        for name in list(arrays)
        if name.startswith(FILES)
    }
    if files and not values:
        raise InputError("holds files of a network without its values")
    check_file_names(files)
    _check_values(values, space["backbone"])
    description, n_classes = meta["classifier"], len(classes)
    classifier: Any = find_plain(description, arrays, n_classes)
    if classifier is None:
        from featx.estimators.model_file import rebuild

        classifier = rebuild(description, arrays, n_classes)
    return Model(
        classifier=classifier,
        classes=classes,
        space=space,
        backbone=meta["backbone"],
        info=meta["info"],
        values=values,
        files=files,
    )


def _check_values(values: dict[str, np.ndarray], stated: Mapping[str, Any]) -> None:
    """Check the values of a fine-tuned network against the hash that its space states.

    Whether they fit the network that the installed library builds is checked when it is built.
    """
    if (stated["weights"] == TUNED) != bool(values):
        raise InputError("space of model.json and the arrays differ on whether the network was fine-tuned")
    for name, array in values.items():
        if not np.isfinite(array).all():
            raise InputError(f"the array {name!r:.80} of the network has numbers that are not finite")
    if values and hash_values(values) != stated.get("weights_sha256"):
        raise InputError("the values of the network are not those whose sha256 model.json states")


def _rebuild_ensemble(meta: dict[str, Any], arrays: dict[str, np.ndarray], classes: tuple[str, ...]) -> Model:
    """Build the model of several networks and the weights of their average."""
    from featx.estimators.model_file import NETWORK
    from featx.estimators.model_file.kinds import Values
    from featx.methods.ensembles import BlockEnsemble

    members = []
    for number, member in enumerate(meta["members"]):
        prefix = f"members.{number}."
        own = {
            name.removeprefix(prefix): arrays.pop(name) for name in list(arrays) if name.startswith(prefix)
        }
        if any(name.startswith(NETWORK) for name in own):
            raise InputError(f"member {number} has values of a network, and no member is fine-tuned")
        try:
            members.append(_rebuild_single(member, own, classes))
        except FeatxError as error:
            raise type(error)(f"member {number}: {error}") from None
    weights = arrays.pop("weights", None)
    if weights is None:
        raise InputError("the array weights is missing")
    weights = Values("m", 0, _SHARE).checked(weights, {"m": len(members)}, "weights")
    if abs(weights.sum() - 1) > _SHARE - 1:
        raise InputError(f"weights: they add up to {weights.sum():g}, expected 1")
    if arrays:
        raise InputError(f"holds an array that no member has: {next(iter(arrays))!r:.80}")
    return Model(
        classifier=BlockEnsemble.of([member.classifier for member in members], weights),
        classes=classes,
        space={},
        backbone={},
        info=meta["info"],
        members=tuple(members),
    )


def _give_modules(model: Model, modules: Sequence[Any], where: str) -> None:
    """Set the networks of the user's, each in the place of the one that the file states, in order."""
    parts = model.members or (model,)
    if model.members:
        parts = tuple(one for one in parts if one.space["backbone"]["source"] == OWN_MODULE)
    if len(modules) != len(parts):
        raise InputError(
            f"{where}: backbone: expected {len(parts)} networks of your own, in the order of the members, "
            f"got {len(modules)}"
        )
    for one, module in zip(parts, modules, strict=True):
        matching_embedder(one.space, one.backbone, where, DEFAULT_RUN, module=module, values=one.values)
        one.module = module
