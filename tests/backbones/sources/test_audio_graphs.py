"""Graphs of raw audio and of filter banks: what they take is described beside them."""

from __future__ import annotations

import json
import pickle

import numpy as np
import onnx
import pytest
import torch
from clips import RATE, sounds
from graph_writers import write_onnx

from featx.backbones import list_layers, load_backbone, load_layers
from featx.engines import measure_parity
from featx.engines.build import build_engine
from featx.engines.resolver import Plan
from featx.errors import InputError
from featx.extraction import embed, network_embedder
from featx.extraction.matching import backbone_arguments
from featx.inputs.audio import SampledClip
from featx.inputs.audio.kaldi import KaldiFrames
from featx.options import Run

PLAIN = Run(engine="torch", precision="fp32")
WAVEFORM = {"kind": "clip", "rate": RATE, "features": "waveform"}
KERNEL = np.random.default_rng(0).standard_normal((6, 1, 400)).astype(np.float32) / 20
#: From (n, 1, t) to (n, 6, states).
STATES = [
    ("Conv", ["channel", "kernel"], ["map"], {"strides": [160]}),
    ("Relu", ["map"], ["states"], {}),
]
SAMPLES = [
    ("Unsqueeze", ["x", "one"], ["channel"], {}),
    *STATES,
    ("ReduceMean", ["states"], ["y"], {"axes": [2], "keepdims": 0}),
]
ONE = np.array([1])


def describe(path, **fields):
    path.with_name(f"{path.name}.json").write_text(json.dumps(fields))


@pytest.fixture
def graph(tmp_path):
    """A graph from samples of any number to six values."""
    path = write_onnx(tmp_path / "audio.onnx", SAMPLES, shape=(1, None), kernel=KERNEL, one=ONE)
    describe(path, **WAVEFORM)
    return path


def slow(samples, scale=1.0):
    """The six values of samples, by NumPy."""
    windows = np.lib.stride_tricks.sliding_window_view(samples * np.float32(scale), 400)[::160]
    return np.maximum(windows @ KERNEL[:, 0].T, 0)


def rows_of(backbone, sound, run=PLAIN):
    sources = [SampledClip(str(i), samples, RATE) for i, samples in enumerate(sound)]
    return embed(sources, network_embedder(backbone, run)).embeddings


def test_rows_are_those_of_each_clip_alone(graph):
    sound = sounds(7)
    rows = rows_of(load_backbone(f"onnx:{graph}"), sound)
    np.testing.assert_allclose(rows, [slow(one).mean(0) for one in sound], rtol=1e-4, atol=1e-5)


def test_samples_may_have_the_range_of_whole_numbers(graph):
    describe(graph, **WAVEFORM, scale=32768)
    sound = sounds(3)
    rows = rows_of(load_backbone(f"onnx:{graph}"), sound)
    np.testing.assert_allclose(rows, [slow(one, 32768).mean(0) for one in sound], rtol=1e-4)


@pytest.mark.parametrize(
    ("pooling", "wanted"),
    [
        ("mean", lambda x: x.mean(0)),
        ("mean+std", lambda x: np.concatenate([x.mean(0), x.std(0)])),
        ("max", lambda x: x.max(0)),
    ],
)
def test_the_states_of_a_layer_are_pooled(graph, pooling, wanted):
    sound = sounds(3)
    rows = rows_of(load_backbone(f"onnx:{graph}#states", pooling=pooling), sound)
    np.testing.assert_allclose(rows, [wanted(slow(one)) for one in sound], rtol=1e-3, atol=1e-4)


def test_the_pooling_may_stand_beside_the_graph(graph):
    describe(graph, **WAVEFORM, pooling="mean+std")
    assert load_backbone(f"onnx:{graph}#states").dim == 12


def test_layers_are_listed(graph):
    layers = {layer.name: (layer.dim, layer.is_default) for layer in list_layers(f"onnx:{graph}")}
    assert layers == {"states": (6, False), "y": (6, True), "channel": layers["channel"]}
    assert [part.dim for part in load_layers(f"onnx:{graph}", ["states", "y"])] == [6, 6]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_openvino_gives_the_rows_of_the_reference(graph, precision):
    for name in (f"onnx:{graph}", f"onnx:{graph}#states"):
        backbone = load_backbone(name, pooling=None if "#" not in name else "mean+std")
        engine = build_engine(backbone, Plan("openvino", "cpu", precision), images=8)
        assert measure_parity(engine, backbone, backbone.preprocessing.reference_batch(4)).passed


