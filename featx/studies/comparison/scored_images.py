"""Score images, texts or clips with an anomaly detector fitted on normal ones; none of them needs a label."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Unpack

import numpy as np

from featx.analysis.neighbours import nearest
from featx.clusters import opens_cluster
from featx.data import Dataset
from featx.data.features import Features, check_rows
from featx.inputs.samples import Sample
from featx.metrics import flagged_by_chance
from featx.options import Network, Reading, Run, StudyOptions, checked
from featx.results import NOT_STORED, ScoresResult
from featx.results.scores import advise_on_scores, warn_of_threshold
from featx.studies.collections import describe_embeddings, embed_collections, find_copies_among
from featx.studies.comparison.anomaly import require_rows
from featx.studies.output import Reported, samples_of, texts_of
from featx.studies.units import find_units

#: Images that the report shows: the most anomalous ones, and those nearest to the threshold on either side.
SHOWN_ANOMALIES, SHOWN_EACH_SIDE = 24, 6
#: Normal images that the report shows as the least like the others.
SHOWN_DOUBTFUL = 6
#: The two sets, in keys of samples.
_NORMAL, _NEW = "normal", "new"


@dataclass
class ScoredImages(Reported, ScoresResult):
    """Scored images that can be saved; see `featx.results.scores` for its fields.

    Attributes
    ----------
    failures : list of Failure
        Images that could not be read.
    samples : dict of (str, str) to Sample
        What the report shows of inputs, by ``"normal"`` or ``"new"`` and id: see `featx.inputs.samples`.
    """

    failures: list[Any] = field(default_factory=list, kw_only=True)
    samples: dict[tuple[str, str], Sample] = field(default_factory=dict, metadata=NOT_STORED)


@checked(normal="data", images="data")
@opens_cluster
def find_anomalies(
    normal: Any,
    images: Any,
    *,
    detector: str = "knn",
    contamination: float = 0.05,
    backbone: Any = "auto",
    seed: int = 0,
    **options: Unpack[StudyOptions],
) -> ScoredImages:
    """Fit a detector on normal images, texts or clips and score others.

    Parameters
    ----------
    normal, images : as in `featx.extract`
        Normal inputs to train on, all of them (labels and splits are ignored), and those to score,
        of the same kind; also features.
    detector : str, default="knn"
        A name of `featx.methods.detectors.DETECTORS`.
    contamination : float, default=0.05
        Share of new normal inputs that the threshold is to flag. It is set by scores of normal inputs that
        the detector was not fitted on; those of a group and equal embeddings are held out together.
    backbone : str, torch.nn.Module or Backbone, default="auto"
        One backbone, as in `featx.extract`.
    seed : int, default=0
        Seed of detectors that use random numbers.
    **options
        Options of the network, of reading and of the run, as in `featx.extract`.

    Returns
    -------
    ScoredImages
        The most anomalous first, with ``ids``, ``decision``, ``p_values``, ``anomalous``, ``to_frame()``,
        ``advice`` and ``save(directory)``.

    Raises
    ------
    DatasetError
        Fewer than two normal inputs.
    InputError, UnknownName, WeightsError, ImageError, TextError, CacheError
        See `featx.errors`; `InputError` also for inputs of two kinds.
    """
    from featx.methods.detectors import get_detector

    started = time.perf_counter()
    wanted = get_detector(detector)
    # Labels are ignored, so folders are not divided into classes.
    network, reading, run = Network.of(options), Reading.of({"split_by": "none", **options}), Run.of(options)
    names, sets, opened = embed_collections(
        [normal, images], backbone, network=network, reading=reading, run=run, seed=seed, labelled=False
    )
    known, judged = sets
    require_rows(len(known), names[0], known.kind)
    for name, features in zip(names, sets, strict=True):
        check_rows(features.embeddings, features.ids, name, features.kind)
    units = find_units(known.groups, find_copies_among(known.embeddings, None, run), len(known))
    everything = np.arange(len(known))
    model = wanted.build(len(known), known.dim, contamination, seed)
    model.fit(known.embeddings, groups=units.of)
    decision, p_values = model.decision_function(judged.embeddings), model.p_values(judged.embeddings)
    order = np.argsort(decision, kind="stable")
    result = ScoredImages(
        ids=[judged.ids[i] for i in order],
        decision=decision[order],
        detector=wanted.name,
        n_train=len(known),
        p_values=p_values[order],
        held_out=(model.held_out_scores_ - model.offset_)[: model.n_held_out_],
        contamination=float(contamination),
        dataset={"name": names[1], "normal": names[0]},
        detector_title=wanted.title,
        units=units.describe(everything),
        search_for_copies=units.search,
        seed=seed,
        **describe_embeddings(sets),
    )
    result.failures = [failure for features in sets for failure in features.failures]
    result.shown = _choose_shown(result, known, judged.embeddings[order])
    if len(result.held_out) == len(known):
        lowest = np.argsort(result.held_out, kind="stable")[:SHOWN_DOUBTFUL].tolist()
        result.doubtful = [{"id": known.ids[i], "decision": float(result.held_out[i])} for i in lowest]
    if judged.groups is None and len(judged) and model.n_held_out_:
        flagged = int(result.anomalous.sum())
        result.chance = flagged_by_chance(flagged, len(judged), result.n_units, contamination)
    result.advice, result.warnings = advise_on_scores(result), warn_of_threshold(result)
    result.samples = _samples(opened, result)
    result.texts = texts_of(opened[1], result.ids)
    result.seconds_total = time.perf_counter() - started
    return result


def _choose_shown(result: ScoredImages, known: Features, rows: np.ndarray) -> list[dict[str, Any]]:
    """Choose the inputs to show, the most anomalous first, with the nearest normal input of each."""
    flagged = int(result.anomalous.sum())
    top = np.arange(min(SHOWN_ANOMALIES, len(rows)))
    beside = np.arange(max(flagged - SHOWN_EACH_SIDE, len(top)), min(flagged + SHOWN_EACH_SIDE, len(rows)))
    chosen = np.concatenate([top, beside])
    if not len(chosen):
        return []
    found, distances = nearest(rows[chosen], known.embeddings)
    return [
        {
            "id": result.ids[i],
            "decision": float(result.decision[i]),
            "p_value": float(result.p_values[i]),
            "normal": known.ids[near],
            "distance": float(distance),
            "threshold": i >= len(top),
        }
        for i, near, distance in zip(chosen.tolist(), found[:, 0].tolist(), distances[:, 0], strict=True)
    ]


def _samples(opened: Sequence[Dataset | None], result: ScoredImages) -> dict[tuple[str, str], Sample]:
    normal = {one["normal"] for one in result.shown} | {one["id"] for one in result.doubtful}
    wanted = ((_NORMAL, normal), (_NEW, {one["id"] for one in result.shown}))
    found: dict[tuple[str, str], Sample] = {}
    for dataset, (side, ids) in zip(opened, wanted, strict=True):
        if dataset is not None:
            found |= {(side, id): image for id, image in samples_of(dataset, ids).items()}
    return found
