"""Graph files as backbones: ONNX, IR and TFLite give the rows of the network that they were made of."""

import copy
import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from graph_writers import (
    MEAN,
    SIZE,
    STD,
    Tiny,
    export_onnx,
    normalised,
    pictures,
    write_onnx,
    write_preprocessing,
    write_tflite,
)
from torch import nn

import featx
from featx.backbones import list_layers, load_backbone, load_classifier, load_layers
from featx.backbones.openvino_import import import_openvino
from featx.cli import main
from featx.engines import make_engine, measure_parity
from featx.engines.allocation import bytes_per_input
from featx.errors import InputError, UnknownName, WeightsError
from featx.inputs.image import Preprocessing

for package in ("onnx", "onnxruntime", "openvino"):
    pytest.importorskip(package, reason="the extras onnx and openvino are not installed")

PIXELS = pictures()


@pytest.fixture(scope="module")
def tiny():
    return Tiny().eval()


@pytest.fixture(scope="module")
def tiny_onnx(tiny, tmp_path_factory):
    return export_onnx(tiny, tmp_path_factory.mktemp("graphs") / "tiny.onnx")


@pytest.fixture(scope="module")
def tiny_ir(tiny_onnx):
    ov = import_openvino()
    path = tiny_onnx.with_name("tiny.xml")
    ov.save_model(ov.convert_model(tiny_onnx), path, compress_to_fp16=False)
    write_preprocessing(path)
    return path


@pytest.fixture(params=["onnx", "openvino"])
def name(request, tiny_onnx, tiny_ir):
    """The tiny classifier, in a file of each kind."""
    return f"{request.param}:{tiny_onnx if request.param == 'onnx' else tiny_ir}"


def reference(backbone, pixels=PIXELS):
    return make_engine(backbone, engine="eager")(pixels)


def relative(rows, expected):
    expected = np.asarray(expected)
    return (np.linalg.norm(rows - expected, axis=1) / np.linalg.norm(expected, axis=1)).max()


def test_the_rows_are_those_of_the_network(name, tiny):
    backbone = load_backbone(name)
    with torch.no_grad():
        expected = tiny.embed(normalised(PIXELS))
    rows = reference(backbone)
    assert relative(rows, expected) < 1e-5
    assert (backbone.dim, backbone.trainable) == (16, False)
    assert backbone.preprocessing == Preprocessing(SIZE, (SIZE, SIZE), mean=MEAN, std=STD)
    alone = np.concatenate([reference(backbone, PIXELS[i : i + 1]) for i in range(len(PIXELS))])
    np.testing.assert_array_equal(rows, alone)


def test_copies_and_pickles_give_the_same_rows(name):
    backbone = load_backbone(name)
    expected = reference(backbone)
    for other in (pickle.loads(pickle.dumps(backbone)), load_backbone(**backbone.arguments)):
        np.testing.assert_array_equal(reference(other), expected)
    module = copy.deepcopy(backbone.module)
    assert module.network is backbone.module.network
    revived = pickle.loads(pickle.dumps(module))
    x = normalised(PIXELS)
    torch.testing.assert_close(revived(x), module(x), rtol=0, atol=0)


def test_openvino_reads_the_graph_itself(name, tiny):
    for backbone in (load_backbone(name), load_backbone(name, pooling="none", layer=_last_map(name))):
        engine = make_engine(backbone, engine="openvino", precision="fp32", batch_size=2)
        assert engine.batch_size == 2
        parity = measure_parity(engine, backbone, PIXELS)
        assert parity.passed
        assert parity.relative_error < 1e-5


def _last_map(name):
    return next(layer.name for layer in reversed(list_layers(name)) if layer.dim == 12)


def test_threads_share_a_graph(name):
    backbone = load_backbone(name)
    expected = reference(backbone)
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda at: reference(backbone, PIXELS[at : at + 1]), [0, 1, 2] * 4))
    np.testing.assert_array_equal(np.concatenate(rows), np.tile(expected, (4, 1)))


def test_the_whole_graph_gives_class_scores(name, tiny):
    network = load_classifier(name)
    x = normalised(PIXELS)
    with torch.no_grad():
        torch.testing.assert_close(network(x), tiny(x))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "auto"])
def test_engines_of_torch_are_replaced_by_the_reference(name, precision):
    engine = make_engine(load_backbone(name), engine="torch", precision=precision)
    assert (engine.name, engine.precision) == ("eager", "fp32")


