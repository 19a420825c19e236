"""Rows of the inputs themselves, which no network has made: what the references are fitted on.

Each kind of input has its own (`_ROWS_OF`), and references that take them (`Probe.inputs`). A new kind adds a
function here, and its references to the catalogue of probes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from featx.backbones import load_backbone
from featx.data import Dataset
from featx.extraction import (
    Embedder,
    embed,
    extract_for_study,
    network_embedder,
    pixel_embedder,
    stays_in_file,
)
from featx.inputs.audio.kaldi import has_kaldi
from featx.options import Run
from featx.studies.evaluation.text_rows import TextRows
from featx.terminal import tell

#: What a study of features says of the references that it lacks.
MISSING = {
    "image": "no raw-pixel reference",
    "text": "no TF-IDF reference",
    "clip": "no filter-bank reference",
}
#: What makes the rows of clips.
_FILTER_BANKS = "kaldi:fbank"


def rows_of_inputs(dataset: Dataset, run: Run) -> dict[str, Any]:
    """Return rows of all inputs, by the name of the reference that is fitted on them."""
    return _ROWS_OF[dataset.kind](dataset, run)


def _shrink(dataset: Dataset, run: Run) -> dict[str, Any]:
    return {"pixels": _rows(dataset, pixel_embedder(), run)}


def _read(dataset: Dataset, run: Run) -> dict[str, Any]:
    return {"tfidf": TextRows(dataset.inputs)}


def _filter(dataset: Dataset, run: Run) -> dict[str, Any]:
    """Return mean and deviation of each filter bank; nothing where the package for it is missing."""
    if not has_kaldi():
        tell(f"{MISSING['clip']}: kaldi-native-fbank is not installed (pip install 'featx[audio]')")
        return {}
    plain = replace(run, engine="torch", device="cpu", precision="fp32", dtype="float32")
    return {"filterbanks": _rows(dataset, network_embedder(load_backbone(_FILTER_BANKS), plain), plain)}


def _rows(dataset: Dataset, embedder: Embedder, run: Run) -> Any:
    """Return the rows of all inputs, (n, d): an array, or `StoredRows` of many."""
    if stays_in_file(dataset, embedder, run):
        # What there is to say of the inputs is said with the rows of the network.
        return extract_for_study(dataset, embedder, replace(run, verbose=False)).embeddings
    return embed(dataset.inputs, embedder, **run.embedding).embeddings


_ROWS_OF: dict[str, Callable[[Dataset, Run], dict[str, Any]]] = {
    "image": _shrink,
    "text": _read,
    "clip": _filter,
}
