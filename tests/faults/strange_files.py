"""Files of strangers for every other loader, read in a process that has little memory and may die.

Run as ``python strange_files.py``, this is that process: a job (JSON) comes in, counts go out.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import resource
import sys
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from faults.model_files import ROOM_KB, cut, flip, mangle_headers

LOADERS = ("pth", "old.pth", "safetensors", "h5", "parquet", "csv", "json", "featx")


def write_sound_file(loader: str, path: Path) -> Any:
    """Write a sound file of its kind."""
    if loader.endswith("pth") or loader == "safetensors":
        import torch

        tensors = {"a.weight": torch.ones(3, 4), "a.bias": torch.zeros(3), "n": torch.tensor(3)}
        if loader == "safetensors":
            import safetensors.torch

            return safetensors.torch.save_file(tensors, path)
        return torch.save({"model": tensors}, path, _use_new_zipfile_serialization=loader == "pth")
    if loader == "h5":
        from featx.data.features import Failure, Features

        ids, groups = [f"{i}.jpg" for i in range(12)], ["g", "h"] * 6
        rows = np.arange(36, dtype=np.float32).reshape(12, 3)
        labels = np.arange(12) % 2
        return Features(rows, ids, labels, ("a", "b"), groups=groups, failures=[Failure("x", "y")]).save(path)
    if loader in ("parquet", "csv"):
        import pandas

        names = [f"{i}.png" for i in range(12)]
        for name in names:
            (path.parent / name).touch()
        frame = pandas.DataFrame({"path": names, "label": ["cat", "näch"] * 6, "group": list("aabbccddeeff")})
        return frame.to_parquet(path) if loader == "parquet" else frame.to_csv(path, index=False)
    if loader == "json":
        entry = {
            "name": "logreg",
            "title": "t",
            "kind": "probe",
            "backbone": "b",
            "image_size": 3,
            "params": {},
        }
        value = {"value": 0.5, "low": 0.4, "high": 0.6}
        entry |= {
            "metrics": {"top1": value, "log_loss": value},
            "seconds": {"fit": 1.0},
            "confusion": [[1, 0]],
        }
        result = {"schema": 1, "dataset": {"name": "d"}, "spaces": {}, "methods": [entry], "seed": 0}
        return path.write_text(json.dumps(result))
    return path.write_bytes(b"")


def read(loader: str, path: Path) -> Any:
    """Read a file as featx does."""
    if loader.endswith("pth") or loader == "safetensors":
        from featx.backbones.checkpoint import open_checkpoint

        tensors = open_checkpoint(path).state_dict()
        return [tensor.clone() for tensor in tensors.values()]
    if loader == "h5":
        from featx.data.features import describe, load_features

        return load_features(path), describe(path)
    if loader in ("parquet", "csv"):
        from featx.data import load_dataset

        return load_dataset(path)
    if loader == "json":
        from featx.results import ComparisonResult

        return str(ComparisonResult.read_json(path).to_dict())
    from featx import load_model

    return load_model(path)


def noise(content: bytes, chance: random.Random) -> bytes:
    """Random bytes, some with a beginning that is believed."""
    begin = chance.choice([0, 0, 4, 8, 16, 64, 512])
    return content[:begin] + chance.randbytes(chance.choice([0, 1, 10, 1000, 20_000]))


def inside(content: bytes, chance: random.Random) -> bytes:
    """Damage to a member of an archive whose checksums are in order; or calls in its pickle."""
    if not content.startswith(b"PK"):
        return flip(content, chance)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(out, "w") as target:
        chosen = chance.choice(source.namelist())
        for name in source.namelist():
            data = source.read(name)
            if name == chosen and data:
                data = chance.choice([flip, cut])(data, chance)
            if name.endswith("data.pkl") and chance.random() < 0.2:
                data = pickle.dumps({"w": chance.choice(CALLS)}, 2)
            method = chance.choice([zipfile.ZIP_STORED] * 4 + [zipfile.ZIP_DEFLATED])
            target.writestr(name, data, method)
    return out.getvalue()


class Call:
    """Pickles as a call."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


CALLS = [Call(bytearray, 10**10), Call(print, "run"), Call(os.system, "true"), 3, "x", None, [1], {"w": {}}]


def bits(content: bytes, chance: random.Random) -> bytes:
    """Numbers in place of others: 0, the largest, the file's own size."""
    torn = bytearray(content)
    for _ in range(chance.choice([1, 1, 3])):
        value = chance.choice([0, 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1, len(content)])
        width = chance.choice([1, 2, 4, 8])
        at = chance.randrange(max(1, len(torn) - width))
        torn[at : at + width] = (value % 256**width).to_bytes(width, chance.choice(["little", "big"]))
    return bytes(torn)


DAMAGE: tuple[Callable[[bytes, random.Random], bytes], ...] = (flip, cut, noise, inside, bits)


def outcome(loader: str, path: Path) -> str:
    """What became of a file: refused, read, or the traceback of what should not be."""
    from featx.errors import FeatxError

    try:
        read(loader, path)
    except FeatxError as error:
        said = str(error)
        return "refused" if str(path) in said and len(said.splitlines()) == 1 else f"unclear: {said!r}"
    except BaseException:
        return traceback.format_exc()
    return "read"


def serve() -> None:
    job = json.loads(sys.stdin.read())
    warnings.simplefilter("ignore")
    loader = job["loader"]
    path = Path(job["folder"]) / f"f.{loader}"
    write_sound_file(loader, path)
    content = path.read_bytes() if loader != "featx" else Path(job["model"]).read_bytes()
    path.write_bytes(content)
    assert outcome(loader, path) == "read", outcome(loader, path)
    if os.path.exists("/proc/self/statm"):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * os.sysconf("SC_PAGE_SIZE") + ROOM_KB * 1024
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts: Counter[str] = Counter()
    for number in range(job["count"]):
        chance = random.Random(number)
        damage = (*DAMAGE, mangle_headers)[number % 6] if content[:2] == b"PK" else DAMAGE[number % 5]
        path.write_bytes(damage(content, chance))
        print(f"at {number} {damage.__name__}", flush=True)
        found = outcome(loader, path)
        counts[found if found in ("refused", "read") else "wrong"] += 1
        if found not in ("refused", "read"):
            print(json.dumps([number, damage.__name__, found]), flush=True)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({**counts, "grown_mb": grown // 1024}), flush=True)


if __name__ == "__main__":
    serve()
