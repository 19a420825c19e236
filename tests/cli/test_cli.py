"""The command line: what it prints, and every kind of bad input as one line with status 2."""

from __future__ import annotations

import csv
import html
import json
import subprocess
import sys

import pytest
from pictures import BACKBONE, COLOURS, NORMED, write_photos

from featx.cli import main
from featx.data import SKIP_HINT, load_dataset

QUICK = ["--backbone", BACKBONE, "--weights", "random", "--image-size", "32", "--quiet"]


def run(capsys, *argv):
    """Status, standard output and standard error of a command."""
    try:
        status = main([str(a) for a in argv])
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    return status, out, err


def refused(capsys, *argv):
    """The one line on standard error that a refused command leaves."""
    status, _, err = run(capsys, *argv)
    assert status == 2
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err
    return err.strip()


def test_extract_inspect_and_compare(capsys, split_photos, tmp_path):
    status, out, _ = run(capsys, "extract", split_photos, "-o", tmp_path / "f.h5", *QUICK)
    assert status == 0
    assert "45 embeddings of 512 values (45 forward passes" in out
    status, out, _ = run(capsys, "inspect", tmp_path / "f.h5")
    assert status == 0
    assert "512" in out
    assert BACKBONE in out
    status, out, _ = run(
        capsys,
        "compare",
        split_photos,
        "-o",
        tmp_path / "o",
        "--classifiers",
        "knn",
        "--baseline",
        "none",
        *QUICK,
    )
    assert status == 0
    assert "report:" in out
    data = json.loads((tmp_path / "o" / "results.json").read_text())
    assert data["forward_passes"] == 0
    assert [m["name"] for m in data["methods"]] == ["majority", "pixels", "knn"]
    assert data["next_steps"] == [], "the raw pixels are as good"


def test_the_next_command_is_printed_and_in_the_report(capsys, split_photos, tmp_path, monkeypatch):
    run(capsys, "extract", split_photos, "-o", tmp_path / "my photos.h5", *QUICK)
    monkeypatch.chdir(tmp_path)
    _, out, _ = run(capsys, "compare", "my photos.h5", "-o", "o", "--classifiers", "lda", "--quiet")
    lines = json.loads((tmp_path / "o" / "results.json").read_text())["next_steps"]
    assert lines[0] == "featx train 'my photos.h5' --classifier lda -o model.featx"
    assert "\n".join(f"next: {line}" for line in lines) in out
    report = html.unescape((tmp_path / "o" / "report.html").read_text())
    assert all(line in report for line in lines)


def test_train_and_predict(capsys, split_photos, tmp_path):
    assert run(capsys, "train", split_photos, "-o", tmp_path / "m", "--classifier", "lda", *QUICK)[0] == 0
    status, out, _ = run(capsys, "predict", tmp_path / "m", split_photos / "test", "--quiet")
    assert status == 0
    rows = list(csv.DictReader(out.splitlines()))
    assert len(rows) == 15
    assert all(row["label"] in row["id"] for row in rows)
    assert float(rows[0]["probability"]) == pytest.approx(float(rows[0][f"p({rows[0]['label']})"]))
    one = split_photos / "test" / "sky" / "000.png"
    assert run(capsys, "predict", tmp_path / "m", one, "-o", tmp_path / "p.jsonl", "--quiet")[0] == 0
    record = json.loads((tmp_path / "p.jsonl").read_text())
    assert record["label"] == "sky"
    assert set(record["probabilities"]) == set(COLOURS)


def test_backbones_are_listed(capsys):
    status, out, _ = run(capsys, "backbones", "resnet")
    assert status == 0
    lines = [line for line in out.splitlines() if line.startswith("resnet50 ")]
    assert [line.split()[1] for line in lines] == ["2048", "2048"]  # there are two sets of weights


def test_skipped_images_are_listed(capsys, photos, tmp_path):
    (photos / "sky" / "bad.png").write_bytes(b"")
    status, _, err = run(capsys, "extract", photos, "-o", tmp_path / "f.h5", "--on-error", "skip", *QUICK)
    assert status == 0
    assert "sky/bad.png: empty" in err


def test_missing_files_of_a_table_are_skipped_and_listed(capsys, photos, tmp_path):
    rows = "".join(f"sky/00{i}.png,sky\nleaf/00{i}.png,leaf\n" for i in range(4))
    (photos / "t.csv").write_text(f"path,label\ngone.png,sky\n{rows},leaf\n")
    options = [photos / "t.csv", "-o", tmp_path / "f.h5", *QUICK]
    assert "--on-error skip" in refused(capsys, "extract", *options)
    status, out, err = run(capsys, "extract", *options, "--on-error", "skip")
    assert status == 0
    assert "8 embeddings" in out
    assert f"gone.png: no such file: {photos}" in err
    assert "row 11: no value in column path" in err


