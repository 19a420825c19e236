"""Objects behind URLs: right bytes of one state, or a failure that says what happened how often."""

from __future__ import annotations

import concurrent.futures
import email.utils
import os
import pickle
import sys
import threading
import time

import pytest
from file_server import make_old, serving

from featx.errors import InputError, MissingExtra
from featx.places import Place, PlaceError, RangeReader, stop_with
from featx.places.remote import RemoteFile, Retries, State, open_store, refresh_states, store

BODY = bytes(range(256)) * 8
MOST = 2**20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("served")
    (root / "a.bin").write_bytes(BODY)
    (root / "cats and dogs").mkdir()
    (root / "cats and dogs" / "b?#.bin").write_bytes(b"bb")
    make_old(root)
    return root


@pytest.fixture
def server(folder):
    with serving(folder) as server:
        yield server


@pytest.fixture
def changing(tmp_path):
    """A server of one file, and a function that replaces it."""
    (tmp_path / "a.bin").write_bytes(b"old" * 10)
    make_old(tmp_path)

    def change():
        (tmp_path / "new").write_bytes(b"newer" * 6)
        os.utime(tmp_path / "new", (1e9, 1e9))
        (tmp_path / "new").replace(tmp_path / "a.bin")

    with serving(tmp_path) as server:
        yield server, change


def test_a_whole_object_and_its_ranges(server):
    file = RemoteFile(server.url + "a.bin")
    assert isinstance(file, Place)
    assert isinstance(file, RangeReader)
    assert file.is_remote
    assert file.read(MOST) == BODY
    assert file.size == len(BODY)
    assert file.read_range(100, 50) == BODY[100:150]
    assert file.read_range(0, 0) == b""
    name, size, changed, _ = file.stat_key()
    assert name.startswith(f"{server.url}a.bin\0")
    assert (size, changed) == (len(BODY), 0)


def test_a_range_behind_the_end_fails(server):
    file = RemoteFile(server.url + "a.bin")
    with pytest.raises(PlaceError, match="ends 10 bytes early"):
        file.read_range(len(BODY) - 10, 20)
    with pytest.raises(PlaceError, match="ends early"):
        file.read_range(len(BODY) + 10, 20)


def test_more_bytes_than_allowed_fail_before_they_are_read(server):
    with pytest.raises(PlaceError, match="has 2,048 bytes, expected at most 100"):
        RemoteFile(server.url + "a.bin").read(100)


def test_without_ranges_the_whole_object_is_kept(server):
    server.features.discard("range")
    file = RemoteFile(server.url + "a.bin")
    assert file.read_range(100, 50) == BODY[100:150]
    assert file.read_range(0, 10) == BODY[:10]
    assert server.asked["GET", "/a.bin"] == 1


def test_without_ranges_a_large_object_is_refused(server, monkeypatch):
    monkeypatch.setattr("featx.places.remote.remote_file.WHOLE_BYTES", 1000)
    server.features.discard("range")
    with pytest.raises(PlaceError, match="no ranges of it, and it has 2,048 bytes: download it"):
        RemoteFile(server.url + "a.bin").read_range(100, 50)


def test_without_an_etag_the_time_of_change_counts(server):
    server.features.discard("etag")
    file = RemoteFile(server.url + "a.bin")
    file.read(MOST)
    name, size, changed, _ = file.stat_key()
    assert (name, size) == (server.url + "a.bin", len(BODY))
    assert 0 < changed < time.time_ns()


def test_without_etag_and_time_nothing_names_the_state(server):
    server.features -= {"etag", "time"}
    file = RemoteFile(server.url + "a.bin")
    assert file.read(MOST) == BODY
    assert file.stat_key() is None


def test_a_weak_etag_and_a_time_that_may_change_again_do_not_count(server):
    now = email.utils.formatdate(usegmt=True)
    server.script["/a.bin"] = [(200, {"ETag": 'W/"1"', "Last-Modified": now})]
    file = RemoteFile(server.url + "a.bin")
    file.read(MOST)
    assert file.stat_key() is None


