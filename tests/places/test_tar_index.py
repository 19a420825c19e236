"""Members of tar archives of every form: the bytes that tarfile gives; damage is named by the byte."""

import pickle
import random
import tarfile

import pytest
from archives import link, of_type, raw_tar, tar_header, write_tar

from featx.places import LocalRanges, PlaceError
from featx.places.archives import index_archive
from featx.places.archives.tar_index import index_tar

MOST = 2**20


def index_bytes(tmp_path, data, **how):
    (tmp_path / "x.tar").write_bytes(data)
    return index_archive(LocalRanges(tmp_path / "x.tar"), **how)


def why(place):
    with pytest.raises(PlaceError) as caught:
        place.read(MOST)
    return str(caught.value)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_those_that_tarfile_reads(tmp_path, form):
    rng = random.Random(form)
    contents = {f"a/{i}.bin": rng.randbytes(rng.randrange(5000)) for i in range(40)}
    contents |= {"empty": b"", "ü/日本.bin": b"names", f"{'d' * 60}/{'e' * 60}/f.bin": b"a longer name"}
    if form != tarfile.USTAR_FORMAT:
        contents["x" * 300] = b"the longest name"
    path = write_tar(tmp_path / "a.tar", {"a/": b"", **contents}, form)
    found = dict(index_archive(LocalRanges(path)))
    assert found.pop("a/") is None
    assert {name: place.read(MOST) for name, place in found.items()} == contents
    assert found["a/3.bin"].name == f"{path}: a/3.bin"
    assert len(pickle.dumps(found["a/3.bin"])) < 300 + 2 * len(str(path))


def test_a_tar_from_before_ustar_and_names_with_a_dot_in_front(tmp_path):
    header = tar_header(b"./a/b", 3, kind=b"\0", magic=b"")
    folder = tar_header(b"c/", kind=b"\0", magic=b"")
    index = index_bytes(tmp_path, raw_tar((header, b"abc"), (folder, b"")))
    assert [(name, place and place.read(9)) for name, place in index] == [("a/b", b"abc"), ("c/", None)]


def test_an_archive_without_members_has_none(tmp_path):
    assert len(index_bytes(tmp_path, bytes(10240))) == 0


def test_a_size_in_binary_and_in_pax_records(tmp_path):
    large = tar_header(b"a", 3)
    large = large[:124] + b"\x80" + (3).to_bytes(11, "big") + large[136:]
    large = large[:148] + b"%06o\0 " % (sum(large[:148]) + 8 * 32 + sum(large[156:])) + large[156:]
    records = b"10 size=4\n"
    extended = (tar_header(b"x", len(records), kind=b"x"), records), (tar_header(b"b", 0), b"")
    data = raw_tar((large, b"abc"), *extended, end=b"wxyz" + bytes(508) + bytes(1024))
    assert [(n, p.read(9)) for n, p in index_bytes(tmp_path, data)] == [("a", b"abc"), ("b", b"wxyz")]


def test_links_in_the_archive_are_followed(tmp_path):
    path = write_tar(
        tmp_path / "a.tar",
        {
            "a/1": b"first",
            "a/hard": link("a/1", hard=True),
            "b/up": link("../a/1"),
            "b/again": link("up"),
            "b/loop": link("loop"),
            "b/gone": link("nowhere"),
            "b/out": link("/etc/passwd"),
            "b/above": link("../../../etc/passwd"),
            "b/folder": link("../a"),
        },
    )
    found = dict(index_archive(LocalRanges(path)))
    for name in ("a/hard", "b/up", "b/again"):
        assert found[name].read(MOST) == b"first"
        assert found[name].stat_key() == found["a/1"].stat_key()
    for name in ("loop", "gone", "out", "above", "folder"):
        assert "a symbolic link to" in why(found[f"b/{name}"])
        assert "no file of the archive" in why(found[f"b/{name}"])


