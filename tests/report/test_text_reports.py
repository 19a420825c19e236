"""Reports on texts: sentences where images have thumbnails, whatever is in them, and no word of images."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

import featx
from featx.data.features import Features
from featx.metrics import Interval
from featx.report import render
from featx.report.labelling import write_label_page
from featx.report.page import SHOWN_TEXT, WHOLE_TEXT, tile
from featx.results import ComparisonResult, MethodResult, Mistake, RegressionResult
from featx.results.ranking import Candidate, RankingResult
from featx.studies.comparison import compare_detectors, compare_domains, find_anomalies

HOSTILE = {
    "markup": "<script>alert(1)</script><img src=x onerror=alert(2)> </p></li> \"' & {{ 7 * 7 }}",
    "controls": "bell\x07 escape\x1b[2J null\x00 back\u202eward\u202c zero\u200bwidth\ufeff line\u2028end",
    "lines": "first line\r\nsecond\n\n\n\tthird",
    "right to left": "هذا فيلم رائع",
    "joined": "नमस्ते 👩\u200d👩\u200d👧",
}


class Parts(HTMLParser):
    """Collects visible text, and the names of elements and of attributes."""

    def __init__(self, page: str):
        super().__init__()
        self.text, self.elements, self.attributes, self.hints = "", [], set(), ""
        self._inside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self._inside.append(tag)
        self.elements.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.hints += " ".join(value or "" for name, value in attrs if name in ("title", "alt", "aria-label"))

    def handle_endtag(self, tag):
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data):
        if "style" not in self._inside:
            self.text += data


def features_of(kind: str) -> Features:
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    rows = (rng.normal(size=(120, 6)) + 0.8 * labels[:, None]).astype(np.float32)
    ids = [f"{i:03d}" for i in range(120)]
    space = {"backbone": {"architecture": "net"}, "preprocessing": {"kind": kind}}
    return Features(rows, ids, labels, ("a", "b", "c"), space=space)


STUDIES = {
    "compare": lambda f: featx.compare(f, classifiers=["knn", "lda"], baseline="none", n_boot=20, seeds=2),
    "curve": lambda f: featx.learning_curve(f, classifiers=["knn"], shots=[1, 2, "all"], seeds=2),
    "similarity": lambda f: featx.similarity(f, f, n_permutations=20),
    "domains": lambda f: compare_domains(f, f, classifier="lda", n_boot=20),
    "anomaly": lambda f: compare_detectors(f, detectors="knn", n_boot=20),
    "scores": lambda f: find_anomalies(f, f),
}


def ranking_of_texts() -> RankingResult:
    other = {"difference": -0.1, "p_adjusted": 0.4, "detectable": 0.2}
    return RankingResult(
        {"name": "reviews", "kind": "text", "n": 3, "n_test": 1, "n_classes": 2},
        [
            Candidate("a", "fc", 1, 8, {"logme": 0.5}, Interval(0.9, 0.8, 1.0)),
            Candidate("b", "fc", 1, 8, {"logme": 0.4}, Interval(0.8, 0.7, 0.9), other),
        ],
        selection={"methods": 2, "optimism": 0.01},
        cka=[[1.0, 0.5], [0.5, 1.0]],
        cka_images=3,
        extraction={name: {"cached": 1, "computed": 2, "seconds_per_image": s} for name, s in TIMES.items()},
    )


def regression_of_texts() -> RegressionResult:
    ridge = MethodResult(
        "ridge", "Ridge", "probe", "net", metrics=dict.fromkeys(("mae", "r2"), Interval(0.5))
    )
    more = {"truth": [1.0, 2.0], "predictions": [1.5, 4.0], "ids": ["1", "2"]}
    return RegressionResult(
        {"name": "reviews", "kind": "text", "task": "stars", "n_test": 2}, [ridge], **more
    )


TIMES = {"a": 0.2, "b": 0.1}


@pytest.fixture(scope="module", params=[*STUDIES, "ranking", "regression"])
def result_of_texts(request):
    made = {"ranking": ranking_of_texts, "regression": regression_of_texts}.get(request.param)
    return STUDIES[request.param](features_of("text")) if made is None else made()


def test_the_page_speaks_of_texts(result_of_texts):
    page = Parts(render(result_of_texts))
    said = page.text + page.hints
    assert re.findall(r".{30}(?i:image|picture|pixel).{20}", said) == []
    assert " texts" in said


def test_the_console_and_the_notebook_speak_of_texts(result_of_texts):
    found = result_of_texts
    said = "\n".join([found.table(), found.verdict(), *getattr(found, "warnings", []), found._repr_html_()])
    assert re.findall(r".{0,30}(?i:image|picture|pixel).{0,20}", said.replace("per_image", "")) == []
    assert "text" in said
    assert type(found).from_dict(found.to_dict()).input_kind == "text"


def test_a_page_without_a_word_about_the_kind_is_of_images():
    found = STUDIES["scores"](features_of("image"))
    assert found.input_kind == "image"
    assert "120 images" in Parts(render(found)).text


@pytest.mark.parametrize("name", HOSTILE)
def test_a_text_of_anybody_stays_one_text(tmp_path, name):
    pages = []
    for text in ("plain", HOSTILE[name]):
        write_label_page(tmp_path / "p.html", "t.csv", [("1", "good", 0.9)], {"1": text}, "text")
        pages.append((tmp_path / "p.html").read_text(encoding="utf-8"))
    before, after = map(Parts, pages)
    assert after.elements == before.elements
    assert after.attributes == before.attributes
    hidden = "[\x00-\x08\x0b-\x1f\x7f\u200b\u200e\u200f\u2028\u202a-\u202e\u2066-\u2069\ufeff]"
    assert re.findall(hidden, pages[1]) == []


def test_a_text_is_readable():
    shown = {name: tile("7", {"7": text}).text for name, text in HOSTILE.items()}
    assert shown["markup"] == HOSTILE["markup"]  # the template escapes it
    assert shown["lines"] == "first line second third"
    assert shown["controls"].startswith("bell\\x07 escape\\x1b[2J")
    assert "back\\u202eward" in shown["controls"]
    for name in ("right to left", "joined"):
        assert shown[name] == HOSTILE[name]


def test_a_long_text_begins_in_the_card_and_opens_whole():
    text = "\n".join(f"line {i}" for i in range(100))
    found = tile("7", {"7": text})
    assert found.text == " ".join(text.split())[: SHOWN_TEXT - 1] + "…"
    assert found.whole == text
    assert found.title == "the whole text"
    huge = tile("7", {"7": "word " * 200_000})
    assert len(huge.whole) <= WHOLE_TEXT
    assert huge.title == "the first 5,000 of its 1,000,000 characters"
    assert tile("7", {"7": "short"}).whole == ""


def test_mistakes_are_cards_with_the_sentence_and_what_was_said_of_it():
    mistakes = [Mistake("7", "good", "bad", 0.93), Mistake("8", "good", "bad", 0.6)]
    lda = MethodResult("lda", "LDA", "probe", "net", metrics={"top1": Interval(0.8)}, mistakes=mistakes)
    found = ComparisonResult({"name": "reviews", "kind": "text", "classes": ["good", "bad"]}, [lda])
    page = render(found, {"7": "dull and far too long " * 40})
    card = page[page.index('<ul class="mistakes texts">') :]
    card = card[: card.index("</li>")]
    assert ">dull and far too long dull" in card
    assert "<summary>the whole text</summary>" in card
    assert '<span class="said">bad · 93 %</span><small>labelled good</small>' in card
    assert page.count("no text at hand") == 1
    assert "<img" not in page


def test_the_page_of_texts_to_label_shows_them(tmp_path):
    rows = [("1", "good", 0.9), ("2", None, None)]
    write_label_page(tmp_path / "p.html", "labels.csv", rows, {"1": "a warm film", "2": "<b>dull"}, "text")
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "a warm film</p>" in page
    assert "&lt;b&gt;dull</p>" in page
    assert "row 2: good?" in page
