"""Text files of any content are read as what they are, or refused in one error.

Each is made from a good file by replacing, removing and nesting parts of it, by flipping bits, by cutting, or
from nothing at all. What is accepted must hold out: its table, its frame and its JSON are made.
"""

from __future__ import annotations

import base64
import copy
import json
import random
import tracemalloc
import zlib

import numpy as np
import pytest

from featx import learning_curve
from featx.data.features import Features
from featx.data.tasks import Task
from featx.errors import FeatxError
from featx.metrics import names_for
from featx.results import ComparisonResult, CurveResult, RegressionResult
from featx.results.output_paths import Study, output_file, output_folder
from featx.studies.checkpoints import Checkpoints
from featx.studies.comparison import compare
from featx.studies.comparison.evaluate import CHECKPOINT_FILE
from featx.studies.evaluation.outcomes import (
    valid_answers,
    valid_held_out,
    valid_probabilities,
    valid_values,
)
from featx.studies.experiments import load_experiment

pytestmark = pytest.mark.faults

#: What is put in the place of a value.
STRANGE = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, 10**400, -(10**30), 0.5, -1.5, 1e308, 1e-320),
    *(float("nan"), float("inf"), "", "x", "a\0b", "\ud800", "x" * 10_000, "../../etc/passwd", "~nobody/x"),
    *([], {}, [[]], [None], [{}], {"": None}, {"a": {"a": {}}}, [[1, 2], [3]], ["x"] * 50, {"value": "x"}),
)
TIME = b"2026-01-02T03:04:05+00:00"


def _json(value):
    return json.dumps(value).encode()


def changed(content, rng):
    """A copy with one to three of its parts replaced, removed, doubled or put under another name."""
    content = copy.deepcopy(content)
    for _ in range(rng.randint(1, 3)):
        if not isinstance(content, dict | list) or not content:
            return rng.choice(STRANGE)
        inside, at = content, None
        while True:
            at = rng.choice(list(inside) if isinstance(inside, dict) else range(len(inside)))
            if not isinstance(inside[at], dict | list) or not inside[at] or rng.random() < 0.3:
                break
            inside = inside[at]
        how = rng.random()
        if how < 0.7:
            inside[at] = copy.deepcopy(rng.choice(STRANGE))
        elif how < 0.8:
            del inside[at]
        elif how < 0.9 and isinstance(inside, list):
            inside.append(inside[at])
        elif isinstance(inside, dict):
            inside[rng.choice(["", "kind", "schema", "more", "classes", "n_classes"])] = inside[at]
    return content


def spoiled(text: bytes, rng) -> bytes:
    """Bytes flipped, cut, doubled or made up."""
    how = rng.random()
    if how < 0.4 and text:
        spoilt = bytearray(text)
        for _ in range(rng.randint(1, 4)):
            spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
        return bytes(spoilt)
    if how < 0.6:
        return text[: rng.randrange(len(text) + 1)]
    if how < 0.7:
        return text * 2
    if how < 0.8:
        return rng.choice([b"[", b'{"a":', b"a = [", b"[[a]]\n", b"a."]) * rng.choice([10, 1_000, 100_000])
    if how < 0.9:
        return rng.choice([b"9" * 6_000, b"1e999999", b"NaN", b"-Infinity", b'"\\ud800"', b"\xef\xbb\xbf{}"])
    return rng.randbytes(rng.randrange(2_000))


def texts(content, number, rng, dump=_json):
    """So many strange files made from a good one."""
    good = dump(content)
    for i in range(number):
        if i % 3 == 0:
            yield spoiled(good, rng)
        else:
            yield dump(changed(content, rng))
    yield from (b"a = " * (dump is not _json) + b"[" * depth + b"]" * depth for depth in (90, 900))


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 10)
    return Features(
        embeddings=(rng.normal(size=(3, 6))[labels] + rng.normal(size=(30, 6))).astype(np.float32),
        ids=[f"{i}.png" for i in range(30)],
        labels=labels,
        classes=("a", "b", "c"),
        space={"backbone": {"architecture": "made"}},
        targets={"size": Task("size", rng.normal(size=30))},
    )


