"""What an input costs a run of millions: memory of the driver, time, time to resume, bytes on disk.

``OMP_NUM_THREADS=1 python tests/benchmarks/bench_ten_million.py 10000 100000 1000000`` extracts that many
tiny images (8 x 8 pixels, made when they are read) with a network of one layer into a features file, each
number in a process of its own, and then again with all rows in the cache. Printed are, for each number:
microseconds an input of the whole run, inputs a second of the second run up to the first row that is read
("known") and in all ("resumed"), bytes an input by which the largest resident memory exceeds that of a run of
1,000, and bytes an input of the cache and of the file. ``--trace`` adds the peak of Python's own memory in
the second run.

Keys of the stat cache are made up, so that no file is asked for; a ``stat`` of a local file takes 1 to 2
microseconds more. ``--in-memory`` returns the rows as an array instead.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_DIM = 16


@dataclass(frozen=True, slots=True)
class TinyImage:
    """An image of 8 x 8 pixels that is made of its number when it is read."""

    id: str
    kind = "image"
    is_file = True

    def read(self) -> Any:
        """Make the pixels."""
        from featx.cache import digest_bytes
        from featx.inputs.image.source import ImageContent

        number = int(self.id)
        pixels = np.frombuffer((number.to_bytes(8, "little") * 24), np.uint8).reshape(8, 8, 3)
        return ImageContent(digest_bytes(self.id.encode()), self.id, pixels)

    def stat_key(self) -> tuple[str, int, int, int]:
        """Return a key as a file would have it."""
        return f"/synthetic/{self.id[:4]}/{self.id}.png", 192, 1, 1


def make_dataset(n: int) -> Any:
    """Return a dataset of n tiny images, compact."""
    from featx.data import Dataset
    from featx.data.compact_inputs import CompactInputs
    from featx.data.string_column import StringColumn

    ids = StringColumn.of([f"{i:09d}" for i in range(n)])
    return Dataset("synthetic", CompactInputs("image", ids, TinyImage))


def peak() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(one.stat().st_size for one in files)


def run(n: int, folder: Path, in_memory: bool, trace: bool) -> dict[str, float]:
    """Extract n inputs once or, where the cache has them, again; return the measures."""
    import torch
    from torch import nn

    from featx import extract
    from featx.extraction.run import _Run

    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, _DIM, 8), nn.Flatten())
    known: list[float] = []
    read = _Run._read

    def note(self: Any, positions: np.ndarray) -> None:
        known.append(time.perf_counter())
        read(self, positions)

    _Run._read = note  # type: ignore[method-assign]
    options: dict[str, Any] = {
        "backbone": network,
        "preprocessing": {
            **{"resize": 8, "crop": (8, 8), "interpolation": "bilinear", "antialias": True},
            **{"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
        },
        "precision": "fp32",
        "engine": "eager",
        "batch_size": 128,
        "n_jobs": 1,
        "cache": folder / "cache",
    }
    if not in_memory:
        options["output"] = folder / "features.h5"
    extract(make_dataset(1000), **{**options, "cache": folder / "first"})  # what everything takes once
    dataset, before = make_dataset(n), peak()
    known.clear()
    if trace:
        tracemalloc.start()
    began = time.perf_counter()
    features = extract(dataset, **options)
    seconds = time.perf_counter() - began
    traced = tracemalloc.get_traced_memory()[1] if trace else 0
    return {
        "n": n,
        "computed": (features.run or {})["computed"],
        "seconds": seconds,
        "known": known[0] - began,
        "memory": peak() - before,
        "traced": traced,
        "cache": size_of(folder / "cache"),
        "shards": len(list((folder / "cache").rglob("shards/*.h5"))),
        "file": 0 if in_memory else size_of(folder / "features.h5"),
    }


def main() -> None:
    """Run each number in a process of its own, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--in-memory", action="store_true")
    parser.add_argument("--trace", action="store_true")
    parser.add_argument("--one", metavar="FOLDER", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(run(args.sizes[0], Path(args.one), args.in_memory, args.trace)))
        return
    for n in args.sizes:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, str(n), "--one", folder]
            command += ["--in-memory"] * args.in_memory
            first, again = (
                json.loads(
                    subprocess.run(
                        [*command, *more], check=True, stdout=subprocess.PIPE, text=True
                    ).stdout.splitlines()[-1]
                )
                for more in ([], ["--trace"] * args.trace)
            )
        per = {name: value / n for name, value in first.items()}
        print(
            f"{n:>10,} inputs: {per['seconds'] * 1e6:6.1f} us an input; known {n / again['known']:9,.0f}/s, "
            f"resumed {n / again['seconds']:9,.0f}/s; memory {per['memory']:6.0f} B (again "
            f"{again['memory'] / n:5.0f} B, traced {again['traced'] / n:5.0f} B); cache {per['cache']:5.0f} B "
            f"in {first['shards']} shards; file {per['file']:4.0f} B; computed {first['computed']:,} and "
            f"{again['computed']:,}",
            flush=True,
        )


if __name__ == "__main__":
    main()
