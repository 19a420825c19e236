"""Listing and searching backbones: from tables, without the libraries, and what is on this machine."""

import subprocess
import sys

import pytest

from featx.backbones import catalogue, list_backbones
from featx.backbones.catalogue import count_weights, nearest_words, read_table, search_backbones
from featx.backbones.sources import BUILT_IN
from featx.backbones.weights import find_in_repository, hugging_face_folder, torch_hub_folder
from featx.errors import UnknownName


@pytest.fixture(autouse=True)
def _own_hub(tmp_path, monkeypatch):
    """A cache of the Hugging Face hub of our own, also where `huggingface_hub` is imported already."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    if "huggingface_hub.constants" in sys.modules:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def put_into_hub(repository, filename):
    """Put a file where `huggingface_hub` keeps it."""
    folder = hugging_face_folder() / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc123")
    path = folder / "snapshots" / "abc123" / filename
    path.parent.mkdir(parents=True)
    path.touch()
    return path


@pytest.mark.parametrize("arguments", ["[]", "['dinov2', 'small']", "['dinno']", "['vit', '--json']"])
def test_searching_imports_nothing_heavy(arguments):
    code = (
        f"import sys; from featx.cli import main; main(['backbones', *{arguments}]); "
        "heavy = 'torch', 'torchvision', 'timm', 'transformers', 'open_clip', 'numpy', 'huggingface_hub'; "
        "print([m for m in heavy if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_listing_knows_the_facts_of_every_source():
    infos = {info.name: info for info in list_backbones()}
    resnet = infos["resnet50"]
    assert (resnet.dim, resnet.parameters, resnet.weights_name) == (2048, 25_557_032, "IMAGENET1K_V2")
    assert resnet.top1 == pytest.approx(80.858)
    assert (resnet.image_size, resnet.licence, resnet.source) == (224, None, "torchvision")
    assert not resnet.weights_available  # the hub cache of the tests is empty
    dino = infos["timm:vit_small_patch14_dinov2.lvd142m"]
    assert (dino.dim, dino.parameters, dino.image_size) == (384, 22_056_192, 518)
    assert (dino.licence, dino.weights_name, dino.source) == ("apache-2.0", "lvd142m", "timm")
    assert infos["timm:vit_base_patch16_sapiens2.fb"].image_size == (1024, 768)
    assert list(infos) == sorted(infos)
    assert len(infos) == len(list_backbones())  # a name is listed once
    assert all(info.dim > 0 and info.parameters > 0 for info in infos.values())


def test_every_table_is_one_of_a_source_that_is_built_in():
    tables = {path.stem for path in catalogue.TABLES.glob("*.csv")}
    assert tables == set(catalogue.LIBRARIES)
    prefixes = {source.name: source.prefix for source in BUILT_IN}
    assert all(library.prefix == prefixes[name] for name, library in catalogue.LIBRARIES.items())
    unlisted = {name.partition(":")[0] for name in catalogue.UNLISTED}
    assert tables | unlisted == set(prefixes)


def test_listing_sees_a_file_in_the_hub_cache():
    torch_hub_folder().mkdir(parents=True)
    (torch_hub_folder() / "resnet18-f37072fd.pth").touch()
    here = {info.name for info in list_backbones("*resnet18*") if info.weights_available}
    assert here == {"resnet18"}
    assert search_backbones(["resnet18"])[0].name == "resnet18"  # it comes first


def test_listing_sees_a_repository_in_the_cache_of_the_hugging_face_hub():
    put_into_hub("timm/resnet18.a1_in1k", "model.safetensors")
    put_into_hub("timm/resnet18.tv_in1k", "README.md")
    here = [info.name for info in search_backbones() if info.weights_available and info.source == "timm"]
    assert here == ["timm:resnet18.a1_in1k"]


def test_a_repository_is_found_where_huggingface_hub_finds_it():
    huggingface_hub = pytest.importorskip("huggingface_hub")
    names = ["model.safetensors", "pytorch_model.bin"]
    path = put_into_hub("owner/net", names[1])
    assert find_in_repository("owner/net", names) == path
    cached = huggingface_hub.try_to_load_from_cache("owner/net", names[1], cache_dir=hugging_face_folder())
    assert cached == str(path)
    assert find_in_repository("owner/net", names[:1]) is None
    assert find_in_repository("owner/other", names) is None


@pytest.mark.parametrize("name", ["torch.hub", "huggingface_hub.constants"])
@pytest.mark.parametrize("variable", [None, "TORCH_HOME", "XDG_CACHE_HOME", "HF_HOME"])
def test_caches_are_where_their_libraries_have_them(monkeypatch, tmp_path, name, variable):
    import importlib

    library = pytest.importorskip(name)
    for other in ("TORCH_HOME", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(other, raising=False)
    if variable is not None:
        monkeypatch.setenv(variable, str(tmp_path / "caches"))
    if name == "torch.hub":
        expected, find = f"{library.get_dir()}/checkpoints", torch_hub_folder
    else:
        spec = importlib.util.find_spec(name)  # read anew: it looks at the environment when it is imported
        fresh = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(fresh)
        expected, find = fresh.HF_HUB_CACHE, hugging_face_folder
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.delitem(sys.modules, "huggingface_hub.constants", raising=False)
    assert str(find()) == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("resnet*", "resnet18"),
        ("RESNET*", None),
        ("lenet", "googlenet"),
        ("resnet[15]*", "resnet50"),
        ("zzz", None),
    ],
)
def test_listing_filters_by_pattern(pattern, expected):
    names = [info.name for info in list_backbones(pattern)]
    assert (expected in names) if expected else not names
    if pattern == "resnet*":
        assert all(name.startswith("resnet") for name in names)


def test_a_long_list_is_shown_by_some_names():
    found = list_backbones()
    assert repr(found).startswith(f"<{len(found):,} backbones: {found[0].name}, ")
    assert len(repr(found)) < 500
    assert repr(list_backbones("alexnet")).startswith("[BackboneInfo(name='alexnet'")
    assert found == list(found)


def test_every_word_must_match_in_upper_or_lower_case_with_any_dash():
    found = [info.name for info in search_backbones(["DINOv2", "small"])]
    assert "timm:vit_small_patch14_dinov2.lvd142m" in found
    assert all("dinov2" in name.lower() and "small" in name.lower() for name in found)
    assert {info.name for info in search_backbones(["vit-b-16"], "torchvision")} == {"vit_b_16"}
    assert [info.name for info in search_backbones(["timm:resnet18.*"], "torchvision")] == []
    assert len(search_backbones(["timm:resnet18.*"], "timm")) > 3


def test_words_find_weights_too_and_every_one_is_shown():
    found = search_backbones(["vit_b_16", "swag"], "torchvision")
    assert [info.weights_name for info in found] == ["IMAGENET1K_SWAG_E2E_V1", "IMAGENET1K_SWAG_LINEAR_V1"]
    assert [info.image_size for info in found] == [384, 224]
    assert "SWAG" in found[0].licence


def test_numbers_in_names_are_sorted_as_numbers():
    names = [info.name for info in search_backbones(["resnet[0-9]*"], "torchvision")]
    assert list(dict.fromkeys(names)) == ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]


def test_near_words_are_named_for_those_that_no_name_has():
    assert "dinov2" in nearest_words(["dinov22", "small"])
    assert nearest_words(["resnet50"]) == []


def test_an_unknown_source_is_refused_by_name():
    with pytest.raises(UnknownName, match="unknown source 'tim'; did you mean timm"):
        catalogue.require_source("tim")


def test_weights_and_networks_are_counted():
    networks, weights = count_weights()["torchvision"]
    rows = read_table("torchvision")
    assert (networks, weights) == (len({row.name for row in rows}), len(rows))
