"""How fast texts become committed rows, beside sentence-transformers' own `encode`, in the same run.

``python tests/benchmarks/bench_text.py TEXTS NETWORK`` reads the first column of all ``.tsv`` files in the
folder TEXTS (or of one file), and measures the network of the folder NETWORK. Every measurement is a process
of its own on the same texts, with a cache of its own; rounds are taken in turn, and medians and ratios are
shown, in wall seconds and in seconds of all cores, since a machine may have other work to do. featx's time
runs from opening the files to the last row on the disk, with the comparison of the engine with plain fp32 in
it; imports and the building of the network (in int8 its calibration) are not counted, for anyone.

`encode` runs at each of ``--batch-sizes``, and the fastest counts. Where sentence-transformers is missing,
or ``--peer PYTHON`` does not have it either, a padded loop of transformers stands for it. Rows are compared
with the peer's, by the largest difference of any value of rows of norm 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

UNITS = ("wall", "cpu")
METHODS = {
    "fp32": {"precision": "fp32"},
    "bf16": {"precision": "bf16"},
    "int8": {"precision": "int8"},
    "torch-fp32": {"engine": "torch", "precision": "fp32"},
    "torch-bf16": {"engine": "torch", "precision": "bf16"},
}


def read_texts(source: str, limit: int) -> list[str]:
    files = sorted(Path(source).glob("*.tsv")) if Path(source).is_dir() else [Path(source)]
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return [line.split("\t")[0] for line in lines][:limit]


class Clock:
    """Seconds by the wall and of all cores since it was made."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        return time.perf_counter() - self._began[0], time.process_time() - self._began[1]


def of_norm_one(rows):
    import numpy as np

    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def run_featx(method: str, args: argparse.Namespace) -> dict:
    from featx import load_backbone
    from featx.extraction import embed, network_embedder
    from featx.inputs.text import StringText
    from featx.options import Run

    backbone = load_backbone(f"hf:{args.network}")
    backbone.module  # noqa: B018  built before the clock starts
    backbone.preparation.tokenizer.encode("A text.", 16)
    with tempfile.TemporaryDirectory() as cache:
        # The engine and the calibration of a first run are kept, so that the clock sees no building. A space
        # at the end makes another text of each.
        few = [StringText(str(i), f"{t} ") for i, t in enumerate(read_texts(args.texts, args.limit)[:1100])]
        embed(few, network_embedder(backbone, Run(**METHODS[method])), cache=cache)
        clock = Clock()
        texts = [StringText(str(i), t) for i, t in enumerate(read_texts(args.texts, args.limit))]
        rows = embed(texts, network_embedder(backbone, Run(**METHODS[method])), cache=cache)
        wall, cpu = clock.read()
    profile = rows.profile.to_dict()
    wall -= profile["building"]
    return {"wall": wall, "cpu": cpu, "profile": profile, "parity": rows.parity, "rows": rows.embeddings}


def run_library(batch_size: int, args: argparse.Namespace) -> dict:
    """sentence-transformers' `encode`, from the file on."""
    from featx.vision import import_torchvision

    import_torchvision()
    from sentence_transformers import SentenceTransformer

    network = SentenceTransformer(args.network, device="cpu")
    network.encode(read_texts(args.texts, args.limit)[:64], batch_size=batch_size)
    clock = Clock()
    rows = network.encode(read_texts(args.texts, args.limit), batch_size=batch_size, show_progress_bar=False)
    wall, cpu = clock.read()
    return {"wall": wall, "cpu": cpu, "rows": rows}


def run_loop(batch_size: int, args: argparse.Namespace) -> dict:
    """What a tutorial writes: texts in their order, padded, in fp32; the mean over tokens."""
    from featx.vision import import_after_torchvision

    transformers = import_after_torchvision("transformers", "text", "this benchmark")
    import torch

    tokenizer = transformers.AutoTokenizer.from_pretrained(args.network)
    network = transformers.AutoModel.from_pretrained(args.network).eval()
    clock, rows = Clock(), []
    texts = read_texts(args.texts, args.limit)
    with torch.no_grad():
        for start in range(0, len(texts), batch_size):
            batch = tokenizer(
                texts[start : start + batch_size], padding=True, truncation=True, return_tensors="pt"
            )
            mask = batch["attention_mask"][:, :, None]
            rows.append((network(**batch).last_hidden_state * mask).sum(1) / mask.sum(1))
    wall, cpu = clock.read()
    return {"wall": wall, "cpu": cpu, "rows": torch.cat(rows).numpy()}


