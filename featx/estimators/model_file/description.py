"""Check all fields of ``model.json`` but the classifier."""

from __future__ import annotations

from typing import Any

from featx.cache import Space
from featx.errors import InputError, ModelMismatch
from featx.inputs.preparations import check_settings
from featx.kinds import kind_of

__all__ = ["SINCE", "check_description"]

_FIELDS = {"format", "format_version", "classes", "info"}
#: The fields of a network and the classifier on its rows.
_OF_NETWORK = {"space", "backbone", "classifier"}
_ARGUMENTS = {"name": str, "layer": str, "pooling": str, "preprocessing": dict, "seed": int}
_MOST_MEMBERS = 100
#: The first version of the format with networks of a kind of input; images are in all of them.
SINCE = {"text": 4, "clip": 5}


def check_description(meta: dict[str, Any]) -> tuple[str, ...]:
    """Check all fields but the classifiers', and return the names of the classes.

    Raises
    ------
    InputError
        A field is unknown, missing or invalid.
    ModelMismatch
        The model was trained with another minor version of scikit-learn.
    """
    several = "members" in meta and meta["format_version"] > 2
    _require_fields(meta, _FIELDS | ({"members"} if several else _OF_NETWORK), "model.json")
    if several:
        members = meta["members"]
        if not isinstance(members, list) or not 2 <= len(members) <= _MOST_MEMBERS:
            raise InputError(f"members of model.json are no list of 2 to {_MOST_MEMBERS}")
        for number, member in enumerate(members):
            where = f"member {number} of model.json"
            if not isinstance(member, dict):
                raise InputError(f"{where} is not an object")
            _require_fields(member, _OF_NETWORK | {"info"}, where)
            if not isinstance(member["info"], dict):
                raise InputError(f"{where}: info is not an object")
            _check_network(member, where)
    else:
        _check_network(meta, "model.json")
    kinds = {_kind(part) for part in (meta["members"] if several else [meta])}
    if len(kinds) > 1:
        raise InputError("members of model.json take inputs of several kinds")
    (kind,) = kinds
    if meta["format_version"] < SINCE.get(kind, 0):
        raise InputError(f"its network takes {kind}s, and no file before format {SINCE[kind]} has one")
    _check_info(meta["info"])
    return _check_class_names(meta["classes"])


def _require_fields(value: dict[str, Any], names: set[str], where: str) -> None:
    if set(value) != names:
        raise InputError(f"{min(set(value) ^ names)!r:.40} is unknown, or missing, in {where}")


def _check_network(value: dict[str, Any], where: str) -> None:
    if not isinstance(value["space"], dict):
        raise InputError(f"space of {where} is not an object")
    Space(value["space"])
    _check_backbone(value["backbone"], _kind(value), where)


def _kind(part: dict[str, Any]) -> str:
    return kind_of(part["space"].get("preprocessing"))


def _check_class_names(names: Any) -> tuple[str, ...]:
    if not isinstance(names, list) or len(names) < 2 or not all(isinstance(name, str) for name in names):
        raise InputError("classes of model.json are not two names or more")
    if len(set(names)) != len(names):
        raise InputError("classes of model.json: a name comes twice")
    for name in names:
        try:
            name.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise InputError(f"classes of model.json: {name!r:.40} is not valid text") from None
    return tuple(names)


def _check_backbone(backbone: Any, kind: str, where: str) -> None:
    if not isinstance(backbone, dict) or set(backbone) != {*_ARGUMENTS, "weights"}:
        raise InputError(f"backbone of {where}: expected {', '.join(_ARGUMENTS)} and weights")
    for name, form in _ARGUMENTS.items():
        if type(backbone[name]) is not form or (form is int and not -(2**63) <= backbone[name] < 2**63):
            raise InputError(f"backbone of {where}: {name} is {backbone[name]!r:.40}")
    if not isinstance(backbone["weights"], str | None):
        raise InputError(f"backbone of {where}: weights is {backbone['weights']!r:.40}")
    check_settings(kind, backbone["preprocessing"])


def _check_info(info: Any) -> None:
    from importlib.metadata import version

    if not isinstance(info, dict) or not isinstance(info.get("scikit-learn"), str):
        raise InputError("info of model.json does not say which scikit-learn the model was trained with")
    trained_with, installed = info["scikit-learn"], version("scikit-learn")
    if trained_with.split(".")[:2] != installed.split(".")[:2]:
        raise ModelMismatch(
            f"trained with scikit-learn {trained_with!r:.20}, installed is {installed}; "
            "install that version or train the model again"
        )