def test_the_memory_of_an_image_is_at_least_that_of_its_first_map(tiny_onnx):
    assert bytes_per_input(load_backbone(f"onnx:{tiny_onnx}")) >= 4 * 8 * (SIZE // 2) ** 2


@pytest.mark.parametrize("pooling", ["avg", "max", "none"])
def test_any_tensor_can_be_a_layer(tiny_onnx, tiny, pooling):
    backbone = load_backbone(f"onnx:{tiny_onnx}#/trunk/trunk.4/Relu_output_0", pooling=pooling)
    with torch.no_grad():
        maps = tiny.trunk[:5](normalised(PIXELS))
    expected = {"avg": maps.mean((2, 3)), "max": maps.amax((2, 3)), "none": maps.flatten(1)}[pooling]
    assert relative(reference(backbone), expected) < 1e-5
    assert backbone.tap.channels == 1
    engine = make_engine(backbone, engine="openvino", precision="fp32")
    assert measure_parity(engine, backbone, PIXELS).relative_error < 1e-5


def test_layers_are_listed_and_computed_together(name, tiny, capsys):
    assert [layer.dim for layer in list_layers(name)] == [8, 12, 16, 16]
    main(["backbones", name, "--layers"])
    assert capsys.readouterr().out.splitlines()[-1].endswith("default")
    members = load_layers(name)
    both = featx.backbones.combine_layers(members)
    rows = np.hstack([reference(member) for member in members])
    np.testing.assert_array_equal(reference(both), rows)
    parity = measure_parity(make_engine(both, engine="openvino", precision="fp32"), both, PIXELS)
    assert parity.relative_error < 1e-5


def test_a_wrong_name_is_met_with_the_nearest(tiny_onnx):
    with pytest.raises(UnknownName, match=r"did you mean /trunk/trunk\.4/Relu_output_0"):
        load_backbone(f"onnx:{tiny_onnx}#/trunk/trunk.4/Relu_output")


def test_a_moved_file_is_the_same_and_a_changed_one_is_not(tiny_onnx, tmp_path):
    here = load_backbone(f"onnx:{tiny_onnx}", weights="default")
    moved = tmp_path / "moved.onnx"
    moved.write_bytes(tiny_onnx.read_bytes())
    write_preprocessing(moved)
    there = load_backbone(f"onnx:{moved}")
    assert there.identity == here.identity
    assert load_backbone("onnx:graph", weights=moved).identity == here.identity  # as a space names it
    write_preprocessing(moved, channels="bgr")
    assert load_backbone(f"onnx:{moved}").identity == here.identity | {"channels": "bgr"}
    export_onnx(nn.Sequential(Tiny(), nn.Identity()), moved)
    with pytest.raises(WeightsError, match=r"moved\.onnx: the file changed after it was checked"):
        reference(pickle.loads(pickle.dumps(there)))


def test_each_image_goes_through_a_graph_once(name, photos, tmp_path):
    first, again = (featx.extract(photos, backbone=name, cache=tmp_path / "cache") for _ in range(2))
    assert (first.run["forward_passes"], again.run["forward_passes"]) == (24, 0)
    np.testing.assert_array_equal(first.embeddings, again.embeddings)
    assert first.space["backbone"]["source"] == name.partition(":")[0]


def test_a_saved_model_finds_its_graph_again(tiny_onnx, photos, tmp_path):
    featx.train(photos, backbone=f"onnx:{tiny_onnx}", classifier="ridge", cache=None).save(
        tmp_path / "m.featx"
    )
    predictions = featx.load_model(tmp_path / "m.featx").predict(photos)
    assert len(predictions) == 24


# --- graphs by hand -----------------------------------------------------------------------------------


def weights(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


CONV = ("Conv", ["x", "w"], ["c"], {"strides": [2, 2], "pads": [1, 1, 1, 1]})


def by_hand(path, nodes, **more):
    return write_onnx(path, nodes, w=weights(6, 3, 3, 3), **more)


def test_a_network_without_a_classifier_gives_its_output(tmp_path):
    nodes = [CONV, ("Relu", ["c"], ["r"], {}), ("GlobalAveragePool", ["r"], ["g"], {})]
    path = by_hand(tmp_path / "trunk.onnx", [*nodes, ("Flatten", ["g"], ["y"], {})])
    backbone = load_backbone(f"onnx:{path}")
    assert (backbone.layer, backbone.dim) == ("y", 6)


def test_the_scores_of_a_classifier_are_not_its_embedding(tmp_path):
    nodes = [CONV, ("GlobalAveragePool", ["c"], ["g"], {}), ("Dropout", ["g"], ["d"], {})]
    scores = [("Conv", ["d", "v"], ["s"], {}), ("Flatten", ["s"], ["f"], {}), ("Softmax", ["f"], ["y"], {})]
    path = by_hand(tmp_path / "classifier.onnx", [*nodes, *scores], v=weights(4, 6, 1, 1))
    backbone = load_backbone(f"onnx:{path}")
    assert (backbone.layer, backbone.dim) == ("g", 6)


def test_a_detector_has_no_default_layer_but_layers(tmp_path):
    boxes = [("Reshape", ["c", "s"], ["b"], {}), ("Transpose", ["b"], ["y"], {"perm": [0, 2, 1]})]
    after = ("MaxPool", ["c"], ["unused"], {"kernel_shape": [2, 2]})
    path = by_hand(tmp_path / "detector.onnx", [CONV, after, *boxes], s=np.array([1, 6, -1]))
    with pytest.raises(InputError, match=r"no default layer: its output 'y' gives \(256, 6\) .*#TENSOR"):
        load_backbone(f"onnx:{path}")
    assert [(layer.name, layer.dim) for layer in list_layers(f"onnx:{path}")] == [("c", 6)]
    assert [level.dim for level in load_layers(f"onnx:{path}", ["c", "y"])] == [6, 6]


def test_a_graph_made_for_one_image_is_run_image_by_image(tmp_path):
    shaped = [("Reshape", ["c", "s"], ["m"], {}), ("ReduceMean", ["m"], ["y"], {"axes": [2], "keepdims": 0})]
    path = by_hand(tmp_path / "one.onnx", [CONV, *shaped], s=np.array([1, 6, 256]))
    backbone = load_backbone(f"onnx:{path}")
    engine = make_engine(backbone, engine="openvino", precision="fp32", batch_size=4)
    assert engine.batch_size == 1
    assert measure_parity(engine, backbone, PIXELS).relative_error < 1e-5


def test_channels_last_are_pooled_over_their_positions(tmp_path):
    nodes = [
        ("Transpose", ["x"], ["n"], {"perm": [0, 3, 1, 2]}),
        ("Conv", ["n", "w"], ["c"], {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ("Transpose", ["c"], ["last"], {"perm": [0, 2, 3, 1]}),
        ("ReduceMean", ["c"], ["y"], {"axes": [2, 3], "keepdims": 0}),
    ]
    path = by_hand(tmp_path / "last.onnx", nodes, shape=(1, SIZE, SIZE, 3))
    backbone = load_backbone(f"onnx:{path}#last")
    assert backbone.tap.channels == 3
    w = torch.from_numpy(weights(6, 3, 3, 3))
    expected = nn.functional.conv2d(normalised(PIXELS), w, stride=2, padding=1).mean((2, 3))
    assert relative(reference(backbone), expected) < 1e-5
    assert relative(make_engine(backbone, engine="openvino", precision="fp32")(PIXELS), expected) < 1e-5


@pytest.mark.parametrize("pooling", ["cls", "patches", "cls+patches"])
def test_tokens_of_a_vision_transformer_are_told_by_its_patches(tmp_path, pooling):
    nodes = [
        ("Conv", ["x", "w"], ["c"], {"strides": [8, 8]}),
        ("Reshape", ["c", "s"], ["m"], {}),
        ("Transpose", ["m"], ["p"], {"perm": [0, 2, 1]}),
        ("Concat", ["first", "p"], ["y"], {"axis": 1}),
    ]
    first, kernel = weights(1, 1, 6), weights(6, 3, 8, 8)
    path = write_onnx(tmp_path / "vit.onnx", nodes, w=kernel, first=first, s=np.array([1, 6, 16]))
    backbone = load_backbone(f"onnx:{path}#y", pooling=pooling)
    patches = nn.functional.conv2d(normalised(PIXELS), torch.from_numpy(kernel), stride=8).mean((2, 3))
    expected = {"cls": np.tile(first[0], (3, 1)), "patches": patches.numpy()}
    expected["cls+patches"] = np.hstack([*expected.values()])
    assert relative(reference(backbone), expected[pooling]) < 1e-5
    engine = make_engine(backbone, engine="openvino", precision="fp32")
    assert measure_parity(engine, backbone, PIXELS).relative_error < 1e-5


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_pixels_are_given_as_they_are_to_a_graph_that_normalises_itself(tmp_path, channels):
    nodes = [
        ("Cast", ["x"], ["f"], {"to": 1}),
        ("ReduceMean", ["f"], ["y"], {"axes": [2, 3], "keepdims": 0}),
    ]
    path = write_onnx(tmp_path / "bytes.onnx", nodes, dtype="UINT8")
    with pytest.raises(InputError, match=r"bytes\.onnx\.json.*as they are, uint8, so mean must be 0"):
        load_backbone(f"onnx:{path}")
    with pytest.raises(InputError, match="takes pixels as they are"):
        reference(load_backbone(f"onnx:{path}", preprocessing=Preprocessing(SIZE, (SIZE, SIZE))))
    path.with_name("bytes.onnx.json").write_text(json.dumps({"channels": channels}))
    backbone = load_backbone(f"onnx:{path}")
    expected = PIXELS.mean((1, 2))[:, :: 1 if channels == "rgb" else -1]
    np.testing.assert_allclose(reference(backbone), expected, rtol=1e-5)
    rows = make_engine(backbone, engine="openvino", precision="fp32")(PIXELS)
    np.testing.assert_allclose(rows, expected, rtol=1e-5)


def test_tflite_keeps_the_names_of_its_file(tmp_path):
    kernel, bias = weights(6, 3, 3, 3), weights(6)
    path = write_tflite(tmp_path / "one.tflite", kernel, bias)
    backbone = load_backbone(f"openvino:{path}#conv/Relu")
    assert (backbone.tap.channels, backbone.dim) == (3, 6)
    w = torch.from_numpy(kernel).permute(0, 3, 1, 2)
    x = nn.functional.pad(normalised(PIXELS), (0, 1, 0, 1))  # SAME with stride 2 pads behind
    expected = nn.functional.conv2d(x, w, torch.from_numpy(bias), stride=2).relu().mean((2, 3))
    assert relative(reference(backbone), expected) < 1e-5
    engine = make_engine(backbone, engine="openvino", precision="fp32")
    assert measure_parity(engine, backbone, PIXELS).relative_error < 1e-5
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(WeightsError, match=r"one\.tflite: damaged"):
        load_backbone(f"openvino:{path}")


# --- what is refused ----------------------------------------------------------------------------------


def edit(path, change):
    import onnx

    model = onnx.load(path)
    change(model)
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"inputs": ("x", "z")}, r"takes 2 inputs \(x, z\); expected one, an image or audio"),
        ({"shape": (1, 1, 28, 28)}, r"its input 'x' \(n, 1, 28, 28\) is not an image"),
        ({"shape": (1, 3)}, r"its input 'x' \(n, 3\) is not an image"),
        ({"dtype": "INT64"}, r"its input 'x' .* is not an image; expected floats or bytes"),
        ({"shape": (8, 3, SIZE, SIZE)}, r"takes 8 images at once"),
    ],
)
def test_a_graph_that_takes_no_image_is_refused(tmp_path, more, said):
    path = by_hand(tmp_path / "odd.onnx", [CONV, ("Relu", ["c"], ["y"], {})], **more)
    with pytest.raises(InputError, match=rf"odd\.onnx: {said}"):
        load_backbone(f"onnx:{path}")


