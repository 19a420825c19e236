"""The first estimate of a study, the time left, and what cells that have run teach."""

from __future__ import annotations

import types

import numpy as np
import pytest

from featx.data.splits import Split
from featx.methods.probes import probe_names
from featx.studies.checkpoints import Checkpoints
from featx.studies.evaluation import (
    Cell,
    FineTuning,
    LabelledRows,
    TuningSetup,
    cost,
    probe_method,
    time_left,
)
from featx.studies.evaluation.cost import Size, estimate_seconds
from featx.studies.evaluation.time_left import StudyProgress, _Pace


@pytest.fixture(autouse=True)
def known_machine(monkeypatch):
    monkeypatch.setattr(cost, "machine_speed", lambda: 1.0)
    monkeypatch.setattr("featx.machine.cores", lambda: 1)


@pytest.fixture
def seconds(monkeypatch):
    """Seconds of each method, whatever its size."""
    known = {"ridge": 30.0, "boosting": 90.0, "lda": 1.0}
    monkeypatch.setattr(
        time_left, "estimate_seconds", lambda size: None if size.fine_tuned else known[size.method]
    )
    return known


def cells(*names):
    rows = LabelledRows(np.zeros((20, 4), np.float32), np.arange(20) % 2, 2)
    return [Cell(probe_method(name), rows, Split(np.arange(10), np.arange(10, 20)), 0) for name in names]


@pytest.mark.parametrize("task", ["classes", "numbers"])
def test_every_probe_has_an_estimate_that_grows_with_rows_and_falls_with_speed(task, monkeypatch):
    for name in probe_names(task):
        few, many = (
            estimate_seconds(Size(name, n, n, 512, 5 if task == "classes" else 0)) for n in (100, 9000)
        )
        assert 0 < few < many < 10_000
    monkeypatch.setattr(cost, "machine_speed", lambda: 2.0)
    assert estimate_seconds(Size(name, 9000, 9000, 512, 5 if task == "classes" else 0)) == many / 2


def test_fine_tuning_has_no_estimate():
    assert estimate_seconds(Size("finetune-last", 100, 50, 512, 5, fine_tuned=True)) is None