def test_the_first_bad_image_names_the_option(capsys, photos, tmp_path):
    (photos / "sky" / "bad.png").write_bytes(b"")
    (photos / "sky" / "worse.jpg").write_text("404 Not Found")
    options = ["extract", photos, "-o", tmp_path / "f.h5", *QUICK]
    assert refused(capsys, *options).endswith(SKIP_HINT)
    _, _, err = run(capsys, *options, "--on-error", "skip")
    assert "2 images could not be read" in err
    assert "sky/bad.png: empty file" in err
    assert "sky/worse.jpg: not an image: text that begins with '404 Not Found'" in err


def test_sites_are_asked_about_and_are_groups_on_request(capsys, tmp_path):
    for site in ("site1", "site2", "site3"):
        write_photos(tmp_path / "data" / site, 4, seed=sum(map(ord, site)))
    out = tmp_path / "o"
    options = [tmp_path / "data", "-o", out, "--classifiers", "lda", "--baseline", "none", *QUICK[:-1]]
    assert "--split-by" in refused(capsys, "compare", *options, "--quiet")
    status, _, err = run(capsys, "compare", *options, "--split-by", "folder")
    assert status == 0
    assert "classes of 12 images" in err
    assert "3 groups (from the folders 'site1', 'site2', 'site3')" in err
    assert 'split_by = "folder"' in (out / "experiment.toml").read_text()
    data = json.loads((out / "results.json").read_text())
    assert sorted(data["dataset"]["classes"]) == sorted(COLOURS)
    status, out, err = run(
        capsys, "extract", tmp_path / "data", "-o", tmp_path / "f.h5", "--split-by", "none", *QUICK
    )
    assert (status, err) == (0, "")
    status, out, _ = run(capsys, "inspect", tmp_path / "f.h5")
    assert "site3" in out


def test_results_inside_the_data_are_not_part_of_it(capsys, photos, monkeypatch):
    monkeypatch.chdir(photos)
    options = ["--classifiers", "lda", "--baseline", "none", *QUICK]
    status, _, _ = run(capsys, "compare", ".", "-o", "out", *options)
    assert status == 0
    data = json.loads((photos / "out" / "results.json").read_text())
    assert sorted(data["dataset"]["classes"]) == sorted(COLOURS)
    assert len(load_dataset(".")) == 24


def test_predict_lists_folders_as_extract_does(capsys, photos, tmp_path):
    assert run(capsys, "train", photos, "-o", tmp_path / "m", "--classifier", "lda", *QUICK)[0] == 0
    (photos / "sky" / "000.png").rename(photos / "sky" / "0f3a")
    (photos / "sky" / "x.tga").write_bytes(b"x")
    (photos / "sky" / "again").symlink_to(photos / "leaf", target_is_directory=True)
    status, out, err = run(capsys, "predict", tmp_path / "m", photos)
    assert status == 0
    assert f"{photos}: left out: 1 file that is no image by suffix: 1 .tga (first: sky/x.tga)" in err
    rows = list(csv.DictReader(out.splitlines()))
    assert len(rows) == 24
    assert str(photos / "sky" / "0f3a") in [row["id"] for row in rows]
    status, out, err = run(
        capsys, "predict", tmp_path / "m", photos / "gone.png", photos, "--on-error", "skip"
    )
    assert status == 0
    assert "gone.png: no such file" in err


@pytest.mark.parametrize("command", [[], ["extract"], ["compare"], ["predict"], ["search"], ["label"]])
def test_help_is_there_and_imports_nothing_heavy(command):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "featx", *command, "--help"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert "usage: featx" in done.stdout
    assert " torch" not in done.stderr
    assert " sklearn" not in done.stderr


def empty_folder(tmp):
    (tmp / "d" / "a").mkdir(parents=True)
    return tmp / "d"


def one_class(tmp):
    return write_photos(tmp / "d", 3, colours={"lonely": (9, 9, 9)})


def one_image(tmp):
    write_photos(tmp / "d", 3)
    for path in sorted((tmp / "d" / "sky").iterdir())[1:]:
        path.unlink()
    return tmp / "d"


def table(*lines):
    def make(tmp):
        write_photos(tmp, 2)
        (tmp / "t.csv").write_text("\n".join(lines) + "\n")
        return tmp / "t.csv"

    return make


