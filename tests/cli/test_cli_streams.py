"""Closed, full and broken streams, and names that a terminal would obey: one line, never a traceback."""

from __future__ import annotations

import csv
import os
import subprocess
import sys

import numpy as np
import pytest

from featx.cli import main
from featx.data.features import Features

EVIL = "a\x1b[2J\u202e\nb"
FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")


def shell(arguments: str, **environment: str) -> tuple[int, str]:
    """Status and whatever is written to a standard error that is open."""
    done = subprocess.run(
        f'"{sys.executable}" -m featx {arguments}',
        shell=True,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize("command", ["--version", "cache info"])
def test_a_closed_standard_output_is_one_line(command, tmp_path):
    status, err = shell(f"{command} >&-", FEATX_CACHE=str(tmp_path))
    assert status == 2
    assert err == "featx: standard output is closed; send it to a file, or to /dev/null\n"


@FULL
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["--help", "cache info"])
def test_a_full_standard_output_is_one_line(command, unbuffered, tmp_path):
    status, err = shell(f"{command} > /dev/full", FEATX_CACHE=str(tmp_path), PYTHONUNBUFFERED=unbuffered)
    assert status == 2
    assert err == "featx: standard output cannot be written (No space left on device)\n"


@FULL
@pytest.mark.parametrize(
    ("streams", "expected"),
    [(">&- 2>&-", 2), ("> /dev/full 2> /dev/full", 2), ("> /dev/full 2>&-", 2), ("2>&-", 0), ("<&-", 0)],
)
def test_whatever_is_closed_the_status_is_right(streams, expected, tmp_path):
    assert shell(f"cache info {streams}", FEATX_CACHE=str(tmp_path)) == (expected, "")


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    code = "import sys, featx.cli; sys.exit(featx.cli.main(['--help']))"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def stored(tmp_path):
    rows = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    ids = [EVIL, "=cmd", *(f"{i}.png" for i in range(10))]
    path = tmp_path / "f.h5"
    Features(rows, ids, np.arange(12) % 2, ("rose\x1b[31m", "@tulip")).save(path)
    return path


def printed(capsys, *argv):
    status = main([str(a) for a in argv])
    out, err = capsys.readouterr()
    for text in (out, err):
        assert all(c == "\n" or c.isprintable() for c in text), repr(text)
    return status, out, err


def test_names_are_escaped_in_whatever_is_printed(capsys, stored, tmp_path):
    status, out, _ = printed(capsys, "search", stored, EVIL, "-k", "11")
    assert status == 0
    assert out.startswith(r"a\x1b[2J\u202e\nb" + "\n")
    assert r"rose\x1b[31m" in out
    assert printed(capsys, "search", stored, EVIL, "--json")[0] == 0
    assert printed(capsys, "inspect", stored)[0] == 0
    assert printed(capsys, "search", stored, "no\x1bsuch")[0] == 2
    assert printed(capsys, "compare", f"no\x1b{EVIL}", "-o", tmp_path / "o")[0] == 2
    with pytest.raises(SystemExit):
        printed(capsys, "bad\x1bcommand")
    assert "\x1b" not in capsys.readouterr().err
    command = ["compare", stored, "-o", tmp_path / "o", "--classifiers", "knn", "--baseline", "none"]
    assert printed(capsys, *command)[0] == 0


def test_what_is_printed_need_not_fit_the_encoding(stored):
    status, err = shell(f'search "{stored}" 花.png', PYTHONIOENCODING="ascii")
    assert status == 2
    assert "\\u82b1.png" in err


def test_predictions_are_safe_in_a_spreadsheet(capsys):
    from featx.cli.commands.predict import formatted
    from featx.estimators.model import Prediction

    found = [Prediction(EVIL, "=1+1", 0.9, {"=1+1": 0.9, "b": 0.1}), Prediction("-x", "b", 0.5, {})]
    rows = list(csv.reader(formatted(found, "csv").splitlines()))
    assert rows[1][:2] == [r"a\x1b[2J\u202e\nb", "'=1+1"]
    assert rows[2][0] == "'-x"
    assert r"\u001b" in formatted(found, "jsonl")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--backbone", "mobilenet_v2"], "backbones"),
        (["--image-size", "96"], "image_size"),
        (["--weights", "random"], "weights"),
        (["--layer", "flatten"], "layer"),
        (["--precision", "fp32"], "precision"),
        (["--engine", "torch"], "engine"),
        (["--epochs", "3"], "epochs"),
        (["--baseline", "full"], "baseline"),
        (["--epochs", "3", "--baseline", "none"], "epochs"),
        (["--image-size", "1000000"], "image_size"),
        (["--label", "nothing"], "nothing"),
    ],
)
def test_options_without_effect_are_one_line(capsys, stored, tmp_path, options, message):
    status, out, err = printed(capsys, "compare", stored, "-o", tmp_path / "o", "--quiet", *options)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert message in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["label", "F", "--strategy", "k-center", "--seed", "1"], "--seed has no effect"),
        (["label", "F", "--seed", "-1"], "expected a whole number from 0"),
        (["search", "F", "=cmd", "--weights", "w.pth"], "weights"),
        (["anomaly", "F", "F", "-o", "o", "--test-size", "0.4"], "--test-size has no effect"),
        (["compare", "F", "-o", "o", "--target-domain", "F", "--no-ensemble"], "--no-ensemble"),
        (["similarity", "F", "F", "--image-size", "96"], "image_size"),
        (["anomaly", "F", "F", "-o", "o", "--layer", "x"], "layer"),
        (["curve", "F", "-o", "o", "--epochs", "3"], "epochs"),
        (["curve", "F", "-o", "o", "--augment"], "augment"),
        (["curve", "F", "-o", "o", "--backbone", "mobilenet_v2"], "backbones"),
    ],
)
def test_flags_without_effect_are_one_line(capsys, stored, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    given = [str(stored) if word == "F" else word for word in arguments]
    try:
        status, _, err = printed(capsys, *given)
    except SystemExit as stop:
        status, err = stop.code, capsys.readouterr().err
    assert status == 2
    assert len(err.splitlines()) == 1
    assert message in err