def test_a_custom_operator_is_refused_by_name_unless_it_is_behind_the_layer(tmp_path):
    custom = ("Frobnicate", ["c"], ["y"], {"domain": "com.acme"})
    path = by_hand(tmp_path / "custom.onnx", [CONV, custom])
    assert load_backbone(f"onnx:{path}#c").dim == 6
    with pytest.raises(InputError, match=r"custom\.onnx: has the custom operator com\.acme:Frobnicate"):
        load_backbone(f"onnx:{path}#y")


def test_what_is_no_graph_is_refused(tmp_path, tiny_onnx, tiny_ir):
    path = tmp_path / "bad.onnx"
    for content, said in (
        (b"", "empty file"),
        (b"no graph at all", "damaged, or not an ONNX file"),
        (tiny_onnx.read_bytes()[:-50], "damaged, or not an ONNX file"),
    ):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=rf"bad\.onnx: {said}"):
            load_backbone(f"onnx:{path}")
    (tmp_path / "bad.xml").write_bytes(tiny_ir.read_bytes()[:300])
    with pytest.raises(WeightsError, match=r"bad\.xml: damaged, or no graph"):
        load_backbone(f"openvino:{tmp_path / 'bad.xml'}")
    with pytest.raises(WeightsError, match=r"missing\.onnx: no such graph file"):
        load_backbone(f"onnx:{tmp_path / 'missing.onnx'}")
    with pytest.raises(InputError, match="holds its weights; random ones"):
        load_backbone(f"onnx:{tiny_onnx}", weights=None)
    with pytest.raises(InputError, match=r"an ONNX file is the backbone onnx:"):
        load_backbone(f"openvino:{tiny_onnx}")


