"""Wait for rows that other runs have claimed, and take over the claims of silent runs."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence

from featx.cache.sidecar import read_cost
from featx.extraction.commit_buffer import COMMIT_SECONDS
from featx.extraction.embedder_run import EmbedderRun
from featx.extraction.profile import Profile
from featx.forks import uninterrupted
from featx.progress import Progress

#: Seconds between two looks for rows that others have committed.
_WAIT_SECONDS = 0.05
#: A run without a sign of life is given up after this time plus the time of some batches.
_PATIENCE_SECONDS = 1.5 * COMMIT_SECONDS
_MOST_PATIENCE_SECONDS = 600.0
_PATIENCE_BATCHES = 8


def wait_for_others(
    members: Sequence[EmbedderRun],
    elsewhere: Sequence[dict[int, bytes]],
    profile: Profile,
    progress: Progress,
) -> list[int]:
    """Wait for the rows that other runs have claimed, and return the positions of those to compute here.

    These are rows that another run gave up, and rows of a run that shows no sign of life because it was
    stopped or hangs. `elsewhere` has positions and digests of the claimed rows for each member; rows that
    were committed, or are returned, are removed from it; the others stay, to be waited for at the next call.
    `profile` tells what a row costs.
    """
    patience = [_patience(member, profile) for member in members]
    while True:
        left: set[int] = set()
        waiting = False
        for member, others, seconds in zip(members, elsewhere, patience, strict=True):
            if others:
                member.store.refresh()
                if silent := member.store.claims.void_silent(seconds):
                    warnings.warn(
                        f"{', '.join(silent)} has claimed rows and shown no sign of life for "
                        f"{seconds:.0f} s; what it leaves undone is computed here",
                        RuntimeWarning,
                        stacklevel=5,
                    )
            committed = member.store.held(list(others.values()))
            for i, digest in list(others.items()):
                if digest in committed:
                    del others[i]
            with uninterrupted():
                free = member.store.claims.free(list(others.values()))
            given_up = [i for i, is_free in zip(others, free, strict=True) if is_free]
            for i in given_up:
                del others[i]
            left.update(given_up)
            waiting |= bool(others)
        if left or not waiting:
            return sorted(left)
        progress.update(0, "waiting for rows that another run computes")
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
