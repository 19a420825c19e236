"""The architecture: imports point downwards only, and light modules stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import featx

ROOT = Path(featx.__file__).parent
#: The top level from the lowest to the highest: each package or module imports only from those below it.
# fmt: off
ORDER = (
    "lazy", "errors", "durable", "forks", "machine", "threads", "energy", "terminal", "spreadsheet",
    "kinds", "progress", "places", "options", "clusters", "vision", "cache", "metrics", "results",
    "inputs", "report", "backbones", "data", "engines", "methods", "analysis", "extraction",
    "estimators", "studies", "cli", "__main__",
)
# fmt: on
MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def package(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_packages(path: Path) -> set[str]:
    """The packages that a module imports from; a public name counts as the package that defines it."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module == "featx":
            modules |= {featx._HOME.get(alias.name, f"featx.{alias.name}") for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            modules.add(node.module)
    return {name.split(".")[1] for name in modules - {"featx.__version__"} if name.startswith("featx.")}


def test_every_package_has_its_place():
    assert {package(path) for path in MODULES} == set(ORDER)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_downwards(path):
    here = package(path)
    for other in imported_packages(path) - {here}:
        assert ORDER.index(other) < ORDER.index(here), f"{here} must not import {other}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_module_is_crowded(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500


@pytest.mark.parametrize(
    "statement",
    [
        "import featx",
        "import featx.cli",
        "import featx.inputs.image, featx.cache, featx.results, featx.options",
        "import featx.data, featx.data.features, featx.data.splits",
        "import featx.metrics",
    ],
)
def test_light_imports_load_nothing_heavy(statement):
    code = (
        f"import sys; {statement}; "
        "heavy = 'torch', 'torchvision', 'sklearn', 'scipy', 'matplotlib', 'pandas', 'timm'; "
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_is_shown_without_numpy():
    code = "import sys; from featx.cli import main; sys.argv = ['featx', '--help']; main()"
    code = f"import atexit, sys; atexit.register(lambda: print([*sys.modules], file=sys.stderr)); {code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "'featx.places'" in done.stderr
    assert "'numpy'" not in done.stderr


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
