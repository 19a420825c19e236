"""Folders and tables as nobody would make them: a dataset, or one error of featx; no pipe is opened."""

from __future__ import annotations

import os
import random
import shutil
import sys
from functools import partial

import pytest
from PIL import Image

from featx.data import load_dataset, read_table, summary_lines
from featx.errors import FeatxError

pytestmark = pytest.mark.faults

FOLDERS = ["train", "test", "training_set", "test_set", "seg_train", "site1", "a", "b", "1.0", "1", " ", "-1"]
FOLDERS += ["cafe\u0301", "caf\u00e9", "images", ".h", "__MACOSX", "out"]
FILES = ["1.png", "2.jpg", "x", "y.txt", "z.tga", ".s.png", "a.jpg?w=1", "results.json", "stat.sqlite"]
WAYS = [
    {"split_by": split_by, "labelled": labelled, "on_error": on_error}
    for split_by in (None, "folder", "none")
    for labelled in (True, False)
    for on_error in ("raise", "skip")
]
LINKS = [".", "..", "loop", "nowhere", "../a", "/dev/zero"]


def outcomes(read, variants):
    """How many variants gave a dataset and how many one error; anything else fails the test."""
    counts, lines = {"read": 0, "refused": 0}, []
    for variant in variants:
        try:
            lines += summary_lines(read(**variant))
            counts["read"] += 1
        except FeatxError as error:
            lines.append(str(error))
            counts["refused"] += 1
    assert not any("\n" in line for line in lines)
    return counts


def added(one, other):
    return {name: one.get(name, 0) + n for name, n in other.items()}


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes differ there")
def test_any_tree_of_folders_links_and_pipes(tmp_path, thorough, counted):
    rng, totals = random.Random(1), {}
    contents = [b"", b'{"schema": 1}', b"text"]
    Image.new("RGB", (2, 2)).save(tmp_path / "one.png")
    contents += [(tmp_path / "one.png").read_bytes()] * 4
    for _ in range(400 if thorough else 25):
        root = tmp_path / "root"
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        for _ in range(rng.randint(1, 14)):
            folder = root.joinpath(*(rng.choice(FOLDERS) for _ in range(rng.randint(0, 3))))
            kind = rng.random()
            try:
                folder.mkdir(parents=True, exist_ok=True)
                if kind < 0.8:
                    (folder / rng.choice(FILES)).write_bytes(rng.choice(contents))
                elif kind < 0.9:
                    (folder / rng.choice(["loop", "l.png", "k"])).symlink_to(rng.choice(LINKS))
                else:
                    os.mkfifo(folder / rng.choice(["f", "f.png"]))
            except OSError:
                continue  # there is something of that name, or the way leads through a pipe
        totals = added(totals, outcomes(partial(load_dataset, root), WAYS))
    counted(**totals)
    assert totals["read"] > 20


def test_any_bytes_in_a_table(tmp_path, thorough, counted):
    pandas, _ = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    rng, totals = random.Random(2), {}
    Image.new("RGB", (2, 2)).save(tmp_path / "0.png")
    columns = {"path": [f"{i}.png" for i in range(6)], "label": list("ababab"), "kind": list(range(6))}
    frame = pandas.DataFrame(columns)
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    frame = frame.rename(columns={"path": "text"}).assign(text=[f'the "größer" film {i}' for i in range(6)])
    frame.to_csv(tmp_path / "text.csv", index=False)
    frame.to_csv(tmp_path / "text.tsv", index=False, sep="\t", header=False)
    frame.to_json(tmp_path / "text.jsonl", orient="records", lines=True, force_ascii=False)
    frame.to_parquet(tmp_path / "text.parquet")
    for file in sorted(tmp_path.glob("t*.*")):
        suffix, whole = file.suffix, file.read_bytes()
        for i in range(1500 if thorough else 30):
            data = bytearray(whole)
            for _ in range(rng.randint(1, 4)):
                at, kind = rng.randrange(len(data)), rng.random()
                if kind < 0.5:
                    data[at] = rng.randrange(256)
                elif kind < 0.75:
                    del data[at : at + rng.randint(1, 8)]
                else:
                    data[at:at] = rng.randbytes(3)
            (tmp_path / f"m{suffix}").write_bytes(data)
            ways = [{"labelled": bool(i % 2), "on_error": on_error} for on_error in ("raise", "skip")]
            totals = added(totals, outcomes(partial(read_table, tmp_path / f"m{suffix}"), ways))
    counted(**totals)
