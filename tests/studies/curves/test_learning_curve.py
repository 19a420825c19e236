"""Learning curves: the same draws for all methods, one extraction, and a killed run that is resumed."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from pictures import BACKBONE, QUICK, write_photos

from featx import compare, extract, learning_curve
from featx.errors import InputError, UnknownName
from featx.results import CurveResult
from featx.studies.checkpoints import Checkpoints
from featx.studies.curves import CHECKPOINT_FILE
from featx.studies.evaluation import cells

SMALL = {key: value for key, value in QUICK.items() if key != "backbone"} | {"backbones": BACKBONE}
FAST = SMALL | {"classifiers": ["naive-bayes", "lda"], "shots": (1, 3, "all"), "seeds": 3}


def metrics(result):
    """Every number of every cell, as text: equal texts are equal to the last digit."""
    return json.dumps([[d.method, d.shots, d.draw, d.metrics] for d in result.draws])


@pytest.fixture
def noisy(tmp_path):
    """Photos, some in the folder of a wrong class, so that no method is always right."""
    root = write_photos(tmp_path / "noisy", 8)
    write_photos(root, 3, colours={"crimson": (60, 130, 220), "leaf": (200, 30, 50)}, seed=77)
    return root


@pytest.fixture
def no_work(monkeypatch):
    """After ``no_work()``, fitting a cell fails the test."""

    def forbid():
        def run(cell, **options):
            raise AssertionError(f"{cell.method.name} on {len(cell.split.train)} is fitted again")

        monkeypatch.setattr(cells.Cell, "run", run)

    return forbid


def test_every_method_has_the_same_images_and_the_embeddings_are_extracted_once(noisy, monkeypatch):
    met = {}
    run = cells.Cell.run

    def watched(cell, **options):
        met.setdefault((len(cell.split.train), cell.seed), []).append(cell.split.train.tolist())
        return run(cell, **options)

    monkeypatch.setattr(cells.Cell, "run", watched)
    result = learning_curve(noisy, **FAST, baseline="head")
    assert result.forward_passes == 24
    assert [m.name for m in result.methods] == ["pixels", "naive-bayes", "lda", "finetune-head"]
    assert len(met) == 9
    for rows in met.values():
        assert len(rows) == 4
        assert all(other == rows[0] for other in rows)
    for seed in {seed for _, seed in met}:
        few, more, everything = (set(met[n, seed][0]) for n in (3, 9, 18))
        assert few < more < everything
    assert learning_curve(noisy, **FAST).forward_passes == 0


def test_a_cell_is_what_the_probe_gives_on_those_images(noisy):
    from featx.data.splits import make_split
    from featx.methods.probes import fit_probe
    from featx.studies.curves.drawing import Level, draw

    result = learning_curve(noisy, **FAST)
    features = extract(noisy, **QUICK)
    split = make_split(features.labels)
    one = draw(features.labels, split.train, 3, number=2, seed=0)
    rows = one.rows(Level(3, (3, 3, 3)))
    fitted = fit_probe("lda", features.embeddings[rows], features.labels[rows], seed=one.seed)
    right = fitted.predict(features.embeddings[split.test]) == features.labels[split.test]
    (cell,) = [d for d in result.draws if (d.method, d.shots, d.draw) == ("lda", 3, 2)]
    assert cell.metrics["top1"] == right.mean()
    (point,) = [p for p in result.points if (p.method, p.shots) == ("lda", 3)]
    values = [d.metrics["top1"] for d in result.draws if (d.method, d.shots) == ("lda", 3)]
    assert point.metrics["top1"].value == pytest.approx(np.mean(values))
    assert point.metrics["top1"].low <= np.mean(values) <= point.metrics["top1"].high


def test_the_test_part_is_that_of_the_data(split_photos):
    result = learning_curve(split_photos, **FAST | {"shots": 2, "seeds": 1})
    assert (result.dataset["split"], result.dataset["n_train"], result.dataset["n_test"]) == ("given", 30, 15)
    assert [level.n_train for level in result.levels] == [6]
    assert "One draw only" in result.advice


def test_a_rerun_fits_nothing_and_gives_the_same(noisy, tmp_path, no_work):
    first = learning_curve(noisy, **FAST, resume=tmp_path / "out")
    assert first.cells == {"computed": 27, "resumed": 0}
    no_work()
    again = learning_curve(noisy, **FAST, resume=tmp_path / "out")
    assert again.cells == {"computed": 0, "resumed": 27}
    assert metrics(again) == metrics(first)
    assert all(draw.earlier_run for draw in again.draws)
    # Seconds, parameters and notes as well.
    assert [replace(draw, earlier_run=None) for draw in again.draws] == first.draws
    fewer = learning_curve(noisy, **FAST | {"shots": (1, 3), "seeds": 2}, resume=tmp_path / "out")
    assert fewer.cells == {"computed": 0, "resumed": 12}


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"classifiers": ["knn"]}, {"test_size": 0.4}, {"image_size": 48}]
)
def test_other_settings_never_take_what_is_not_theirs(noisy, tmp_path, change):
    learning_curve(noisy, **FAST | {"shots": 1, "seeds": 2}, resume=tmp_path / "out")
    options = FAST | {"shots": 1, "seeds": 2} | change
    mixed = learning_curve(noisy, **options, resume=tmp_path / "out")
    pixels = 2 if change.keys() & {"classifiers", "image_size"} else 0  # raw pixels are as they were
    assert mixed.cells["resumed"] == pixels
    assert metrics(mixed) == metrics(learning_curve(noisy, **options))


def test_an_edited_image_is_another_experiment(noisy, tmp_path):
    options = FAST | {"shots": ("all",), "seeds": 1, "classifiers": ["lda"]}
    learning_curve(noisy, **options, resume=tmp_path / "out")
    victim = noisy / "leaf" / "004.png"
    victim.write_bytes((noisy / "sky" / "001.png").read_bytes())
    assert learning_curve(noisy, **options, resume=tmp_path / "out").cells["resumed"] == 0


def test_the_numbers_do_not_depend_on_how_many_cells_run_at_a_time(noisy):
    options = FAST | {"classifiers": ["svm", "logreg"], "baseline": "head"}
    assert metrics(learning_curve(noisy, **options, n_jobs=1)) == metrics(
        learning_curve(noisy, **options, n_jobs=4)
    )


KILLED = """
import json, sys
import featx.machine
featx.machine.cpu_has_bf16 = lambda: False  # as in the tests
from featx import learning_curve
from featx.studies.evaluation import cells
options = json.loads(sys.argv[1])
run = cells.Cell.run

