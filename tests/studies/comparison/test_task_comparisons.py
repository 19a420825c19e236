"""Several tasks from one extraction: each on its own split, everything in one folder."""

from __future__ import annotations

import json
import os
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from pictures import BACKBONE, QUICK, write_photos

from featx import compare, extract, load_dataset, load_features
from featx.errors import DatasetError, InputError
from featx.results import ComparisonResult, RegressionResult
from featx.studies.comparison import RegressionComparison, TaskComparisons

SMALL = {"backbones": BACKBONE, "weights": None, "image_size": 32, "n_boot": 50, "engine": "torch"}
FAST = {"classifiers": ["lda"], "regressors": ["ridge", "knn"], "baseline": "none"}


def write_table(root):
    """Photos of three colours; half have a habitat, all a size."""
    write_photos(root / "img", 10)
    rows = []
    for k, path in enumerate(sorted((root / "img").rglob("*.png"))):
        species = path.parent.name
        red = {"crimson": 200, "leaf": 40, "sky": 60}[species]
        habitat = "" if k % 3 == 0 else ("wet" if species == "sky" else "dry")
        rows.append((path.relative_to(root), species, habitat, f"{red + 0.1 * (k % 7):.2f}"))
    frame = pd.DataFrame(rows, columns=["path", "species", "habitat", "red"])
    frame.to_csv(root / "t.csv", index=False)
    return root / "t.csv"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("table"))