OPTIONS = {"classifiers": ["lda"], "baseline": "none", "n_boot": 5, "label": "label"}


@pytest.mark.parametrize("kind", ["classes", "number", "curve", "repeats"])
def test_results_of_any_content(rows, tmp_path, thorough, counted, kind):
    rng = random.Random(kind)
    reader = {"number": RegressionResult, "curve": CurveResult}.get(kind, ComparisonResult)
    if kind == "curve":
        result = learning_curve(rows, classifiers="lda", shots=[1, 2], seeds=2, label="label")
    elif kind == "number":
        result = compare(rows, target="size", regressors="ridge", n_boot=5)
    else:
        result = compare(rows, **OPTIONS, seeds=2 if kind == "repeats" else 1)
    good = json.loads(json.dumps(result.to_dict()))
    path = tmp_path / "results.json"
    accepted, said = 0, []
    for text in texts(good, 1_500 if thorough else 90, rng):
        path.write_bytes(text)
        try:
            read = reader.read_json(path)
        except FeatxError as error:
            said.append(str(error))
            continue
        read.table()
        read.to_frame()
        read.to_dict()
        accepted += 1
    assert said
    assert all("results.json" in line and len(line) < 1_000 for line in said)
    counted(accepted=accepted, refused=len(said), tracebacks=0)


def test_experiments_of_any_content(tmp_path, thorough, counted):
    from featx.studies.experiments.experiment import _toml

    def toml(value):
        if not isinstance(value, dict):
            return f"a = {_toml(value)}".encode("utf-8", "replace")
        lines = []
        for table, keys in value.items():
            if isinstance(keys, dict):
                lines += [f"[{_toml(table)}]", *(f"{_toml(k)} = {_toml(v)}" for k, v in keys.items())]
            else:
                lines.insert(0, f"{_toml(table)} = {_toml(keys)}")
        return "\n".join(lines).encode("utf-8", "replace")

    good = {
        "experiment": {"kind": "curve", "output": "out"},
        "data": {"source": "photos", "label": ["x"], "test_size": 0.25, "limit": 5, "on_error": "skip"},
        "network": {"backbones": ["a"], "weights": "random", "layer": "x", "image_size": 32},
        "methods": {"classifiers": ["lda"], "baseline": "none", "epochs": 2, "augment": True},
        "draws": {"shots": [1, "all"], "seeds": 2},
        "run": {"seed": 1, "device": "cpu", "batch_size": 4, "cache": "c", "n_jobs": 1},
    }
    rng = random.Random(1)
    path = tmp_path / "e.toml"
    accepted, said = 0, []
    for text in texts(good, 4_000 if thorough else 250, rng, toml):
        path.write_bytes(text)
        try:
            experiment = load_experiment(path)
        except FeatxError as error:
            said.append(str(error))
            continue
        accepted += 1
        assert experiment.arguments["seed"] >= 0
        experiment.to_toml(beside=tmp_path)
        try:
            experiment.check_output()
        except FeatxError as error:
            said.append(str(error))
    assert all(len(line) < 25_000 for line in said)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e.toml"]
    counted(accepted=accepted, refused=len(said), tracebacks=0)


def arrays(rng):
    """What a record may claim to be an array."""
    raw = rng.choice([b"", bytes(80), bytes(2_000_000), rng.randbytes(80)])
    text = base64.b64encode(zlib.compress(raw)).decode()
    return {
        "__array__": rng.choice([text, text[:-4], "", "%%", 3, None, [text]]),
        "dtype": rng.choice(
            ["<f8", "<i8", "|O8", "|V8", "<U4", "<M8[s]", "<f16", "<c16", "x", 3, None, "<f99"]
        ),
        "shape": rng.choice(
            [[10], [], [250_000], [2**40, 2**40], [10**30], [-1], ["1"], 3, None, [1] * 99, [0]]
        ),
    }


