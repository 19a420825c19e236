import errno
import json
import os
import re
import subprocess
import sys
import zlib

import h5py
import numpy as np
import pandas as pd
import pytest

import featx
from featx.cache import Space
from featx.cache.encoding import encode_shard
from featx.data.features import Failure, Features, describe, load_features, open_features
from featx.data.features import hdf5_rows as writing_module
from featx.data.tasks import Task
from featx.errors import FeaturesError, OutputError

N, DIM = 9, 5
SPACE = {"backbone": {"architecture": "tiny"}, "preprocessing": {"crop": [4, 4]}}


def made(**changes):
    parts = {
        "embeddings": np.random.default_rng(0).standard_normal((N, DIM), dtype=np.float32),
        "ids": [f"Kühe/{i}.jpg" for i in range(N - 1)] + [os.fsdecode(b"bad\xff.jpg")],
        "labels": np.arange(N) % 3,
        "classes": ("Kühe", "<b>&", "猫"),
        "splits": ["train"] * 5 + ["val"] + ["test"] * 3,
        "groups": np.arange(N) // 2,
        "failures": [Failure("x/ü.jpg", "truncated JPEG")],
        "space": SPACE,
        "run": {"forward_passes": 3},
    }
    return Features(**(parts | changes))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "f.h5"


def assert_equal(a, b):
    assert a.embeddings.dtype == b.embeddings.dtype
    np.testing.assert_array_equal(a.embeddings, b.embeddings)
    assert (a.ids, a.classes, a.failures, a.space) == (b.ids, b.classes, b.failures, b.space)
    for name in ("labels", "splits", "groups"):
        left, right = getattr(a, name), getattr(b, name)
        assert (left is None) == (right is None)
        if left is not None:
            np.testing.assert_array_equal(left, right)


# In memory


def test_features_know_their_size_and_normalise_their_parts():
    features = made(labels=[np.uint8(2)] * N)
    assert (len(features), features.dim) == (N, DIM)
    assert features.labels.dtype == np.int64
    assert features.splits.tolist()[4:7] == ["train", "val", "test"]
    assert features.groups.tolist() == ["0", "0", "1", "1", "2", "2", "3", "3", "4"]
    assert features.space == SPACE


@pytest.mark.parametrize(
    "indices", [[3, 1], np.array([8]), [], np.arange(N) % 2 == 0, slice(None)], ids=lambda i: type(i).__name__
)
def test_a_subset_keeps_what_belongs_together(indices):
    features = made()
    if isinstance(indices, slice):
        indices = np.arange(N)
    part = features.subset(indices)
    chosen = np.arange(N)[np.asarray(indices, dtype=bool if np.asarray(indices).dtype == bool else int)]
    np.testing.assert_array_equal(part.embeddings, features.embeddings[chosen])
    assert part.ids == [features.ids[i] for i in chosen]
    np.testing.assert_array_equal(part.labels, features.labels[chosen])
    np.testing.assert_array_equal(part.splits, features.splits[chosen])
    np.testing.assert_array_equal(part.groups, features.groups[chosen])
    assert (part.classes, part.space, part.failures) == (features.classes, features.space, features.failures)
    part.embeddings[:] = 0
    assert features.embeddings.any()