@pytest.mark.parametrize("action", ["drop", "refuse", "long", 429, 500, 502, 503, 504])
def test_what_passes_is_tried_again(server, pauses, action):
    server.script["/a.bin"] = [action, action]
    assert RemoteFile(server.url + "a.bin").read(MOST) == BODY
    assert server.asked["GET", "/a.bin"] == 3
    # aiohttp itself asks once more where a connection of the pool ends before an answer.
    assert len(pauses) == 1 + (action != "refuse")
    assert all(half <= pause <= 2 * half for half, pause in zip((0.25, 0.5), pauses, strict=False))


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("drop", "the connection was dropped"),
        ("long", "the connection was dropped"),
        (429, "the server answers 429 too many requests"),
        (503, "the server answers 503 unavailable"),
    ],
)
def test_after_five_tries_the_failure_is_named(server, pauses, action, reason):
    server.script["/a.bin"] = [action] * 9
    with pytest.raises(PlaceError, match=rf"cannot be read \({reason}; tried 5 times\)"):
        RemoteFile(server.url + "a.bin").read(MOST)
    assert server.asked["GET", "/a.bin"] == 5
    assert len(pauses) == 4


def test_a_listing_is_tried_five_times(server, pauses):
    server.script["/"] = [503] * 9
    with pytest.raises(PlaceError, match=r"unavailable; tried 5 times"):
        open_store(server.url).list_all(server.url)
    assert server.asked["GET", "/"] == 5


def test_the_server_says_how_long_to_wait_up_to_a_limit(server, pauses):
    later = email.utils.formatdate(time.time() + 30, usegmt=True)
    server.script["/a.bin"] = [
        (429, {"Retry-After": "7"}),
        (503, {"Retry-After": "99999"}),
        (503, {"Retry-After": later}),
        (503, {"Retry-After": "soon"}),
    ]
    assert RemoteFile(server.url + "a.bin").read(MOST) == BODY
    assert pauses[:2] == [7.0, 60.0]
    assert 20 < pauses[2] <= 30
    assert pauses[3] <= 4.0


def test_a_server_that_sends_nothing_is_given_up(server, pauses, monkeypatch):
    monkeypatch.setattr(store, "STALLED", 0.05)
    server.script["/a.bin"] = ["stall", "stall"]
    assert RemoteFile(server.url + "a.bin").read(MOST) == BODY
    assert len(pauses) == 2


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, r"no such object \(404\)"),
        (410, r"no such object \(410\)"),
        (401, r"needs credentials \(401\)"),
        (403, r"access denied \(403"),
        (418, "the server answers 418"),
    ],
)
def test_what_does_not_pass_is_not_tried_again(server, pauses, status, reason):
    server.script["/a.bin"] = [status]
    with pytest.raises(PlaceError, match=reason):
        RemoteFile(server.url + "a.bin").read(MOST)
    assert server.asked["GET", "/a.bin"] == 1
    assert pauses == []


def test_no_server_and_no_host(pauses):
    with pytest.raises(PlaceError, match="connection refused: no server listens"):
        RemoteFile("http://127.0.0.1:9/a").read(MOST)
    with pytest.raises(PlaceError, match="no such host"):
        RemoteFile("http://no-such-host.invalid/a").read(MOST)
    with pytest.raises(PlaceError, match="no valid URL"):
        RemoteFile("http://127.0.0.1:99999999/a").read(MOST)


def test_redirects_are_followed_but_not_for_ever(server):
    server.script["/moved"] = [(302, {"Location": "/a.bin"})]
    assert RemoteFile(server.url + "moved").read(MOST) == BODY
    server.script["/loop"] = [(302, {"Location": "/loop"})] * 20
    with pytest.raises(PlaceError, match="redirected again and again"):
        RemoteFile(server.url + "loop").read(MOST)


