"""Compare the adaptations with slow references, on shifts that they can undo, and in pipelines."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from featx.errors import InputError, UnknownName
from featx.methods.adaptation import (
    CORAL,
    PerDomainStandardScaler,
    SubspaceAlignment,
    TransferComponentAnalysis,
    get_adaptation,
)

ALL = [CORAL(), PerDomainStandardScaler(), SubspaceAlignment(), TransferComponentAnalysis()]
RBF = TransferComponentAnalysis(kernel="rbf")


@parametrize_with_checks([*ALL, RBF])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def domains():
    """Two classes of correlated rows, and the same turned, scaled and moved."""
    rng = np.random.default_rng(0)

    def draw(n):
        y = np.arange(n) % 2
        return rng.normal(size=(n, 6)) @ np.diag([3, 2, 1, 1, 0.5, 0.5]) + 2.0 * y[:, None] * np.eye(6)[2], y

    (source, y), (plain, y_target) = draw(120), draw(90)
    mixing = np.linalg.qr(rng.normal(size=(6, 6)))[0] * np.array([0.5, 1, 2, 1, 3, 1])
    return source, y, plain @ mixing + 5.0, y_target


def test_coral_agrees_with_the_paper_written_out(domains):
    source, _, target, _ = domains
    c_s = np.cov(source.T) + 0.3 * np.eye(6)
    c_t = np.cov(target.T) + 0.3 * np.eye(6)
    centred = source - source.mean(axis=0)
    expected = centred @ np.linalg.inv(sqrtm(c_s)) @ sqrtm(c_t) + target.mean(axis=0)
    coral = CORAL(regularization=0.3)
    np.testing.assert_allclose(coral.fit_transform(source, target=target), expected, atol=1e-6)
    np.testing.assert_array_equal(coral.transform(target), target)
    np.testing.assert_allclose(coral.transform_source(source[:5]), expected[:5], atol=1e-6)


def test_coral_gives_the_source_the_moments_of_the_target(domains):
    source, _, target, _ = domains
    moved = CORAL(regularization=1e-9).fit_transform(source, target=target)
    np.testing.assert_allclose(np.cov(moved.T), np.cov(target.T), atol=1e-5)
    np.testing.assert_allclose(moved.mean(axis=0), target.mean(axis=0), atol=1e-9)


def test_subspace_alignment_agrees_with_eigenvectors_of_the_covariances(domains):
    source, _, target, _ = domains
    bases = []
    for rows in (source, target):
        values, vectors = np.linalg.eigh(np.cov(rows.T))
        axes = vectors[:, np.argsort(-values)[:3]]
        for j in range(3):
            if axes[np.argmax(np.abs(axes[:, j])), j] < 0:
                axes[:, j] *= -1
        bases.append(axes)
    alignment = SubspaceAlignment(n_components=3)
    moved = alignment.fit_transform(source, target=target)
    m = bases[0].T @ bases[1]
    np.testing.assert_allclose(moved, (source - source.mean(0)) @ bases[0] @ m, atol=1e-6)
    np.testing.assert_allclose(alignment.transform(target), (target - target.mean(0)) @ bases[1], atol=1e-6)
    assert list(alignment.get_feature_names_out()) == [f"subspacealignment{i}" for i in range(3)]


def test_the_axes_are_no_more_than_the_smaller_domain_determines(domains):
    source, _, target, _ = domains
    assert SubspaceAlignment().fit_transform(source, target=target[:4]).shape == (120, 3)


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_transfer_components_agree_with_the_paper_written_out(domains, kernel):
    source, target = domains[0][:15], domains[2][:10]
    rows = np.concatenate([source, target])
    n = len(rows)
    gamma = 1 / (rows.shape[1] * rows.var())
    k = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            gap = ((rows[i] - rows[j]) ** 2).sum()
            k[i, j] = rows[i] @ rows[j] if kernel == "linear" else np.exp(-gamma * gap)
    e = np.array([1 / 15] * 15 + [-1 / 10] * 10)
    h = np.eye(n) - 1 / n
    mmd = k @ np.outer(e, e) @ k
    values, vectors = np.linalg.eig(np.linalg.inv(mmd + 0.5 * np.eye(n)) @ (k @ h @ k))
    w = vectors.real[:, np.argsort(-values.real)[:3]]
    w = w / np.sqrt(np.einsum("ij,ik,kj->j", w, k @ h @ k, w))
    w = w * np.where(w[np.abs(w).argmax(axis=0), range(3)] < 0, -1, 1)
    tca = TransferComponentAnalysis(n_components=3, mu=0.5, kernel=kernel)
    np.testing.assert_allclose(tca.fit_transform(source, target=target), (k @ w)[:15], atol=1e-6)
    np.testing.assert_allclose(tca.transform(target), (k @ w)[15:], atol=1e-6)
    assert tca.discrepancy_ == pytest.approx(np.trace(w.T @ mmd @ w), abs=1e-6)


def test_each_domain_is_standardised_by_itself(domains):
    source, _, target, _ = domains
    target = np.column_stack([target[:, :5], np.full(len(target), 0.1)])
    scaler = PerDomainStandardScaler()
    np.testing.assert_allclose(
        scaler.fit_transform(source, target=target), StandardScaler().fit_transform(source), atol=1e-9
    )
    np.testing.assert_allclose(scaler.transform(target), StandardScaler().fit_transform(target), atol=1e-9)


def test_a_pipeline_trains_on_the_moved_source_and_predicts_the_target():
    rng = np.random.default_rng(1)
    y = np.arange(200) % 2
    source = rng.normal(size=(200, 3)) + 4.0 * y[:, None] * np.array([1, 0, 0])
    target = (rng.normal(size=(200, 3)) + 4.0 * y[:, None] * np.array([1, 0, 0])) * 5 + 30
    plain = make_pipeline(StandardScaler(), LogisticRegression()).fit(source, y)
    assert plain.score(target, y) == pytest.approx(0.5)
    model = make_pipeline(PerDomainStandardScaler(), LogisticRegression())
    model.fit(source, y, perdomainstandardscaler__target=target)
    assert model.score(target, y) > 0.9
    coral = make_pipeline(CORAL(regularization=1e-3), LogisticRegression())
    assert coral.fit(source, y, coral__target=target).score(target, y) > 0.9
    with config_context(enable_metadata_routing=True):
        routed = make_pipeline(
            StandardScaler(),
            CORAL(regularization=1e-3).set_fit_request(target=True),
            LogisticRegression(),
            transform_input=["target"],
        )
        assert routed.fit(source, y, target=target).score(target, y) > 0.9
        assert routed[1].target_mean_.mean() > 10  # in units of the source's scaler


def test_embeddings_stay_float32(domains):
    source, _, target, _ = domains
    for adapter in ALL:
        moved = adapter.fit_transform(source.astype(np.float32), target=target.astype(np.float32))
        assert moved.dtype == np.float32


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        (CORAL(regularization=0), "regularization must be a number above 0, got 0"),
        (SubspaceAlignment(n_components=0), "n_components must be a whole number of at least 1, got 0"),
        (TransferComponentAnalysis(kernel="poly"), "unknown kernel 'poly'; known: linear, rbf"),
        (TransferComponentAnalysis(mu=-1), "mu must be a number above 0, got -1"),
        (TransferComponentAnalysis(max_rows=100), "of 210 rows needs .* GB .* at most 100 rows"),
    ],
)
def test_impossible_settings_are_named(domains, adapter, message):
    with pytest.raises(InputError, match=message):
        adapter.fit(domains[0], target=domains[2])


def test_targets_of_another_backbone_are_refused(domains):
    with pytest.raises(InputError, match="target rows have 5 features, source rows 6; take both"):
        CORAL().fit(domains[0], target=domains[2][:, :5])
    with pytest.raises(UnknownName, match="did you mean coral"):
        get_adaptation("corall")
