import sys
from unicodedata import normalize

import pytest
from PIL import Image

from featx.data import SKIP_HINT, from_arrays, load_dataset, read_table
from featx.errors import DatasetError, ImageError, MissingExtra


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "img").mkdir()
    for name in "abcdef":
        Image.new("RGB", (2, 2), (ord(name), 0, 0)).save(tmp_path / "img" / f"{name}.png")
    return tmp_path


def table(folder, text, name="t.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def error(folder, text, **options):
    with pytest.raises(DatasetError) as caught:
        read_table(table(folder, text), **options)
    message = str(caught.value)
    assert message.startswith(str(folder / "t.csv"))
    assert "\n" not in message
    return message.removeprefix(str(folder / "t.csv"))


def parquet(folder, columns):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as format

    path = folder / "t.parquet"
    format.write_table(pyarrow.table(columns), path)
    return path


# Reading


def test_paths_are_relative_to_the_table_or_absolute(folder):
    path = table(folder, f"path,label\nimg/a.png,cat\n{folder}/img/b.png,dog\n")
    dataset = read_table(path)
    assert dataset.ids == ["img/a.png", f"{folder}/img/b.png"]
    assert dataset.classes == ("cat", "dog")
    assert dataset.labels.tolist() == [0, 1]
    assert dataset.splits is dataset.groups is None
    assert dataset.name == "t"
    assert [i.read().image().getpixel((0, 0))[0] for i in dataset.images] == [ord("a"), ord("b")]


def test_split_group_and_further_columns(folder):
    text = "note,Group, SPLIT ,label,path\nx,p1,Training,u,img/a.png\n"
    text += "y,p2,valid,u,img/b.png\nz,p3,test,u,img/c.png\n"
    dataset = read_table(table(folder, text))
    assert dataset.splits.tolist() == ["train", "val", "test"]
    assert dataset.groups.tolist() == ["p1", "p2", "p3"]


def test_labels_that_are_all_whole_numbers_are_ordered_as_numbers(folder):
    rows = "".join(f"img/{name}.png,{label}\n" for name, label in zip("abc", ("10", "9", "-1"), strict=True))
    dataset = read_table(table(folder, "path,label\n" + rows))
    assert dataset.classes == ("-1", "9", "10")
    assert dataset.labels.tolist() == [2, 1, 0]
    dataset = read_table(table(folder, "path,label\n" + rows + "img/d.png,x\n"))
    assert dataset.classes == ("-1", "10", "9", "x")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_what_spreadsheets_write_is_read(folder, separator, newline, encoding):
    lines = ["path,label", "img/a.png,Größe", "", '"img/b.png","猫"', ",", ""]
    text = newline.join(lines).replace(",", separator)
    dataset = read_table(table(folder, text, encoding=encoding))
    assert dataset.classes == ("Größe", "猫")
    assert len(dataset) == 2


def test_a_quoted_field_may_hold_separators_and_line_breaks(folder):
    dataset = read_table(table(folder, 'path,label\nimg/a.png,"red, or\nso"\nimg/b.png,"say ""x"""\n'))
    assert dataset.classes == ("red, or\nso", 'say "x"')


def test_unlabelled_tables_are_read_only_when_asked_for(folder):
    dataset = read_table(table(folder, "path\nimg/a.png\n"), labelled=False)
    assert dataset.labels is dataset.classes is None
    dataset = read_table(table(folder, "path,label\nimg/a.png,\nimg/b.png,\n"), labelled=False)
    assert dataset.labels is None
    dataset = read_table(table(folder, "path,label\nimg/a.png,x\n"), labelled=False)
    assert dataset.classes == ("x",)
    assert "missing column label" in error(folder, "path\nimg/a.png\n")


def test_parquet_is_read_like_csv(folder):
    columns = {
        "path": ["img/a.png", "img/b.png"],
        "label": [10, 9],
        "split": ["train", "test"],
        "x": [1.5, 2.5],
    }
    dataset = read_table(parquet(folder, columns | {"label": [9, 9], "group": [1, 2]}))
    assert dataset.groups.tolist() == [1, 2]
    assert dataset.groups.dtype.kind == "i"
    assert dataset.splits.tolist() == ["train", "test"]
    columns.pop("split")
    assert read_table(parquet(folder, columns)).classes == ("9", "10")


def test_parquet_categories_and_whole_floats_are_labels(folder):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"path": ["img/a.png", "img/b.png"], "label": pandas.Categorical(["u", "v"])})
    frame.to_parquet(folder / "t.parquet")
    assert read_table(folder / "t.parquet").classes == ("u", "v")
    assert read_table(parquet(folder, {"path": ["img/a.png"], "label": [3.0]})).classes == ("3",)


