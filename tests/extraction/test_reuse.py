"""What stays ready in a process: how often networks are built, and when one must not be used again."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pictures import BACKBONE, COLOURS, OTHER, QUICK, picture
from sklearn.base import clone

from featx import FeatureExtractor, load_backbone
from featx.backbones import Backbone
from featx.backbones.loading import random_network
from featx.engines.torch import TorchEngine
from featx.errors import ModelMismatch
from featx.extraction import embed, forget_reused, network_embedder, network_is_ready, reuse, reuse_backbone
from featx.inputs.image import PixelImage
from featx.options import Run


def extractor(**options):
    return FeatureExtractor(**(QUICK | options))


def pictures(start, count=2):
    """Images that no other range has."""
    return [picture(COLOURS["leaf"], 100 * start + i) for i in range(count)]


@pytest.fixture
def built(monkeypatch):
    """Names of the backbones for which an engine was built, in order."""
    names = []
    original = TorchEngine.__init__

    def counted(self, backbone, *args, **kwargs):
        if type(self) is TorchEngine:  # and not the reference that it is compared with
            names.append(backbone.name)
        original(self, backbone, *args, **kwargs)

    monkeypatch.setattr(TorchEngine, "__init__", counted)
    return names


@pytest.fixture
def checkpoint(tmp_path):
    """``checkpoint(seed)`` puts random weights where one path leads; the path."""
    architecture = load_backbone(BACKBONE, weights=None).architecture

    def write(seed):
        torch.save(random_network(architecture, seed).state_dict(), tmp_path / "new.pth")
        os.replace(tmp_path / "new.pth", tmp_path / "weights.pth")
        return tmp_path / "weights.pth"

    return write


# Built once


def test_clones_and_unpickled_extractors_share_one_network(built, tmp_path):
    first = extractor().fit(pictures(0))
    others = [first, clone(first), pickle.loads(pickle.dumps(first)), extractor()]
    for number, one in enumerate(others):
        one.fit_transform(pictures(number))
    assert built == [BACKBONE]
    assert len({id(one._backbones()[0]) for one in others}) == 1


def test_a_network_from_a_file_is_built_once(built, checkpoint, monkeypatch):
    builds = []
    original = Backbone.build
    monkeypatch.setattr(Backbone, "build", lambda self: builds.append(self.name) or original(self))
    one = extractor(weights=checkpoint(1))
    for number in range(3):
        clone(one).fit_transform(pictures(number))
    assert built == builds == [BACKBONE]


def test_another_cache_uses_the_same_network(built, tmp_path):
    rows = [extractor(cache=tmp_path / name).transform(pictures(0)) for name in "ab"]
    np.testing.assert_array_equal(*rows)
    assert built == [BACKBONE]


@pytest.mark.parametrize(
    "change", [{"backbone": OTHER}, {"layer": "features.4"}, {"image_size": 48}, {"pooling": "max"}]
)
def test_a_parameter_that_changes_rows_changes_the_network(built, change):
    one = extractor(layer="features.7")
    first = one.fit_transform(pictures(0))
    if "backbone" in change:
        one.set_params(layer=None)
    changed = one.set_params(**change).fit_transform(pictures(0))
    assert len(built) == 2
    assert changed.shape != first.shape or np.linalg.norm(changed - first) > 0.1 * np.linalg.norm(first)
    np.testing.assert_array_equal(changed, clone(one).fit_transform(pictures(0)))


def test_forget_lets_go_of_everything(built):
    for _ in range(2):
        extractor().transform(pictures(len(built)))
        forget_reused()
    assert built == [BACKBONE] * 2


# Another file under the same path


def test_a_file_that_was_replaced_is_noticed(checkpoint):
    path = checkpoint(1)
    fitted = extractor(weights=path).fit(pictures(0))
    first = fitted.transform(pictures(0))
    assert checkpoint(2) == path
    with pytest.raises(ModelMismatch, match=f"fitted with weights of {BACKBONE} whose sha256 is"):
        fitted.transform(pictures(0))
    second = clone(fitted).fit_transform(pictures(0))
    assert np.linalg.norm(second - first) > 0.1 * np.linalg.norm(first)
    checkpoint(1)
    np.testing.assert_array_equal(fitted.transform(pictures(0)), first)


def test_an_unpickled_extractor_refuses_other_weights(checkpoint):
    pickled = pickle.dumps(extractor(weights=checkpoint(1)).fit(pictures(0)))
    forget_reused()
    checkpoint(2)
    with pytest.raises(ModelMismatch, match="fit it again"):
        pickle.loads(pickled).transform(pictures(0))


# Lent to one run at a time


def test_an_engine_is_lent_once():
    key = ("space", 1)
    engine = object()
    reuse.return_engine(key, engine)
    assert reuse.take_engine(("space", 2)) is None
    assert reuse.take_engine(key) is engine
    assert reuse.take_engine(key) is None


def test_two_runs_at_once_have_an_engine_each(built, tmp_path, monkeypatch):
    """Both are held inside their networks until the other is inside its own."""
    extractor(cache=tmp_path / "before").transform(pictures(0))
    assert built == [BACKBONE]
    both_inside = threading.Barrier(2, timeout=30)
    engines = []
    original = TorchEngine.__call__

    def held(self, batch):
        if len(engines) < 2:
            engines.append(self)
            both_inside.wait()
        return original(self, batch)

    monkeypatch.setattr(TorchEngine, "__call__", held)
    found = {}

    def run(name):
        found[name] = extractor(cache=tmp_path / name).transform(pictures(1))

    threads = [threading.Thread(target=run, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(found["a"], found["b"])
    assert engines[0] is not engines[1]
    assert built == [BACKBONE] * 2


def test_an_engine_whose_run_failed_is_not_given_back(built, monkeypatch):
    extractor().transform(pictures(0))

    def broken(self, batch):
        raise ValueError("the network broke")

    with monkeypatch.context() as patch:
        patch.setattr(TorchEngine, "__call__", broken)
        with pytest.raises(ValueError, match="the network broke"):
            extractor().transform(pictures(1))
    assert not reuse._ready.engines
    extractor().transform(pictures(1))
    assert built == [BACKBONE] * 2


def test_rows_do_not_depend_on_what_an_engine_did_before(tmp_path):
    images = [PixelImage(str(i), np.array(image)) for i, image in enumerate(pictures(0, 10))]
    embedder = network_embedder(reuse_backbone(BACKBONE, weights=None, image_size=32), Run(engine="torch"))
    first = embed(images, embedder, cache=tmp_path / "a").embeddings
    embed(images[::-1], embedder, cache=tmp_path / "b")
    np.testing.assert_array_equal(embed(images, embedder, cache=tmp_path / "c").embeddings, first)


# Few are kept


def test_of_the_engines_those_used_last_are_kept():
    engines = [object() for _ in range(reuse._ENGINES + 3)]
    for number, engine in enumerate(engines):
        reuse.return_engine(("space", number), engine)
    kept = [reuse.take_engine(("space", number)) for number in range(len(engines))]
    assert kept == [None] * 3 + engines[3:]


def test_of_the_backbones_those_used_last_are_kept():
    sizes = [32 + 8 * i for i in range(reuse._BACKBONES)]
    found = [reuse_backbone(OTHER, weights=None, image_size=size) for size in sizes]
    assert reuse_backbone(OTHER, weights=None, image_size=sizes[0]) is found[0]  # now the last used
    reuse_backbone(OTHER, weights=None, image_size=24 + 8 * len(sizes) + 64)
    assert len(reuse._ready.backbones) == reuse._BACKBONES
    assert reuse_backbone(OTHER, weights=None, image_size=sizes[0]) is found[0]
    assert reuse_backbone(OTHER, weights=None, image_size=sizes[1]) is not found[1]


def test_a_loaded_backbone_is_not_kept():
    backbone = load_backbone(OTHER, weights=None, image_size=32)
    assert reuse_backbone(backbone) is backbone
    assert not reuse._ready.backbones


# A forked child

_FORK = """
import os, signal, sys
import numpy as np
from featx import FeatureExtractor
from featx.engines.torch import TorchEngine
from featx.extraction import reuse

