"""Commands on archives: extract, compare with its report, search, label, train and predict."""

import zipfile

import numpy as np
import pytest
from archives import write_tar, write_zip
from file_server import serving
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


def test_predict_takes_patterns_and_datasets_of_hugging_face(work, capsys):
    datasets = pytest.importorskip("datasets")
    photo = work / "photos" / "leaf" / "001.png"
    images = {"image": [{"bytes": photo.read_bytes(), "path": None}] * 2}
    made = datasets.Dataset.from_dict(images, features=datasets.Features({"image": datasets.Image()}))
    made.save_to_disk(work / "saved")
    made.to_parquet(work / "train-0.parquet")
    for i in range(2):
        write_zip(work / f"shard-{i}.zip", {"001.png": photo.read_bytes()})
    run("train", "photos.tar", "-o", "m.featx", "--classifier", "knn", "--force", *QUICK_OPTIONS)
    for data in ("hf-dataset:saved", "saved", "train-*.parquet", "shard-{0..1}.zip", "shard-*.zip"):
        capsys.readouterr()
        run("predict", "m.featx", data, "--format", "csv")
        assert len(capsys.readouterr().out.splitlines()) == 1 + 2
    assert main(["predict", "m.featx", "hf-dataset:lost"]) == 2
    assert "hf-dataset:lost: no such folder; for a dataset of the hub" in capsys.readouterr().err


def test_label_and_search_take_urls(work, capsys):
    with serving(work) as server:
        url = f"{server.url}photos/sky/001.png"
        (work / "urls.csv").write_text(f"path,label\n{url},\n{url.replace('001', '002')},sky\n")
        for _ in range(2):  # the second time, labels of the table come first
            run("label", "urls.csv", "-o", "labels.csv", "-n", "1", "--force", *QUICK_OPTIONS)
            assert f"{url},," in (work / "labels.csv").read_text(encoding="utf-8")
        run("label", f"{server.url}photos/sky/", "-o", "sky.csv", "-n", "1", "--force", *QUICK_OPTIONS)
        assert f"{url}," in (work / "sky.csv").read_text(encoding="utf-8")
        assert main(["label", f"{server.url}photos.zip", "-o", "zip.csv"]) == 2
        assert "by their paths or URLs, and these have none" in capsys.readouterr().err
        run("extract", "photos", "-o", "f.h5", "--force", *QUICK_OPTIONS)
        capsys.readouterr()
        run("search", "f.h5", url, "-k", "1")
        assert "1.0000  sky/001.png" in capsys.readouterr().out


def test_mistakes_say_what_to_do(work, capsys):
    assert main(["extract", "http:/example.org/a.zip", "-o", "x.h5"]) == 2
    assert "a URL has two slashes: http://example.org/a.zip" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["compare", "photos", "-o", "out", "--part", "1/2"])
    assert "--part is an option of featx extract (see" in capsys.readouterr().err
    with serving(work) as server:
        url = f"{server.url}lost.png"
        (work / "lost-url.csv").write_text(f"path,label\n{url},sky\n")
        assert main(["extract", "lost-url.csv", "-o", "x.h5", *QUICK_OPTIONS]) == 2
    assert f"{url}: no such object (404); to go on" in capsys.readouterr().err
