"""Cells run alone or in threads: the same records, kept as they finish, also when Ctrl-C comes."""

from __future__ import annotations

import _thread
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

import featx
from featx.cli import main
from featx.data.splits import Split
from featx.methods.probes.training_rows import TrainingRows
from featx.studies.checkpoints import Checkpoints
from featx.studies.evaluation import Cell, LabelledRows, cells, probe_method, run_cells, run_cells_in_parallel
from featx.studies.evaluation.running import _in_groups


@pytest.fixture(scope="module")
def study():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(3), 20)
    rows = LabelledRows((rng.normal(size=(3, 8))[y] + rng.normal(size=(60, 8))).astype(np.float32), y, 3)
    splits = [Split(np.arange(start, 60, 2), np.arange(1 - start, 60, 2)) for start in (0, 1)]
    names = ("ridge", "lda")
    return [
        Cell(probe_method(name), rows, split, seed) for name in names for seed in (0, 1) for split in splits
    ]


def test_cells_in_threads_have_the_outcomes_of_cells_alone_in_their_order(study):
    alone = list(run_cells(study))
    for jobs in (1, 2):
        together = run_cells_in_parallel(study, Checkpoints(), n_jobs=jobs)
        assert [o.method.name for o in together] == [o.method.name for o in alone]
        for one, other in zip(together, alone, strict=True):
            assert one.params == other.params
            np.testing.assert_array_equal(one.labels, other.labels)


def test_cells_of_a_split_are_one_group_unless_threads_would_wait(study):
    groups = _in_groups(study, 2)
    assert sorted(map(len, groups)) == [2] * 4
    assert all(len({(id(c.split), c.seed) for c in group}) == 1 for group in groups)
    assert sorted(map(len, _in_groups(study, 3))) == [1] * 8


def test_cells_of_a_split_share_its_training_rows(study, monkeypatch):
    made = []
    monkeypatch.setattr(
        "featx.methods.probes.training_rows.TrainingRows",
        lambda *args, **more: made.append(0) or TrainingRows(*args, **more),
    )
    fresh = LabelledRows(study[0].rows.x, study[0].rows.y, 3)
    again = [Cell(c.method, fresh, c.split, c.seed) for c in study]
    run_cells_in_parallel(again, Checkpoints(), n_jobs=2)
    assert len(made) == 4


def test_an_error_of_a_cell_reaches_the_caller_and_others_are_kept(study, tmp_path, monkeypatch):
    work = cells.Cell.run

    def failing(cell, **more):
        if cell is study[5]:
            raise IndexError("broken")  # also an error that queues raise
        return work(cell, **more)

    monkeypatch.setattr(cells.Cell, "run", failing)
    kept = Checkpoints(tmp_path / "cells.journal")
    with pytest.raises(IndexError, match="broken"):
        run_cells_in_parallel(study, kept, n_jobs=2)
    monkeypatch.setattr(cells.Cell, "run", work)
    again = Checkpoints(tmp_path / "cells.journal")
    assert 0 < len(again) < 8
    run_cells_in_parallel(study, again, n_jobs=2)
    assert again.added + again.found == 8


def test_a_cell_that_runs_when_ctrl_c_comes_is_kept_when_it_finishes(study, tmp_path, monkeypatch):
    work, go, waits = cells.Cell.run, threading.Event(), threading.Event()

    def slow(cell, **more):
        if threading.current_thread().name == "featx-cells-1":
            waits.set()
            go.wait(10)
        return work(cell, **more)

    monkeypatch.setattr(cells.Cell, "run", slow)
    kept = Checkpoints(tmp_path / "cells.journal")
    add = kept.add

    def interrupting(key, record):
        record = add(key, record)
        waits.wait(10)
        if kept.added == 2:
            _thread.interrupt_main()
            go.wait(10)
        return record

    monkeypatch.setattr(kept, "add", interrupting)
    said = f"^1 of 8 fits are kept in {tmp_path}; run the same command to go on$"
    with pytest.raises(KeyboardInterrupt, match=said):
        run_cells_in_parallel(study, kept, n_jobs=2)
    assert len(Checkpoints(tmp_path / "cells.journal")) == 2
    go.set()
    for thread in threading.enumerate():
        if thread.name.startswith("featx-cells"):
            thread.join(10)
    assert len(Checkpoints(tmp_path / "cells.journal")) == 3


def test_ctrl_c_keeps_finished_cells_and_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    """A real SIGINT during the third cell; the next run of the same command does the others only."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(3), 16)
    x = (rng.normal(size=(3, 8))[y] + rng.normal(size=(48, 8))).astype(np.float32)
    features = featx.Features(x, [str(i) for i in range(48)], labels=y, classes=["a", "b", "c"])
    features.save(tmp_path / "f.h5")
    script = tmp_path / "run.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys, time
            from featx.studies.evaluation import cells
            from featx.cli import main
            work, ran = cells.Cell.run, []
            def slow(cell, **more):
                ran.append(cell)
                if len(ran) == 3:
                    print("ready", flush=True)
                    time.sleep(60)
                return work(cell, **more)
            cells.Cell.run = slow
            sys.exit(main(sys.argv[1:]))
            """
        )
    )
    arguments = ["compare", "f.h5", "-o", "out", "--baseline", "none", "--classifiers", "ridge", "lda", "knn"]
    env = os.environ | {"PYTHONPATH": str(Path(featx.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(
        [sys.executable, str(script), *arguments],
        cwd=tmp_path,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert first.stdout.readline() == "ready\n"
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=60)
    assert first.returncode == 130, err
    said = "featx: interrupted; 2 of 4 fits are kept in out; run the same command to go on\n"
    assert err.endswith(said)
    assert "Traceback" not in err
    monkeypatch.chdir(tmp_path)
    work, ran = cells.Cell.run, []
    monkeypatch.setattr(cells.Cell, "run", lambda cell, **more: ran.append(cell) or work(cell, **more))
    assert main(arguments) == 0
    assert len(ran) == 2
    assert "2 of 4 fits found in out; 2 to go" in capsys.readouterr().err
