"""``on_error="skip"`` reaches everything that can be missing, in every function that takes images."""

from __future__ import annotations

import pytest
from pictures import QUICK

import featx
from featx.data import SKIP_HINT
from featx.errors import DatasetError, InputError
from featx.studies.comparison import compare_detectors, find_anomalies

pytestmark = pytest.mark.faults

GONE = ["gone.png", "row 3", "sky/cut.png", "sky/page.jpg"]


@pytest.fixture
def table(photos):
    """A table of 24 good images, one missing, one without a path, one cut and one that is a web page."""
    data = (photos / "sky" / "000.png").read_bytes()
    (photos / "sky" / "cut.png").write_bytes(data[: len(data) // 2])
    (photos / "sky" / "page.jpg").write_text("<html>404</html>")
    good = [f"{path.relative_to(photos)},{path.parent.name}" for path in sorted(photos.glob("*/0*.png"))]
    bad = ["gone.png,sky", ",sky", "sky/cut.png,sky", "sky/page.jpg,sky"]
    (photos / "t.csv").write_text("\n".join(["path,label", *bad, *good, ""]))
    return photos / "t.csv"


def test_every_function_goes_on_and_lists_what_it_left_out(table, tmp_path, thorough):
    options = QUICK | {"on_error": "skip", "cache": tmp_path / "cache"}
    extracted = featx.extract(table, **options)
    assert len(extracted) == 24
    assert sorted(f.id for f in extracted.failures) == GONE
    assert sorted(f.id for f in find_anomalies(table, table, **options).failures) == sorted(2 * GONE)
    if not thorough:
        return
    network = {name: value for name, value in options.items() if name != "backbone"}
    compared = featx.compare(
        table, backbones=QUICK["backbone"], classifiers="lda", baseline="none", n_boot=10, **network
    )
    assert sorted(f["id"] for f in compared.failures) == GONE
    found = compare_detectors(table, detectors="knn", n_boot=10, **options)
    assert sorted(f["id"] for f in found.failures) == GONE
    model = featx.train(table, classifier="lda", **options)
    assert sorted(f.id for f in model.failures) == GONE
    assert len(model.predict(table, on_error="skip", cache=tmp_path / "cache")) == 24
    assert sorted(f.id for f in model.failures) == GONE
    ranked = featx.rank(table, backbones=QUICK["backbone"], probe=False, **network)
    assert any(
        note.startswith("4 images could not be read and were left out: gone.png: ") for note in ranked.notes
    )
    near = featx.similarity(table, table, n_permutations=10, **options)
    assert sum("4 images could not be read" in note for note in near.notes) == 2


def test_a_run_that_stops_names_the_option_wherever_the_first_bad_image_is(table):
    with pytest.raises(DatasetError, match="row 3, column path: no value") as caught:
        featx.extract(table, **QUICK)
    assert str(caught.value).endswith(SKIP_HINT)
    text = table.read_text().replace("gone.png,sky\n,sky\n", "")
    table.write_text(text)
    for run in (featx.extract, featx.train):
        with pytest.raises(InputError, match=r"sky/(cut.png|page.jpg): .*") as caught:
            run(table, **QUICK)
        assert str(caught.value).endswith(SKIP_HINT)
