"""Compute rows while the inputs of a large folder are still being listed.

The listing runs in a thread of its own and hands over some thousand inputs at a time, in the order in which
it finds them. Their rows go into the cache; when the listing has ended, the dataset is made as always, and
its rows are read from there. A folder that turns out to be wrong is refused as always, and the rows were in
vain.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence

from featx.data import Dataset, skip_hint
from featx.data.readers.folders.early import told_early
from featx.errors import SourceError
from featx.extraction.embedder import Embedder
from featx.extraction.embedder_run import Rows
from featx.extraction.parts import Part
from featx.extraction.run import embed
from featx.inputs import Source
from featx.options import Run

#: Inputs that are computed at a time, if so many were found meanwhile.
_MOST = 1 << 16


def compute_while_listing(
    load: Callable[[], Dataset], embedder_of: Callable[[str], Embedder], run: Run
) -> tuple[Dataset, list[Rows]]:
    """Return the dataset that `load` returns, and what was computed meanwhile, without rows.

    `embedder_of` gets the kind of the inputs. Errors of loading and of computing end both. Nothing is
    computed ahead in int8, which is calibrated on the first inputs of the dataset.
    """
    listing = _Listing(load)
    done: list[Rows] = []
    try:
        first: Sequence[Source] | None = None
        for sources in listing.batches():
            if first is None:
                first, embedder = sources, embedder_of(sources[0].kind)
            if not embedder.needs_calibration:
                # All batches are of one collection, which is known by its first inputs.
                collection = Part(1, 1, first)
                done.append(embed(sources, embedder, part=collection, read=False, **run.embedding))
    except SourceError as error:
        raise type(error)(error.id, f"{error.reason}; {skip_hint(embedder.preparation.kind)}") from error
    finally:
        listing.stop()
    return listing.dataset(), done


def add_earlier(rows: Rows, earlier: Sequence[Rows]) -> None:
    """Add to the account of a run what was computed before its inputs were all known."""
    if not earlier:
        return
    first = earlier[0]
    profile = first.profile
    for other in (*(one.profile for one in earlier[1:]), rows.profile):
        profile.merge(other)
        profile.wall += other.wall
        profile.building += other.building
        profile.comparing += other.comparing
    rows.profile = profile
    rows.computed += sum(one.computed for one in earlier)
    rows.forward_passes += sum(one.forward_passes for one in earlier)
    rows.seconds["total"] += sum(one.seconds["total"] for one in earlier)
    rows.mismatch = rows.mismatch or first.mismatch
    rows.parity = first.parity or rows.parity


class _Stopped(Exception):
    """The listing is not needed any more."""


class _Listing:
    """A dataset that is loaded in a thread, which tells of the inputs that it finds."""

    def __init__(self, load: Callable[[], Dataset]) -> None:
        self._load = load
        self._found: queue.SimpleQueue[Sequence[Source] | None] = queue.SimpleQueue()
        self._stopped = False
        self._dataset: Dataset | None = None
        self._error: BaseException | None = None
        # It may hang in a network folder; neither an error nor the end of the process waits for it.
        threading.Thread(target=self._list, name="featx-list", daemon=True).start()

    def _list(self) -> None:
        try:
            with told_early(self._tell):
                self._dataset = self._load()
        except BaseException as error:  # raised again where the dataset is asked for
            self._error = error
        finally:
            self._found.put(None)

    def _tell(self, sources: Sequence[Source]) -> None:
        if self._stopped:
            raise _Stopped
        self._found.put(sources)

    def batches(self) -> Iterator[Sequence[Source]]:
        """Yield the inputs that were found since the last batch, until the listing ends."""
        while self._error is None and (sources := self._found.get()) is not None:
            batch = list(sources)
            while len(batch) < _MOST and not self._found.empty():
                more = self._found.get()
                if more is None:
                    self._found.put(None)
                    break
                batch += more
            yield batch

    def stop(self) -> None:
        """End the listing when it tells of inputs again."""
        self._stopped = True

    def dataset(self) -> Dataset:
        """Return the dataset when `batches` has ended, or raise the error of loading it."""
        if self._error is not None:
            raise self._error
        assert self._dataset is not None
        return self._dataset
