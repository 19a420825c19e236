import io
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from featx.data import from_arrays, load_dataset, study_notes
from featx.errors import DatasetError, ImageError, InputError

BATCH = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), np.uint8)


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.fromarray(BATCH[i]).save(tmp_path / name / f"{i}.png")
    return tmp_path


def test_a_dataset_is_taken_as_it_is():
    dataset = from_arrays(BATCH)
    assert load_dataset(dataset) is dataset


def test_a_folder_a_table_and_an_image_are_read(folder):
    assert len(load_dataset(folder)) == len(load_dataset(str(folder))) == 6
    (folder / "t.CSV").write_text("path,label\na/0.png,x\nb/0.png,y\n")
    assert load_dataset(folder / "t.CSV").classes == ("x", "y")
    single = load_dataset(folder / "a" / "0.png")
    assert single.ids == ["0.png"]
    assert single.labels is None
    assert np.array_equal(np.asarray(single.images[0].read().image()), BATCH[0])


def test_an_image_may_have_any_name_when_it_is_named_itself(folder):
    (folder / "a" / "0.png").rename(folder / "a" / "photo")
    assert load_dataset(folder / "a" / "photo").images[0].read().image().size == (5, 6)


def test_the_summary_is_printed_when_asked_for(folder, capsys):
    load_dataset(folder)
    assert capsys.readouterr() == ("", "")
    load_dataset(folder, verbose=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(
        f"{folder.name}: 6 images; 2 classes of 3 images: a, b\nnote: few images: 2 classes"
    )


def test_labelled_reaches_the_readers(folder):
    (folder / "t.csv").write_text("path\na/0.png\n")
    with pytest.raises(DatasetError, match="missing column label"):
        load_dataset(folder / "t.csv")
    assert load_dataset(folder / "t.csv", labelled=False).labels is None
    Image.fromarray(BATCH[0]).save(folder / "stray.png")
    labelled = load_dataset(folder)
    assert (len(labelled), labelled.reading.unlabelled) == (6, ("stray.png",))
    assert len(load_dataset(folder, labelled=False)) == 7


def test_a_name_is_known_and_a_folder_of_that_name_comes_first(folder, monkeypatch):
    assert load_dataset("digits").name == "digits"
    monkeypatch.chdir(folder)
    (folder / "a").rename(folder / "digits")
    assert load_dataset("digits").ids == ["0.png", "1.png", "2.png"]


def test_images_in_memory_are_taken_with_labels():
    assert load_dataset(BATCH, ["x", "y", "x", "y"]).classes == ("x", "y")
    assert load_dataset(list(BATCH), [1, 2, 1, 2]).labels.tolist() == [0, 1, 0, 1]
    assert len(load_dataset((BATCH[0], BATCH[1]))) == 2


def test_one_image_in_memory_is_a_dataset_of_one():
    file = io.BytesIO()
    Image.fromarray(BATCH[0]).save(file, "PNG")
    for one in (Image.fromarray(BATCH[0]), file.getvalue()):
        dataset = load_dataset(one)
        assert len(dataset) == 1
        assert np.array_equal(np.asarray(dataset.images[0].read().image()), BATCH[0])


def test_columns_of_a_data_frame_are_lists(folder):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"p": [str(folder / "a" / "0.png")], "y": ["x"]})
    assert load_dataset(frame["p"], frame["y"]).classes == ("x",)


def test_torch_datasets_and_tensors_are_taken():
    torch = pytest.importorskip("torch")
    images = torch.from_numpy(BATCH.transpose(0, 3, 1, 2).copy())
    dataset = load_dataset(torch.utils.data.TensorDataset(images, torch.tensor([0, 1, 0, 1])))
    assert dataset.labels.tolist() == [0, 1, 0, 1]
    tensor = load_dataset(images, [0, 1, 0, 1])
    for made in (dataset, tensor):
        assert np.array_equal(np.asarray(made.images[2].read().image()), BATCH[2])


def test_rows_that_are_no_images_fail_when_they_are_read_if_asked():
    rows = [BATCH[0], None, 7, BATCH[1] / 2, BATCH[1]]
    with pytest.raises(DatasetError, match="arrays, row 1: no image"):
        load_dataset(rows, list("ababa"))
    dataset = load_dataset(rows, list("ababa"), on_error="skip")
    assert len(dataset) == 5
    for i, image in enumerate(dataset.images):
        if i in (1, 2, 3):
            with pytest.raises(ImageError, match=f"^{i}: arrays, row {i}: "):
                image.read()
        else:
            assert image.read().image().size == (5, 6)