pixels = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
options = {"weights": None, "image_size": 64, "engine": "torch", "precision": "fp32", "n_jobs": 1}
extractor = FeatureExtractor("mobilenet_v2", **options)  # large enough for OpenMP to start threads
here = extractor.transform(pixels[:2])
assert len(reuse._ready.backbones) == len(reuse._ready.engines) == 1
child = os.fork()
if child == 0:
    signal.alarm(60)  # a hang ends as a failure
    try:
        assert not reuse._ready.backbones and not reuse._ready.engines
        os.environ["FEATX_CACHE"] = sys.argv[1]
        assert np.allclose(extractor.transform(pixels[:2]), here, rtol=1e-5, atol=1e-6)
        os._exit(0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert len(reuse._ready.backbones) == len(reuse._ready.engines) == 1
assert extractor.transform(pixels[2:]).shape == here.shape
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_begins_with_nothing(tmp_path):
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", _FORK, str(tmp_path / "child")]
    env = os.environ | {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
    assert ran.returncode == 0, ran.stderr


def test_a_fine_tuned_network_is_ready_for_its_own_values_only():
    loaded = load_backbone(BACKBONE, weights=None, image_size=32)
    space, values = {"backbone": loaded.identity}, {"weight": np.zeros(1)}
    reuse_backbone(BACKBONE, weights=None, image_size=32)
    assert not network_is_ready(space, loaded.arguments, values=values)
    kept = SimpleNamespace(values=values)
    assert reuse.reuse_with_values(values, lambda: kept) is kept
    assert network_is_ready(space, loaded.arguments, values=values)
    assert not network_is_ready(space, loaded.arguments, values=dict(values))
