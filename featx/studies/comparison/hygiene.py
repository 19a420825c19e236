"""What may spoil a comparison: test pictures that were trained on, pictures with two labels, wrong labels."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.analysis.data_checks import (
    NearDuplicates,
    find_conflicting_labels,
    find_label_errors,
    find_leaks,
    find_near_duplicates,
    predict_out_of_sample,
)
from featx.studies.comparison.bench import Bench, Outcome
from featx.studies.comparison.material import Material

#: Longest list in results.json.
LISTED = 100
#: All pairs of more images would take longer than a reader of a comparison wants to wait.
MOST_IMAGES = 100_000
#: A share of the test images from which leaks are a warning.
NOTABLE = 0.01
#: What the report shows of each list, and needs thumbnails for.
SHOWN = 8


def examine(material: Material, bench: Bench, backbone: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The part ``hygiene`` of ``results.json``, from the embeddings of `backbone`."""
    began = time.perf_counter()
    embeddings = material.sets[backbone].embeddings
    if len(embeddings) > MOST_IMAGES:
        return {
            "notes": [
                f"more than {MOST_IMAGES:,} images: leaks and labels were not looked into; "
                "see featx.analysis.data_checks"
            ]
        }
    found = find_near_duplicates(embeddings, _hashes(material))
    parts = np.full(len(embeddings), "", dtype="<U5")
    parts[bench.train], parts[bench.test] = "train", "test"
    leaks = _leaks(found, bench, outcomes)
    copied = _two_labels(found, bench, parts)
    errors = _label_errors(embeddings, bench, parts)
    groups = found.groups()[bench.train]
    return {
        "hashed": found.hashed,
        "limits": {
            "agree_below": found.agree_below,
            "alike_below": found.alike_below,
            "hash_bits": found.hash_bits,
        },
        "leaks": leaks,
        "copies_in_train": len(groups) - len(np.unique(groups)),
        "two_labels": copied,
        "alike": _alike(found, bench, parts),
        "label_errors": errors,
        "notes": _notes(leaks, copied, errors, found.hashed, len(bench.test), outcomes),
        "seconds": time.perf_counter() - began,
    }


def shown(hygiene: dict[str, Any]) -> set[str]:
    """The ids of the images that the report shows."""
    if "leaks" not in hygiene:
        return set()
    ids = {pair[side] for pair in hygiene["leaks"]["pairs"][:SHOWN] for side in ("test", "train")}
    ids |= {image["id"] for picture in hygiene["two_labels"]["list"][:SHOWN] for image in picture[:4]}
    ids |= {pair[side] for pair in hygiene["alike"]["list"][:SHOWN] for side in ("first", "second")}
    return ids | {entry["id"] for entry in (hygiene["label_errors"] or {"list": []})["list"][: 2 * SHOWN]}


def warnings_of(hygiene: dict[str, Any]) -> list[str]:
    """The notes that a reader must not miss: those on leaks, where they are a notable share."""
    if hygiene.get("leaks", {}).get("share", 0.0) < NOTABLE:
        return []
    return hygiene["notes"][:1]


def _hashes(material: Material) -> np.ndarray | None:
    """From the shrunken pixels of the floor, which are in the cache: no image is decoded for it."""
    from featx.inputs.image import perceptual_hashes

    if material.pixels is None:
        return None
    side = material.pixel_size
    return perceptual_hashes(material.pixels.reshape(-1, side, side, 3))


