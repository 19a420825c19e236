"""The page: what it says first, that it is safe, self-contained and well-formed."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

import featx.report
from featx.errors import OutputError
from featx.metrics import Interval
from featx.report import render, write_report
from featx.report.comparison import comparison_view
from featx.report.methods import methods_table
from featx.report.mistakes import confident_mistakes
from featx.report.scale import Scale
from featx.results import ComparisonResult, FineTuningTest, MethodResult, Mistake, advise

CSS = (Path(featx.report.__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Checker(HTMLParser):
    """Collects text, ids and attributes, and checks that every tag is closed in order."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.tags, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open[-1:] == [tag], f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)


def parsed(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    return checker


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", " ".join(parsed(page).text))


@pytest.fixture(scope="module")
def page(made_up, thumbnails) -> str:
    return render(made_up(), thumbnails)


def test_the_verdict_comes_first_with_its_certainty(page):
    text = text_of(page)
    top = text[: text.index("All 14 methods")]
    assert "Recommended Logistic regression on frozen mobilenet_v2 features" in top
    assert "97.1 % 95 % interval 95.0 to 99.2 %, 240 test images" in top
    assert "No difference shown 1.7 points below full fine-tuning (98.8 %), p = 0.12" in top
    assert "full fine-tuning took 41 times as long" in top
    assert "1 image could not be read" in top, "warnings are not buried"


def test_the_table_is_sorted_marked_and_complete(page, made_up):
    rows = re.findall(r'<tr class="(\w+)(?: pick)?">(.*?)</tr>', page, re.DOTALL)
    assert len(rows) == 14
    scores = [float(re.search(r'class="n first"[^>]*>([\d.]+)', row)[1]) for _, row in rows]
    assert scores == sorted(scores, reverse=True)
    assert [kind for kind, _ in rows[-2:]] == ["reference", "reference"]
    assert page.count(">use this<") == 1
    assert page.count(">highest<") == 1
    assert "use this" in rows[1][1]
    assert "highest" in rows[0][1]
    assert all('role="img" aria-label="top-1 0.' in row for _, row in rows), "whiskers are spoken too"


def test_everything_a_reader_needs_later_is_there(page):
    text = text_of(page)
    for words in (
        "What accuracy costs",
        "Worth their time",
        "Recall by class",
        "Frequent confusions",
        "Most confident mistakes",
        "How the fine-tuning went",
        "The same again",
        "featx compare flowers12/ -o out/",
        "image_00666.jpg",
        "truncated JPEG",
        "b03531047ffacf1e",
        "preprocessing.interpolation",
        "torch",
        "C = 0.1",
        "McNemar",
        "960 images went through a frozen network",
    ):
        assert words in text, words


def test_the_page_is_well_formed_and_ids_are_unique(page):
    checker = parsed(page)
    assert len(checker.ids) == len(set(checker.ids))
    images = [attrs for tag, attrs in checker.tags if tag == "img"]
    assert images
    assert all(attrs["alt"] for attrs in images)
    assert all(attrs.get("aria-label") for tag, attrs in checker.tags if tag == "svg")
    html = next(attrs for tag, attrs in checker.tags if tag == "html")
    assert html["lang"] == "en"


def test_the_page_needs_no_network_and_runs_no_script(page):
    assert "default-src 'none'" in unescape(page)
    for tag, attrs in parsed(page).tags:
        assert tag not in ("script", "link", "iframe", "object", "base")
        for name, value in attrs.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href"):
                assert value.startswith(("data:image/", "#")), (tag, name, value)
    assert "url(" not in CSS
    assert "@import" not in CSS


def test_hostile_names_stay_text(made_up):
    result = made_up()
    evil = '<script>alert("x")</script>&amp;\'"'
    for holder in (result.dataset, result.environment):
        holder["name"] = evil
    result.dataset["classes"] = [evil, *result.dataset["classes"][1:]]
    result.command = result.advice = evil
    result.warnings, result.failures = [evil], [{"id": evil, "reason": evil}]
    result.spaces = {evil: {evil: {evil: evil}}}
    for m in result.methods:
        m.title, m.notes, m.params = evil, [evil], {evil: evil}
        m.backbone = m.backbone and evil
        m.mistakes = [Mistake(evil, evil, evil, 0.9)]
    page = render(result, {evil: b"\xff\xd8"})
    assert "<script" not in page
    assert evil in "".join(parsed(page).text)


def test_unicode_and_unpaired_surrogates_can_be_written(made_up, tmp_path):
    result = made_up()
    result.dataset["name"] = "薔薇 🌹 \udcff"
    write_report(tmp_path / "out" / "report.html", result)
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "薔薇 🌹 \\udcff" in text


def test_a_place_that_cannot_be_written_is_an_output_error(comparison, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_report(tmp_path / "file" / "report.html", comparison)


def test_mistakes_without_a_thumbnail_are_listed_all_the_same(comparison, thumbnails):
    pick = next(m for m in comparison.methods if m.name == "logreg")
    comparison.methods = [pick]
    assert render(comparison).count("no preview") == len(pick.mistakes)
    assert "no preview" not in render(comparison, thumbnails)
    png = {pick.mistakes[0].id: b"\x89PNG\r\n\x1a\n"}
    assert 'src="data:image/png;base64,' in render(comparison, png)


def test_a_mistake_that_fine_tuning_shares_asks_to_check_the_label(comparison):
    pick = next(m for m in comparison.methods if m.name == "logreg")
    tuned = comparison.best()
    shared = {(m.id, m.predicted) for m in pick.mistakes} & {(m.id, m.predicted) for m in tuned.mistakes}
    assert sum("check the label" in t.also for t in confident_mistakes(pick, tuned, {})) == len(shared) > 0


def test_what_the_adjusted_test_does_not_show_is_said_in_words(made_up):
    result = made_up()
    for m in result.methods:
        if m.versus_best is not None:
            m.versus_best |= {"p_value": 0.01, "p_holm": 0.2 if m.name == "logreg" else 0.01}
    page = render(result)
    table = page[page.index("same test images</h2>") : page.index("What accuracy costs")]
    assert table.count("no difference\nshown, p 0.20") == 1
    assert table.count("no difference\nshown") == 1
    assert "n.s." not in page
    assert "No difference shown 1.7 points below full fine-tuning (98.8 %), p = 0.20" in text_of(page)


def test_when_fine_tuning_pays_the_page_says_so(made_up):
    result = made_up(
        ability={"logreg": 2.6, "svm": 2.5, "rbf-svm": 2.5, "lda": 2.4, "ridge": 2.3, "finetune-head": 2.5}
    )
    text = text_of(render(result))
    assert "Recommended Full fine-tuning of mobilenet_v2" in text
    assert "Against frozen features +" in text
    assert "Fine-tuning paid off" in text


def test_an_older_file_that_recommends_another_method_is_advised_by_the_present_rule(comparison):
    use = comparison.advice.split(":")[0].removeprefix("Use ")
    comparison.advice = "Use naive Bayes on frozen mobilenet_v2 features: top-1 0.900 on 240 test images."
    text = text_of(render(comparison))
    assert f"Recommended {use[0].upper()}{use[1:]}" in text
    assert "naive Bayes on frozen" not in text


@pytest.mark.parametrize(
    ("top1", "old"), [(0.0, "Use SVM: top-1 0.000."), (0.9, "Nothing to recommend: no.")]
)
def test_advice_of_an_older_file_does_not_contradict_the_headline(top1, old):
    method = MethodResult("svm", "SVM", "probe", "net", metrics={"top1": Interval(top1, top1, top1)})
    page = text_of(render(ComparisonResult({"name": "d", "n_test": 400}, [method], advice=old)))
    assert ("Nothing to recommend" in page) == (top1 == 0)
    assert old not in page


@pytest.mark.parametrize("p_pair", [0.5, 0.01])
def test_the_card_says_of_fine_tuning_what_the_advice_says(p_pair):
    def method(name, kind, top1, p=None):
        tested = None if p is None else {"p_value": p, "difference": top1 - 0.95}
        return MethodResult(
            name, name, kind, "net", metrics={"top1": Interval(top1, top1 - 0.02, 0.97)}, versus_best=tested
        )

    methods = [
        method("finetune-full", "finetune", 0.95),
        method("svm", "probe", 0.90, 0.01),
        method("logreg", "probe", 0.91, 0.02),
    ]
    pair = FineTuningTest("svm", "finetune-full", "net", "training images", p_pair, 0.05)
    advice = advise(methods, 400, fine_tuning=pair)
    result = ComparisonResult({"name": "d", "n_test": 400}, methods, advice=advice, fine_tuning=pair)
    page = text_of(render(result))
    assert "Fine-tuning paid off" in page
    if p_pair < 0.05:
        assert "Gain of fine-tuning +5.0 points" in page
    else:
        assert "Against frozen features +4.0 points 4.0 points above logreg (91.0 %), p = 0.020" in page


def test_a_recommended_fine_tuning_is_not_said_to_gain_nothing():
    methods = [
        MethodResult(name, name, "finetune", "net", metrics={"top1": Interval(0.9, 0.8, 1)}, curves=curves)
        for name, curves in (("finetune-last", {"best_epoch": 0}), ("finetune-full", {"best_epoch": 3}))
    ]
    page = text_of(render(ComparisonResult({"name": "d", "n_test": 400}, methods)))
    assert "No gain" not in page


def test_a_method_no_better_than_the_reference_is_shown_with_caution():
    methods = [
        MethodResult("svm", "Linear SVM", "probe", "net", metrics={"top1": Interval(0.42, 0.3, 0.5)}),
        MethodResult(
            "pixels",
            "Pixels",
            "floor",
            metrics={"top1": Interval(0.41, 0.3, 0.5)},
            versus_best={"p_value": 0.9, "difference": -0.01, "method": "svm"},
        ),
    ]
    result = ComparisonResult({"name": "noise", "n_test": 50}, methods, advice=advise(methods, 50))
    page = render(result)
    assert "Use with caution" in page
    assert "verdict doubt" in page
    assert "not measured" in text_of(page), "no fine-tuned baseline"


def test_nothing_but_references_still_gives_a_page():
    floor = MethodResult("majority", "Majority", "floor", metrics={"top1": Interval(0.1)})
    text = text_of(render(ComparisonResult({"name": "d"}, [floor])))
    assert "No verdict" in text
    assert "Nothing to recommend" in text


def test_several_backbones_are_named_in_the_table(comparison):
    comparison.methods[0].backbone = "resnet50"
    table = methods_table(comparison.methods, comparison.best(), comparison.best())
    about = {row.cells[0].small for row in table.rows}
    assert {"frozen features · resnet50", "frozen features · mobilenet_v2"} <= about
    view = comparison_view(comparison, {})
    assert all(" · " in name for _, name, *_ in view["cost"]["front"])
    assert view["shown"] == comparison.recommended().named(comparison.methods)
    assert view["errors"]["title"].endswith((" · resnet50", " · mobilenet_v2"))


def test_a_hundred_classes_make_a_page_of_reasonable_size(comparison):
    n = 100
    comparison.methods = [m for m in comparison.methods if m.kind != "finetune"]
    comparison.dataset["classes"] = [f"species {i}" for i in range(n)]
    for m in comparison.methods:
        m.confusion = [[9 if i == j else int(j == (i * 7 + 3) % n) for j in range(n)] for i in range(n)]
    page = render(comparison)
    parsed(page)
    assert len(page) < 800_000
    assert "80 more classes are not drawn" in page


@pytest.mark.parametrize(
    ("lowest", "low", "step"),
    [(0.786, 0.75, 0.05), (0.93, 0.92, 0.02), (0.985, 0.98, 0.01), (0.1, 0.0, 0.2), (1.0, 0.98, 0.01)],
)
def test_the_scale_starts_at_a_round_number_below_every_interval(lowest, low, step):
    scale = Scale([Interval(min(1.0, lowest + 0.01), lowest, 1.0)])
    assert (scale.low, scale.step) == (pytest.approx(low), step)
    assert scale.at(1.0) == 100
    assert scale.at(scale.low) == pytest.approx(0)
    assert scale.ticks[-1] == 1.0


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    a, b = sorted((luminance(one), luminance(other)))
    return (b + 0.05) / (a + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_has_the_contrast_of_wcag_aa(theme):
    blocks = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    colours = dict(re.findall(r"(--\w+): (#\w{6})", blocks[theme]))
    for ink in ("--ink", "--muted", "--good", "--wrong"):
        assert contrast(colours[ink], colours["--card"]) >= 4.5, ink
    for ink, ground in (
        ("--ink", "--soft"),
        ("--muted", "--soft"),
        ("--muted", "--goodsoft"),
        ("--warn", "--warnsoft"),
    ):
        assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    for mark in ("--probe", "--finetune", "--reference"):
        assert contrast(colours[mark], colours["--card"]) >= 3, mark
