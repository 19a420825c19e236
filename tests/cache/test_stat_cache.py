import os
import pickle
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

import featx
from featx.cache import StatCache, digest_bytes
from featx.inputs.image import FileImage

SECOND = 10**9
OLD = time.time_ns() - 100 * SECOND


def key(i, size=10, mtime=OLD, ctime=OLD):
    return (f"/photos/{i}.jpg", size, mtime, ctime)


def entries(n):
    return [(key(i), digest_bytes(b"%d" % i)) for i in range(n)]


@pytest.fixture
def stats(tmp_path):
    return StatCache(tmp_path / "root")


def test_a_file_that_did_not_change_is_known(stats):
    stats.store(entries(3))
    assert stats.lookup([key(2), key(0), None, key(7)]) == [
        digest_bytes(b"2"),
        digest_bytes(b"0"),
        None,
        None,
    ]
    assert StatCache(stats.path.parent).lookup([key(1)]) == [digest_bytes(b"1")]


@pytest.mark.parametrize("changed", [key(0, size=11), key(0, mtime=OLD + 1), key(0, ctime=OLD + 1), key(1)])
def test_another_size_time_or_path_is_not_known(stats, changed):
    stats.store(entries(1))
    assert stats.lookup([changed]) == [None]


def test_a_newer_entry_replaces_the_older_one(stats):
    stats.store(entries(1))
    newer = key(0, mtime=OLD + SECOND)
    stats.store([(newer, digest_bytes(b"new"))])
    assert stats.lookup([key(0), newer]) == [None, digest_bytes(b"new")]


def test_a_file_touched_within_two_seconds_of_reading_is_not_trusted(stats):
    read = OLD + 50 * SECOND
    for age, trusted in [(3, True), (1, False), (0, False), (-10, False)]:
        for name in ("mtime", "ctime"):
            recent = key(age, **{name: read - age * SECOND})
            stats.store([(recent, digest_bytes(b"x"))], read_ns=read)
            assert (stats.lookup([recent]) != [None]) is trusted
            stats.clear()


