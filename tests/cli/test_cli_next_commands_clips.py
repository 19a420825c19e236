"""What a ranking of clips suggests next can be pasted: it names the data by its path, and has the options."""

from __future__ import annotations

import csv
import shlex

import pytest
from clips import write_sounds

import featx
from featx.cli import main


@pytest.fixture
def table(tmp_path):
    """A table outside the working directory, beside its sounds."""
    folder = write_sounds(tmp_path / "data", 6)
    with open(folder / "clips.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        writer.writerows([str(p.relative_to(folder)), p.parent.name] for p in sorted(folder.glob("*/*.wav")))
    return folder / "clips.csv"


@pytest.mark.parametrize("kept", [True, False])
def test_the_command_after_a_ranking_names_the_table_and_runs(kept, table, tmp_path, monkeypatch, capsys):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    options = ["--backbone", "kaldi:fbank", "--split-by", "none", "--window", "0.25", "--hop", "0.125"]
    where = ["-o", "ranks"] if kept else []
    command = ["rank", str(table), *options, *where, "--cache", str(tmp_path / "c")]
    monkeypatch.setattr("sys.argv", ["featx", *command])
    assert main(command) in (0, None)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("next: ")]
    words = shlex.split(line)[1:]
    assert words[:3] == ["featx", "compare", str(table)]
    assert " --split-by none --window 0.25 --hop 0.125 " in line
    assert main([*words[1:], "--baseline", "none", "--classifiers", "knn", "--no-checks"]) in (0, None)
    assert "12 clips" in capsys.readouterr().err


def test_in_python_it_names_the_table_or_says_data(table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {"backbones": "kaldi:fbank", "cache": tmp_path / "c", "verbose": False}
    assert featx.rank(table, **options).next_steps[0].startswith("featx compare data/clips.csv --backbone ")
    paths = sorted(table.parent.glob("*/*.wav"))
    found = featx.rank(paths, [path.parent.name for path in paths], **options)
    assert found.next_steps[0].startswith("featx compare DATA --backbone ")
