"""ONNX graphs that take tokens: inputs, tokenizer beside the file, pooling, engines, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from texts import reviews, write_tokenizer

import featx
from featx.backbones import list_layers, load_backbone
from featx.backbones.graphs.network import LayerNeeded
from featx.errors import InputError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("transformers")

DIM = 6


def write_graph(
    path, size, *, inputs=("input_ids", "attention_mask"), outputs=("last_hidden_state",), length="t"
):
    """A table of embeddings, a product with weights, and a sum over tokens as ``sentence_embedding``."""
    helper, kinds = onnx.helper, onnx.TensorProto
    rng = np.random.default_rng(0)
    constants = {
        "table": rng.normal(size=(size, DIM)).astype(np.float32),
        "weights": rng.normal(size=(DIM, DIM)).astype(np.float32),
        "axes": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"]),
        helper.make_node("MatMul", ["embedded", "weights"], ["last_hidden_state"]),
        helper.make_node("ReduceSum", ["last_hidden_state", "axes"], ["sentence_embedding"], keepdims=0),
        helper.make_node("Identity", ["sentence_embedding"], ["logits"]),
        helper.make_node("Identity", ["input_ids"], ["ids_again"]),
    ]
    shapes = {
        "last_hidden_state": (kinds.FLOAT, ["n", "t", DIM]),
        "sentence_embedding": (kinds.FLOAT, ["n", DIM]),
        "logits": (kinds.FLOAT, ["n", DIM]),
        "ids_again": (kinds.INT64, ["n", "t"]),
    }
    graph = helper.make_graph(
        nodes,
        "texts",
        [helper.make_tensor_value_info(name, kinds.INT64, ["n", length]) for name in inputs],
        [helper.make_tensor_value_info(name, *shapes[name]) for name in outputs],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return constants


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("graph")


@pytest.fixture(scope="module")
def made(folder):
    (folder / "tokenizer").mkdir()
    size = write_tokenizer(folder / "tokenizer")
    constants = write_graph(folder / "model.onnx", size)
    (folder / "model.onnx.json").write_text(json.dumps({"tokenizer": "tokenizer", "max_length": 32}))
    return folder / "model.onnx", constants, size


def tokens_of(backbone, text):
    return backbone.preparation.tokenizer.encode(text, 32)[0]


@pytest.mark.parametrize("engine", ["eager", "openvino"])
def test_rows_are_the_mean_over_the_tokens_of_each_text(made, engine, tmp_path):
    if engine == "openvino":
        pytest.importorskip("openvino")
    path, constants, _ = made
    texts, labels = reviews(8)
    backbone = load_backbone(f"onnx:{path}")
    assert (backbone.kind, backbone.layer, backbone.pooling) == ("text", "last_hidden_state", "mean")
    rows = featx.extract(
        texts, labels, backbone=backbone, engine=engine, precision="fp32", cache=tmp_path
    ).embeddings
    hidden = [constants["table"][tokens_of(backbone, text)] @ constants["weights"] for text in texts]
    np.testing.assert_allclose(rows, [one.mean(0) for one in hidden], atol=1e-5)


@pytest.mark.parametrize("pooling", ["cls", "last", "max"])
def test_openvino_pools_as_the_reference(made, pooling, tmp_path):
    pytest.importorskip("openvino")
    path, constants, _ = made
    backbone = load_backbone(f"onnx:{path}", pooling=pooling)
    texts = reviews(4)[0]
    rows = featx.extract(texts, backbone=backbone, engine="openvino", precision="fp32", cache=tmp_path)
    hidden = [constants["table"][tokens_of(backbone, text)] @ constants["weights"] for text in texts]
    pool = {"cls": lambda h: h[0], "last": lambda h: h[-1], "max": lambda h: h.max(0)}[pooling]
    np.testing.assert_allclose(rows.embeddings, [pool(one) for one in hidden], atol=1e-5)


def test_the_output_with_one_row_a_text_is_taken(made, folder):
    _, _, size = made
    path = folder / "sentence.onnx"
    write_graph(path, size, outputs=("ids_again", "last_hidden_state", "sentence_embedding"))
    backbone = load_backbone(f"onnx:{path}", preprocessing={"tokenizer": "tokenizer"})
    assert (backbone.layer, backbone.pooling, backbone.dim) == ("sentence_embedding", "identity", DIM)
    other = load_backbone(f"onnx:{path}#last_hidden_state", preprocessing={"tokenizer": "tokenizer"})
    assert (other.layer, other.pooling) == ("last_hidden_state", "mean")


def test_a_tokenizer_beside_the_file_is_found(made, folder):
    _, _, size = made
    path = folder / "tokenizer" / "model.onnx"
    write_graph(path, size, inputs=("input_ids",))
    assert load_backbone(f"onnx:{path}").dim == DIM
    assert [layer.name for layer in list_layers(f"onnx:{path}") if layer.is_default] == ["last_hidden_state"]


def test_class_scores_alone_are_no_embedding(made, folder):
    path = folder / "tokenizer" / "scores.onnx"
    write_graph(path, made[2], outputs=("logits",))
    with pytest.raises(LayerNeeded, match="no default layer: its output 'logits' gives class scores"):
        load_backbone(f"onnx:{path}")
    assert load_backbone(f"onnx:{path}#last_hidden_state").dim == DIM


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": ("input_ids", "pixel_mask")}, "takes 'pixel_mask', which is not known"),
        ({"length": 16}, "takes texts of 16 tokens only"),
    ],
)
def test_other_graphs_are_refused_by_name(made, folder, change, message):
    path = folder / "tokenizer" / "other.onnx"
    write_graph(path, made[2], **change)
    with pytest.raises(InputError, match=message):
        load_backbone(f"onnx:{path}")


@pytest.mark.parametrize(
    ("beside", "message"),
    [
        (None, "no tokenizer is beside it"),
        ({"tokenizer": 3}, "tokenizer must be a folder or hf:NAME"),
        ({"tokenizer": "nowhere"}, "no tokenizer is with it"),
        ({"tokenizer": "~no-such-user/x"}, "no tokenizer is with it"),
        ({"tokenizer": "tokenizer", "mean": [0]}, "unknown field 'mean' of texts"),
        ({"tokenizer": "tokenizer", "pooling": "avg"}, "pooling 'avg'; expected one of"),
    ],
)
def test_what_stands_beside_a_graph_is_checked(made, tmp_path, beside, message):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "tokenizer").symlink_to(made[0].parent / "tokenizer")
    path = tmp_path / "inner" / "model.onnx"
    path.write_bytes(made[0].read_bytes())
    if beside is not None:
        (tmp_path / "inner" / "model.onnx.json").write_text(json.dumps(beside))
    with pytest.raises(InputError, match=message):
        load_backbone(f"onnx:{path}")
