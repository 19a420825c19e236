"""Reports on clips: a spectrogram and a player where images have thumbnails, and no word of other kinds."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pytest

import featx
from featx.data.features import Features
from featx.inputs.samples import ClipSample
from featx.metrics import Interval
from featx.report import render
from featx.report.labelling import write_label_page
from featx.report.page import ClipTile, data_uri, tile
from featx.results import ComparisonResult, MethodResult, Mistake, RegressionResult
from featx.results.ranking import Candidate, RankingResult

PNG, WAV, MP3 = b"\x89PNG\r\n\x1a\n1", b"RIFF\0\0\0\0WAVEfmt ", b"\xff\xf3\x88\xc4"
CLIP = ClipSample(PNG, WAV, 2.0, 2.0, 8000.0)
HOSTILE = "\"><script>alert(1)</script> ' onerror=alert(2)"


class _Attributes(HTMLParser):
    """Collects the names of the attributes of each kind of element."""

    def __init__(self, page: str):
        super().__init__()
        self.of: dict[str, set[str]] = {}
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.of.setdefault(tag, set()).update(name for name, _ in attrs)


def visible(page: str) -> str:
    body = re.sub(r"<style>.*?</style>|<meta[^>]*>|src=\"data:[^\"]*\"", "", page, flags=re.S)
    hints = re.findall(r'(?:title|alt|aria-label)="([^"]*)"', body)
    return re.sub(r"<[^>]*>", " ", body) + " ".join(hints)


def features_of_clips() -> Features:
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    rows = (rng.normal(size=(90, 6)) + 0.8 * labels[:, None]).astype(np.float32)
    space = {"backbone": {"architecture": "net"}, "preprocessing": {"kind": "clip"}}
    return Features(rows, [f"{i:03d}" for i in range(90)], labels, ("a", "b", "c"), space=space)


def curve_of_clips():
    return featx.learning_curve(
        features_of_clips(), classifiers=["knn"], shots=[1, 2, "all"], seeds=2, verbose=False
    )


def comparison_of_clips():
    return featx.compare(
        features_of_clips(), classifiers=["knn", "lda"], baseline="none", n_boot=20, seeds=2, verbose=False
    )


def ranking_of_clips():
    return RankingResult(
        {"name": "words", "kind": "clip", "n": 3, "n_test": 1, "n_classes": 2},
        [Candidate("a", "fc", 1, 8, {"logme": 0.5}, Interval(0.9, 0.8, 1.0))],
    )


def regression_of_clips():
    ridge = MethodResult(
        "ridge", "Ridge", "probe", "net", metrics=dict.fromkeys(("mae", "r2"), Interval(0.5))
    )
    more = {"truth": [1.0, 2.0], "predictions": [1.5, 4.0], "ids": ["1", "2"]}
    return RegressionResult({"name": "words", "kind": "clip", "task": "age", "n_test": 2}, [ridge], **more)


@pytest.mark.parametrize("make", [curve_of_clips, comparison_of_clips, ranking_of_clips, regression_of_clips])
def test_the_page_speaks_of_clips(make):
    result = make()
    said = visible(render(result))
    assert re.findall(r".{30}\b(?i:images?|pictures?|pixels?|texts?)\b.{20}", said) == []
    assert "clip" in said
    assert result.input_kind == "clip"
    console = "\n".join([result.table(), result.verdict(), *getattr(result, "warnings", [])])
    assert re.findall(r"\b(?i:images?|pictures?|texts?)\b", console) == []


def test_a_clip_is_seen_and_heard():
    found = tile("a.wav", {"a.wav": CLIP}, said="word", small="labelled other")
    assert isinstance(found, ClipTile)
    assert found.src == data_uri(PNG)
    assert found.sound == "data:audio/wav;base64," + base64.b64encode(WAV).decode()
    assert found.times == ("0", "1", "2 s")
    assert found.alt == "a.wav: spectrogram, 2 s to the right, up to 8 kHz"
    assert (found.said, found.small) == ("word", "labelled other")


@pytest.mark.parametrize(
    ("seconds", "said"), [(2.0, "2 s"), (35.27, "2 s of 35.3 s"), (4000.0, "2 s of 4,000 s")]
)
def test_the_beginning_of_a_long_clip_is_called_so(seconds, said):
    found = tile("a", {"a": ClipSample(PNG, MP3, 2.0, seconds, 8000.0)})
    assert found.times[-1] == said
    assert found.sound.startswith("data:audio/mpeg;")


def test_mistakes_have_players_that_load_nothing_before_they_are_asked():
    mistakes = [Mistake("7", "yes", "no", 0.93), Mistake("8", "yes", "no", 0.6)]
    lda = MethodResult("lda", "LDA", "probe", "net", metrics={"top1": Interval(0.8)}, mistakes=mistakes)
    found = ComparisonResult({"name": "words", "kind": "clip", "classes": ["yes", "no"]}, [lda])
    page = render(found, {"7": CLIP})
    assert '<ul class="mistakes clips">' in page
    assert page.count('<audio controls preload="none" aria-label="7" title="7" src="data:audio/wav') == 1
    assert 'alt="yes, taken for no: 7: spectrogram' in page
    assert page.count('<small class="name">7</small>') == 1
    assert page.count("no preview") == 1
    assert "media-src data:" in page
    assert "media-src" not in render(ComparisonResult({"name": "photos"}, [lda]))


def test_a_name_of_anybody_stays_a_name(tmp_path):
    write_label_page(tmp_path / "p.html", "t.csv", [(HOSTILE, "good", 0.9)], {HOSTILE: CLIP}, "clip")
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert page.count("<audio ") == 1
    shown = _Attributes(page).of
    assert shown["img"] == {"alt", "title", "loading", "src"}
    assert shown["audio"] == {"controls", "preload", "aria-label", "title", "src"}
