"""The rows that an extraction returns, with what it took to get them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from featx.data.features import Failure
from featx.extraction.embedder import Embedder
from featx.extraction.profile import Profile


@dataclass
class Rows:
    """Rows of some inputs, by one embedder.

    Attributes
    ----------
    embeddings : ndarray of shape (n_readable, dim)
        In the order of the inputs; float32, or float16 where the embedder says so.
    kept : ndarray of shape (n_readable,), int64
        Positions of the inputs that could be read.
    embedder : Embedder
        Whose space the rows are in: the one asked for, or one of its fallbacks.
    failures : list of Failure
        The inputs that could not be read, with reasons.
    forward_passes : int
        Inputs that went through a network in this call.
    computed : int
        Rows that were computed in this call.
    seconds : dict
        ``total`` wall time.
    seconds_per_image : float or None
        Cost of a row of this space when rows were last computed here, without building the network; None
        when that is not known.
    mismatch : list of str
        Where the cache had nothing for this space: how it differs from the nearest space in the cache.
    profile : Profile
        Where the time of computing went.
    parity : dict
        How near the engine came to plain fp32 (`featx.engines.Parity`), and ``on`` what: the reference
        inputs, or for 64 new rows or more the collection. Empty when nothing was computed.
    """

    embeddings: np.ndarray
    kept: np.ndarray
    embedder: Embedder
    failures: list[Failure] = field(default_factory=list)
    forward_passes: int = 0
    computed: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    seconds_per_image: float | None = None
    mismatch: list[str] = field(default_factory=list)
    profile: Profile = field(default_factory=Profile)
    parity: dict[str, Any] = field(default_factory=dict)