def test_a_mask_of_another_length_is_refused():
    with pytest.raises(FeaturesError, match=r"mask of shape \(3,\) for 9 rows"):
        made().subset(np.array([True, False, True]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embeddings": np.zeros(N, "f4")}, r"embeddings of shape \(9,\)"),
        ({"embeddings": np.zeros((N, 0), "f4")}, r"shape \(9, 0\)"),
        ({"embeddings": np.zeros((N, 2), int)}, "int64: expected float32, float16 or float64"),
        ({"embeddings": np.zeros((N + 1, 2), "f4")}, "ids has 9 entries for 10 embeddings"),
        ({"ids": "abcdefghi"}, "ids is one str"),
        ({"ids": [*"abcdefgh", 3]}, r"ids\[8\] is a int: expected a string"),
        ({"ids": [*"abcdefgh", "i\0"]}, r"ids\[8\] .* NUL"),
        ({"ids": [*"abcdefgh", "\ud800"]}, r"ids\[8\] .* not valid Unicode"),
        ({"ids": [*"abcdefgh", "c"]}, "'c' comes twice"),
        ({"labels": np.zeros(3, int)}, r"labels of shape \(3,\)"),
        ({"labels": np.zeros(N)}, "dtype float64: expected integers"),
        ({"labels": [-1] * N}, "labels: -1 is not the index of a class"),
        ({"labels": [3] * N}, "labels: 3 with 3 classes"),
        ({"labels": None}, "classes without labels"),
        ({"classes": ("a", "b", "a")}, "classes: a name comes twice"),
        ({"splits": ["train"] * 8 + ["dev"]}, "splits: 'dev' is not one of train, val, test"),
        ({"splits": ["train"]}, "splits has 1 entries"),
        ({"groups": [1.5] * N}, r"groups\[0\] is a float"),
        ({"space": {"a": object()}}, "space: .*field a"),
    ],
)
def test_parts_that_do_not_fit_are_refused_by_name(changes, message):
    with pytest.raises(FeaturesError, match=message):
        made(**changes)


# The file


@pytest.mark.parametrize(
    "features",
    [
        made(),
        made(embeddings=np.ones((N, DIM), np.float16)),
        made(labels=None, classes=None, splits=None, groups=None, failures=[], space={}),
        made(classes=None),
        made(embeddings=np.zeros((0, DIM), "f4"), ids=[], labels=[], splits=[], groups=[]),
        made(groups=[f"patient {i}" for i in range(N)]),
        made(failures=[Failure(os.fsdecode(b"\xfe"), "r" * 100_000)] * 3),
    ],
    ids=["full", "half", "bare", "no names", "empty", "text groups", "odd failures"],
)
def test_what_is_saved_is_loaded(path, features):
    features.save(path)
    loaded = load_features(path)
    assert_equal(loaded, features)
    assert loaded.run is None
    assert os.listdir(path.parent) == ["f.h5"]


def test_many_classes_and_long_spaces_fit(path):
    n = 9000
    features = Features(
        embeddings=np.zeros((n, 1), "f4"),
        ids=[str(i) for i in range(n)],
        labels=np.arange(n),
        classes=[f"class number {i}" for i in range(n)],
        space={"note": "x" * 30_000},
    )
    features.save(path)
    assert_equal(load_features(path), features)


def test_rows_beyond_one_chunk_and_one_write_come_back(path, monkeypatch):
    monkeypatch.setattr(writing_module, "_CHUNK_BYTES", 64)
    monkeypatch.setattr(writing_module, "_WRITE_BYTES", 128)
    features = made()
    features.save(path)
    assert_equal(load_features(path), features)
    with h5py.File(path) as file:
        assert file["embeddings"].chunks == (3, DIM)


def test_strided_and_big_endian_rows_are_saved_by_value(path):
    rows = np.asfortranarray(np.arange(2 * N * DIM).reshape(2 * N, DIM)[::2].astype(">f4"))
    made(embeddings=rows).save(path)
    np.testing.assert_array_equal(load_features(path).embeddings, rows)
    assert load_features(path).embeddings.dtype.isnative


def test_the_file_is_plain_hdf5_of_the_documented_layout(path):
    features = made()
    features.save(path)
    with h5py.File(path) as file:
        assert sorted(file) == ["embeddings", "failures", "groups", "ids", "labels", "splits"]
        np.testing.assert_array_equal(file["embeddings"][:], features.embeddings)
        assert file["embeddings"].chunks is not None
        assert file["ids"][0].decode() == "Kühe/0.jpg"
        assert h5py.check_string_dtype(file["ids"].dtype).encoding == "utf-8"
        assert file["labels"].dtype == np.int64
        assert list(file["labels"].attrs["classes"]) == ["Kühe", "<b>&", "猫"]
        assert file["splits"].asstr()[5] == "val"
        assert file["failures"]["reason"][0] == b"truncated JPEG"
        assert json.loads(file.attrs["space"]) == SPACE
        assert file.attrs["created"].endswith("+00:00")
        assert file.attrs["featx_version"]


