"""Where results may be written: files of others are never replaced, and a refused run leaves nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from featx import Features
from featx.cli import main
from featx.errors import OutputError
from featx.results.output_paths import Study, output_file, output_folder
from featx.studies.experiments import load_experiment


def rows(seed=0, n=36):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), n // 3)
    return Features(
        embeddings=(rng.normal(size=(3, 8))[labels] + rng.normal(size=(n, 8))).astype(np.float32),
        ids=[f"{i}.png" for i in range(n)],
        labels=labels,
        classes=("a", "b", "c"),
        space={"backbone": {"architecture": "made"}},
    )


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with two features files, a photo, and a study of the first file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("featx.studies.comparison.classes.examine", lambda *_: {"notes": []})
    rows().save("a.h5")
    rows(1).save("b.h5")
    Path("photo.jpg").write_bytes(b"\xff\xd8\xff photo")
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


def refused(capsys, *argv):
    """The line with which a command is refused; nothing may have changed."""
    before = contents("."), sorted(Path(".").rglob("*"))
    assert main([str(word) for word in argv]) == 2
    assert (contents("."), sorted(Path(".").rglob("*"))) == before
    (line,) = capsys.readouterr().err.splitlines()
    return line


COMPARE = ("--classifiers", "lda", "--quiet")
CURVE = ("--classifiers", "lda", "--shots", "2", "--seeds", "1", "--quiet")


def test_a_folder_with_another_study_is_asked_for(home, capsys):
    assert main(["compare", "a.h5", "-o", "out", *COMPARE]) == 0
    assert main(["compare", "a.h5", "-o", "out", *COMPARE]) == 0
    assert main(["compare", str(home / "a.h5"), "-o", str(home / "out"), *COMPARE]) == 0
    capsys.readouterr()
    line = refused(capsys, "compare", "b.h5", "-o", "out", *COMPARE)
    assert f"out: holds a comparison of {home / 'a.h5'}; this is a comparison of {home / 'b.h5'}" in line
    assert "--force" in line
    assert "a learning curve" in refused(capsys, "curve", "a.h5", "-o", "out", *CURVE)
    assert "holds a comparison" in refused(capsys, "similarity", "a.h5", "b.h5", "-o", "out", "--quiet")
    assert "holds a comparison" in refused(capsys, "anomaly", "a.h5", "-o", "out", "--quiet")
    assert "holds a comparison" in refused(capsys, "anomaly", "a.h5", "b.h5", "-o", "out", "--quiet")
    assert "holds a comparison" in refused(capsys, "rank", "a.h5", "-o", "out", "--quiet")
    domains = ("compare", "a.h5", "--target-domain", "b.h5", "-o", "out", "--quiet")
    assert "holds a comparison" in refused(capsys, *domains)
    assert main(["compare", "b.h5", "-o", "out", "--force", *COMPARE]) == 0
    assert json.loads(Path("out/results.json").read_text())["dataset"]["name"] == "b"
    assert main(["compare", "b.h5", "-o", "out", *COMPARE]) == 0


@pytest.mark.parametrize(
    "command",
    [
        ("curve", "a.h5", *CURVE),
        ("similarity", "a.h5", "b.h5", "--permutations", "10", "--quiet"),
        ("anomaly", "a.h5", "--detectors", "knn", "--quiet"),
        ("anomaly", "a.h5", "b.h5", "--quiet"),
        ("compare", "a.h5", "--target-domain", "b.h5", "--classifiers", "lda", "--quiet"),
    ],
)
def test_every_study_goes_on_in_its_own_folder_and_in_no_other(home, capsys, command):
    rows(2).save("c.h5")
    assert main([*command, "-o", "out"]) == 0
    assert main([*command, "-o", "out"]) == 0
    capsys.readouterr()
    line = refused(capsys, *["c.h5" if word == "a.h5" else word for word in command], "-o", "out")
    assert "out: holds " in line
    assert str(home / "c.h5") in line
    assert "results" not in line or "--force" in line
    for file in Path("out").glob("[rc]*.json"):  # results.json or curve.json
        content = json.loads(file.read_text())
        assert content["command"].startswith("featx ")
        assert content["environment"]["python"]
    assert "holds" in refused(capsys, "compare", "b.h5", "-o", "out", *COMPARE)


@pytest.mark.parametrize("name", ["results.json", "report.html", "results.csv", "experiment.toml"])
@pytest.mark.parametrize("content", [b"", b"mine", b'{"schema": "mine"}', b"[" * 100_000, b"\xff\x00"])
def test_files_of_others_with_the_same_names_are_not_written_over(home, capsys, name, content):
    Path("out").mkdir()
    Path("out", name).write_bytes(content)
    line = refused(capsys, "compare", "a.h5", "-o", "out", *COMPARE)
    assert f"out{os.sep}{name}: exists, and featx did not write it" in line
    if content == b"mine":
        assert main(["compare", "a.h5", "-o", "out", "--force", *COMPARE]) == 0


def test_finished_work_alone_is_gone_on_with(home, capsys):
    from featx import compare

    compare("a.h5", classifiers="lda", baseline="none", resume="out")
    assert main(["compare", "a.h5", "-o", "out", *COMPARE]) == 0
    assert "2 of 2 methods were taken from an earlier run" in capsys.readouterr().out
    Path("other").mkdir()
    Path("other/methods.journal").write_text("mine")
    assert "featx did not write it" in refused(capsys, "compare", "a.h5", "-o", "other", *COMPARE)


def test_other_files_in_a_folder_are_no_hindrance(home):
    Path("out").mkdir()
    Path("out/notes.txt").write_text("mine")
    assert main(["compare", "a.h5", "-o", "out", *COMPARE]) == 0
    assert Path("out/notes.txt").read_text() == "mine"


def test_what_is_refused_leaves_no_folder(home, capsys):
    for argv in (
        ("compare", "a.h5", "-o", "x/y/z", "--classifiers", "spam", "--quiet"),
        ("compare", "nowhere.h5", "-o", "x/y/z", "--quiet"),
        ("curve", "nowhere.h5", "-o", "x/y/z", "--quiet"),
        ("curve", "a.h5", "-o", "x/y/z", "--classifiers", "spam", "--quiet"),
        ("rank", "nowhere", "-o", "x/y/z", "--quiet"),
        ("similarity", "a.h5", "nowhere.h5", "-o", "x/y/z", "--quiet"),
        ("anomaly", "nowhere.h5", "-o", "x/y/z", "--quiet"),
        ("anomaly", "a.h5", "nowhere.h5", "-o", "x/y/z", "--quiet"),
        ("compare", "a.h5", "--target-domain", "nowhere.h5", "-o", "x/y/z", "--quiet"),
        ("compare", "a.h5", "-o", "photo.jpg", *COMPARE),
        ("compare", "a.h5", "-o", "photo.jpg/x", *COMPARE),
        ("compare", "a.h5", "-o", "a\0b", *COMPARE),
    ):
        refused(capsys, *argv)
    # A folder that was there stays.
    Path("empty").mkdir()
    refused(capsys, "compare", "nowhere.h5", "-o", "empty", "--quiet")
    assert Path("empty").is_dir()


def test_the_python_functions_leave_none_either(home):
    from featx import compare, learning_curve
    from featx.errors import FeatxError

    for work in (compare, learning_curve):
        with pytest.raises(FeatxError):
            work("a.h5", classifiers="spam", resume="x/y")
        with pytest.raises(FeatxError):
            work("nowhere.h5", resume=Path("x/y"))
    assert not Path("x").exists()


@pytest.mark.parametrize("name", ["photo.jpg", "photo.h5", "photo", "link.h5"])
def test_a_file_that_featx_did_not_write_is_not_replaced(home, capsys, name):
    for other in ("photo.h5", "photo"):
        Path(other).write_bytes(b"\xff\xd8\xff photo")
    os.symlink("photo.jpg", "link.h5")
    line = refused(capsys, "extract", "photos", "-o", name, "--quiet")
    assert name in line
    assert "-o" in line


def test_a_file_of_featx_is_known_by_its_content(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows().save("own.h5")
    Path("own.csv").write_text("id,label,probability,p(a)\n")
    Path("own.jsonl").write_text('{"id": 1, "label": 2, "probability": 3, "probabilities": {}}\n')
    Path("own.txt").write_text("a.png: cat 0.97\nb: 1.png: unsure (dog 0.41; unlike the training images)\n")
    Path("mine.txt").write_text("To buy: apples 1.50\nbread\n")
    Path("empty.csv").write_bytes(b"")
    Path("mine.csv").write_text("path,label\n")
    Path("mine.featx").write_bytes(b"PK\x03\x04 mine")
    assert output_file("own.h5", "features") == tmp_path / "own.h5"
    for name in ("own.csv", "own.jsonl", "own.txt", "empty.csv", "new.csv"):
        assert output_file(name, "predictions") == tmp_path / name
    for name, kind in (("mine.csv", "predictions"), ("mine.txt", "predictions"), ("mine.featx", "model")):
        with pytest.raises(OutputError, match=rf"{name}: exists, and is not a {kind} file of featx;"):
            output_file(name, kind)
        assert output_file(name, kind, force=True) == tmp_path / name


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("x.csv", "model", r"x\.csv: a model file ends in \.featx, not in \.csv"),
        ("m.featx", "predictions", r"a predictions file ends in \.csv or"),
        ("m.featx", "features", r"a features file ends in \.h5 or \.hdf5"),
        ("", "features", "not the name of a file"),
        ("a\0b.h5", "features", "not the name of a file"),
        (".", "features", r"is a folder; -o needs the name of a file"),
        ("none/x.h5", "features", "does not exist"),
        ("x" * 300 + ".h5", "features", "cannot be looked at"),
    ],
)
def test_a_name_that_fits_nothing_is_refused_with_force_as_well(tmp_path, monkeypatch, name, kind, message):
    monkeypatch.chdir(tmp_path)
    for force in (False, True):
        with pytest.raises(OutputError, match=message):
            output_file(name, kind, force=force)
    assert list(tmp_path.iterdir()) == []


def test_a_link_stays_a_link_and_what_it_leads_to_decides(home):
    os.symlink("a.h5", "link.h5")
    os.symlink("photo.jpg", "bad.h5")
    os.symlink("loop.h5", "loop.h5")
    os.mkfifo("pipe.h5")
    assert output_file("link.h5", "features") == home / "a.h5"
    for name in ("bad.h5", "loop.h5", "pipe.h5"):
        with pytest.raises(OutputError, match=name):
            output_file(name, "features")


def test_a_model_is_known_by_its_container(home, capsys):
    from sklearn.linear_model import LogisticRegression

    from featx.estimators.model import Model

    features = rows()
    fitted = LogisticRegression().fit(features.embeddings, features.labels)
    Model(fitted, ("a", "b", "c"), dict(features.space), {}, {}).save("m.featx")
    assert output_file("m.featx", "model") == home / "m.featx"


EXPERIMENT = """
[experiment]
kind = "compare"
output = "{output}"
[data]
source = "{source}"
[methods]
classifiers = ["lda"]
baseline = "none"
"""


def test_an_experiment_writes_in_its_own_folder_alone(home, capsys):
    assert main(["compare", "a.h5", "-o", "victim", *COMPARE]) == 0
    Path("evil").mkdir()
    os.symlink("../victim", "evil/link")
    capsys.readouterr()
    for output in ("../victim", "../new", str(home / "victim"), "link", "x/../../victim", "~/featx-out"):
        Path("evil/e.toml").write_text(EXPERIMENT.format(output=output, source="../b.h5"))
        line = refused(capsys, "run", "evil/e.toml", "--quiet")
        assert f"evil{os.sep}e.toml: [experiment] output lies outside of the folder of the experiment" in line
        assert "--force" in line
    Path("evil/e.toml").write_text(
        EXPERIMENT.format(output="out", source="../b.h5") + '[run]\ncache = "../cache"\n'
    )
    assert "[run] cache lies outside" in refused(capsys, "run", "evil/e.toml", "--quiet")
    Path("evil/e.toml").write_text(EXPERIMENT.format(output="out", source="../b.h5"))
    assert main(["run", "evil/e.toml", "--quiet"]) == 0
    assert main(["run", "evil/e.toml", "--quiet"]) == 0
    assert main(["run", "evil/out/experiment.toml", "--quiet"]) == 0
    capsys.readouterr()
    Path("evil/e.toml").write_text(EXPERIMENT.format(output="out", source="../a.h5"))
    assert "holds a comparison of" in refused(capsys, "run", "evil/e.toml", "--quiet")
    Path("evil/e.toml").write_text(EXPERIMENT.format(output="../victim", source="../b.h5"))
    assert main(["run", "evil/e.toml", "--quiet", "--force"]) == 0
    with pytest.raises(OutputError, match="outside of the folder"):
        load_experiment("evil/e.toml").run()


def test_nothing_is_written_by_deciding(tmp_path):
    study = Study.of("compare", "digits")
    assert output_folder(tmp_path / "a" / "b", study) == tmp_path / "a" / "b"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", "", "a\0b"):
        with pytest.raises(OutputError):
            output_folder(place, study, force=True)
