"""Compare two sets of images: the verdict, the images that differ most, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from frames import frames_of
from pictures import QUICK, QUICK_OPTIONS, write_photos

import featx
from featx.analysis.distances import frechet_distance, mmd_test, profile_divergence
from featx.analysis.transferability import softmax
from featx.cli import main
from featx.data.features import Features
from featx.errors import DatasetError, FeaturesError, InputError
from featx.results.similarity import SimilarityResult

ODD = {"violet": (150, 20, 200)}


@pytest.fixture
def two(tmp_path):
    """A reference, and similar pictures among which two have another colour."""
    a = write_photos(tmp_path / "reference", 8)
    b = write_photos(tmp_path / "later", 7, seed=300)
    write_photos(b, 2, colours=ODD, seed=900)
    return a, b


def test_distances_are_those_of_the_embeddings_and_one_pass_is_enough(two):
    result = featx.similarity(*two, n_permutations=50, **QUICK)
    assert result.forward_passes == 24 + 23
    assert [(s["name"], s["n"], s["used"]) for s in result.sets] == [("reference", 24, 24), ("later", 23, 23)]
    x, y = (featx.extract(folder, **QUICK) for folder in two)
    P, Q = (softmax(featx.extract(folder, layer="logits", **QUICK).embeddings) for folder in two)
    assert result.value("frechet") == pytest.approx(frechet_distance(x.embeddings, y.embeddings))
    assert result.value("js_profile") == pytest.approx(profile_divergence(P, Q))
    tested = mmd_test(x.embeddings, y.embeddings, n_permutations=50)
    assert result.test["p_value"] == tested.p_value
    assert any("biased upwards" in note for note in result.notes)
    chance = {m["name"]: m["chance"] for m in result.measures}
    assert chance["frechet"] > 0
    assert chance["mmd"] is None


def rows(n, seed, shift=0.0, d=6, ids="r"):
    data = np.random.default_rng(seed).normal(size=(n, d)) + shift
    return Features(data.astype(np.float32), [f"{ids}{i}" for i in range(n)], space={"layer": "a"})


def test_the_verdict_is_that_of_the_test_and_odd_rows_are_named():
    alike = featx.similarity(rows(60, 3), rows(50, 4), n_permutations=99)
    assert not alike.drift
    assert "No drift found between features (A) and features (B)" in alike.verdict()
    far = rows(50, 1)
    far.embeddings[7] += 6
    far.embeddings[:40] += 1.5
    other = featx.similarity(rows(60, 0), far, n_permutations=99, top=3)
    assert other.drift
    assert other.test["p_value"] == 0.01
    assert "Drift: features (B) differs from features (A) (p = 0.010" in other.verdict()
    assert other.told_apart > 0.8
    assert [m["set"] for m in other.most_different] == ["features (B)", "features (B)", "features (A)"]
    assert other.most_different[0]["id"] == "r7"
    assert other.value("frechet") > 2 * next(m["chance"] for m in other.measures if m["name"] == "frechet")


def test_rows_that_hardly_vary_have_no_density():
    a, b = rows(20, 0), rows(20, 1)
    for features in (a, b):
        features.embeddings[:, 1:] = 0
    result = featx.similarity(a, b, n_permutations=20)
    assert np.isnan(result.value("js_density"))
    assert any("no divergence of densities" in note for note in result.notes)
    assert "JS of densities" in result.table()


def test_large_sets_are_sampled_by_the_seed():
    a, b = rows(80, 0), rows(30, 1)
    result = featx.similarity(a, b, most=20, n_permutations=20, seed=4)
    assert [(s["n"], s["used"]) for s in result.sets] == [(80, 20), (30, 20)]
    again = featx.similarity(a, b, most=20, n_permutations=20, seed=4)
    assert again.search_for_copies.pop("earlier_run") is not None
    same = {"created": result.created, "search_for_copies": result.search_for_copies}
    assert again.to_dict() | same == result.to_dict()


def test_the_command_prints_and_saves(capsys, two, tmp_path):
    args = ["similarity", *map(str, two), "--permutations", "40", "--top", "4", "--quiet", *QUICK_OPTIONS]
    assert main([*args, "-o", str(tmp_path / "o")]) == 0
    out = capsys.readouterr().out
    assert "proxy A-distance" in out
    assert "permutation test of MMD" in out
    content = json.loads((tmp_path / "o" / "results.json").read_text())
    assert content["drift"] == (content["test"]["p_value"] < 0.05)
    assert len(content["most_different"]) == 4
    page = (tmp_path / "o" / "report.html").read_text()
    assert page.count("data:image/jpeg") == 4


def test_features_files_of_one_space(two, tmp_path, capsys):
    for name, folder in zip("ab", two, strict=True):
        featx.extract(folder, **QUICK).save(tmp_path / f"{name}.h5")
    result = featx.similarity(tmp_path / "a.h5", tmp_path / "b.h5", n_permutations=20)
    assert np.isnan(result.value("js_profile"))
    images = featx.similarity(*two, n_permutations=20, **QUICK)
    assert result.value("coral") == images.value("coral")
    featx.extract(two[1], **{**QUICK, "image_size": 48}).save(tmp_path / "b.h5")
    assert main(["similarity", str(tmp_path / "a.h5"), str(tmp_path / "b.h5")]) == 2
    err = capsys.readouterr().err
    assert "not in one space" in err
    assert "preprocessing.crop" in err


def test_both_sets_are_looked_at_before_any_work(two, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "featx.studies.drift.embed_dataset", lambda *args, **options: pytest.fail("extracted")
    )
    with pytest.raises(DatasetError, match="nosuch"):
        featx.similarity(two[0], tmp_path / "nosuch", **QUICK)


def test_what_cannot_be_compared(two):
    with pytest.raises(InputError, match="one of the two is a features file"):
        featx.similarity(rows(20, 0), two[0])
    with pytest.raises(DatasetError, match="9 images; at least 10"):
        featx.similarity(rows(20, 0), rows(9, 0))
    with pytest.raises(InputError, match="most must be a whole number from 10"):
        featx.similarity(rows(20, 0), rows(20, 0), most=5)
    bad = rows(20, 0)
    bad.embeddings[3] = np.nan
    with pytest.raises(InputError, match="embedding of r3 is not finite"):
        featx.similarity(bad, rows(20, 1))
    other = rows(20, 1)
    other.space = {"layer": "b"}
    with pytest.raises(FeaturesError, match="layer: a in features, b in features"):
        featx.similarity(rows(20, 0), other)


def scenes(n, seed, frames=5, ids="r", **given):
    """Features of n scenes with nearly the same rows in each."""
    data, of = frames_of(np.random.default_rng(seed), np.full(n, frames), 0.9)
    return Features(
        data.astype(np.float32),
        [f"{ids}{i}" for i in range(len(of))],
        space={"layer": "a"},
        groups=np.array([f"{ids}-scene {s}" for s in of]),
        **given,
    )


def test_frames_of_a_scene_are_no_evidence_of_drift_and_the_result_says_so(tmp_path):
    a, b = scenes(20, 4, ids="a"), scenes(16, 5, ids="b")
    result = featx.similarity(a, b, n_permutations=199)
    units = np.repeat(np.arange(36), 5)
    tested = mmd_test(a.embeddings, b.embeddings, units=units, n_permutations=199)
    assert (result.test["p_value"], result.value("mmd")) == (tested.p_value, tested.value)
    assert not result.drift
    assert result.told_apart < 0.7
    assert "may need more groups to show" in result.verdict()
    assert result.heading() == "features (A): 100 images (20 groups), features (B): 80 images (16 groups)"
    path = result.save(tmp_path)
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["units"] == {"images": 180, "units": 36, "groups": True, "copies": 0}
    assert [s["units"] for s in content["sets"]] == [20, 16]
    assert "MMD divided the groups anew" in path.read_text()
    # As if the rows were independent, they would be told apart.
    a.groups = b.groups = None
    assert featx.similarity(a, b, n_permutations=199).drift


def test_copies_of_a_picture_count_once_and_are_told():
    single = rows(30, 0, ids="x")
    many = single.subset(np.repeat(np.arange(30), 1))
    many.embeddings = np.repeat(single.embeddings, 4, axis=0)
    many.ids = [f"x{i}" for i in range(120)]
    other = rows(40, 1, ids="y")
    found, plain = (featx.similarity(x, other, n_permutations=199) for x in (many, single))
    assert found.sets[0]["units"] == plain.sets[0]["units"] == 30
    assert found.test["p_value"] == pytest.approx(plain.test["p_value"], abs=0.1)
    assert found.heading().startswith("features (A): 120 images (30 different pictures)")
    assert any("(A): 90 images are copies of another one" in note for note in found.notes)
    assert any("30 pictures are in both sets" in n for n in featx.similarity(single, many).notes)


def test_a_sample_takes_one_image_of_each_group_before_the_second():
    a = scenes(8, 0)
    a.groups[:] = ["large"] * 30 + a.groups[30:].tolist()
    result = featx.similarity(a, scenes(30, 1), most=10, n_permutations=20)
    assert [(s["used"], s["units"]) for s in result.sets] == [(10, 3), (10, 10)]
    assert [s["units"] for s in featx.similarity(a, a, most=12, n_permutations=20).sets] == [3, 3]


def test_a_set_that_is_one_group_cannot_be_tested_but_is_described():
    one = scenes(12, 0)
    one.groups[:] = "all"
    result = featx.similarity(one, scenes(12, 1, ids="o"), n_permutations=20)
    assert not result.drift
    assert result.test["p_value"] is None
    assert "No test of features (A) against features (B): one of them is a single group" in result.verdict()
    assert result.value("frechet") > 0
    assert result.most_different == []
    again = SimilarityResult.from_dict(json.loads(json.dumps(result.to_dict())))
    assert again.verdict() == result.verdict()
    few = featx.similarity(scenes(3, 0, ids="a"), scenes(3, 1, ids="b"), n_permutations=99)
    assert any("3 and 3 units are too few for the test" in note for note in few.notes)


def test_a_file_of_the_first_version_is_read():
    result = featx.similarity(rows(30, 0), rows(30, 1), n_permutations=20).to_dict()
    for one in (result, *result["sets"]):
        del one["units"]
    old = SimilarityResult.from_dict(result)
    assert old.heading() == "features (A): 30 images, features (B): 30 images"
    assert old.units == {}