def test_a_file_with_the_layout_of_the_design_alone_is_enough(path):
    with h5py.File(path, "w") as file:
        file["embeddings"] = np.ones((2, 3), "f4")
        file["ids"] = ["a", "b"]
        file["labels"] = np.array([0, 1], np.uint8)
        file["labels"].attrs["classes"] = ["x", "y"]
        file.attrs["space"] = "{}"
    loaded = load_features(path)
    assert (loaded.ids, loaded.classes, loaded.failures) == (["a", "b"], ("x", "y"), [])
    with open_features(path) as file:
        assert (file.featx_version, file.created) == ("", "")


def test_a_compressed_copy_is_read(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("embeddings", data=np.zeros((2000, 300), "f4"), compression="gzip")
        file["ids"] = [str(i) for i in range(2000)]
        file.attrs["space"] = "{}"
    assert load_features(path).embeddings.shape == (2000, 300)


def test_an_opened_file_reads_rows_when_asked(path):
    features = made()
    features.save(path)
    with open_features(path) as file:
        assert (len(file), file.dim) == (N, DIM)
        np.testing.assert_array_equal(file.embeddings[2:4], features.embeddings[2:4])
        assert file.ids == features.ids
        assert file.classes == features.classes
        np.testing.assert_array_equal(file.labels, features.labels)
        assert file.failures == features.failures
        assert file.space == SPACE
        assert_equal(file.to_features(), features)
        assert "f.h5" in repr(file)
    with pytest.raises(FeaturesError, match="damaged"):
        file.to_features()


def test_saving_over_a_file_that_is_open_keeps_the_reader_whole(path):
    made().save(path)
    with open_features(path) as file:
        other = made(embeddings=np.zeros((N, DIM), "f4"))
        other.save(path)
        assert_equal(file.to_features(), made())
    assert_equal(load_features(path), other)


def test_a_link_stays_a_link(tmp_path, path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.h5"
    link.symlink_to(tmp_path / "real" / "f.h5")
    made().save(link)
    assert link.is_symlink()
    assert_equal(load_features(tmp_path / "real" / "f.h5"), made())


@pytest.mark.parametrize("where", ["missing/f.h5", "folder", "file/f.h5"])
def test_a_place_that_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path, where):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot write .*" + where) as caught:
        made().save(tmp_path / where)
    assert "\n" not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_device_is_not_replaced():
    with pytest.raises(OutputError, match="not a file"):
        made().save(os.devnull)
    assert not os.path.isfile(os.devnull)


def test_a_disk_that_fills_up_at_any_write_keeps_the_old_file(path, monkeypatch):
    made(splits=None).save(path)
    before = path.read_bytes()
    real = writing_module.Sink
    monkeypatch.setattr(writing_module, "reserve", lambda *_args: None)
    messages = set()
    for allowed in range(60):

        class Full(real):
            left = allowed

            def write(self, data):
                if self.left == 0 and self.error is None:
                    self.error = OSError(errno.ENOSPC, "No space left on device")
                self.left -= 1
                return super().write(data)

        monkeypatch.setattr(writing_module, "Sink", Full)
        try:
            made().save(path)
        except OutputError as error:
            messages.add(str(error))
            assert path.read_bytes() == before
            assert os.listdir(path.parent) == ["f.h5"]
        else:
            break
    assert allowed > 5
    assert messages == {f"cannot write {path}: No space left on device"}
    assert_equal(load_features(path), made())


def test_a_real_limit_on_the_file_size_is_an_error_and_no_crash(tmp_path):
    pytest.importorskip("resource")
    code = """
import resource, sys
import numpy as np
from featx.errors import OutputError
from featx.data.features import Features, hdf5_rows
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
features = Features(np.zeros((1000, 100), "f4"), [str(i) for i in range(1000)])
for reserve in (hdf5_rows.reserve, lambda *_: None):
    hdf5_rows.reserve = reserve
    try:
        features.save(sys.argv[1])
    except OutputError as error:
        print("refused", error)
"""
    environment = dict(os.environ, PYTHONPATH=os.path.dirname(os.path.dirname(featx.__file__)))
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "f.h5")], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("refused") == 2
    assert "File too large" in done.stdout
    assert os.listdir(tmp_path) == []


