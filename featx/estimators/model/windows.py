"""Take recordings apart into windows for a model of clips, each of which gets a prediction of its own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.data import Dataset, skip_hint
from featx.errors import InputError, SourceError
from featx.inputs import Source
from featx.inputs.audio.cutting import cut_into_windows, seconds_of

if TYPE_CHECKING:
    from featx.estimators.model.model import Model

#: Name in a model's `info` of the median length of the clips that it was trained on, in seconds.
SECONDS = "clip_seconds"
#: Most clips whose length is measured.
_MEASURED = 100
#: A model whose usual clip is shorter than this share of a window was trained on whole clips, not on windows.
_LIKE_A_WINDOW = 0.5


@dataclass(frozen=True)
class Windows:
    """How recordings are taken apart: seconds of a window, and from the start of one to that of the next."""

    window: float
    hop: float
    why: str

    def __str__(self) -> str:
        return f"windows of {self.window:g} s every {self.hop:g} s, {self.why}"


def choose_windows(model: Model, window: float | None, hop: float | None) -> Windows:
    """Return the windows that are asked for, or those whose rows the model joined in training.

    Raises
    ------
    InputError
        The model takes no clips; or no window is given, and there is none that it was trained on: its clips
        were much shorter than what its network takes at a time, it puts the rows of several windows beside
        each other, or it is an ensemble of networks with different windows.
    """
    if model.kind != "clip":
        raise InputError(f"predictions by window are for models of clips, and this model takes {model.kind}s")
    if window is not None:
        return Windows(float(window), float(hop or window), "as asked for")
    say = "say how long a window is to be: --window S (in Python window=S)"
    stated = [one.backbone["preprocessing"] for one in model.members or (model,)]
    own = [(one["window"], one["hop"] or one["window"], one["join"]) for one in stated]
    if len(set(own)) > 1:
        raise InputError(f"the networks of this ensemble take different windows; {say}")
    width, step, join = own[0]
    if join.startswith("concat"):
        count = join.removeprefix("concat:")
        raise InputError(
            f"the model puts the rows of {count} windows of each clip side by side, so that one window of "
            f"{width:g} s has no row; {say}, such as that of a training clip"
        )
    usual = model.info.get(SECONDS)
    if isinstance(usual, (int, float)) and usual < _LIKE_A_WINDOW * width:
        raise InputError(
            f"the model was trained on whole clips (half of them shorter than {usual:.2g} s), and its "
            f"network takes {width:g} s at a time, in which such a clip would be lost; {say}, such as "
            f"--window {usual:.2g}"
        )
    return Windows(width, float(hop or step), "those of the model (--window and --hop change them)")


@dataclass(frozen=True)
class Window:
    """A window of a recording: the recording's id, and where it begins and ends in seconds."""

    id: str
    start: float
    end: float


def take_apart(dataset: Dataset, windows: Windows, on_error: str) -> tuple[Dataset, list[Window]]:
    """Return all windows of all recordings, in order, as a dataset of clips, and what they are windows of.

    With ``on_error="skip"``, recordings that cannot be read are among the failures of its reading.
    """
    clips: list[Source] = []
    found: list[Window] = []
    failures = list(dataset.reading.failures)
    for source in dataset.inputs:
        try:
            cut = cut_into_windows(source, windows.window, windows.hop)
        except SourceError as error:
            if on_error == "raise":
                raise type(error)(error.id, f"{error.reason}; {skip_hint(dataset.kind)}") from error
            failures.append(error)
            continue
        for segment, clip in cut:
            assert segment.stop is not None
            clips.append(clip)
            found.append(Window(source.id, segment.start, segment.stop))
    reading = replace(dataset.reading, failures=tuple(failures))
    return Dataset(dataset.name, clips, reading=reading), found


def usual_seconds(sources: Sequence[Any]) -> float | None:
    """Return the median length of clips in seconds, of those that can be read among `_MEASURED` of them."""
    lengths = []
    for source in sources[:: max(1, len(sources) // _MEASURED)]:
        with suppress(SourceError):
            lengths.append(seconds_of(source))
    return float(np.median(lengths)) if lengths else None
