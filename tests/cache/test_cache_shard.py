import hashlib
import itertools
import zlib

import h5py
import numpy as np
import pytest

from featx.cache import Space
from featx.cache import header as header_module
from featx.cache import shard as shard_module
from featx.cache.encoding import encode_shard, shard_name
from featx.cache.header import file_damage, open_shard, verify_shard
from featx.cache.shard import DamagedShard
from featx.errors import CacheError


@pytest.fixture
def arrays(batch):
    digests, rows = batch(0, 7)
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32), rows


@pytest.fixture
def written(tmp_path, arrays, space):
    image = encode_shard(*arrays, space)
    path = tmp_path / shard_name(image)
    path.write_bytes(image)
    return path


def edited(path, edit):
    """Change a shard with h5py and give it the name that fits its new bytes."""
    with h5py.File(path, "r+") as file:
        edit(file)
    image = path.read_bytes()
    target = path.with_name(shard_name(image))
    path.rename(target)
    return target


def test_equal_rows_give_equal_bytes_and_the_name_is_their_hash(arrays, space):
    image = encode_shard(*arrays, space)
    assert encode_shard(*arrays, space) == image
    assert shard_name(image) == hashlib.sha256(image).hexdigest()[:32] + ".h5"
    assert encode_shard(arrays[0], arrays[1] + 1, space) != image


@pytest.mark.parametrize("dtype", ["<f4", "<f2", ">f4"])
def test_a_shard_is_plain_hdf5_of_the_documented_layout(tmp_path, arrays, space, dtype):
    keys, rows = arrays
    path = tmp_path / "x.h5"
    path.write_bytes(encode_shard(keys, np.asfortranarray(rows.astype(dtype)), space))
    little = "<f2" if dtype == "<f2" else "<f4"
    with h5py.File(path) as file:
        assert file["embedding"].dtype.str == little
        assert file["embedding"].chunks is None
        np.testing.assert_array_equal(file["embedding"][:], rows.astype(little))
        np.testing.assert_array_equal(file["key"][:], keys)
        expected = [
            zlib.crc32(k.tobytes() + r.astype(little).tobytes()) for k, r in zip(keys, rows, strict=True)
        ]
        assert file["row_crc32"][:].tolist() == expected
        assert dict(file.attrs) == {
            "format": b"featx-shard",
            "format_version": 1,
            "space_id": space.id.encode(),
            "space": space.canonical_json.encode(),
            "n_rows": 7,
            "dim": 12,
            "dtype": little.encode(),
            "keys_crc32": zlib.crc32(np.array(expected, "<u4").tobytes(), zlib.crc32(keys.tobytes())),
        }


@pytest.mark.parametrize(
    ("keys", "rows", "message"),
    [
        (np.zeros((2, 32), "u1"), np.zeros((3, 4), "f4"), r"keys of shape \(2, 32\).*expected \(3, 32\)"),
        (np.zeros((3, 32), "i4"), np.zeros((3, 4), "f4"), "keys of .* int32"),
        (np.zeros((3, 32), "u1"), np.zeros((3, 4), "f8"), "float64: expected"),
        (np.zeros((3, 32), "u1"), np.zeros(3, "f4"), r"rows of shape \(3,\)"),
        (np.zeros((0, 32), "u1"), np.zeros((0, 4), "f4"), r"rows of shape \(0, 4\)"),
        (np.zeros((3, 32), "u1"), np.zeros((3, 0), "f4"), r"rows of shape \(3, 0\)"),
    ],
)
def test_arrays_that_do_not_fit_are_not_encoded(space, keys, rows, message):
    with pytest.raises(CacheError, match=message):
        encode_shard(keys, rows, space)


def test_a_space_too_large_for_the_checked_header_is_refused(arrays):
    with pytest.raises(CacheError, match="bytes of JSON"):
        encode_shard(*arrays, Space({"a": "x" * 40_000}))


def test_open_gives_what_was_encoded(written, arrays, space):
    shard = open_shard(written, space)
    assert (shard.n_rows, shard.dim, shard.dtype) == (7, 12, "<f4")
    assert Space.from_json(shard.space_json) == space
    np.testing.assert_array_equal(shard.read_keys(), arrays[0])
    keys, rows = shard.salvage()
    np.testing.assert_array_equal(keys, arrays[0])
    np.testing.assert_array_equal(rows, arrays[1])
    assert verify_shard(written, space) == shard
    assert file_damage(written) is None