def test_what_is_no_file_fails_by_name(tmp_path):
    sparse = tar_header(b"sparse", 512, kind=b"S")
    path = write_tar(tmp_path / "a.tar", {"dev": of_type(tarfile.CHRTYPE), "pipe": of_type(tarfile.FIFOTYPE)})
    found = dict(index_archive(LocalRanges(path)))
    assert why(found["dev"]) == "not a file but a device"
    assert why(found["pipe"]) == "not a file but a pipe"
    records = b"22 GNU.sparse.major=1\n"
    data = raw_tar(
        (sparse, bytes(512)),
        (tar_header(b"x", len(records), kind=b"x"), records),
        (tar_header(b"new", 1), b"a"),
        (tar_header(b"odd", 0, kind=b"Z"), b""),
        (tar_header(b"sound", 3), b"abc"),
    )
    found = dict(index_bytes(tmp_path, data))
    assert "a sparse file" in why(found["sparse"])
    assert "a sparse file" in why(found["new"])
    assert "unknown type b'Z'" in why(found["odd"])
    assert found["sound"].read(9) == b"abc"


def test_a_repeated_name_is_left_out_with_a_failure(tmp_path):
    index = index_bytes(
        tmp_path, raw_tar((tar_header(b"a"), b""), (tar_header(b"b"), b""), (tar_header(b"a"), b""))
    )
    assert index.failures == [("a", "the archive has it twice")]


def test_small_members_are_visited_while_they_are_listed(tmp_path):
    seen = []
    path = write_tar(tmp_path / "a.tar", {f"{i}.cls": b"%d" % i for i in range(100)})
    index_tar(LocalRanges(path), visit=lambda i, name, length, read: seen.append((i, name, length, read())))
    assert seen == [(i, b"%d.cls" % i, len(str(i)), b"%d" % i) for i in range(100)]


def _bad(header, at, value):
    return header[:at] + value + header[at + len(value) :]


