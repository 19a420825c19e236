"""Model files of every probe, damaged in many ways, each read and asked in a process that may die of it.

Run as ``python model_files.py``, this is that process: it reads one job (JSON) from its input and writes what
became of each file.
"""

from __future__ import annotations

import functools
import io
import json
import os
import random
import re
import resource
import struct
import sys
import traceback
import warnings
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

DIM = 12
EXTREMES = (0, -1, 1, 2, 127, -128, 2**31 - 1, -(2**31), 1e-320, 1e308, -1e308, float("inf"), float("nan"))
JUNK = (None, True, False, -1, 0, 2, 2**70, 0.5, 1e308, "", "x", "\ud800", [], [1], [[]], {}, {"kind": "pca"})
#: Kilobytes of address space beyond what the process has when it begins: more would be seen.
ROOM_KB = 700_000


def write_models(folder: Path, names) -> list[Path]:
    """A model file of every probe, of 4 classes; of every other one also of 2."""
    from sklearn import __version__

    from featx.estimators.model import Model
    from featx.methods.probes import fit_probe

    space = {
        "backbone": dict.fromkeys(("architecture", "source", "weights", "layer", "pooling"), "x"),
        "preprocessing": {},
        "precision": "fp32",
        "dtype": "float32",
    }
    preprocessing = {
        "resize": 32,
        "crop": [32, 32],
        "interpolation": "bilinear",
        "antialias": True,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.2, 0.2, 0.2],
    }
    backbone = {"name": "x", "weights": None, "layer": "x", "pooling": "avg", "seed": 0}
    paths = []
    for i, name in enumerate(names):
        for k in ((2, 4), (4,))[i % 2]:
            y = np.arange(10 * k) % k
            X = np.random.default_rng(0).normal(size=(len(y), DIM)) + y[:, None]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                probe = fit_probe(name, X.astype(np.float32), y, n_jobs=1).estimator
            info = {"classifier": name, "scikit-learn": __version__}
            classes = tuple("abcd"[:k])
            model = Model(probe, classes, space, {**backbone, "preprocessing": preprocessing}, info)
            paths.append(model.save(folder / f"{name}-{k}.featx"))
    return [*paths, *_write_newer_models(folder, model)]


def _write_newer_models(folder: Path, probe) -> list[Path]:
    """A head, and a fine-tuned network and an ensemble with unsure answers, beside the model of a probe."""
    from featx.backbones import hash_values
    from featx.methods.abstention import Confidence, Familiarity, UnsureRule
    from featx.methods.ensembles import BlockEnsemble
    from featx.methods.probes.linear_head import LinearHead

    chance = np.random.default_rng(0)
    head = replace(probe, classifier=LinearHead.of(chance.normal(size=(4, DIM)), chance.normal(size=4)))
    values = {
        "conv.weight": chance.normal(size=(3, 3, 2, 2)).astype(np.float32),
        "index": np.arange(5, dtype="i4"),
    }
    named = probe.space["backbone"] | {"weights": "fine-tuned", "weights_sha256": hash_values(values)}
    rows = chance.normal(size=(5, 2 * DIM))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    alone = (rows[:, :DIM].T / np.linalg.norm(rows[:, :DIM].astype(np.float32), axis=1)).T.astype(np.float16)
    sure = Confidence(threshold=0.9, sure=0.95, guaranteed=True, answered=0.8, right=0.97)
    tuned = replace(
        head,
        space=probe.space | {"backbone": named},
        values=values,
        unsure=UnsureRule(sure, Familiarity(alone, 0.3)),
    )
    average = BlockEnsemble.of([head.classifier, probe.classifier], np.array([0.25, 0.75]))
    ensemble = replace(probe, classifier=average, space={}, backbone={}, members=(head, probe))
    ensemble.unsure = UnsureRule(None, Familiarity(rows, 0.3))
    kinds = {"head": head, "tuned": tuned, "ensemble": ensemble}
    return [model.save(folder / f"{name}.featx") for name, model in kinds.items()]


# Damage