@pytest.mark.parametrize("sip", [1, 100, 2**20])
def test_rows_in_any_order_with_repeats_and_any_size_of_sip(written, arrays, monkeypatch, sip):
    monkeypatch.setattr(shard_module, "_CHUNK_BYTES", sip)
    wanted = np.array([6, 0, 3, 3, 1, 6])
    out = np.full((8, 12), -1, np.float32)
    positions = np.array([7, 1, 2, 3, 5, 0])
    assert open_shard(written).read_into(out, positions, wanted, arrays[0][wanted]).all()
    np.testing.assert_array_equal(out[positions], arrays[1][wanted])
    assert (out[[4, 6]] == -1).all()


def test_every_choice_of_rows_with_repeats_gives_those_rows(written, arrays):
    shard = open_shard(written)
    for choice in itertools.product(range(4), repeat=3):
        wanted = np.array(choice)
        out = np.full((3, 12), np.nan, np.float32)
        assert shard.read_into(out, np.arange(3), wanted, arrays[0][wanted]).all()
        np.testing.assert_array_equal(out, arrays[1][wanted])


def test_reading_nothing_reads_nothing(written):
    out = np.zeros((0, 12), np.float32)
    none = np.zeros(0, np.int64)
    assert open_shard(written).read_into(out, none, none, np.zeros((0, 32), "u1")).shape == (0,)


def test_a_row_asked_for_under_another_key_is_not_given_out(written, arrays):
    out = np.full((1, 12), -1, np.float32)
    zero = np.array([0])
    assert not open_shard(written).read_into(out, zero, zero, arrays[0][1:2]).any()


def test_two_rows_asked_for_under_each_others_keys_are_not_given_out(written, arrays):
    out = np.empty((2, 12), np.float32)
    good = open_shard(written).read_into(out, np.arange(2), np.arange(2), arrays[0][[1, 0]])
    assert not good.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("bad", [(), (0,), (3, 6)])
def test_a_whole_stretch_and_one_row_at_a_time_say_the_same(tmp_path, arrays, space, dtype, bad):
    """The checksum over all rows at once, against the slow reference: each row by itself."""
    keys, rows = arrays[0], arrays[1].astype(dtype)
    path = tmp_path / "x.h5"
    path.write_bytes(encode_shard(keys, rows, space))
    shard = open_shard(path)
    torn = bytearray(path.read_bytes())
    for row in bad:
        torn[shard.embedding_offset + row * shard.row_bytes + 3] ^= 64
    path.write_bytes(torn)
    for out in (np.empty((7, 12), dtype), np.empty((7, 12), np.float64), np.empty((14, 12), dtype)[::2]):
        good = shard.read_into(out, np.arange(7), np.arange(7), keys)
        singly = [
            shard.read_into(np.empty((1, 12), dtype), np.zeros(1, int), np.array([i]), keys[i : i + 1])[0]
            for i in range(7)
        ]
        assert good.tolist() == singly == [i not in bad for i in range(7)]
        np.testing.assert_array_equal(out[good], rows[good])


def test_a_flip_of_any_byte_is_never_returned_as_data(tmp_path, arrays, space):
    """Bytes all over a shard: the file is refused, or each row is right or refused."""
    keys, rows = arrays[0][:3], arrays[1][:3]
    image = encode_shard(keys, rows, space)
    name = shard_name(image)
    path = tmp_path / name
    everything = np.arange(len(rows))
    outcomes = set()
    for at in range(0, len(image), 7):  # 7 meets every field and every bit of a byte
        torn = bytearray(image)
        torn[at] ^= 1 << (at % 8)
        path.write_bytes(torn)
        assert file_damage(path) is not None
        try:
            shard = open_shard(path, space)
            out = np.full(rows.shape, np.nan, np.float32)
            good = shard.read_into(out, everything, everything, keys)
        except DamagedShard:
            outcomes.add("refused")
            continue
        outcomes.add("row refused" if not good.all() else "harmless")
        np.testing.assert_array_equal(out[good], rows[good])
    assert {"refused", "row refused"} <= outcomes


def test_a_file_cut_anywhere_is_damaged(written, arrays, space):
    image = written.read_bytes()
    for size in [*range(0, len(image), 37), len(image) - 1]:
        written.write_bytes(image[:size])
        with pytest.raises(DamagedShard, match="empty" if size == 0 else "SHA-256"):
            verify_shard(written, space)


def test_a_file_that_shrinks_after_it_was_opened_is_damaged(written, arrays):
    shard = open_shard(written)
    written.write_bytes(written.read_bytes()[: shard.embedding_offset + 5])
    row = np.array([3])
    with pytest.raises(DamagedShard, match="truncated"):
        shard.read_into(np.zeros((1, 12), np.float32), np.array([0]), row, arrays[0][3:4])