# Refusing


def test_a_missing_column_lists_those_found(folder):
    said = error(folder, "file,label\nimg/a.png,x\n")
    assert said == (
        ": missing column path; found: file, label; expected path or text, label and optionally split and "
        "group; rename 'file' to path"
    )
    assert "missing column path and label; found: none" in error(folder, "")
    assert "missing column path and label; found: a|b" in error(folder, "a|b\n1|2\n")


def test_two_columns_of_one_name_are_refused(folder):
    assert "2 columns are named label; keep one" in error(folder, "path,label,Label\nimg/a.png,x,y\n")


def test_a_table_without_rows_is_refused(folder):
    assert "has no rows" in error(folder, "path,label\n\n")


def test_a_blank_label_is_none_and_the_text_na_is_a_class(folder):
    dataset = read_table(table(folder, "path,label\nimg/a.png,NA\nimg/b.png, \nimg/c.png,nan\n"))
    assert dataset.labels is None
    assert dataset.tasks["label"].column().tolist() == ["NA", None, "nan"]
    kept = dataset.labelled()
    assert (kept.classes, kept.reading.unlabelled) == (("NA", "nan"), ("img/b.png",))


def test_a_class_of_the_test_split_needs_a_label_in_the_training_split(folder):
    text = "path,label,split\nimg/a.png,x,train\nimg/b.png,,train\nimg/c.png,y,test\n"
    assert "in test but not in train: 'y'" in error(folder, text)
    assert len(read_table(table(folder, text.replace("y,test", ",test")))) == 3


def test_a_missing_path_split_or_group_is_named(folder):
    assert error(folder, "path,label\n,x\n") == f", row 2, column path: no value; {SKIP_HINT}"
    head = "path,label,split,group\n"
    assert error(folder, head + "img/a.png,x,,g\n") == ", row 2, column split: no value"
    assert error(folder, head + "img/a.png,x,train,\n") == ", row 2, column group: no value"


def test_paths_that_do_not_exist_are_named_and_counted(folder):
    said = error(folder, "path,label\nimg/a.png,x\nimg/y.png,x\n")
    assert said == f", row 3, column path: no such file: {folder}/img/y.png; {SKIP_HINT}"
    rows = "".join(f"img/{i}.png,x\n" for i in range(5))
    said = error(folder, "path,label\nimg/a.png,x\n" + rows)
    assert f"no such file: {folder}/img/0.png (5 rows: img/0.png, img/1.png, img/2.png, ...)" in said
    assert "no such file" in error(folder, "path,label\nimg,x\n")


def test_the_same_path_twice_is_refused_however_it_is_written(folder):
    said = error(folder, "path,label\nimg/a.png,x\nimg/b.png,x\n./img/../img/a.png,y\n")
    assert said == ", row 4, column path: ./img/../img/a.png is already in row 2; remove one of them"


def test_an_unknown_split_is_named(folder):
    said = error(folder, "path,label,split\nimg/a.png,x,train\nimg/b.png,x,holdout\n")
    assert said == ", row 3, column split: unknown split 'holdout'; expected train, val or test"


def test_a_group_on_both_sides_is_named(folder):
    text = "path,label,split,group\nimg/a.png,x,train,p1\nimg/b.png,x,train,p2\nimg/c.png,x,test,p1\n"
    assert ", row 4, column group: group 'p1' is in test here and in train in row 2" in error(folder, text)


