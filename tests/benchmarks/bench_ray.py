"""Extraction on two nodes of Ray, of one CPU each, on the loopback address.

``faults``: one node is killed at a random moment of each run. Counted are rows that differ from those of one
process, rows that are missing, and how often workers have read an image, which is at least as often as they
have computed its row.

``overhead``: images a second of both nodes, against one process with two threads, with an empty cache.

    python tests/benchmarks/bench_ray.py faults [--runs 20] [--images 3000]
    python tests/benchmarks/bench_ray.py overhead [--images 20000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from pictures import scene
from ray_nodes import add_node, await_workers, start_nodes, stop_nodes

import featx
from featx.clusters import open_cluster
from featx.extraction import embed, network_embedder
from featx.inputs.image import FileImage
from featx.options import Run


@dataclass(frozen=True)
class CountedImage:
    """A file whose reads by workers are noted in a file for each process."""

    id: str
    path: str
    notes: str
    driver: int
    kind = "image"
    is_file = True

    def read(self):
        if os.getpid() != self.driver:
            with open(f"{self.notes}/{os.getpid()}", "a") as file:
                file.write(self.id + "\n")
        return FileImage(self.id, self.path).read()

    def stat_key(self):
        return FileImage(self.id, self.path).stat_key()


def write_images(folder: Path, count: int, side: int) -> list[Path]:
    """Write JPEGs that are all different: one picture with the number in its first pixels."""
    folder.mkdir(parents=True)
    paths = []
    base = np.array(scene(side, side))
    from PIL import Image

    for i in range(count):
        pixels = base.copy()
        pixels[:8, :32] = np.unpackbits(np.array([i], ">u4").view(np.uint8))[None, :, None] * 255
        paths.append(folder / f"{i:06d}.jpg")
        Image.fromarray(pixels).save(paths[-1], quality=90)
    return paths


def tiny_embedder(**options):
    backbone = featx.load_backbone("squeezenet1_1", weights=None, image_size=64)
    return network_embedder(backbone, Run(engine="torch", precision="fp32", **options))


def faults(args, folder: Path) -> None:
    paths = write_images(folder / "images", args.images, 96)
    notes = folder / "notes"
    embedder = tiny_embedder()

    def images():
        return [CountedImage(path.name, str(path), str(notes), os.getpid()) for path in paths]

    notes.mkdir()
    began = time.perf_counter()
    expected = embed(images(), embedder, cache=folder / "alone").embeddings
    alone = time.perf_counter() - began
    shutil.rmtree(notes)
    nodes = start_nodes(1)
    draw = random.Random(args.seed)
    differ = missing = most = twice = 0
    try:
        for number in range(args.runs):
            node, moment = add_node(nodes), draw.uniform(0.05, 0.95) * alone
            notes.mkdir()
            with open_cluster("ray") as cluster:
                await_workers(cluster, 2)
                embed(images()[:256], embedder, cache=folder / "warm", on=cluster)  # workers import and build
                shutil.rmtree(folder / "warm")
                shutil.rmtree(notes)
                notes.mkdir()
                killer = threading.Timer(
                    moment, lambda node=node: nodes.remove_node(node, allow_graceful=False)
                )
                killer.start()
                rows = embed(images(), embedder, cache=folder / f"run{number}", on=cluster)
                killer.join()
            read = Counter(name for file in notes.iterdir() for name in file.read_text().split())
            differ += int((rows.embeddings != expected).any(axis=1).sum())
            missing += len(paths) - len(rows.kept)
            most = max(most, *read.values())
            twice += sum(count > 1 for count in read.values())
            print(
                f"run {number + 1}: killed after {moment:.1f} s; {rows.computed} rows computed and kept, "
                f"{sum(count > 1 for count in read.values())} images read twice, most {max(read.values())}",
                flush=True,
            )
            shutil.rmtree(notes)
            shutil.rmtree(folder / f"run{number}")
    finally:
        stop_nodes(nodes)
    print(
        f"{args.runs} runs of {len(paths)} images ({alone:.1f} s in one process): {differ} rows differ, "
        f"{missing} missing, an image read at most {most} times, {twice / args.runs:.0f} twice a run"
    )


def kill(nodes, node) -> None:
    """End all processes of a node at once, as when its machine loses power."""
    from ray._private.state import actors

    for actor in actors().values():
        if actor["Address"]["NodeID"] == node.node_id and actor["State"] == "ALIVE":
            os.kill(actor["Pid"], signal.SIGKILL)
    nodes.remove_node(node, allow_graceful=False)


def overhead(args, folder: Path) -> None:
    paths = write_images(folder / "images", args.images, 96)
    sources = [FileImage(path.name, str(path)) for path in paths]
    embedder = tiny_embedder()
    nodes = start_nodes(2)
    alone, both = [], []
    try:
        with open_cluster("ray") as cluster:
            await_workers(cluster, 2)
            for number in range(args.rounds + 1):
                for seconds, on in ((alone, None), (both, cluster)):
                    began = time.perf_counter()
                    rows = embed(sources, embedder, cache=folder / f"{number}-{on is None}", on=on)
                    if number:  # the first round imports and builds
                        seconds.append(time.perf_counter() - began)
                    assert rows.computed == len(paths)
                    shutil.rmtree(folder / f"{number}-{on is None}")
    finally:
        stop_nodes(nodes)
    one, two = statistics.median(alone), statistics.median(both)
    print(
        f"{len(paths)} images: one process, 2 threads: {len(paths) / one:.0f} img/s; two nodes of 1 CPU: "
        f"{len(paths) / two:.0f} img/s; overhead {100 * (two / one - 1):+.1f} % "
        f"({min(b / a for a, b in zip(alone, both, strict=True)) - 1:+.1%} to "
        f"{max(b / a for a, b in zip(alone, both, strict=True)) - 1:+.1%})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("faults", "overhead"))
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.images = args.images or (3000 if args.what == "faults" else 20_000)
    with tempfile.TemporaryDirectory() as folder:
        (faults if args.what == "faults" else overhead)(args, Path(folder))


if __name__ == "__main__":
    main()