A = tar_header(b"a", 3)
DAMAGED = {
    "cut in the data": (raw_tar((A, b"abc"))[:513], "inside the member whose header is at byte 0"),
    "cut in a header": (
        raw_tar((A, b"abc"), (A, b"abc"))[:1300],
        "ends at byte 1300 without the end of a tar",
    ),
    "cut between members": (raw_tar((A, b"abc"), end=b""), "ends at byte 1024 without the end of a tar"),
    "a wrong checksum": (
        raw_tar((A, b"abc"), (_bad(tar_header(b"b", 3), 0, b"c"), b"abc")),
        "no header of a tar at byte 1024",
    ),
    "a size that is no number": (
        raw_tar((A, b"abc"), (_bad(A, 124, b"zz"), b"")),
        "no header of a tar at byte",
    ),
    "a size beyond the end": (
        raw_tar((A, b"abc"), (tar_header(b"b", 10**10), b"")),
        "at byte 1024: it is cut off",
    ),
    "a long name without an end": (
        raw_tar((tar_header(b"x", 10**9, kind=b"L"), b"")),
        "a header of 1000000000 bytes at byte 0",
    ),
    "pax records without a length": (
        raw_tar((tar_header(b"x", 9, kind=b"x"), b"x path=a\n"), (A, b"abc")),
        "broken pax records at byte 0",
    ),
    "pax records that reach too far": (
        raw_tar((tar_header(b"x", 9, kind=b"x"), b"99 path=a"), (A, b"abc")),
        "broken pax records at byte 0",
    ),
    "a negative size in pax records": (
        raw_tar((tar_header(b"x", 12, kind=b"x"), b"12 size=-55\n"), (A, b"abc")),
        "broken pax records at byte 0",
    ),
    "two archives in one file": (raw_tar((A, b"abc")) * 2, "continues after its end, at byte 2048"),
    "no tar": (b"hello" * 1000, "neither a zip nor a tar: it begins with 68 65"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_archive_is_one_error_that_names_the_byte(tmp_path, case):
    data, expected = DAMAGED[case]
    with pytest.raises(PlaceError) as caught:
        index_bytes(tmp_path, data)
    assert expected in str(caught.value)


def test_members_before_a_damage_can_be_had(tmp_path):
    whole = raw_tar(*((tar_header(b"%d" % i, 3), b"abc") for i in range(5)))
    for cut in (1024 * 3, 1024 * 3 + 100, 1024 * 3 + 513):
        index = index_bytes(tmp_path, whole[:cut], on_error="skip")
        assert [(name, place.read(9)) for name, place in index] == [(str(i), b"abc") for i in range(3)]
        assert [name for name, _ in index.failures] == [""]


@pytest.mark.parametrize(
    ("magic", "said"),
    [
        (b"\x1f\x8b\x08", "gzip"),
        (b"BZh9", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"(\xb5/\xfd", "zstd"),
        (b"7z\xbc\xaf\x27\x1c", "7z"),
        (b"Rar!\x1a\x07\x00", "RAR"),
    ],
)
def test_what_is_compressed_as_a_whole_says_what_to_do(tmp_path, magic, said):
    with pytest.raises(PlaceError, match=f"{said}.* unpack it"):
        index_bytes(tmp_path, magic + bytes(600))


class Counting(LocalRanges):
    """A file behind a network, of which requests and bytes are counted."""

    is_remote = True
    requests = total = 0

    def read_range(self, start, length):
        self.requests, self.total = self.requests + 1, self.total + length
        return super().read_range(start, length)


def test_few_requests_list_a_remote_tar(tmp_path):
    small = write_tar(tmp_path / "small.tar", {f"{i:04d}.jpg": bytes(20_000) for i in range(500)})
    ranges = Counting(small)
    assert len(index_archive(ranges)) == 500
    assert ranges.requests < 10
    large = write_tar(tmp_path / "large.tar", {f"{i}.bin": bytes(3 * 2**20) for i in range(5)})
    ranges = Counting(large)
    assert len(index_archive(ranges)) == 5
    assert ranges.total < 2**20


def test_random_damage_is_an_error_or_members_of_the_archive(tmp_path):
    contents = {f"{i}.bin": random.Random(i).randbytes(700) for i in range(5)}
    whole = write_tar(tmp_path / "a.tar", contents).read_bytes()
    rng = random.Random(0)
    for _ in range(300):
        data = bytearray(whole)
        data[rng.randrange(6 * 1536)] ^= 1 << rng.randrange(8)
        try:
            index = index_bytes(
                tmp_path, bytes(data[: rng.randrange(len(data)) if rng.random() < 0.2 else None])
            )
            read = [place.read(MOST) for _, place in index if place is not None]
        except PlaceError:
            continue
        assert all(len(one) in (700, 0) for one in read)


@pytest.mark.parametrize("size", [b"-0001000\0", b"-1\0", b"+7\0", b"0x10\0", b"1_0\0"])
def test_a_size_that_is_no_octal_number_ends_the_reading(tmp_path, size):
    header = tar_header(b"a", 0)
    header = header[:124] + size.ljust(12, b"\0") + header[136:]
    header = header[:148] + b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:])) + header[156:]
    with pytest.raises(PlaceError, match="damaged: no header of a tar at byte 0"):
        index_bytes(tmp_path, raw_tar((header, b"")))


def test_a_size_of_thousands_of_digits_in_pax_records_is_damage(tmp_path):
    records = b"5012 size=" + b"1" * 5001 + b"\n"
    assert len(records) == 5012
    extended = (tar_header(b"x", len(records), kind=b"x"), records), (tar_header(b"b", 0), b"")
    with pytest.raises(PlaceError, match="broken pax records"):
        index_bytes(tmp_path, raw_tar(*extended))


def test_a_long_name_for_all_members_does_not_fill_the_memory(tmp_path):
    records = b"1000010 path=" + b"n" * 999_996 + b"\n"
    assert len(records) == 1_000_010
    of_all = tar_header(b"g", len(records), kind=b"g"), records
    with pytest.raises(PlaceError, match="a name of 999996 bytes"):
        index_bytes(tmp_path, raw_tar(of_all, *[(tar_header(b"b", 0), b"")] * 20))


def test_a_name_of_many_dots_takes_no_time(tmp_path):
    name = b"./" * 4000 + b"a./b"
    long = tar_header(b"L", len(name) + 1, kind=b"L"), name + b"\0"
    index = index_bytes(tmp_path, raw_tar(long, (tar_header(b"b", 0), b"")))
    assert [name for name, _ in index] == ["a./b"]
