"""How fast images become rows from wherever they lie: a folder, archives, shards; each against the folder.

``python tests/benchmarks/bench_places.py [--images 5000] [--rounds 5] [--places folder zip tar ...]`` makes
small JPEG photographs, puts them into every place, and measures each in a process of its own, in turn; shown
are medians, and those of the ratios to the folder in the same round. "list" is the time until the dataset is
there, "read" that of reading every image for its digest, by one thread, and "extract" the whole, from the
list to the last row on the disk, with a cache of its own; imports and the building of the network are not
counted. Rows must be the same from every place.

A place is a line in `PLACES`: a function that puts the folder of class folders somewhere, and yields what
`featx.load_dataset` takes while it is there.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from remote_places import in_memory, in_s3, on_http

Place = Callable[[Path, Path], "contextlib.AbstractContextManager[str]"]
UNITS = ("list", "read", "extract")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@contextlib.contextmanager
def in_folder(folder: Path, work: Path) -> Iterator[str]:
    """The folder itself."""
    yield str(folder)


def in_zip(method: int) -> Place:
    """One zip."""

    @contextlib.contextmanager
    def put(folder: Path, work: Path) -> Iterator[str]:
        path = work / f"images-{method}.zip"
        if not path.exists():
            with zipfile.ZipFile(path, "w", method) as archive:
                for file in _files(folder):
                    archive.write(file, file.relative_to(folder))
        yield str(path)

    return put


@contextlib.contextmanager
def in_tar(folder: Path, work: Path) -> Iterator[str]:
    """One tar of class folders."""
    path = work / "images.tar"
    if not path.exists():
        with tarfile.open(path, "w") as archive:
            for file in _files(folder):
                archive.add(file, file.relative_to(folder))
    yield str(path)


@contextlib.contextmanager
def in_shards(folder: Path, work: Path) -> Iterator[str]:
    """A WebDataset of 500 samples a shard: key.jpg and key.cls."""
    shards = work / "shards"
    if not shards.exists():
        shards.mkdir()
        files = _files(folder)
        for start in range(0, len(files), 500):
            with tarfile.open(shards / f"{start // 500:04d}.tar", "w") as archive:
                for i, file in enumerate(files[start : start + 500], start):
                    for name, data in (
                        (f"{i:08d}.jpg", file.read_bytes()),
                        (f"{i:08d}.cls", file.parent.name),
                    ):
                        data = data.encode() if isinstance(data, str) else data
                        member = tarfile.TarInfo(name)
                        member.size = len(data)
                        archive.addfile(member, io.BytesIO(data))
    yield str(shards)


#: Where images may lie; the first is what the others are compared with.
@contextlib.contextmanager
def in_parquet(folder: Path, work: Path) -> Iterator[str]:
    """One Parquet file as Hugging Face writes it: {bytes, path}, 100 rows in a group."""
    import pyarrow
    from pyarrow import parquet

    path = work / "images.parquet"
    if not path.exists():
        files = _files(folder)
        images = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
        labels = [file.parent.name for file in files]
        parquet.write_table(pyarrow.table({"image": images, "label": labels}), path, row_group_size=100)
    yield str(path)


@contextlib.contextmanager
def in_saved(folder: Path, work: Path) -> Iterator[str]:
    """A dataset of Hugging Face, saved to disk."""
    import datasets

    path = work / "saved"
    if not path.exists():
        files = _files(folder)
        columns = {
            "image": [{"bytes": file.read_bytes(), "path": file.name} for file in files],
            "label": [file.parent.name for file in files],
        }
        features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
        datasets.Dataset.from_dict(columns, features=features).save_to_disk(path)
    yield str(path)


PLACES: dict[str, Place] = {
    "folder": in_folder,
    "zip": in_zip(zipfile.ZIP_STORED),
    "zip-deflated": in_zip(zipfile.ZIP_DEFLATED),
    "tar": in_tar,
    "shards": in_shards,
    "parquet": in_parquet,
    "saved": in_saved,
    "http": on_http,
    "memory": in_memory,
    "s3": in_s3,
}


def make_images(folder: Path, count: int, side: int) -> None:
    """Write photographs of soft shades with some noise, in ten class folders."""
    import numpy as np
    from PIL import Image

    for i in range(count):
        rng = np.random.default_rng(i)
        coarse = Image.fromarray(rng.integers(0, 256, (9, 7, 3), np.uint8)).resize((side, side))
        noisy = np.asarray(coarse) + rng.normal(0, 6, (side, side, 1))
        path = folder / f"class{i % 10}" / f"{i:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(path, quality=85)


def measure_one(args: argparse.Namespace) -> dict:
    """Measure one place, in this process."""
    import numpy as np

    import featx
    from featx.extraction import embed, network_embedder
    from featx.options import Run

    backbone = featx.load_backbone(args.backbone, weights=None, image_size=args.image_size)
    backbone.module  # noqa: B018  built before the clock starts
    with PLACES[args.one](Path(args.folder), Path(args.work)) as data, tempfile.TemporaryDirectory() as cache:
        began = time.perf_counter()
        sources = list(featx.load_dataset(data, labelled=False, split_by="none").inputs)
        listed = time.perf_counter()
        for source in sources:
            assert source.read().digest
        read = time.perf_counter()
        again = list(featx.load_dataset(data, labelled=False, split_by="none").inputs)
        rows = embed(again, network_embedder(backbone, Run(precision="fp32", engine="torch")), cache=cache)
        done = time.perf_counter()
    order = np.lexsort(rows.embeddings.T)  # places list the images in orders of their own
    return {
        "list": listed - began,
        "read": read - listed,
        "extract": done - read - rows.profile.building,
        "rows": hashlib.sha256(np.ascontiguousarray(rows.embeddings[order]).tobytes()).hexdigest(),
    }


def measure(args: argparse.Namespace, name: str, folder: str, work: str) -> dict:
    """Measure one place in a process of its own."""
    command = [sys.executable, __file__, "--one", name, "--folder", folder, "--work", work]
    command += ["--backbone", args.backbone, "--image-size", str(args.image_size)]
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {(done.stderr.strip() or 'failed').splitlines()[-1]}")
    result: dict = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def report(args: argparse.Namespace) -> None:
    """Measure all places in turn, and print a table."""
    first = next(iter(PLACES))
    names = list(dict.fromkeys([first, *args.places]))
    with tempfile.TemporaryDirectory() as root:
        folder, work = Path(root, "images"), Path(root, "work")
        work.mkdir()
        make_images(folder, args.images, args.side)
        for name in names:
            with PLACES[name](folder, work):
                pass
        taken: dict[str, list[dict]] = {name: [] for name in names}
        for number in range(args.rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                taken[name].append(measure(args, name, str(folder), str(work)))
                print(f"  round {number + 1}: {name}", file=sys.stderr, flush=True)
    same = {found["rows"] for each in taken.values() for found in each}
    print(f"{args.images} JPEGs of {args.side} px, {args.backbone} at {args.image_size} px")
    print(f"medians of {args.rounds} rounds; rows {'the same everywhere' if len(same) == 1 else 'DIFFER'}\n")
    print(f"{'place':<14}" + "".join(f"{unit + ' img/s':>16}{'of folder':>11}" for unit in UNITS))
    for name in names:
        cells = ""
        for unit in UNITS:
            rate = args.images / statistics.median(found[unit] for found in taken[name])
            pairs = zip(taken[first], taken[name], strict=True)
            ratio = statistics.median(of_folder[unit] / found[unit] for of_folder, found in pairs)
            cells += f"{rate:>16,.0f}{ratio:>11.2f}"
        print(f"{name:<14}{cells}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--places", nargs="+", choices=PLACES, default=list(PLACES))
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--one", choices=PLACES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure_one(args)))
    else:
        report(args)


if __name__ == "__main__":
    main()