def unpacked(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(members: dict[str, bytes], chance: random.Random) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            method = (
                zipfile.ZIP_STORED if name == "model.json" or chance.random() < 0.5 else zipfile.ZIP_DEFLATED
            )
            archive.writestr(name, data, method)
    return out.getvalue()


def flip(content: bytes, chance: random.Random) -> bytes:
    torn = bytearray(content)
    for _ in range(chance.choice([1, 1, 1, 3, 20])):
        torn[chance.randrange(len(torn))] ^= 1 << chance.randrange(8)
    return bytes(torn)


def cut(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content))
    return chance.choice(
        [content[:at], content[at:], content[:at] + bytes(chance.randrange(99)), content[:at] * 2]
    )


def mangle_headers(content: bytes, chance: random.Random) -> bytes:
    """Damage to what the archive says of its members: sizes, methods, flags, offsets, names."""
    torn = bytearray(content)
    places = [m.start() for m in re.finditer(rb"PK(\x01\x02|\x03\x04|\x05\x06)", content)]
    for _ in range(chance.choice([1, 1, 2, 5])):
        at = chance.choice(places) + chance.randrange(4, 46)
        value = chance.choice([0, 1, 8, 9, 12, 14, 99, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, len(content)])
        form = chance.choice("BHI")
        data = struct.pack("<" + form, value & (256 ** struct.calcsize(form) - 1))
        torn[at : at + len(data)] = data
    return bytes(torn)


def swap(content: bytes, chance: random.Random) -> bytes:
    """Members under one another's names, missing, doubled, cut or new."""
    members = unpacked(content)
    names = [name for name in members if name != "model.json"]
    one, other = chance.choice(names), chance.choice(names)
    what = chance.randrange(5)
    if what == 0:
        members[one], members[other] = members[other], members[one]
    elif what == 1:
        members[one] = members[other]
    elif what == 2:
        del members[one]
    elif what == 3:
        members[chance.choice(["x.npy", "../x.npy", "/etc/passwd", "a\\b", "classifier.skops"])] = members[
            one
        ]
    else:
        members[one] = cut(members[one], chance)
    return packed(members, chance)


