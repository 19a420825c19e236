"""Result types: what is the best, what the JSON holds, what the table shows."""

from __future__ import annotations

import csv
import dataclasses
import json
import math

import numpy as np
import pytest

from featx.errors import InputError, OutputError
from featx.metrics import METRICS, Interval, Metric
from featx.results import (
    NOT_STORED,
    ComparisonResult,
    MethodResult,
    Mistake,
    best_method,
    describe_environment,
    ranked_methods,
    write_atomically,
)
from featx.results.formats import (
    format_joules,
    format_metric,
    format_milliseconds,
    format_p,
    format_points,
    format_seconds,
)
from featx.results.tables import metric_column


def method(name: str, top1: float, kind: str = "probe", **more) -> MethodResult:
    metrics = {"top1": Interval(top1, top1 - 0.05, min(1.0, top1 + 0.05))} | more.pop("metrics", {})
    defaults = {"title": name.title(), "backbone": None if kind == "floor" else "net", "metrics": metrics}
    return MethodResult(name=name, kind=kind, **(defaults | more))


@pytest.fixture
def result() -> ComparisonResult:
    return ComparisonResult(
        dataset={
            "name": "leaves",
            "n_train": 30,
            "n_test": np.int64(10),
            "classes": ["a", "b"],
            "split": "drawn",
        },
        methods=[
            method(
                "knn",
                0.8,
                params={"n_neighbors": np.int64(5), "weights": None},
                seconds={"extract": 1.5, "fit": 0.25, "predict_per_image": 2e-3},
                versus_best={
                    "p_value": 0.03,
                    "difference": -0.1,
                    "low": -0.2,
                    "high": -0.01,
                    "method": "svm",
                },
                confusion=np.array([[4, 1], [1, 4]]),
            ),
            method("majority", 0.5, kind="floor"),
            method(
                "svm",
                0.9,
                metrics={"log_loss": Interval(math.inf, math.nan, math.nan)},
                confusion=[[5, 0], [1, 4]],
                mistakes=[Mistake("b/é \udcff.jpg", "b", "a", 0.75)],
                curves=[{"epoch": 1, "val_loss": 0.5}, {"epoch": 2, "val_loss": math.nan, "phase": "all"}],
            ),
        ],
        spaces={"net": {"layer": "fc", "preprocessing": {"crop": (224, 224)}}},
        forward_passes=40,
        failures=[{"id": "x.jpg", "reason": "empty"}],
        command="featx compare leaves/",
    )


def test_the_best_is_the_highest_top1_without_references(result):
    result.methods[1].metrics["top1"] = Interval(0.99)
    assert result.best().name == "svm"
    assert [m.name for m in ranked_methods(result.methods)] == ["majority", "svm", "knn"]


def test_nothing_but_references_has_no_best():
    assert best_method([method("majority", 0.5, kind="floor"), method("broken", math.nan)]) is None


def test_at_equal_top1_the_probe_comes_before_the_fine_tuned_baseline():
    tuned, probe = method("full", 0.9, kind="finetune"), method("svm", 0.9)
    assert best_method([tuned, probe]) is probe


def test_at_equal_top1_the_method_that_others_were_tested_against_stays_the_best():
    tested = method("svm", 0.9, versus_best={"p_value": 1.0, "method": "full"})
    untested = method("full", 0.9, kind="finetune")
    assert best_method([tested, untested]) is untested
    assert ranked_methods([tested, untested])[0] is untested


def test_at_equal_top1_log_loss_decides_between_probes():
    worse = method("a", 0.9, metrics={"log_loss": Interval(0.5)})
    better = method("b", 0.9, metrics={"log_loss": Interval(0.2)})
    assert best_method([worse, better]) is better


def test_json_round_trip_gives_the_same_result(result, tmp_path):
    result.write_json(tmp_path / "out" / "results.json")
    again = ComparisonResult.read_json(tmp_path / "out" / "results.json")
    assert again.to_dict() == result.to_dict()
    assert again.methods[2].mistakes == [Mistake("b/é \udcff.jpg", "b", "a", 0.75)]
    assert math.isnan(again.methods[2].metric("log_loss").value)
    assert again.best().name == "svm"


