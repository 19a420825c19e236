"""What is in a folder, what is passed over, and that nothing is passed over in silence."""

import os
import socket
import sys

import pytest
from PIL import Image

from featx.data import exclude_folder, read_folder
from featx.data.readers.folders.folder_listing import list_images
from featx.errors import DatasetError

posix = pytest.mark.skipif(sys.platform == "win32", reason="links, pipes and permissions differ there")


def put(root, *names, format="PNG"):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2), (len(name), 0, 0)).save(root / name, format)
    return root


def names(listing):
    return ["/".join(parts) for parts in listing.files]


def test_what_is_left_out_is_counted_by_kind_and_named(tmp_path):
    put(tmp_path, "a/1.png", "a/.hidden.png", ".cache/2.png", "__MACOSX/3.png")
    for name in ("x.tga", "y.tga", "z.TXT", "README"):
        (tmp_path / "a" / name).write_bytes(b"text")
    listing = list_images(tmp_path)
    assert names(listing) == ["a/1.png"]
    assert len(listing.left_out) == 7
    assert str(listing.left_out) == (
        "4 files that are no images by suffix: 2 .tga, 1 without one, 1 .txt (first: a/README); "
        "1 hidden folder: .cache; 1 folder of macOS: __MACOSX; 1 hidden file: a/.hidden.png"
    )


def test_a_file_without_a_suffix_is_read_if_it_holds_an_image(tmp_path):
    put(tmp_path, "a/0f3a9c", "b/1.png", format="PNG")
    assert names(list_images(tmp_path)) == ["a/0f3a9c", "b/1.png"]
    assert read_folder(tmp_path).images[0].read().image().size == (2, 2)


@pytest.mark.parametrize(
    "name",
    ["1.JPG", "1.jpg?w=200", "1.jpg?v=1.5", "1.jpeg:large", "1.png!d", "1.jpg%3Fw=2", "1.jpg ", "1.jpg."],
)
@posix
def test_an_image_suffix_may_be_followed_by_what_crawlers_leave(tmp_path, name):
    put(tmp_path, name, format="JPEG")
    assert names(list_images(tmp_path)) == [name]


@pytest.mark.parametrize(
    "name", ["1.jpg.txt", "1.jpg.json", "1.jpg~", "1.jpg_original", "1.png:Zone.Identifier", "jpg"]
)
def test_sidecars_and_backups_are_no_images(tmp_path, name):
    put(tmp_path, "a.png")
    (tmp_path / name).write_bytes(b"{}")
    assert names(list_images(tmp_path)) == ["a.png"]


def test_images_under_another_suffix_are_named_as_such(tmp_path):
    put(tmp_path, "1.png")
    put(tmp_path, "1.dat", "2.dat", format="JPEG")
    left_out = list_images(tmp_path).left_out
    assert "2 .dat with JPEG images in them: rename them to have them read" in str(left_out)


def test_a_folder_without_images_says_what_is_in_it(tmp_path):
    (tmp_path / "x.tga").write_bytes(b"x")
    with pytest.raises(
        DatasetError, match=r"no images .*; left out: 1 file that is no image by suffix: 1 .tga"
    ):
        read_folder(tmp_path)


