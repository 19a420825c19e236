"""Compare two sets of images, texts or clips: a test, distances of their embeddings, what differs most."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Unpack

import numpy as np

from featx.analysis.transferability import softmax
from featx.cache import Space
from featx.clusters import opens_cluster
from featx.data import Dataset
from featx.data.features import Failure, check_rows
from featx.data.rows import has_rows, take_features
from featx.errors import DatasetError, FeaturesError, InputError
from featx.extraction import embed_dataset, network_embedder, require_loaded_as_it_is
from featx.inputs.samples import Sample
from featx.kinds import count_of, kind_of, picture_of
from featx.options import (
    Network,
    Reading,
    Run,
    SimilarityOptions,
    backbone_for,
    checked,
    is_module,
    require_no_network,
)
from featx.results import NOT_STORED, describe_environment
from featx.results.methods import ALPHA
from featx.results.similarity import CHANCE_DRAWS, MEASURES, SimilarityResult
from featx.studies.collections import (
    describe_failures,
    find_copies_among,
    open_dataset,
    require_one_kind,
)
from featx.studies.fingerprints import Fingerprints, take_fingerprints
from featx.studies.output import Reported, samples_of
from featx.studies.units import Units, find_units

#: The fewest inputs of a set: a domain classifier in 5 folds needs more than one in each fold.
FEWEST = 10


@dataclass
class Similarity(Reported, SimilarityResult):
    """A comparison of two sets that can be saved; see `featx.results.similarity` for its fields."""

    samples: dict[tuple[str, str], Sample] = field(default_factory=dict, metadata=NOT_STORED)


@dataclass
class _Side:
    """One of the two sets: the sample of it that is compared."""

    name: str
    rows: np.ndarray
    ids: list[str]
    space: dict[str, Any]
    about: dict[str, Any]
    groups: np.ndarray | None = None
    profile: np.ndarray | None = None  # source class probabilities (n, n_source_classes)
    fingerprints: Fingerprints | None = None  # None for a features file
    dataset: Dataset | None = None
    total: int = 0  # inputs before sampling
    passes: int = 0
    failures: list[Failure] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """The kind of input."""
        return kind_of(self.space.get("preprocessing"))


@checked(a="data", b="data")
@opens_cluster
def similarity(
    a: Any,
    b: Any,
    *,
    backbone: Any = "auto",
    most: int = 2000,
    n_permutations: int = 1000,
    top: int = 12,
    seed: int = 0,
    **options: Unpack[SimilarityOptions],
) -> Similarity:
    """Compare two sets of inputs of one kind by their embeddings.

    A permutation test of the maximum mean discrepancy decides whether they differ; the other distances say
    how much, each beside its value for random divisions of the same inputs. The inputs of a group (a column
    ``group`` of a table, or the groups of features) and copies of one input are one unit: units are
    permuted and divided as a whole, and kept together in the folds of the classifier.

    Parameters
    ----------
    a, b : str, path, Features, Dataset or sequence of images, texts or clips
        The reference, and the set to compare with it: either both inputs of one kind, as `featx.extract`
        takes them, or both a features file or a `Features`, in one space. Labels are ignored.
    backbone : str, torch.nn.Module or Backbone, default="auto"
        As in `featx.extract`. The class profiles of images come from the same forward pass.
    most : int, default=2000
        The most inputs of a set that are compared; from a larger set, a random sample is taken: of groups,
        one input of each before the second of any.
    n_permutations : int, default=1000
        Permutations of the test.
    top : int, default=12
        How many of the inputs that are least like the other set are named, in both sets together.
    seed : int, default=0
        Seed of the samples, the permutations and the folds.
    **options
        Options of the network and of the run, as in `featx.extract`.

    Returns
    -------
    Similarity

    Raises
    ------
    DatasetError
        A set has fewer than 10 inputs.
    FeaturesError
        The embeddings are of different spaces; the message names the fields.
    InputError
        Features on one side only, inputs of two kinds, or a number is out of range.
    UnknownName, WeightsError, ImageError, TextError, CacheError
        See `featx.errors`.

    References
    ----------
    Those of `featx.analysis.distances`.
    """
    # Labels are ignored, so folders are not divided into classes.
    network, reading, run = Network.of(options), Reading.of({"split_by": "none", **options}), Run.of(options)
    stored = [has_rows(given) for given in (a, b)]
    if stored[0] != stored[1]:
        raise InputError(
            "similarity: one of the two is a features file and the other is not; give two features files "
            "of one space, or images, texts or clips twice"
        )
    if all(stored):
        require_no_network(network, run, backbone=backbone)
        first, second = (_from_features(given, reading, most, seed) for given in (a, b))
    else:
        # Both are read before any input goes through a network, so that bad input is refused at once.
        opened = [_open(given, reading, run) for given in (a, b)]
        require_one_kind([(one.name, one.kind) for one in opened])
        first, second = (_from_dataset(d, backbone, network, run, most, seed) for d in opened)
    require_one_kind([(side.name, side.kind) for side in (first, second)])
    different = Space(first.space).differences(
        Space(second.space), here=f"in {first.name}", there=f"in {second.name}"
    )
    if different:
        raise FeaturesError(f"the two sets are not in one space: {'; '.join(different)}")
    if first.name == second.name:
        first.name, second.name = f"{first.name} (A)", f"{second.name} (B)"
    return _compare_sides(first, second, n_permutations, top, seed, run)


def _compare_sides(
    first: _Side, second: _Side, n_permutations: int, top: int, seed: int, run: Run
) -> Similarity:
    from featx.analysis.distances import (
        coral_distance,
        density_divergence,
        domain_classifier,
        frechet_distance,
        histogram_divergence,
        mmd_test,
        profile_divergence,
    )

    x, y = first.rows, second.rows
    union = np.concatenate([x, y])
    notes = check_rows(union, [*first.ids, *second.ids], f"{first.name} and {second.name}", first.kind)
    for side in (first, second):
        if side.failures:
            notes.append(f"{side.name}: {describe_failures(side.failures, side.kind)}")
        if len(side.rows) < x.shape[1]:
            notes.append(
                f"{side.name}: {count_of(len(side.rows), side.kind)} for embeddings of {x.shape[1]} values: "
                "the Frechet distance is biased upwards; compare it with its value by chance"
            )
    distances = {"frechet": frechet_distance, "coral": coral_distance, "js_histogram": histogram_divergence}
    try:
        density_divergence(x, y)
    except InputError as error:  # rows that hardly vary: the other distances exist
        notes.append(f"no divergence of densities: {error}")
    else:
        distances["js_density"] = density_divergence
    values: dict[str, float | None] = {name: distance(x, y) for name, distance in distances.items()}
    profiles = None
    if first.profile is not None and second.profile is not None:
        profiles = np.concatenate([first.profile, second.profile])
        values["js_profile"] = profile_divergence(first.profile, second.profile)
    found = _find_units(first, second, run)
    units = found.take(np.arange(len(union)))
    notes += _note_copies(found, first, second)
    drawn: dict[str, list[float]] = {}
    for one, other in _random_divisions(units, len(x), len(y), seed):
        for name, distance in distances.items():
            drawn.setdefault(name, []).append(distance(union[one], union[other]))
        if profiles is not None:
            drawn.setdefault("js_profile", []).append(profile_divergence(profiles[one], profiles[other]))
    test: dict[str, Any] = {"p_value": None, "n_permutations": n_permutations, "bandwidths": []}
    try:
        tested = mmd_test(x, y, units=units, n_permutations=n_permutations, seed=seed)
    except InputError as error:  # a set is one unit
        notes.append(f"no test: {error}")
    else:
        test |= {"p_value": tested.p_value, "bandwidths": list(tested.bandwidths)}
        values["mmd"] = tested.value
        if tested.least_p >= ALPHA:
            notes.append(
                f"{' and '.join(map(str, tested.n_units))} units are too few for the test: no difference has "
                f"a p-value below {tested.least_p:.2f}"
            )
    domain = None
    try:
        domain = domain_classifier(x, y, units=units, seed=seed)
    except InputError as error:
        notes.append(f"no classifier tells the sets apart: {error}")
    else:
        values["proxy_a"] = domain.proxy_a_distance
    result = Similarity(
        sets=[
            {"name": s.name, "n": s.total, "used": len(s.rows), "units": len(np.unique(found.of[rows]))}
            for s, rows in ((first, slice(len(x))), (second, slice(len(x), None)))
        ],
        space=first.space,
        about={str(first.space.get("backbone", {}).get("architecture")): first.about} if first.about else {},
        measures=[
            {
                "name": name,
                "title": title,
                "value": values.get(name),
                "chance": float(np.mean(drawn[name])) if name in drawn else None,
            }
            for name, title in MEASURES.items()
        ],
        test=test,
        told_apart=math.nan if domain is None else 1 - domain.error,
        most_different=[] if domain is None else _find_most_different(first, second, domain.log_ratio, top),
        units=found.describe(np.arange(len(union))),
        search_for_copies=found.search,
        forward_passes=first.passes + second.passes,
        seed=seed,
        environment=describe_environment(),
        notes=notes,
    )
    result.samples = _samples(first, second, result.most_different)
    return result


def _find_units(first: _Side, second: _Side, run: Run) -> Units:
    """Find the units of both sets: groups, those of one name in both together, and copies of an input."""
    codes: dict[tuple[str, Any], int] = {}
    groups = [
        codes.setdefault((side.name, i) if side.groups is None else ("", str(side.groups[i])), len(codes))
        for side in (first, second)
        for i in range(len(side.rows))
    ]
    fingerprints = None
    if first.fingerprints is not None and second.fingerprints is not None:
        fingerprints = first.fingerprints.join(second.fingerprints)
    copies = find_copies_among(np.concatenate([first.rows, second.rows]), fingerprints, run)
    grouped = first.groups is not None or second.groups is not None
    return find_units(np.array(groups) if grouped else None, copies, len(groups))


def _note_copies(units: Units, first: _Side, second: _Side) -> list[str]:
    """Say how many inputs a set has twice, and how many are in both sets."""
    if units.pictures is None:
        return []
    sides = np.split(units.pictures, [len(first.rows)])
    notes = [
        f"{side.name}: {count_of(copies, side.kind)} {'is a copy' if copies == 1 else 'are copies'} of "
        f"another one and count{'s' * (copies == 1)} once with it in the test"
        for side, pictures in zip((first, second), sides, strict=True)
        if (copies := len(pictures) - len(np.unique(pictures)))
    ]
    both = len(np.intersect1d(sides[0], sides[1]))
    if both:
        noun = picture_of(first.kind)
        said = f"1 {noun} is" if both == 1 else f"{both:,} {noun}s are"
        notes.append(f"{said} in both sets, which makes the sets look alike")
    return notes


def _random_divisions(
    units: np.ndarray | None, n: int, m: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rows of each set in `CHANCE_DRAWS` random divisions of the union, units as a whole."""
    from featx.analysis.distances.units import check_units, divide_units

    rng, parts = np.random.default_rng(seed), check_units(units, n, m)
    for _ in range(CHANCE_DRAWS):
        if parts is None:
            order = rng.permutation(n + m)
            yield order[:n], order[n:]
        else:
            chosen = divide_units(parts, n, rng)
            yield np.flatnonzero(chosen), np.flatnonzero(~chosen)


