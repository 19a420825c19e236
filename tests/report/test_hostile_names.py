"""Names of classes, images and datasets stay text in every report, in attributes and in figures too."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pytest

import featx
from featx.data.features import Features
from featx.studies.comparison import compare_detectors, compare_domains, find_anomalies

NAMES = ('"><img src=x onerror=alert(1)>', "</title></svg><script>alert(2)</script>", "a&b' onload='c")


class Page(HTMLParser):
    """Notes elements and attributes that only a name can have brought in."""

    def __init__(self):
        super().__init__()
        self.foreign = []

    def handle_starttag(self, tag, attrs):
        if (tag, ("src", "x")) in [(tag, pair) for pair in attrs]:
            self.foreign.append(tag)
        self.foreign += [key for key, value in attrs if key in ("onerror", "onload") and value != ""]

    def handle_data(self, data):
        if "alert(2)" in data and self.cdata_elem == "script":
            self.foreign.append("script")


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    rows = (rng.normal(size=(60, 6)) + 0.8 * labels[:, None]).astype(np.float32)
    ids = [f"{NAMES[i % 3]}{i}.png" for i in range(60)]
    return Features(rows, ids, labels, NAMES, space={"backbone": {"architecture": NAMES[0]}})


@pytest.mark.parametrize(
    "study",
    [
        lambda f: featx.compare(f, classifiers=["knn", "lda"], baseline="none", n_boot=20, seeds=2),
        lambda f: featx.learning_curve(f, classifiers=["knn"], shots=[1, 2], seeds=2),
        lambda f: featx.similarity(f, f, n_permutations=20),
        lambda f: compare_domains(f, f, classifier="lda", n_boot=20),
        lambda f: compare_detectors(f, detectors="knn", n_boot=20),
        lambda f: find_anomalies(f, f),
    ],
    ids=["compare", "curve", "similarity", "domains", "anomaly", "scores"],
)
def test_names_stay_text(study, features, tmp_path):
    text = study(features).save(tmp_path / "o").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.foreign == []
    assert "onerror=alert(1)&gt;" in text  # the names are there