def test_the_finding_is_part_of_the_dataset_and_of_its_parts(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a" / "x.tga").write_bytes(b"x")
    dataset = read_folder(tmp_path)
    assert dataset.reading.left_out.suffixes == {".tga": 1}
    assert dataset.subset([0]).reading == dataset.limit(1).reading == dataset.reading


# Links


@posix
def test_folders_that_link_to_each_other_are_visited_once(tmp_path):
    n = 12
    for i in range(n):
        put(tmp_path, f"d{i}/0.png")
        for j in range(n):
            if i != j:
                (tmp_path / f"d{i}" / f"l{j}").symlink_to(f"../d{j}", target_is_directory=True)
    listing = list_images(tmp_path)
    assert names(listing) == sorted(f"d{i}/0.png" for i in range(n))
    assert listing.left_out.others == {"link (to a folder that is listed already)": n * (n - 1)}


@posix
def test_a_folder_counts_where_it_is_and_not_where_a_link_is(tmp_path):
    put(tmp_path, "z/1.png")
    (tmp_path / "a").symlink_to("z", target_is_directory=True)
    assert names(list_images(tmp_path)) == ["z/1.png"]


@posix
def test_two_links_to_a_folder_elsewhere_are_one(tmp_path):
    put(tmp_path / "store", "deep/1.png")
    root = tmp_path / "data"
    root.mkdir()
    (root / "a").symlink_to(tmp_path / "store", target_is_directory=True)
    (root / "b").symlink_to(tmp_path / "store" / "deep", target_is_directory=True)
    assert names(list_images(root)) == ["a/deep/1.png"]


@posix
def test_a_link_upwards_is_not_followed(tmp_path):
    put(tmp_path, "other/1.png", "data/a/1.png")
    (tmp_path / "data" / "up").symlink_to("..", target_is_directory=True)
    assert names(list_images(tmp_path / "data")) == ["a/1.png"]


@posix
def test_a_link_to_itself_does_not_stop_a_folder(tmp_path):
    put(tmp_path, "a/1.png")
    (tmp_path / "a" / "loop").symlink_to("loop")
    (tmp_path / "a" / "loop.png").symlink_to("loop.png")
    (tmp_path / "a" / "gone").symlink_to("nowhere")
    listing = list_images(tmp_path)
    # What is called like an image fails when it is read, as a missing file does.
    assert names(listing) == ["a/1.png", "a/loop.png"]
    assert listing.left_out.others == {"broken link": 2}


# What cannot be listed or read


@posix
def test_a_pipe_is_named_and_not_opened(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    os.mkfifo(tmp_path / "a" / "2.png")
    os.mkfifo(tmp_path / "a" / "pipe")
    (tmp_path / "b" / "zero.jpg").symlink_to("/dev/zero")
    with pytest.raises(
        DatasetError, match=r"a/2.png: not a file but a pipe.* \(and 1 more\); .*--on-error skip"
    ):
        read_folder(tmp_path)
    dataset = read_folder(tmp_path, on_error="skip")
    assert dataset.ids == ["a/1.png", "b/1.png"]
    assert [error.id for error in dataset.reading.failures] == ["a/2.png", "b/zero.jpg"]
    assert dataset.reading.left_out.others == {"special file (pipe, socket or device)": 1}


@posix
def test_a_socket_is_named(tmp_path, monkeypatch):
    put(tmp_path, "1.png")
    monkeypatch.chdir(tmp_path)  # its name has a limit
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("s")
        assert list_images(".").left_out.first == {"special file (pipe, socket or device)": "s"}


def test_a_folder_that_cannot_be_listed_stops_or_is_listed(tmp_path, monkeypatch):
    put(tmp_path, "a/1.png", "a/locked/2.png", "b/1.png")
    scandir = os.scandir

    def refuse(path):
        if os.path.basename(path) == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(
        DatasetError, match=r"a/locked: cannot be listed \(Permission denied\); .*on_error='skip'"
    ):
        read_folder(tmp_path)
    dataset = read_folder(tmp_path, on_error="skip")
    assert dataset.ids == ["a/1.png", "b/1.png"]
    assert list(map(str, dataset.reading.failures)) == ["a/locked: cannot be listed (Permission denied)"]


# featx's own folders


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("results.json", '{\n  "schema": 5,\n'),
        ("curve.json", '{\n  "schema": 1,\n'),
        ("experiment.toml", "# The experiment as it was run; to run it again"),
        ("stat.sqlite", ""),
    ],
)
def test_results_and_caches_inside_a_folder_are_not_part_of_it(tmp_path, name, content):
    put(tmp_path, "a/1.png", "b/1.png", "out/thumb.png")
    (tmp_path / "out" / name).write_text(content)
    dataset = read_folder(tmp_path)
    assert dataset.classes == ("a", "b")
    assert dataset.reading.left_out.first == {"folder (results or cache of featx)": "out"}


def test_results_of_others_are_nothing_special(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "b" / "results.json").write_text('{"accuracy": 1}')
    assert read_folder(tmp_path).classes == ("a", "b")


def test_the_folder_that_results_go_to_is_no_class(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "out").mkdir()
    with pytest.raises(DatasetError, match="no images in the class folder 'out'"):
        read_folder(tmp_path)
    exclude_folder(tmp_path / "out")
    assert read_folder(tmp_path).classes == ("a", "b")
