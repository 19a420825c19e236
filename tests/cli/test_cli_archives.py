"""Commands on archives: extract, compare with its report, search, label, train and predict."""

import zipfile

import numpy as np
import pytest
from archives import write_tar, write_zip
from pictures import QUICK_OPTIONS, write_photos

import featx
from featx.cli import main
from featx.data import load_dataset
from featx.studies.output import samples_of


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    root = tmp_path_factory.mktemp("archives")
    photos = write_photos(root / "photos", 8)
    files = {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(photos.rglob("*.png"))}
    write_zip(root / "photos.zip", files, compression=zipfile.ZIP_DEFLATED)
    write_tar(root / "photos.tar", files)
    return root


@pytest.fixture(autouse=True)
def here(work, monkeypatch):
    monkeypatch.chdir(work)
    monkeypatch.setenv("FEATX_CACHE", str(work / "cache"))


def run(*words):
    assert main([*words]) in (0, None)


def test_extract_gives_the_rows_of_the_folder(work):
    found = {}
    for data in ("photos", "photos.zip", "photos.tar"):
        run("extract", data, "-o", f"{data}.h5", "--force", *QUICK_OPTIONS)
        found[data] = featx.open_features(f"{data}.h5")
    for data in ("photos.zip", "photos.tar"):
        assert list(found[data].ids) == list(found["photos"].ids)
        assert found[data].classes == found["photos"].classes
        np.testing.assert_array_equal(found[data].embeddings[:], found["photos"].embeddings[:])


def test_compare_and_the_pictures_of_its_report(work):
    run("compare", "photos.zip", "-o", "out", "--classifiers", "knn", "--force", *QUICK_OPTIONS)
    assert (work / "out" / "report.html").exists()
    samples = [samples_of(load_dataset(data), {"leaf/001.png"}) for data in ("photos", "photos.zip")]
    assert samples[0] == samples[1]


def test_a_model_predicts_the_images_of_archives(work, capsys):
    run("train", "photos.tar", "-o", "m.featx", "--classifier", "knn", "--force", *QUICK_OPTIONS)
    capsys.readouterr()
    run("predict", "m.featx", "photos", "--format", "csv")
    of_folder = capsys.readouterr().out.replace("photos/", "")
    run("predict", "m.featx", "photos.zip", "--format", "csv")
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(of_folder.splitlines())
    run("predict", "m.featx", "photos.zip", "photos.tar", "--format", "csv")
    assert len(capsys.readouterr().out.splitlines()) == 1 + 48


def test_label_writes_paths_into_the_archive_which_are_data(work, capsys):
    def data(name, i):
        return (work / "photos" / name / f"00{i}.png").read_bytes()

    files = {f"unlabelled/{i}.png": data("leaf", i) for i in range(3)}
    files |= {f"{name}/{i}.png": data(name, i) for name in ("sky", "leaf") for i in range(3, 6)}
    write_zip(work / "some.zip", files)
    (work / "deep").mkdir()
    run("label", "some.zip", "-o", "deep/labels.csv", "-n", "2", "--force", *QUICK_OPTIONS)
    table = (work / "deep" / "labels.csv").read_text(encoding="utf-8")
    assert "../some.zip/unlabelled/0.png" in table
    assert (work / "deep" / "labels.html").exists()
    dataset = load_dataset("deep/labels.csv")
    assert dataset.classes == ("leaf", "sky")
    assert len(dataset) == 6
    assert len(load_dataset("deep/labels.csv", labelled=False)) == 9
    run("label", "some.zip", "-o", "deep/labels.csv", "-n", "2", "--force", *QUICK_OPTIONS)
    (work / "lost.csv").write_text(
        "path,label\nsome.zip/sky/3.png,a\nsome.zip/sky/99.png,b\n", encoding="utf-8"
    )
    with pytest.raises(featx.FeatxError, match=r"row 3, column path: no such file: .*some\.zip/sky/99\.png"):
        load_dataset("lost.csv")