def test_a_missing_file_is_missing_and_not_damaged(tmp_path, written, arrays):
    shard = open_shard(written)
    written.unlink()
    row = np.array([0])
    for call in (
        lambda: open_shard(written),
        lambda: verify_shard(written),
        lambda: file_damage(written),
        shard.read_keys,
        lambda: shard.read_into(np.zeros((1, 12), np.float32), row, row, arrays[0][:1]),
    ):
        with pytest.raises(FileNotFoundError):
            call()


def test_a_shard_of_another_space_is_refused_with_the_difference(written):
    other = Space({"backbone": "tiny", "preprocessing": {"interpolation": "bicubic", "size": [4, 4]}})
    with pytest.raises(DamagedShard, match="interpolation: bilinear in the cache, bicubic asked for"):
        open_shard(written, other)


def _replaced(name, **options):
    def edit(file):
        del file[name]
        file.create_dataset(name, **options)

    return edit


def _linked(name, link):
    def edit(file):
        del file[name]
        file[name] = link

    return edit


def _attribute(name, value):
    def edit(file):
        del file.attrs[name]
        if value is not None:
            file.attrs[name] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_attribute("format", None), "attribute format is missing"),
        (_attribute("format", np.bytes_(b"other")), "no featx shard"),
        (_attribute("format", [1, 2]), "shape"),
        (_attribute("n_rows", 10**15), "dataset embedding is"),
        (_attribute("n_rows", 0), "0 rows"),
        (_attribute("n_rows", 7.0), "expected an integer"),
        (_attribute("dim", -3), "rows of -3"),
        (_attribute("dtype", np.bytes_(b"<f8")), "<f8: expected"),
        (_attribute("dtype", np.bytes_(b"x" * 100)), "at most 8 bytes"),
        (_attribute("space", np.bytes_(b"{}")), "disagree"),
        (_attribute("space", np.bytes_(b"[")), "not the JSON"),
        (_attribute("space", np.bytes_(b"\xff")), "not UTF-8"),
        (_attribute("space_id", np.bytes_(b"0")), "disagree"),
        (lambda file: file.__delitem__("key"), "dataset key is missing"),
        (_replaced("key", data=np.zeros((6, 32), "u1")), "dataset key is"),
        (_replaced("row_crc32", data=np.zeros(7, "<i8")), "dataset row_crc32 is"),
        (_replaced("embedding", data=np.zeros((7, 12), "<f4"), chunks=(1, 12)), "not stored contiguously"),
        (_replaced("embedding", shape=(7, 12), dtype="<f4"), "not stored contiguously"),
        (_replaced("embedding", shape=(7, 12), dtype="<f4", external="/dev/zero"), "not stored contiguously"),
        (_linked("key", h5py.ExternalLink("/etc/passwd", "/key")), "dataset key is missing"),
        (_linked("key", h5py.SoftLink("/embedding")), "dataset key is missing"),
        (lambda file: (file.__delitem__("key"), file.create_group("key")), "key is no dataset"),
    ],
)
def test_a_header_that_no_shard_has_is_refused_by_what_is_wrong(written, edit, message):
    path = edited(written, edit)
    with pytest.raises(DamagedShard, match=message):
        open_shard(path)


def test_a_newer_format_is_no_damage(written):
    path = edited(written, _attribute("format_version", 2))
    with pytest.raises(CacheError, match="shard format 2, this featx reads 1; update featx"):
        open_shard(path)


def test_rows_that_do_not_match_are_counted_by_verify(written, space):
    def edit(file):
        file["embedding"][2:4] = 0

    with pytest.raises(DamagedShard, match="2 of 7 rows"):
        verify_shard(edited(written, edit), space)


def test_an_intact_file_that_the_machine_cannot_open_is_no_damage(written, monkeypatch):
    def fail(*_args, **_options):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(header_module.h5py, "File", fail)
    with pytest.raises(CacheError, match=r"intact, but it cannot be opened: .*Too many open files"):
        open_shard(written)


def test_a_sector_that_cannot_be_read_is_damage_and_another_error_is_not(written, monkeypatch):
    class Failing:
        def __init__(self, code):
            self.code = code

        def __enter__(self):
            return self

        def __exit__(self, *exc_info):
            pass

        def seek(self, _offset):
            return 0

        def readinto(self, _buffer):
            raise OSError(self.code, "reading failed")

        read = readinto

    shard = open_shard(written)
    for module in (shard_module, header_module):
        monkeypatch.setattr(module, "open", lambda *a, **k: Failing(5), raising=False)
    with pytest.raises(DamagedShard, match="I/O error"):
        shard.read_keys()
    assert "I/O error" in file_damage(written)
    for module in (shard_module, header_module):
        monkeypatch.setattr(module, "open", lambda *a, **k: Failing(13), raising=False)
    with pytest.raises(OSError, match="reading failed"):
        shard.read_keys()
    with pytest.raises(CacheError, match="cannot be read: reading failed"):
        file_damage(written)