def test_this_machine_is_compared_with_the_one_of_the_coefficients(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(cost, "_multiply", lambda: cost.REFERENCE_SECONDS * 2)
    cost.machine_speed.cache_clear()
    assert cost.machine_speed() == 0.5
    cost.machine_speed.cache_clear()


def test_the_first_line_says_cells_time_and_what_takes_most_of_it(seconds):
    study = StudyProgress(cells("ridge", "boosting", "boosting"), Checkpoints())
    assert study.announce() == "3 fits, about 4 min, most of it boosting (3 min)"
    tuned = Size("finetune-last", 10, 10, 4, 2, fine_tuned=True)
    study = StudyProgress(cells("ridge"), Checkpoints(), more=[tuned])
    assert study.announce() == "2 fits, about 30 s, without fine-tuning"
    assert StudyProgress(cells("lda"), Checkpoints()).announce() is None


class Forecast:
    """Seconds of fine-tuned cells by their method."""

    def __init__(self, **seconds):
        self.known = seconds

    def seconds(self, size, *, short=0.0):
        return self.known[size.method.removeprefix("finetune-")]


def test_the_time_of_fine_tuning_is_said_before_and_corrected_by_what_has_run(seconds):
    tuned = [Size(f"finetune-{mode}", 10, 10, 4, 2, fine_tuned=True) for mode in ("last", "full")]
    study = StudyProgress(
        cells("ridge"), Checkpoints(), more=tuned, forecast=Forecast(last=300.0, full=1200.0)
    )
    assert study.announce() == "3 fits, about 26 min, most of it finetune-full (20 min)"
    long = StudyProgress(
        cells("ridge"), Checkpoints(), more=tuned, forecast=Forecast(last=300.0, full=7200.0)
    )
    assert long.announce() == (
        "3 fits, about 2 h 5 min, most of it finetune-full (2 h); "
        "--baseline head, or fewer --epochs, take less"
    )
    pace = _Pace(1, Forecast(last=300.0, full=1200.0))
    pace.learn(
        Size("ridge", 10, 10, 4, 2), 60.0
    )  # twice as slow as estimated; the forecast was measured here
    assert [pace.expected(size) for size in tuned] == [300, 1200]
    pace.learn(tuned[0], 150.0)
    assert [pace.expected(size) for size in tuned] == [150, 1200]
    assert _Pace(2, Forecast(full=1200.0)).expected(tuned[1]) == 600


def test_a_cell_that_can_be_followed_says_what_it_does_and_how_long_it_takes(seconds, monkeypatch):
    (ridge,) = cells("ridge")
    followed = types.SimpleNamespace(doing="rate 1 of 2, epoch 3 of 8", seconds_left=400.0)
    monkeypatch.setattr(type(ridge.method), "followed", lambda self, cell: followed)
    study = StudyProgress([ridge], Checkpoints())
    with study.computing(ridge):
        text = "0 of 1 fits done, about 7 min left; fitting ridge, rate 1 of 2, epoch 3 of 8"
        assert study._describe()[1] == text


def test_the_first_training_with_a_mode_says_how_long_it_takes(capsys):
    rows = LabelledRows(np.zeros((20, 4), np.float32), np.arange(20) % 2, 2)
    setup = TuningSetup(types.SimpleNamespace(name="tiny"), [], "cpu")
    study = StudyProgress([], Checkpoints(), enabled=False, forecast=Forecast(last=100.0, head=1.0))
    study._enabled = True
    for mode, doing in (("head", "new head on tiny"), ("last", "fine-tuning tiny: last"), ("last", "")):
        cell = Cell(FineTuning.of(mode, setup), rows, Split(np.arange(10), np.arange(10, 20)), 0)
        with study.computing(cell):
            assert study._describe()[1].endswith(doing)
    assert capsys.readouterr().err == "fine-tuning tiny: last: about 2 min\n"


def test_cells_that_are_found_cost_nothing_and_are_said(seconds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kept, all_cells = Checkpoints(tmp_path / "cells.journal"), cells("ridge", "boosting")
    kept.add(all_cells[1].key, {})
    study = StudyProgress(all_cells, kept)
    assert study.announce() == "1 of 2 fits found in .; 1 to go, about 30 s"
    assert study._describe()[1] == "1 of 2 fits done, about 30 s left"


def test_time_left_counts_what_has_run_and_what_runs_now(seconds, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time_left.time, "perf_counter", lambda: clock[0])
    ridge, boosting = cells("ridge", "boosting")
    study = StudyProgress([ridge, boosting], Checkpoints())
    with study.computing(ridge):
        clock[0] += 20
        assert study._describe() == (0.0, "0 of 2 fits done, about 2 min left; fitting ridge")
        clock[0] += 40
    share, text = study._describe()
    # It took twice as long as estimated, so boosting will, too: 180 s.
    assert text == "1 of 2 fits done, about 3 min left; fitting ridge"
    assert share == pytest.approx(60 / 240)
    with study.computing(boosting):
        clock[0] += 170
        assert study._describe()[1] == "1 of 2 fits done, about 10 s left; fitting boosting"
    assert study._describe() == (1.0, "all 2 fits are done; scoring and checking")


def test_a_cell_that_fails_is_not_counted(seconds):
    (ridge,) = cells("ridge")
    study = StudyProgress([ridge], Checkpoints())
    with pytest.raises(ValueError, match="broken"), study.computing(ridge):
        raise ValueError("broken")
    assert study._describe()[1] == "0 of 1 fits done, about 30 s left; fitting ridge"


def test_estimates_are_corrected_by_method_then_by_all(seconds):
    pace = _Pace(1)
    ridge, boosting = Size("ridge", 10, 10, 4, 2), Size("boosting", 10, 10, 4, 2)
    tuned = [Size("finetune-last", n, 10, 4, 2, fine_tuned=True) for n in (100, 300)]
    assert [pace.expected(size) for size in (ridge, boosting, *tuned)] == [30, 90, None, None]
    pace.learn(ridge, 15.0)
    assert [pace.expected(size) for size in (ridge, boosting)] == [15, 45]
    pace.learn(boosting, 180.0)
    assert [pace.expected(size) for size in (ridge, boosting)] == [15, 180]
    pace.learn(tuned[0], 50.0)
    assert pace.expected(tuned[1]) == 150
    assert _Pace(2).expected(boosting) == 45  # two at a time


def test_quiet_studies_measure_and_show_nothing(seconds, monkeypatch, capsys):
    monkeypatch.setattr(time_left, "estimate_seconds", lambda size: pytest.fail("estimated"))
    (ridge,) = cells("ridge")
    with StudyProgress([ridge], Checkpoints(), enabled=False) as study, study.computing(ridge):
        pass
    assert capsys.readouterr().err == ""


def test_a_reference_that_is_done_at_once_corrects_no_other_estimate(seconds):
    seconds["majority"] = 0.0001
    pace = _Pace(1)
    pace.learn(Size("majority", 10, 10, 4, 2), 0.4)
    assert pace.expected(Size("ridge", 10, 10, 4, 2)) == 30
    # Itself is corrected.
    assert pace.expected(Size("majority", 10, 10, 4, 2)) == pytest.approx(0.4)


def test_checks_that_are_to_be_done_count_in_the_time_and_not_among_the_fits(seconds):
    check = Size(cost.COPIES, 10, 10, 4, 2)
    seconds[cost.COPIES] = 120.0
    study = StudyProgress(cells("ridge"), Checkpoints(), checks=[check])
    assert study.announce() == "1 fits, about 2 min, most of it search for copies (2 min)"
    assert study._describe()[1] == "0 of 1 fits done, about 2 min left"


@pytest.mark.parametrize("check", [cost.COPIES, cost.WRONG_LABELS])
def test_checks_take_longer_for_more_rows(check):
    few, many = (estimate_seconds(Size(check, n, n // 4, 1280, 10)) for n in (1000, 48_000))
    assert 0 < few < many < 100
