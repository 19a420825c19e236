"""The tables of backbones say what docs/write_backbone_tables.py finds in the libraries."""

import runpy
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from featx.backbones import load_backbone
from featx.backbones.catalogue import LIBRARIES, TABLES, read_table
from featx.backbones.sources import timm as timm_source
from featx.backbones.sources.torchvision import FACTS

SCRIPT = Path(__file__).parents[2] / "docs" / "write_backbone_tables.py"
#: Networks whose rows are made anew.
SAMPLE = {
    "detection": ["ssdlite320_mobilenet_v3_large"],
    "torchvision": ["shufflenet_v2_x0_5"],
    "hf": ["facebook/dinov2-small"],
    "open_clip": ["ViT-B-32-quickgelu"],
    "timm": ["resnet18", "tf_efficientnet_lite0", "test_vit", "vit_small_patch14_dinov2"],
}


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


def require_same_version(source):
    """Skip where the library is not the one that the table is of."""
    with (TABLES / f"{source}.csv").open(encoding="utf-8") as lines:
        _, package, made_of = next(lines).split()
    try:
        here = version(package)
    except PackageNotFoundError:
        pytest.skip(f"{package} is not installed")
    if here.partition("+")[0] != made_of.partition("+")[0]:
        pytest.skip(f"the table is of {package} {made_of}, and {here} is installed")


@pytest.mark.parametrize("source", SAMPLE)
def test_rows_made_anew_are_those_of_the_table(script, source):
    require_same_version(source)
    known = read_table(source)
    for name in SAMPLE[source]:
        made = list(script["SOURCES"][source][1]([name]))
        assert made, name
        names = {name, *(f"{name}.{row.weights}" for row in made), *(f"{name}/{row.weights}" for row in made)}
        assert [row for row in known if row.name in names] == made


def test_every_published_name_of_timm_that_has_an_embedding_is_in_its_table(script):
    require_same_version("timm")
    timm = timm_source.import_timm()
    named = {f"{row.name}.{row.weights}" if "." not in row.name else row.name for row in read_table("timm")}
    packaged = {f"{name}.{file}" for name, (file, _) in timm_source.PACKAGED.items()}
    published = {
        name for name in timm.list_pretrained() if name.partition(".")[0] not in script["TOKENS_ONLY"]
    }
    assert named - packaged == published


def test_the_facts_by_which_networks_load_agree_with_the_table():
    table = {row.name: row for row in reversed(read_table("torchvision"))}
    assert {name: int(row.dim) for name, row in table.items()} == {
        name: facts.dim for name, facts in FACTS.items()
    }
    assert [name for name, facts in FACTS.items() if int(table[name].parameters) != facts.parameters] == []


def test_the_dimension_is_that_of_the_backbone():
    for row in read_table("timm"):
        if row.name in ("test_vit.r160_in1k", "test_resnet.r160_in1k"):
            architecture = row.name.partition(".")[0]
            assert load_backbone(f"timm:{architecture}", weights=None).dim == int(row.dim)


def test_every_row_is_complete():
    for source in LIBRARIES:
        rows = read_table(source)
        assert len({(row.name, row.weights) for row in rows}) == len(rows)
        assert all(row.name and int(row.dim) > 0 and int(row.parameters) > 0 and row.file for row in rows)