def _leaks(found: NearDuplicates, bench: Bench, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    leaks = find_leaks(found, bench.train, bench.test)
    about = {tuple(pair): i for i, pair in enumerate(found.pairs.tolist())}
    pairs = []
    for test, train in zip(leaks.test.tolist(), leaks.train.tolist(), strict=True):
        at = about.get((min(test, train), max(test, train)))
        pairs.append({"test": bench.ids[test], "train": bench.ids[train], **_measures(found, at)})
    # What a person cannot see at once comes first.
    pairs.sort(key=lambda pair: (pair["kind"] == "identical", -(pair["distance"] or 0.0)))
    others = ~leaks.leaked
    top1 = []
    for outcome in outcomes:
        right = outcome.labels == bench.y[bench.test]
        without = float(right[others].mean()) if others.any() else None
        top1.append(
            {
                "name": outcome.name,
                "backbone": outcome.backbone,
                "all": float(right.mean()),
                "without": without,
            }
        )
    return {"test_images": len(leaks), "share": leaks.share, "pairs": pairs[:LISTED], "top1": top1}


def _measures(found: NearDuplicates, at: int | None) -> dict[str, Any]:
    """Of a pair; a copy of a copy is no pair of its own and was not measured."""
    if at is None:
        return {"kind": found.pictures[-1], "distance": None, "bits": None}
    bits = int(found.bits[at])
    return {
        "kind": str(found.kinds[at]),
        "distance": float(found.distances[at]),
        "bits": None if bits < 0 else bits,
    }


def _two_labels(found: NearDuplicates, bench: Bench, parts: np.ndarray) -> dict[str, Any]:
    pictures = (
        find_conflicting_labels(found, bench.y) if found.hashed else _identical_two_labels(found, bench.y)
    )
    return {
        "pictures": len(pictures),
        "list": [
            [{"id": bench.ids[i], "label": bench.classes[bench.y[i]], "part": str(parts[i])} for i in picture]
            for picture in pictures[:LISTED]
        ],
    }


def _identical_two_labels(found: NearDuplicates, labels: np.ndarray) -> list[np.ndarray]:
    """Without hashes two things that look alike may well be of two classes: only equal rows count."""
    same = found.pairs[found.of("identical")]
    return [pair for pair in same if labels[pair[0]] != labels[pair[1]]]


def _alike(found: NearDuplicates, bench: Bench, parts: np.ndarray) -> dict[str, Any]:
    at = np.flatnonzero(found.of("alike")) if found.hashed else np.empty(0, np.int64)
    sides = parts[found.pairs[at]]
    order = at[np.argsort(sides[:, 0] == sides[:, 1], kind="stable")]
    return {
        "pairs": len(at),
        "list": [
            {
                "first": bench.ids[found.pairs[i, 0]],
                "second": bench.ids[found.pairs[i, 1]],
                **_measures(found, i),
            }
            for i in order[:LISTED].tolist()
        ],
    }


def _label_errors(embeddings: np.ndarray, bench: Bench, parts: np.ndarray) -> dict[str, Any] | None:
    probabilities = predict_out_of_sample(
        embeddings, bench.y, bench.train, bench.test, groups=bench.groups, seed=bench.seed
    )
    if probabilities is None:
        return None
    rows = np.flatnonzero(parts != "")
    if len(rows) < len(probabilities):
        probabilities = probabilities[rows]
    found = find_label_errors(bench.y[rows], probabilities)
    entries = [
        {
            "id": bench.ids[rows[i]],
            "part": str(parts[rows[i]]),
            "given": bench.classes[given],
            "suggested": bench.classes[suggested],
            "confidence": confidence,
            "self_confidence": own,
        }
        for i, given, suggested, confidence, own in zip(
            found.rows.tolist(),
            found.given.tolist(),
            found.suggested.tolist(),
            found.confidence.tolist(),
            found.self_confidence.tolist(),
            strict=True,
        )
    ]
    agreement = float((probabilities.argmax(axis=1) == bench.y[rows]).mean())
    return {"images": len(entries), "agreement": agreement, "list": entries[:LISTED]}


def _notes(
    leaks: dict[str, Any],
    copied: dict[str, Any],
    errors: dict[str, Any] | None,
    hashed: bool,
    n_test: int,
    outcomes: Sequence[Outcome],
) -> list[str]:
    notes = []
    if n := leaks["test_images"]:
        certainty = "are pictures" if hashed else "look, by their embeddings alone, like pictures"
        note = f"{n} of {n_test} test images ({100 * leaks['share']:.1f} %) {certainty} that were trained on"
        competing = [
            line
            for line, outcome in zip(leaks["top1"], outcomes, strict=True)
            if outcome.kind != "floor" and line["without"] is not None
        ]
        if competing:
            first = max(competing, key=lambda line: line["all"])
            note += f"; without them {first['name']} has top-1 {first['without']:.3f}, not {first['all']:.3f}"
            after = max(competing, key=lambda line: line["without"])
            if after["without"] > first["without"]:
                note += f", and {after['name']} is ahead with {after['without']:.3f}"
        notes.append(note)
    doubts = []
    if n := copied["pictures"]:
        doubts.append(f"{n} picture{'s' if n > 1 else ''} with two labels")
    if errors and (n := errors["images"]):
        doubts.append(f"{n} label{'s' if n > 1 else ''} that look{'' if n > 1 else 's'} wrong")
    if doubts:
        notes.append(f"{' and '.join(doubts)}: see “Leaks and labels” in the report")
    return notes
