"""Members of zip archives: the same bytes as zipfile gives, and hostile archives refused by name."""

import pickle
import random
import stat
import struct
import tracemalloc
import zipfile
import zlib

import pytest
from archives import deflated, raw_zip, write_zip

from featx.places import LocalRanges, Place, PlaceError
from featx.places.archives import index_archive
from featx.places.archives.zip_index import index_zip

MOST = 2**20


def members_of(path, **how):
    return dict(index_archive(LocalRanges(path), **how))


def index_bytes(tmp_path, data, **how):
    (tmp_path / "x.zip").write_bytes(data)
    return index_archive(LocalRanges(tmp_path / "x.zip"), **how)


def why(place, most=MOST):
    with pytest.raises(PlaceError) as caught:
        place.read(most)
    return str(caught.value)


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_members_are_those_that_zipfile_reads(tmp_path, method):
    rng = random.Random(method)
    contents = {f"a/{i}.bin": rng.randbytes(rng.randrange(9000)) + bytes(i * 50) for i in range(40)}
    contents |= {"empty": b"", "ü/日本.bin": b"names"}
    path = write_zip(tmp_path / "a.zip", contents, compression=method)
    found = members_of(path)
    assert {name: place.read(MOST) for name, place in found.items()} == contents
    assert all(isinstance(place, Place) and not place.is_remote for place in found.values())
    assert found["a/3.bin"].name == f"{path}: a/3.bin"


def test_zip64_and_comments_and_a_program_in_front(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("a", "w", force_zip64=True) as member:
            member.write(b"first")
        archive.writestr("b", b"second")
        archive.comment = b"PK\5\6 in a comment" + bytes(30)
    assert {n: p.read(MOST) for n, p in members_of(path).items()} == {"a": b"first", "b": b"second"}
    whole = b"#!/bin/sh\n" * 100 + path.read_bytes()
    assert [p.read(MOST) for _, p in index_bytes(tmp_path, whole)] == [b"first", b"second"]


def test_a_directory_beyond_4_gb_is_found_by_its_zip64_record(tmp_path):
    """The end states 0xFFFFFFFF, and the record of 64 bits says where the directory lies."""
    plain = raw_zip([{"name": b"a", "data": b"abc"}])
    at, length = plain.index(b"PK\1\2"), len(plain) - 22 - plain.index(b"PK\1\2")
    record = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, length, at)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, at + length, 1)
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    index = index_bytes(tmp_path, plain[:-22] + record + locator + end)
    assert index[0][1].read(MOST) == b"abc"


def test_the_most_members_without_zip64(tmp_path):
    index = index_bytes(tmp_path, raw_zip([{"name": b"%d" % i} for i in range(0xFFFF)]))
    assert len(index) == 0xFFFF


def test_names_are_utf8_even_where_the_archive_does_not_say_so(tmp_path):
    names = ["ü.jpg".encode(), "ü.jpg".encode("cp437"), b"a\\b.jpg"]
    plain = raw_zip([{"name": name} for name in names])
    # The second is the same name, so that it is left out.
    assert [name for name, _ in index_bytes(tmp_path, plain)] == ["ü.jpg", "", "a\\b.jpg"]
    windows = raw_zip([{"name": name, "made_by": 0} for name in names[1:]])
    assert [name for name, _ in index_bytes(tmp_path, windows)] == ["ü.jpg", "a/b.jpg"]


def test_a_member_is_pickled_in_few_bytes_and_many_share_their_archive(tmp_path):
    path = write_zip(tmp_path / "a.zip", {f"{i:04d}.jpg": b"%d" % i for i in range(1000)})
    places = [place for _, place in index_archive(LocalRanges(path))]
    assert len(pickle.dumps(places[7])) < 300 + 2 * len(str(path))
    assert len(pickle.dumps(places)) / 1000 < 80
    again = pickle.loads(pickle.dumps(places))
    assert again[7].read(MOST) == b"7"
    assert len({id(place.ranges) for place in again}) == 1


def test_the_stat_key_names_the_archive_and_where_the_member_lies(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"a": b"first", "b": b"second"})
    a, b = (place for _, place in index_archive(LocalRanges(path)))
    state = LocalRanges(path).stat_key()
    assert a.stat_key()[1:] == b.stat_key()[1:] == state[1:]
    assert a.stat_key()[0] == f"{path}\x000:5" != b.stat_key()[0]
    write_zip(path, {"a": b"other", "b": b"members", "c": b""})
    assert a.stat_key() is None
    assert "was changed" in why(a)