def test_json_holds_the_documented_keys_and_no_nan(result, tmp_path):
    result.write_json(tmp_path / "results.json")
    text = (tmp_path / "results.json").read_text(encoding="utf-8")
    content = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert content["schema"] == 1
    assert set(content) == {
        "schema",
        "dataset",
        "spaces",
        "about",
        "methods",
        "forward_passes",
        "advice",
        "failures",
        "environment",
        "seed",
        "created",
        "seconds_total",
        "command",
        "warnings",
        "extraction",
        "repeats",
        "shared_groups",
        "group_effect",
        "hygiene",
        "search_for_copies",
        "ensemble",
        "fine_tuning",
        "baseline",
        "selection",
        "training",
        "next_steps",
        "units",
        "runs",
    }
    assert set(content["methods"][0]) == {
        "name",
        "title",
        "kind",
        "backbone",
        "image_size",
        "params",
        "metrics",
        "seconds",
        "versus_best",
        "versus_references",
        "confusion",
        "curves",
        "mistakes",
        "notes",
        "joules",
        "earlier_run",
    }
    assert content["methods"][0]["metrics"]["top1"] == {"value": 0.8, "low": 0.75, "high": 0.8500000000000001}
    assert content["methods"][2]["metrics"]["log_loss"] == {"value": None, "low": None, "high": None}
    assert content["methods"][0]["params"] == {"n_neighbors": 5, "weights": None}
    assert content["methods"][0]["confusion"] == [[4, 1], [1, 4]]
    assert content["methods"][2]["curves"] == {
        "epoch": [1, 2],
        "val_loss": [0.5, None],
        "phase": [None, "all"],
    }
    assert content["spaces"]["net"]["preprocessing"]["crop"] == [224, 224]
    assert "é" in text, "text stays readable"


def test_a_field_that_is_not_stored_stays_out_of_the_file(result):
    @dataclasses.dataclass
    class WithPictures(ComparisonResult):
        thumbnails: dict = dataclasses.field(default_factory=dict, metadata=NOT_STORED)

    own = WithPictures(dataset={}, methods=result.methods, thumbnails={"a": b"jpeg"})
    assert "thumbnails" not in own.to_dict()
    assert isinstance(WithPictures.from_dict(own.to_dict()), WithPictures)


@pytest.mark.parametrize("content", [{}, {"schema": 2, "methods": []}, []])
def test_another_schema_is_refused_with_both_numbers(content):
    with pytest.raises(InputError, match="schema 1 expected, got"):
        ComparisonResult.from_dict(content)


@pytest.mark.parametrize("damage", ["methods", "dataset"])
def test_a_damaged_result_is_named(result, damage):
    content = result.to_dict()
    del content[damage]
    with pytest.raises(InputError, match=damage):
        ComparisonResult.from_dict(content)


def test_unknown_fields_of_a_later_release_are_ignored(result):
    content = result.to_dict()
    content["later"] = content["methods"][0]["later"] = 1
    assert ComparisonResult.from_dict(content).to_dict() == result.to_dict()


def test_reading_something_else_names_the_file(tmp_path):
    (tmp_path / "results.json").write_text("{")
    for name in ("results.json", "missing.json"):
        with pytest.raises(InputError, match=name):
            ComparisonResult.read_json(tmp_path / name)


def test_frame_has_one_row_a_method_the_best_first(result):
    frame = result.to_frame()
    assert list(frame["name"]) == ["svm", "knn", "majority"]
    knn = frame.set_index("name").loc["knn"]
    assert (knn["top1"], knn["top1_low"], knn["seconds_fit"], knn["p_value_vs_best"]) == (
        0.8,
        0.75,
        0.25,
        0.03,
    )
    assert json.loads(knn["params"]) == {"n_neighbors": 5, "weights": None}
    assert ComparisonResult(dataset={}, methods=[]).to_frame().empty