def test_an_edit_whose_mtime_is_put_back_is_seen(stats, tmp_path, monkeypatch):
    """As ``touch -r``, ``rsync -t`` or an archive unpacked over a folder do it."""
    monkeypatch.setattr("featx.cache.stat_cache._RACY_NS", 0)
    image = FileImage("a", tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(b"before")
    os.utime(tmp_path / "a.png", ns=(OLD, OLD))
    before = image.stat_key()
    StatCache(stats.path.parent).store([(before, digest_bytes(b"before"))])
    assert stats.lookup([before]) == [digest_bytes(b"before")]
    while image.stat_key()[3] == before[3]:  # until the file system's clock has ticked
        (tmp_path / "a.png").write_bytes(b"after!")
        os.utime(tmp_path / "a.png", ns=(OLD, OLD))
    assert image.stat_key()[:3] == before[:3]
    assert stats.lookup([image.stat_key()]) == [None]


def test_files_that_are_gone_are_forgotten(stats, tmp_path):
    (tmp_path / "there.png").write_bytes(b"x")
    there = (str(tmp_path / "there.png"), 1, OLD, OLD)
    assert stats.prune() == 0
    stats.store([*entries(3), (there, digest_bytes(b"there"))])
    assert stats.prune() == 3
    assert stats.lookup([key(0), there]) == [None, digest_bytes(b"there")]
    stats.path.write_bytes(b"no database" * 100)
    assert stats.prune() == 0


def test_without_a_time_of_reading_the_making_of_the_instance_counts(stats):
    fresh = key(0, mtime=time.time_ns())
    stats.store([(fresh, digest_bytes(b"x"))])
    assert stats.lookup([fresh]) == [None]


def test_more_files_than_one_query_takes_keep_their_order(stats):
    stats.store(entries(1200))
    keys = [key(i) if i % 3 else None for i in range(1199, -1, -1)]
    expected = [digest_bytes(b"%d" % i) if i % 3 else None for i in range(1199, -1, -1)]
    assert stats.lookup(keys) == expected


def test_nothing_known_creates_nothing(stats):
    assert stats.lookup([key(0)]) == [None]
    assert stats.lookup([]) == []
    stats.store([])
    assert not stats.path.parent.exists()


def test_a_path_that_is_not_utf8_is_known(stats):
    path = (os.fsdecode(b"/photos/\xff.jpg"), 1, OLD, OLD)
    stats.store([(path, digest_bytes(b"x"))])
    assert stats.lookup([path]) == [digest_bytes(b"x")]


@pytest.mark.parametrize(
    ("entry", "message"),
    [((("a.jpg", 1, OLD, OLD), b"x" * 32), "absolute path"), ((key(0), b"x"), "digest of 1 bytes")],
)
def test_a_wrong_entry_is_refused(stats, entry, message):
    with pytest.raises(ValueError, match=message):
        stats.store([entry])


@pytest.mark.parametrize("content", [b"", b"this is no database, and long enough to be looked at" * 100])
def test_a_file_that_is_no_database_is_replaced(stats, content):
    stats.path.parent.mkdir()
    stats.path.write_bytes(content)
    assert stats.lookup([key(0)]) == [None]
    stats.store(entries(1))
    assert stats.lookup([key(0)]) == [digest_bytes(b"0")]


def test_damage_anywhere_is_never_another_digest(stats):
    n = 40
    stats.store(entries(n))
    intact = stats.path.read_bytes()
    for at in range(0, len(intact), 61):
        damaged = bytearray(intact)
        damaged[at] ^= 0x10
        stats.path.write_bytes(damaged)
        for i, digest in enumerate(stats.lookup([key(i) for i in range(n)])):
            assert digest in (None, digest_bytes(b"%d" % i))
    stats.path.write_bytes(intact[: len(intact) // 2])
    stats.lookup([key(0)])
    stats.store(entries(n))
    assert stats.lookup([key(5)]) == [digest_bytes(b"5")]


def test_a_locked_database_is_a_miss_and_no_error(stats, monkeypatch):
    stats.store(entries(1))
    monkeypatch.setattr("featx.cache.stat_cache._BUSY_SECONDS", 0.05)
    other = sqlite3.connect(stats.path)
    other.execute("BEGIN EXCLUSIVE")
    assert stats.lookup([key(0)]) == [None]
    stats.store(entries(2))
    other.rollback()
    other.close()
    assert stats.lookup([key(0), key(1)]) == [digest_bytes(b"0"), None]


def test_a_place_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    stats = StatCache(tmp_path / "file")
    stats.store(entries(1))
    assert stats.lookup([key(0)]) == [None]


def test_it_pickles_and_serves_several_threads(stats):
    copy = pickle.loads(pickle.dumps(stats))
    threads = [threading.Thread(target=copy.store, args=(entries(20)[5 * i : 5 * i + 5],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert None not in stats.lookup([key(i) for i in range(20)])


def test_several_processes_write_at_once(stats):
    code = (
        "import sys; from featx.cache import StatCache, digest_bytes\n"
        "s = StatCache(sys.argv[1]); first = int(sys.argv[2])\n"
        "for i in range(first, first + 10):\n"
        "    key = (f'/photos/{i}.jpg', 10, int(sys.argv[3]), int(sys.argv[3]))\n"
        "    s.store([(key, digest_bytes(b'%d' % i))])\n"
    )
    environment = dict(os.environ, PYTHONPATH=os.path.dirname(os.path.dirname(featx.__file__)))
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(stats.path.parent), str(first), str(OLD)], env=environment
        )
        for first in (0, 10)
    ]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    assert stats.lookup([key(i) for i in range(20)]) == [digest_bytes(b"%d" % i) for i in range(20)]


def test_times_that_sqlite_cannot_hold_are_not_known_and_no_error(stats):
    ancient = key(0, mtime=-(2**64))
    stats.store([(ancient, digest_bytes(b"x")), *entries(2)[1:]])
    assert stats.lookup([ancient, key(1)]) == [None, digest_bytes(b"1")]


def test_after_garbage_the_first_store_is_kept(stats):
    stats.path.parent.mkdir()
    stats.path.write_bytes(b"this is no database, and long enough to be looked at" * 100)
    stats.store(entries(1))
    assert stats.lookup([key(0)]) == [digest_bytes(b"0")]


def test_a_view_in_place_of_the_table_is_not_asked(stats):
    stats.path.parent.mkdir()
    connection = sqlite3.connect(stats.path)
    connection.execute(
        "CREATE VIEW entries_2 AS WITH RECURSIVE n(path) AS (SELECT 1 UNION ALL SELECT path + 1 FROM n) "
        "SELECT path, 1 AS size, 1 AS mtime_ns, 1 AS ctime_ns, 1 AS digest, 1 AS checksum FROM n"
    )
    connection.close()
    assert stats.lookup([key(0)]) == [None]
    stats.store(entries(1))
    assert stats.lookup([key(0)]) == [digest_bytes(b"0")]


@pytest.mark.parametrize("entry", ["7, 1, 1, 1, x'00', x'00'", "x'2f', 1, 1, 1, zeroblob(32), zeroblob(8)"])
def test_a_database_with_a_damaged_entry_is_forgotten_by_prune(stats, entry):
    """Its order may be damaged too, and then some entries would not be found any more."""
    stats.store(entries(1))
    connection = sqlite3.connect(stats.path)
    connection.execute(f"INSERT INTO entries_2 VALUES ({entry})")
    connection.commit()
    connection.close()
    assert stats.lookup([key(0)]) == [digest_bytes(b"0")]
    assert stats.prune() == 0
    assert not stats.path.exists()


def damaged_schema(path):
    """A bit of the text that says what the table is; what SQLite says of it is no UTF-8 either."""
    data = bytearray(path.read_bytes())
    data[data.index(b"NOT NULL") + 7] ^= 0x80
    path.write_bytes(data)


def another_text_encoding(path):
    data = bytearray(path.read_bytes())
    data[59] ^= 2  # UTF-16 in the header
    path.write_bytes(data)


def said_to_be_read_only(path):
    data = bytearray(path.read_bytes())
    data[18] = 9  # a version of the format that this SQLite may read and not write
    path.write_bytes(data)


def with_a_trigger(path):
    connection = sqlite3.connect(path)
    connection.execute(
        "CREATE TRIGGER endless BEFORE INSERT ON entries_2 BEGIN WITH RECURSIVE n(i) AS "
        "(SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n; END"
    )
    connection.close()


def pages_in_a_circle(path):
    """An inner page whose children are all the page itself."""
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[16:18], "big")
    root = data[size : 2 * size]
    assert root[0] == 2, "one entry too few for an inner page"
    root[8:12] = (2).to_bytes(4, "big")
    cells = int.from_bytes(root[3:5], "big")
    for i in range(cells):
        at = int.from_bytes(root[12 + 2 * i : 14 + 2 * i], "big")
        root[at : at + 4] = (2).to_bytes(4, "big")
    data[size : 2 * size] = root
    path.write_bytes(data)


@pytest.mark.parametrize(
    "harm", [damaged_schema, another_text_encoding, said_to_be_read_only, with_a_trigger, pages_in_a_circle]
)
@pytest.mark.parametrize("first", ["lookup", "store", "prune"])
def test_whatever_harms_the_database_a_fresh_one_takes_its_place(stats, harm, first):
    stats.store(entries(200))
    harm(stats.path)
    if first == "lookup":
        known = stats.lookup([key(i) for i in range(200)])
        assert all(digest in (None, digest_bytes(b"%d" % i)) for i, digest in enumerate(known))
    elif first == "prune":
        stats.prune()
    stats.store(entries(200))
    assert None not in stats.lookup([key(i) for i in range(200)])


def test_a_value_that_claims_to_be_huge_is_not_read(stats):
    stats.store(entries(1))
    connection = sqlite3.connect(stats.path)
    connection.execute("UPDATE entries_2 SET digest = zeroblob(8000000)")
    connection.commit()
    connection.close()
    assert stats.lookup([key(0)]) == [None]
    stats.store(entries(1))
    assert stats.lookup([key(0)]) == [digest_bytes(b"0")]


@pytest.mark.parametrize("name", ["stat.sqlite", "stat.sqlite-journal"])
@pytest.mark.parametrize("make", [os.mkdir, getattr(os, "mkfifo", os.mkdir)])
def test_what_is_no_file_is_neither_opened_nor_an_error(stats, name, make):
    if name.endswith("journal"):
        stats.store(entries(1))
    else:
        stats.path.parent.mkdir()
    make(stats.path.with_name(name))
    assert stats.lookup([key(0)]) == [None]
    stats.store(entries(1))
    assert stats.prune() == 0
    assert stats.lookup([key(0)]) == [None]


def test_a_lock_that_is_never_given_up_is_waited_for_once(stats, monkeypatch):
    stats.store(entries(1))
    monkeypatch.setattr("featx.cache.stat_cache._BUSY_SECONDS", 0.3)
    other = sqlite3.connect(stats.path)
    other.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    for _ in range(20):
        stats.lookup([key(0)])
        stats.store(entries(1))
    assert time.monotonic() - began < 2
    other.rollback()
    other.close()
    assert stats.lookup([key(0)]) == [digest_bytes(b"0")]


def test_no_memory_is_nothing_known_and_leaves_the_database(stats, monkeypatch):
    stats.store(entries(1))

    def none_left(*_args):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("featx.cache.stat_cache._trusted", none_left)
        assert stats.lookup([key(0)]) == [None]
    assert stats.lookup([key(0)]) == [digest_bytes(b"0")]


WITHOUT_LOCKS = """
import random, sqlite3, sys, time
from types import SimpleNamespace
from featx.cache import StatCache, digest_bytes, stat_cache
connect = sqlite3.connect
unlocked = {"connect": lambda place, **options: connect(f"{place}&vfs=unix-none", **options)}
stat_cache.sqlite3 = SimpleNamespace(**vars(sqlite3) | unlocked)
stats, draw, hits = StatCache(sys.argv[1]), random.Random(sys.argv[2]), 0
for _ in range(int(sys.argv[3])):
    numbers = draw.sample(range(2000), 100)
    keys = [(f"/photos/{i}.jpg", i, 5, 5) for i in numbers]
    digests = [digest_bytes(b"%d" % i) for i in numbers]
    stats.store(zip(keys, digests, strict=True))
    found = stats.lookup(keys)
    assert all(one in (None, right) for one, right in zip(found, digests, strict=True))
    hits += sum(one is not None for one in found)
print(hits)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the unlocked file system of SQLite is for Unix")
def test_without_locks_writers_damage_it_and_no_answer_is_wrong(stats):
    stats.path.parent.mkdir()
    command = [sys.executable, "-c", WITHOUT_LOCKS, str(stats.path.parent)]
    writers = [
        subprocess.Popen([*command, str(k), "30"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for k in range(2)
    ]
    said = [writer.communicate(timeout=120) for writer in writers]
    assert [error for _, error in said] == [""] * 2
    assert sum(int(hits) for hits, _ in said) > 0
    keys = [(f"/photos/{i}.jpg", i, 5, 5) for i in range(2000)]
    found = stats.lookup(keys)
    assert all(one in (None, digest_bytes(b"%d" % i)) for i, one in enumerate(found))
    stats.store([(keys[0], digest_bytes(b"0"))])
    stats.store([(keys[0], digest_bytes(b"0"))])
    assert stats.lookup(keys[:1]) == [digest_bytes(b"0")]


URL = "https://host/photos/"


def url_key(name, etag="", size=10, changed=0):
    return (f"{URL}{name}\0{etag}" if etag else f"{URL}{name}", size, changed, 0)


def test_an_object_behind_a_url_is_known_by_etag_or_time(stats):
    stats.store([(url_key("a", '"1"'), digest_bytes(b"a")), (url_key("b", changed=OLD), digest_bytes(b"b"))])
    known = [url_key("a", '"1"'), url_key("b", changed=OLD)]
    assert stats.lookup(known) == [digest_bytes(b"a"), digest_bytes(b"b")]
    others = [
        url_key("a", '"2"'),
        url_key("a"),
        url_key("b", changed=OLD + 1),
        url_key("b", '"1"', changed=OLD),
    ]
    assert stats.lookup([*others, url_key("a", '"1"', size=11)]) == [None] * 5


def test_a_prefix_is_known_if_an_entry_begins_with_it(stats):
    assert not stats.knows(URL)
    stats.store([(url_key("a/b", '"1"'), digest_bytes(b"a")), *entries(1)])
    assert stats.knows(URL)
    assert stats.knows(URL + "a/b")
    assert not stats.knows(URL + "a/c")
    assert not stats.knows("https://host/photos0")


def test_entries_of_urls_are_pruned_by_age_and_not_because_no_such_file_exists(stats, monkeypatch):
    stats.store([(url_key("a", '"1"'), digest_bytes(b"a")), *entries(1)])
    assert stats.prune() == 1  # the file
    assert stats.knows(URL)
    day = 24 * 3600 * SECOND
    monkeypatch.setattr(time, "time_ns", lambda: OLD + 89 * day)
    assert stats.prune() == 0
    monkeypatch.setattr(time, "time_ns", lambda: OLD + 92 * day)
    assert stats.prune() == 1
    assert not stats.knows(URL)


def test_a_relative_path_is_no_url(stats):
    with pytest.raises(ValueError, match="expected an absolute path or a URL"):
        stats.store([(("photos/a.jpg", 1, OLD, OLD), digest_bytes(b"a"))])
