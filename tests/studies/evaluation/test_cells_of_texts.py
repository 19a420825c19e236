"""Texts as rows of a study: read once, counted once, forgotten; and what the key of a cell names."""

from __future__ import annotations

import numpy as np
import pytest
from texts import reviews

from featx.data.splits import Split
from featx.inputs.text import LazyText, StringText
from featx.methods.probes import term_counts
from featx.studies.evaluation import Cell, LabelledRows, probe_method
from featx.studies.evaluation.cost import Size, estimate_seconds
from featx.studies.evaluation.text_rows import TextRows

TEXTS, _ = reviews(10)
Y = np.arange(20) % 2
SPLIT = Split(np.arange(14), np.arange(14, 20))


def cell(texts=TEXTS, y=Y):
    rows = TextRows([StringText(str(i), text) for i, text in enumerate(texts)])
    return Cell(probe_method("tfidf"), LabelledRows(rows, y, 2, kind="text"), SPLIT, 0)


def test_each_text_is_read_once_and_kept_until_it_is_counted():
    read = []

    def load(text):
        read.append(text)
        return text

    rows = TextRows([LazyText(str(i), lambda text=text: load(text)) for i, text in enumerate(TEXTS)])
    some = rows.take(np.array([3, 5]))
    assert read == []
    assert len(set(rows.digests.tolist())) == 20
    assert some.digests.tolist() == rows.digests[[3, 5]].tolist()
    assert rows.characters == np.mean([len(text) for text in TEXTS])
    assert len(some[np.array([1])]) == 1
    assert some[np.array([1])].size == rows[np.array([5])].size
    assert read == TEXTS
    assert rows._texts._kept is None


def test_a_key_names_the_texts_the_labels_and_what_is_counted(monkeypatch):
    key = cell().key
    assert cell().key == key
    changed = [*TEXTS[:-1], TEXTS[-1] + "!"]
    others = [cell(changed).key, cell(y=np.roll(Y, 1)).key]
    monkeypatch.setattr(term_counts, "WORDS", (1, 3))
    others.append(cell().key)
    assert len({key, *others}) == 4


def test_its_outcome_and_its_expected_time_follow_the_texts():
    one = cell()
    record, fit = one.run(n_jobs=1)
    assert one.is_valid(record)
    assert fit.params["min_texts"] == 1
    size = Size.of(one)
    assert size.dim == pytest.approx(np.mean([len(text) for text in TEXTS]))
    longer = size._replace(dim=100 * size.dim, n_train=5000)
    assert estimate_seconds(longer) > estimate_seconds(size) > 0
