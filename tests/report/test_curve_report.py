"""The page of a learning curve: complete, self-contained, and safe whatever the classes are called."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser

import pytest

from featx.metrics import Interval
from featx.report import render
from featx.report.curve_plot import learning_plot, line_styles, worth_a_closer_look
from featx.results import (
    Crossing,
    CurveDraw,
    CurveLeader,
    CurveLevel,
    CurveMethod,
    CurvePoint,
    CurveResult,
)

VOID = {"meta", "br", "img", "path", "rect", "circle", "use"}


def curve(n_draws=5, shots=(1, 5, 20, 80), methods=None, **options):
    methods = methods or [
        CurveMethod("pixels", "Pixels", "floor"),
        CurveMethod("logreg", "Logistic <b>regression</b>", "probe", "net"),
        CurveMethod("finetune-last", "Fine-tuned", "finetune", "net"),
    ]
    levels = [CurveLevel(k, 3 * k, float(k)) for k in shots]
    values = {"floor": 0.1, "probe": 0.6, "finetune": 0.5}
    draws, points = [], []
    for m in methods:
        for i, level in enumerate(levels):
            top1 = values[m.kind] + 0.1 * i * (1.2 if m.kind == "finetune" else 1)
            half = 0.02 if n_draws > 1 else math.nan
            points.append(
                CurvePoint(
                    m.name,
                    m.backbone,
                    level.shots,
                    level.per_class,
                    n_draws,
                    {"top1": Interval(top1, top1 - half, top1 + half)},
                )
            )
            draws += [
                CurveDraw(m.name, m.backbone, level.shots, d, {"top1": top1}, {"fit": 0.1})
                for d in range(n_draws)
            ]
    dataset = {"name": "da<ta", "classes": ["a", "b", "c"], "n_train": 240, "n_test": 90, "split": "given"}
    return CurveResult(dataset, levels, methods, draws, points, n_draws=n_draws, **options)


class Balance(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.mark.parametrize("n_draws", [1, 5])
@pytest.mark.parametrize("shots", [(3,), (1, 5, 20, 80)])
def test_the_page_is_whole_and_needs_nothing_else(n_draws, shots):
    page = render(curve(n_draws, shots, warnings=["<i>odd</i>"], advice="Do & see."))
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert not re.search(r"(src|href)=\"(?!#)", page)
    assert "<script" not in page
    assert "<b>regression" not in page
    assert "&lt;i&gt;odd&lt;/i&gt;" in page
    assert "Do &amp; see." in page
    assert "#0a0b0" not in page  # every stand-in colour became one of the page's
    assert len(set(re.findall(r' id="([^"]+)"', page))) == len(re.findall(r' id="([^"]+)"', page))


def test_every_number_is_in_the_table_and_at_its_mark():
    page = render(curve())
    for method in ("Pixels", "Fine-tuned"):
        assert method in page
    assert "<small>0.480–0.520</small>" in page
    assert "Fine-tuned, 20 per class: top-1 0.740 [0.720, 0.760]" in page


def test_the_headline_says_whether_a_crossing_is_shown():
    within = Crossing("finetune-last", "net", "within", 12.0, 6.0, 30.0, {"within": 1.0})
    assert "Fine-tuned overtakes frozen features at about 12 images per class" in render(
        curve(crossings=[within])
    )
    open_end = Crossing("finetune-last", "net", "within", 12.0, 6.0, None, {"within": 0.6, "none": 0.4})
    assert "No crossing shown up to 80 images per class" in render(curve(crossings=[open_end]))
    before = Crossing("finetune-last", "net", "before", shares={"before": 0.99})
    assert "ahead of frozen features at every number" in render(curve(crossings=[before]))


def test_lines_are_told_apart():
    methods = [CurveMethod(f"p{i}", f"P{i}", "probe", "net") for i in range(9)]
    methods += [CurveMethod(f"f{i}", f"F{i}", "finetune", "net") for i in range(4)]
    assert len(set(line_styles(methods).values())) == 13


def test_the_figure_says_in_words_what_it_shows():
    plot = learning_plot(curve())
    assert "from 1 to 80 training images per class" in plot.alt
    assert "Fine-tuned from 0.500 to 0.860" in plot.alt
    assert len(plot.tips) == 12 - 4  # the reference lies below the others


def test_a_closer_look_is_for_ends_that_lie_close_together():
    assert not worth_a_closer_look(curve())
    result = curve(shots=(1, 2, 4, 8, 16, 32))
    result.points = [
        CurvePoint(
            p.method, p.backbone, p.shots, p.per_class, 5, {"top1": Interval(0.9 if p.shots > 2 else 0.3)}
        )
        for p in result.points
    ]
    assert worth_a_closer_look(result)
    assert "The upper end, closer" in render(result)


def test_what_the_numbers_leave_out_stands_beside_them():
    leaders = [CurveLeader(80, "logreg", "net", [{"method": "finetune-last", "backbone": "net"}], 0.012)]
    left = {"finetune-last": ["a search for the learning rate"]}
    result = curve(
        recipe="Trained <quickly>.", left_out=left, leaders=leaders, intervals="draws and test images"
    )
    page = render(result)
    numbers = page[page.index("Every number") : page.index("What it costs")]
    assert "Trained &lt;quickly&gt;." in numbers
    assert "1 of 1" in numbers
    assert "1.2 points" in numbers
    assert "Intervals hold for other test images only" in numbers
    assert "intervals over draws and test images" in page
    assert "Nadeau and Bengio" in page
    assert "Trained <quickly>." in result.table()
    assert "Trained &lt;quickly&gt;." in result._repr_html_()


def test_a_file_of_an_earlier_version_says_that_its_intervals_are_over_draws():
    content = curve().to_dict()
    for name in ("leaders", "left_out", "intervals", "units"):
        del content[name]
    for level in content["levels"]:
        del level["overlap"], level["pool_from"]
    old = CurveResult.from_dict(content)
    assert old.intervals == "draws"
    page = render(old)
    assert "are 95 % intervals over draws. Every" in " ".join(page.split())
    assert "may be as good" not in page
    assert "on fixed test images" in page
    assert "on these test images: other test images could give more or less" in old.table()
