"""Counts of words and characters, and the TF-IDF rows made of them, against scikit-learn's vectorisers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from texts import reviews

from featx.errors import InputError
from featx.methods.probes import fit_probe
from featx.methods.probes.fitters import sparse as sparse_fitter
from featx.methods.probes.term_counts import TermCounts, TermWeights, count_terms

TEXTS, _LABELS = reviews(30)
LABELS = np.array([label == "liked" for label in _LABELS]).astype(int)
TRAIN, TEST = np.arange(0, 40), np.arange(40, 60)


def vectoriser(**options):
    """What `count_terms` and `TermWeights` do, in scikit-learn's way."""
    return make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, **options),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, **options),
    )


@pytest.mark.parametrize("least", [1, 3])
def test_rows_are_those_of_vectorisers_that_have_seen_the_training_texts_alone(least):
    slow = vectoriser(min_df=least).fit([TEXTS[i] for i in TRAIN])
    counts = count_terms(TEXTS)  # of test texts, too
    weights = TermWeights(least).fit(counts[TRAIN])
    for rows in (TRAIN, TEST):
        expected = slow.transform([TEXTS[i] for i in rows])
        found = weights.transform(counts[rows])
        assert found.shape == expected.shape
        np.testing.assert_allclose(found.toarray(), expected.toarray(), atol=1e-6)


def test_of_too_many_terms_those_of_the_most_texts_are_kept():
    weights = TermWeights(max_terms=5).fit(count_terms(["aa bb", "aa bb", "aa cc", "aa dd"]))
    rows = weights.transform(count_terms(["aa bb", "aa bb", "aa cc", "aa dd"]))
    assert rows.shape[1] == 10
    assert weights.idf_[0].min() == pytest.approx(1)  # "aa", which all have


def test_texts_without_a_word_have_no_words_and_a_row_of_no_term_is_zero():
    counts = count_terms(["?!", "..."])
    assert counts.words.shape == (2, 0)
    assert counts.characters.nnz > 0
    empty = TermWeights(min_texts=5).fit(counts).transform(counts)
    assert empty.shape == (2, 1)
    assert empty.nnz == 0


def test_what_are_no_counts_is_refused():
    with pytest.raises(InputError, match=r"TF-IDF works on counts of terms in texts .* got ndarray"):
        fit_probe("tfidf", np.eye(10, dtype=np.float32), np.arange(10) % 2)


@pytest.mark.parametrize("few", [0, 10_000])
def test_the_reference_is_logistic_regression_on_these_rows(few, monkeypatch):
    """Coordinates of few rows, and rows as they are, give the same model."""
    monkeypatch.setattr(sparse_fitter, "_FEW_ROWS", few)
    counts = count_terms(TEXTS)
    fitted = fit_probe("tfidf", counts[TRAIN], LABELS[TRAIN], n_jobs=1)
    assert fitted.params == {"C": fitted.params["C"], "min_texts": 1}
    slow = make_pipeline(vectoriser(), LogisticRegression(C=fitted.params["C"], tol=1e-8, max_iter=5000))
    slow.fit([TEXTS[i] for i in TRAIN], LABELS[TRAIN])
    expected = slow.predict_proba([TEXTS[i] for i in TEST])
    np.testing.assert_allclose(fitted.predict_proba(counts[TEST]), expected, atol=2e-3)
    assert (fitted.predict(counts[TEST]) == LABELS[TEST]).mean() > 0.9
    assert fitted.kind == "floor"
    assert 0.8 < fitted.cv_score <= 1


def test_numbers_are_predicted_by_ridge_regression():
    counts, lengths = count_terms(TEXTS), np.array([len(text) for text in TEXTS], float)
    fitted = fit_probe("tfidf", counts[TRAIN], lengths[TRAIN], task="numbers", n_jobs=1)
    assert np.corrcoef(fitted.predict(counts[TEST]), lengths[TEST])[0, 1] > 0.8


def test_many_texts_are_never_dense(monkeypatch):
    monkeypatch.setattr(sparse.csr_matrix, "toarray", lambda *a, **k: pytest.fail("a dense matrix"))
    monkeypatch.setattr(sparse_fitter, "_FEW_ROWS", 20)
    fit_probe("tfidf", count_terms(TEXTS), LABELS, n_jobs=1)


def test_more_classes_than_half_of_the_texts_are_no_warning():
    texts = [f"text number {i} about {'abcdefghij'[i // 2] * 4}" for i in range(20)]
    fitted = fit_probe("tfidf", count_terms(texts), np.arange(20) // 2, n_jobs=1)
    assert len(fitted.classes) == 10


def test_some_texts_of_many_by_slice_or_position():
    counts = count_terms(TEXTS)
    some = counts[TEST]
    assert isinstance(some, TermCounts)
    assert (len(some), some.shape) == (20, (20, 1))
    assert some.size == counts[40:].size
