"""Whatever is in an object, its repr is short and its notebook view is harmless."""

from __future__ import annotations

import numpy as np
import pytest

from featx.data import Dataset
from featx.data.features import Features
from featx.data.splits import Split
from featx.data.tasks import Task
from featx.estimators.model import Model, Prediction
from featx.metrics import Interval
from featx.results import Confusion, CurveDraw, DetectorResult, DomainMethod, MethodResult
from featx.results.ranking import Candidate
from featx.results.repeats import RepeatedMethod, Repeats
from featx.results.shown import brief

EVIL = "<script>alert(1)</script>\n\x1b[2J" + "x" * 500
NAMES = [f"{EVIL}{i}" for i in range(1000)]
METRICS = {name: Interval(0.5, 0.4, 0.6) for name in NAMES}
LABELS = np.arange(1000)
REPEATED = RepeatedMethod(EVIL, EVIL, "probe", None, dict.fromkeys(NAMES, [0.5] * 1000), METRICS)
SHOWN = [
    MethodResult(
        EVIL, EVIL, "probe", params=dict.fromkeys(NAMES, EVIL), metrics=METRICS, confusion=np.eye(1000)
    ),
    Confusion.of(np.eye(1000)),
    CurveDraw(EVIL, None, 1, 0, dict.fromkeys(NAMES, 0.5), {}, notes=NAMES),
    DetectorResult(
        EVIL, EVIL, Interval(0.5), Interval(0.5), 0.1, 0.2, [{"normal": name} for name in NAMES], 1.0
    ),
    DomainMethod(EVIL, EVIL, "source", METRICS, 1.0, notes=NAMES),
    Candidate(EVIL, EVIL, 1, 10, dict.fromkeys(NAMES, 0.5)),
    REPEATED,
    Repeats(list(range(1000)), [1] * 1000, [1] * 1000, "top1", [REPEATED] * 1000),
    Task(EVIL.replace("\0", ""), LABELS, tuple(NAMES)),
    Split(LABELS, LABELS),
    Prediction(EVIL, EVIL, 0.5, dict.fromkeys(NAMES, 0.001)),
    Model(None, tuple(NAMES), {"backbone": {"architecture": EVIL}}, {}, {"classifier": EVIL, "n_train": 5}),
    Features(np.zeros((1000, 4)), NAMES, LABELS, NAMES, groups=NAMES),
    Dataset(EVIL, []),
]


@pytest.mark.parametrize("shown", SHOWN, ids=lambda shown: type(shown).__name__)
def test_it_is_short_printable_and_escaped(shown):
    text, page = repr(shown), shown._repr_html_()
    assert text.startswith(f"{type(shown).__name__}(")
    assert len(text.splitlines()) == 1
    assert len(text) < 2_000
    assert len(page) < 10_000
    assert "\x1b" not in text + page
    assert "<script" not in page
    assert page.startswith("<table>")


def test_a_value_in_a_few_words():
    assert brief({"top1": Interval(0.5, 0.25, 0.75), "n": 3}) == "top1 0.500 [0.250, 0.750], n 3"
    assert brief(list(range(2000))) == "0, 1, 2, and 1,997 more"
    assert brief([{"a": 1}] * 2000) == "2,000"
    assert brief(np.zeros((3, 4), np.float32)) == "3 x 4 float32"
    assert [brief(value) for value in (None, "", [], float("nan"), True, 0.123456)] == [
        "",
        "",
        "",
        "",
        "True",
        "0.1235",
    ]
    assert len(brief("x" * 1000)) == 80


def test_what_is_known_is_said():
    model = Model(
        None, ("a", "b"), {"backbone": {"architecture": "m"}}, {}, {"classifier": "lda", "n_train": 9}
    )
    assert repr(model) == "Model(classifier: lda; backbone: m; classes: a, b; trained on: 9)"
    assert "<tr><th>backbone</th><td>m</td></tr>" in model._repr_html_()
    other = Model(None, ("a", "b"), {"backbone": {"architecture": "n"}}, {}, {})
    both = Model(None, ("a", "b"), {}, {}, {"classifier": "ensemble"}, members=(model, other))
    assert repr(both) == "Model(classifier: ensemble; backbones: m, n; classes: a, b)"
    best = MethodResult("lda", "LDA", "probe", "m", metrics={"top1": Interval(0.9, 0.8, 1.0)})
    assert (
        repr(best)
        == "MethodResult(name: lda; title: LDA; kind: probe; backbone: m; metrics: top1 0.900 [0.800, 1.000])"
    )


def test_an_object_whose_init_has_failed_can_be_looked_at():
    assert repr(Features.__new__(Features)) == "Features(not complete)"
    assert repr(Model.__new__(Model)) == "Model(not complete)"
