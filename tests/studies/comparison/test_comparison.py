"""The comparison on small images: identical splits, sound results, everything written or nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pictures import BACKBONE, OTHER, QUICK, write_photos

import featx.energy
from featx import compare, extract, learning_curve
from featx.data.splits import make_split
from featx.errors import DatasetError, InputError, OutputError, UnknownName
from featx.report import render
from featx.studies.comparison import Comparison

SMALL = {"backbones": BACKBONE, "weights": None, "image_size": 32, "n_boot": 50}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    import os

    root = tmp_path_factory.mktemp("comparison")
    os.environ["FEATX_CACHE"] = str(root / "cache")
    write_photos(root / "data" / "train", 10)
    write_photos(root / "data" / "test", 6, seed=500)
    return compare(root / "data", **SMALL, classifiers=["logreg", "knn"], epochs=1)


def test_every_kind_of_method_is_compared(result):
    assert [(m.name, m.kind) for m in result.methods] == [
        ("majority", "floor"),
        ("pixels", "floor"),
        ("logreg", "probe"),
        ("knn", "probe"),
        ("finetune-head", "finetune"),
        ("finetune-last", "finetune"),
        ("finetune-full", "finetune"),
    ]


def test_every_method_met_the_same_test_images(result):
    assert result.dataset["n_train"] == 30
    assert result.dataset["n_test"] == 18
    for method in result.methods:
        assert np.array(method.confusion).sum(axis=1).tolist() == [6, 6, 6]


def test_metrics_agree_with_the_confusion_matrix(result):
    for method in result.methods:
        confusion = np.array(method.confusion)
        assert method.metrics["top1"].value == pytest.approx(np.trace(confusion) / confusion.sum())
        for interval in method.metrics.values():
            # There are no bounds where nothing varies, such as the log loss of the majority class.
            assert not interval.low > interval.value + 1e-9
            assert not interval.value > interval.high + 1e-9


def test_the_majority_reference_is_chance_and_colours_are_easy(result):
    by_name = {m.name: m for m in result.methods}
    assert by_name["majority"].metrics["top1"].value == pytest.approx(1 / 3)
    assert by_name["pixels"].metrics["top1"].value > 0.9


def test_all_but_the_best_are_tested_against_it(result):
    best = result.best()
    assert best.kind != "floor"
    assert best.versus_best is None
    for method in result.methods:
        if method is not best:
            assert method.versus_best["method"] == best.name
            assert 0 <= method.versus_best["p_value"] <= 1
            assert -0.5 <= method.versus_best["effect"] <= 0.5
            assert method.versus_best["p_mid"] <= method.versus_best["p_value"]


def test_p_values_are_adjusted_for_all_pairs_of_competing_methods(result):
    for method in result.methods:
        if method.kind == "floor":
            assert method.versus_best["p_holm"] is None
            assert "p_adjusted" not in method.versus_best
        elif method.versus_best is not None:
            p, adjusted = method.versus_best["p_value"], method.versus_best["p_holm"]
            # Five compete, so ten pairs; nothing is adjusted by less than nothing or more than all of them.
            assert min(1, p) <= adjusted <= min(1, 10 * max(p, 0.1))
            test = method.versus_best
            assert min(1, p) <= test["p_adjusted"] <= 1
            assert test["low_adjusted"] <= test["low"] <= test["difference"] + 1e-9
            assert test["difference"] - 1e-9 <= test["high"] <= test["high_adjusted"]
            assert 0 < test["detectable"] <= 1


def test_joules_are_known_only_where_the_machine_counts_them(result, photos, monkeypatch, tmp_path):
    assert all(set(m.joules) == {"extract", "fit"} for m in result.methods)
    counter = tmp_path / "intel-rapl:0"
    counter.mkdir()
    (counter / "name").write_text("package-0")
    (counter / "max_energy_range_uj").write_text("1000000000000")
    (counter / "energy_uj").write_text("0")
    read = featx.energy._number

    def going_on(path):
        path.write_text(str(int(read(path)) + 3_000_000))
        return read(path)

    monkeypatch.setattr("featx.energy._number", going_on)
    monkeypatch.setattr("featx.energy._nvml", list)
    monkeypatch.setattr("featx.studies.comparison.Meter", lambda: featx.energy.Meter(tmp_path))
    options = SMALL | {"classifiers": "lda", "baseline": "head"}
    first, again = compare(photos, **options), compare(photos, **options)
    assert first.environment["energy"] == "processor"
    for method in first.methods:
        extract = 0 if method.kind == "floor" else pytest.approx(3.0)
        assert method.joules == {"extract": extract, "fit": pytest.approx(3.0)}
    by_name = {m.name: m for m in again.methods}
    assert by_name["lda"].joules["extract"] is None, "nothing was computed, so nothing was measured"
    assert "Joules: processor" in render(first)
    assert "Joules" not in render(again)


def test_fine_tuned_modes_keep_their_curves(result):
    for method in result.methods:
        if method.kind == "finetune":
            curves = method.curves
            assert {"train_loss", "train_accuracy", "val_loss", "val_accuracy", "best_epoch"} <= set(curves)
            assert len(curves["epoch"]) == len(curves["val_loss"]) > 0
        else:
            assert method.curves is None


def test_costs_are_split(result):
    by_name = {m.name: m for m in result.methods}
    assert by_name["logreg"].seconds["extract"] > 0
    assert by_name["logreg"].seconds["fit"] > 0
    assert by_name["logreg"].seconds["predict_per_image"] > 0
    assert by_name["pixels"].seconds["extract"] == 0


def test_save_writes_json_csv_and_a_report_without_network_access(result, tmp_path):
    report = result.save(tmp_path / "deep" / "out")
    files = {"results.json", "results.csv", "predictions.csv", "report.html"}
    assert {p.name for p in report.parent.iterdir()} == files
    data = json.loads((report.parent / "results.json").read_text())
    assert data["schema"] == 1
    assert len(data["methods"]) == 7
    html = report.read_text(encoding="utf-8")
    assert 'src="http' not in html
    assert 'href="http' not in html


def test_every_test_image_has_the_prediction_of_every_method(result, tmp_path):
    from featx.results import TestPredictions

    result.save(tmp_path)
    found = TestPredictions.read_csv(tmp_path / "predictions.csv")
    assert list(found.methods) == [m.name for m in result.methods]
    assert found.ids == result.test_predictions.ids
    assert [id.split("/")[1] for id in found.ids] == found.true.tolist()
    for m in result.methods:
        right = found[m.name].values == found.true
        assert right.mean() == pytest.approx(m.metric("top1").value)
        listed = [(x["id"], x["true"], x["predicted"]) for x in found.mistakes(m.name)]
        assert len(listed) == (~right).sum()
        if m.kind != "floor":
            assert [(x.id, x.true, x.predicted) for x in m.mistakes] == listed[: len(m.mistakes)]


def test_an_unwritable_folder_is_named(result, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file.*cannot be written"):
        result.save(tmp_path / "file" / "out")


def test_a_features_file_is_compared_without_images(split_photos, tmp_path):
    extract(split_photos, **QUICK).save(tmp_path / "f.h5")
    result = compare(tmp_path / "f.h5", classifiers=["lda"], n_boot=50)
    assert [m.name for m in result.methods] == ["majority", "lda"]
    assert result.forward_passes == 0
    assert result.training == {"data": str(tmp_path / "f.h5"), "classifier": "lda"}
    assert any("features file" in warning for warning in result.warnings)
    with pytest.raises(InputError, match="limit does not apply to features"):
        compare(tmp_path / "f.h5", limit=10)


def test_the_same_seed_gives_the_same_results(photos):
    options = SMALL | {"classifiers": ["svm", "forest"], "baseline": "none"}
    one, two = compare(photos, **options), compare(photos, **options)
    assert (one.forward_passes, two.forward_passes) == (24, 0)
    for a, b in zip(one.methods, two.methods, strict=True):
        assert a.metrics == b.metrics
        assert a.confusion == b.confusion


def test_unreadable_images_are_left_out_of_everything(split_photos):
    (split_photos / "test" / "sky" / "bad.png").write_bytes(b"")
    result = compare(split_photos, **SMALL, classifiers=["knn"], baseline="head", on_error="skip")
    assert result.failures[0]["id"] == "test/sky/bad.png"
    assert result.dataset["n_test"] == 15
    assert [m.name for m in result.methods] == ["majority", "pixels", "knn", "finetune-head"]


def test_the_baseline_says_how_its_rate_was_found(photos):
    result = compare(photos, **SMALL, classifiers=["knn"], baseline=["full", "gradual"], epochs=1)
    tuned = [m for m in result.methods if m.kind == "finetune"]
    assert [m.name for m in tuned] == ["finetune-gradual", "finetune-full"]
    for method in tuned:
        search = method.params["search"]
        assert [trial["lr_backbone"] for trial in search] == method.params["lr_search"]
        assert method.params["lr_backbone"] in method.params["lr_search"]
        assert sum(trial["seconds"] for trial in search) < method.seconds["fit"]


def test_two_backbones_stand_in_one_table(photos, monkeypatch):
    # The colours of these photos are told apart by the raw pixels, so nothing would be recommended.
    monkeypatch.setattr(Comparison, "recommended", lambda self: self.methods[-2])
    result = compare(photos, **(SMALL | {"backbones": [BACKBONE, OTHER]}), classifiers="knn", baseline="none")
    assert [(m.name, m.backbone) for m in result.methods if m.kind == "probe"] == [
        ("knn", BACKBONE),
        ("knn", OTHER),
        ("ensemble", None),
    ]
    assert set(result.spaces) == {BACKBONE, OTHER}
    columns = ["majority", "pixels", f"knn {BACKBONE}", f"knn {OTHER}", "ensemble"]
    assert list(result.test_predictions.methods) == columns
    options = {"backbone": OTHER, "weights": "random", "image_size": 32}
    assert result.training == {"data": str(photos), "classifier": "knn", **options}
    assert result.next_steps[0].startswith(f"model = featx.train({str(photos)!r}, classifier='knn', ")


def test_groups_never_straddle_the_split(photos, tmp_path):
    rows = ["path,label,group"]
    for path in sorted(photos.rglob("*.png")):
        rows.append(f"{path},{path.parent.name},{path.parent.name}-{int(path.stem) // 2}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    features = extract(tmp_path / "t.csv", **QUICK)
    split = make_split(features.labels, groups=features.groups)
    assert not set(features.groups[split.train]) & set(features.groups[split.test])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classifiers": ["logrek"]}, "unknown classifier 'logrek'; did you mean logreg"),
        ({"baseline": "fintune"}, "unknown baseline 'fintune'; did you mean finetune"),
        ({"backbones": "mobilnet_v2"}, "unknown backbone 'mobilnet_v2'; did you mean .*mobilenet_v2"),
    ],
)
def test_unknown_names_get_the_nearest_ones(photos, options, message):
    with pytest.raises(UnknownName, match=message):
        compare(photos, **(SMALL | options))


@pytest.mark.parametrize("seed", [-1, 2**31, 1.0, True])
def test_a_seed_that_no_generator_takes_is_refused(photos, seed):
    with pytest.raises(InputError, match="seed must be a whole number from 0 to 2147483647"):
        compare(photos, **SMALL | {"seed": seed})
    with pytest.raises(InputError, match="seed must be a whole number from 0 to 2147483647"):
        learning_curve(photos, backbones=SMALL["backbones"], seed=seed)


def test_a_share_that_is_none_is_refused_before_any_work(photos, monkeypatch):
    monkeypatch.setattr(
        "featx.studies.comparison.study_data.extract_for_study", lambda *a, **o: pytest.fail("extracted")
    )
    with pytest.raises(InputError, match="test_size must lie between 0 and 1"):
        compare(photos, **SMALL | {"test_size": 3.5})


def test_one_class_only_is_refused(tmp_path):
    write_photos(tmp_path, 4, colours={"only": (9, 9, 9)})
    with pytest.raises(DatasetError, match="only"):
        compare(tmp_path, **SMALL)


def test_rows_that_are_not_finite_are_named_before_any_work(photos):
    features = extract(photos, **QUICK)
    features.embeddings[5, 0] = np.nan
    with pytest.raises(
        InputError, match=rf"features: row 5 \({features.ids[5]}\) has values that are not finite"
    ):
        compare(features, baseline="none")
