"""Data behind URLs: the same inputs and labels as from the folder, and errors that name the URL."""

from __future__ import annotations

import csv
import json
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from file_server import make_old, serving
from pictures import COLOURS, QUICK, write_photos

from featx import extract, load_dataset
from featx.cache import Cache
from featx.data import from_arrays
from featx.errors import DatasetError, ImageError, InputError, MissingExtra
from featx.results.next_command import _plain
from featx.results.output_paths import _from_folder, resolve_source

pytestmark = pytest.mark.usefixtures("pauses")

SECRET = "hunter2"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with photos in class folders, and the same in archives and tables beside it."""
    root = tmp_path_factory.mktemp("root")
    photos = write_photos(root / "photos", 4)
    files = sorted(photos.rglob("*.png"))
    names = [file.relative_to(photos).as_posix() for file in files]
    with zipfile.ZipFile(root / "photos.zip", "w") as archive:
        for file, name in zip(files, names, strict=True):
            archive.write(file, name)
    with tarfile.open(root / "photos.tar", "w") as tar:
        for file, name in zip(files, names, strict=True):
            tar.add(file, name)
    rows = [(f"photos/{name}", name.split("/")[0]) for name in names]
    with open(root / "table.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows])
    lines = [json.dumps({"path": path, "label": label}) for path, label in rows]
    (root / "table.jsonl").write_text("\n".join(lines))
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = {"path": [row[0] for row in rows], "label": [row[1] for row in rows]}
    parquet.write_table(pyarrow.table(table), root / "paths.parquet")
    stored = [{"bytes": (root / path).read_bytes(), "path": path} for path in table["path"]]
    parquet.write_table(pyarrow.table({"image": stored, "label": table["label"]}), root / "bytes.parquet")
    (root / "notes.txt").write_text("a text")
    make_old(root)
    return root


@pytest.fixture
def server(root):
    with serving(root) as server:
        yield server


def contents(dataset):
    """The digest and label of every input."""
    names = [dataset.classes[label] for label in dataset.labels]
    return sorted((one.read().digest, name) for one, name in zip(dataset.inputs, names, strict=True))


@pytest.fixture(scope="module")
def expected(root):
    return contents(load_dataset(root / "photos"))


@pytest.mark.parametrize(
    "name",
    [
        "photos/",
        "photos",
        "photos.zip",
        "photos.tar",
        "table.csv",
        "table.jsonl",
        "paths.parquet",
        "bytes.parquet",
    ],
)
def test_everything_behind_a_url_is_the_same_as_in_the_folder(server, expected, name):
    dataset = load_dataset(server.url + name)
    assert contents(dataset) == expected
    assert dataset.name == name.strip("/").split(".")[0] + (".zip" * name.endswith("zip")) + (
        ".tar" * name.endswith("tar")
    )


def test_ids_of_a_listing_are_the_paths_below_it(server, root):
    assert [one.id for one in load_dataset(server.url + "photos/").inputs] == [
        one.id for one in load_dataset(root / "photos").inputs
    ]


@pytest.mark.parametrize("protocol", ["memory", "file"])
def test_other_file_systems(root, expected, protocol):
    import fsspec

    url = f"file://{root}/photos"
    if protocol == "memory":
        fsspec.filesystem("memory").put(str(root / "photos"), "/shelf/photos", recursive=True)
        url = "memory://shelf/photos"
    assert contents(load_dataset(url)) == expected


def test_a_list_of_urls(server):
    urls = [f"{server.url}photos/{name}/000.png" for name in COLOURS]
    dataset = load_dataset(urls, list(COLOURS))
    assert [one.id for one in dataset.inputs] == urls
    assert dataset.kind == "image"
    assert not server.asked  # nothing is read before it is needed
    assert [one.read().id for one in from_arrays(urls).inputs] == urls


def test_urls_of_images_need_no_suffix_but_texts_may_be_urls():
    assert load_dataset(["https://h/1?x=3", "https://h/2?x=4"]).kind == "image"
    assert from_arrays(["https://h/1?x=3", "https://h/2?x=4"], kind="text").kind == "text"
    assert load_dataset(["https://h/a.txt", "https://h/b.txt?sig=x"]).kind == "text"
    assert load_dataset(["https://h/a.wav", "https://h/b.flac?sig=x"]).kind == "clip"
    assert load_dataset(["see https://h/a.jpg", "a text", "another"]).kind == "text"


def test_one_input(server):
    (image,) = load_dataset(server.url + "photos/sky/000.png").inputs
    (text,) = load_dataset(server.url + "notes.txt").inputs
    assert (image.id, image.kind, text.id, text.read().text) == ("000.png", "image", "notes.txt", "a text")


def test_a_local_table_may_name_urls_beside_files(server, root, tmp_path):
    table = tmp_path / "mixed.csv"
    table.write_text(f"path,label\n{root}/photos/sky/000.png,a\n{server.url}photos/leaf/000.png,b\n")
    dataset = load_dataset(table)
    assert [one.id for one in dataset.inputs][1] == f"{server.url}photos/leaf/000.png"
    assert len({one.read().digest for one in dataset.inputs}) == 2


@pytest.mark.parametrize(
    "cell",
    ["file:///etc/passwd", "http://169.254.169.254/a.jpg", "simplecache::https://h/a.jpg", "s9://b/a.jpg"],
)
def test_a_table_may_not_name_this_machine_by_a_url(tmp_path, cell):
    table = tmp_path / "t.csv"
    table.write_text(f"path,label\n{cell},a\n{cell}2,b\n")
    with pytest.raises(DatasetError, match=r"t.csv, row 2, column path"):
        load_dataset(table)


@pytest.mark.parametrize("cell", ["/etc/passwd.png", "../../../etc/passwd.png"])
def test_a_table_behind_a_url_names_no_files_of_this_machine(server, root, cell):
    (root / "evil.csv").write_text(f"path,label\n{cell},a\nphotos/sky/000.png,b\n")
    with pytest.raises(DatasetError, match=r"leads out of http://127\.0\.0\.1"):
        load_dataset(server.url + "evil.csv")


def test_what_is_no_image_is_never_quoted(server):
    (source,) = from_arrays([server.url + "notes.txt?image"], kind="image").inputs
    with pytest.raises(ImageError, match=r"not an image; what it holds is not shown"):
        source.read()


def test_names_credentials_and_signatures_appear_nowhere(server, tmp_path):
    url = server.url.replace("//", f"//me:{SECRET}@")
    listed = load_dataset(url + "photos/")
    signed = load_dataset([f"{url}photos/sky/00{i}.png?X-Amz-Signature={SECRET}" for i in range(2)])
    table = load_dataset(url + "table.csv")
    features = extract(signed, **QUICK, cache=tmp_path / "c")
    for dataset in (listed, signed, table):
        assert SECRET not in f"{[one.id for one in dataset.inputs]} {dataset.name} {dataset.inputs[0]}"
    assert SECRET not in f"{list(features.ids)}"
    assert not any(
        SECRET.encode() in file.read_bytes() for file in (tmp_path / "c").rglob("*") if file.is_file()
    )
    for name in ("nothing.csv", "nothing/", "nothing.zip", "photos/sky/"):
        server.script["/" + name] = [404]
        with pytest.raises(DatasetError) as failed:
            load_dataset(url + name)
        assert SECRET not in str(failed.value)
        assert failed.value.__cause__ is None


def test_results_and_commands_show_no_credentials(monkeypatch):
    from featx.cli.output import command_line
    from featx.studies.experiments.experiment import _absolute, _relative

    url = f"https://me:{SECRET}@h/photos/"
    monkeypatch.setattr("sys.argv", ["featx", "compare", url])
    assert command_line() == "featx compare https://h/photos/"
    assert _absolute(url, Path("/x")) == url
    assert _relative(url, "/x") == "https://h/photos/"
    assert resolve_source(url) == "https://h/photos/"
    assert _from_folder("https://h/photos/", Path("/x")) == "https://h/photos/"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nothing/", r"no such object, or no listing of a folder \(404\)"),
        ("nothing.zip", r"no such object \(404\)"),
        ("nothing.csv", r"no such object \(404\)"),
        ("nothing", r"no such object \(404\)"),
        ("features.h5", "a file of features is read from a disk only"),
    ],
)
def test_what_is_not_there(server, name, reason):
    with pytest.raises(DatasetError, match=f"^{server.url}{name}: .*{reason}"):
        load_dataset(server.url + name)


def test_a_server_without_listings_says_what_to_give(server, tmp_path):
    server.script["/photos/"] = [("page", b"<h1>Welcome</h1>")]
    with pytest.raises(
        DatasetError, match=r"gives no listing of files; give a \.zip or \.tar archive, a table"
    ):
        load_dataset(server.url + "photos/")


def test_columns_and_divisions_need_what_has_them(server):
    with pytest.raises(DatasetError, match=r"label .--label. chooses a column of a table"):
        load_dataset(server.url + "photos/", label="kind")
    with pytest.raises(InputError, match="not a folder"):
        load_dataset(server.url + "table.csv", split_by="folder")


def test_without_fsspec_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtra, match=r"featx\[remote\]"):
        load_dataset("https://h/photos/")


def test_rows_are_those_of_the_folder_and_are_found_again_by_etag(server, root, tmp_path):
    cache = tmp_path / "c"
    here = extract(root / "photos", **QUICK, cache=tmp_path / "other")
    first = extract(server.url + "photos/", **QUICK, cache=cache)
    np.testing.assert_array_equal(first.embeddings, here.embeddings)
    asked = server.asked.copy()
    again = extract(server.url + "photos/", **QUICK, cache=cache)
    assert again.run["computed"] == 0
    new = server.asked - asked
    assert sum(count for (method, _), count in new.items() if method == "HEAD") == 12
    assert {path for (method, path) in new if method == "GET"} <= {"/photos/"} | {
        f"/photos/{name}/" for name in COLOURS
    }
    np.testing.assert_array_equal(again.embeddings, here.embeddings)


def test_entries_of_urls_stay_in_the_stat_cache_for_some_time(server, tmp_path, monkeypatch):
    cache = Cache(tmp_path / "c")
    extract(server.url + "photos/", **QUICK, cache=cache)
    assert cache.stat_cache.knows(server.url)
    assert cache.stat_cache.prune() == 0
    monkeypatch.setattr("featx.cache.stat_cache.URL_DAYS", -1)
    assert cache.stat_cache.prune() == 12
    assert not cache.stat_cache.knows(server.url)


def test_an_edited_image_gets_its_new_row(root, tmp_path, server):
    cache, url = tmp_path / "c", server.url + "photos/"
    first = extract(url, **QUICK, cache=cache)
    file = root / "photos" / "sky" / "003.png"
    kept = file.read_bytes()
    try:
        file.write_bytes((root / "photos" / "leaf" / "000.png").read_bytes())
        second = extract(url, **QUICK, cache=cache)
    finally:
        file.write_bytes(kept)
    changed = (first.embeddings != second.embeddings).any(axis=1)
    assert [id for id, is_new in zip(first.ids, changed, strict=True) if is_new] == ["sky/003.png"]
    leaf = list(first.ids).index("leaf/000.png")
    np.testing.assert_array_equal(second.embeddings[changed][0], first.embeddings[leaf])


def test_next_commands_hold_no_credentials():
    assert _plain(f"s3://key:{SECRET}@b/photos") == "s3://b/photos"


def test_the_command_line_takes_urls(server, tmp_path, capsys):
    from pictures import QUICK_OPTIONS

    from featx.cli import main

    cache = ["--cache", str(tmp_path / "c"), "--quiet"]
    url = server.url.replace("//", f"//me:{SECRET}@")
    model = str(tmp_path / "m.featx")
    assert main(["train", url + "photos/", "-o", model, "--classifier", "ridge", *QUICK_OPTIONS, *cache]) == 0
    capsys.readouterr()
    assert main(["predict", model, url + "photos/sky/", url + "photos/leaf/001.png", *cache]) == 0
    found = capsys.readouterr().out
    assert found.count("sky") >= 4
    assert "001.png" in found
    assert SECRET not in found
    assert not any(SECRET.encode() in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert main(["predict", model, url + "nothing/", *cache]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "no listing of a folder (404)" in error
    assert SECRET not in error


def test_archives_here_and_behind_urls_are_not_mixed():
    with pytest.raises(DatasetError, match=r"^b\.zip: a file on this machine, among URLs; give either"):
        load_dataset(["http://127.0.0.1:9/a.zip", "b.zip"])