def _find_most_different(
    first: _Side, second: _Side, log_ratio: np.ndarray, top: int
) -> list[dict[str, Any]]:
    """Return the inputs of each set that are least like the other set, the second set first."""
    found = []
    own = {0: -log_ratio[: len(first.rows)], 1: log_ratio[len(first.rows) :]}
    for number, side, count in ((1, second, (top + 1) // 2), (0, first, top // 2)):
        for i in np.argsort(-own[number], kind="stable")[:count].tolist():
            found.append({"set": side.name, "id": side.ids[i], "log_ratio": float(own[number][i])})
    return found


def _samples(first: _Side, second: _Side, named: list[dict[str, Any]]) -> dict[tuple[str, str], Sample]:
    found: dict[tuple[str, str], Sample] = {}
    for side in (first, second):
        if side.dataset is not None:
            ids = {str(m["id"]) for m in named if m["set"] == side.name}
            found |= {(side.name, id): data for id, data in samples_of(side.dataset, ids).items()}
    return found


def _sample(n: int, most: int, seed: int, groups: np.ndarray | None) -> np.ndarray:
    """Return the row numbers of a random sample of at most `most` of `n` rows, sorted.

    One row of each group is taken before the second of any: whole groups would be fewer, and rows at random
    would favour the large ones.
    """
    from featx.analysis.distances.units import count_earlier

    order = np.random.default_rng(seed).permutation(n)
    if groups is not None:
        order = order[np.argsort(count_earlier(groups[order]), kind="stable")]
    return np.sort(order[:most])


def _from_features(given: Any, reading: Reading, most: int, seed: int) -> _Side:
    name, _, features = take_features(given, replace(reading, split_by=None))
    _require_enough(name, len(features), features.kind)
    kept = _sample(len(features), most, seed, features.groups)
    rows, ids = features.embeddings[kept], [features.ids[i] for i in kept.tolist()]
    _require_finite(name, rows, ids)
    groups = None if features.groups is None else features.groups[kept]
    return _Side(name, rows, ids, features.space, features.about, groups, total=len(features))


def _open(given: Any, reading: Reading, run: Run) -> Dataset:
    dataset = open_dataset(given, reading=reading, run=run, labelled=False)
    _require_enough(dataset.name, len(dataset), dataset.kind)
    return dataset


def _from_dataset(dataset: Dataset, backbone: Any, network: Network, run: Run, most: int, seed: int) -> _Side:
    from featx.backbones import columns_of, combine_layers, has_logits, load_layers

    sample = _sample(len(dataset), most, seed, dataset.groups)
    total, dataset = len(dataset), dataset.subset(sample)
    backbone = backbone_for(backbone, dataset.kind)
    if isinstance(backbone, str) or is_module(backbone):
        members = load_layers(backbone, [network.layer], **network.besides_layer)
    else:
        require_loaded_as_it_is(backbone, network)
        members = [backbone]
    if has_logits(members[0]):
        logits = load_layers(members[0], ["logits"])[0]
        members += [logits] if logits.identity != members[0].identity else []
    joint = combine_layers(members)
    found = embed_dataset(dataset, network_embedder(joint, run), run)
    _require_enough(dataset.name, len(found.kept), dataset.kind)
    dataset = dataset.subset(found.kept)
    columns = columns_of(joint)
    rows = np.ascontiguousarray(found.embeddings[:, columns[0]])
    _require_finite(dataset.name, found.embeddings, list(dataset.ids))
    return _Side(
        dataset.name,
        rows,
        list(dataset.ids),
        found.embedder.spaces[0].fields,
        found.embedder.about,
        dataset.groups,
        profile=softmax(found.embeddings[:, columns[1]]) if len(members) > 1 else None,
        fingerprints=take_fingerprints(dataset.inputs, run),
        dataset=dataset,
        total=total,
        passes=found.forward_passes,
        failures=found.failures,
    )


def _require_enough(name: str, n: int, kind: str) -> None:
    if n < FEWEST:
        raise DatasetError(
            f"{name}: {count_of(n, kind)}; at least {FEWEST} are needed to compare it with another set"
        )


def _require_finite(name: str, rows: np.ndarray, ids: list[str]) -> None:
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        raise InputError(
            f"{name}: the embedding of {ids[int(np.argmax(bad))]} is not finite; use precision fp32"
        )