def test_checkpoints_of_any_content(tmp_path, thorough, counted):
    rng = random.Random(2)
    truth = np.arange(10) % 3
    common = {
        "seconds": {"fit": 1.0, "predict_per_image": 0.1},
        "joules": None,
        "params": {"C": 1.0},
        "curves": {"epoch": [1, 2], "best_epoch": 1},
        "notes": ["x"],
        "cv_score": 0.5,
    }
    labels = {
        "__array__": base64.b64encode(zlib.compress(truth.tobytes())).decode(),
        "dtype": "<i8",
        "shape": [10],
    }
    kinds = (
        lambda: common | {"labels": labels, "sure": arrays(rng), "true": arrays(rng)},
        lambda: common | {"values": arrays(rng)},
        lambda: common | {"metrics": dict.fromkeys(names_for("classes"), 0.5)},
        lambda: {"probabilities": arrays(rng)},
        lambda: {"found": rng.choice([[arrays(rng), arrays(rng)], arrays(rng), None, [3]])},
    )
    checks = (
        lambda kept: valid_answers(kept, truth, 3),
        lambda kept: valid_values(kept, 10),
        lambda kept: valid_probabilities(kept, (10, 3)),
        lambda kept: valid_held_out(kept, (10, 3)),
    )
    path = tmp_path / "j"
    lines = []
    for kind in kinds:
        for text in texts(kind(), 800 if thorough else 60, rng):
            if rng.random() < 0.5:
                text = json.dumps(kind()).encode()
            covered = b"k%d %s %s" % (len(lines), TIME, text.replace(b"\n", b" "))
            line = b"2 %08x %s\n" % (zlib.crc32(covered), covered)
            lines.append(spoiled(line, rng) if rng.random() < 0.1 else line)
    path.write_bytes(b"".join(lines))
    size = path.stat().st_size
    tracemalloc.start()
    journal = Checkpoints(path)
    fitting = 0
    for i in range(len(lines)):
        for check in checks:
            fitting += journal.get(f"k{i}", check, most=10_000) is not None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * size + 20_000_000
    counted(records=len(lines), fitting=fitting, damaged=journal.damaged, tracebacks=0, peak_bytes=peak)


def test_a_whole_comparison_with_spoiled_checkpoints(rows, tmp_path, thorough, counted):
    rng = random.Random(3)
    bare = Features(rows.embeddings, rows.ids, rows.labels, rows.classes, space=rows.space)
    options = OPTIONS | {"ensemble": False}
    first = compare(bare, **options, resume=tmp_path)
    good = (tmp_path / CHECKPOINT_FILE).read_bytes()
    for _ in range(25 if thorough else 3):
        (tmp_path / CHECKPOINT_FILE).write_bytes(spoiled(good, rng))
        again = compare(bare, **options, resume=tmp_path)
        assert [m.metrics for m in again.methods] == [m.metrics for m in first.methods]
    counted(journals=25 if thorough else 3, other_numbers=0)


def test_folders_and_files_of_any_content_are_judged(tmp_path, thorough, counted):
    rng = random.Random(4)
    study = Study.of("compare", "digits")
    good = {"schema": 1, "kind": "anomaly", "dataset": {"name": "x", "source": ["a"]}, "methods": [{}]}
    allowed, said = 0, []
    for text in texts(good, 500 if thorough else 100, rng):
        for name in ("results.json", "curve.json", "experiment.toml", "scores.json", "report.html"):
            (tmp_path / name).write_bytes(text)
            try:
                output_folder(tmp_path, study)
                allowed += 1
            except FeatxError as error:
                said.append(str(error))
            (tmp_path / name).unlink()
        for name, kind in (("f.h5", "features"), ("m.featx", "model"), ("p.csv", "predictions")):
            (tmp_path / name).write_bytes(text)
            try:
                output_file(tmp_path / name, kind)
                allowed += 1
            except FeatxError as error:
                said.append(str(error))
            (tmp_path / name).unlink()
    assert all(len(line) < 25_000 for line in said)
    counted(allowed=allowed, refused=len(said), tracebacks=0)
