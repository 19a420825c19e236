"""Fingerprints tell copies apart from similar inputs, each kind of input by its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from texts import reviews

from featx.data import from_arrays
from featx.inputs.image import hash_distance
from featx.inputs.text import FileText, StringText
from featx.options import DEFAULT_RUN
from featx.studies import fingerprints as module
from featx.studies.fingerprints import take_fingerprints
from featx.studies.kept_checks import KeptChecks
from featx.studies.units import find_copies, find_units


def sources(texts):
    return [StringText(str(i), text) for i, text in enumerate(texts)]


def test_copies_of_texts_are_found_whatever_their_embeddings(tmp_path):
    texts, _ = reviews(20)
    texts += [texts[0].upper() + "!", texts[7], f"  {texts[0]} ", texts[3].replace(" ", ", ", 1)]
    rows = np.random.default_rng(0).normal(size=(len(texts), 8)).astype(np.float32)
    taken = take_fingerprints(sources(texts), DEFAULT_RUN)
    found = find_copies(rows, fingerprints=taken, kept=KeptChecks(tmp_path)).outcome
    assert sorted(map(tuple, found.pairs[found.of("same")].tolist())) == [(0, 40), (0, 42), (3, 43), (7, 41)]
    units = find_units(None, found, len(texts))
    assert len(np.unique(units.of)) == 40
    again = find_copies(rows, fingerprints=taken, kept=KeptChecks(tmp_path))
    assert again.earlier_run is not None
    np.testing.assert_array_equal(again.outcome.pairs, found.pairs)


def test_fingerprints_of_two_sets_are_those_of_both(tmp_path):
    texts, _ = reviews(3)
    whole = take_fingerprints(sources(texts), DEFAULT_RUN)
    first, second = (take_fingerprints(sources(part), DEFAULT_RUN) for part in (texts[:2], texts[2:]))
    np.testing.assert_array_equal(first.join(second).evidence, whole.evidence)


def test_no_fingerprints_of_inputs_that_cannot_be_read_or_are_too_many(tmp_path: Path, monkeypatch):
    (tmp_path / "a.txt").write_text("a text")
    there, lacking = (FileText(name, str(tmp_path / name)) for name in ("a.txt", "b.txt"))
    assert take_fingerprints([there], DEFAULT_RUN) is not None
    assert take_fingerprints([there, lacking], DEFAULT_RUN) is None
    monkeypatch.setattr(module, "MOST_IMAGES", 0)
    assert take_fingerprints([there], DEFAULT_RUN) is None


def test_pictures_have_perceptual_hashes(tmp_path):
    from featx.options import Run

    patches = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    picture = patches.repeat(4, axis=0).repeat(4, axis=1)
    images = from_arrays([picture, picture // 2, picture.transpose(1, 0, 2)], None).inputs
    taken = take_fingerprints(images, Run.of({"cache": tmp_path, "verbose": False}))
    hashes = taken.hashes()
    assert hash_distance(hashes[0], hashes[1]) <= 8 < hash_distance(hashes[0], hashes[2])
    assert taken.contents() is None