def spoil_array(content: bytes, chance: random.Random) -> bytes:
    """Extremes, noise and other shapes in an array, in an archive that is in order."""
    members = unpacked(content)
    name = chance.choice([name for name in members if name != "model.json"])
    array = np.load(io.BytesIO(members[name])).copy()
    flat = array.reshape(-1, order="A")
    what = chance.randrange(6)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if what <= 1 and flat.size:
            for _ in range(chance.choice([1, 1, 5])):
                flat[chance.randrange(flat.size)] = np.float64(chance.choice(EXTREMES)).astype(array.dtype)
        elif what == 2:
            flat[...] = np.float64(chance.choice(EXTREMES)).astype(array.dtype)
        elif what == 3:
            flat[...] = np.frombuffer(chance.randbytes(array.nbytes), array.dtype)
        elif what == 4:
            array = chance.choice(
                [flat[:0], array[None], np.concatenate([flat, flat]), flat[: len(flat) // 2]]
            )
        else:
            array = array.astype(chance.choice(["<f2", ">f8", "<i8", "<f4", "<f8", "<i4", "S8", "<c16"]))
    out = io.BytesIO()
    np.save(out, array)
    members[name] = out.getvalue()
    if chance.random() < 0.2:
        members[name] = flip(members[name][:128], chance) + members[name][128:]
    return packed(members, chance)


def spoil_description(content: bytes, chance: random.Random) -> bytes:
    """Any value anywhere in model.json replaced, removed, renamed or added."""
    members = unpacked(content)
    meta = json.loads(members["model.json"])
    places: list[tuple[Any, Any]] = []

    def walk(value):
        for key in value if isinstance(value, dict) else range(len(value)):
            places.append((value, key))
            if isinstance(value[key], dict | list):
                walk(value[key])

    walk(meta)
    at, key = chance.choice(places)
    what = chance.randrange(5)
    if what <= 2:
        at[key] = chance.choice(JUNK)
    elif what == 3:
        del at[key]
    else:
        other, elsewhere = chance.choice(places)
        at[key] = json.loads(json.dumps(other[elsewhere]))
    members["model.json"] = json.dumps(meta).encode()
    if chance.random() < 0.1:
        members["model.json"] = chance.choice(
            [b"[" * 100_000, b'{"a":' * 100_000, b"NaN", b"1" * 10_000, b"\xff", members["model.json"][:-1]]
        )
    return packed(members, chance)


def bomb(content: bytes, chance: random.Random) -> bytes:
    """Members that claim more than they should, or are more than they claim."""
    members = unpacked(content)
    name = chance.choice([name for name in members if name != "model.json"])
    size = chance.choice([10**6, 3 * 10**7])
    shape = chance.choice([f"({size // 8},)", f"({size // 8}, 1)", f"({2**62}, 4)", f"({10**4000},)"])
    head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    head = b"\x93NUMPY\x01\x00" + len(head).to_bytes(4, "little")[:2] + head
    members[name] = head + bytes(chance.choice([0, size]))
    out = packed(members, chance)
    if chance.random() < 0.5:  # the archive says that it is small
        small = struct.pack("<I", 200)
        out = out.replace(struct.pack("<I", len(members[name])), small)
    return out


DAMAGE = (
    flip,
    cut,
    mangle_headers,
    swap,
    spoil_array,
    spoil_array,
    spoil_array,
    spoil_description,
    spoil_description,
    bomb,
)


# The process


@functools.cache
def outcome_rows() -> list[np.ndarray]:
    chance = np.random.default_rng(1)
    return [chance.normal(size=(n, DIM)).astype(np.float32) for n in (1, 5)]


def outcome(path: Path) -> str:
    """What became of a file: refused, answered, or the traceback of what should not be."""
    from featx import load_model
    from featx.errors import FeatxError
    from featx.estimators.model_file.plain import PlainClassifier

    try:
        model = load_model(path)
    except FeatxError as error:
        said = str(error)
        if not said.startswith(f"{path}: ") or len(said.splitlines()) != 1:
            return f"not one line that names the file: {said!r}"
        return "refused"
    except BaseException:
        return traceback.format_exc()
    try:
        for rows in outcome_rows():
            rows = np.tile(rows, max(1, len(model.members)))
            found = model.predict_proba(rows)
            assert found.shape == (len(rows), len(model.classes))
            if model.unsure is not None:
                assert len(model.unsure.reasons(rows, found)) == len(rows)
            if isinstance(model._classifier, PlainClassifier):
                assert np.array_equal(rebuilt(model._classifier).predict_proba(rows), found)
        assert "\n" not in repr(model)
    except FeatxError:
        return "no answer"
    except BaseException:
        return traceback.format_exc()
    return "answered"


def rebuilt(plain) -> Any:
    """What is read without scikit-learn must be no more than what is read with it."""
    from featx.errors import FeatxError

    try:
        return plain.build()
    except FeatxError as error:
        raise AssertionError("accepted, and refused when scikit-learn builds it") from error


def serve() -> None:
    job = json.loads(sys.stdin.read())
    warnings.simplefilter("error")
    models = [(Path(path).name, Path(path).read_bytes()) for path in job["models"]]
    target = Path(job["folder"]) / f"{job['seed']}.featx"
    for name, content in models:
        target.write_bytes(content)
        assert outcome(target) == "answered", name
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if os.path.exists("/proc/self/statm") else 0
    if pages:
        most = pages * os.sysconf("SC_PAGE_SIZE") + ROOM_KB * 1024
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    counts: Counter[str] = Counter()
    for number in range(job["first"], job["first"] + job["count"]):
        chance = random.Random(number)
        name, content = models[number % len(models)]
        damage = DAMAGE[number // len(models) % len(DAMAGE)]
        try:
            content = damage(content, chance)
        except (ValueError, OverflowError):  # NumPy cannot write this one
            continue
        target.write_bytes(content)
        print(f"at {number} {name} {damage.__name__}", flush=True)
        found = outcome(target)
        counts[found if found in ("refused", "answered", "no answer") else "wrong"] += 1
        if found not in ("refused", "answered", "no answer"):
            print(json.dumps([number, name, damage.__name__, found]), flush=True)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used
    print(json.dumps({**counts, "grown_mb": grown // 1024}), flush=True)


if __name__ == "__main__":
    serve()