BAD_DATA = {
    "folder without images": (empty_folder, ["no images"]),
    "one class only": (one_class, ["lonely"]),
    "a class with one image": (one_image, ["sky"]),
    "labels missing": (
        table("path,label", "sky/000.png,sky", "leaf/000.png,"),
        ["2 classes", "1 more have no label: featx label"],
    ),
    "no label column": (table("path,class", "sky/000.png,sky"), ["t.csv", "label", "class"]),
    "no path column": (table("file,label", "sky/000.png,sky"), ["t.csv", "path", "file"]),
    "a path that does not exist": (
        table("path,label", "sky/000.png,sky", "sky/nope.png,leaf"),
        ["nope.png", "3"],
    ),
    "duplicate rows": (
        table("path,label", "sky/000.png,a", "leaf/000.png,b", "sky/000.png,a"),
        ["sky/000.png", "4"],
    ),
    "neither folder nor name": (lambda tmp: "fashion-mnst", ["fashion-mnst", "fashion-mnist"]),
    "a folder that does not exist": (lambda tmp: tmp / "nothing", ["nothing"]),
    "not a features file": (table("x"), ["t.csv"]),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_is_one_line(capsys, tmp_path, case):
    make, words = BAD_DATA[case]
    data = make(tmp_path)
    line = refused(capsys, "compare", data, "-o", tmp_path / "out", "--baseline", "none", *QUICK)
    for word in words:
        assert word in line
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--backbone", "resnet5"], ["resnet5", "resnet50"]),
        (["--backbone", BACKBONE, "--layer", "featur"], ["featur", "features"]),
        (["--classifiers", "svn"], ["svn", "svm"]),
        (["--engine", "torhc"], ["torhc", "torch"]),
        (["--device", "cuda:99"], ["cuda"]),
        (["--limit", "-3"], ["--limit", "-3"]),
        (["--test-size", "1.5"], ["--test-size", "1.5"]),
        (["--precision", "fp64"], ["fp64"]),
    ],
)
def test_wrong_names_are_one_line_with_the_nearest(capsys, photos, tmp_path, argv, words):
    line = refused(capsys, "compare", photos, "-o", tmp_path / "out", "--baseline", "none", *QUICK, *argv)
    for word in words:
        assert word in line


def test_an_output_that_cannot_be_written_is_refused_before_any_work(capsys, photos, tmp_path):
    (tmp_path / "file").write_text("")
    assert "file" in refused(capsys, "compare", photos, "-o", tmp_path / "file" / "x", *QUICK)
    assert "does not exist" in refused(capsys, "extract", photos, "-o", tmp_path / "no" / "f.h5", *QUICK)
    assert "is a folder" in refused(capsys, "extract", photos, "-o", photos, *QUICK)


def checkpoint(tmp_path, name, architecture):
    import torch

    from featx.vision import import_torchvision

    path = tmp_path / name
    torch.save(getattr(import_torchvision().models, architecture)(weights=None).state_dict(), path)
    return path


def test_a_profile_is_shown_on_standard_error(capsys, photos, tmp_path):
    status, out, err = run(capsys, "extract", photos, "-o", tmp_path / "f.h5", "--profile", *QUICK)
    assert status == 0
    assert "profile: 24 images in" in err
    assert "bottleneck: " in err.splitlines()[-1]
    assert "bottleneck" not in out
    _, _, err = run(capsys, "extract", photos, "-o", tmp_path / "f.h5", "--profile", *QUICK)
    assert "nothing was computed" in err
    argv = ["compare", photos, "-o", tmp_path / "o", "--classifiers", "lda", "--baseline", "none"]
    status, _, err = run(capsys, *argv, "--profile", *QUICK)
    assert f"{BACKBONE}: profile: every row came from the cache" in err
    assert json.loads((tmp_path / "o" / "results.json").read_text())["extraction"][BACKBONE]["profile"]


def test_bad_weights_are_one_line(capsys, photos, tmp_path):
    other = checkpoint(tmp_path, "other.pth", NORMED)
    wrong_hash = checkpoint(tmp_path, "net-deadbeef.pth", BACKBONE)
    truncated = tmp_path / "cut.pth"
    truncated.write_bytes(wrong_hash.read_bytes()[:5000])
    for path in (other, wrong_hash, truncated, tmp_path / "none.pth"):
        argv = [
            "extract",
            photos,
            "-o",
            tmp_path / "f.h5",
            "--backbone",
            BACKBONE,
            "--weights",
            path,
            "--quiet",
        ]
        assert path.name in refused(capsys, *argv)
    assert not (tmp_path / "f.h5").exists()


