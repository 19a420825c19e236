"""Train on one domain and test on another: source-only, adapted without target labels, target-trained."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np

from featx.clusters import opens_cluster
from featx.data.features import Features, check_rows
from featx.data.splits import Split
from featx.data.tasks import names_of
from featx.errors import DatasetError
from featx.options import CheckedStudyOptions, Network, Reading, Run, checked
from featx.results import DomainMethod, DomainResult, advise_domains
from featx.studies.collections import (
    describe_embeddings,
    embed_collections,
    split_features,
    units_of,
)
from featx.studies.comparison.evaluate import note_unused_share
from featx.studies.evaluation import Cell, LabelledRows, run_cells
from featx.studies.evaluation.methods import AdaptedProbe
from featx.studies.output import Reported
from featx.studies.units import Units, unsearched


@dataclass
class DomainComparison(Reported, DomainResult):
    """A comparison of domains that can be saved; see `featx.results.domains` for its fields."""


@checked(source="data", target="data")
@opens_cluster
def compare_domains(
    source: Any,
    target: Any,
    *,
    backbone: Any = "auto",
    classifier: str = "logreg",
    adaptations: str | Sequence[str] | None = None,
    test_size: float = 0.25,
    seed: int = 0,
    n_boot: int = 1000,
    **options: Unpack[CheckedStudyOptions],
) -> DomainComparison:
    """Train on the labelled images, texts or clips of one domain and test on another one.

    Parameters
    ----------
    source, target : as in `featx.compare`
        Two collections with the same classes (the target may lack some); also features files, or
        `Features`, of one space. Each keeps its own split, or gets a drawn one. If both show the same
        photographs, give both the same split: otherwise test images of one are trained on in the other.
    backbone : str, torch.nn.Module or Backbone, default="auto"
        One backbone, as in `featx.extract`.
    classifier : str, default="logreg"
        The probe in every method; its settings are selected for each on the rows that it is trained on.
    adaptations : str or sequence of str, optional
        Names of `featx.methods.adaptation.ADAPTATIONS`; default: all that the number of inputs allows.
    test_size, seed, n_boot
        As in `featx.compare`.
    **options
        Options of the network, of reading and of the run, as in `featx.extract`. Without `checks`, copies of
        a picture, text or clip count as different ones, and the result says so.

    Returns
    -------
    DomainComparison
        With ``to_frame()``, ``table()``, ``advice`` and ``save(directory)``.

    Raises
    ------
    DatasetError
        No labels, a class of the target that the source lacks, nothing to train or test on.
    InputError
        The two are embeddings of different spaces, or inputs of two kinds.
    UnknownName, WeightsError, ImageError, TextError, CacheError
        See `featx.errors`.

    Notes
    -----
    Adaptations see the target's *training* inputs without their labels, and no test input;
    ``target-trained``, the upper bound, sees the same inputs with them. All methods are scored on the
    target's test inputs, and the tests against source-only are one family, adjusted together (see
    `featx.metrics.compare_pairs`). Rows are standardised by the source's mean and deviation before they are
    adapted.
    """
    from featx.methods.adaptation import adaptation_names, get_adaptation
    from featx.methods.probes import get_probe
    from featx.metrics import score_answers, selection_optimism

    started = time.perf_counter()
    chosen = [get_adaptation(name) for name in names_of(adaptations) or adaptation_names()]
    probe = get_probe(classifier)
    network, reading, run = Network.of(options), Reading.of(options), Run.of(options)
    names, sets, opened = embed_collections(
        [source, target], backbone, network=network, reading=reading, run=run, seed=seed
    )
    tables, classes, splits = _join_domains(names, sets, test_size, seed, run.device)
    warnings = [] if run.checks else [unsearched(sets[0].kind)]
    for name, features, split in zip(names, sets, splits, strict=True):
        warnings += check_rows(features.embeddings, features.ids, name, features.kind) + note_unused_share(
            split, test_size
        )

    # In the joined tables, the rows of the target follow those of the source.
    own, there = splits
    n_own, trained, unlabelled, tested = len(own.test), own.train, there.train, there.test

    def cell(name: str, title: str, kind: str, train: np.ndarray, test: np.ndarray, adapter: Any) -> Cell:
        method = AdaptedProbe(
            name, title, kind, classifier=probe.name, adapter=adapter, unlabelled=unlabelled
        )
        return Cell(method, tables[kind == "bound"], Split(train, test), seed)

    # Source-only is tested on the source as well.
    cells = [cell("source-only", "Source only", "source", trained, np.concatenate([own.test, tested]), None)]
    n_rows = len(trained) + len(unlabelled)
    for adaptation in chosen:
        if adaptation.max_rows is not None and n_rows > adaptation.max_rows:
            warnings.append(
                f"{adaptation.title} left out: {n_rows} training {sets[0].kind}s of both domains, at most "
                f"{adaptation.max_rows}"
            )
        else:
            name, title = adaptation.name, adaptation.title
            cells.append(cell(name, title, "adapted", trained, tested, adaptation.build()))
    cells.append(cell("target-trained", "Trained on the target", "bound", unlabelled, tested, None))

    # The domain's test rows, as rows of its own features.
    local = own.test, tested - len(sets[0])
    units = [units_of(features, dataset, run) for features, dataset in zip(sets, opened, strict=True)]
    together = [found.take(rows) for found, rows in zip(units, local, strict=True)]
    y, methods, right = tables[0].y, [], []
    truth = y[tested]
    for outcome in run_cells(cells, verbose=run.verbose, cluster=run.on):
        outcome.fit, method, answers = None, outcome.method, outcome.answers
        if method.kind == "source":
            at_home = score_answers(
                y[own.test], _cut(answers, slice(None, n_own)), units=together[0], n_boot=n_boot, seed=seed
            )
            answers = _cut(answers, slice(n_own, None))
        right.append(answers.labels == truth)
        methods.append(
            DomainMethod(
                method.name,
                method.title,
                method.kind,
                score_answers(truth, answers, units=together[1], n_boot=n_boot, seed=seed),
                outcome.seconds["fit"] or 0.0,
                outcome.params,
                notes=outcome.notes,
            )
        )
    _test_against_source(methods, np.stack(right), together[1], seed)
    adapted = [answers for m, answers in zip(methods, right, strict=True) if m.kind == "adapted"]
    optimism = selection_optimism(adapted, units=together[1], seed=seed) if adapted else None

    return DomainComparison(
        source={
            "name": names[0],
            "n_train": len(own.train),
            "n_test": n_own,
            "top1": at_home["top1"],
        },
        target={"name": names[1], "n_train": len(there.train), "n_test": len(tested)},
        classes=list(classes),
        classifier=probe.name,
        methods=methods,
        selection=None if optimism is None else {"methods": len(adapted), "optimism": optimism},
        advice=advise_domains(at_home["top1"], methods, optimism, sets[0].kind),
        units=units[1].describe(local[1]),
        search_for_copies=_cost_of_both(units),
        seed=seed,
        seconds_total=time.perf_counter() - started,
        warnings=warnings,
        **describe_embeddings(sets),
    )


def _cost_of_both(units: Sequence[Units]) -> dict[str, Any] | None:
    """Return the cost of the searches for copies in both domains."""
    searches = [one.search for one in units if one.search is not None]
    if not searches:
        return None
    made = [search["earlier_run"] for search in searches]
    seconds = sum(search["seconds"] for search in searches)
    return {"seconds": seconds, "earlier_run": min(made) if all(made) else None}


def _test_against_source(
    methods: Sequence[DomainMethod], right: np.ndarray, units: np.ndarray | None, seed: int
) -> None:
    """Test every method against source-only, which comes first; all tests are one family."""
    from featx.metrics import compare_pairs, mcnemar_exact

    family = compare_pairs(right, units=units, reference=0, seed=seed)
    for i, method in enumerate(methods[1:], start=1):
        method.versus_source = mcnemar_exact(right[i], right[0], units=units).to_dict() | {
            "p_adjusted": float(family.p_adjusted[i, 0]),
            "low_adjusted": float(family.low[i, 0]),
            "high_adjusted": float(family.high[i, 0]),
            "detectable": float(family.detectable[i, 0]),
        }


def _join_domains(
    names: list[str], sets: list[Features], test_size: float, seed: int, device: Any
) -> tuple[list[LabelledRows], tuple[str, ...], list[Split]]:
    """Join the rows of both domains into one table with common labels, and split each domain.

    The table is returned twice: with the groups of the source, and with those of the target.
    """
    classes: tuple[str, ...] = ()
    labels, splits, start = [], [], 0
    for name, f in zip(names, sets, strict=True):
        if f.labels is None or f.classes is None:
            raise DatasetError(f"{name}: has no labels; they are needed to train, and to score")
        classes = classes or f.classes
        foreign = [c for c in f.classes if c not in classes]
        if foreign:
            known = ", ".join(classes[:5]) + (", ..." if len(classes) > 5 else "")
            raise DatasetError(
                f"{name}: class {foreign[0]!r} is not one of {names[0]} ({known}); both domains need the "
                "same classes"
            )
        labels.append(np.array([classes.index(c) for c in f.classes])[f.labels])
        split = split_features(f, test_size, seed)
        splits.append(replace(split, train=split.train + start, test=split.test + start))
        start += len(f)
    x, y = np.concatenate([f.embeddings.astype(np.float32, copy=False) for f in sets]), np.concatenate(labels)
    tables = []
    for domain, f in enumerate(sets):
        groups = f.groups
        if groups is not None:  # only the groups of training rows are used
            others = np.repeat(groups[:1], len(x) - len(f))
            groups = np.concatenate([groups, others] if domain == 0 else [others, groups])
        tables.append(LabelledRows(x, y, len(classes), groups, device))
    return tables, classes, splits


def _cut(answers: Any, part: slice) -> Any:
    return answers._replace(labels=answers.labels[part], sure=answers.sure[part], true=answers.true[part])