def test_the_preprocessing_is_never_guessed(tmp_path, tiny_onnx):
    path = tmp_path / "bare.onnx"
    path.write_bytes(tiny_onnx.read_bytes())
    with pytest.raises(InputError, match=r'does not state how .* write it into .*bare\.onnx\.json, .*"mean"'):
        load_backbone(f"onnx:{path}")
    given = Preprocessing(SIZE, (SIZE, SIZE))
    assert load_backbone(f"onnx:{path}", preprocessing=given).preprocessing == given
    edit(
        path,
        lambda model: model.metadata_props.add(
            key="preprocessing", value='{"mean": [0, 0, 0], "std": [1, 1, 1]}'
        ),
    )
    assert load_backbone(f"onnx:{path}").preprocessing.mean == (0, 0, 0)
    for written, said in (
        ('{"mean": [0, 0, 0]}', "missing field 'std'"),
        ('{"mean": [0, 0, 0], "std": [1, 1, 1], "scale": 2}', "unknown field 'scale'"),
        ("[1, 2]", "not a preprocessing in JSON"),
        ('{"channels": "grey"}', "channels must be 'rgb' or 'bgr'"),
    ):
        path.with_name("bare.onnx.json").write_text(written)
        with pytest.raises(InputError, match=rf"bare\.onnx\.json: .*{said}"):
            load_backbone(f"onnx:{path}")