@pytest.fixture(scope="module")
def result(table, tmp_path_factory):
    before = os.environ.get("FEATX_CACHE")
    os.environ["FEATX_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    try:
        return compare(table, label=["species", "habitat"], target="red", **SMALL, **FAST)
    finally:
        if before is None:
            del os.environ["FEATX_CACHE"]
        else:
            os.environ["FEATX_CACHE"] = before


def test_every_image_meets_the_network_once_for_all_tasks(result):
    assert isinstance(result, TaskComparisons)
    assert list(result.tasks) == ["species", "habitat", "red"]
    assert result.forward_passes == 30


def test_no_image_goes_through_the_network_a_second_time(table, monkeypatch):
    from featx.engines.torch import TorchEngine

    seen = []
    run = TorchEngine.__call__

    def counting(self, pixels, *args, **kwargs):
        seen.append(len(pixels))
        return run(self, pixels, *args, **kwargs)

    monkeypatch.setattr(TorchEngine, "__call__", counting)
    options = FAST | {"classifiers": ["lda"], "regressors": ["ridge"]}
    one = compare(table, label="species", **SMALL, **(options | {"regressors": None}))
    alone = sum(seen)
    assert alone >= one.forward_passes == 30
    several = compare(table, label=["species", "habitat"], target="red", **SMALL, **options)
    assert (several.forward_passes, sum(seen)) == (0, alone)


def test_images_without_a_value_are_not_part_of_a_task(result):
    sizes = {name: r.dataset["n_train"] + r.dataset["n_test"] for name, r in result.tasks.items()}
    assert sizes == {"species": 30, "habitat": 20, "red": 30}
    assert result.tasks["habitat"].dataset["classes"] == ["dry", "wet"]


def test_a_task_gives_the_same_among_others_as_alone(table):
    features = extract(table, label=["species", "habitat"], target="red", **QUICK)
    several = compare(features, n_boot=50, **FAST)
    for task in ({"label": "species"}, {"label": "habitat"}, {"target": "red"}):
        (name,) = task.values()
        alone = compare(features, **task, n_boot=50, **FAST)
        assert isinstance(alone, type(several.tasks[name]))
        alike = several.tasks[name].to_dict()["methods"]
        assert [m["metrics"] for m in alone.to_dict()["methods"]] == [m["metrics"] for m in alike]


def test_one_task_says_nothing_of_tasks(photos):
    content = compare(photos, **SMALL, classifiers="lda", baseline="none").to_dict()
    assert "kind" not in content
    assert set(content["dataset"]) == {
        "name", "n_train", "n_test", "classes", "n_per_class_train", "n_per_class_test", "split",
    }  # fmt: skip


def test_colours_tell_how_red_an_image_is(result):
    red = result.tasks["red"]
    assert [(m.name, m.kind) for m in red.methods] == [
        ("mean", "floor"), ("pixels", "floor"), ("ridge", "probe"), ("knn", "probe"),
    ]  # fmt: skip
    by_name = {m.name: m for m in red.methods}
    assert by_name["pixels"].metric("r2").value > 0.8
    assert by_name["mean"].metric("r2").value <= 0
    best = red.best()
    assert best.versus_best is None
    errors = np.abs(np.subtract(red.truth, red.predictions))
    assert best.metric("mae").value == pytest.approx(errors.mean())
    for method in red.methods:
        if method is not best:
            assert method.versus_best["method"] == best.name
            difference = method.metric("mae").value - best.metric("mae").value
            assert method.versus_best["difference"] == pytest.approx(difference)
    assert any("no fine-tuned baseline" in warning for warning in red.warnings)


def test_everything_is_in_one_table(result):
    frame = result.to_frame()
    assert frame.columns[0] == "task"
    assert frame.groupby("task").size().to_dict() == {"habitat": 3, "red": 4, "species": 3}
    for word in ("species\n", "habitat\n", "red is predicted", "Spearman"):
        assert word in result.table()
    assert "red: Nothing to recommend: no method is" in result.advice, "eight test images show nothing"


class _Links(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.links, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name == "href" and tag == "a"]
        if tag in ("table", "section", "figure", "svg"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in ("table", "section", "figure", "svg"):
            assert self.open.pop() == tag


def test_saved_tasks_are_reached_from_one_page(result, tmp_path):
    page = result.save(tmp_path / "out")
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    assert content == {
        "schema": 1,
        "tasks": [
            {"name": "species", "kind": "classes", "folder": "species"},
            {"name": "habitat", "kind": "classes", "folder": "habitat"},
            {"name": "red", "kind": "number", "folder": "red"},
        ],
        "forward_passes": 30,
        "runs": [],
    }
    parsed = _Links(page.read_text(encoding="utf-8"))
    assert parsed.links == ["species/report.html", "habitat/report.html", "red/report.html"]
    assert not parsed.open
    for task in content["tasks"]:
        files = {p.name for p in (page.parent / task["folder"]).iterdir()}
        assert files == {"results.json", "results.csv", "predictions.csv", "report.html"}
    report = (page.parent / "red" / "report.html").read_text(encoding="utf-8")
    assert not _Links(report).open
    mae = result.tasks["red"].best().metric("mae").value
    assert f"{mae:.4g}" in report
    assert f"{mae:.4g}" in page.read_text(encoding="utf-8")
    assert 'src="data:image/jpeg' in report
    assert "no fine-tuned baseline" in report


def test_the_results_of_a_number_are_read_back_and_not_taken_for_classes(result, tmp_path):
    red = result.tasks["red"]
    red.write_json(tmp_path / "r.json")
    again = RegressionResult.read_json(tmp_path / "r.json")
    assert again.to_dict() == red.to_dict()
    assert again.table() == red.table()
    with pytest.raises(InputError, match="a result of kind 'number'; expected one of classes"):
        ComparisonResult.read_json(tmp_path / "r.json")


def test_a_features_file_is_compared_task_by_task_without_the_images(table, tmp_path):
    features = extract(table, label=["species", "habitat"], target="red", **QUICK)
    features.save(tmp_path / "f.h5")
    assert list(load_features(tmp_path / "f.h5").tasks) == ["species", "habitat", "red"]
    several = compare(tmp_path / "f.h5", n_boot=50, **FAST)
    assert list(several.tasks) == ["species", "habitat", "red"]
    assert several.forward_passes == 0
    one = compare(tmp_path / "f.h5", target="red", regressors="ridge", n_boot=50)
    assert [m.name for m in one.methods] == ["mean", "ridge"]
    assert one.methods[1].metrics == several.tasks["red"].methods[1].metrics
    with pytest.raises(InputError, match=r"f.h5: unknown label 'habitats'; did you mean habitat"):
        compare(tmp_path / "f.h5", label="habitats")
    with pytest.raises(InputError, match="red holds numbers; ask for it as a target"):
        compare(tmp_path / "f.h5", label="red")


def test_groups_and_given_splits_hold_for_every_task(table, tmp_path):
    frame = pd.read_csv(table)
    frame["path"] = [str(table.parent / p) for p in frame["path"]]
    frame["group"] = np.arange(30) // 2
    frame.to_csv(tmp_path / "g.csv", index=False)
    from featx.options import Network, Reading, Run
    from featx.studies.comparison.study_data import load_study_data

    def splits(path):
        material = load_study_data(
            extract(path, label=["species", "habitat"], target="red", **QUICK), None,
            backbones=[], network=Network(), reading=Reading(), run=Run(), test_size=0.25, seed=0,
        )  # fmt: skip
        for task in material.tasks.values():
            one = material.of_task(task)
            yield one, one.split(0.25, 0)

    for one, split in splits(tmp_path / "g.csv"):
        assert not set(one.first.groups[split.train]) & set(one.first.groups[split.test])
        assert len(split.test) > 0
    frame["split"] = np.where(np.arange(30) % 10 < 7, "train", "test")
    frame.drop(columns="group").to_csv(tmp_path / "s.csv", index=False)
    for one, split in splits(tmp_path / "s.csv"):
        assert split.origin == "given"
        assert set(one.first.splits[split.test]) == {"test"}


@pytest.mark.parametrize(
    ("columns", "asked", "message"),
    [
        ({"a": list("xyxyxyxy"), "b": [1.0] * 8}, {"label": "a", "target": "b"}, "column b.*all are alike"),
        ({"a": list("xyxyxyxz"), "b": list("xyxyxyxy")}, {"label": ["a", "b"]}, "column a: .*'z' has 1"),
        (
            {"a b": list("xyxyxyxy"), "a/b": list("xyxyxyxy")},
            {"label": ["a b", "a/b"]},
            "'a b' and 'a/b' would be saved in one folder, a-b; rename one",
        ),
    ],
)
def test_tasks_that_cannot_be_compared_are_refused_before_any_work(photos, columns, asked, message):
    paths = sorted(photos.rglob("*.png"))[:8]
    with pytest.raises(InputError, match=message):
        compare([str(p) for p in paths], columns, **asked, backbones="never-loaded")


def test_an_unknown_regressor_gets_the_nearest_name(photos):
    with pytest.raises(InputError, match="unknown regressor 'rigde'; did you mean ridge"):
        compare(photos, regressors="rigde")


def test_a_number_alone_is_compared_from_its_table(table):
    alone = compare(table, target="red", **SMALL, regressors="ridge")
    assert isinstance(alone, RegressionComparison)
    assert [m.name for m in alone.methods] == ["mean", "pixels", "ridge"]
    assert alone.dataset["task"] == "red"


def test_unreadable_images_are_left_out_of_every_task(table, tmp_path):
    frame = pd.read_csv(table)
    frame["path"] = [str(table.parent / p) for p in frame["path"]]
    (tmp_path / "bad.png").write_bytes(b"")
    frame.loc[4, "path"] = "bad.png"
    frame.to_csv(tmp_path / "t.csv", index=False)
    options = SMALL | FAST | {"regressors": "ridge"}
    result = compare(tmp_path / "t.csv", label="species", target="red", on_error="skip", **options)
    assert [f["id"] for f in result.failures] == ["bad.png"]
    assert {r.dataset["n_train"] + r.dataset["n_test"] for r in result.tasks.values()} == {29}


def test_columns_are_asked_of_tables_only(photos):
    with pytest.raises(
        DatasetError, match=r"label .--label. chooses a column of a table, and this is no table"
    ):
        load_dataset(photos, label="species")


def test_one_extractor_serves_estimators_of_several_outputs(table):
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.multioutput import MultiOutputClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from featx import FeatureExtractor

    dataset = load_dataset(table, label=["species", "habitat"], target="red")
    frame = dataset.targets_frame()
    kept = frame["habitat"].notna().to_numpy()
    paths = [str(table.parent / id) for id in frame.index[kept]]
    y = frame[kept]
    extractor = FeatureExtractor(BACKBONE, weights=None)
    classes = make_pipeline(
        extractor, StandardScaler(), MultiOutputClassifier(LogisticRegression(max_iter=2000))
    )
    predicted = classes.fit(paths, y[["species", "habitat"]].to_numpy()).predict(paths)
    assert predicted.shape == (20, 2)
    assert (predicted == y[["species", "habitat"]].to_numpy()).mean() > 0.9
    numbers = make_pipeline(extractor, StandardScaler(), Ridge())
    both = np.column_stack([y["red"], -y["red"]])
    assert numbers.fit(paths, both).score(paths, both) > 0.9
