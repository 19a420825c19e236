"""Probes whose large products are computed by torch find what they find by NumPy; the CPU is the device."""

import contextlib
from importlib import metadata

import numpy as np
import pytest
import torch

from featx.errors import InputError
from featx.methods.probes import definition_of, device_products, fit_probe
from featx.methods.probes.catalogue import kernels
from featx.methods.probes.device_folds import DeviceRows
from featx.methods.probes.device_products import DeviceProducts
from featx.methods.probes.fitters import linear
from featx.methods.probes.fitting import fit_to
from featx.methods.probes.products import ON_CPU, products_on
from featx.methods.probes.row_blocks import RowBlocks
from featx.methods.probes.training_rows import TrainingRows
from tests.methods.probes.conftest import clusters


@pytest.fixture(autouse=True)
def _every_product(monkeypatch):
    monkeypatch.setattr(device_products, "WORTH", 0)


@pytest.fixture
def moved(monkeypatch):
    """Shapes of the arrays that were copied to the device."""
    shapes, put = [], device_products.Place.put
    monkeypatch.setattr(
        device_products.Place, "put", lambda place, a: shapes.append(a.shape) or put(place, a)
    )
    return shapes


def without_doubles():
    """A device like Apple's."""
    products = DeviceProducts("cpu")
    products.place.doubles, products.place.widest = False, torch.float32
    return products


def assert_alike(name, rows, X_test, y_test, products):
    expected = fit_to(name, TrainingRows(*rows), n_jobs=1)
    found = fit_to(name, TrainingRows(*rows, products=products), n_jobs=1)
    assert found.params == expected.params
    assert found.notes == expected.notes
    assert type(found.estimator) is type(expected.estimator)
    np.testing.assert_array_equal(found.predict(X_test), expected.predict(X_test))
    p, q = found.predict_proba(X_test), expected.predict_proba(X_test)
    at = np.arange(len(y_test)), y_test
    assert -np.log(p[at]).mean() == pytest.approx(-np.log(q[at]).mean(), abs=1e-4)


@pytest.mark.parametrize("name", ["logreg", "svm", "ridge", "lda", "knn", "naive-bayes"])
@pytest.mark.parametrize(
    ("counts", "dim"),
    [([200, 150, 130], 24), ([45, 20], 90)],
    ids=["shared rows", "fewer rows than features"],
)
def test_a_probe_is_the_same(name, counts, dim, moved):
    test = clusters([100] * len(counts), dim=dim, seed=1)
    assert_alike(name, clusters(counts, dim=dim), *test, DeviceProducts("cpu"))
    assert moved or name == "naive-bayes"  # which has no large products


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "nystroem"])
def test_a_kernel_machine_is_the_same(exact, monkeypatch, moved):
    monkeypatch.setattr(kernels, "EXACT_ROWS", 1000 if exact else 50)
    assert_alike("rbf-svm", clusters([40, 30]), *clusters([80, 80], seed=1), DeviceProducts("cpu"))
    assert moved


@pytest.mark.parametrize("name", ["logreg", "svm", "knn"])
def test_without_double_precision_only_single_precision_is_moved(name, monkeypatch):
    put = device_products.Place.put

    def checked(place, array):
        assert array.dtype != np.float64
        return put(place, array)

    monkeypatch.setattr(device_products.Place, "put", checked)
    X, y = clusters([200, 150, 130])
    test = clusters([100] * 3, seed=1)
    assert_alike(name, (X, y), *test, without_doubles())
    assert_alike(name, (X.astype(np.float64), y), *test, without_doubles())


