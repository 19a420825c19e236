"""Extraction from a server that fails: right rows, or a failure that names the input; an end at Ctrl-C."""

from __future__ import annotations

import time

import numpy as np
import pytest
from file_server import make_old, serving
from pictures import COLOURS, QUICK, picture, write_photos

from featx import extract, load_dataset
from featx.cache import Cache
from featx.errors import ImageError
from featx.extraction.chunks import read_item
from featx.places.remote import Retries, store

pytestmark = pytest.mark.usefixtures("pauses")

ACTIONS = ("drop", "refuse", "long", 429, 500, 503, (429, {"Retry-After": "1"}))


@pytest.fixture
def root(tmp_path):
    photos = write_photos(tmp_path / "www" / "photos", 10)
    make_old(photos)
    return photos


@pytest.fixture
def server(root):
    with serving(root.parent) as server:
        yield server


def rows_by_id(features):
    return dict(zip(map(str, features.ids), features.embeddings, strict=True))


def test_a_server_that_fails_now_and_then_gives_the_rows_of_the_folder(root, server, tmp_path, pauses):
    expected = extract(root, **QUICK, cache=tmp_path / "a")
    rng = np.random.default_rng(0)
    for file in root.rglob("*.png"):
        path = "/photos/" + file.relative_to(root).as_posix()
        # Four tries of reading an object fail at most, whatever they are; then it is right.
        server.script[path] = [ACTIONS[i] for i in rng.integers(0, len(ACTIONS), rng.integers(0, 5))]
    found = extract(server.url + "photos/", **QUICK, cache=tmp_path / "b")
    assert list(found.ids) == list(expected.ids)
    np.testing.assert_array_equal(found.embeddings, expected.embeddings)
    assert pauses


def test_objects_that_fail_for_good_are_named_and_the_others_have_their_rows(root, server, tmp_path):
    expected = rows_by_id(extract(root, **QUICK, cache=tmp_path / "a"))
    server.script["/photos/sky/002.png"] = ["drop"] * 100
    server.script["/photos/leaf/003.png"] = [404] * 100
    server.script["/photos/crimson/004.png"] = [429] * 100
    found = extract(server.url + "photos/", **QUICK, cache=tmp_path / "b", on_error="skip")
    reasons = {failure.id: failure.reason for failure in found.failures}
    assert reasons == {
        "sky/002.png": "cannot be read (the connection was dropped; tried 5 times): "
        f"{server.url}photos/sky/002.png",
        "leaf/003.png": f"no such object (404): {server.url}photos/leaf/003.png",
        "crimson/004.png": "cannot be read (the server answers 429 too many requests; tried 5 times): "
        f"{server.url}photos/crimson/004.png",
    }
    for id, row in rows_by_id(found).items():
        np.testing.assert_array_equal(row, expected[id])
    server.script = {"/photos/sky/002.png": [404] * 100}
    with pytest.raises(ImageError, match=r"sky/002\.png: no such object \(404\)"):
        extract(server.url + "photos/", **QUICK, cache=tmp_path / "c")


@pytest.mark.parametrize(
    "features", [{"range", "etag", "listing"}, {"range", "time", "listing"}, {"listing"}]
)
def test_files_that_change_while_they_are_read_never_get_the_row_of_another_state(
    root, server, tmp_path, features
):
    """Each file changes at its first, second or third request, to a picture that only it has."""
    server.features = features
    cache, url = Cache(tmp_path / "c"), server.url + "photos/"

    def changes(file, seed):
        def change():
            new = file.with_suffix(".new")
            with open(new, "wb") as to:
                picture((90, 90, 90), seed).save(to, "PNG")
            new.replace(file)
            make_old(file.parent)

        return change

    for number, file in enumerate(sorted(root.rglob("*.png"))):
        path = "/photos/" + file.relative_to(root).as_posix()
        server.script[path] = [None] * (number % 3) + [changes(file, number)]
    extract(url, **QUICK, cache=cache)
    server.script.clear()
    # Whatever was remembered of them, the rows are now those of the files.
    again = extract(url, **QUICK, cache=cache)
    np.testing.assert_array_equal(again.embeddings, extract(root, **QUICK, cache=tmp_path / "d").embeddings)


def test_the_key_of_an_item_is_of_the_bytes_that_came(root, server):
    path = "/photos/sky/000.png"
    dataset = load_dataset([server.url + path[1:]])
    item = read_item(dataset.inputs[0], 0)
    assert item.key == dataset.inputs[0].stat_key() is not None

    def change():
        (root / "sky" / "000.png").write_bytes((root / "leaf" / "000.png").read_bytes())

    server.script[path] = [change]
    item = read_item(dataset.inputs[0], 0)
    assert item.digest == load_dataset(root / "leaf").inputs[0].read().digest
    assert item.key is None


def test_many_objects_are_asked_for_at_once(root, server, tmp_path):
    """Ten requests have come before the first is answered."""
    names = [f"/photos/{name}/00{i}.png" for name in COLOURS for i in range(4)]

    def wait():
        end = time.monotonic() + 20
        while sum(count for (_, path), count in server.asked.items() if path in names) < 10:
            assert time.monotonic() < end
            time.sleep(0.005)

    server.script.update({name: [wait] for name in names})
    found = extract([server.url + name[1:] for name in names], **QUICK, cache=tmp_path / "c")
    assert len(found) == len(names)


def test_ctrl_c_ends_a_run_that_waits_for_a_server(root, server, tmp_path, ctrl_c, monkeypatch):
    monkeypatch.setattr(store, "RETRIES", Retries(first=100.0, longest=100.0))
    paths = ["/photos/" + file.relative_to(root).as_posix() for file in root.rglob("*.png")]
    for number, path in enumerate(paths):
        server.script[path] = [("stall", 503)[number % 2]] * 10
    ctrl_c(2.0)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        extract(server.url + "photos/", **QUICK, cache=tmp_path / "c")
    assert time.monotonic() - began < 25  # neither 30 seconds without a byte nor a pause of 100
