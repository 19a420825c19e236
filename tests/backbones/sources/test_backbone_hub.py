"""Networks of torch.hub: nothing runs before consent; changed code and changed values are another network."""

import json
import os
import pickle
import sys
import textwrap
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import featx
from featx import Preprocessing
from featx.backbones import list_layers, load_backbone, load_layers
from featx.cli import main
from featx.errors import InputError, UnknownName, WeightsError
from featx.extraction import reuse_backbone
from featx.studies.experiments import load_experiment

HUBCONF = """
    from pathlib import Path
    from tiny_network import Tiny

    dependencies = ["torch"]
    Path(__file__).with_name("ran").touch()
    print("a line that belongs to no output")

    def tiny(pretrained=False):
        return Tiny(constant=0.5 if pretrained else None)

    def own_values_only():
        return Tiny(constant=0.25)

    def draws():
        import os
        return Tiny(constant=int.from_bytes(os.urandom(4), "big"))

    def reads(pretrained=True):
        raise FileNotFoundError("no such page")

    def fails(pretrained=True):
        raise KeyError("stem")

    def text():
        return "a network"
"""
NETWORK = """
    import torch
    from torch import nn

    class Tiny(nn.Module):
        def __init__(self, constant):
            super().__init__()
            self.stem, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)
            if constant is not None:
                with torch.no_grad():
                    for number, tensor in enumerate(self.parameters(), 1):
                        tensor.fill_(constant / number)

        def forward(self, x):
            return self.fc(self.stem(x).SCALE.mean((2, 3)))
"""
EXPERIMENT = """
    [experiment]
    kind = "compare"
    output = "out"
    [data]
    source = "digits"
    [network]
    """
PREPARE = Preprocessing(resize=(16, 16), crop=None)


def write_code(folder, scale="relu()"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hubconf.py").write_text(textwrap.dedent(HUBCONF))
    (folder / "tiny_network.py").write_text(textwrap.dedent(NETWORK).replace("SCALE", scale))
    return folder


@pytest.fixture
def folder(tmp_path):
    """A folder with the code of a tiny network; its file ``ran`` appears when that runs."""
    return write_code(tmp_path / "code")


def load(folder, entry="tiny", **options):
    given = {"preprocessing": PREPARE, "trust_code": True} | options
    return load_backbone(f"hub:{folder}:{entry}", **given)


def images():
    return np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)


def test_nothing_runs_before_consent(folder, tmp_path, monkeypatch, capsys):
    name = f"hub:{folder}:tiny"
    (tmp_path / "e.toml").write_text(f'{EXPERIMENT}backbones = ["{name}"]')
    ranking = EXPERIMENT.replace('"compare"', '"rank"')
    (tmp_path / "rank.toml").write_text(f'{ranking}backbones = ["{name}"]')
    calls = [
        lambda: load_backbone(name),
        lambda: list_layers(name, weights=None),
        lambda: load_layers(name),
        lambda: featx.extract(images(), backbone=name),
        lambda: featx.train(images(), [0, 1] * 3, backbone=name),
        lambda: featx.compare(images(), [0, 1] * 3, backbones=["squeezenet1_1", name], weights=None),
        lambda: featx.FeatureExtractor(name).fit(images()),
        lambda: featx.FineTunedClassifier(name).fit(images(), [0, 1] * 3),
        load_experiment(tmp_path / "e.toml").run,
        load_experiment(tmp_path / "rank.toml").run,
    ]
    for call in calls:
        with pytest.raises(
            InputError, match=rf"runs the Python code in {folder}.*trust_code=True \(--trust-code\)"
        ):
            call()
    assert main(["backbones", name, "--layers"]) == 2
    assert "--trust-code" in capsys.readouterr().err
    assert sorted(os.listdir(folder)) == ["hubconf.py", "tiny_network.py"]
    # Files of featx name the code, and cannot have consent for one place used for another.
    with pytest.raises(InputError, match=rf"runs the Python code in {folder}, with"):
        load_backbone("hub:facebookresearch/dinov2:tiny", weights=folder)
    monkeypatch.setattr(torch.hub, "list", lambda *args, **options: pytest.fail("looked at"))
    with pytest.raises(InputError, match=r"code of https://github.com/lab/nets \(v1\.2\), with all that"):
        load_backbone("hub:lab/nets:v1.2:tiny")