def test_a_graph_of_any_size_takes_that_of_its_preprocessing(tmp_path, tiny):
    free = {"input_names": ["x"], "dynamic_axes": {"x": {0: "n", 2: "h", 3: "w"}}}
    path = export_onnx(tiny, tmp_path / "free.onnx", **free)
    with pytest.raises(InputError, match=r"free\.onnx\.json: the graph takes images of any size, so resize"):
        load_backbone(f"onnx:{path}")
    write_preprocessing(path, resize=48, crop=(48, 48))
    assert load_backbone(f"onnx:{path}").preprocessing.size == (48, 48)
    smaller = load_backbone(f"onnx:{path}", image_size=SIZE)
    with torch.no_grad():
        assert relative(reference(smaller), tiny.embed(normalised(PIXELS))) < 1e-5


def test_images_of_another_size_are_refused_where_the_graph_states_one(name):
    with pytest.raises(InputError, match=r"takes images that are 32 pixels high, and .* prepared to 64"):
        load_backbone(name, image_size=64)


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([("Identity", ["b"], ["a"], {}), ("Identity", ["a"], ["b"], {})], "'b' is read before"),
        ([("Relu", ["c"], ["a"], {}), ("Relu", ["x"], ["a"], {})], "'a' is computed twice"),
    ],
)
def test_a_graph_that_goes_in_circles_is_refused(tmp_path, nodes, said):
    path = by_hand(tmp_path / "circle.onnx", [CONV, *nodes, ("Relu", ["a"], ["y"], {})])
    with pytest.raises(WeightsError, match=rf"circle\.onnx: damaged, or no graph \({said}"):
        load_backbone(f"onnx:{path}")


def test_an_image_that_no_memory_holds_is_refused(tmp_path):
    path = by_hand(tmp_path / "huge.onnx", [CONV, ("Relu", ["c"], ["y"], {})], shape=(1, 3, 10**5, 10**5))
    with pytest.raises(InputError, match=r"huge\.onnx\.json: .* 100000 x 100000 pixels are too large"):
        load_backbone(f"onnx:{path}#y")
    write_preprocessing(path, mean=[10**400] * 3, crop=[SIZE, SIZE])
    with pytest.raises(InputError, match="mean must be three numbers"):
        load_backbone(f"onnx:{path}#y")


def test_openvino_is_given_only_its_own_files(tmp_path, tiny_onnx):
    for name in ("graph.ONNX", "notes.txt"):
        (tmp_path / name).write_bytes(tiny_onnx.read_bytes())
        with pytest.raises(InputError, match=r"an ONNX file is|not a graph file of OpenVINO"):
            load_backbone(f"openvino:{tmp_path / name}")


