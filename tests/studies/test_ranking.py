"""Rank backbones and layers: one pass each, the scores beside a probe, and the files."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from pictures import BACKBONE
from scipy.stats import kendalltau, weightedtau

import featx
from featx.analysis.transferability import leep, logme, nce, softmax
from featx.cli import main
from featx.errors import InputError
from featx.metrics import Interval, compare_pairs
from featx.options import Run
from featx.results.ranking import Candidate, RankingResult
from featx.studies.units import find_units

TINY = {"weights": None, "image_size": 32, "engine": "torch", "precision": "fp32"}


def test_scores_are_those_of_the_embeddings_and_one_pass_is_enough(photos):
    result = featx.rank(photos, backbones=[BACKBONE], probe=False, **TINY)
    assert result.forward_passes == 24
    features = featx.extract(photos, backbone=BACKBONE, **TINY)
    logits = featx.extract(photos, backbone=BACKBONE, layer="logits", **TINY)
    assert features.run["forward_passes"] == logits.run["forward_passes"] == 0  # both were kept
    (candidate,) = result.candidates
    X, y, P = features.embeddings, features.labels, softmax(logits.embeddings)
    np.testing.assert_allclose(P.sum(axis=1), 1)
    expected = {"logme": logme(X, y), "leep": leep(P, y), "nce": nce(P, y)}
    assert candidate.scores["h_score"] is None  # 24 images, 512 values
    for name, value in expected.items():
        assert candidate.scores[name] == pytest.approx(value, rel=1e-9), name
    assert candidate.probe is None
    assert result.spaces == [features.space]
    assert featx.rank(photos, backbones=[BACKBONE], probe=False, **TINY).forward_passes == 0


def test_a_probe_on_every_layer_and_how_alike_they_are(photos, tmp_path):
    layers = ["features.0", "features.7", "logits"]
    result = featx.layer_ablation(photos, backbone=BACKBONE, layers=layers, **TINY)
    assert [(c.dim, c.depth) for c in result.candidates] == [(64, 1), (256, 2), (1000, 3)]
    assert result.candidates[0].scores["h_score"] is None
    assert any("no H-score" in note for note in result.notes)
    assert all(c.probe.low <= c.probe.value <= c.probe.high for c in result.candidates)
    assert result.candidates[0].probe.value > 0.9  # three plain colours
    cka = np.array(result.cka)
    np.testing.assert_allclose(np.diag(cka), 1)
    assert result.cka_images == 24
    report = result.save(tmp_path / "o")
    content = json.loads((tmp_path / "o" / "results.json").read_text())
    assert content["schema"] == 1
    assert content["candidates"][1]["probe"]["value"] == result.candidates[1].probe.value
    assert "Accuracy against depth" in report.read_text()


def test_a_given_split_is_kept(split_photos):
    result = featx.rank(split_photos, backbones=[BACKBONE], **TINY)
    assert (result.dataset["n"], result.dataset["n_test"]) == (30, 15)
    assert (result.units["images"], result.units["groups"]) == (15, False)
    features = featx.extract(split_photos, backbone=BACKBONE, **TINY)
    train = features.splits == "train"
    expected = logme(features.embeddings[train], features.labels[train])
    assert result.candidates[0].scores["logme"] == pytest.approx(expected, rel=1e-9)


def made_up():
    accuracies, scores = [0.9, 0.7, 0.8, 0.6], [1.0, 0.4, 0.3, 0.2]
    return RankingResult(
        {"name": "made up", "n": 10, "n_test": None, "n_classes": 2},
        [
            Candidate(f"net{i}", "flatten", 1, 8, {"logme": s, "leep": None}, Interval(a, a - 0.05, a + 0.05))
            for i, (a, s) in enumerate(zip(accuracies, scores, strict=True))
        ],
    )


def test_the_correlation_is_that_of_the_ranks():
    from featx.studies.ranking import _correlate

    result = made_up()
    _correlate(result)
    a, s = [0.9, 0.7, 0.8, 0.6], [1.0, 0.4, 0.3, 0.2]
    found = result.correlations["logme"]
    assert found["tau"] == pytest.approx(kendalltau(a, s).statistic) == pytest.approx(2 / 3)
    assert found["weighted_tau"] == pytest.approx(weightedtau(a, s).statistic)
    assert "leep" not in result.correlations
    assert [c.backbone for c in result.ranked()] == ["net0", "net2", "net1", "net3"]
    assert "LogME would have chosen it as well" in result.verdict()
    result.candidates[3].scores["logme"] = 9.0
    assert "LogME would have chosen net3 (flatten), 30.0 points less" in result.verdict()


def test_no_group_and_no_picture_is_on_both_sides_of_a_fold(photos, tmp_path, monkeypatch):
    from featx.studies import candidates, ranking

    twice = tmp_path / "twice"
    shutil.copytree(photos, twice)
    for path in sorted(twice.rglob("*.png")):
        shutil.copy(path, path.with_name(f"again-{path.name}"))
    data = featx.load_dataset(twice)
    rows = np.random.default_rng(0).normal(size=(24, 5))
    pictures = [id.replace("again-", "") for id in data.ids]
    X = rows[np.unique(pictures, return_inverse=True)[1]].astype(np.float32)
    run = Run(verbose=False, cache=tmp_path / "cache")
    pictures = ranking.find_copies_among(X, ranking.take_fingerprints(data.images, run), run)
    found = find_units(None, pictures, 48)
    assert found.describe(np.arange(48)) == {"images": 48, "units": 24, "groups": False, "copies": 24}
    cells = []
    monkeypatch.setattr(candidates, "run_cells", lambda given, **options: cells.extend(given) or [])
    with pytest.raises(ValueError, match="zip"):
        next(candidates.answer_by_probe([X], np.asarray(data.labels), found, None, 0, Run(n_jobs=1)))
    assert len(cells) == 5
    for cell in cells:
        assert not set(found.of[cell.split.train]) & set(found.of[cell.split.test])


def test_probes_are_tested_against_the_best_one_as_a_family():
    from featx.studies.ranking import _compare_probes

    result = made_up()
    rng = np.random.default_rng(0)
    right = rng.random((4, 200)) < np.array([0.9, 0.88, 0.89, 0.5])[:, None]
    for c, answers in zip(result.candidates, right, strict=True):
        c.probe = Interval(float(answers.mean()))
    result.candidates[1].scores["logme"] = 9.0
    _compare_probes(result, right, None, 0)
    best = result.best()
    assert best.versus_best is None
    assert result.selection["methods"] == 4
    family = compare_pairs(right)
    at = result.candidates.index(best)
    for i, c in enumerate(result.candidates):
        if i != at:
            assert c.p_adjusted == family.p_adjusted[i, at]
    said = result.verdict()
    next_ = result.ranked()[1].backbone
    assert f"Its lead over the next, {next_} (flatten), is" in said
    assert "so the choice among" in said
    assert "With these images, a difference of" in said
    assert "flatters it by about" in said
    table = result.table()
    assert "points vs best" in table
    assert f"{result.candidates[3].against_best()}" in table
    again = RankingResult.from_dict(json.loads(json.dumps(result.to_dict())))
    assert again.verdict() == said
    # Each of 10 groups of 20 is right or wrong as a whole: the same answers tell much less.
    grouped = np.repeat(rng.random((4, 10)) < 0.7, 20, axis=1)
    for c, answers in zip(result.candidates, grouped, strict=True):
        c.probe = Interval(float(answers.mean()))
        c.versus_best = None
    _compare_probes(result, grouped, np.repeat(np.arange(10), 20), 0)
    assert min(c.p_adjusted for c in result.candidates if c is not result.best()) > 0.05


def compared(differences, seconds):
    """Candidates of which the first is best; a difference is shown where its interval leaves out 0."""
    result = made_up()
    result.candidates = result.candidates[:3]
    for c, value in zip(result.candidates[1:], differences, strict=True):
        c.probe = Interval(0.9 + value)
        c.versus_best = {"p_value": 0.01, "p_adjusted": 0.02 if value < -0.03 else 0.4, "difference": value}
        c.versus_best |= {"low_adjusted": value - 0.03, "high_adjusted": value + 0.03, "detectable": 0.05}
    for c, cost in zip(result.candidates, seconds, strict=True):
        result.extraction[c.backbone] = {
            "cached": 9,
            "computed": 1,
            "seconds": 1.5,
            "seconds_per_image": cost,
        }
    return result


def test_the_verdict_says_how_sure_the_choice_is_and_what_is_cheaper():
    sure = compared([-0.2, -0.1], (5e-3, 2e-3, 6e-3))
    said = sure.verdict()
    assert said.startswith("Use net0 (flatten): its probe is the most accurate, top-1 0.900")
    assert (
        "Its lead over the next, net2 (flatten), is 10.0 points [7.0, 13.0] (adjusted p = 0.020); each of "
        "the 2 others is shown to be less accurate."
    ) in said
    assert "costs less" not in said
    assert sure.next_steps == ["featx compare DATA --backbone net0 -o results"]
    open_ = compared([-0.02, -0.01], (5e-3, 2e-3, 6e-3))
    said = open_.verdict()
    assert said.startswith("No candidate is shown to be the best: net0 (flatten) is ahead, top-1 0.900")
    assert (
        "Its lead over the next, net2 (flatten), is 1.0 points [−2.0, 4.0] (adjusted p = 0.40), so the "
        "choice among net0 (flatten), net2 (flatten) and net1 (flatten) is open."
    ) in said
    assert "net1 (flatten) costs less: 2.0 ms an image instead of 5.0 ms." in said
    assert "−1.0 [−4.0, 2.0] (p = 0.40)".replace("2.0]", "+2.0]") in open_.table()
    assert "9 images   1 image  1.5 s          2.0" in open_.table()
    unknown = compared([-0.02, -0.01], (5e-3, None, 6e-3))
    unknown.candidates[2].dim = 4
    assert "net2 (flatten) has fewer values: 4 instead of 8." in unknown.verdict()


def test_candidates_of_the_same_accuracy_are_not_ahead_of_one_another():
    said = compared([0.0, -0.2], (5e-3, 2e-3, 6e-3)).verdict()
    assert said.startswith(
        "No candidate is shown to be the best: none has a higher top-1 than net0 (flatten)"
    )
    assert "0.0 points less" not in said


def test_rows_in_the_cache_are_used_though_the_logits_are_not_there(photos, tmp_path):
    options = TINY | {"cache": tmp_path / "cache"}
    features = featx.extract(photos, backbone=BACKBONE, **options)
    result = featx.rank(photos, backbones=[BACKBONE], **options)
    assert result.forward_passes == 0
    assert result.candidates[0].scores["leep"] is None
    assert any("its logits are not in the cache" in note for note in result.notes)
    assert result.spaces == [features.space]
    cost = result.extraction[BACKBONE]
    assert (cost["images"], cost["cached"], cost["computed"]) == (24, 24, 0)
    assert "24 images" in result.table()
    # Asked for, they are computed; from then on they are there.
    asked = featx.rank(photos, backbones=[BACKBONE], layers=["flatten", "logits"], probe=False, **options)
    assert asked.forward_passes == 24
    again = featx.rank(photos, backbones=[BACKBONE], probe=False, **options)
    assert again.forward_passes == 0
    assert again.candidates[0].scores["leep"] is not None
    report = result.save(tmp_path / "o").read_text()
    assert "Cost of the embeddings" in report
    assert f"--backbone {BACKBONE} -o results" in report


def test_an_older_ranking_is_read():
    content = made_up().to_dict()
    del content["selection"], content["units"], content["extraction"]
    for candidate in content["candidates"]:
        del candidate["versus_best"]
    old = RankingResult.from_dict(content)
    assert not old.tested
    assert "points vs best" not in old.table()


def test_the_command_ranks_and_lists_layers(capsys, photos, tmp_path):
    options = ["--weights", "random", "--image-size", "32", "--engine", "torch", "--precision", "fp32"]
    args = ["rank", str(photos), "--backbones", BACKBONE, "mnasnet0_5", *options, "--quiet"]
    assert main([*args, "-o", str(tmp_path / "o")]) == 0
    out = capsys.readouterr().out
    assert "LogME" in out
    assert "mnasnet0_5" in out
    rows = list(csv.DictReader((tmp_path / "o" / "results.csv").read_text().splitlines()))
    assert {row["backbone"] for row in rows} == {BACKBONE, "mnasnet0_5"}
    assert float(rows[0]["probe_low"]) <= float(rows[0]["probe"]) <= float(rows[0]["probe_high"])
    layers = ["--layers", "features.0", "features.3"]
    assert main([*args[:3], BACKBONE, *options, "--quiet", "--no-probe", *layers]) == 0
    assert "features.3" in capsys.readouterr().out
    assert main(["backbones", BACKBONE, "--layers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1:3] for line in lines[1:3]] == [["features.0", "64"], ["features.3", "128"]]


def test_what_cannot_be_ranked(photos, capsys):
    with pytest.raises(InputError, match="at least one"):
        featx.rank(photos, backbones=[], **TINY)
    with pytest.raises(InputError, match="layers: at least one"):
        featx.rank(photos, backbones=BACKBONE, layers=[], **TINY)
    flat = photos / "sky"
    assert main(["rank", str(flat), "--quiet"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