def test_an_interrupt_leaves_the_old_file(path, monkeypatch):
    made(splits=None).save(path)
    before = path.read_bytes()

    def interrupt(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(writing_module, "_write_strings", interrupt)
    with pytest.raises(KeyboardInterrupt):
        made().save(path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["f.h5"]


# Files that are not what they should be


def edited(path, edit):
    made().save(path)
    with h5py.File(path, "r+") as file:
        edit(file)


def _replace(name, **options):
    def edit(file):
        if name in file:
            del file[name]
        file.create_dataset(name, **options)

    return edit


def _virtual(file):
    del file["embeddings"]
    layout = h5py.VirtualLayout((N, DIM), "f4")
    layout[:] = h5py.VirtualSource("missing.h5", "x", (N, DIM))
    file.create_virtual_dataset("embeddings", layout)


def _external_link(file):
    del file["embeddings"]
    file["embeddings"] = h5py.ExternalLink("other.h5", "/embeddings")


def _attribute(name, value, of="/"):
    def edit(file):
        file[of].attrs[name] = value

    return edit


TEXT = h5py.string_dtype()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda f: f.__delitem__("embeddings"), "not a features file: .*found failures, groups, ids"),
        (lambda f: f.attrs.__delitem__("space"), "not a features file"),
        (lambda f: f.__delitem__("ids"), "/ids is missing"),
        (_attribute("space", "[1]"), "attribute space: a space is a mapping"),
        (_attribute("space", "{"), "attribute space: not the JSON"),
        (_attribute("space", 3), "attribute space is not a text"),
        (_attribute("created", [1.0]), "attribute created is not a text"),
        (_attribute("format_version", 2), "format version 2, this featx reads 1: update featx"),
        (_attribute("format_version", "one"), "format_version is not an integer"),
        (_replace("embeddings", data=np.zeros((N, DIM))), "float64: expected float32 or float16"),
        (_replace("embeddings", data=np.zeros(N, "f4")), r"/embeddings has shape \(9,\)"),
        (
            _replace("embeddings", data=np.zeros((N - 1, DIM), "f4")),
            r"/ids has shape \(9,\): expected \(8,\)",
        ),
        (
            _replace("embeddings", shape=(10**9, 10**6), dtype="f4", chunks=(1, 1000)),
            "claims 4000000000000000",
        ),
        (_replace("embeddings", shape=(10**9, 10**6), dtype="f4", chunks=(1, 1000), compression=9), "claims"),
        (
            _replace("embeddings", shape=(N, DIM), dtype="f4"),
            "claims 180 bytes and the file holds 0",
        ),
        (_replace("embeddings", shape=(N, DIM), dtype="f4", external="/dev/zero"), "in another file"),
        (_replace("embeddings", data=h5py.Empty("f4")), "/embeddings is no array"),
        (_virtual, "in another file"),
        (_external_link, "/embeddings is missing"),
        (lambda f: (f.__delitem__("ids"), f.create_group("ids")), "/ids is no array"),
        (_replace("ids", data=np.arange(N)), "/ids is of dtype int64: expected UTF-8"),
        (_replace("ids", data=["a"] * N, dtype=TEXT), "ids: 'a' comes twice"),
        (_replace("labels", data=np.zeros(N)), "/labels is of dtype float64: expected integers"),
        (_replace("labels", data=np.full(N, -1)), "labels: -1 is not the index"),
        (_replace("labels", data=np.full(N, 2**64 - 1, "u8")), "not the index of a class"),
        (_replace("labels", data=np.zeros(2, int)), r"/labels has shape \(2,\): expected \(9,\)"),
        (_attribute("classes", ["only one"], "labels"), "/labels was changed or is damaged: .* crc32"),
        (
            lambda f: (f["labels"].attrs.__delitem__("crc32"), _attribute("classes", ["one"], "labels")(f)),
            "labels: 2 with 1 classes",
        ),
        (
            lambda f: f["ids"].__setitem__(0, "other"),
            "/ids was changed or is damaged: .*delete that attribute",
        ),
        (_attribute("space", "{}"), "attribute space was changed or is damaged"),
        (_attribute("classes", [1, 2, 3], "labels"), "classes of /labels is not a list of texts"),
        (_attribute("classes", "abc", "labels"), "classes of /labels is not a list of texts"),
        (_replace("splits", data=["dev"] * N, dtype=TEXT), "splits: 'dev' is not one of"),
        (_replace("groups", data=np.zeros(N)), "/groups is of dtype float64"),
        (_replace("failures", data=np.zeros(3)), r"/failures has columns \[\]"),
        (
            _replace("failures", data=np.zeros(3, [("id", "i4"), ("reason", "i4")])),
            "/failures: expected UTF-8",
        ),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_refused_in_one_line(path, edit, message):
    edited(path, edit)
    for read in (load_features, open_features, describe):
        with pytest.raises(FeaturesError, match=message) as caught:
            read(path)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)