def test_a_damaged_features_file_is_one_line(capsys, tmp_path):
    (tmp_path / "f.h5").write_bytes(b"\x89HDF\r\n\x1a\n broken")
    assert "f.h5" in refused(capsys, "compare", tmp_path / "f.h5", "-o", tmp_path / "o", "--quiet")
    assert "f.h5" in refused(capsys, "inspect", tmp_path / "f.h5")
    assert "none.h5" in refused(capsys, "inspect", tmp_path / "none.h5")


def test_a_missing_image_to_predict_is_one_line(capsys, photos, tmp_path):
    assert run(capsys, "train", photos, "-o", tmp_path / "m", "--classifier", "naive-bayes", *QUICK)[0] == 0
    assert "nope.jpg" in refused(capsys, "predict", tmp_path / "m", tmp_path / "nope.jpg")


def test_an_unknown_command_is_one_line(capsys):
    assert "extrct" in refused(capsys, "extrct")


def test_columns_of_a_table_become_tasks(capsys, photos, tmp_path):
    rows = ["path,species,size"]
    for k, path in enumerate(sorted(photos.rglob("*.png"))):
        rows.append(f"{path},{path.parent.name},{k if k % 5 else ''}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    columns = ["--label", "species", "--target", "size"]
    options = ["--classifiers", "lda", "--regressors", "ridge", "--baseline", "none", *QUICK]
    status, out, _ = run(capsys, "compare", tmp_path / "t.csv", "-o", tmp_path / "o", *columns, *options)
    assert status == 0
    assert "size is predicted" in out
    assert json.loads((tmp_path / "o" / "results.json").read_text())["forward_passes"] == 24
    assert "featx" in json.loads((tmp_path / "o" / "size" / "results.json").read_text())["command"]
    status, out, _ = run(capsys, "extract", tmp_path / "t.csv", "-o", tmp_path / "f.h5", *columns, *QUICK)
    assert status == 0
    _, out, _ = run(capsys, "inspect", tmp_path / "f.h5")
    assert "size: numbers, 1 to 23, 5 images without" in out
    one = ["compare", tmp_path / "f.h5", "-o", tmp_path / "p", "--target", "size", "--regressors", "ridge"]
    status, out, _ = run(capsys, *one, "--quiet")
    assert status == 0
    assert "no fine-tuned baseline" in out
    assert "5 images have no value: neither trained nor tested on" in out
    for data, options in ((tmp_path / "t.csv", QUICK), (tmp_path / "f.h5", ["--quiet"])):
        train = ["train", data, "-o", tmp_path / f"{data.suffix}.featx", "--classifier", "lda"]
        assert "on 24 images, 3 classes" in run(capsys, *train, "--label", "species", *options)[1]
        assert "specis" in refused(capsys, *train, "--label", "specis", *options)
    again = ["compare", tmp_path / "t.csv", "-o", tmp_path / "q", *QUICK]
    assert "unknown column 'sizes'; did you mean size" in refused(capsys, *again, "--label", "sizes")


@pytest.mark.parametrize("seed", ["-1", "2147483648", "1.5"])
def test_a_seed_that_no_generator_takes_is_one_line(capsys, seed):
    status, _, err = run(capsys, "train", "nowhere", "-o", "m", f"--seed={seed}")
    assert status == 2
    assert f"expected a whole number from 0 to 2147483647, got '{seed}'" in err


def test_ctrl_c_that_falls_into_a_callback_is_not_lost():
    code = (
        "import signal, sys, time, weakref\n"
        "from featx.cli import main\n"
        "from featx.cli.commands import backbones\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # whoever runs the tests may ignore it
        "class Thing: pass\n"
        "def interrupted(reference): raise KeyboardInterrupt\n"
        "def wait(args):\n"
        "    thing = Thing()\n"
        "    reference = weakref.ref(thing, interrupted)\n"
        "    del thing\n"
        "    for _ in range(1000): time.sleep(0.01)\n"
        "backbones.run = wait\n"
        "sys.exit(main(['backbones']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 130, done.stderr
    assert done.stderr.startswith("featx: interrupted")
    assert len(done.stderr.splitlines()) == 1


def test_an_unknown_option_names_the_nearest_and_the_help_of_its_command(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["compare", "photos", "--backbones", "a", "b", "-o", "out"])
    assert capsys.readouterr().err == (
        "featx compare: unrecognized arguments: --backbones a b; did you mean --backbone? "
        "(see featx compare --help)\n"
    )