def test_no_file_gives_consent(folder, tmp_path):
    (tmp_path / "e.toml").write_text(f"{EXPERIMENT}trust_code = true")
    with pytest.raises(InputError, match="unknown key 'trust_code'"):
        load_experiment(tmp_path / "e.toml")
    model = featx.train(images(), [0, 1] * 3, backbone=load(folder), classifier="nearest-centroid")
    model.save(tmp_path / "model")
    with zipfile.ZipFile(tmp_path / "model") as archive:
        assert "trust" not in archive.read("model.json").decode()
    again = featx.load_model(tmp_path / "model")
    assert again.predict(images()) == model.predict(images(), trust_code=True)  # from the cache: no code runs
    new = 255 - images()
    with pytest.raises(InputError, match="trust_code=True"):
        again.predict(new)
    again.backbone["trust_code"] = True
    with pytest.raises(InputError, match="trust_code=True"):
        again.predict(new)
    assert again.predict(new, trust_code=True) == model.predict(new, trust_code=True)


def test_the_rows_are_those_of_the_network_that_torch_hub_gives(folder):
    own = torch.hub.load(str(folder), "tiny", source="local", pretrained=True).eval()
    pixels = torch.from_numpy(images())
    normalised = (pixels / 255 - torch.tensor(PREPARE.mean)) / torch.tensor(PREPARE.std)
    with torch.no_grad():
        expected = own.stem(normalised.permute(0, 3, 1, 2)).relu().mean((2, 3))
    backbone = load(folder)
    assert (backbone.name, backbone.layer, backbone.dim) == (f"hub:{folder}:tiny", "mean", 4)
    rows = featx.extract(images(), backbone=backbone, engine="eager", device="cpu").embeddings
    np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-6)
    scores = load(folder, layer="logits").module(normalised.permute(0, 3, 1, 2))
    torch.testing.assert_close(scores, own.fc(expected).detach())


def test_values_are_those_of_the_entry_a_file_or_drawn(folder, tmp_path, capsys):
    found = {
        name: load(folder, weights=None, seed=seed) for name, seed in (("one", 1), ("again", 1), ("two", 2))
    }
    assert found["one"].weights_sha256 == found["again"].weights_sha256 != found["two"].weights_sha256
    assert found["one"].identity["weights"] == "random"
    torch.save(
        found["two"].build().state_dict() | found["two"].whole_network().state_dict(), tmp_path / "w.pth"
    )
    mine = load(folder, weights=tmp_path / "w.pth")
    assert mine.weights_sha256 == found["two"].weights_sha256
    assert mine.identity["weights"] == mine.arguments["weights"] == "checkpoint"
    assert load(folder).identity["weights"] == load(folder).arguments["weights"] == "default"
    assert load(folder, "own_values_only").weights_sha256 != load(folder).weights_sha256
    with pytest.raises(InputError, match="own_values_only: this entry has no parameter 'pretrained'"):
        load(folder, "own_values_only", weights=None)
    with pytest.raises(WeightsError, match="weights must be 'default', None or a file, got 'IMAGENET'"):
        load(folder, weights="IMAGENET")
    assert capsys.readouterr().out == ""


def test_changed_code_is_another_network_also_in_a_process_that_imported_it(folder):
    first = reuse_backbone(f"hub:{folder}:tiny", preprocessing=PREPARE, trust_code=True)
    rows = featx.extract(images(), backbone=first)
    assert reuse_backbone(f"hub:{folder}:tiny", preprocessing=PREPARE, trust_code=True) is first
    assert featx.extract(images(), backbone=load(folder)).run["forward_passes"] == 0
    write_code(folder, scale="exp().clamp(max=3.0)")
    with pytest.raises(InputError, match="its code changed after it was loaded; load the backbone again"):
        first.build()
    second = reuse_backbone(f"hub:{folder}:tiny", preprocessing=PREPARE, trust_code=True)
    changed = featx.extract(images(), backbone=second)
    assert changed.run["forward_passes"] == 6
    assert not np.allclose(changed.embeddings, rows.embeddings)
    # A comment does not change the graph: the files are what counts.
    (folder / "settings.yaml").write_text("width: 4")
    third = load(folder)
    same = ("weights_sha256", "graph_sha256")
    assert [third.identity[key] for key in same] == [second.identity[key] for key in same]
    assert third.identity["code_sha256"] != second.identity["code_sha256"]


def test_a_pickle_runs_the_entry_again_where_it_is_opened(folder):
    backbone = load(folder)
    found = pickle.loads(pickle.dumps(backbone))
    assert len(pickle.dumps(backbone)) < 4000
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(found.module(images), backbone.module(images))
    with pytest.raises(WeightsError, match="gives other values than when the backbone was loaded"):
        _ = pickle.loads(pickle.dumps(load(folder, "draws"))).module