def test_what_is_no_hdf5_file_is_refused(tmp_path):
    (tmp_path / "text.h5").write_text("hello")
    (tmp_path / "empty.h5").write_bytes(b"")
    for name, message in [
        ("text.h5", "damaged or not an HDF5 file"),
        ("empty.h5", "damaged or not an HDF5 file"),
        ("missing.h5", "no such file"),
        (".", "not a file"),
    ]:
        with pytest.raises(FeaturesError, match=message):
            load_features(tmp_path / name)


def test_a_shard_of_the_cache_is_told_apart(path):
    path.write_bytes(encode_shard(np.zeros((1, 32), "u1"), np.zeros((1, 3), "f4"), Space({})))
    with pytest.raises(FeaturesError, match="is a shard of the embedding cache"):
        load_features(path)


def test_a_file_cut_anywhere_is_refused(path):
    made().save(path)
    image = path.read_bytes()
    for size in range(0, len(image), max(1, len(image) // 60)):
        path.write_bytes(image[:size])
        with pytest.raises(FeaturesError, match=r"f\.h5: "):
            load_features(path)


# What inspect says


def test_describe_says_what_is_in_the_file(path):
    made().save(path)
    text = describe(path)
    for part in (
        "9 x 5 float32",
        "3 classes",
        "Kühe: 3",
        "train 5, val 1, test 3",
        "groups       5",
        "x/ü.jpg: truncated JPEG",
        "backbone.architecture: tiny",
        "preprocessing.crop: [4, 4]",
        "written by   featx",
    ):
        assert part in text


def test_describe_shortens_what_is_long_and_says_what_is_absent(path):
    n = 25
    failures = [Failure(os.fsdecode(b"\xff\n\x1b%d" % i), "bad") for i in range(12)]
    Features(np.zeros((n, 2), "f4"), list(map(str, range(n))), np.arange(n), failures=failures).save(path)
    text = describe(path)
    assert "and 5 more" in text
    assert "and 2 more" in text
    assert "\\udcff\\n\\x1b3: bad" in text
    made(labels=None, classes=None, splits=None, groups=None).save(path)
    assert "labels       none" in describe(path)
    assert "splits" not in describe(path)


def test_the_file_becomes_a_data_frame_as_the_readme_shows_it(path):
    features = made(ids=[f"b/{i}.jpg" for i in range(N)])
    features.save(path)
    with h5py.File(path) as file:
        frame = pd.DataFrame(file["embeddings"][:], index=file["ids"].asstr()[:])
        frame["label"] = pd.Categorical.from_codes(file["labels"][:], file["labels"].attrs["classes"])
    assert frame.index.tolist() == features.ids
    assert frame["label"].tolist() == [features.classes[i] for i in features.labels]
    np.testing.assert_array_equal(frame.drop(columns="label").to_numpy(), features.embeddings)


def test_embeddings_of_no_images_are_saved_too(path):
    Features(np.zeros((0, 3), np.float32), [], labels=[], classes=["a"]).save(path)
    loaded = load_features(path)
    assert loaded.embeddings.shape == (0, 3)
    assert loaded.classes == ("a",)


# Files that someone made on purpose


def test_a_chunk_far_larger_than_the_values_is_not_unpacked(path):
    made().save(path)

    def bomb(file):
        del file["labels"]
        file.create_dataset("labels", data=np.zeros(N, int), chunks=(2**24,), maxshape=(None,), compression=9)

    edited(path, bomb)
    with pytest.raises(FeaturesError, match="/labels has chunks of 134217728 bytes for 72 bytes of values"):
        load_features(path)


def test_many_texts_that_are_one_long_text_are_refused(path):
    n = 600
    Features(np.zeros((n, 2), np.float32), [f"{i:04d}" for i in range(n)]).save(path)

    with h5py.File(path, "r+") as file:
        file["ids"][0] = "x" * 100_000
    with h5py.File(path) as file:
        offset = file["ids"].id.get_offset()
    data = bytearray(path.read_bytes())
    data[offset : offset + 16 * n] = data[offset : offset + 16] * n  # all refer to the same heap object
    path.write_bytes(data)
    with pytest.raises(FeaturesError, match="/ids claims more text than the file is long"):
        load_features(path)


def test_one_long_group_is_not_made_the_width_of_all(path):
    n = 20_000
    texts = np.array(["y" * 2000, *[""] * (n - 1)], dtype=object)
    Features(np.zeros((n, 1), np.float16), [str(i) for i in range(n)]).save(path)
    with h5py.File(path, "r+") as file:
        file.create_dataset("groups", data=texts, dtype=h5py.string_dtype(), chunks=(n,), compression=9)
    with pytest.raises(FeaturesError, match="/groups has a text so long"):
        load_features(path)


def test_a_stream_within_a_stream_is_not_unpacked(path):
    """Gzip of gzip: 10 kB could become 10 GB; nor are filters of others called."""
    made().save(path)

    def twice(file):
        del file["labels"]
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((N,))
        plist.set_deflate(9)
        plist.set_deflate(9)
        space = h5py.h5s.create_simple((N,))
        h5py.h5d.create(file.id, b"labels", h5py.h5t.STD_I64LE, space, plist)
        file["labels"][...] = 0

    edited(path, twice)
    with pytest.raises(FeaturesError, match=r"/labels is filtered by .*: expected gzip or lzf, once"):
        load_features(path)


def test_a_chunk_that_grows_beyond_its_size_is_not_unpacked(path):
    n, chunk = 10, 4_000_000
    with h5py.File(path, "w") as file:
        file.attrs["space"] = "{}"
        file["ids"] = np.array([str(i) for i in range(n)], dtype=object)
        rows = file.create_dataset("embeddings", (n, 1), "f4", chunks=(n, 1), compression=9)
        stream = zlib.compress(bytes(chunk * 60), 9)
        rows.id.write_direct_chunk((0, 0), stream)
    assert path.stat().st_size < 300_000
    with pytest.raises(FeaturesError, match="a chunk that would grow beyond its 40 bytes"):
        load_features(path)


def test_an_attribute_of_one_text_many_times_is_not_read(path, monkeypatch):
    monkeypatch.setattr("featx.data.features.file_parts._ATTRIBUTE_BYTES", 0)
    monkeypatch.setattr("featx.data.features.file_parts._SPARE_BYTES", 0)
    classes = [f"{i}" for i in range(5000)]
    Features(np.zeros((2, 1), np.float32), ["a", "z" * 20_000], [0, 1], classes).save(path)
    with pytest.raises(FeaturesError, match="attribute classes claims more than the file can hold"):
        load_features(path)


def test_labels_without_names_may_be_any_number(path):
    Features(np.zeros((3, 2), np.float32), ["a", "b", "c"], labels=[0, 10**14, 0]).save(path)
    assert "    0: 2\n    100000000000000: 1" in describe(path)


def test_control_characters_do_not_reach_the_terminal(path):
    made(space={"backbone": "\x1b[2J"}).save(path)
    assert "\x1b" not in describe(path)
    assert "\\x1b[2J" in describe(path)


@pytest.mark.parametrize("name", ["特" * 80 + ".h5", "x" * 250 + ".h5"])
def test_a_name_as_long_as_the_file_system_takes_can_be_written(tmp_path, name):
    made().save(tmp_path / name)
    assert len(load_features(tmp_path / name)) == N


def test_what_a_killed_save_left_is_swept_by_the_next_one(path):
    made().save(path)
    left = path.with_name(f".featx-{'0' * 32}.host.1.part")
    left.write_bytes(b"x")
    os.utime(left, (0, 0))
    made().save(path)
    assert os.listdir(path.parent) == [path.name]


def test_a_file_that_the_program_has_open_already_is_opened_again(path):
    made().save(path)
    with h5py.File(path), open_features(path) as file:
        assert len(file) == N
    with open_features(path), h5py.File(path) as plain:
        assert len(plain["embeddings"]) == N


def test_describe_reads_every_row(path):
    rows = made().embeddings.copy()
    rows[4, 1] = np.nan
    made(embeddings=rows).save(path)
    assert "1 not finite, the first in row 4" in describe(path)
    with open_features(path) as file:
        offset = file.embeddings.id.get_chunk_info(0).byte_offset
    torn = bytearray(path.read_bytes())
    torn[offset + 10] ^= 1
    path.write_bytes(torn)
    with pytest.raises(FeaturesError, match="the rows asked for are damaged"):
        describe(path)


def test_lazy_rows_are_an_array_to_numpy(path):
    made().save(path)
    with open_features(path) as file:
        np.testing.assert_array_equal(np.asarray(file.embeddings), made().embeddings)
        np.testing.assert_array_equal(file.embeddings[[1, 3]], made().embeddings[[1, 3]])
        assert (file.embeddings.shape, len(file.embeddings)) == ((N, DIM), N)


@pytest.mark.parametrize("block", [9, 100, 2**24])
def test_every_collection_of_texts_is_found_wherever_a_block_ends(path, monkeypatch, block):
    monkeypatch.setattr("featx.data.features.global_heap._BLOCK", block)
    n = 300
    Features(np.zeros((n, 2), np.float32), [f"{i:060d}" for i in range(n)]).save(path)
    content = path.read_bytes()
    starts = [match.start() for match in re.finditer(b"GCOL", content)]
    assert len(starts) > 1
    assert len(load_features(path)) == n
    for start in starts:
        torn = bytearray(content)
        torn[start + 24 : start + 32] = bytes([255]) * 8
        path.write_bytes(torn)
        with pytest.raises(FeaturesError, match="claims"):
            load_features(path)


@pytest.mark.parametrize(("at", "length"), [(24, 2**64 - 15), (24, 2**40), (8, 0), (8, 2**50)])
def test_a_damaged_heap_of_texts_is_refused_before_hdf5_loops_in_it(path, at, length):
    made().save(path)
    data = bytearray(path.read_bytes())
    start = data.index(b"GCOL")
    data[start + at : start + at + 8] = length.to_bytes(8, "little")
    path.write_bytes(data)
    with pytest.raises(FeaturesError, match=r"of texts claims|claims .* bytes"):
        load_features(path)


# Several tasks


def tasks():
    return {
        "width/height.2": Task("width/height.2", np.where(np.arange(N) == 4, np.nan, np.arange(N) / 7)),
        "Ort%": Task("Ort%", np.array([0, 1, -1] * 3), ("naß", "猫")),
    }


def test_tasks_come_back_from_the_file_in_their_order(path):
    made(targets=tasks(), label_name="Art").save(path)
    again = load_features(path)
    assert list(again.tasks) == ["Art", "width/height.2", "Ort%"]
    assert_equal(again, made())
    for name, task in tasks().items():
        assert again.targets[name].classes == task.classes
        np.testing.assert_array_equal(again.targets[name].values, task.values)
    text = describe(path)
    assert "labels       Art: 3 classes" in text
    assert "width/height.2: numbers, 0 to 1.143, 1 images without" in text
    assert "Ort%: 2 classes, 3 images without" in text


def test_other_tools_read_the_targets(path):
    made(targets=tasks()).save(path)
    with h5py.File(path) as file:
        assert sorted(file["targets"]) == ["Ort%25", "width%2Fheight%2E2"]
        assert file["targets/Ort%25"].attrs["classes"].tolist() == ["naß", "猫"]
        assert file["targets/Ort%25"].dtype == "<i8"
        assert file["targets/width%2Fheight%2E2"].dtype == "<f8"


def test_one_label_is_stored_as_ever(path):
    made().save(path)
    with h5py.File(path) as file:
        assert sorted(file) == ["embeddings", "failures", "groups", "ids", "labels", "splits"]
        assert sorted(file["labels"].attrs) == ["classes", "crc32"]


def test_subsets_keep_the_tasks(path):
    part = made(targets=tasks()).subset([7, 2])
    assert part.targets["Ort%"].values.tolist() == [1, -1]
    assert list(made(targets=tasks()).select(label="Ort%").tasks) == ["Ort%"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g.create_dataset("x", data=np.zeros(3)), r"/targets/x has shape \(3,\)"),
        (
            lambda g: g.create_dataset("x", data=np.zeros(N, int)),
            "/targets/x has integers and no attribute cl",
        ),
        (lambda g: g.create_dataset("x", data=np.full(N, np.inf)), "x: the value in row 0"),
        (lambda g: g.create_dataset("x", data=[b"a"] * N), "/targets/x is of dtype"),
        (lambda g: g.create_group("x"), "/targets/x is no array"),
        (lambda g: g["Ort%25"].write_direct(np.full(N, 5)), "Ort%: 5 is no index into the 2 classes"),
        (
            lambda g: g["Ort%25"].attrs.create("name", np.bytes_("width/height.2")),
            "/targets: two have the same name",
        ),
        (lambda g: g["Ort%25"].attrs.modify("classes", ["a", "b"]), "its texts do not match"),
    ],
)
def test_targets_that_are_not_what_they_should_be_are_refused(path, change, message):
    made(targets=tasks()).save(path)
    with h5py.File(path, "r+") as file:
        change(file["targets"])
    with pytest.raises(FeaturesError, match=message):
        load_features(path)


def test_a_flipped_byte_in_a_target_is_noticed(path):
    made(targets=tasks()).save(path)
    values = tasks()["width/height.2"].values.tobytes()
    content = bytearray(path.read_bytes())
    at = content.index(values)
    for k in range(0, len(values), 9):
        damaged = bytearray(content)
        damaged[at + k] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(FeaturesError, match=re.escape(str(path))):
            load_features(path)
