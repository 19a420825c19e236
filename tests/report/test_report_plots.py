"""Figures: what they show, and how they become part of the page."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from featx.metrics import Interval
from featx.report.plots import (
    confusion_plot,
    cost_plot,
    curves_plot,
    frequent_confusions,
    pareto_front,
    shorten,
)
from featx.report.svg import INK, inline_svg
from featx.results import MethodResult


def matrix(n: int) -> list[list[int]]:
    return [[20 if i == j else int(j == (i + 1) % n) for j in range(n)] for i in range(n)]


def test_cost_plot_says_fastest_and_most_accurate_and_names_every_point(comparison):
    plot = cost_plot(comparison.methods, [comparison.best()])
    assert "of 12 methods" in plot.alt, "references cost nothing and are left out"
    assert "Most accurate: Full fine-tuning" in plot.alt
    svg = inline_svg(plot, "cost")
    assert svg.count("<title>") == 12
    assert ">Full fine-tuning</text>" in svg


def test_cost_plot_needs_two_methods_with_a_cost(comparison):
    assert cost_plot(comparison.methods[:1]) is None


def test_names_in_the_cost_plot_are_never_cut_nor_on_top_of_one_another():
    methods = [
        MethodResult(n, n, "finetune", metrics={"top1": Interval(a, a, a)}, seconds={"fit": s})
        for n, a, s in (
            ("A name that is as long as the longest one", 0.9, 100.0),
            ("Another name that is nearly as long", 0.9, 100.0),
            ("A third one at the same place", 0.9, 99.0),
            ("and one far to the left", 0.5, 1.0),
        )
    ]
    axes = cost_plot(methods).figure.axes[0]
    names = [text for text in axes.texts if text.get_text()]
    boxes = [text.get_window_extent() for text in names]
    assert len(boxes) >= 3
    frame = axes.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_the_front_holds_what_nothing_faster_is_as_good_as():
    methods = [
        MethodResult(n, n, "probe", metrics={"top1": Interval(a)}, seconds={"fit": s})
        for n, a, s in (
            ("quick", 0.8, 1.0),
            ("good", 0.9, 5.0),
            ("beaten", 0.85, 6.0),
            ("as good", 0.9, 60.0),
        )
    ]
    assert [m.name for m in pareto_front(methods)] == ["quick", "good"]


def test_confusion_matrix_draws_only_cells_with_images_and_their_counts():
    method = MethodResult("a", "A", "probe", confusion=matrix(4))
    plot = confusion_plot(method, ["w", "x", "y", "z"])
    assert len(plot.tips) == 8
    assert "w: 20 of 21 right" in plot.tips
    assert "w: 1 of 21 taken for x" in plot.tips
    assert plot.alt.startswith("Confusion matrix of A: 80 of 84 test images right.")
    svg = inline_svg(plot, "c")
    assert svg.count(">20</text>") == 4
    assert svg.count(">1</text>") == 4


def test_a_hundred_classes_stay_named_and_more_do_not():
    hundred = confusion_plot(
        MethodResult("a", "A", "probe", confusion=matrix(100)), [f"class {i}" for i in range(100)]
    )
    svg = inline_svg(hundred, "c")
    assert svg.count(">class 57</text>") == 2
    sizes = [float(s) for s in re.findall(r"font(?:-size)?: ([\d.]+)px", svg)]
    assert min(sizes) >= 8, "legible without zooming"
    many = confusion_plot(
        MethodResult("a", "A", "probe", confusion=matrix(130)), [f"class {i}" for i in range(130)]
    )
    assert ">class 57</text>" not in inline_svg(many, "c")


def test_no_matrix_and_no_curves_give_no_figure():
    assert confusion_plot(MethodResult("a", "A", "probe"), []) is None
    assert curves_plot(MethodResult("a", "A", "finetune")) is None


def test_confusions_come_most_frequent_first():
    method = MethodResult("a", "A", "probe", confusion=[[5, 1, 3], [0, 9, 0], [2, 0, 7]])
    assert frequent_confusions(method, "xyz") == [(3, "x", "z"), (2, "z", "x"), (1, "x", "y")]


def test_curves_show_both_parts_and_the_epoch_kept(comparison):
    method = next(m for m in comparison.methods if m.name == "finetune-full")
    plot = curves_plot(method, 2.0, 0.5)
    assert "over 6 epochs" in plot.alt
    assert plot.alt.endswith("Kept: epoch 5.")
    for words in ("training loss", "validation loss", "training accuracy", "validation accuracy"):
        assert words in plot.alt
    loss, accuracy = plot.figure.axes
    assert loss.get_ylim() == (0, 2.0)
    assert accuracy.get_ylim() == (0.5, 1.0)


def test_a_single_epoch_with_gaps_can_be_drawn():
    curves = {"epoch": [1], "train_loss": [0.5], "val_loss": [None], "train_accuracy": [0.8]}
    plot = curves_plot(MethodResult("a", "A", "finetune", curves=curves))
    assert "validation" not in plot.alt


def test_svg_takes_its_colours_and_font_from_the_page(comparison):
    plot = cost_plot(comparison.methods)
    plot.alt = "an <alt> & more"
    svg = inline_svg(plot, "cost")
    assert "var(--probe)" in svg
    assert "var(--ink)" in svg
    assert not [colour for colour in INK.values() if colour in svg]
    assert 'aria-label="an &lt;alt&gt; &amp; more"' in svg
    assert "<style" not in svg
    assert "<metadata" not in svg
    assert "<?xml" not in svg


def test_every_id_in_an_svg_is_used_and_carries_its_name(comparison):
    plot = cost_plot(comparison.methods)
    svg = inline_svg(plot, "cost")
    ids = re.findall(r' id="([^"]+)"', svg)
    assert ids
    assert all(i.startswith("cost-") for i in ids)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', svg)) == set(ids)


def test_the_same_figure_gives_the_same_bytes(comparison):
    texts = {inline_svg(cost_plot(comparison.methods), "cost") for _ in range(2)}
    assert len(texts) == 1


@pytest.mark.parametrize(
    "name", ["$\\alpha$_x^2", "薔薇", "🌹 emoji", "<b>&\"quoted'", "two\nlines", "x" * 60]
)
def test_any_class_name_can_be_drawn(name):
    method = MethodResult("a", "A", "probe", confusion=[[3, 1], [0, 4]])
    plot = confusion_plot(method, [name, "other"])
    svg = inline_svg(plot, "c")
    assert "<b>" not in svg
    if name.startswith("$"):
        assert ">$\\alpha$_x^2</text>" in svg, "no mathematics is made of it"


def test_long_names_are_cut():
    assert shorten("a  b\nc") == "a b c"
    assert len(shorten("x" * 60)) == 22


def test_the_report_leaves_the_global_state_of_pyplot_alone():
    code = (
        "import sys, featx.report.plots as r; from featx.results import MethodResult; "
        "assert not {'matplotlib', 'jinja2', 'markupsafe'} & set(sys.modules); "
        "r.confusion_plot(MethodResult('a', 'A', 'probe', confusion=[[1]]), ['c']); "
        "assert 'matplotlib.figure' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
