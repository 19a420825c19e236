"""Rank backbones and layers: one pass each, the scores beside a probe, and the files."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from pictures import BACKBONE
from scipy.stats import kendalltau, weightedtau

import featx
from featx.analysis.transferability import leep, logme, nce, softmax
from featx.cli import main
from featx.errors import InputError
from featx.metrics import Interval
from featx.results.ranking import Candidate, RankingResult

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
    assert candidate.scores["h_score"] is None  # 24 images, 1024 values
    for name, value in expected.items():
        assert candidate.scores[name] == pytest.approx(value, rel=1e-9), name
    assert candidate.probe is None
    assert result.spaces == [features.space]
    assert featx.rank(photos, backbones=[BACKBONE], probe=False, **TINY).forward_passes == 0


def test_a_probe_on_every_layer_and_how_alike_they_are(photos, tmp_path):
    result = featx.layer_ablation(photos, backbone=BACKBONE, layers=["conv1", "stage3", "logits"], **TINY)
    assert [(c.dim, c.depth) for c in result.candidates] == [(24, 1), (96, 2), (1000, 3)]
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
    assert main([*args[:3], BACKBONE, *options, "--quiet", "--no-probe", "--layers", "conv1", "stage2"]) == 0
    assert "stage2" in capsys.readouterr().out
    assert main(["backbones", BACKBONE, "--layers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1:3] for line in lines[1:3]] == [["conv1", "24"], ["stage2", "48"]]


def test_what_cannot_be_ranked(photos, capsys):
    with pytest.raises(InputError, match="at least one"):
        featx.rank(photos, backbones=[], **TINY)
    with pytest.raises(InputError, match="layers: at least one"):
        featx.rank(photos, backbones=BACKBONE, layers=[], **TINY)
    flat = photos / "sky"
    assert main(["rank", str(flat), "--quiet"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
