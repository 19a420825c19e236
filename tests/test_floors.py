"""The house: imports point downwards only, light modules stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import featx

ROOT = Path(featx.__file__).parent
FLOORS = {
    "errors": 0,
    "durable": 1,
    "forks": 1,
    "journal": 2,
    "progress": 1,
    "energy": 1,
    "tasks": 2,
    "options": 1,
    "spreadsheet": 1,
    "terminal": 1,
    "images": 2,
    "cache": 2,
    "features": 2,
    "results": 2,
    "splits": 2,
    "vision": 2,
    "machine": 1,
    "datasets": 3,
    "distances": 3,
    "transferability": 3,
    "adaptation": 3,
    "anomaly": 3,
    "backbones": 3,
    "classifiers": 3,
    "ensembles": 3,
    "statistics": 3,
    "report": 3,
    "labelling": 4,
    "similar": 3,
    "engines": 4,
    "hygiene": 4,
    "finetune": 4,
    "extraction": 5,
    "extractor": 6,
    "finetuned": 6,
    "model_file": 4,
    "model": 6,
    "comparison": 6,
    "curves": 6,
    "experiments": 7,
    "drift": 6,
    "ranking": 6,
    "cli": 7,
    "__main__": 8,
}
#: Same-floor imports that the plan allows: who may know whom.
NEIGHBOURS = {
    ("images", "cache"),
    ("features", "cache"),
    ("classifiers", "statistics"),
    ("features", "tasks"),
    ("spreadsheet", "terminal"),
    ("progress", "terminal"),
    ("curves", "comparison"),
    ("cli", "experiments"),
    ("ranking", "comparison"),
    ("drift", "comparison"),
}


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
            if node.module == "featx":
                names = [f"featx.{alias.name}" for alias in node.names]
        else:
            continue
        rooms |= {name.split(".")[1] for name in names if name.startswith("featx.")}
    return rooms


MODULES = sorted(p for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py")


def test_every_room_has_a_floor():
    assert {room(path) for path in MODULES} == set(FLOORS)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_downwards(path):
    here = room(path)
    for other in imported_rooms(path) - {here, "__version__"}:
        allowed = other in FLOORS and (FLOORS[other] < FLOORS[here] or (here, other) in NEIGHBOURS)
        # The façade's public names may be used by the command line alone.
        assert allowed or (here == "cli" and other in featx.__all__), f"{here} must not import {other}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_module_is_crowded(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500


@pytest.mark.parametrize(
    "statement",
    [
        "import featx",
        "import featx.cli",
        "import featx.images, featx.cache, featx.features, featx.results, featx.splits",
        "import featx.datasets",
    ],
)
def test_light_imports_load_nothing_heavy(statement):
    code = (
        f"import sys; {statement}; "
        "heavy = 'torch', 'torchvision', 'sklearn', 'matplotlib', 'pandas', 'timm'; "
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_are_the_documented_ones():
    assert featx.__all__ == [
        "Comparison",
        "Dataset",
        "FeatureExtractor",
        "Features",
        "FeatxError",
        "FineTunedClassifier",
        "LearningCurve",
        "Model",
        "Preprocessing",
        "__version__",
        "compare",
        "extract",
        "layer_ablation",
        "learning_curve",
        "list_backbones",
        "load_backbone",
        "load_dataset",
        "load_features",
        "load_model",
        "open_features",
        "rank",
        "similarity",
        "train",
    ]
    for name in featx.__all__:
        assert getattr(featx, name) is not None


def test_an_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'extrct'"):
        featx.extrct  # noqa: B018