def one(what: str, args: argparse.Namespace) -> dict:
    import numpy as np
    import torch

    from featx.machine import cores

    torch.set_num_threads(cores())
    if what.startswith("peer-"):
        run = run_library if importlib.util.find_spec("sentence_transformers") else run_loop
        found = run(int(what.removeprefix("peer-")), args) | {"peer": run.__name__}
    else:
        found = run_featx(what, args)
    np.save(args.rows, of_norm_one(found.pop("rows")))
    return found


def measure(args: argparse.Namespace, what: str, rows: str) -> dict:
    python = args.peer if args.peer and what.startswith("peer-") else sys.executable
    command = [python, __file__, args.texts, args.network, "--limit", str(args.limit)]
    import featx

    done = subprocess.run(
        [*command, "--one", what, "--rows", rows],
        env=os.environ | {"PYTHONPATH": str(Path(featx.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{what}: {done.stderr.strip().splitlines()[-1]}")
    result: dict = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def run_rounds(names: list[str], rounds: int, run: Callable[[str], dict]) -> dict[str, list[dict]]:
    """Run everything once in each round, in turn, and say how long each took."""
    taken: dict[str, list[dict]] = {}
    for number in range(rounds):
        for name in names:
            found = run(name)
            taken.setdefault(name, []).append(found)
            print(
                f"  round {number + 1}: {name:<12}{found['wall']:>8.2f} s, {found['cpu']:>8.2f} s of cores",
                file=sys.stderr,
                flush=True,
            )
    return taken


def fastest(taken: dict[str, list[dict]], names: list[str]) -> dict[str, str]:
    """Return which of `names` takes least, by unit."""
    return {unit: min(names, key=lambda p: statistics.median(r[unit] for r in taken[p])) for unit in UNITS}


def summarise(
    taken: dict[str, list[dict]], name: str, best: dict[str, str]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the medians of one, and those of how many times as long `best` took in the same round."""
    results = taken[name]
    median = {unit: statistics.median(r[unit] for r in results) for unit in UNITS}
    ratio = {
        unit: statistics.median(b[unit] / a[unit] for a, b in zip(results, taken[best[unit]], strict=True))
        for unit in UNITS
    }
    return median, ratio


def report(args: argparse.Namespace, folder: str) -> None:
    import numpy as np

    from featx.machine import cores, cpu_name
    from featx.results import describe_environment

    known, count = describe_environment(), len(read_texts(args.texts, args.limit))
    packages = [name for name in ("torch", "openvino", "transformers") if name in known]
    print(f"{cpu_name()}, {cores()} cores; {', '.join(f'{name} {known[name]}' for name in packages)}")
    print(f"{count:,} texts, {args.rounds} rounds in turn, medians\n")
    peers = [f"peer-{size}" for size in args.batch_sizes]
    taken = run_rounds(
        [*peers, *args.methods], args.rounds, lambda name: measure(args, name, f"{folder}/{name}.npy")
    )
    best = fastest(taken, peers)
    print(f"peer: {taken[peers[0]][0]['peer']}")
    print(f"{'':<12}{'texts/s':>9}{'x peer':>8}{'cores, s':>10}{'x peer':>8}{'rows differ by':>16}")
    expected = np.load(f"{folder}/{best['wall']}.npy")
    for name in taken:
        median, ratio = summarise(taken, name, best)
        rows = np.load(f"{folder}/{name}.npy")
        print(
            f"{name:<12}{count / median['wall']:>9.0f}{ratio['wall']:>8.2f}{median['cpu']:>10.2f}"
            f"{ratio['cpu']:>8.2f}{np.abs(rows - expected).max():>16.1e}"
        )
    if args.json:
        Path(args.json).write_text(json.dumps({"machine": known, "taken": taken}, indent=1), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("texts", help="a folder of .tsv files, or one")
    parser.add_argument("network", help="a folder of sentence-transformers or transformers")
    parser.add_argument("--limit", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=["fp32", "bf16", "int8"], choices=sorted(METHODS))
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 16, 32, 64], help="of the peer")
    parser.add_argument("--peer", metavar="PYTHON", help="an interpreter that has sentence-transformers")
    parser.add_argument("--json", metavar="FILE", help="every measurement, with profiles")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--rows", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(args.one, args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        report(args, folder)


if __name__ == "__main__":
    main()
