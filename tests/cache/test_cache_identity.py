import json
import pickle

import numpy as np
import pytest

from featx.cache import Space, digest_array, digest_bytes
from featx.errors import CacheError


def test_digest_of_bytes_is_blake2b_256():
    assert digest_bytes(b"abc").hex() == "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319"
    assert digest_bytes(bytearray(b"abc")) == digest_bytes(memoryview(b"abc")) == digest_bytes(b"abc")


def test_digest_of_an_array_ignores_strides_and_byte_order():
    array = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    same = digest_array(array)
    assert len(same) == 32
    assert digest_array(np.asfortranarray(array)) == same
    assert digest_array(array.astype(">i4")) == same
    assert digest_array(array[::-1][::-1]) == same


def test_digest_of_an_array_tells_dtype_shape_and_pixels_apart():
    array = np.arange(12, dtype=np.uint8)
    changed = array.copy()
    changed[5] += 1
    others = [array.reshape(3, 4), array.reshape(4, 3), array.view(np.int8), array.view(np.uint16), changed]
    others += [np.zeros((0, 3), np.uint8), np.zeros((3, 0), np.uint8), np.array(5, np.uint8)]
    assert len({digest_array(a) for a in [array, *others]}) == len(others) + 1


def test_an_array_and_a_file_never_share_a_digest_even_with_equal_bytes():
    array = np.frombuffer(b"pixels", dtype=np.uint8)
    assert digest_array(array) != digest_bytes(b'["|u1", [6]]pixels')


def test_an_array_of_objects_has_no_digest():
    with pytest.raises(TypeError, match="numeric dtype"):
        digest_array(np.array([object()]))


def test_equal_spaces_have_one_id_whatever_the_order_and_the_containers():
    a = Space({"b": (1, 2), "a": {"y": np.float32(0.5), "x": None}})
    b = Space({"a": {"x": None, "y": 0.5}, "b": [1, np.int64(2)]})
    assert a == b
    assert hash(a) == hash(b)
    assert a.id == b.id
    assert len(a.id) == 64
    assert a.canonical_json == '{"a":{"x":null,"y":0.5},"b":[1,2]}'


def test_the_id_is_the_sha256_of_the_canonical_json():
    import hashlib

    space = Space({"name": "Käse"})
    assert space.id == hashlib.sha256('{"name":"Käse"}'.encode()).hexdigest()


@pytest.mark.parametrize("other", [{"a": 2}, {"a": "1"}, {"a": 1.0}, {"a": True}, {"b": 1}, {"a": [1]}, {}])
def test_any_other_value_is_another_space(other):
    assert Space({"a": 1}).id != Space(other).id
    assert Space({"a": 1}) != Space(other)
    assert len(Space({"a": 1}).differences(Space(other))) >= 1


def test_differences_name_the_field_and_both_values():
    cached = Space(
        {"layer": "avgpool", "preprocessing": {"interpolation": "bilinear", "crop": [224, 224]}, "x": 1}
    )
    asked = Space(
        {"layer": "avgpool", "preprocessing": {"interpolation": "bicubic", "crop": [64, 64]}, "y": ""}
    )
    assert cached.differences(asked) == [
        "preprocessing.crop: [224, 224] in the cache, [64, 64] asked for",
        "preprocessing.interpolation: bilinear in the cache, bicubic asked for",
        "x: 1 in the cache, nothing asked for",
        'y: nothing in the cache, "" asked for',
    ]
    assert cached.differences(asked, here="in the model", there="installed")[1].endswith(
        "bilinear in the model, bicubic installed"
    )
    assert cached.differences(cached) == []


def test_a_space_is_a_mapping_that_cannot_be_changed_from_outside():
    given = {"a": {"b": [1]}}
    space = Space(given)
    given["a"]["b"].append(2)
    space.fields["a"]["b"].append(3)
    assert dict(space) == {"a": {"b": [1]}}
    assert space["a"] == {"b": [1]}
    assert list(space) == ["a"]
    assert len(space) == 1
    assert space.flattened() == {"a.b": [1]}
    assert json.loads(space.canonical_json) == space.fields


def test_a_space_survives_pickle_and_json():
    space = Space({"a": {"b": [1, "ü"]}, "c": False})
    assert pickle.loads(pickle.dumps(space)) == space
    assert Space.from_json(space.canonical_json) == space
    assert Space.from_json(json.dumps(space.fields, indent=2)) == space


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"a": {"b": float("nan")}}, r"field a\.b is nan"),
        ({"a": [1, float("inf")]}, r"field a\[1\] is inf"),
        ({"a": object()}, "field a is a object"),
        ({"a": {1: 2}}, "field a has the key 1"),
        ({"a": {1, 2}}, "field a is a set"),
        ({"a": b"x"}, "field a is a bytes"),
        ({"a": "\udcff"}, "field a is not valid Unicode"),
        ([1], "a space is a mapping"),
    ],
)
def test_what_is_no_json_data_is_refused_by_its_field(fields, message):
    with pytest.raises(CacheError, match=message):
        Space(fields)


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 100_000, '{"a": NaN}'])
def test_text_that_is_no_space_is_refused(text):
    with pytest.raises(CacheError, match="space"):
        Space.from_json(text)