def test_windows_of_a_long_clip_are_joined(graph):
    (samples,) = sounds(1, longest=3.0)
    backbone = load_backbone(f"onnx:{graph}", window=0.2, hop=0.1, join="max")
    found = rows_of(backbone, [samples])[0]
    starts = backbone.preprocessing.starts(len(samples))
    wanted = np.max([slow(samples[at : at + 3200]).mean(0) for at in starts], axis=0)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_graph_of_one_length_states_the_window(tmp_path):
    path = write_onnx(tmp_path / "fixed.onnx", SAMPLES, shape=(1, 8000), kernel=KERNEL, one=ONE)
    describe(path, **WAVEFORM)
    backbone = load_backbone(f"onnx:{path}", hop=0.25)
    prepare = backbone.preprocessing
    assert (prepare.window, prepare.pad, prepare.shape) == (0.5, True, (8000,))
    short = sounds(1)[0][:3000]
    np.testing.assert_allclose(
        rows_of(backbone, [short])[0], slow(np.resize(short, 8000)).mean(0), rtol=1e-4, atol=1e-5
    )
    with pytest.raises(InputError, match=r"takes 8,000 samples at a time, 0.5 s, and window is 2 s"):
        load_backbone(f"onnx:{path}", window=2.0)


FRAMES = [
    ("MatMul", ["x", "weights"], ["states"], {}),
    ("ReduceMean", ["states"], ["y"], {"axes": [1], "keepdims": 0}),
]
WEIGHTS = np.random.default_rng(1).standard_normal((40, 5)).astype(np.float32)


def write_frames(path, shape, before=()):
    nodes = [*before, *FRAMES]
    return write_onnx(path, nodes, shape=shape, weights=WEIGHTS)


@pytest.mark.parametrize(
    ("shape", "order"),
    [((1, None, 40), None), ((1, 40, None), [0, 2, 1]), ((1, 1, None, 40), "squeeze")],
)
def test_axes_of_frames_follow_from_the_shape(tmp_path, shape, order):
    nodes = {
        None: [],
        "squeeze": [("Squeeze", ["x", "one"], ["frames"], {})],
    }.get(order if not isinstance(order, list) else "", [("Transpose", ["x"], ["frames"], {"perm": order})])
    last = [("MatMul", ["frames" if nodes else "x", "weights"], ["states"], {}), FRAMES[1]]
    path = write_onnx(tmp_path / "frames.onnx", [*nodes, *last], shape=shape, weights=WEIGHTS, one=ONE)
    describe(path, kind="clip", rate=RATE, features="kaldi:fbank")
    backbone = load_backbone(f"onnx:{path}")
    assert backbone.preprocessing.front_end.bands == 40
    sound = sounds(3)
    wanted = [(KaldiFrames("fbank", 40).compute(one) @ WEIGHTS).mean(0) for one in sound]
    np.testing.assert_allclose(rows_of(backbone, sound), wanted, rtol=1e-4, atol=1e-3)
    engine = build_engine(backbone, Plan("openvino", "cpu", "fp32"), images=8)
    assert measure_parity(engine, backbone, backbone.preprocessing.reference_batch(4)).passed


def test_axes_that_the_shape_does_not_tell_are_named(tmp_path):
    path = write_onnx(tmp_path / "frames.onnx", FRAMES, shape=(1, None, None), weights=WEIGHTS)
    describe(path, kind="clip", rate=RATE, features="kaldi:fbank", bands=40)
    with pytest.raises(
        InputError, match=r"\(n, any, any\) does not tell its axes; name them, such as \"axes\""
    ):
        load_backbone(f"onnx:{path}")
    describe(path, kind="clip", rate=RATE, features="kaldi:fbank", bands=40, axes=["frames", "bands"])
    assert load_backbone(f"onnx:{path}").dim == 5


