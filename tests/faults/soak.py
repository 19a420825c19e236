"""Two extractors, a reader and a compaction on one cache, all of them killed again and again.

``python tests/faults/soak.py --minutes 20`` (``make soak``). Each generation extracts the same
images into a new space, in spite of the kills; what is in the cache in the end is compared row by
row, bit by bit, with an extraction that nobody disturbed. Exit status 1 when a row is lost or wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

from pictures import BACKBONE, picture  # noqa: E402

from featx.cache import Cache, digest_bytes  # noqa: E402

N = 2400
ROLES = ("first extractor", "second extractor", "reader", "compaction")


def options(generation: int) -> dict:
    # One image at a time: a row then has the same bits whatever was extracted with it.
    return {"backbone": BACKBONE, "weights": None, "image_size": 32 + 2 * generation, "batch_size": 1}


# What the processes do


def work(role: str, folder: Path, generation: int) -> None:
    from featx import extract
    from featx.cache import compaction
    from featx.extraction import commit_buffer

    photos = sorted((folder / "photos").iterdir())
    if role.endswith("extractor"):
        commit_buffer.COMMIT_BYTES = 16 * 4096
        part = photos[: 2 * N // 3] if role.startswith("first") else photos[N // 3 :]
        extract([str(path) for path in part], **options(generation), cache=folder / "cache")
        return
    expected = np.load(folder / f"expected{generation}.npz")
    digests = [digest_bytes(path.read_bytes()) for path in photos]
    cache = Cache(folder / "cache")
    (space,) = Cache(folder / f"fresh{generation}").spaces()
    compaction._TARGET_BYTES = 2**20
    seen = np.zeros(N, dtype=bool)
    while True:
        store = cache.space(space)
        if role == "compaction":
            compaction.compact(store)
            time.sleep(0.5)
            continue
        rows, found = store.read(digests)
        wrong = found.any() and (rows[found] != expected["rows"][found]).any(axis=1).sum()
        if (seen & ~found).any() or wrong:
            lost = (seen & ~found).sum()
            (folder / "wrong.txt").write_text(f"a reader met {lost} lost and {wrong} wrong rows")
        seen |= found
        time.sleep(0.05)


# The one that kills


def soak(minutes: float, seed: int) -> int:
    from featx import extract

    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        for i in range(N):
            picture((i % 251, i % 83, i % 31), i).save(folder / "photos" / f"{i:04d}.png")
        photos = [str(path) for path in sorted((folder / "photos").iterdir())]
        end, kills, generation, compared = time.monotonic() + 60 * minutes, 0, 0, 0
        while time.monotonic() < end:
            fresh = extract(photos, **options(generation), cache=folder / f"fresh{generation}")
            np.savez(folder / f"expected{generation}.npz", rows=fresh.embeddings)
            killed, reruns = torment(folder, generation, chance, end)
            kills += killed
            final = extract(photos, **options(generation), cache=folder / "cache")
            wrong = int((final.embeddings != fresh.embeddings).any(axis=1).sum())
            missing = final.run["forward_passes"]
            compared += N
            print(
                f"generation {generation}: {killed} kills, {reruns} starts of extractors, "
                f"{N} rows compared, {wrong} wrong, {missing} missing",
                flush=True,
            )
            if wrong or missing or (folder / "wrong.txt").exists():
                print("FAILED", (folder / "wrong.txt").read_text() if (folder / "wrong.txt").exists() else "")
                return 1
            generation += 1
        verified = Cache(folder / "cache").verify()
        told = {"kills": kills, "generations": generation, "rows_compared": compared, "lost": 0, "wrong": 0}
        told |= {"shards_verified": verified.shards, "damaged": len(verified.damaged)}
        print(json.dumps(told))
        return 1 if verified.damaged else 0


def torment(folder: Path, generation: int, chance: random.Random, end: float) -> tuple[int, int]:
    """Start all roles, kill them at random, until both extractors have come to their end."""
    running: dict[str, subprocess.Popen] = {}
    done: set[str] = set()
    kills = starts = 0
    while not {"first extractor", "second extractor"} <= done:
        for role in ROLES:
            process = running.get(role)
            if process is not None and process.poll() is not None:
                if process.returncode == 0:
                    done.add(role)
                elif process.returncode > 0:
                    (folder / "wrong.txt").write_text(f"{role} failed with status {process.returncode}")
                    done |= set(ROLES)
            if role not in done and (process is None or process.poll() is not None):
                command = [sys.executable, __file__, "--work", role, str(folder), str(generation)]
                running[role] = subprocess.Popen(command)
                starts += role.endswith("extractor")
        time.sleep(chance.uniform(0.2, 3.0))
        if time.monotonic() < end:  # then let them come to their end
            role = chance.choice(ROLES)
            process = running[role]
            if process.poll() is None:
                process.kill()
                process.wait()
                kills += 1
    for process in running.values():
        if process.poll() is None:
            process.kill()
            kills += 1
        process.wait()
    return kills, starts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        role, folder, generation = args.work
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        work(role, Path(folder), int(generation))
        return 0
    return soak(args.minutes, args.seed)


if __name__ == "__main__":
    sys.exit(main())
