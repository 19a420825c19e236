"""A new kind of result declares fields and columns; files, tables and text forms come with it."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from featx.errors import InputError, OutputError
from featx.metrics import Interval
from featx.results import (
    NOT_STORED,
    AnomalyResult,
    Column,
    ComparisonResult,
    CurveDraw,
    CurveLevel,
    CurveMethod,
    CurvePoint,
    CurveResult,
    DetectorResult,
    DomainMethod,
    DomainResult,
    MethodResult,
    RegressionResult,
    Result,
)
from featx.results.ranking import Candidate, RankingResult
from featx.results.similarity import SimilarityResult
from featx.results.tables import MOST_ROWS, align_columns


@dataclass
class Part:
    name: str
    score: Interval
    seconds: dict[str, float] = field(default_factory=dict)
    size: int | None = None


@dataclass
class Audit(Result):
    kind: ClassVar[str] = "audit"
    title: ClassVar[str] = "quality audit"
    rows: ClassVar[str] = "parts"
    columns: ClassVar[Sequence[Column]] = (
        Column("part", "name"),
        Column("score [95 %]", "score"),
        Column("fit s", lambda _, part: part.seconds.get("fit"), "{:.1f}"),
    )

    dataset: dict[str, Any]
    parts: list[Part]
    pictures: dict[str, bytes] = field(default_factory=dict, metadata=NOT_STORED)


@pytest.fixture
def audit() -> Audit:
    parts = [Part("a", Interval(0.5, 0.25, 0.75), {"fit": 1.25}, 3), Part("<b>", Interval(math.nan))]
    return Audit({"name": "leaves"}, parts, {"a": b"jpeg"})


def test_a_declared_result_is_written_and_read_back(audit, tmp_path):
    assert audit.save(tmp_path / "out") == tmp_path / "out" / "results.json"
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"results.json", "results.csv"}
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    assert content == {
        "schema": 1,
        "kind": "audit",
        "dataset": {"name": "leaves"},
        "parts": [
            {
                "name": "a",
                "score": {"value": 0.5, "low": 0.25, "high": 0.75},
                "seconds": {"fit": 1.25},
                "size": 3,
            },
            {"name": "<b>", "score": {"value": None, "low": None, "high": None}, "seconds": {}, "size": None},
        ],
    }
    again = Audit.read_json(tmp_path / "out" / "results.json")
    assert again.to_dict() == audit.to_dict()
    assert again.parts[0] == audit.parts[0]
    assert again.pictures == {}
    with open(tmp_path / "out" / "results.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {
        "name": "a",
        "score": "0.5",
        "score_low": "0.25",
        "score_high": "0.75",
        "seconds_fit": "1.25",
        "size": "3",
    }
    assert rows[1]["score"] == rows[1]["size"] == ""


def test_its_table_repr_and_notebook_view(audit):
    assert audit.table().splitlines() == [
        "leaves",
        "",
        "part          score [95 %]  fit s",
        "----  --------------------  -----",
        "a     0.500 [0.250, 0.750]    1.2",
        "<b>                      -      -",
    ]
    assert repr(audit) == "Audit(leaves)"
    page = audit._repr_html_()
    assert "<th>&lt;b&gt;</th><td>-</td>" in page
    assert "<td>0.500 [0.250, 0.750]</td>" in page
    audit.dataset["name"] = "<i>\n\x1b[2J" + "x" * 5000
    audit.parts = [Part(str(i), Interval(0.5)) for i in range(MOST_ROWS + 7)]
    assert len(repr(audit)) == len("Audit()") + 200
    for text in (repr(audit), page := audit._repr_html_()):
        assert "\x1b" not in text
        assert "\n" not in text
    assert "<i>" not in page
    assert page.count("<tr>") == 1 + MOST_ROWS + 1
    assert "… 7 more" in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "not a quality audit this featx can read: schema 1 expected, got 2"),
        ({"schema": True}, "schema 1 expected, got True"),
        ({"kind": "ranking"}, "a result of kind 'ranking'; expected one of audit"),
        ({"parts": 3}, "a damaged quality audit: parts must be a list, got 3"),
        ({"parts": [{"name": "a"}]}, r"a damaged quality audit: parts\[0\]\.score is missing"),
    ],
)
def test_what_is_no_such_result_is_refused_in_one_line(audit, tmp_path, change, message):
    (tmp_path / "r.json").write_text(json.dumps(audit.to_dict() | change))
    with pytest.raises(InputError, match=rf"r\.json: .*{message}") as caught:
        Audit.read_json(tmp_path / "r.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xff", b"[" * 100_000, b"1" * 10_000, b"[]", b"null", b"{"])
def test_a_file_that_is_no_result_is_refused(tmp_path, content):
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(InputError, match=r"r\.json: not a "):
        Audit.read_json(tmp_path / "r.json")
    with pytest.raises(InputError, match=r"none\.json: .*No such file"):
        Audit.read_json(tmp_path / "none.json")


def test_a_file_without_the_time_it_was_written_gets_none(tmp_path):
    content = RESULTS[-1].to_dict()
    del content["created"], content["command"]  # as version 0.1 wrote it
    again = SimilarityResult.from_dict(content)
    assert again.created == ""
    assert again.command is None


def test_a_folder_that_cannot_be_written_is_named(audit, tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="cannot be written"):
            audit.save(place)


TOP1 = {"top1": Interval(0.5, 0.4, 0.6), "balanced_accuracy": Interval(0.5), "log_loss": Interval(1.0)}
PROBLEM = {"normal": "a", "n_train": 3, "auroc": Interval(0.9, 0.8, 1.0), "fpr95": Interval(0.5)}
MEASURE = {"name": "mmd", "title": "MMD", "value": 0.5, "chance": None}
RESULTS = [
    ComparisonResult({"name": "x", "classes": ["a"]}, [MethodResult("m", "M", "probe", "net", metrics=TOP1)]),
    RegressionResult({"name": "x"}, [MethodResult("m", "M", "probe", metrics={"mae": Interval(3.0)})]),
    CurveResult(
        {"name": "x"},
        [CurveLevel(1, 3, 1.0)],
        [CurveMethod("m", "M", "probe")],
        [CurveDraw("m", None, 1, 0, {"top1": 0.5}, {"fit": 1.0})],
        [CurvePoint("m", None, 1, 1.0, 1, TOP1)],
    ),
    AnomalyResult(
        {"name": "x", "n_train": 3},
        "one-class",
        ["a", "b"],
        "net",
        [DetectorResult("knn", "kNN", Interval(0.9), Interval(0.5), 0.1, 0.9, [PROBLEM, PROBLEM], 1.0)],
        0.05,
    ),
    DomainResult(
        {"name": "s", "n_train": 3, "n_test": 1, "top1": Interval(0.9, 0.8, 1.0)},
        {"name": "t", "n_train": 3, "n_test": 1},
        ["a"],
        "net",
        "lda",
        [
            DomainMethod("source-only", "Source only", "source", TOP1, 1.0),
            DomainMethod(
                "coral",
                "CORAL",
                "adapted",
                TOP1,
                1.0,
                versus_source={"p_value": 0.5, "difference": 0.1, "low": 0.0, "high": 0.2, "effect": 0.1},
            ),
        ],
    ),
    RankingResult(
        {"name": "x", "n": 3, "n_classes": 2},
        [Candidate("net", "fc", 1, 8, {"logme": 0.5, "leep": None}, Interval(0.9, 0.8, 1.0))],
        {"logme": {"tau": 1.0, "weighted_tau": 1.0}},
    ),
    SimilarityResult(
        [{"name": "a", "n": 3, "used": 2}, {"name": "b", "n": 3, "used": 3}],
        {},
        [MEASURE],
        {"p_value": 0.5, "n_permutations": 9, "bandwidths": [1.0]},
        0.5,
        [{"set": "a", "id": "1", "log_ratio": 0.5}],
    ),
]
JUNK = (None, True, -1, 10**400, "x", [[]], {"a": 1})


@pytest.mark.parametrize("result", RESULTS, ids=lambda r: r.kind)
def test_every_kind_is_read_back_or_refused_whatever_a_file_holds(result, tmp_path):
    kind, path = type(result), tmp_path / "r.json"
    result.write_json(path)
    again = kind.read_json(path)
    assert again.to_dict() == result.to_dict()
    assert again.table() == result.table()
    assert again.to_frame().equals(result.to_frame())

    def places(value):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            if isinstance(value[key], dict | list):
                yield from places(value[key])

    written, said = path.read_text(), []
    for i in range(len(list(places(json.loads(written))))):
        for junk in JUNK:
            content = json.loads(written)
            value, key = list(places(content))[i]
            value[key] = junk
            try:
                read = kind.from_dict(content)
            except InputError as error:
                said.append(str(error))
                continue
            # What is accepted holds out: every form of it is made.
            read.table(), read.to_frame(), read.to_dict(), repr(read), read._repr_html_()
    assert said
    assert all("\n" not in line and len(line) < 500 for line in said)


@pytest.mark.parametrize("result", RESULTS, ids=lambda r: r.kind)
def test_every_kind_is_a_few_lines_and_a_table(result):
    first, *rest = repr(result).splitlines()
    assert first.startswith(f"{type(result).__name__}(")
    assert len(rest) <= 2
    assert all(line.startswith(("  best: ", "  advice: ")) for line in rest)
    assert all(len(line) <= 230 for line in (first, *rest))
    assert result._repr_html_().startswith("<div><p>")
    assert result.heading() in result.table()


def test_columns_that_do_not_fit_follow_below_with_the_first_one_again():
    lines = [
        ["method", "top-1", "balanced", "fit s"],
        ["ridge", "0.9", "0.8", "1.0"],
        ["knn", "0.7", "0.6", "0.1"],
    ]
    assert align_columns(lines, 25) == [
        "method  top-1  balanced",
        "------  -----  --------",
        "ridge     0.9       0.8",
        "knn       0.7       0.6",
        "",
        "method  fit s",
        "------  -----",
        "ridge     1.0",
        "knn       0.1",
    ]
    one_each = align_columns(lines, 1)
    assert [one_each[i] for i in (0, 5, 10)] == ["method  top-1", "method  balanced", "method  fit s"]
    assert len(align_columns(lines)) == len(align_columns(lines, 30)) == 4


@pytest.mark.parametrize(
    ("stated", "kind"),
    [
        ({}, "image"),
        ({"dataset": {"kind": "text"}}, "text"),
        ({"spaces": {"net": {"preprocessing": {"kind": "text"}}}}, "text"),
        ({"spaces": {"net": {"preprocessing": {"resize": 256}}}}, "image"),
        ({"spaces": {"net": 3, "other": {"preprocessing": "text"}}}, "image"),
        ({"dataset": {"kind": "video"}}, "image"),
    ],
)
def test_the_kind_of_the_inputs_is_that_of_the_data_else_of_the_space(stated, kind):
    found = ComparisonResult(stated.get("dataset", {}), [], spaces=stated.get("spaces", {}))
    assert found.input_kind == kind


def test_units_of_texts_are_different_texts():
    units = {"images": 20, "units": 18, "copies": 2}
    found = ComparisonResult({"kind": "text"}, [], units=units)
    said = "intervals and tests count 18 different texts as the units of 20 test texts, 2 of them copies"
    assert found.units_note == f"{said} of another"
