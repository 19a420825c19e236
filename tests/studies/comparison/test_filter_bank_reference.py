"""The reference of clips: filter banks, without a network."""

from __future__ import annotations

import numpy as np
import pytest
from clips import RATE, labelled_sounds
from own_modules import seeded
from torch import nn

from featx import compare, load_backbone
from featx.data import Dataset
from featx.inputs.audio import SampledClip
from featx.inputs.audio.kaldi import KaldiFrames
from featx.methods.probes import reference_names
from featx.options import Run
from featx.studies.comparison import input_rows

QUICK = {"engine": "torch", "precision": "fp32"}


class Waves(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 16, 400, 160)

    def forward(self, x):
        return self.conv(x[:, None]).relu().mean(2)


@pytest.fixture(scope="module")
def dataset():
    sound, labels = labelled_sounds(20)
    sources = [SampledClip(f"{i:02d}", samples, RATE) for i, samples in enumerate(sound)]
    numbers = np.array([label == "low" for label in labels], np.int64)
    return Dataset("sounds", sources, numbers, ("high", "low"))


def test_its_rows_are_mean_and_deviation_of_each_band(dataset):
    rows = input_rows.rows_of_inputs(dataset, Run())["filterbanks"]
    frames = KaldiFrames().compute(dataset.inputs[3].samples)
    wanted = np.concatenate([frames.mean(0), frames.std(0)])
    np.testing.assert_allclose(rows[3], wanted, rtol=1e-4, atol=1e-3)


def test_each_task_has_it():
    assert reference_names("classes", "clip") == ("majority", "filterbanks")
    assert reference_names("numbers", "clip") == ("mean", "filterbanks")


def test_a_comparison_has_it_beside_the_network(dataset):
    backbone = load_backbone(seeded(Waves), preprocessing={"kind": "clip", "rate": RATE})
    result = compare(dataset, backbones=backbone, classifiers=["logreg"], baseline="none", **QUICK)
    (reference,) = [method for method in result.methods if method.name == "filterbanks"]
    assert reference.is_reference
    assert reference.learns_without_network
    assert reference.title == "Logistic regression on filter banks"
    assert reference.metric("top1").value >= 0.9
    assert "filter banks" in result.table().lower()


def test_without_the_package_it_is_left_out_and_said(dataset, monkeypatch, capsys):
    monkeypatch.setattr(input_rows, "has_kaldi", lambda: False)
    assert input_rows.rows_of_inputs(dataset, Run()) == {}
    assert "no filter-bank reference: kaldi-native-fbank is not installed" in capsys.readouterr().err
