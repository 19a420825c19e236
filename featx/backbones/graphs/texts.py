"""Graphs that take tokens of texts: their inputs, the preparation of texts, and how their layers are pooled.

Such a graph has the input ``input_ids`` (n, length), and possibly ``attention_mask`` and ``token_type_ids``,
as exporters of transformers write them. Its tokenizer stands in the folder of the file or the one above, or
where the JSON file beside it says::

    {"tokenizer": "../tokenizer", "max_length": 256, "pooling": "mean"}

``tokenizer`` is a folder, relative to the file, or ``hf:NAME``. The other fields are those of
`TextPreparation`, and ``pooling`` is how tokens become one row where the graph does not do it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from featx.backbones.input_settings import InputSettings
from featx.backbones.layers.pooling import Tap
from featx.backbones.sources.hf.repository import Repository
from featx.backbones.sources.hf.text_networks import TextLayerRules
from featx.backbones.sources.hf.tokenizer import VOCABULARIES, HfTokenizer
from featx.durable import expand_user
from featx.errors import InputError
from featx.inputs.text import TextPreparation
from featx.options import POOLINGS_OF

IDS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"
#: What exporters call the output that is the scores of classes.
SCORES = "logits"
#: Fields of the JSON file beside a graph.
_FIELDS = ("tokenizer", "pooling", "max_length", "prefix", "long")


class TextGraphInput(NamedTuple):
    """The inputs of a graph of texts: by the name of each, its dtype; `length` is None where any is taken."""

    dtypes: Mapping[str, str]
    length: int | None = None

    def require(self, network: str, inputs: Any) -> None:
        """Refuse a graph that takes texts of one length only: shorter ones would need padding."""
        if self.length is not None:
            raise InputError(
                f"{network}: takes texts of {self.length} tokens only; export it for any length (with "
                "dynamic axes)"
            )
        inputs.preparation.require_place(network)

    def rows(self, x: Tensor) -> Iterator[dict[str, np.ndarray]]:
        """Yield what the graph takes for each text of a batch (n, t), without what stands behind its end."""
        for tokens in x.detach().cpu().numpy():
            ids = tokens[tokens >= 0][None]
            values = {IDS: ids, MASK: np.ones_like(ids), TYPES: np.zeros_like(ids)}
            yield {name: values[name].astype(dtype) for name, dtype in self.dtypes.items()}


class TextGraphRules(TextLayerRules):
    """How layers of a graph of texts are pooled, as those of other text networks.

    `default` is the pooling of tokens where none is asked for.
    """

    def __init__(self, default: str | None = None):
        self.default = default

    def find_tap(
        self, network: Any, layer: str, pooling: str | None, shape: Sequence[int], name: str
    ) -> tuple[Tap, int]:
        """Return how a layer is pooled; one row a text is taken as it is."""
        is_row = len(shape) == 2
        return super().find_tap(network, layer, pooling or (None if is_row else self.default), shape, name)


def text_graph_input(
    where: str, dtypes: Mapping[str, str | None], dims: Sequence[int | None]
) -> TextGraphInput:
    """Return the inputs of a graph by their names; `dims` are those of ``input_ids``. Refuse unknown ones."""
    unknown = [name for name in dtypes if name not in (IDS, MASK, TYPES)]
    if unknown:
        raise InputError(
            f"{where}: takes {unknown[0]!r}, which is not known; expected {IDS}, {MASK} and {TYPES}"
        )
    wrong = [name for name, dtype in dtypes.items() if dtype is None]
    if wrong or len(dims) != 2 or dims[0] not in (None, 1):
        raise InputError(f"{where}: its input {(wrong or [IDS])[0]!r} is not whole numbers (n, length)")
    return TextGraphInput({name: str(dtype) for name, dtype in dtypes.items()}, dims[1])


def read_text_preparation(
    path: Path, described: Mapping[str, Any] | None, settings: InputSettings, name: str
) -> tuple[TextPreparation, str | None]:
    """Return the preparation of texts for a graph file, and the pooling that is stated for it.

    `described` is the JSON file beside the graph, None where there is none; the option `preprocessing` may
    hold the same fields.
    """
    fields = {**(described or {}), **settings.of_kind("text", name)}
    unknown = [field for field in fields if field not in _FIELDS]
    if unknown:
        raise InputError(f"{name}: unknown field {unknown[0]!r} of texts; expected {', '.join(_FIELDS)}")
    pooling = fields.pop("pooling", None)
    if pooling not in (None, *POOLINGS_OF["text"]):
        raise InputError(f"{name}: pooling {pooling!r}; expected one of {', '.join(POOLINGS_OF['text'])}")
    tokenizer = HfTokenizer(_find_tokenizer(path, fields.pop("tokenizer", None), name), name)
    return TextPreparation(tokenizer).changed(fields), pooling


def _find_tokenizer(path: Path, stated: Any, name: str) -> Repository:
    if isinstance(stated, str) and stated.startswith("hf:"):
        return Repository(stated.removeprefix("hf:"))
    if stated is not None:
        if not isinstance(stated, str):
            raise InputError(f"{name}: tokenizer must be a folder or hf:NAME, got {stated!r:.60}")
        return Repository(str(path.parent / expand_user(stated)))
    for folder in (path.parent, path.parent.parent):
        if any((folder / file).is_file() for file in VOCABULARIES):
            return Repository(str(folder))
    raise InputError(
        f"{path}: no tokenizer is beside it; put its files (tokenizer.json) into the folder of the graph, or "
        f'write where they are into {path}.json: {{"tokenizer": "FOLDER"}} or {{"tokenizer": "hf:NAME"}}'
    )
