"""Processes that work on a cache and may be killed at any moment, and what must hold afterwards.

Run as ``python actors.py``, this is a nursery: it imports everything once and forks an actor for
each line that it reads, so that hundreds of kills take seconds.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from featx.cache import (
    Cache,
    Space,
    SpaceStore,
    claim_files,
    claims,
    compaction,
    digest_bytes,
    snapshot,
)
from featx.extraction import embed, pixel_embedder
from featx.inputs.image import PixelImage

SPACE = Space({"backbone": "killed"})
DIM, BATCH = 64, 5
#: Images that any actor may ever publish.
UNIVERSE = 4000
_NUMBER = {digest_bytes(b"%d" % i): i for i in range(UNIVERSE)}


def batch(start: int) -> tuple[list[bytes], np.ndarray]:
    """The batch that begins with image `start`: digests, and rows that follow from the number."""
    numbers = np.arange(start, start + BATCH)
    return [digest_bytes(b"%d" % i) for i in numbers], expected(numbers)


def expected(numbers: np.ndarray) -> np.ndarray:
    return (numbers[:, None] * 1000 + np.arange(DIM)).astype(np.float32)


# The actors. What one reports is in its log before it goes on.


def writer(store: SpaceStore, log: int, first: int, stop: int) -> None:
    for start in range(first, stop, BATCH):
        store.publish(*batch(start))
        os.write(log, b"%d\n" % start)


def compactor(store: SpaceStore, log: int) -> None:
    while True:
        compaction.compact(store)
        os.write(log, b"-1\n")


def indexer(store: SpaceStore, log: int) -> None:
    snapshot._INDEX_AFTER = 0
    while True:
        SpaceStore(store.root, store.space).refresh()
        os.write(log, b"-1\n")
        (store.path / "index.h5").unlink(missing_ok=True)


def collector(store: SpaceStore, log: int) -> None:
    while True:
        Cache(store.root).collect_garbage()
        os.write(log, b"-1\n")


def clearer(store: SpaceStore, log: int) -> None:
    while True:
        Cache(store.root).clear()
        os.write(log, b"-1\n")


def merger(store: SpaceStore, log: int, first: int, stop: int) -> None:
    """Publish into a cache of its own, and merge that one."""
    other = Cache(store.root.with_name("other")).space(SPACE)
    for start in range(first, stop, 2 * BATCH):
        other.publish(*batch(start))
        other.publish(*batch(start + BATCH))
        Cache(store.root).merge([other.root])
        os.write(log, b"%d\n%d\n" % (start, start + BATCH))


def far_extractor(store: SpaceStore, log: int, machine: int, first: int, stop: int) -> None:
    """An extractor on a machine of its own, which sees no lock of others; leases are short."""
    claim_files.boot_digits = lambda: f"{machine:08x}"
    claim_files.fcntl = claims.fcntl = SimpleNamespace(flock=lambda *_: None, LOCK_EX=0, LOCK_NB=0, LOCK_UN=0)
    claim_files.LEASE_SECONDS, claims._RENEW_SECONDS = 0.3, 0.05
    extractor(store, log, first, stop)


def extractor(store: SpaceStore, log: int, first: int, stop: int) -> None:
    warnings.filterwarnings("ignore", "the cached rows of .* were damaged or removed")
    for start in range(first, stop, BATCH):
        numbers = range(start, start + BATCH)
        rows = embed([picture(i) for i in numbers], pixel_embedder(8), cache=store.root, n_jobs=2).embeddings
        np.testing.assert_array_equal(rows, pixels(numbers))
        os.write(log, b"%d\n" % start)


def picture(number: int) -> PixelImage:
    """A picture of a size at which nothing is resized; no two are alike."""
    drawn = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return PixelImage(str(number), drawn)


def pixels(numbers: Iterable[int]) -> np.ndarray:
    """What an extractor must get."""
    drawn = np.stack([np.asarray(picture(number).pixels) for number in numbers])
    return drawn.reshape(len(drawn), -1).astype(np.float32) / 255


def check_extracted(root: Path, committed: set[int]) -> int:
    """As `check`, for what extractors reported; number of rows that are there."""
    store = Cache(root).space(pixel_embedder(8).space)
    numbers = [number for start in sorted(committed) for number in range(start, start + BATCH)]
    rows, found = store.read([picture(number).read().digest for number in numbers])
    assert found.all(), f"lost: {np.flatnonzero(~found)[:5]}"
    if numbers:
        np.testing.assert_array_equal(rows, pixels(numbers))
    return len(store)


# The nursery


def serve() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are nobody's business
    compaction._TARGET_BYTES = 8000  # two or three batches
    for line in sys.stdin:
        role, root, log, *rest = json.loads(line)
        if role.endswith("extractor"):
            importlib.import_module("featx.engines")  # once, and not in each of them
        pid = os.fork()
        if pid == 0:
            warnings.simplefilter("error")
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            try:
                globals()[role](Cache(root).space(SPACE), descriptor, *rest)
            except BaseException as error:
                os.write(descriptor, b"failed: %r\n" % error)
            os._exit(0)
        print(pid, flush=True)


class Nursery:
    """Starts actors on one cache and kills them."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.log = root, root.with_name(root.name + ".log")
        self.random = random.Random(seed)
        self.kills = 0
        source = Path(snapshot.__file__).parents[2]
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(os.environ, PYTHONPATH=str(source)),
        )

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._process.communicate()

    def round(self, *actors: tuple) -> None:
        """Start actors, wait until each has done something, and kill all of them at random moments."""
        before = self._reports()
        pids = []
        for role, *rest in actors:
            line = json.dumps([role, str(self.root), str(self.log), *rest])
            print(line, file=self._process.stdin, flush=True)
            pids.append(int(self._process.stdout.readline()))
        deadline = time.monotonic() + 30
        writers = sum(role in ("writer", "merger") or role.endswith("extractor") for role, *_ in actors)
        while time.monotonic() < deadline:
            new = self._reports()[len(before) :]
            if len(new) >= len(pids) and sum(line != "-1" for line in new) >= writers:
                break
            time.sleep(0.001)
        for pid in self.random.sample(pids, len(pids)):
            time.sleep(self.random.uniform(0, 0.03))
            try:
                os.kill(pid, signal.SIGKILL)
                self.kills += 1
            except ProcessLookupError:  # it had come to its end
                continue
            while time.monotonic() < deadline + 30:
                try:
                    os.kill(pid, 0)
                except ProcessLookupError:
                    break
                time.sleep(0.0005)

    def committed(self) -> set[int]:
        """First images of the batches that were reported as committed."""
        reports = self._reports()
        assert not [line for line in reports if line.startswith("failed")], reports[-3:]
        return {int(line) for line in reports} - {-1}

    def _reports(self) -> list[str]:
        text = self.log.read_text() if self.log.exists() else ""
        return text[: text.rfind("\n") + 1].splitlines()  # the last line may be half there


def check(root: Path, committed: set[int]) -> int:
    """Reopen a cache: all that was committed is there and exact, nothing else is; number of rows."""
    store = Cache(root).space(SPACE)
    keys = list(map(bytes, store.keys()))
    numbers = np.array([_NUMBER[key] for key in keys], dtype=int)  # a KeyError is a row of nobody
    rows, found = store.read(keys)
    assert found.all(), f"{np.count_nonzero(~found)} rows are known and cannot be read"
    if len(keys):
        np.testing.assert_array_equal(rows, expected(numbers))
    there, counts = np.unique(numbers // BATCH * BATCH, return_counts=True)
    assert (counts == BATCH).all(), "a batch is there by half"
    lost = committed - set(there.tolist())
    assert not lost, f"lost: {sorted(lost)}"
    return len(keys)


if __name__ == "__main__":
    serve()