def test_an_item_without_an_image_fails_when_it_is_read():
    class Items:
        def __len__(self):
            return 2

        def __getitem__(self, i):
            return (None if i else BATCH[0] / 255), i

    images = load_dataset(Items()).images
    assert np.array_equal(np.asarray(images[0].read().image()), BATCH[0])
    with pytest.raises(ImageError, match=r"^1: no image, got None"):
        images[1].read()


@pytest.mark.parametrize("data", ["x" * 5000, "a/" + "x" * 5000 + ".csv", "~nobody-of-that-name/x"])
def test_a_path_that_no_system_takes_is_one_error(data):
    with pytest.raises(DatasetError):
        load_dataset(data)


def test_a_limit_is_stratified_and_seeded(folder):
    assert np.bincount(load_dataset(folder, limit=4).labels).tolist() == [2, 2]
    assert load_dataset(folder, limit=4, seed=1).ids == load_dataset(folder, limit=4, seed=1).ids
    assert len(load_dataset(folder, limit=99)) == 6
    with pytest.raises(InputError, match="limit must be"):
        load_dataset(folder, limit=0)


def test_labels_are_refused_where_they_would_be_ignored(folder):
    for data in (folder, from_arrays(BATCH), "digits"):
        with pytest.raises(DatasetError, match="brings its own labels"):
            load_dataset(data, [0, 1])

    class Items(list):
        pass

    assert load_dataset(Items(BATCH), [0, 1, 0, 1]).classes == ("0", "1")


def test_a_misspelt_name_gets_the_nearest():
    with pytest.raises(DatasetError) as caught:
        load_dataset("fashion-minst")
    assert str(caught.value) == (
        "'fashion-minst' is no folder, no table and no named dataset: "
        "unknown dataset 'fashion-minst'; did you mean fashion-mnist?"
    )


@pytest.mark.parametrize("data", ["photos/", "gone.csv", "/no/such/folder", "~/no-such-folder", "a/b"])
def test_a_path_that_does_not_exist_is_called_so(data):
    with pytest.raises(DatasetError, match=r"no such file or folder; expected a folder, a table"):
        load_dataset(data)


@pytest.mark.parametrize("name", ["features.h5", "features.HDF5"])
def test_a_file_of_features_is_named_as_such(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x89HDF")
    with pytest.raises(DatasetError, match="a file of features, not of inputs; open it with open_features"):
        load_dataset(tmp_path / name)


def test_a_file_that_is_neither_table_nor_image_is_refused(tmp_path):
    (tmp_path / "notes.log").write_text("x")
    with pytest.raises(
        DatasetError, match=r"notes.log: neither a table \(.csv, .*\) nor an image, nor audio, nor a text"
    ):
        load_dataset(tmp_path / "notes.log")


@pytest.mark.parametrize(
    ("data", "got"), [(3, "int"), (None, "NoneType"), ({"a": 1}, "dict"), (iter([]), "list_iterator")]
)
def test_anything_else_is_refused_with_what_is_taken(data, got):
    with pytest.raises(DatasetError, match=f"expected a folder, .* or the name of a dataset; got {got}"):
        load_dataset(data)


def test_datasets_import_neither_torch_nor_sklearn_nor_matplotlib():
    heavy = ("torch", "sklearn", "matplotlib")
    code = f"import sys, featx.data; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_what_is_no_data_is_told_apart_and_archives_in_a_folder_are_left_out(tmp_path, folder):
    archive = shutil.make_archive(str(tmp_path / "photos"), "zip", folder)
    assert load_dataset(archive).classes == load_dataset(folder).classes
    shutil.copy(archive, tmp_path / "letter.docx")
    with pytest.raises(DatasetError, match=r"letter\.docx: a zip archive; unzip it; expected a folder"):
        load_dataset(tmp_path / "letter.docx")
    (tmp_path / "notes.log").write_text("secret")
    with pytest.raises(DatasetError, match=r"notes\.log: neither a table \(\.csv, .*\) nor an image"):
        load_dataset(tmp_path / "notes.log")
    (folder / "notes.log").unlink()
    (folder / "letter.docx").unlink()
    (said,) = [line for line in study_notes(load_dataset(folder)) if line.startswith("left out")]
    assert said == "left out: 1 archive (give it by itself to have its images read): photos.zip"
