"""Count words and groups of characters in texts, and weigh the counts by TF-IDF.

A term is a word, two words that follow each other, or 3 to 5 characters within a word. Counting takes most of
the time and looks at no label, so the texts of a study are counted once. What is learnt from texts is learnt
from training texts alone: `TermWeights` drops the terms that they do not have, and takes document frequencies
from them. The rows are therefore those of vectorisers that have seen nothing but the training texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from featx.errors import InputError

#: Lengths of the sequences of words, and of those of characters.
WORDS, CHARACTERS = (1, 2), (3, 5)


@dataclass(frozen=True, eq=False)
class TermCounts:
    """How often each term occurs in each of n texts.

    Attributes
    ----------
    words, characters : scipy.sparse.csr_array of shape (n, n_terms), float32
        Counts of words and pairs of words, and of groups of characters.
    """

    words: sparse.csr_array
    characters: sparse.csr_array

    def __len__(self) -> int:
        return int(self.words.shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        """(n, 1): the text is the only feature; what its terms are is learnt from training texts."""
        return len(self), 1

    @property
    def size(self) -> int:
        """The number of counts that are kept."""
        return int(self.words.nnz + self.characters.nnz)

    def __getitem__(self, which: slice | np.ndarray) -> TermCounts:
        """Return the counts of some texts, by slice or positions."""
        return TermCounts(self.words[which], self.characters[which])


def count_terms(texts: Sequence[str]) -> TermCounts:
    """Count the terms of texts, in lower case.

    Words are as scikit-learn's ``CountVectorizer`` finds them, of two letters or digits at least; groups of
    characters are within words, whose ends count as a space (``analyzer="char_wb"``).
    """
    from sklearn.feature_extraction.text import CountVectorizer

    found = []
    for analyzer, lengths in (("word", WORDS), ("char_wb", CHARACTERS)):
        counter = CountVectorizer(analyzer=analyzer, ngram_range=lengths, dtype=np.float32)
        try:
            counts = counter.fit_transform(texts)
        except ValueError as error:
            if "empty vocabulary" not in str(error):
                raise
            counts = sparse.csr_array((len(texts), 0), dtype=np.float32)  # such as "?!" and no word
        found.append(sparse.csr_array(counts))
    return TermCounts(*found)


class TermWeights(TransformerMixin, BaseEstimator):
    """Turn counts of terms into TF-IDF rows: words and characters, each part of Euclidean length 1.

    A count c of a term that occurs in t of n training texts becomes ``(1 + ln c) (ln((1 + n) / (1 + t)) +
    1)``, which is scikit-learn's ``TfidfTransformer(sublinear_tf=True)`` (G. Salton and C. Buckley,
    "Term-weighting approaches in automatic text retrieval", Information Processing & Management 24, 1988).

    Parameters
    ----------
    min_texts : int, default=1
        Terms of fewer training texts are dropped.
    max_terms : int or None, default=None
        Of words and of characters, at most so many terms each: those that the most training texts have.

    Attributes
    ----------
    terms_ : tuple of 2 ndarrays of int
        The terms that are kept, of words and of characters.
    idf_ : tuple of 2 ndarrays of float32
        Their weights.
    """

    def __init__(self, min_texts=1, max_terms=None):
        self.min_texts = min_texts
        self.max_terms = max_terms

    def fit(self, X, y=None):
        """Choose terms and their weights by the training texts, `TermCounts`."""
        n, kept = len(_checked(X)), []
        for counts in (X.words, X.characters):
            texts = np.bincount(counts.indices, minlength=counts.shape[1])
            terms = np.flatnonzero(texts >= max(1, self.min_texts))
            if self.max_terms is not None and len(terms) > self.max_terms:
                terms = np.sort(terms[np.argsort(-texts[terms], kind="stable")[: self.max_terms]])
            kept.append((terms, (np.log((1 + n) / (1 + texts[terms])) + 1).astype(np.float32)))
        self.terms_, self.idf_ = zip(*kept, strict=True)
        return self

    def transform(self, X):
        """Return rows (n, n_terms), a sparse float32 array; one column of zeros where no term was kept."""
        check_is_fitted(self)
        parts: list[Any] = []
        for counts, terms, idf in zip((_checked(X).words, X.characters), self.terms_, self.idf_, strict=True):
            part = sparse.csr_array(counts[:, terms])
            part.data = (1 + np.log(part.data)) * idf[part.indices]
            lengths = np.sqrt(part.multiply(part).sum(axis=1))
            part.data /= np.repeat(np.where(lengths > 0, lengths, 1), np.diff(part.indptr))
            parts.append(part)
        if not sum(len(terms) for terms in self.terms_):
            return sparse.csr_array((len(X), 1), dtype=np.float32)
        # scikit-learn's solvers take 32-bit positions only.
        return sparse.csr_matrix(sparse.hstack(parts, format="csr", dtype=np.float32))


def _checked(X: Any) -> TermCounts:
    if not isinstance(X, TermCounts):
        raise InputError(
            f"TF-IDF works on counts of terms in texts (featx.methods.probes.term_counts.count_terms), "
            f"got {type(X).__name__}"
        )
    return X
