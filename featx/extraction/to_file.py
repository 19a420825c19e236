"""Extract into a features file, whose rows are never all in memory; also one for the time of a study."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from featx.cache import Cache
from featx.data import Dataset
from featx.data.features import FeaturesWriter
from featx.durable import make_folder, part_name
from featx.extraction.embedder import Embedder
from featx.extraction.embedder_run import Rows
from featx.extraction.run import Take


def write_rows(
    path: str | os.PathLike[str],
    dataset: Dataset,
    embed: Callable[[Take], Rows],
    refuse: Callable[[Rows], None],
) -> Rows:
    """Write the rows that `embed` hands over, with ids, labels and splits, to a file; return the account.

    The file appears whole when all rows are written, or not at all. `refuse` raises an error if the rows must
    not be written, such as when there are none.
    """
    with contextlib.ExitStack() as stack:
        opened: list[FeaturesWriter] = []

        def open_writer(embedder: Embedder) -> FeaturesWriter:
            writer = FeaturesWriter(
                path, dataset, embedder.dim, embedder.dtype, embedder.space.fields, embedder.about
            )
            return stack.enter_context(writer)

        def take(embedder: Embedder, positions: np.ndarray, rows: np.ndarray) -> None:
            # Only now the embedder is known: it may be another one than the one asked for.
            if not opened:
                opened.append(open_writer(embedder))
            opened[0].write(positions, rows)

        rows = embed(take)
        refuse(rows)
        writer = opened[0] if opened else open_writer(rows.embedder)
        writer.finish(rows.failures)
    return rows


def temporary_path(cache: Any, embedder: Embedder) -> Path | None:
    """Return a new path for rows beside the cache's; a later run removes it if this process is killed.

    A cache has room for such rows; a folder of the system for temporary files may be in memory. None if the
    cache cannot be written: it may still have all rows.
    """
    root = cache if isinstance(cache, Cache) else Cache(cache)
    folder = root.space(embedder.space).path / "tmp"
    try:
        make_folder(folder)
    except OSError:
        return None
    return folder / part_name() if os.access(folder, os.W_OK) else None
