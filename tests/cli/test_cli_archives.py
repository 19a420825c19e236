"""Commands on archives: extract, compare with its report, search, label, train and predict."""

import zipfile

import numpy as np
import pytest
from archives import write_tar, write_zip
from pictures import QUICK_OPTIONS, write_photos

import featx
from featx.cli import main


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


def test_compare_shows_pictures_and_search_finds_images(work, capsys):
    run("compare", "photos.zip", "-o", "out", "--classifiers", "knn", "--force", *QUICK_OPTIONS)
    page = (work / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/") > 3
    capsys.readouterr()
    run("search", "photos.tar", "photos/leaf/001.png", *QUICK_OPTIONS)
    assert "leaf/001.png" in capsys.readouterr().out


def test_a_model_predicts_the_images_of_archives(work, capsys):
    run("train", "photos.tar", "-o", "m.featx", "--classifier", "knn", "--force", *QUICK_OPTIONS)
    capsys.readouterr()
    run("predict", "m.featx", "photos", "--format", "csv")
    of_folder = capsys.readouterr().out.replace("photos/", "")
    run("predict", "m.featx", "photos.zip", "--format", "csv")
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(of_folder.splitlines())
    run("predict", "m.featx", "photos.zip", "photos.tar", "--format", "csv")
    assert len(capsys.readouterr().out.splitlines()) == 1 + 48
