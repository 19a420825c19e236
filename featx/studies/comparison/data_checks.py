"""Check the data of a comparison: test inputs among the training inputs, inputs with two or wrong labels."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from featx.analysis.data_checks import (
    COPIES,
    NearDuplicates,
    find_conflicting_labels,
    find_label_errors,
    find_leaks,
    predict_out_of_sample,
)
from featx.analysis.data_checks.confident_learning import MOST_ROWS
from featx.data.splits import Split
from featx.kinds import picture_of, with_article
from featx.results import ALPHA
from featx.results.formats import p_in_text
from featx.studies.comparison.study_data import StudyData
from featx.studies.evaluation import LabelledRows, Outcome
from featx.studies.kept_checks import Found, KeptChecks
from featx.studies.units import Units, explain_limited_search

#: The most entries of a list in results.json.
LISTED = 100
#: With fewer groups of a class, its groups may differ from those of another class by chance.
FEW_GROUPS = 5
#: The most classes that the note on groups names.
LISTED_CLASSES = 5
#: Most probabilities of inputs by class, on which wrong labels are found; they are in memory.
MOST_PROBABILITIES = 100_000_000
#: Share of leaked test inputs from which there is a warning.
NOTABLE = 0.01
#: The entries of each list that the report shows, with thumbnails.
SHOWN = 8


# What may tell groups apart.
_SUCH_AS = {
    "image": "such as the camera or the background",
    "text": "such as the author or the subject",
    "clip": "such as the speaker or the microphone",
}


class _Inputs(NamedTuple):
    """The inputs of a task of classes, and their split."""

    ids: Sequence[str]
    y: np.ndarray
    classes: Sequence[str]
    groups: np.ndarray | None
    train: np.ndarray
    test: np.ndarray
    kind: str


def examine(
    data: StudyData,
    split: Split,
    seed: int,
    backbone: str,
    outcomes: Sequence[Outcome],
    copies: Found,
    units: Units,
    kept: KeptChecks,
) -> dict[str, Any]:
    """Check the data by the embeddings of `backbone`; return the field ``hygiene`` of ``results.json``.

    `copies` are those among all inputs, `units` what they make of the inputs; `kept` holds finished checks.
    """
    began, found = time.perf_counter(), copies.outcome
    embeddings, first = data.sets[backbone].embeddings, data.first
    y, classes = np.asarray(first.labels), first.classes or ()
    images = _Inputs(first.ids, y, classes, first.groups, split.train, split.test, data.kind)
    parts = np.full(len(embeddings), "", dtype="<U5")
    parts[images.train], parts[images.test] = "train", "test"
    leaks = _describe_leaks(found, images, outcomes)
    copied = _list_two_labels(found, images, parts)
    many = len(images.train) + len(images.test) > MOST_PROBABILITIES // len(classes)
    judged = Found(None, 0.0, None) if many else _judge_labels(data.inputs[backbone], images, seed, kept)
    errors = _list_label_errors(judged.outcome, images, parts, units)
    # What was taken from an earlier run counts with the seconds that it took there.
    seconds = copies.seconds + (judged.seconds if judged.earlier_run else 0.0)
    earlier = [one.earlier_run for one in (copies, judged)]
    pictures = found.groups()
    notes = _notes(leaks, copied, errors, found.hashed, images, outcomes)
    if limited := explain_limited_search(embeddings, data.kind):
        notes.append(limited)
    if many:
        notes.append(f"wrong labels were not looked for: {len(y):,} {data.kind}s of {len(classes):,} classes")
    return {
        "hashed": found.hashed,
        "limits": {
            "agree_below": found.agree_below,
            "alike_below": found.alike_below,
            "hash_bits": found.hash_bits,
        },
        "leaks": leaks,
        "copies_in_train": _count_copies(pictures[images.train]),
        "copies_in_test": _count_copies(found.groups(*COPIES)[images.test]),
        "two_labels": copied,
        "alike": _list_alike(found, images, parts),
        "label_errors": errors,
        "notes": notes,
        "seconds": time.perf_counter() - began + seconds,
        "earlier_run": min(filter(None, earlier)) if all(earlier) else None,
    }


def shown_ids(checks: dict[str, Any]) -> set[str]:
    """Return the ids of the inputs that the report shows."""
    if "leaks" not in checks:
        return set()
    ids = {pair[side] for pair in checks["leaks"]["pairs"][:SHOWN] for side in ("test", "train")}
    ids |= {image["id"] for picture in checks["two_labels"]["list"][:SHOWN] for image in picture[:4]}
    ids |= {pair[side] for pair in checks["alike"]["list"][:SHOWN] for side in ("first", "second")}
    return ids | {entry["id"] for entry in (checks["label_errors"] or {"list": []})["list"][: 2 * SHOWN]}


def note_on_groups(counts: Sequence[int], classes: Sequence[str], kind: str) -> str:
    """Say how many groups each class has, where no group has inputs of two classes."""
    few = [f"{name} {n}" for name, n in zip(classes, counts, strict=True) if n < FEW_GROUPS]
    low, high = min(counts), max(counts)
    said = f"each group of several {kind}s has one class only, and "
    said += f"each class has {low} groups" if low == high else f"a class has {low} to {high} groups"
    if not few:
        return said
    named = ", ".join(few[:LISTED_CLASSES]) + (", ..." if len(few) > LISTED_CLASSES else "")
    return (
        f"{said}: where they are few ({named}), what tells the groups apart, {_SUCH_AS[kind]}, tells the "
        "classes apart as well, and no number here can show which of the two was learnt"
    )


def warnings_of(checks: dict[str, Any]) -> list[str]:
    """Return the note on leaks, if they are a notable share of the test inputs."""
    if checks.get("leaks", {}).get("share", 0.0) < NOTABLE:
        return []
    return checks["notes"][:1]


def _count_copies(pictures: np.ndarray) -> int:
    return len(pictures) - len(np.unique(pictures))


def _describe_leaks(found: NearDuplicates, images: _Inputs, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    leaks = find_leaks(found, images.train, images.test)
    number_of = {tuple(pair): i for i, pair in enumerate(found.pairs.tolist())}
    pairs = []
    for test, train in zip(leaks.test.tolist(), leaks.train.tolist(), strict=True):
        at = number_of.get((min(test, train), max(test, train)))
        pairs.append(
            {"test": images.ids[test], "train": images.ids[train], **_measures(found, at, images.kind)}
        )
    # Pairs that a person cannot see at once come first.
    pairs.sort(key=lambda pair: (pair["kind"] == "identical", -(pair["distance"] or 0.0)))
    others = ~leaks.leaked
    top1 = []
    for outcome in outcomes:
        right = outcome.labels == images.y[images.test]
        without = float(right[others].mean()) if others.any() else None
        top1.append(
            {
                "name": outcome.method.name,
                "backbone": outcome.method.backbone,
                "all": float(right.mean()),
                "without": without,
            }
        )
    return {"test_images": len(leaks), "share": leaks.share, "pairs": pairs[:LISTED], "top1": top1}


def _measures(found: NearDuplicates, at: int | None, kind: str) -> dict[str, Any]:
    """Return the kind and distances of a pair; a copy of a copy was not measured itself (`at` is None).

    Copies of clips were told by longer hashes, which are not among what was found.
    """
    if at is None:
        return {"kind": found.pictures[-1], "distance": None, "bits": None}
    bits = int(found.bits[at])
    return {
        "kind": str(found.kinds[at]),
        "distance": float(found.distances[at]),
        "bits": None if bits < 0 or kind == "clip" else bits,
    }


def _list_two_labels(found: NearDuplicates, images: _Inputs, parts: np.ndarray) -> dict[str, Any]:
    pictures = (
        find_conflicting_labels(found, images.y) if found.hashed else _identical_two_labels(found, images.y)
    )
    return {
        "pictures": len(pictures),
        "list": [
            [
                {"id": images.ids[i], "label": images.classes[images.y[i]], "part": str(parts[i])}
                for i in picture
            ]
            for picture in pictures[:LISTED]
        ],
    }


def _identical_two_labels(found: NearDuplicates, labels: np.ndarray) -> list[np.ndarray]:
    """Return pairs of equal rows with two labels; without hashes, mere likeness is no sign of an error."""
    same = found.pairs[found.of("identical")]
    return [pair for pair in same if labels[pair[0]] != labels[pair[1]]]


def _list_alike(found: NearDuplicates, images: _Inputs, parts: np.ndarray) -> dict[str, Any]:
    at = np.flatnonzero(found.of("alike")) if found.hashed else np.empty(0, np.int64)
    sides = parts[found.pairs[at]]
    order = at[np.argsort(sides[:, 0] == sides[:, 1], kind="stable")]
    return {
        "pairs": len(at),
        "list": [
            {
                "first": images.ids[found.pairs[i, 0]],
                "second": images.ids[found.pairs[i, 1]],
                **_measures(found, i, images.kind),
            }
            for i in order[:LISTED].tolist()
        ],
    }


def _judge_labels(rows: LabelledRows, images: _Inputs, seed: int, kept: KeptChecks) -> Found:
    """Return what `KeptChecks.find_label_errors` does: from an earlier run, or by models fitted now."""

    def search() -> dict[str, np.ndarray] | None:
        shared = rows.training_rows(images.train, seed) if len(images.train) <= MOST_ROWS else None
        if shared is not None and not isinstance(shared.X, np.ndarray):  # in blocks
            shared = None
        probabilities = predict_out_of_sample(
            rows.x, images.y, images.train, images.test, groups=images.groups, seed=seed, shared=shared
        )
        if probabilities is None:
            return None
        at = np.sort(np.concatenate([images.train, images.test]))
        if len(at) < len(probabilities):
            probabilities = probabilities[at]
        found = find_label_errors(images.y[at], probabilities)
        return {
            "predicted": probabilities.argmax(axis=1).astype(np.int32),
            "rows": found.rows.astype(np.int32),
            "suggested": found.suggested.astype(np.int32),
            "confidence": found.confidence,
            "self_confidence": found.self_confidence,
        }

    split = images.train, images.test
    return kept.find_label_errors(rows.digests, images.y, split, images.groups, seed, search)


def _list_label_errors(
    found: dict[str, np.ndarray] | None, images: _Inputs, parts: np.ndarray, units: Units
) -> dict[str, Any] | None:
    """List labels that look wrong; none where no label can be predicted, because all would look wrong."""
    from featx.metrics import mcnemar_exact

    if found is None:
        return None
    rows = np.flatnonzero(parts != "")
    y = images.y[rows]
    agree, largest = found["predicted"] == y, y == np.bincount(y).argmax()
    test = mcnemar_exact(agree, largest, units=units.take(rows))
    about = {"agreement": float(agree.mean()), "chance": float(largest.mean()), "p_value": test.p_value}
    if not (test.difference > 0 and test.p_value < ALPHA):
        return {"images": 0, **about, "predictable": False, "list": []}
    entries = [
        {
            "id": images.ids[rows[i]],
            "part": str(parts[rows[i]]),
            "given": images.classes[given],
            "suggested": images.classes[suggested],
            "confidence": confidence,
            "self_confidence": own,
        }
        for i, given, suggested, confidence, own in zip(
            found["rows"].tolist(),
            y[found["rows"]].tolist(),
            found["suggested"].tolist(),
            found["confidence"].tolist(),
            found["self_confidence"].tolist(),
            strict=True,
        )
    ]
    return {"images": len(entries), **about, "predictable": True, "list": entries[:LISTED]}


def _notes(
    leaks: dict[str, Any],
    copied: dict[str, Any],
    errors: dict[str, Any] | None,
    hashed: bool,
    inputs: _Inputs,
    outcomes: Sequence[Outcome],
) -> list[str]:
    notes, n_test, kind = [], len(inputs.test), inputs.kind
    noun = picture_of(kind)
    if n := leaks["test_images"]:
        said, them = (f"is a {noun}", "it") if n == 1 else (f"are {noun}s", "them")
        if not hashed:
            looks = "looks, by its embedding" if n == 1 else "look, by their embeddings"
            said = f"{looks} alone, like {said.partition(' ')[2]}"
        were = "was" if n == 1 else "were"
        note = f"{n} of {n_test} test {kind}s ({100 * leaks['share']:.1f} %) {said} that {were} trained on"
        competing = [
            line
            for line, outcome in zip(leaks["top1"], outcomes, strict=True)
            if outcome.method.kind != "floor" and line["without"] is not None
        ]
        if competing:
            first = max(competing, key=lambda line: line["all"])
            without, with_them = f"{first['without']:.3f}", f"{first['all']:.3f}"
            note += f"; without {them} {first['name']} has top-1 {without}, "
            note += f"as with {them}" if without == with_them else f"not {with_them}"
            after = max(competing, key=lambda line: line["without"])
            if f"{after['without']:.3f}" > without:
                note += f", and {after['name']} is ahead with {after['without']:.3f}"
        notes.append(note)
    doubts = []
    if n := copied["pictures"]:
        doubts.append(f"{n} {noun}{'s' if n > 1 else ''} with two labels")
    if errors and (n := errors["images"]):
        doubts.append(f"{n} label{'s' if n > 1 else ''} that look{'' if n > 1 else 's'} wrong")
    if doubts:
        notes.append(f"{' and '.join(doubts)}: see “Leaks and labels” in the report")
    if errors and not errors["predictable"]:
        notes.append(
            "the embeddings are not shown to predict the labels: models that had not seen "
            f"{with_article(kind)} agree with {100 * errors['agreement']:.1f} % of the labels, the largest "
            f"class alone with {100 * errors['chance']:.1f} % ({p_in_text(errors['p_value'])}); so no label "
            "is called wrong"
        )
    return notes
