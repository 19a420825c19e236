"""The images of a fine-tuning are counted before it runs, and what it costs is measured and announced."""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from featx.methods.finetune import announcing, default_recipe, fine_tune
from featx.methods.finetune.announcing import announced
from featx.methods.finetune.measuring import measure_costs
from featx.methods.finetune.training_progress import TrainingProgress
from featx.methods.finetune.workload import Costs, count_images, expected_seconds, plan_phases

TRAIN, VAL = np.arange(40), np.arange(40, 60)


class Counting(TrainingProgress):
    """Counts what a training reports, by phase and kind."""

    def __init__(self):
        super().__init__()
        self.phase, self.counted, self.said = "", defaultdict(lambda: defaultdict(float)), []

    def begin(self, phase, doing):
        super().begin(phase, doing)
        self.phase = phase

    def begin_epoch(self, epoch, epochs):
        super().begin_epoch(epoch, epochs)
        self.said.append(self.doing)

    def count(self, kind, images):
        super().count(kind, images)
        self.counted[self.phase][kind] += images


@pytest.mark.parametrize(
    ("mode", "changes"),
    [
        ("last", {"search_epochs": 1}),
        ("last", {"augment": False}),
        ("last", {"views": 1, "lr_search": ()}),
        ("full", {"search_epochs": 2}),
        ("gradual", {"lr_search": (), "unfreeze": 1}),
    ],
)
def test_the_planned_images_are_those_of_the_training(tiny, stripes, mode, changes):
    recipe = replace(default_recipe(mode, 40), epochs=2, patience=2, **{"unfreeze": 2, **changes})
    watch = Counting()
    tuned = fine_tune(
        tiny, *stripes, 3, recipe=recipe, train_idx=TRAIN, val_idx=VAL, device="cpu", watch=watch
    )
    costs = Costs(is_cut=mode == "last", blocks=3)
    planned = plan_phases(recipe, 40, 20, costs)
    if tuned.best_epoch:
        planned["refit"] = count_images(replace(recipe, epochs=tuned.best_epoch), 60, 0, costs)
    else:
        del planned["refit"]
    assert set(watch.counted) == set(planned)
    for phase, images in planned.items():
        counted = [watch.counted[phase][kind] for kind in images._fields]
        assert counted == pytest.approx(list(images)), phase
    assert watch.said[0] == ("rate 1 of 2" if recipe.lr_search else "training") + (
        f", epoch 1 of {min(2, recipe.search_epochs) if recipe.lr_search else 2}"
    )


