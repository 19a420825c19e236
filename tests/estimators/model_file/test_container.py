"""Write and read model files; refuse files that claim more than their size allows."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from featx.errors import InputError, ModelMismatch
from featx.estimators.model_file import read_model_file, write_model_file


@pytest.fixture
def path(tmp_path):
    write_model_file(tmp_path / "m", {"a": [1]}, {"x": np.arange(12, dtype=np.float32).reshape(3, 4)})
    return tmp_path / "m"


def rewrite(path, **changes):
    """Replace members (None: leave out), with correct checksums."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members |= {name.replace("__", "."): data for name, data in changes.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            if data is not None:
                archive.writestr(name, data)


def npy(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def refused(path, said):
    with pytest.raises(InputError, match=said) as caught:
        read_model_file(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_the_description_is_in_clear_and_numpy_reads_the_arrays(path):
    assert b'"format": "featx model"' in path.read_bytes()
    with np.load(path) as arrays:
        np.testing.assert_array_equal(arrays["x"], np.arange(12).reshape(3, 4))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((), np.float64),
        np.zeros((0,), np.float32),
        np.arange(6, dtype=np.int32),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(12.0).reshape(3, 4)[:, ::2],
        np.arange(3, dtype=">f8"),
        np.array([np.nan, np.inf, -0.0]),
    ],
)
def test_an_array_comes_back_with_its_bits_and_its_order(path, array):
    write_model_file(path, {}, {"x": array})
    again = read_model_file(path)[1]["x"]
    assert again.shape == array.shape
    assert again.dtype == array.dtype.newbyteorder("=")
    assert again.tobytes() == array.astype(array.dtype.newbyteorder("=")).tobytes()
    assert again.flags.writeable
    assert again.flags.aligned
    if array.flags.f_contiguous:
        assert again.flags.f_contiguous


def test_any_text_of_a_description_is_written_and_read_back(tmp_path):
    """A byte of a file name that is no UTF-8, and half a character, as in names on Windows."""
    text = "\udcff \ud800 ä \x1b \u2028"
    write_model_file(tmp_path / "m", {"a": text}, {})
    assert read_model_file(tmp_path / "m")[0]["a"] == text
    assert b" \\ud800 \xc3\xa4 " in (tmp_path / "m").read_bytes()


def test_the_error_on_a_shape_of_thousands_of_digits_is_short(path):
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({10**4000},), }}\n".encode()
    rewrite(path, x__npy=b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head)
    with pytest.raises(InputError, match="no array of shape") as caught:
        read_model_file(path)
    assert len(str(caught.value)) < 500


def test_zeros_without_end_are_stored_as_they_are(path):
    write_model_file(path, {}, {"x": np.zeros(2_000_000, np.float32)})
    assert read_model_file(path)[1]["x"].shape == (2_000_000,)


def test_a_file_that_grows_is_not_unpacked(path):
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("y.npy", npy(np.zeros(10_000_000, np.float32)))
    assert path.stat().st_size < 100_000
    refused(path, r"refused: \d+ bytes that would grow to 40\d+; no model file does")


def test_a_stream_that_goes_on_beyond_its_claim_is_cut(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.json", '{"format": "featx model", "format_version": 2}')
        archive.writestr("y.npy", npy(np.zeros(5_000_000, np.float32)), zipfile.ZIP_DEFLATED)
    claim = (20_000_128).to_bytes(4, "little")
    assert path.read_bytes().count(claim) == 2
    path.write_bytes(path.read_bytes().replace(claim, (1000).to_bytes(4, "little")))
    refused(path, "damaged")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(path, method):
    with zipfile.ZipFile(path, "a", method) as archive:
        archive.writestr("y.npy", npy(np.zeros(3)))
    refused(path, "compressed in a way that no model file is")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (npy(np.zeros(3, np.int64)), "no array of float16, float32, float64 or int32"),
        (npy(np.array(["a"])), "no array of"),
        (npy(np.array([1 + 1j])), "no array of"),
        (npy(np.zeros(3))[:-1], "are no array of shape"),
        (npy(np.zeros(3)) + b"more", "are no array of shape"),
        (npy(np.zeros(3)).replace(b"(3,)", b"(9,)"), r"24 bytes are no array of shape \(9,\)"),
        (npy(np.zeros(3)).replace(b"(3,), ", b"(2**9)"), "no array of"),
        (b"", "no array of"),
        (b"\x93NUMPY\x01\x00\xff\xff{}", "no array of"),
    ],
)
def test_what_is_no_plain_array_is_refused(path, data, said):
    rewrite(path, x__npy=data)
    refused(path, said)


def test_an_array_of_python_objects_is_not_unpickled(path):
    out = io.BytesIO()
    np.save(out, np.array([print], dtype=object), allow_pickle=True)
    rewrite(path, x__npy=out.getvalue())
    refused(path, "no array of")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "damaged"),
        (b"[]", "not a model file of featx"),
        (b"{}", "not a model file of featx"),
        (b'{"a": NaN}', "NaN is no number of JSON"),
        (b"[" * 100_000, "damaged"),
        (b'{"a":' * 100_000, "damaged"),
        (b"1" * 10_000, "damaged"),
    ],
)
def test_a_description_that_is_none_is_refused(path, text, said):
    rewrite(path, model__json=text)
    refused(path, said)


def test_other_members_and_members_twice_are_refused(path):
    content = path.read_bytes()
    rewrite(path, secret=b"x")
    refused(path, "holds 'secret', which no model file has")
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x.npy", npy(np.zeros(3)))
    refused(path, "a member comes twice")


def test_a_newer_and_an_older_format_are_told(path):
    rewrite(path, model__json=b'{"format": "featx model", "format_version": 6}')
    with pytest.raises(ModelMismatch, match="model format 6; this featx reads formats 2, 3, 4 and 5"):
        read_model_file(path)
    rewrite(path, classifier__skops=b"")
    with pytest.raises(ModelMismatch, match="older featx, in a format"):
        read_model_file(path)


def test_a_flipped_bit_anywhere_is_noticed_or_changes_nothing(path):
    content = path.read_bytes()
    description, arrays = read_model_file(path)
    for at in range(len(content)):
        torn = bytearray(content)
        torn[at] ^= 1 << at % 8
        path.write_bytes(torn)
        try:
            read, found = read_model_file(path)
        except InputError:
            continue
        assert read == description
        for name, array in found.items():  # the directory may have lost one: `rebuild` misses it
            np.testing.assert_array_equal(array, arrays[name])
