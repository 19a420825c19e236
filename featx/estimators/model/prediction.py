"""The prediction for one input or window, and predictions as rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from statistics import fmean
from typing import Any

from featx.results.shown import Shown


@dataclass(frozen=True)
class Prediction(Shown):
    """The prediction for one image, text or clip, or for a window of a recording.

    Attributes
    ----------
    id : str
        Id of the input; of a window, that of the recording.
    label : str
        The most probable class.
    probability : float
        Probability of `label`.
    probabilities : dict of str to float
        Probability of every class.
    unsure : bool or None
        Whether the probability is too low, or the input unlike those of the training (see `featx.train`).
        None if the model has no thresholds: it was trained with ``sure=None``, or before featx had them.
    reason : str
        Why it is unsure, else ``""``.
    text : str or None
        The text, where no file holds it; None for anything else.
    start, end : float or None
        Where a window of a recording begins and ends, in seconds; None for whole inputs.
    """

    id: str
    label: str
    probability: float
    probabilities: dict[str, float]
    unsure: bool | None = None
    reason: str = ""
    text: str | None = None
    start: float | None = None
    end: float | None = None


def merge_windows(predictions: Sequence[Prediction]) -> list[Prediction]:
    """Return one prediction for neighbouring windows of a recording with the same answer, sure or unsure.

    It reaches from the start of the first to the end of the last, and its probabilities are their means.
    """
    merged = []
    for _, same in groupby(predictions, key=lambda p: (p.id, p.label, p.unsure)):
        windows = list(same)
        means = {name: fmean(one.probabilities[name] for one in windows) for name in windows[0].probabilities}
        merged.append(
            replace(
                windows[0],
                end=windows[-1].end,
                probability=means[windows[0].label],
                probabilities=means,
                reason="; ".join(dict.fromkeys(one.reason for one in windows)),
            )
        )
    return merged


def prediction_rows(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Return flat rows ``id, label, probability, unsure, reason, p(CLASS) ...`` for a table.

    Behind the id are the columns ``text``, and ``start, end``, if a prediction has them.
    """
    texts = any(p.text is not None for p in predictions)
    windows = any(p.start is not None for p in predictions)
    return [
        {"id": p.id}
        | ({"text": p.text} if texts else {})
        | ({"start": p.start, "end": p.end} if windows else {})
        | {"label": p.label, "probability": p.probability, "unsure": p.unsure, "reason": p.reason}
        | {f"p({name})": value for name, value in p.probabilities.items()}
        for p in predictions
    ]