@pytest.mark.parametrize(
    ("name", "kind"), [("logreg", RowBlocks), ("ridge", RowBlocks), ("linear-probe", np.asarray)]
)
def test_rows_in_blocks_and_of_a_protocol_are_solved_on_the_device(name, kind, moved, monkeypatch):
    X, y = clusters([300, 200])
    made, rows = [], device_products.TorchRows
    monkeypatch.setattr(device_products, "TorchRows", lambda *args: made.append(1) or rows(*args))
    assert_alike(name, (kind(X), y), *clusters([80, 80], seed=1), DeviceProducts("cpu"))
    assert moved if name == "ridge" else made


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_are_those_of_numpy(dtype, monkeypatch):
    monkeypatch.setattr(device_products, "SUMMED", 50)
    monkeypatch.setattr(device_products, "_MOST_PRODUCTS", 2000)
    rng = np.random.default_rng(0)
    A, B = rng.normal(size=(120, 30)).astype(dtype), rng.normal(size=(30, 70)).astype(dtype)
    A.flags.writeable = False
    close = {"rtol": 0, "atol": 1e-4 if dtype == np.float32 else 1e-11}
    device = DeviceProducts("cpu")
    for left, right in ((A, B), (A[::-1], B[:, ::2]), (B.T, A.T)):
        found = device.multiply(left, right)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, left @ right, **close)
    scatter = device.scatter(A)
    assert scatter.dtype == np.float64
    np.testing.assert_allclose(scatter, ON_CPU.scatter(A), **close)
    np.testing.assert_allclose(without_doubles().scatter(A), scatter, **close)
    for k in (4, 30):
        values, vectors = device.eigh(scatter.astype(dtype), k)
        expected = ON_CPU.eigh(scatter, k)
        np.testing.assert_allclose(values, expected[0], rtol=1e-5)
        np.testing.assert_allclose(np.abs(vectors), np.abs(expected[1]), atol=2e-4)
    found = device.nearest(A, B[:, :30].T.copy(), 5)
    np.testing.assert_array_equal(np.sort(found), np.sort(ON_CPU.nearest(A, B[:, :30].T.copy(), 5)))


def test_small_products_stay_on_the_cpu(moved, monkeypatch):
    monkeypatch.setattr(device_products, "WORTH", 10**9)
    X, y = clusters([200, 150, 130])
    fit_to("logreg", TrainingRows(X, y, products=DeviceProducts("cpu")), n_jobs=1)
    assert not moved


@pytest.mark.parametrize("fits", [0, 40], ids=["rows do not fit", "a later step does not"])
def test_what_does_not_fit_is_computed_by_the_cpu_with_one_note(fits, monkeypatch):
    monkeypatch.setattr(linear, "_FEW_ROWS", 0)
    left, scores = [fits], DeviceRows.scores

    def limited(rows, W, b):
        left[0] -= 1
        if left[0] < 0:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return scores(rows, W, b)

    monkeypatch.setattr(DeviceRows, "scores", limited)
    X, y = clusters([60, 50, 40])
    expected = fit_probe("logreg", X, y, n_jobs=1)
    found = fit_to("logreg", TrainingRows(X, y, products=DeviceProducts("cpu")), n_jobs=1)
    assert found.params == expected.params
    np.testing.assert_allclose(found.predict_proba(X), expected.predict_proba(X), atol=1e-4)
    assert found.notes == ["computed in part by the CPU: the memory of cpu was too small"]
    assert left[0] < 0


@pytest.mark.parametrize("fits", [9, 1], ids=["all fits", "a later step does not"])
def test_kept_rows_are_multiplied_as_by_numpy(fits, monkeypatch):
    rng, left, get = np.random.default_rng(0), [fits], device_products.Place.get

    def limited(tensor):
        left[0] -= 1
        if left[0] < 0:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return get(tensor)

    monkeypatch.setattr(device_products.Place, "get", staticmethod(limited))
    X, basis, W, E = (rng.normal(size=shape) for shape in ((50, 9), (9, 6), (3, 6), (3, 50)))
    device = DeviceProducts("cpu")
    kept = device.keep(X, basis, 3)
    for _ in range(2):
        np.testing.assert_allclose(kept.scores(W), W @ (X @ basis).T)
        np.testing.assert_allclose(kept.sum_rows(E), E @ (X @ basis))
    assert bool(device.take_notes()) == (left[0] < 0)


def test_another_error_of_the_device_is_passed_on():
    with pytest.raises(RuntimeError, match="driver"):
        DeviceProducts("cpu").attempt(lambda: (_ for _ in ()).throw(RuntimeError("driver lost")), dict)


def test_products_on_a_gpu_are_in_full_single_precision(monkeypatch):
    inside = []

    @contextlib.contextmanager
    def full():
        inside.append(1)
        yield
        inside.pop()

    monkeypatch.setattr(device_products, "full_fp32", full)
    assert DeviceProducts("cuda").attempt(lambda: list(inside), list) == [1]
    assert inside == []


def test_auto_is_the_cpu_and_a_gpu_must_be_there():
    assert products_on("auto") is products_on("cpu") is ON_CPU
    with pytest.raises(InputError, match="'cuda' is not available here"):
        fit_probe("ridge", *clusters([20, 20]), device="cuda")


def test_a_definition_says_what_computes():
    y = np.arange(40) % 2
    by = [definition_of("ridge", y, 8, device=d)["computed by"] for d in ("cpu", "auto", "cuda:1")]
    assert by == [["numpy"], ["numpy"], ["numpy", f"torch {metadata.version('torch')} on cuda"]]