def test_a_whole_search_is_the_training_and_a_larger_set_takes_longer():
    assert list(plan_phases(default_recipe("full", 400), 400, 100, Costs())) == ["rates", "refit"]
    assert list(plan_phases(default_recipe("full", 4000), 4000, 1000, Costs())) == [
        "rates",
        "epochs",
        "refit",
    ]
    assert list(plan_phases(default_recipe("full", 400), 400, 0, Costs())) == ["epochs"]
    # Half of an epoch of each of two rates; five epochs; five epochs on all images.
    images = plan_phases(default_recipe("full", 4000), 4000, 1000, Costs())
    assert [i.train for i in images.values()] == [8000, 20_000, 25_000]
    few, many = (
        expected_seconds(default_recipe("full", n), n, n // 4, Costs(0.1, 0.03)) for n in (4000, 16_000)
    )
    assert many == pytest.approx(4 * few, rel=0.05)


def test_costs_are_measured_on_a_copy(tiny, stripes, untraceable):
    sources, _ = stripes
    before = [p.clone() for p in tiny.module.parameters()]
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    last, full, other = (
        measure_costs(net, sources, 3, default_recipe(mode, 40), device="cpu", threads=1)
        for net, mode in ((tiny, "last"), (tiny, "full"), (untraceable, "last"))
    )
    assert (last.is_cut, full.is_cut, other.is_cut) == (False, False, False)  # three blocks of three
    cut = measure_costs(tiny, sources, 3, replace(default_recipe("last", 40), unfreeze=1), device="cpu")
    assert cut.is_cut
    assert cut.blocks == 1
    assert all(seconds > 0 for costs in (last, full, cut, other) for seconds in costs[:3])
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert all(torch.equal(a, b) for a, b in zip(before, tiny.module.parameters(), strict=True))


def test_a_long_training_is_announced_and_a_short_one_is_not(tiny, stripes, monkeypatch, capsys):
    monkeypatch.setattr(announcing, "measure_costs", lambda *args, **options: costs)
    recipe = default_recipe("full", 400)
    costs = Costs(train=0.02, check=0.01)
    with announced(tiny, stripes[0], 3, recipe, 400, 100):
        pass
    assert capsys.readouterr().err == "fine-tuning tiny (full): 500 images, about 5 min\n"
    costs = Costs(train=1e-4, check=1e-4)
    with announced(tiny, stripes[0], 3, recipe, 400, 100) as watch:
        assert watch.describe() == (0.0, "")
    assert capsys.readouterr().err == ""


def test_nothing_is_measured_where_nothing_is_said(tiny, stripes, monkeypatch, capsys):
    monkeypatch.setattr(announcing, "measure_costs", lambda *args, **options: pytest.fail("measured"))
    with announced(tiny, stripes[0], 3, default_recipe("full", 40), 40, 10, verbose=False):
        pass
    with announced(tiny, stripes[0], 3, default_recipe("head", 40), 40, 10):
        pass
    assert capsys.readouterr().err == ""


# The time left, with a clock of our own


@contextmanager
def following(costs, recipe, n_train, n_val):
    clock = [0.0]
    watch = TrainingProgress(costs, clock=lambda: clock[0])
    watch.plan(recipe, n_train, n_val)
    yield watch, clock


def test_the_time_left_begins_with_the_measurement_and_follows_what_is_done():
    recipe = replace(default_recipe("full", 100), epochs=10, lr_search=(), refit=False)
    with following(Costs(train=1.0, check=0.5), recipe, 100, 20) as (watch, clock):
        assert watch.describe() == (0.0, "about 18 min left")  # 10 * (100 + 10) s
        watch.begin("epochs", "training")
        watch.begin_epoch(1, 10)
        clock[0] = 200.0  # twice as slow as measured
        watch.count("train", 100)
        # The measurement counts as 5 s: 1000 s are left of 1100, times 205/105.
        assert watch.seconds_left == pytest.approx(1000 * 205 / 105)
        clock[0] = 230.0
        assert watch.seconds_left == pytest.approx(1000 * 205 / 105 - 30)
        share, text = watch.describe()
        assert share == pytest.approx(230 / (230 + watch.seconds_left))
        assert text == "about 32 min left; training, epoch 1 of 10"


def test_without_a_measurement_the_first_images_tell():
    recipe = replace(default_recipe("full", 100), epochs=10, lr_search=(), refit=False)
    with following(None, recipe, 100, 0) as (watch, clock):
        watch.begin("epochs", "training")
        clock[0] = 8.0
        watch.count("train", 8)
        assert watch.seconds_left is None
        clock[0] = 100.0
        watch.count("train", 92)
        assert watch.seconds_left == pytest.approx(900)


def test_a_phase_that_ends_early_or_is_shorter_takes_its_time_with_it():
    recipe = replace(default_recipe("full", 4000), epochs=5)
    with following(Costs(train=1.0, check=0.0), recipe, 4000, 1000) as (watch, _):
        assert watch.seconds_left == 8000 + 20_000 + 25_000
        watch.begin("rates", "rate 1 of 2")
        watch.begin("epochs", "training")
        assert watch.seconds_left == 45_000
        watch.shorten("refit", 2 / 5)
        watch.begin("refit", "training again on all images")
        assert watch.seconds_left == 10_000