def test_user_and_password_are_sent_and_never_shown(server, pauses):
    server.authorized = "Basic bWU6c2VjcmV0"  # me:secret
    url = server.url.replace("//", "//me:secret@") + "a.bin"
    file = RemoteFile(url)
    assert file.read(MOST) == BODY
    server.script["/a.bin"] = [503] * 5
    with pytest.raises(PlaceError) as failed:
        file.read(MOST)
    shown = [file.name, repr(file), file.stat_key()[0], str(failed.value), repr(failed.value.__cause__)]
    assert not any("secret" in text for text in shown)
    with pytest.raises(PlaceError, match="needs credentials"):
        RemoteFile(server.url + "a.bin").read(MOST)


def test_an_object_that_has_changed_is_read_as_it_is_now_without_a_state(changing):
    server, change = changing
    file = RemoteFile(server.url + "a.bin")
    assert file.read(MOST) == b"old" * 10
    change()
    assert file.read(MOST) == b"newer" * 6
    assert file.stat_key() is None
    began = time.monotonic()
    file.refresh(open_store(file.url).look(file.url), began)
    assert file.read(MOST) == b"newer" * 6
    assert file.stat_key() is not None


@pytest.mark.parametrize("features", [{"range", "etag"}, {"range", "time"}])
def test_ranges_are_never_of_two_states(changing, features):
    server, change = changing
    server.features = features
    file = RemoteFile(server.url + "a.bin")
    assert file.read_range(0, 10) == (b"old" * 10)[:10]
    change()
    with pytest.raises(PlaceError, match="was changed since it was listed"):
        file.read_range(10, 10)


def test_an_object_that_changes_before_its_listed_state_is_read(changing):
    server, change = changing
    state = open_store(server.url).look(server.url + "a.bin")
    server.script["/a.bin"] = [change]
    file = RemoteFile(server.url + "a.bin", state)
    assert file.read(MOST) == b"newer" * 6
    assert file.stat_key() is None


def test_states_of_many_are_asked_for_together_and_only_where_something_is_known(server):
    files = [RemoteFile(server.url + "a.bin") for _ in range(50)]
    refresh_states(files, lambda prefix: False)
    assert not server.asked
    asked = []
    refresh_states(files, lambda prefix: asked.append(prefix) or True)
    assert asked == [server.url + "a.bin"]
    assert server.asked == {("HEAD", "/a.bin"): 50}
    assert all(file.stat_key() is not None for file in files)
    refresh_states(files, lambda prefix: True)  # seen just now
    assert server.asked == {("HEAD", "/a.bin"): 50}


def test_what_is_gone_has_no_state_any_more(server, monkeypatch):
    file = RemoteFile(server.url + "gone.bin", State(3, '"x"'), seen=0.0)
    assert file.stat_key() is not None
    monkeypatch.setattr("featx.places.remote.states.FRESH", -1.0)
    refresh_states([file], lambda prefix: True)
    assert file.stat_key() is None


def test_a_state_is_not_replaced_by_an_older_one(server):
    file = RemoteFile(server.url + "a.bin")
    began = time.monotonic()
    file.read(MOST)
    key = file.stat_key()
    file.refresh(State(1, '"older"'), began)
    assert file.stat_key() == key


@pytest.mark.parametrize("status", [403, 405, 501])
def test_a_server_without_head_is_asked_for_one_byte(server, status):
    server.script["/a.bin"] = [status]
    assert RemoteFile(server.url + "a.bin").size == len(BODY)
    assert server.asked == {("HEAD", "/a.bin"): 1, ("GET", "/a.bin"): 1}


def test_a_page_lists_the_files_below_it(server):
    found = open_store(server.url).list_all(server.url)
    assert [path for path, _ in found] == ["a.bin", "cats and dogs/b?#.bin"]
    assert found[-1][1].read(MOST) == b"bb"
    assert [path for path, _ in found[1:]] == ["cats and dogs/b?#.bin"]


def test_pages_of_a_listing_are_tried_again_each(server, pauses):
    server.script["/cats and dogs/"] = [503, "drop"]
    assert len(open_store(server.url).list_all(server.url)) == 2
    assert server.asked["GET", "/"] == 1


