"""Rank backbones and layers by transferability scores and a linear probe, from one pass per backbone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np

from featx.analysis.transferability import softmax
from featx.clusters import opens_cluster
from featx.data import Dataset, require_labelled, study_notes
from featx.data.features import check_rows
from featx.data.splits import Split, make_split
from featx.errors import DatasetError
from featx.extraction import all_cached, embed_dataset, network_embedder, require_loaded_as_it_is
from featx.kinds import count_of
from featx.metrics import proportion_interval
from featx.options import Network, RankOptions, Reading, Run, backbone_for, checked, is_module, listed
from featx.results import describe_environment
from featx.results.output_paths import resolve_source
from featx.results.ranking import SCORES, Candidate, RankingResult
from featx.studies.candidates import ToScore, answer_by_probe, score_candidates
from featx.studies.collections import describe_failures, find_copies_among, open_dataset
from featx.studies.fingerprints import take_fingerprints
from featx.studies.output import Reported
from featx.studies.units import Units, find_units

#: The most inputs that CKA is computed from: memory and time grow with the square.
CKA_IMAGES = 1000


@dataclass
class Ranking(Reported, RankingResult):
    """A ranking that can be saved; see `featx.results.ranking` for its fields."""


@checked()
@opens_cluster
def rank(
    data: Any,
    labels: Any = None,
    *,
    backbones: str | Sequence[Any] = ("auto",),
    layers: str | Sequence[str] | None = None,
    probe: bool = True,
    seed: int = 0,
    **options: Unpack[RankOptions],
) -> Ranking:
    """Rank backbones, or layers of them, by scores from the literature and by a linear probe.

    Every image, text or clip goes through each backbone once, which gives all layers and the logits; a second
    ranking comes from the cache. Where the cache has the layers of all inputs and lacks the logits only, none
    goes through the network: there is no LEEP and no NCE then (the layer ``"logits"`` asks for them). There
    is neither for networks of texts. Where the data has a split, the scores are computed on its training
    inputs and the probe is tested on its test inputs. Otherwise both use all inputs, the probe in 5-fold
    cross-validation with its penalty chosen inside each fold.

    Parameters
    ----------
    data, labels
        As in `featx.extract`; labelled by class.
    backbones : str, torch.nn.Module, Backbone or sequence of them, default=("auto",)
        One or several backbones, as in `featx.compare`.
    layers : "all" or sequence of str, optional
        Layers of each backbone (``featx backbones NAME --layers`` lists them); default: its default layer.
    probe : bool, default=True
        Whether to fit logistic regression on each candidate.
    seed : int, default=0
        Seed of the subset, the folds and the inputs that CKA is computed from.
    **options
        Options of the network, of reading and of the run, as in `featx.extract`.

    Returns
    -------
    Ranking
        The candidates with their scores, which compare candidates on this dataset only. The probe of each is
        tested against the best one, adjusted for all pairs; inputs of a group (a column ``group``) and copies
        of one count as one in intervals and tests, and stay on one side of a fold. The correlations of
        the scores with the probe have one point for each candidate: four can hardly be told from chance.

    Raises
    ------
    DatasetError
        No labels, one class only, or nothing to test on.
    UnknownName, WeightsError, ImageError, TextError, CacheError
        See `featx.errors`.

    References
    ----------
    See `featx.analysis.transferability` and `featx.analysis.distances.debiased_cka`. Weighted tau: S. Vigna,
    "A weighted correlation index for rankings with ties", WWW 2015.
    """
    network, reading, run = Network.of(options), Reading.of(options), Run.of(options)
    dataset = open_dataset(data, labels, reading=reading, run=run, seed=seed)
    require_labelled(dataset)
    names = [backbone_for(backbone, dataset.kind) for backbone in listed(backbones)]
    loaded = [_load_members(name, layers, network) for name in names]

    result = Ranking({}, [], seed=seed, environment=describe_environment())
    result.notes += study_notes(dataset)
    scored: list[np.ndarray] = []
    right: list[np.ndarray] = []
    units: Units | None = None
    for members, logits in loaded:
        embeddings, probabilities, kept, space_of = _extract_layers(dataset, members, logits, run, result)
        if len(kept) < 4:
            raise DatasetError(f"{dataset.name}: only {count_of(len(kept), dataset.kind)} could be read")
        used = dataset if len(kept) == len(dataset) else dataset.subset(kept)
        require_labelled(used)
        split = _given_split(used)
        rows = np.arange(len(used)) if split is None else split.train
        tested = rows if split is None else split.test
        if probe and (units is None or len(units.of) != len(used)):
            copies = find_copies_among(embeddings[0], take_fingerprints(used.inputs, run), run)
            units = find_units(used.groups, copies, len(used))
            result.units, result.search_for_copies = units.describe(tested), units.search
        result.dataset = {
            "name": dataset.name,
            "n": len(rows),
            "n_test": None if split is None else len(split.test),
            "n_classes": len(used.classes or ()),
        }
        if labels is None and isinstance(data, str | os.PathLike):
            result.dataset["source"] = resolve_source(data)
        y = np.asarray(used.labels)
        to_score = ToScore(embeddings, y, probabilities, rows)
        scores = score_candidates(to_score, members, run)
        answers = answer_by_probe(embeddings, y, units, split, seed, run) if units is not None else None
        for depth, (member, X) in enumerate(zip(members, embeddings, strict=True), 1):
            candidate = Candidate(member.name, member.layer, depth, member.row_dim, {})
            candidate.scores, candidate.seconds["scores"] = next(scores)
            if units is not None and answers is not None:
                found, candidate.seconds["probe"] = next(answers)
                right.append(found[tested])
                candidate.probe = proportion_interval(right[-1], units=units.take(tested))
            result.candidates.append(candidate)
            result.spaces.append(space_of(member))
            chosen = np.random.default_rng(seed).permutation(rows)[:CKA_IMAGES]
            scored.append(X[chosen])
    if any(c.scores["h_score"] is None for c in result.candidates):
        result.notes.append(
            f"no H-score where there are no more {dataset.kind}s than values; use its shrunk form there"
        )
    if units is not None and len({len(answers) for answers in right}) == 1:
        _compare_probes(result, np.stack(right), units.take(tested), seed)
    _correlate(result)
    _compare_layers(result, scored)
    return result


@checked()
def layer_ablation(
    data: Any,
    labels: Any = None,
    *,
    backbone: Any = "auto",
    layers: str | Sequence[str] = "all",
    **options: Any,
) -> Ranking:
    """Rank the layers of one backbone, from one forward pass.

    Parameters
    ----------
    data, labels
        As in `rank`.
    backbone : str, torch.nn.Module or Backbone, default="auto"
        The backbone.
    layers : "all" or sequence of str, default="all"
        Its layers.
    **options
        Other parameters of `rank`.

    Returns
    -------
    Ranking
        Its candidates are the layers in the order of computation.
    """
    return rank(data, labels, backbones=[backbone], layers=layers, **options)


def _load_members(name: Any, layers: Any, network: Network) -> tuple[list[Any], Any]:
    """Load a backbone cut at each layer, and one cut at its logits (None where it has none)."""
    from featx.backbones import has_logits, load_layers

    wanted = [None] if layers is None else layers
    if isinstance(name, str) or is_module(name):
        members = load_layers(name, wanted, **network.besides_layer)
    else:
        require_loaded_as_it_is(name, network)
        members = load_layers(name, wanted)
    logits = load_layers(members[0], ["logits"])[0] if has_logits(members[0]) else None
    return members, logits


def _extract_layers(
    dataset: Dataset, members: list[Any], logits: Any, run: Run, result: Ranking
) -> tuple[list[np.ndarray], np.ndarray | None, np.ndarray, Any]:
    """Return the embeddings of each layer, the source class probabilities, the inputs read, and the spaces.

    The inputs are row numbers of `dataset`; the spaces are a function of a member. Costs and notes go into
    `result`.
    """
    from featx.backbones import columns_of, combine_layers

    def is_cached(parts: list[Any]) -> bool:
        return all_cached(dataset.inputs, network_embedder(combine_layers(parts), run), run.cache)

    together = list(members)
    if logits is not None and logits.identity not in [member.identity for member in members]:
        with_logits = [*members, logits]
        # No pass through the network for the logits alone.
        together = members if is_cached(members) and not is_cached(with_logits) else with_logits
    backbone = combine_layers(together)
    rows = embed_dataset(dataset, network_embedder(backbone, run), run)
    places = {repr(member.identity): at for member, at in zip(together, columns_of(backbone), strict=True)}
    spaces = {
        repr(member.identity): space.fields
        for member, space in zip(together, rows.embedder.spaces, strict=True)
    }
    if rows.embedder.about:
        result.about[backbone.name] = rows.embedder.about
    result.forward_passes += rows.forward_passes
    result.seconds[backbone.name] = rows.seconds["total"]
    result.extraction[backbone.name] = {
        "images": len(rows.kept),
        "cached": len(rows.kept) - rows.computed,
        "computed": rows.computed,
        "seconds": rows.seconds["total"],
        "seconds_per_image": rows.seconds_per_image,
        "profile": rows.profile.to_dict(),
        "parity": rows.parity,
    }
    ids = [dataset.ids[i] for i in rows.kept]
    result.notes += check_rows(rows.embeddings, ids, f"{dataset.name}, {backbone.name}", dataset.kind)
    if rows.failures:
        result.notes.append(describe_failures(rows.failures, dataset.kind))
    probabilities = None
    if logits is None:
        result.notes.append(
            f"{backbone.name} has no classifier: no LEEP and no NCE"
            if dataset.kind == "image"
            else f"no LEEP and no NCE of {backbone.name}: they need the classes that a network was trained "
            f"to tell apart, which are not taken from networks of {dataset.kind}s"
        )
    elif repr(logits.identity) not in places:
        result.notes.append(
            f"no LEEP and no NCE of {backbone.name}: its logits are not in the cache, but the embeddings are"
        )
    else:
        probabilities = softmax(rows.embeddings[:, places[repr(logits.identity)]])
    parts = [np.ascontiguousarray(rows.embeddings[:, places[repr(m.identity)]]) for m in members]
    return parts, probabilities, rows.kept, lambda member: spaces[repr(member.identity)]


def _given_split(dataset: Dataset) -> Split | None:
    if dataset.splits is None:
        return None
    split = make_split(dataset.labels, splits=dataset.splits, groups=dataset.groups, classes=dataset.classes)
    return split if split.origin == "given" else None


def _compare_probes(result: Ranking, right: np.ndarray, units: np.ndarray | None, seed: int) -> None:
    """Test the probe of each candidate against the best one, adjusted for all pairs of candidates."""
    from featx.metrics import compare_pairs, selection_optimism

    best, family = result.best(), compare_pairs(right, units=units, seed=seed)
    result.selection = {
        "methods": len(right),
        "optimism": selection_optimism(right, units=units, seed=seed),
    }
    at = next(i for i, c in enumerate(result.candidates) if c is best)
    for i, candidate in enumerate(result.candidates):
        if i != at:
            candidate.versus_best = {
                "p_value": float(family.p_value[i, at]),
                "p_adjusted": float(family.p_adjusted[i, at]),
                "difference": float(family.difference[i, at]),
                "low_adjusted": float(family.low[i, at]),
                "high_adjusted": float(family.high[i, at]),
                "detectable": float(family.detectable[i, at]),
            }


def _correlate(result: Ranking) -> None:
    from scipy.stats import kendalltau, weightedtau

    for score in SCORES:
        both = [
            (value, c.probe.value)
            for c in result.candidates
            if c.probe is not None and (value := c.scores.get(score)) is not None
        ]
        if len(both) < 3 or min(len(set(column)) for column in zip(*both, strict=True)) < 2:
            continue
        values, accuracies = zip(*both, strict=True)
        result.correlations[score] = {
            "tau": float(kendalltau(values, accuracies).statistic),
            "weighted_tau": float(weightedtau(values, accuracies).statistic),
        }
    if result.correlations:
        result.notes.append(f"rank correlations are over {len(result.candidates)} candidates")


def _compare_layers(result: Ranking, scored: list[np.ndarray]) -> None:
    if len(scored) < 2 or len(scored[0]) < 4:
        return
    from featx.analysis.distances import cka_matrix

    result.cka = cka_matrix(scored).tolist()
    result.cka_images = len(scored[0])
