"""Folders of sentence-transformers: their pooling and the layers behind it, and what is refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from texts import write_bert

from featx.backbones import load_backbone, load_tuned, values_of
from featx.errors import InputError
from featx.inputs.text import StringText

pytest.importorskip("transformers")

TEXTS = ["it", "a warm and funny film", "the plot makes no sense and badly acted and dull and far too long"]
PACKAGE = "sentence_transformers.models"


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return write_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def write(bert, tmp_path):
    """Write a pipeline around a copy of the network; modules are (kind, settings, tensors)."""
    import safetensors.torch

    def write(*modules, package=PACKAGE, network=None, prompts=None):
        folder = tmp_path / "folder"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(bert, folder)
        listed = [{"idx": 0, "name": "0", "path": "", "type": f"{package}.Transformer"}]
        for number, (kind, settings, tensors) in enumerate(modules, 1):
            place = folder / f"{number}_{kind}"
            place.mkdir()
            if settings is not None:
                (place / "config.json").write_text(json.dumps(settings))
            if tensors:
                safetensors.torch.save_file(tensors, place / "model.safetensors")
            entry = {"idx": number, "name": str(number), "path": place.name, "type": f"{package}.{kind}"}
            listed.append(entry)
        (folder / "modules.json").write_text(json.dumps(listed))
        for name, content in (("sentence_bert", network), ("config_sentence_transformers", prompts)):
            file = f"{name}_config.json" if name == "sentence_bert" else f"{name}.json"
            if content is not None:
                (folder / file).write_text(json.dumps(content))
        return folder

    return write


def pooling(*modes, **more):
    return "Pooling", {"word_embedding_dimension": 32, **dict.fromkeys(modes, True), **more}, None


def rows_of(backbone):
    rows = []
    for text in TEXTS:
        tokens = backbone.preparation.prepare(StringText(text, text).read())
        padded = np.pad(tokens, ((0, 0), (0, 3)), constant_values=-1)
        with torch.inference_mode():
            rows.append(backbone.module(torch.from_numpy(padded).to(torch.int64))[0].numpy())
    return np.stack(rows)


def states_of(folder, texts):
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    network = transformers.AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
    with torch.no_grad():
        return [
            network(**tokenizer(text, return_tensors="pt", truncation=True, max_length=64))
            .last_hidden_state[0]
            .numpy()
            for text in texts
        ]


REFERENCE = {
    "pooling_mode_cls_token": lambda s: s[0],
    "pooling_mode_max_tokens": lambda s: s.max(0),
    "pooling_mode_mean_tokens": lambda s: s.mean(0),
    "pooling_mode_mean_sqrt_len_tokens": lambda s: s.sum(0) / np.sqrt(len(s)),
    "pooling_mode_weightedmean_tokens": lambda s: np.average(s, axis=0, weights=range(1, len(s) + 1)),
    "pooling_mode_lasttoken": lambda s: s[-1],
}


def test_poolings_stand_side_by_side(write):
    folder = write(pooling(*reversed(REFERENCE)))
    expected = [np.concatenate([one(s) for one in REFERENCE.values()]) for s in states_of(folder, TEXTS)]
    backbone = load_backbone(f"hf:{folder}")
    assert (backbone.layer, backbone.pooling, backbone.dim) == ("embedding", "pipeline", 192)
    np.testing.assert_allclose(rows_of(backbone), expected, atol=1e-5)
    named = load_backbone(f"hf:{write(('Pooling', {'pooling_mode': ['max', 'cls']}, None))}")
    expected = [np.concatenate([s.max(0), s[0]]) for s in states_of(folder, TEXTS)]
    np.testing.assert_allclose(rows_of(named), expected, atol=1e-5)


def test_layers_behind_the_pooling(write):
    rng = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(16, 32, generator=rng), torch.randn(16, generator=rng)
    scale, square = torch.rand(16, generator=rng), torch.randn(16, 16, generator=rng)
    dense = {"in_features": 32, "out_features": 16, "bias": True}
    activation = {"activation_function": "torch.nn.modules.activation.Tanh"}
    folder = write(
        pooling("pooling_mode_mean_tokens"),
        ("Dense", dense | activation, {"linear.weight": weight, "linear.bias": bias}),
        ("LayerNorm", {"dimension": 16}, {"norm.weight": scale, "norm.bias": bias}),
        (
            "Dense",
            {"in_features": 16, "out_features": 16, "bias": False, "use_residual": True}
            | {"activation_function": "torch.nn.modules.activation.ReLU"},
            {"linear.weight": square},
        ),
        ("Normalize", None, None),
        package="sentence_transformers.base.modules.any",
        network={"max_seq_length": 20, "do_lower_case": False},
        prompts={"prompts": {"query": "it and "}, "default_prompt_name": "query"},
    )
    backbone = load_backbone(f"hf:{folder}")
    assert backbone.preparation.to_dict() == {"max_length": 20, "prefix": "it and ", "long": "cut"}
    states = [s[:20] for s in states_of(folder, [f"it and {text}" for text in TEXTS])]
    rows = torch.from_numpy(np.stack([s.mean(0) for s in states]))
    rows = torch.tanh(rows @ weight.T + bias)
    rows = torch.nn.functional.layer_norm(rows, (16,), scale, bias)
    rows = torch.relu(rows @ square.T) + rows
    expected = (rows / rows.norm(dim=1, keepdim=True)).numpy()
    np.testing.assert_allclose(rows_of(backbone), expected, atol=1e-5)

    built = backbone.build()
    assert backbone.blocks(built)[-1] == ["network.pipeline"]
    assert built.get_parameter("network.pipeline.2_Dense.linear.weight").requires_grad
    tuned = load_tuned(values_of(built), **backbone.arguments)
    np.testing.assert_array_equal(rows_of(tuned), rows_of(backbone))
    again = load_backbone(**backbone.arguments)
    assert again.identity == backbone.identity
    assert load_backbone(f"hf:{folder}", pooling="max", prefix="").dim == 32

    # Other values, and other settings, are other spaces.
    stated = json.loads((folder / "4_Dense" / "config.json").read_text())
    changed = stated | {"activation_function": "torch.nn.modules.activation.GELU"}
    (folder / "4_Dense" / "config.json").write_text(json.dumps(changed))
    assert load_backbone(f"hf:{folder}").identity != backbone.identity
    (folder / "4_Dense" / "config.json").write_text(json.dumps(stated))
    import safetensors.torch

    safetensors.torch.save_file({"linear.weight": 2 * square}, folder / "4_Dense" / "model.safetensors")
    other = load_backbone(f"hf:{folder}").identity
    assert other["weights_sha256"] != backbone.identity["weights_sha256"]
    (folder / "4_Dense" / "model.safetensors").unlink()
    with pytest.raises(InputError, match="the tensors of its 4_Dense are not on this machine"):
        load_backbone(f"hf:{folder}")


def test_a_prefix_that_is_not_pooled(write):
    prompts = {"prompts": {"q": "the story and "}, "default_prompt_name": "q"}
    folder = write(pooling("pooling_mode_mean_tokens", include_prompt=False), prompts=prompts)
    states = states_of(folder, [f"the story and {text}" for text in TEXTS])
    expected = [s[4:].mean(0) for s in states]  # [CLS] the story and
    np.testing.assert_allclose(rows_of(load_backbone(f"hf:{folder}")), expected, atol=1e-5)
    with pytest.raises(InputError, match="long='mean' does not go with its pooling"):
        load_backbone(f"hf:{folder}", long="mean")


MEAN = pooling("pooling_mode_mean_tokens")


@pytest.mark.parametrize(
    ("modules", "options", "said"),
    [
        ((MEAN, ("LSTM", {}, None)), {}, "holds 'LSTM'"),
        ((("CNN", {}, None), MEAN), {}, "has 'CNN' behind the network"),
        ((), {}, "has nothing behind the network"),
        ((MEAN,), {"package": "custom_code"}, "names code of its own"),
        ((("Pooling", {"pooling_mode": "median"}, None),), {}, "its pooling 'median' is not known"),
        ((MEAN,), {"network": {"max_seq_length": "long"}}, "max_seq_length is 'long'"),
        ((MEAN,), {"network": {"transformer_task": "fill-mask"}}, "transformer_task is 'fill-mask'"),
        ((MEAN,), {"prompts": {"default_prompt_name": "q"}}, "default prompt 'q' is not among its prompts"),
        (
            (MEAN,),
            {"prompts": {"default_prompt_name": ["q"], "prompts": {"q": "x"}}},
            "is not among its prompts",
        ),
        ((("Pooling", {"pooling_mode": ["mean", "mean"]}, None),), {}, "names one twice"),
        ((MEAN, *(("Normalize", None, None),) * 19), {}, "holds 21 modules, expected 20 at most"),
        (
            (MEAN, ("Dense", {"in_features": 9, "out_features": 4}, {"linear.weight": torch.ones(4, 9)})),
            {},
            "takes 9 features, and gets 32",
        ),
        (
            (
                MEAN,
                ("Dense", {"in_features": 32, "out_features": 4, "activation_function": "os.system"}, None),
            ),
            {},
            "states the activation 'os.system'",
        ),
    ],
)
def test_what_is_not_known_is_refused_by_name(write, modules, options, said):
    with pytest.raises(InputError, match=said) as caught:
        load_backbone(f"hf:{write(*modules, **options)}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("places", "said"),
    [
        (["", ".."], "names the folder '..'; expected a folder beside it"),
        (["", "."], "names the folder '.'"),
        (["", ""], "names the folder ''"),  # would be the file /config.json
        (["", "1_Pooling", "forward"], "names the folder 'forward'"),  # the name of a method
        (["", "1_Pooling", ""], "names the folder ''"),
        (["", "1_Pooling", "1_Pooling"], "names the folder '1_Pooling' twice"),
    ],
)
def test_folders_of_modules_are_their_own_and_beside_the_network(write, places, said):
    folder = write(MEAN)
    kinds = ("Transformer", "Pooling", "Dense")
    listed = [{"path": at, "type": f"{PACKAGE}.{kind}"} for at, kind in zip(places, kinds, strict=False)]
    (folder / "modules.json").write_text(json.dumps(listed))
    with pytest.raises(InputError, match=said):
        load_backbone(f"hf:{folder}")