def test_a_folder_may_lie_elsewhere_on_another_machine(folder, tmp_path):
    rows = featx.extract(images(), backbone=load(folder))
    model = featx.train(images(), [0, 1] * 3, backbone=load(folder), classifier="nearest-centroid")
    expected = model.predict(images(), trust_code=True)
    moved = folder.rename(tmp_path / "elsewhere")
    assert str(folder) not in json.dumps(rows.space)
    assert featx.extract(images(), backbone=load(moved)).run["forward_passes"] == 0
    with pytest.raises(InputError, match=r"there is no hubconf\.py in"):
        model.predict(255 - images(), trust_code=True)
    assert model.predict(images(), weights=moved, trust_code=True) == expected
    rows.save(tmp_path / "f.h5")
    Image.fromarray(images()[2]).save(tmp_path / "q.png")
    search = ["search", str(tmp_path / "f.h5"), str(tmp_path / "q.png"), "--trust-code", "-k", "1"]
    assert main(search) == 2
    assert main([*search, "--weights", str(moved), "--json"]) == 0


def test_a_repository_is_taken_from_the_cache_of_torch_hub_or_fetched(monkeypatch):
    def refuse(*args, **options):
        raise KeyError("Authorization")

    monkeypatch.setattr(torch.hub, "list", refuse)
    with pytest.raises(
        InputError, match=r"https://github.com/lab/nets is not in .*/hub and could not be fetched"
    ):
        load("lab/nets")
    write_code(Path(torch.hub.get_dir(), "lab_nets_main"))
    assert load("lab/nets").name == "hub:lab/nets:tiny"
    monkeypatch.setattr(
        torch.hub, "list", lambda *args, **options: write_code(Path(torch.hub.get_dir(), "lab_nets_v1_x"))
    )
    assert load("lab/nets:v1/x").identity["architecture"] == "lab/nets:v1/x:tiny"


def test_images_are_prepared_as_is_said_beside_the_code(folder, capsys):
    with pytest.raises(InputError, match=r"does not state how images are prepared.*hubconf\.py\.json: \{"):
        load(folder, preprocessing=None)
    fields = {"resize": 20, "crop": [16, 16], "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    beside = folder / "hubconf.py.json"
    beside.write_text(json.dumps(fields))
    expected = Preprocessing(resize=20, crop=(16, 16), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    assert load(folder, preprocessing=None).preprocessing == expected
    assert load(folder).preprocessing == PREPARE
    assert main(["backbones", f"hub:{folder}:own_values_only", "--layers", "--trust-code"]) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == [
        "layer",
        "stem",
        "mean",
        "logits",
    ]
    beside.write_text(json.dumps(fields | {"scale": 1}))
    with pytest.raises(InputError, match=r"hubconf\.py\.json: preprocessing: unknown field 'scale'"):
        load(folder, preprocessing=None)


def test_what_does_not_load_is_one_error_that_names_the_entry(folder, tmp_path, monkeypatch):
    for entry, error, said in (
        ("tinny", UnknownName, "did you mean tiny"),
        ("reads", WeightsError, "needs cannot be read or downloaded .*no such page"),
        ("fails", InputError, "this entry failed .KeyError: KeyError 'stem'"),
        ("text", InputError, "expected a torch.nn.Module, got a str"),
    ):
        with pytest.raises(error, match=f"hub:{folder}.*{said}"):
            load(folder, entry)
    for name in ("lab/nets", "", ":tiny", f"{folder}:"):
        with pytest.raises(InputError, match="expected hub:OWNER/REPO:ENTRY"):
            load_backbone(f"hub:{name}")
    with pytest.raises(InputError, match=r"there is no hubconf\.py in"):
        load(tmp_path / "nowhere")
    monkeypatch.setitem(sys.modules, "tiny_network", types.ModuleType("tiny_network"))
    sys.modules["tiny_network"].__file__ = str(tmp_path / "tiny_network.py")
    with pytest.raises(
        InputError, match="its module 'tiny_network' cannot be imported, since this process uses"
    ):
        load(folder)
    monkeypatch.undo()
    for line, said in (
        ("dependencies = ['no_such_package']", "needs the packages no_such_package"),
        ("import no_such_package", "needs the package 'no_such_package'"),
        ("1 / 0", r"hubconf\.py cannot be imported \(ZeroDivisionError"),
        ("raise SystemExit(0)", r"hubconf\.py cannot be imported \(SystemExit"),
    ):
        (folder / "hubconf.py").write_text(line)
        with pytest.raises(InputError, match=said):
            load(folder)
