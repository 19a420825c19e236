"""Wait for rows that other runs have claimed, and take over the claims of silent runs."""

from __future__ import annotations

import time
import warnings

import numpy as np

from featx.cache.sidecar import read_cost
from featx.extraction.commit_buffer import COMMIT_SECONDS
from featx.extraction.digests import Digests
from featx.extraction.embedder_run import EmbedderRun
from featx.extraction.profile import Profile
from featx.forks import uninterrupted
from featx.progress import Progress

#: Rows that are looked for at a time.
_LOOK = 1 << 13
#: Seconds between two looks for rows that others have committed.
_WAIT_SECONDS = 0.05
#: A run without a sign of life is given up after this time plus the time of some batches.
_PATIENCE_SECONDS = 1.5 * COMMIT_SECONDS
_MOST_PATIENCE_SECONDS = 600.0
_PATIENCE_BATCHES = 8


def wait_for_others(
    members: list[EmbedderRun],
    elsewhere: list[np.ndarray],
    digests: Digests,
    profile: Profile,
    progress: Progress,
) -> np.ndarray:
    """Wait for the rows that other runs have claimed, and return the positions of those to compute here.

    These are rows that another run gave up, and rows of a run that shows no sign of life because it was
    stopped or hangs. `elsewhere` has the positions of the claimed rows for each member, and `digests` their
    digests; rows that were committed, or are returned, are removed from it; the others stay, to be waited for
    at the next call. `profile` tells what a row costs.

    A look takes the first of them and puts those that stay behind the others, so that of millions all have
    their turn.
    """
    patience = [_patience(member, profile) for member in members]
    while True:
        given_up: list[np.ndarray] = []
        idle = True
        for number, (member, seconds) in enumerate(zip(members, patience, strict=True)):
            some, others = np.split(elsewhere[number], [_LOOK])
            if not len(some):
                continue
            member.store.refresh()
            if silent := member.store.claims.void_silent(seconds):
                warnings.warn(
                    f"{', '.join(silent)} has claimed rows and shown no sign of life for "
                    f"{seconds:.0f} s; what it leaves undone is computed here",
                    RuntimeWarning,
                    stacklevel=5,
                )
            uncommitted = member.store.lacking(some, digests)
            with uninterrupted():
                free = np.array(member.store.claims.free(digests.list(uncommitted)), dtype=bool)
            given_up.append(uncommitted[free])
            elsewhere[number] = np.concatenate([others, uncommitted[~free]])
            idle &= len(uncommitted) == len(some) or not len(elsewhere[number])
        todo = np.unique(np.concatenate([np.empty(0, np.int64), *given_up]))
        if len(todo) or not any(map(len, elsewhere)):
            return todo
        progress.update(0, "waiting for rows that another run computes")
        if idle:
            time.sleep(_WAIT_SECONDS)


def _patience(member: EmbedderRun, profile: Profile) -> float:
    """Return the seconds in which a healthy run claims or commits, if its rows cost what they cost here."""
    if member.checked is None:
        return _PATIENCE_SECONDS
    engine = member.checked.engine
    if profile.images:
        cost = sum(spent for stage, spent in profile.stages.items() if stage != "commit") / profile.images
    else:
        cost = max(1, engine.workers) * (read_cost(member.store.path) or 0.0)
    return min(_PATIENCE_SECONDS + _PATIENCE_BATCHES * engine.batch_size * cost, _MOST_PATIENCE_SECONDS)
