"""Tables, axes and templates: what a cell shows, that all texts are escaped, that no page is half filled."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import featx.report
from featx.metrics import METRICS, Interval
from featx.report import render
from featx.report.page import fill_template
from featx.report.scale import Scale
from featx.report.table import Cell, Column, describe_test, drawn_column, make_table, metric_column
from featx.results.ranking import Candidate, RankingResult

HOSTILE = '"><img src=x onerror=alert(1)>'


def filled(table) -> str:
    """The table alone, as every page draws it."""
    how = {"lead": "", "facts": {}, "command": "", "details": []}
    view = {
        "title": "",
        "heading": "",
        "subtitle": "",
        "advice": "",
        "warnings": [],
        "units": "",
        "methods": table,
        "how": how,
    }
    page = fill_template("domains.html", view)
    return page[page.index("<table") : page.index("</table>")]


def test_a_metric_is_called_as_the_list_of_metrics_calls_it():
    def get(item):
        return Interval(item, item - 0.1, item + 0.1)

    table = make_table([Column("m", str), metric_column("log_loss", get, bounds=True)], [0.25])
    assert table.columns[1].title == "Log\nloss"
    assert table.columns[1].label == METRICS["log_loss"].title
    assert "lower is better" in table.columns[1].hint
    assert table.rows[0].cells == [Cell("0.25"), Cell("0.250", "0.150–0.350")]


def test_every_text_of_a_table_is_escaped():
    scale = Scale([Interval(0.5)])
    columns = [
        Column(HOSTILE, lambda item: Cell(item, item, [(item, item)]), style=""),
        Column(HOSTILE, lambda item: Cell(item, item), style=HOSTILE, label=HOSTILE, hint=HOSTILE),
        drawn_column(HOSTILE, scale, lambda item: Interval(0.5), lambda item: HOSTILE),
    ]
    html = filled(make_table(columns, [HOSTILE], kind=lambda item: HOSTILE, caption=HOSTILE))
    assert "<img" not in html
    assert '"&gt;' not in html, "the quote that ends an attribute is escaped too"
    assert html.count("&#34;&gt;&lt;img src=x onerror=alert(1)&gt;") == html.count("onerror") > 10


def test_the_row_that_is_picked_is_marked_and_minor_columns_too():
    columns = [Column("m", str, style=""), metric_column("macro_f1", Interval, minor=True)]
    html = filled(make_table(columns, items := [0.5, 0.7], kind=lambda item: "probe", picked=items[1]))
    assert re.findall(r'<tr class="([^"]+)"', html) == ["probe", "probe pick"]
    assert html.count('<td class="n minor" data-label="macro F1">') == 2


@pytest.mark.parametrize(
    ("value", "styles"),
    [(0.8, ["whisk probe", "dot probe"]), (0.1, ["off probe"]), (float("nan"), [])],
    ids=["inside", "below the scale", "undefined"],
)
def test_an_interval_is_drawn_where_it_lies(value, styles):
    scale = Scale([Interval(0.7, 0.6, 0.9)])
    drawing = scale.draw(Interval(value, value - 0.05, value + 0.05), "probe", "top-1")
    assert [mark.style for mark in drawing.marks if mark.style != "grid"] == styles


def test_what_a_p_value_says():
    assert describe_test(0.2) == "no difference\nshown, p 0.20"
    assert describe_test(0.01) == "p 0.010"
    assert describe_test(0.03, shown=False) == "no difference\nshown, p 0.030"


def test_a_view_that_lacks_something_is_an_error():
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError, match="subtitle"):
        fill_template("domains.html", {"title": "", "heading": ""})


def test_a_ranking_says_how_it_was_made_and_its_names_stay_text():
    candidates = [
        Candidate(HOSTILE, f"layer{i}", i, 8, {"logme": 0.1 * i}, Interval(0.5 + 0.1 * i, 0.4, 0.9))
        for i in (1, 2)
    ]
    spaces = [{HOSTILE: HOSTILE}, {"layer": "layer2"}]
    result = RankingResult(
        {"name": HOSTILE, "n": 9, "n_classes": 3}, candidates, spaces=spaces, notes=[HOSTILE]
    )
    result.cka, result.correlations = [[1.0, 0.5], [0.5, 1.0]], {"logme": {"tau": 1.0, "weighted_tau": 1.0}}
    result.command = "featx rank photos/"
    page = render(result)
    assert "<img" not in page
    result.environment = {"python": "3.12"}
    page = render(result)
    assert "featx rank photos/" in page
    assert "Versions and machine" in page
    for words in ("Kendall tau", "Accuracy against depth", "How alike the embeddings are"):
        assert words in page


def test_html_stands_in_templates_alone():
    for path in Path(featx.report.__file__).parent.glob("*.py"):
        code = re.sub(r'"""[\s\S]*?"""|#.*', "", path.read_text(encoding="utf-8"))
        assert path.name == "svg.py" or not re.search(r"</?[a-z]+[ >]", code), path.name
        assert not re.search(r"\bescape\(", code.replace("re.escape(", "")), path.name