def test_a_class_in_test_but_not_in_train_is_named(folder):
    text = "path,label,split\nimg/a.png,x,train\nimg/b.png,y,test\n"
    assert "in test but not in train: 'y'" in error(folder, text)


def test_rows_of_another_length_are_named(folder):
    assert ", row 3: 3 fields where the header has 2" in error(
        folder, "path,label\nimg/a.png,x\nimg/b.png,x,y\n"
    )
    assert ", row 2: 1 fields where the header has 2" in error(folder, "path,label\nimg/a.png\n")


def test_text_that_is_no_csv_is_refused(folder):
    assert ", row 3: unexpected end of data" in error(
        folder, 'path,label\nimg/a.png,x\nimg/b.png,"x\nimg/c.png,x\n'
    )
    (folder / "t.csv").write_bytes("path,label\nimg/a.png,Gr\xf6sse\n".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"t.csv, row 2: not UTF-8 text"):
        read_table(folder / "t.csv")


def test_only_tables_are_read(folder):
    with pytest.raises(DatasetError, match="no such file"):
        read_table(folder / "gone.csv")
    with pytest.raises(
        DatasetError, match=r"not a table; expected a file ending in .csv, .tsv, .parquet, .jsonl or .json"
    ):
        read_table(table(folder, "path,label\n", name="t.txt"))


@pytest.mark.skipif(sys.platform == "win32", reason="permissions differ")
def test_a_table_that_cannot_be_read_is_named(folder, monkeypatch):
    def refuse(path, **limits):
        raise PermissionError(13, "Permission denied")

    path = table(folder, "path,label\n")
    monkeypatch.setattr("featx.data.readers.table.read_regular", refuse)
    with pytest.raises(DatasetError, match=r"t.csv: cannot be read \(Permission denied\)"):
        read_table(path)


def test_damaged_parquet_is_refused(folder):
    pytest.importorskip("pyarrow")
    (folder / "t.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(DatasetError, match=r"t.parquet: not a readable parquet file"):
        read_table(folder / "t.parquet")


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"path": ["img/a.png", None], "label": ["x", "y"]}, "row 2, column path: no value"),
        ({"path": ["img/a.png", "img/b.png"], "label": [None, None]}, "no input has a value in column label"),
        ({"path": [1, 2], "label": ["x", "y"]}, "row 1, column path: expected text, got 1"),
        (
            {"path": ["img/a.png", "img/b.png"], "label": [1.0, 2.5]},
            "row 2, column label: expected a class name .*2.5",
        ),
        (
            {"path": ["img/a.png"], "label": [[1, 2]]},
            "row 1, column label: expected a class name or a whole number",
        ),
        ({"file": ["img/a.png"], "label": ["x"]}, "missing column path; found: file, label"),
    ],
)
def test_bad_values_in_parquet_are_named(folder, columns, says):
    with pytest.raises(DatasetError, match=says):
        read_table(parquet(folder, columns))


def test_one_value_repeated_in_a_small_parquet_file_is_not_unpacked(folder):
    path = parquet(folder, {"path": ["img/a.png"] * 3_000_000, "label": ["x"] * 3_000_000})
    assert path.stat().st_size < 20_000
    with pytest.raises(DatasetError, match=r"t.parquet: refused: \d+ bytes that would grow to 3000000 rows"):
        read_table(path)


def test_one_long_value_repeated_in_a_parquet_file_is_not_unpacked(folder):
    path = parquet(folder, {"path": ["img/a.png"] * 5000, "label": ["x" * 10_000] * 5000})
    assert path.stat().st_size < 20_000
    with pytest.raises(DatasetError, match=r"t.parquet: refused: column label would grow to 50000000 bytes"):
        read_table(path)


