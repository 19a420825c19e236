"""How fast the cache reads, against one contiguous HDF5 dataset in the same run; and a million rows.

``python tests/benchmarks/bench_cache.py [--rounds 7] [--folder DIR]`` needs 1.5 GB in the folder. Rounds
are taken in turn, the medians are shown, and every row that is read is checked against its checksum.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

import featx
from featx.cache import Cache, Space
from featx.cache.compaction import compact

COMMIT_BYTES = 4 * 2**20  # what an extraction commits at once


def filled(root: Path, n: int, dim: int, dtype: type = np.float32):
    """A space of `n` made-up rows, its digests, and how long a publication took."""
    rng = np.random.default_rng(0)
    raw = rng.bytes(32 * n)
    digests = [raw[i : i + 32] for i in range(0, len(raw), 32)]
    rows = rng.standard_normal((n, dim), dtype=np.float32).astype(dtype)
    space = Space({"n": n, "dim": dim, "dtype": np.dtype(dtype).name})
    store = Cache(root).space(space)
    step = COMMIT_BYTES // (dim * 4)
    seconds = []
    for start in range(0, n, step):
        began = time.perf_counter()
        store.publish(digests[start : start + step], rows[start : start + step])
        seconds.append(time.perf_counter() - began)
    return space, digests, rows, statistics.median(seconds)


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def rounds(number: int, **works: Callable[[], object]) -> dict[str, float]:
    """Median seconds of each work, taken in turn after one warm round."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for number_of_round in range(number + 1):
        for name, work in works.items():
            seconds = timed(work)
            if number_of_round:
                taken[name].append(seconds)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def sixty_thousand(folder: Path, number: int) -> None:
    n, dim = 60_000, 1280
    space, digests, rows, publication = filled(folder / "c", n, dim)
    with h5py.File(folder / "contiguous.h5", "w") as file:
        file["x"] = rows
    out = np.empty((n, dim), np.float32)
    subset = np.sort(np.random.default_rng(1).choice(n, 600, replace=False)).tolist()
    shuffled = np.random.default_rng(2).permutation(n).tolist()

    def contiguous():
        with h5py.File(folder / "contiguous.h5") as file:
            file["x"].read_direct(out)

    def contiguous_new():
        with h5py.File(folder / "contiguous.h5") as file:
            return file["x"][:]

    def cached(wanted=None, into=None):
        store = Cache(folder / "c").space(space)
        asked = digests if wanted is None else [digests[i] for i in wanted]
        assert store.read(asked, into)[1].all()

    taken = rounds(
        number,
        contiguous=contiguous,
        cached=lambda: cached(into=out),
        contiguous_new=contiguous_new,
        cached_new=cached,
        subset=lambda: cached(subset),
        shuffled=lambda: cached(shuffled, out),
    )
    print(
        f"60,000 x 1280 float32, {len(Cache(folder / 'c').space(space).shard_paths())} shards, warm, "
        "opening included"
    )
    print(f"  one contiguous HDF5 dataset         {taken['contiguous']:.3f} s")
    print(
        f"  the cache, every row checked        {taken['cached']:.3f} s"
        f"  ({taken['cached'] / taken['contiguous']:.2f} x)"
    )
    print(f"  into a new array: contiguous        {taken['contiguous_new']:.3f} s")
    print(
        f"  into a new array: the cache         {taken['cached_new']:.3f} s"
        f"  ({taken['cached_new'] / taken['contiguous_new']:.2f} x)"
    )
    print(f"  600 random rows                     {taken['subset']:.3f} s")
    print(f"  all rows in another order           {taken['shuffled']:.3f} s")
    print(f"  publishing {COMMIT_BYTES // 5120} rows durably          {publication * 1000:.0f} ms")
    began = time.perf_counter()
    before, after = compact(Cache(folder / "c").space(space))
    print(f"  compacting {before} shards into {after}         {time.perf_counter() - began:.2f} s")
    print(f"  then the cache                      {rounds(number, c=lambda: cached(into=out))['c']:.3f} s")


def one_million(folder: Path, number: int) -> None:
    n, dim = 1_000_000, 128
    space, digests, _, _ = filled(folder / "m", n, dim)
    wanted = [digests[i] for i in np.random.default_rng(3).permutation(n)[:10_000].tolist()]
    cold = timed(Cache(folder / "m").space(space).refresh)
    store = Cache(folder / "m").space(space)
    opened = rounds(number, open=lambda: Cache(folder / "m").space(space).refresh())["open"]
    store.refresh()
    looked = rounds(number, look=lambda: store.missing(wanted), read=lambda: store.read(wanted))
    print(f"1,000,000 x 128 float32, {len(store.shard_paths())} shards")
    print(f"  opening, first time, without index  {cold:.3f} s")
    print(f"  opening                             {opened:.3f} s")
    print(f"  looking up 10,000 digests           {looked['look']:.4f} s")
    print(f"  reading 10,000 random rows          {looked['read']:.3f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    print(
        f"featx {featx.__version__}, h5py {h5py.__version__}, HDF5 {h5py.version.hdf5_version}, "
        f"numpy {np.__version__}, Python {platform.python_version()}, "
        f"{os.cpu_count()} cores, {platform.machine()}"
    )
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        sixty_thousand(Path(name), args.rounds)
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        one_million(Path(name), args.rounds)


if __name__ == "__main__":
    main()