def told(cell, **options):
    print("cell", flush=True)
    return run(cell, **options)

cells.Cell.run = told
learning_curve(**options)
print("finished", flush=True)
"""


def test_a_run_that_is_killed_goes_on_where_it_was(noisy, tmp_path, thorough, monkeypatch):
    out = tmp_path / "out"
    options = FAST | {"baseline": ["head", "last"], "epochs": 1, "shots": (1, 3), "seeds": 2, "n_jobs": 1}
    arguments = json.dumps({"data": str(noisy), "resume": str(out), **options})
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    begun = 0
    stops = (1, 2, 3, 1, 4, 2) if thorough else (6,)
    for i, stop_at in enumerate(stops):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, arguments], stdout=subprocess.PIPE, text=True, env=environment
        )
        told = 0
        for line in child.stdout:
            told += line == "cell\n"
            if told == stop_at:
                # At any moment of the cell's work, or of keeping it.
                threading.Timer(0.003 * i, child.send_signal, [signal.SIGKILL]).start()
        child.wait()
        child.stdout.close()
        assert child.returncode == -signal.SIGKILL
        begun += told
    run = cells.Cell.run
    monkeypatch.setattr(cells.Cell, "run", lambda cell, **more: counted.append(cell) or run(cell, **more))
    counted = []
    resumed = learning_curve(noisy, **options, resume=out)
    # Only what was under way at a kill was begun twice: one cell each time, with one at a time.
    assert 20 <= begun + len(counted) <= 20 + len(stops)
    assert resumed.cells == {"computed": len(counted), "resumed": 20 - len(counted)}
    assert metrics(resumed) == metrics(learning_curve(noisy, **options))


def test_a_torn_record_is_computed_again(noisy, tmp_path):
    options = FAST | {"shots": 1, "seeds": 2}
    first = learning_curve(noisy, **options, resume=tmp_path)
    path = tmp_path / CHECKPOINT_FILE
    path.write_bytes(path.read_bytes()[:-9])
    again = learning_curve(noisy, **options, resume=tmp_path)
    assert again.cells == {"computed": 1, "resumed": 5}
    assert metrics(again) == metrics(first)
    assert Checkpoints(path).damaged == 1


def test_it_is_saved_and_read_again(noisy, tmp_path):
    result = learning_curve(noisy, **FAST, baseline="head")
    report = result.save(tmp_path / "out")
    assert report.read_text().startswith("<!DOCTYPE html>")
    content = json.loads((tmp_path / "out" / "curve.json").read_text())
    assert (content["schema"], content["kind"], content["n_draws"]) == (1, "curve", 3)
    assert len(content["draws"]) == 36
    read = CurveResult.read_json(tmp_path / "out" / "curve.json")
    assert read.draws == result.draws
    assert read.points == result.points
    assert read.crossings == result.crossings
    assert read.table() == result.table()
    rows = list(csv.DictReader((tmp_path / "out" / "curve.csv").read_text().splitlines()))
    assert len(rows) == 12
    assert float(rows[0]["top1"]) == result.points[0].metrics["top1"].value
    assert len(result.to_frame(draws=True)) == 36
    with pytest.raises(InputError, match=r"curve\.json"):
        CurveResult.read_json(tmp_path / "curve.json")
    (tmp_path / "other.json").write_text('{"schema": 1}')
    with pytest.raises(InputError, match=r"other\.json: not a learning curve"):
        CurveResult.read_json(tmp_path / "other.json")


def test_classes_with_few_images_give_what_they_have(noisy):
    for path in sorted((noisy / "sky").iterdir())[4:]:
        path.unlink()
    result = learning_curve(noisy, **FAST | {"shots": (5, "all"), "seeds": 2})
    assert result.levels[0].short == {"sky": 3}
    assert result.levels[0].n_train == 13
    assert any("5 shots: 1 of 3 classes have fewer images" in w for w in result.warnings)
    assert any("more than half of their training images in common" in w for w in result.warnings)
    assert [level.pool_from for level in result.levels] == [None, None]
    assert "nothing tells what training images other than these would give" in result.table()


def test_a_new_head_is_a_rival_of_fine_tuning_and_has_no_crossing_of_its_own(noisy):
    result = learning_curve(noisy, **FAST | {"shots": (2, 5)}, baseline="head")
    assert result.crossings == []
    assert "No fine-tuned baseline was run" in result.advice
    tuned = replace(result.methods[-1], name="finetune-full")
    assert tuned.trains_network
    assert not result.methods[-1].trains_network


def test_fine_tuning_watches_part_of_a_draw_but_not_of_the_smallest(noisy):
    result = learning_curve(
        noisy, **FAST | {"shots": (2, 5), "seeds": 1}, baseline=["last"], epochs=1, augment=True
    )
    few, more = [d.params for d in result.draws if d.method == "finetune-last"]
    assert (few["n_fit"], few["n_watched"]) == (6, 0)
    assert (more["n_fit"], more["n_watched"]) == (12, 3)
    assert few["augment"]
    assert few["epochs"] == 1
    assert result.left_out == {"finetune-last": ["a search for the learning rate"]}
    assert "Left out, so that fine-tuning may do better in a comparison" in result.table()
    assert "without validation" in result.recipe
    (crossing,) = result.crossings
    assert crossing.method == "finetune-last"


def test_a_features_file_is_enough(noisy, tmp_path):
    extract(noisy, **QUICK).save(tmp_path / "f.h5")
    options = {"classifiers": "lda", "shots": (1, 3), "seeds": 2}
    result = learning_curve(tmp_path / "f.h5", **options)
    assert [m.name for m in result.methods] == ["lda"]
    full = learning_curve(noisy, **SMALL | options)
    assert metrics(result) == json.dumps(json.loads(metrics(full))[4:])
    with pytest.raises(InputError, match="fine-tuning needs the images"):
        learning_curve(tmp_path / "f.h5", **options, baseline="head")


def test_copies_of_test_images_are_one_unit(noisy):
    for label in ("leaf", "sky"):
        for path in sorted((noisy / label).iterdir())[:4]:
            (noisy / label / f"copy-of-{path.name}").write_bytes(path.read_bytes())
    result = learning_curve(noisy, **FAST, test_size=0.5)
    units = result.units
    assert units["units"] == units["images"] - units["copies"] < units["images"]
    assert result.units_note in result.table()


def test_the_result_says_what_intervals_are_over_and_who_leads(noisy):
    result = learning_curve(noisy, **FAST | {"seeds": 4})
    assert result.intervals == "draws and test images"
    assert [level.pool_from for level in result.levels] == [1, 3, 3]
    assert result.levels[0].overlap == pytest.approx(1 / 6)
    assert all(p.metrics["top1"].high - p.metrics["top1"].low > 0.05 for p in result.points)
    for level, leader in zip(result.levels, result.leaders, strict=True):
        assert (leader.method, leader.backbone) == result.best(level).id
        assert leader.optimism >= 0
    assert "has the highest mean top-1" in result.advice
    assert "Intervals hold for other test images and other training images; above 3 images" in result.table()


def test_groups_stay_on_one_side_and_are_drawn_in_turn(noisy, tmp_path):
    rows = ["path,label,group"]
    for path in sorted(noisy.rglob("*.png")):
        rows.append(f"{path},{path.parent.name},{path.parent.name}-{int(path.stem) // 3}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    result = learning_curve(tmp_path / "t.csv", **FAST | {"shots": (1, 2, "all"), "seeds": 2})
    assert [level.shots for level in result.levels] == [1, 2, "all"]
    assert result.units["groups"]
    assert "groups as the units" in result.table()


def test_a_number_is_no_class(noisy, tmp_path):
    rows = ["path,size,label"]
    for k, path in enumerate(sorted(noisy.rglob("*.png"))):
        rows.append(f"{path},{k},{path.parent.name}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    features = extract(tmp_path / "t.csv", label="label", target="size", **QUICK)
    with pytest.raises(InputError, match=r"several tasks \(label, size\)"):
        learning_curve(features, classifiers="lda")
    with pytest.raises(InputError, match="size is a number"):
        learning_curve(features.select(target="size"), classifiers="lda")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"shots": 0}, InputError, "shots: expected whole numbers of at least 1"),
        ({"seeds": 0}, InputError, "seeds must be None or a whole number"),
        ({"classifiers": "logrek"}, UnknownName, "did you mean logreg"),
        ({"classifiers": "pixels"}, InputError, "is a reference"),
        ({"baseline": "fullest"}, UnknownName, "did you mean full"),
        ({"protocol": "few"}, UnknownName, "unknown protocol 'few'"),
        ({"n_jobs": 0}, InputError, "n_jobs"),
    ],
)
def test_what_makes_no_sense_is_refused(noisy, options, error, message):
    with pytest.raises(error, match=message):
        learning_curve(noisy, **FAST | options)


def test_a_protocol_sets_what_is_not_given(noisy):
    result = learning_curve(noisy, **SMALL, protocol="lsr-fewshot", classifiers="ridge")
    assert [level.shots for level in result.levels] == [1, 5, "all"]
    assert (result.n_draws, result.protocol) == (3, "lsr-fewshot")


def test_a_killed_comparison_goes_on_where_it_was(noisy, tmp_path, monkeypatch):
    options = SMALL | {"classifiers": ["lda", "naive-bayes"], "baseline": ["head", "last"], "epochs": 1}
    fitted, kills = [], [KeyboardInterrupt]
    work = cells.Cell.run

    def counting(cell, **more):
        fitted.append(cell.method.name.removeprefix("finetune-"))
        if cell.method.name == "naive-bayes" and kills:
            raise kills.pop()
        return work(cell, **more)

    monkeypatch.setattr(cells.Cell, "run", counting)
    with pytest.raises(KeyboardInterrupt):
        compare(noisy, **options, resume=tmp_path / "out")
    resumed = compare(noisy, **options, resume=tmp_path / "out")
    assert fitted == ["majority", "pixels", "lda", "naive-bayes", "naive-bayes", "head", "last"]
    fitted.clear()
    again = compare(noisy, **options, resume=tmp_path / "out")
    assert fitted == []
    whole = compare(noisy, **options)
    for one, two, three in zip(resumed.methods, again.methods, whole.methods, strict=True):
        assert one.metrics == two.metrics == three.metrics
        assert one.confusion == two.confusion == three.confusion
        assert one.mistakes == two.mistakes == three.mistakes
        assert one.params == two.params
    assert compare(noisy, **options | {"seed": 1}, resume=tmp_path / "out").methods[2].params
    assert fitted == ["majority", "pixels", "lda", "naive-bayes", "head", "last"] * 2
