"""Train on one domain, test on another: the protocol, the files, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pictures import QUICK, QUICK_OPTIONS, write_photos

from featx import Features
from featx.cli import main
from featx.errors import DatasetError, InputError, UnknownName
from featx.results import DomainResult
from featx.studies import units
from featx.studies.comparison import compare_domains


def blobs(n, seed, *, move=0.0, turn=1.0, classes=("a", "b", "c"), split=True, space=1):
    """Rows of three classes; half of them train."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % len(classes)
    centres = 4 * np.eye(8)[[ord(c) - ord("a") for c in classes]]
    rows = (rng.normal(size=(n, 8)) + centres[y]) * turn
    rows[:, 0] += move
    splits = np.where(np.arange(n) < n // 2, "train", "test") if split else None
    return Features(
        rows.astype(np.float32), [f"{seed}-{i}" for i in range(n)], y, classes, splits, space={"v": space}
    )


UNLABELLED = Features(np.ones((3, 8), np.float32), ["x", "y", "z"], space={"v": 1})


@pytest.fixture(scope="module")
def result():
    return compare_domains(blobs(120, 0), blobs(180, 1, move=6.0, turn=1.0), n_boot=100)


def test_every_method_meets_the_target_test_rows(result):
    assert [(m.name, m.kind) for m in result.methods] == [
        ("source-only", "source"),
        ("per-domain", "adapted"),
        ("coral", "adapted"),
        ("subspace", "adapted"),
        ("tca", "adapted"),
        ("target-trained", "bound"),
    ]
    assert (result.source["n_train"], result.source["n_test"]) == (60, 60)
    assert (result.target["n_train"], result.target["n_test"]) == (90, 90)
    for m in result.methods:
        assert m.top1.low <= m.top1.value <= m.top1.high


def test_a_shift_and_scaling_is_undone_by_matching_moments(result):
    by_name = {m.name: m for m in result.methods}
    base = by_name["source-only"]
    assert base.versus_source is None
    assert result.source["top1"].value > 0.9 > base.top1.value
    for name in ("per-domain", "target-trained"):
        m = by_name[name]
        assert m.top1.value > 0.9
        assert m.differs
        assert m.versus_source["difference"] == pytest.approx(m.top1.value - base.top1.value)
    assert "gains most without any target label" in result.advice


def test_target_labels_change_no_adapted_method():
    source, target = blobs(60, 0), blobs(60, 1, move=2.0)
    mislabelled = blobs(60, 1, move=2.0)
    mislabelled.labels[:30] = (mislabelled.labels[:30] + 1) % 3  # in the training half only
    one, other = (compare_domains(source, t, n_boot=10, adaptations=["coral"]) for t in (target, mislabelled))
    assert one.methods[1].metrics["log_loss"] == other.methods[1].metrics["log_loss"]
    assert one.methods[-1].metrics["log_loss"] != other.methods[-1].metrics["log_loss"]


def test_classes_are_matched_by_name_and_may_be_fewer():
    result = compare_domains(
        blobs(60, 0), blobs(60, 1, classes=("c", "a")), n_boot=10, adaptations="per-domain"
    )
    assert result.methods[0].top1.value > 0.9
    assert result.methods[-1].top1.value > 0.9


def test_what_is_too_large_is_left_out_and_said():
    result = compare_domains(blobs(2400, 0), blobs(1800, 1), n_boot=10, adaptations=["tca"])
    assert [m.name for m in result.methods] == ["source-only", "target-trained"]
    assert result.warnings == [
        "Transfer component analysis left out: 2100 training images of both domains, at most 2000"
    ]


def test_what_is_written_can_be_read(result, tmp_path):
    result.source["name"] = "<photos>"
    report = result.save(tmp_path / "out").read_text(encoding="utf-8")
    data = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (data["schema"], data["kind"], len(data["methods"])) == (1, "domains", 6)
    test = {"p_value", "difference", "low", "high", "effect"}
    adjusted = {"p_adjusted", "low_adjusted", "high_adjusted", "detectable"}
    assert set(data["methods"][2]["versus_source"]) == test | adjusted
    assert data["methods"][0]["versus_source"] is None
    assert "<photos>" not in report
    assert "&lt;photos&gt;" in report
    assert "Subspace alignment" in report
    lines = (tmp_path / "out" / "results.csv").read_text().splitlines()
    assert lines[0].startswith("name,title,kind,top1,top1_low,top1_high")
    assert len(lines) == 7
    assert "Trained on the target" in result.table()


@pytest.mark.parametrize(
    ("source", "target", "options", "error", "message"),
    [
        (
            blobs(60, 0),
            blobs(60, 1, classes=("a", "d")),
            {},
            DatasetError,
            "class 'd' is not one of features",
        ),
        (blobs(60, 0), blobs(60, 1, space=2), {}, InputError, "embeddings of different spaces"),
        (blobs(60, 0), UNLABELLED, {}, DatasetError, "no labels"),
        (blobs(60, 0), blobs(60, 1), {"adaptations": "corall"}, UnknownName, "did you mean coral"),
        (blobs(60, 0), blobs(60, 1), {"limit": 5}, InputError, "limit does not apply to features"),
    ],
)
def test_what_cannot_be_compared_is_refused(source, target, options, error, message):
    with pytest.raises(error, match=message):
        compare_domains(source, target, **options)


def test_folders_on_the_command_line(capsys, tmp_path):
    write_photos(tmp_path / "photos", 12)
    write_photos(
        tmp_path / "dark", 12, colours={"crimson": (40, 6, 10), "leaf": (8, 32, 12), "sky": (12, 26, 44)}
    )
    command = ["compare", str(tmp_path / "photos"), "--target-domain", str(tmp_path / "dark")]
    command += ["-o", str(tmp_path / "out"), "--quiet", *QUICK_OPTIONS]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "photos -> dark: 27 labelled source and 27 unlabelled target images, 9 test images" in out
    assert json.loads((tmp_path / "out" / "results.json").read_text())["forward_passes"] == 72
    assert main([*command, "--classifiers", "knn", "lda"]) == 2
    assert "--classifiers takes one name with --target-domain, got 2" in capsys.readouterr().err
    assert main([*command, "--target", "age"]) == 2
    assert "--target does not go with --target-domain" in capsys.readouterr().err
    # What has no place there is not passed over in silence.
    for option in (["--seeds", "3"], ["--baseline", "head"], ["--epochs", "2"]):
        assert main([*command, *option]) == 2
        assert f"{option[0]} does not go with --target-domain" in capsys.readouterr().err


def test_folders_from_python_share_the_cache(photos):
    result = compare_domains(photos, photos, n_boot=10, adaptations="coral", **QUICK)
    assert result.forward_passes == 24
    assert result.methods[0].top1 == result.source["top1"]


def test_tests_against_source_only_are_one_family(result):
    right = [m for m in result.methods if m.kind != "source"]
    for m in right:
        test = m.versus_source
        assert test["p_adjusted"] >= test["p_value"]
        assert (
            test["low_adjusted"] <= test["low"] <= test["difference"] <= test["high"] <= test["high_adjusted"]
        )
        assert m.differs == (test["p_adjusted"] <= 0.05)
    assert result.selection["methods"] == 4
    assert result.selection["optimism"] >= 0
    assert "adjusted p" in result.advice
    frame = result.to_frame().set_index("name")
    assert frame.loc["tca", "p_adjusted"] == right[3].versus_source["p_adjusted"]


def test_groups_of_the_target_are_the_units_of_its_test():
    target = blobs(180, 1, move=6.0, split=True)
    alone = compare_domains(blobs(120, 0), target, adaptations=["per-domain", "coral"], n_boot=100)
    assert alone.units == {"images": 90, "units": 90, "groups": False, "copies": 0}
    target.groups = np.arange(180) // 6
    grouped = compare_domains(blobs(120, 0), target, adaptations=["per-domain", "coral"], n_boot=100)
    assert grouped.units == {"images": 90, "units": 15, "groups": True, "copies": 0}
    assert "count 15 groups as the units of 90 test images" in grouped.heading()
    for one, other in zip(alone.methods, grouped.methods, strict=True):
        assert one.top1.value == other.top1.value
        if one.kind != "source":
            assert other.versus_source["p_value"] != one.versus_source["p_value"]
            assert other.versus_source["p_value"] >= 2 / 2**15


def test_copies_in_the_target_test_images_count_once():
    target = blobs(180, 1, move=6.0)
    target.embeddings[120:150] = target.embeddings[90:120]
    target.labels[120:150] = target.labels[90:120]
    found = compare_domains(blobs(120, 0), target, adaptations=["coral"], n_boot=100)
    assert found.units == {"images": 90, "units": 60, "groups": False, "copies": 30}
    assert found.table().splitlines()[-1].startswith("search for copies: ")
    cost = found.search_for_copies["seconds"]
    assert DomainResult.from_dict(found.to_dict()).search_for_copies["seconds"] == cost
    apart = compare_domains(blobs(120, 0), target, adaptations=["coral"], n_boot=100, checks=False)
    assert apart.units == {"images": 90, "units": 90, "groups": False, "copies": None}
    assert apart.warnings == [units.unsearched()]
    assert apart.search_for_copies is None
    assert "search for copies" not in apart.table()


def test_without_a_shown_gain_the_advice_says_what_would_have_been_shown():
    same = compare_domains(blobs(120, 0), blobs(180, 1), adaptations=["per-domain", "coral"], n_boot=100)
    assert "No adaptation shows a gain" in same.advice
    assert "would be shown with 80 % power" in same.advice


def test_an_older_comparison_of_domains_is_read(result):
    content = result.to_dict()
    del content["selection"], content["units"]
    for method in content["methods"][1:]:
        for name in ("p_adjusted", "low_adjusted", "high_adjusted", "detectable"):
            del method["versus_source"][name]
    old = DomainResult.from_dict(json.loads(json.dumps(content)))
    assert not old.methods[1].is_adjusted
    assert old.methods[1].p == result.methods[1].versus_source["p_value"]
    assert old.lines()[2][2].startswith("+")