def test_a_server_without_listings_says_what_to_give(server):
    server.features.discard("listing")
    with pytest.raises(PlaceError, match="or no listing of a folder"):
        open_store(server.url).list_all(server.url)


def test_links_to_other_hosts_and_above_are_not_followed(server):
    links = (
        "http://127.0.0.1:9/x",
        "/y",
        "../a.bin",
        "https://me:pw@h/",
        "?C=N",
        "b.bin#top",
        "b.bin",
        "mailto:a@b",
    )
    page = "".join(f'<a href="{link}">{link}</a>' for link in links)
    server.script["/cats and dogs/"] = [("page", page.encode())]
    url = server.url + "cats%20and%20dogs/"
    assert [path for path, _ in open_store(url).list_all(url)] == ["b.bin"]


def test_a_pickle_is_small_and_reads_the_same(server):
    file = RemoteFile(server.url + "a.bin")
    file.read(MOST)
    data = pickle.dumps(file)
    assert len(data) < 400
    copy = pickle.loads(data)
    assert copy.read(MOST) == BODY
    assert copy.stat_key() == file.stat_key()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_opens_connections_of_its_own(server):
    file = RemoteFile(server.url + "a.bin")
    file.read(MOST)
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if file.read(MOST) == BODY else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert file.read(MOST) == BODY


def test_a_pool_that_is_stopped_ends_waiting(server, monkeypatch):
    monkeypatch.setattr(store, "RETRIES", Retries(first=100.0, longest=100.0))
    stopped = threading.Event()
    server.script["/a.bin"] = ["stall"]
    server.script["/cats and dogs/b?#.bin"] = [503]
    with concurrent.futures.ThreadPoolExecutor(2, initializer=stop_with, initargs=(stopped,)) as pool:
        stalled = pool.submit(RemoteFile(server.url + "a.bin").read, MOST)
        pausing = pool.submit(RemoteFile(server.url + "cats%20and%20dogs/b%3F%23.bin").read, MOST)
        while sum(server.asked.values()) < 2:
            time.sleep(0.01)
        stopped.set()
        for future in (stalled, pausing):
            with pytest.raises(concurrent.futures.CancelledError):
                future.result(timeout=10)


def test_objects_in_memory(monkeypatch):
    import fsspec

    fsspec.filesystem("memory").pipe({"/box/x/a.bin": b"123", "/box/y/b.bin": b"45"})
    file = RemoteFile("memory://box/x/a.bin")
    assert not file.is_remote
    assert file.read(10) == b"123"
    assert file.read_range(1, 2) == b"23"
    assert (file.size, file.stat_key()) == (3, None)
    found = open_store("memory://box").list_all("memory://box")
    assert [(path, file.size) for path, file in found] == [("x/a.bin", 3), ("y/b.bin", 2)]
    with pytest.raises(PlaceError, match="no such object"):
        RemoteFile("memory://box/z.bin").read(10)
    with pytest.raises(PlaceError, match="expected at most 2"):
        file.read(2)


def test_protocols_that_nothing_reads():
    with pytest.raises(InputError, match=r"s4://b/k: unknown protocol 's4'; did you mean s3"):
        open_store("s4://b/k")
    with pytest.raises(InputError, match="Install adlfs"):
        open_store("abfs://b/k")
    with pytest.raises(InputError, match="chains of file systems"):
        open_store("simplecache::https://h/a")


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [("https://h/a", "aiohttp", "remote"), ("s3://b/a", "s3fs", "s3"), ("gs://b/a", "gcsfs", "gcs")],
)
def test_a_missing_package_is_named(monkeypatch, url, package, extra):
    def missing(protocol):
        raise ImportError

    monkeypatch.setattr("fsspec.get_filesystem_class", missing)
    with pytest.raises(MissingExtra, match=rf"reading {url} needs the package '{package}'.*featx\[{extra}\]"):
        open_store(url)


def test_fsspec_itself_may_be_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtra, match=r"needs the package 'fsspec'.*featx\[remote\]"):
        open_store("https://h/a")