# --- weights in files of their own --------------------------------------------------------------------


def test_weights_in_other_files_are_read_and_hashed(tiny_onnx, tmp_path):
    import onnx

    path = tmp_path / "split.onnx"
    onnx.save(onnx.load(tiny_onnx), path, save_as_external_data=True, location="split.bin", size_threshold=0)
    write_preprocessing(path)
    split = load_backbone(f"onnx:{path}")
    np.testing.assert_array_equal(reference(split), reference(load_backbone(f"onnx:{tiny_onnx}")))
    data = bytearray((tmp_path / "split.bin").read_bytes())
    data[0] ^= 1
    (tmp_path / "split.bin").write_bytes(bytes(data))
    assert load_backbone(f"onnx:{path}").weights_sha256 != split.weights_sha256
    (tmp_path / "split.bin").write_bytes(bytes(data[:100]))
    with pytest.raises(WeightsError, match=r"split\.onnx: damaged, .* lie outside of their file"):
        load_backbone(f"onnx:{path}")
    (tmp_path / "split.bin").unlink()
    with pytest.raises(WeightsError, match=r"split\.bin: cannot be read"):
        load_backbone(f"onnx:{path}")

    def leave(model):
        model.graph.initializer[0].external_data[0].value = "../elsewhere.bin"

    model = onnx.load(path, load_external_data=False)
    leave(model)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=r"split\.onnx: its weights must lie beside it, not in '\.\./else"):
        load_backbone(f"onnx:{path}")


def test_values_inside_operators_may_lie_in_files_beside_the_graph_alone(tmp_path, monkeypatch):
    import onnx

    kernel = weights(6, 3, 3, 3)
    constant = ("Constant", [], ["k"], {"value": onnx.numpy_helper.from_array(kernel)})
    nodes = [constant, ("Conv", ["x", "k"], ["c"], {}), ("Relu", ["c"], ["y"], {})]
    inside = reference(load_backbone(f"onnx:{write_onnx(tmp_path / 'inside.onnx', nodes)}#y"))
    (tmp_path / "graph").mkdir()
    path = write_onnx(tmp_path / "graph" / "apart.onnx", nodes)
    model = onnx.load(path)
    value = model.graph.node[0].attribute[0].t
    value.ClearField("raw_data")
    value.data_location = 1
    value.external_data.add(key="location", value="k.bin")
    path.write_bytes(model.SerializeToString())
    (tmp_path / "graph" / "k.bin").write_bytes(kernel.tobytes())
    (tmp_path / "k.bin").write_bytes(bytes(kernel.nbytes))
    monkeypatch.chdir(tmp_path)
    apart = load_backbone(f"onnx:{path}#y")
    np.testing.assert_array_equal(reference(apart), inside)
    (tmp_path / "graph" / "k.bin").write_bytes(bytes(kernel.nbytes))
    assert load_backbone(f"onnx:{path}#y").weights_sha256 != apart.weights_sha256


def test_an_ir_that_is_written_anew_does_not_change_a_graph_that_was_read(tiny_ir, tmp_path):
    path = tmp_path / "anew.xml"
    path.write_bytes(tiny_ir.read_bytes())
    write_preprocessing(path)
    data = tiny_ir.with_suffix(".bin").read_bytes()
    path.with_suffix(".bin").write_bytes(data)
    backbone = load_backbone(f"openvino:{path}")
    path.with_suffix(".bin").write_bytes(bytes(len(data)))
    np.testing.assert_array_equal(reference(backbone), reference(load_backbone(f"openvino:{tiny_ir}")))


def test_the_weights_of_an_ir_are_part_of_its_identity(tiny_ir, tmp_path):
    path = tmp_path / "other.xml"
    path.write_bytes(tiny_ir.read_bytes())
    write_preprocessing(path)
    data = bytearray(tiny_ir.with_suffix(".bin").read_bytes())
    path.with_suffix(".bin").write_bytes(data)
    same = load_backbone(f"openvino:{path}")
    assert same.weights_sha256 == load_backbone(f"openvino:{tiny_ir}").weights_sha256
    data[0] ^= 1
    path.with_suffix(".bin").write_bytes(data)
    assert load_backbone(f"openvino:{path}").weights_sha256 != same.weights_sha256
