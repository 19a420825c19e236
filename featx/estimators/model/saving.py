"""Write a model file: a description in clear, and the arrays of classifiers and networks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from featx.estimators.model.model import Model

#: Kinds of classifiers that need version 3 of the format.
_SINCE_3 = ("linear-head",)


def write_model(model: Model, path: Path) -> None:
    """Write a model to `path`, whole or not at all; errors as for `featx.Model.save`."""
    from featx.estimators.model_file import FILES, NETWORK, UNSURE, unsure_arrays, write_model_file

    info = {key: value for key, value in model.info.items() if key != UNSURE}
    info |= {} if model.unsure is None else {UNSURE: model.unsure.to_dict()}
    meta: dict[str, Any] = {"classes": list(model.classes), "info": info}
    if model.members:
        arrays = {"weights": model.classifier.weights_}
        meta["members"] = []
        for number, member in enumerate(model.members):
            fields, own = _describe_network(member)
            meta["members"].append({**fields, "info": member.info})
            arrays |= {f"members.{number}.{name}": array for name, array in own.items()}
        arrays |= unsure_arrays(model.unsure)
        write_model_file(path, meta, arrays, version=_version_for(model, 3))
        return
    fields, arrays = _describe_network(model)
    arrays |= {NETWORK + name: array for name, array in model.values.items()} | unsure_arrays(model.unsure)
    arrays |= {FILES + name: np.frombuffer(data, np.uint8) for name, data in model.files.items()}
    version = 3 if model.values or model.unsure or fields["classifier"]["kind"] in _SINCE_3 else 2
    write_model_file(path, meta | fields, arrays, version=_version_for(model, version))


def _version_for(model: Model, of_images: int) -> int:
    """Return the version of the format that describes a model; `of_images` is that of one of images."""
    from featx.estimators.model_file.description import SINCE

    return SINCE.get(model.kind, of_images)


def _describe_network(model: Model) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the fields of a network and the classifier on its rows, and the arrays of the classifier."""
    from featx.estimators.model_file import describe

    description, arrays = describe(model.classifier, len(model.classes))
    return {"space": model.space, "backbone": model.backbone, "classifier": description}, arrays