def test_csv_is_the_frame(result, tmp_path):
    result.write_csv(tmp_path / "results.csv")
    with open(tmp_path / "results.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["svm", "knn", "majority"]
    assert float(rows[1]["top1"]) == 0.8


def test_table_shows_intervals_costs_and_the_paired_test(result):
    heading, _, *lines = result.table().splitlines()
    assert heading.startswith("leaves: 30 training and 10 test images, 2 classes")
    assert lines[0].split()[:2] == ["method", "top-1"]
    assert lines[2].startswith("Svm")
    assert "0.900 [0.850, 0.950]" in lines[2]
    assert lines[2].endswith("best")
    assert lines[3].split()[-4:] == ["-", "0.2", "2.0", "0.030"]
    assert "Majority (reference)" in lines[4]
    assert len({len(line) for line in lines[:2]}) == 1


def test_table_names_the_backbone_when_there_are_several(result):
    result.methods[0].backbone = "other"
    assert "Knn · other" in result.table()


def test_an_unknown_kind_is_refused():
    with pytest.raises(InputError, match="kind must be one of probe, finetune, floor, got 'magic'"):
        MethodResult("a", "A", "magic")


def test_a_history_with_its_best_epoch_becomes_lists():
    m = method("full", 0.9, curves={"epochs": [{"epoch": 1, "val_loss": 0.4}], "best_epoch": 1})
    assert m.curves == {"epoch": [1], "val_loss": [0.4], "best_epoch": 1}


def test_cost_is_extraction_and_fit_as_far_as_known():
    assert method("a", 0.9, seconds={"extract": 2.0, "fit": 1.0}).cost == 3.0
    assert method("a", 0.9, seconds={"extract": None, "fit": 1.0}).cost == 1.0
    assert math.isnan(method("a", 0.9).cost)


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    target = tmp_path / "results.json"
    write_atomically(target, "old")
    monkeypatch.setattr(
        "os.replace", lambda *a: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(OutputError, match=r"results\.json: cannot be written: No space left"):
        write_atomically(target, "new")
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_atomically(tmp_path / "file" / "results.json", "x")


def test_environment_names_versions_and_is_json():
    found = describe_environment("cuda: H100")
    assert found["python"]
    assert found["numpy"] == np.__version__
    assert found["device"] == "cuda: H100"
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("p", "text"), [(0.0004, "<0.001"), (0.0312, "0.031"), (0.5, "0.50"), (1.0, "1.00"), (math.nan, "-")]
)
def test_p_values_as_people_write_them(p, text):
    assert format_p(p) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.0, "<1 ms"),
        (0.012, "12 ms"),
        (0.25, "0.25 s"),
        (7.64, "7.6 s"),
        (68, "68 s"),
        (265, "4.4 min"),
        (9000, "2.5 h"),
        (math.nan, "-"),
    ],
)
def test_durations_as_people_write_them(seconds, text):
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("joules", "text"),
    [(None, "-"), (3.21, "3.2 J"), (42, "42 J"), (999.7, "1.0 kJ"), (123456, "123 kJ"), (2.5e6, "2.5 MJ")],
)
def test_energies_as_people_write_them(joules, text):
    assert format_joules(joules) == text


def test_the_table_says_that_no_difference_is_shown(result):
    result.methods[0].versus_best |= {"p_holm": 0.06}
    assert "no difference shown (p 0.060)" in result.table()
    assert result.methods[0].p_value == 0.03


def test_other_numbers_as_people_write_them():
    assert [format_points(x) for x in (0.0171, -0.042, -0.0001, math.nan)] == ["+1.7", "−4.2", "0.0", "-"]
    assert [format_milliseconds(x) for x in (1e-6, 3e-4, 2e-3, 0.017, None)] == [
        "<0.01",
        "0.30",
        "2.0",
        "17",
        "-",
    ]
    assert str(Interval(math.nan)) == "-"
    assert str(Interval(0.5)) == "0.500"


def test_the_table_of_metrics_says_which_way_is_better(monkeypatch):
    monkeypatch.setitem(METRICS, "loops", Metric("loops", "loops per image", higher_is_better=False))
    few, many = (method(str(n), 0.5, metrics={"loops": Interval(n)}) for n in (1, 2))
    assert best_method([many, few], "loops") is few
    assert [m.name for m in ranked_methods([many, few], "loops")] == ["1", "2"]
    column = metric_column("loops", interval=True)
    assert column.title == "loops per image [95 %]"
    assert column.text(None, few) == "1.000"
    assert (format_metric("mae", Interval(1234.5)), format_metric("r2", Interval(0.5))) == ("1234", "0.500")


def test_a_network_with_random_weights_is_called_so(result):
    assert result.networks() == ["net"]
    result.spaces = {"net": {"backbone": {"weights": "random"}}}
    assert result.networks() == ["net with random weights"]
