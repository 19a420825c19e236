"""torchvision is imported as it is where it works, and mended only where its operators are missing."""

import subprocess
import sys
import textwrap

import pytest

import featx.vision
from featx.vision import import_torchvision

FAILS_WITHOUT_NMS = """
    import torch
    from . import half  # a submodule that the failed import leaves behind
    @torch.library.register_fake("torchvision::nms")
    def fake(dets, scores, iou_threshold):
        return dets
    finished = True
"""


def run(tmp_path, package: str, code: str) -> subprocess.CompletedProcess:
    """Run code in a fresh interpreter that sees a made-up torchvision first."""
    folder = tmp_path / "torchvision"
    folder.mkdir()
    (folder / "__init__.py").write_text(textwrap.dedent(package))
    (folder / "half.py").write_text("")
    header = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(root())!r}]\n"
    header += "import featx.vision\nfrom featx.vision import import_torchvision\n"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", header + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
    )


def root():
    from pathlib import Path

    return Path(featx.vision.__file__).parent.parent


def test_importing_twice_gives_the_same_finished_module():
    torchvision = import_torchvision()
    assert import_torchvision() is torchvision is sys.modules["torchvision"]
    assert torchvision.models.resnet18 is not None


def test_a_healthy_installation_is_left_alone(tmp_path):
    done = run(
        tmp_path,
        "loads = []",
        """
        module = import_torchvision()
        assert module is import_torchvision() is sys.modules["torchvision"]
        assert featx.vision._library is None
        assert "torch" not in sys.modules  # nothing but the import happened
        """,
    )
    assert done.returncode == 0, done.stderr


def test_missing_operators_are_declared_and_the_import_is_done_anew(tmp_path):
    done = run(
        tmp_path,
        FAILS_WITHOUT_NMS,
        """
        module = import_torchvision()
        assert module.finished and import_torchvision() is module
        import gc, torch
        gc.collect()
        assert torch.ops.torchvision.nms and torch.ops.torchvision.qnms  # the schemas are kept alive
        """,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("package", "expected"),
    [
        ("raise RuntimeError('CUDA major versions differ')", "RuntimeError: CUDA major versions differ"),
        ("import no_such_dependency", "ModuleNotFoundError: No module named 'no_such_dependency'"),
    ],
)
def test_other_failures_of_torchvision_are_not_hidden(tmp_path, package, expected):
    done = run(tmp_path, package, "import_torchvision()")
    assert done.returncode == 1
    assert done.stderr.strip().endswith(expected)


def test_a_missing_torchvision_is_named(tmp_path):
    done = run(
        tmp_path,
        "",
        """
        import importlib.abc

        class Hidden(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path=None, target=None):
                if name == "torchvision":
                    raise ModuleNotFoundError("No module named 'torchvision'", name="torchvision")

        sys.meta_path.insert(0, Hidden())
        from featx.errors import MissingExtra
        try:
            import_torchvision()
        except MissingExtra as error:
            assert "torchvision" in str(error) and "pip install" in str(error)
        else:
            raise SystemExit("no error")
        """,
    )
    assert done.returncode == 0, done.stderr
