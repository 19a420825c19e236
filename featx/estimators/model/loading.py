"""Read a model file and check everything in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from featx.errors import FeatxError, InputError, ModelMismatch, as_one_error
from featx.estimators.model.model import Model
from featx.extraction import matching_embedder
from featx.extraction.matching import check_states_network, require_module
from featx.options import DEFAULT_RUN, checked


@checked(path="file", backbone="module")  # not as the option: None is the default, and no name is taken
def load_model(path: str | Path, *, backbone: Any = None) -> Model:
    """Read a model file. Nothing in it is executed, and everything is checked.

    Parameters
    ----------
    path : path-like
        A file that `Model.save` or ``featx train`` wrote.
    backbone : torch.nn.Module or Backbone, optional
        The network, for a model that was trained on one of your own: the file holds its identity, not its
        values. Without it, such a model predicts from embeddings only (`Model.predict_proba`).

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
    from featx.estimators.model_file import check_description, read_model_file, rebuild, rebuild_unsure

    if backbone is not None:
        require_module(backbone)
    path = Path(path)
    meta, arrays = read_model_file(path)
    # The inner block says what is wrong, this one in which file.
    with as_one_error(lambda reason: InputError(f"{path}: not a model file of featx, or damaged ({reason})")):
        try:
            classes = check_description(meta)
            check_states_network(meta["space"], "space of model.json")
            unsure = rebuild_unsure(meta["info"], arrays, meta["classifier"])
            model = Model(
                classifier=rebuild(meta["classifier"], arrays, len(classes)),
                classes=classes,
                space=meta["space"],
                backbone=meta["backbone"],
                info=meta["info"],
                unsure=unsure,
            )
        except FeatxError as error:
            kind = ModelMismatch if isinstance(error, ModelMismatch) else InputError
            raise kind(f"{path}: {error}") from None
    if backbone is not None:
        matching_embedder(model.space, model.backbone, str(path), DEFAULT_RUN, module=backbone)
        model.module = backbone
    return model