def test_the_description_may_be_given(graph):
    graph.with_name(f"{graph.name}.json").unlink()
    backbone = load_backbone(f"onnx:{graph}", preprocessing={"rate": RATE, "scale": 2.0})
    assert backbone.preprocessing.front_end.scale == 2.0
    (space,) = network_embedder(backbone, PLAIN).spaces
    arguments = backbone_arguments(space.fields, "file") | {"name": f"onnx:{graph}", "weights": "default"}
    assert network_embedder(load_backbone(**arguments), PLAIN).spaces == (space,)


def test_a_backbone_is_the_same_behind_a_pickle(graph):
    backbone = load_backbone(f"onnx:{graph}")
    batch = torch.from_numpy(backbone.preprocessing.transform(sounds(1)[0]))
    again = pickle.loads(pickle.dumps(backbone))
    torch.testing.assert_close(again.module(batch), backbone.module(batch))


def test_a_graph_of_images_may_take_audio(tmp_path):
    nodes = [("ReduceMean", ["x"], ["y"], {"axes": [2], "keepdims": 0})]
    path = write_onnx(tmp_path / "three.onnx", nodes, shape=(1, 1, None, 3))
    describe(path, kind="clip", rate=RATE, features="kaldi:mfcc")
    assert load_backbone(f"onnx:{path}").preprocessing.front_end.bands == 3


def test_probabilities_are_not_the_default_layer(tmp_path):
    kernel = np.ones((6, 4), np.float32)
    nodes = [*SAMPLES[:-1], ("ReduceMean", ["states"], ["pooled"], {"axes": [2], "keepdims": 0})]
    scored = [*nodes, ("MatMul", ["pooled", "head"], ["y"], {})]
    path = write_onnx(tmp_path / "e.onnx", scored, shape=(1, None), kernel=KERNEL, one=ONE, head=kernel)
    describe(path, **WAVEFORM)
    assert load_backbone(f"onnx:{path}").layer == "y"  # an encoder may end like this
    scored = [*nodes, ("MatMul", ["pooled", "head"], ["z"], {}), ("Softmax", ["z"], ["y"], {})]
    path = write_onnx(tmp_path / "p.onnx", scored, shape=(1, None), kernel=KERNEL, one=ONE, head=kernel)
    describe(path, **WAVEFORM)
    assert load_backbone(f"onnx:{path}").layer == "pooled"


def test_an_ir_of_openvino_takes_audio(graph, tmp_path):
    openvino = pytest.importorskip("openvino")
    path = tmp_path / "audio.xml"
    openvino.save_model(openvino.Core().read_model(graph), path, compress_to_fp16=False)
    describe(path, **WAVEFORM)
    sound = sounds(3)
    rows = rows_of(load_backbone(f"openvino:{path}"), sound)
    np.testing.assert_allclose(rows, [slow(one).mean(0) for one in sound], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            None,
            r"its input 'x' \(n, any\) is not an image; if it takes audio, write what it takes of it into",
        ),
        (
            {"kind": "clip"},
            "the rate of the samples that the network takes is missing, such as 'rate': 16000",
        ),
        ({"kind": "clip", "rate": "fast"}, "rate must be whole hertz"),
        ({"kind": "text", "rate": 16000}, "kind must be 'clip', that of audio, got 'text'"),
        ({**WAVEFORM, "features": "mel"}, "features must be one of waveform"),
        ({**WAVEFORM, "features": "kaldi:fbank"}, r"\(n, any\) does not take frames of 80 bands"),
        ({**WAVEFORM, "pooling": "median"}, "pooling 'median'; expected one of mean"),
        ({**WAVEFORM, "mean": [0, 0, 0]}, "unknown setting 'mean' of clips"),
        ({**WAVEFORM, "axes": ["bands"]}, "axes must name those behind the first one, samples"),
    ],
)
def test_a_wrong_description_is_one_error(graph, fields, said):
    if fields is None:
        graph.with_name(f"{graph.name}.json").unlink()
    else:
        describe(graph, **fields)
    with pytest.raises(InputError, match=said):
        load_backbone(f"onnx:{graph}")


def test_options_of_another_kind_are_refused(graph):
    with pytest.raises(InputError, match=r"image_size=64 has no effect: .* takes clips"):
        load_backbone(f"onnx:{graph}", image_size=64)


def test_the_graph_needs_no_more_of_onnx_than_its_file(graph):
    assert onnx.load(graph).graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