def test_memory_for_each_member_is_small(tmp_path):
    index = index_bytes(tmp_path, raw_zip([{"name": b"photos/%06d.jpg" % i} for i in range(5_000)]))
    columns = [
        index._names,
        index._ends,
        index._offsets,
        index._lengths,
        index._sizes,
        index._methods,
        index._crcs,
    ]
    assert sum(memoryview(column).nbytes for column in columns) / 5_000 < 80


HOSTILE = {
    "encrypted": ({"name": b"a", "data": b"abc", "flags": 1}, "encrypted; unpack it with its password"),
    "strongly encrypted": ({"name": b"a", "data": b"abc", "flags": 0x41}, "encrypted"),
    "AES": ({"name": b"a", "data": b"abc", "flags": 1, "method": 99}, "encrypted"),
    "deflate64": (
        {"name": b"a", "data": b"abc", "method": 9},
        "compressed with deflate64, which is not read",
    ),
    "unknown method": ({"name": b"a", "data": b"abc", "method": 77}, "compressed with method 77"),
    "wrong checksum": ({"name": b"a", "data": b"abc", "crc": 5}, "its checksum (CRC-32) is wrong"),
    "bomb": (
        {"name": b"a", "data": deflated(bytes(10**7)), "size": 10_000, "method": 8, "crc": 0},
        "unpacks to more than the 10000 bytes",
    ),
    "declared bomb": (
        {"name": b"a", "data": deflated(bytes(10**7)), "size": 10**7, "method": 8, "crc": 0},
        "10,000,000 bytes, expected at most 1,048,576",
    ),
    "much data for little": (
        {"name": b"a", "data": bytes(3 * 2**20), "size": 5, "method": 8},
        "expected at most",
    ),
    "short data": ({"name": b"a", "data": deflated(b"abc"), "size": 5, "method": 8}, "3 bytes, where"),
    "broken deflate": ({"name": b"a", "data": b"\xff\xff\xff", "method": 8}, "its deflate data is broken"),
    "broken bzip2": ({"name": b"a", "data": b"BZh9xxxxxxxxxx", "method": 12}, "its bzip2 data is broken"),
    "broken lzma": ({"name": b"a", "data": bytes(12), "method": 14}, "its lzma data is broken"),
    "lzma that asks for 4 GB": (
        {"name": b"a", "data": b"\x09\x04\x05\x00\x5d\xff\xff\xff\xff" + bytes(9), "size": 9, "method": 14},
        "",
    ),
    "cut lzma": ({"name": b"a", "data": b"\x09\x04\x05", "method": 14}, "its lzma data is broken"),
    "another method in its header": (
        {"name": b"a", "data": b"abc", "local_method": 8},
        "the header at byte 0 contradicts the directory",
    ),
    "offset into data": ({"name": b"a", "data": b"abcde", "offset": 2}, "overlaps another member"),
    "offset beyond the end": ({"name": b"a", "data": b"abc", "offset": 10**6}, "overlaps"),
    "a link": (
        {"name": b"a", "data": b"/etc/passwd", "attributes": (stat.S_IFLNK | 0o777) << 16},
        "a symbolic link, which is not followed",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_member_fails_when_it_is_read_and_others_do_not(tmp_path, case):
    member, expected = HOSTILE[case]
    sound = {"name": b"b", "data": b"sound"}
    index = index_bytes(tmp_path, raw_zip([member, sound]))
    assert expected in why(index[0][1])
    if "offset" not in member:
        assert index[1][1].read(MOST) == b"sound"


def test_a_header_that_is_none_is_named_by_its_byte(tmp_path):
    data = raw_zip([{"name": b"a", "data": b"abc"}, {"name": b"b"}]).replace(b"PK\3\4", b"PK\3\5", 1)
    (tmp_path / "x.zip").write_bytes(data)
    assert "no header of a member at byte 0" in why(index_zip(LocalRanges(tmp_path / "x.zip"))[0][1])


def test_overlapping_members_are_a_bomb(tmp_path):
    """As in D. Fifield's zip bomb: a million members share the bytes of one."""
    data = deflated(bytes(10**6))
    first = {"name": b"0", "data": data, "size": 10**6, "method": 8, "crc": zlib.crc32(bytes(10**6))}
    others = [{**first, "name": b"%d" % i, "offset": 0, "local": False} for i in range(1, 1000)]
    index = index_bytes(tmp_path, raw_zip([first, *others]))
    assert {why(place) for _, place in index} == {"damaged: it overlaps another member, or the directory"}


def test_a_repeated_name_is_an_error_or_left_out(tmp_path):
    index = index_bytes(tmp_path, raw_zip([{"name": b"a"}, {"name": b"b"}, {"name": b"a", "data": b"2"}]))
    assert index.failures == [("a", "the archive has it twice")]
    assert list(index)[2] == ("", None)


DAMAGED = {
    "empty": (b"", "ends at byte 0 without"),
    "no zip": (b"hello " * 100, "without the directory of a zip"),
    "cut off": (raw_zip([{"name": b"a", "data": bytes(999)}])[:-30], "ends at byte"),
    "a wrong number of members": (raw_zip([{"name": b"a"}], count=7), "lists 1 members, its end says 7"),
    "ten million members in a small file": (
        raw_zip([{"name": b"a"}], count=0xFFFE),
        "lists 1 members, its end says 65534",
    ),
    "a directory beyond the end": (raw_zip([{"name": b"a"}], directory_shift=10**6), "does not lie before"),
    "a broken directory": (
        raw_zip([{"name": b"aaaaaaaaaa"}]).replace(b"PK\1\2", b"PK\1\3"),
        "no entry of its",
    ),
    "an entry beyond its end": (
        raw_zip([{"name": b"a"}]).replace(b"\1\0\0\0\0\0\0\0\0\0\0\0", b"\1\0\xff\xff\0\0\0\0\0\0\0\0"),
        "damaged",
    ),
    "one disk of several": (
        raw_zip([{"name": b"a"}])[:-18] + struct.pack("<HH", 1, 1) + raw_zip([{"name": b"a"}])[-14:],
        "one part of a zip in several files",
    ),
    "a lost zip64 record": (
        raw_zip([{"name": b"a"}], count=0xFFFF, end=struct.pack("<4sIQI", b"PK\6\7", 0, 5, 1)),
        "no zip64 end of its directory at byte 5",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_archive_is_one_error(tmp_path, case):
    data, expected = DAMAGED[case]
    with pytest.raises(PlaceError) as caught:
        index_bytes(tmp_path, data)
    assert expected in str(caught.value)


def test_members_before_a_damage_can_be_had(tmp_path):
    data = bytearray(raw_zip([{"name": b"aa", "data": b"1"}, {"name": b"bb", "data": b"2"}]))
    data[data.rindex(b"PK\1\2")] = 0
    index = index_bytes(tmp_path, bytes(data), on_error="skip")
    assert [(name, place.read(9)) for name, place in index] == [("aa", b"1")]
    assert "no entry of its directory at byte" in index.failures[0][1]


def test_random_damage_is_an_error_or_the_right_bytes(tmp_path):
    contents = {f"{i}.bin": random.Random(i).randbytes(200) for i in range(5)}
    whole = write_zip(tmp_path / "a.zip", contents, compression=zipfile.ZIP_DEFLATED).read_bytes()
    rng = random.Random(0)
    for _ in range(300):
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        (tmp_path / "b.zip").write_bytes(data[: rng.randrange(len(data)) if rng.random() < 0.2 else None])
        try:
            for name, place in index_zip(LocalRanges(tmp_path / "b.zip")):
                if place is not None:
                    assert place.read(MOST) in (contents.get(name), *contents.values())
        except PlaceError:
            continue


def test_numbers_of_more_than_63_bits_are_damage(tmp_path):
    extra = struct.pack("<HHQQQ", 1, 24, 2**64 - 1, 3, 0)
    data = raw_zip([{"name": b"a", "data": b"abc"}])
    at = data.index(b"PK\1\2")
    entry = bytearray(data[at : at + 47])
    struct.pack_into("<II", entry, 20, 0xFFFFFFFF, 0xFFFFFFFF)
    struct.pack_into("<H", entry, 30, len(extra))
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, 47 + len(extra), at, 0)
    (tmp_path / "a.zip").write_bytes(data[:at] + bytes(entry) + extra + end)
    with pytest.raises(PlaceError, match="damaged: its directory states 18,446,744,073,709,551,615 bytes"):
        index_archive(LocalRanges(tmp_path / "a.zip"))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_of_a_member_that_unpacks_to_very_much_only_the_start_is_unpacked(tmp_path, method):
    path = write_zip(tmp_path / "a.zip", {"a": bytes(2**24)}, compression=method)
    ((_, place),) = index_archive(LocalRanges(path))
    tracemalloc.start()
    assert place.read_start(64) == bytes(64)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2**22
