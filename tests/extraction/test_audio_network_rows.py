"""Whisper and wav2vec 2.0 on every engine and precision: the rows are those of each clip alone."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from clips import write_wav2vec2, write_whisper

import featx
from featx.backbones import MultiLayerBackbone, load_layers
from featx.engines.parity import distances
from featx.extraction import embed, network_embedder
from featx.inputs.audio import SampledClip
from featx.options import Run

pytest.importorskip("transformers")

WRITERS = {"whisper": write_whisper, "wav2vec2": write_wav2vec2}
#: Seconds; windows have one, and two clips several of them.
LENGTHS = (0.3, 1.2, 0.05, 0.6, 0.3, 3.4)
RATE = 16000


@pytest.fixture(scope="module", params=sorted(WRITERS))
def network(request, tmp_path_factory):
    return f"hf:{WRITERS[request.param](tmp_path_factory.mktemp(request.param))}"


@pytest.fixture(scope="module")
def clips():
    rng = np.random.default_rng(0)
    sounds = [np.cumsum(rng.uniform(-0.1, 0.1, round(s * RATE))).astype(np.float32) for s in LENGTHS]
    return [SampledClip(f"{i}", np.clip(sound / 9, -1, 1), RATE) for i, sound in enumerate(sounds)]


@pytest.fixture(scope="module")
def alone(network, clips, tmp_path_factory):
    backbone = featx.load_backbone(network, window=1.0)
    embedder = network_embedder(backbone, Run(engine="eager", precision="fp32", batch_size=1))
    rows = [embed([c], embedder, cache=tmp_path_factory.mktemp("alone"), n_jobs=1) for c in clips]
    return np.concatenate([one.embeddings for one in rows])


def needs(engine, precision):
    wanted = {"openvino": "openvino"}.get(engine), {"int8": "nncf"}.get(precision)
    for package in filter(None, wanted):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")


@pytest.mark.parametrize(
    ("engine", "precision", "least"),
    [
        ("eager", "fp32", None),
        ("torch", "fp32", None),
        ("openvino", "fp32", None),
        ("torch", "bf16", 0.99),
        ("openvino", "bf16", 0.99),
        ("openvino", "int8", 0.95),
    ],
)
def test_rows_are_those_of_each_clip_alone(network, clips, alone, tmp_path, engine, precision, least):
    needs(engine, precision)
    backbone = featx.load_backbone(network, window=1.0)
    embedder = network_embedder(backbone, Run(engine=engine, precision=precision))
    rows = embed(clips, embedder, cache=tmp_path, n_jobs=2)
    assert (rows.profile.engine["engine"], rows.profile.engine["precision"]) == (engine, precision)
    if least is None:
        np.testing.assert_allclose(rows.embeddings, alone, atol=1e-4)
    else:
        assert distances(rows.embeddings, alone)[1].min() > least
        assert rows.parity["passed"]


def test_two_layers_side_by_side_are_joined_each_by_itself(network, clips, tmp_path):
    layers = load_layers(network, window=1.0, join="concat:2")[-2:]
    together = MultiLayerBackbone(layers)
    run = Run(engine="torch", precision="fp32")
    rows = embed(clips, network_embedder(together, run), cache=tmp_path / "a").embeddings
    each = [
        embed(clips, network_embedder(layer, run), cache=tmp_path / f"{i}").embeddings
        for i, layer in enumerate(layers)
    ]
    assert rows.shape == (len(clips), together.row_dim)
    np.testing.assert_allclose(rows, np.hstack(each), atol=1e-5)
    cached = embed(clips, network_embedder(layers[0], run), cache=tmp_path / "a")
    assert cached.forward_passes == 0