def test_text_in_parquet_that_is_no_utf_8_is_refused(folder):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as format

    raw = pyarrow.array([b"img/a.png", b"\xff.png"], pyarrow.binary())
    bad = pyarrow.Array.from_buffers(pyarrow.string(), 2, raw.buffers())
    format.write_table(pyarrow.table({"path": bad, "label": ["x", "y"]}), folder / "t.parquet")
    with pytest.raises(DatasetError, match=r"t.parquet: not a readable parquet file \(.*utf-8"):
        read_table(folder / "t.parquet")
    format.write_table(pyarrow.table({"path": ["img/a.png", "img/b.png"], "kind": bad}), folder / "t.parquet")
    with pytest.raises(DatasetError, match=r"t.parquet: not a readable parquet file \(.*utf-8"):
        read_table(folder / "t.parquet")


def test_parquet_without_pyarrow_names_the_extra(folder, monkeypatch):
    (folder / "t.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"reading t.parquet needs .*pyarrow.*featx\[parquet\]"):
        load_dataset(folder / "t.parquet")


# Going on without bad rows


def test_rows_without_a_file_are_left_out_and_listed(folder):
    rows = "img/a.png,x\ngone.png,x\n ,y\nimg/b.png,y\nimg,x\n"
    dataset = read_table(table(folder, "path,label\n" + rows), on_error="skip")
    assert dataset.ids == ["img/a.png", "img/b.png"]
    assert dataset.classes == ("x", "y")
    assert list(map(str, dataset.reading.failures)) == [
        f"gone.png: no such file: {folder}/gone.png",
        "row 4: no value in column path",
        f"img: no such file: {folder}/img",
    ]


def test_a_table_of_which_nothing_is_left_is_refused(folder):
    said = error(folder, "path,label\ngone.png,x\n", on_error="skip")
    assert (
        said == f": no row has an image that is there; the first: gone.png: no such file: {folder}/gone.png"
    )


# Unicode forms


@pytest.mark.parametrize(("on_disk", "in_table"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_paths_are_found_in_either_unicode_form(folder, on_disk, in_table):
    there, here = (normalize(form, "Größe/ä.png") for form in (on_disk, in_table))
    mixed = normalize(in_table, "Größe/") + normalize(on_disk, "é.png")
    for name in (there, normalize(on_disk, "Größe/é.png")):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (2, 2)).save(folder / name)
    dataset = read_table(table(folder, f"path,label\n{here},x\n{mixed},y\n"))
    assert dataset.ids == [here, mixed]
    assert [image.read().image().size for image in dataset.images] == [(2, 2)] * 2
    other = folder / normalize(on_disk, "Tür")
    (other / "a").mkdir(parents=True)
    (other / "b").mkdir()
    for name in "ab":
        Image.new("RGB", (2, 2)).save(other / name / "1.png")
    assert len(load_dataset(folder / normalize(in_table, "Tür"))) == 2
    (image,) = from_arrays([str(folder / here)]).images
    assert image.read().image().size == (2, 2)


def test_columns_are_asked_for_in_either_unicode_form(folder):
    path = table(folder, f"path,{normalize('NFD', 'größe')}\nimg/a.png,x\nimg/b.png,y\n")
    assert list(read_table(path, label=normalize("NFC", "größe")).tasks) == [normalize("NFC", "größe")]


# What the table does not have


def test_columns_that_would_do_as_labels_are_named(folder):
    head, rows = (
        "path,id,kind,share\n",
        [f"img/{name}.png,{i},{'uv'[i % 2]},0.{i}1\n" for i, name in enumerate("abcd")],
    )
    said = error(folder, head + "".join(rows))
    assert said == (
        ": missing column label; found: path, id, kind, share; expected path, label and optionally split and "
        "group; 'kind' (2 values) would do: label='kind' (--label kind)"
    )
    dataset = read_table(folder / "t.csv", labelled=False)
    assert dataset.reading.notes == (
        "no column label, so no labels; found: path, id, kind, share; 'kind' (2 values) would do: "
        "label='kind' (--label kind)",
    )
    assert read_table(folder / "t.csv", label="kind").classes == ("u", "v")
    columns = {"path": ["img/a.png", "img/b.png"], "kind": ["u", "v"], "vector": [[1.0], [2.0]]}
    with pytest.raises(DatasetError, match=r"'kind' \(2 values\) would do"):
        read_table(parquet(folder, columns))


# What lies elsewhere


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_what_a_file_elsewhere_holds_is_not_quoted(folder):
    secret = folder / "secret.txt"
    secret.write_text("root:x:0:0:top secret")
    (folder / "data" / "a").mkdir(parents=True)
    (folder / "data" / "a" / "own.png").write_text("hello from inside")
    (folder / "data" / "a" / "link.png").symlink_to(secret)
    path = folder / "data" / "t.csv"
    path.write_text(
        f"path\n../secret.txt\n{secret}/../secret.txt\na/own.png\na/link.png\n".replace(
            f"{secret}/../", f"{folder}/./"
        )
    )
    with pytest.raises(DatasetError, match="already in row 2"):
        read_table(path, labelled=False)
    path.write_text("path\n../secret.txt\na/own.png\na/link.png\n")
    images = [*read_table(path, labelled=False).images, *load_dataset(folder / "data").images]
    for image in images:
        with pytest.raises(ImageError) as caught:
            image.read()
        inside = image.id == "a/own.png"
        assert ("hello" in str(caught.value)) == inside
        assert "root" not in str(caught.value)
        assert ("what it holds is not shown" in str(caught.value)) != inside


# Several columns


SEVERAL = "path,species,habitat,age\nimg/a.png,cat,wet,1.5\nimg/b.png,dog,,3\nimg/c.png,cat,dry,\n"


def test_columns_are_chosen_by_name_and_may_have_gaps(folder):
    dataset = read_table(table(folder, SEVERAL), label=["species", "habitat"], target="age")
    assert {name: task.kind for name, task in dataset.tasks.items()} == {
        "species": "classes",
        "habitat": "classes",
        "age": "number",
    }
    assert (dataset.classes, dataset.labels.tolist()) == (("cat", "dog"), [0, 1, 0])
    assert dataset.tasks["habitat"].values.tolist() == [1, -1, 0]
    assert dataset.tasks["age"].present.tolist() == [True, True, False]


def test_one_column_with_a_gap(folder):
    kept = read_table(table(folder, SEVERAL), label="habitat").labelled()
    assert (kept.label_name, len(kept), kept.labels.tolist()) == ("habitat", 2, [1, 0])
    kept = read_table(table(folder, SEVERAL), target="age").labelled()
    assert (kept.labels, len(kept), kept.targets["age"].present.all()) == (None, 2, True)


def test_one_column_is_the_label_by_another_name(folder):
    dataset = read_table(table(folder, SEVERAL), label="species")
    assert (dataset.labels.tolist(), dataset.targets, list(dataset.tasks)) == ([0, 1, 0], {}, ["species"])


def test_a_column_of_a_parquet_file_is_chosen_too(folder):
    path = parquet(folder, {"path": ["img/a.png", "img/b.png"], "age": [1, None], "kind": ["x", "y"]})
    dataset = read_table(path, label="kind", target=["age"])
    assert dataset.tasks["age"].values[0] == 1
    assert not dataset.tasks["age"].present[1]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"label": ["specie"]}, ": unknown column 'specie'; did you mean species?"),
        ({"target": ["species", "age"]}, ", row 2, column species: expected a finite number, got 'cat'"),
        ({"label": "age", "target": "age"}, ": column 'age' is asked for twice"),
        ({"label": "path"}, ": column path has a meaning of its own"),
    ],
)
def test_columns_that_cannot_be_tasks_are_named(folder, asked, message):
    assert error(folder, SEVERAL, **asked).startswith(message)


@pytest.mark.parametrize("value", ["inf", "nan", "1e999"])
def test_a_target_that_is_not_finite_is_refused(folder, value):
    text = SEVERAL.replace("1.5", value)
    assert error(folder, text, label="species", target="age").startswith(
        f", row 2, column age: expected a finite number, got '{value}'"
    )


def test_a_column_without_any_value_is_refused(folder):
    text = "path,a,b\nimg/a.png,x,\nimg/b.png,y,\n"
    assert error(folder, text, label=["a", "b"]) == ": no input has a value in column b"
