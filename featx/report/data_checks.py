"""Show the data checks: leaked test inputs, copies with two labels, labels that look wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from featx.inputs.samples import Sample
from featx.report.page import Tile, tile
from featx.report.table import Table, format_three, plain_table
from featx.results import ComparisonResult

#: Most pairs of each kind; twice this number of labels.
SHOWN = 8
SHOWN_METHODS = 6

Samples = Mapping[str, Sample]
#: Inputs that belong together, and a text about them.
Group = tuple[list[Tile], str]


def data_checks_view(result: ComparisonResult, samples: Samples) -> dict[str, Any] | None:
    """Show the findings; None without any."""
    checks = result.hygiene or {}
    if "leaks" not in checks:
        return None
    leaks, two_labels, alike = checks["leaks"], checks["two_labels"], checks["alike"]
    labels = checks["label_errors"] or {"images": 0, "list": [], "agreement": 0.0}
    counts = leaks["test_images"], two_labels["pictures"], labels["images"], alike["pairs"]
    copies, predictable = checks.get("copies_in_test", 0), labels.get("predictable", True)
    if not any(counts) and not copies and predictable:
        return None
    return {
        "hashed": checks["hashed"],
        "leaks": leaks["test_images"],
        "share": f"{100 * leaks['share']:.1f}",
        "leaked": [
            _pair(pair, samples, {"test": "test: ", "train": "training: "}) for pair in leaks["pairs"][:SHOWN]
        ],
        "with_and_without": _with_and_without(result, leaks["top1"]),
        "two_labels": two_labels["pictures"],
        "pictures": [
            (
                [
                    tile(image["id"], samples, small=f"{image['label']}: {image['id']}")
                    for image in _differing(picture)
                ],
                "",
            )
            for picture in two_labels["list"][:SHOWN]
        ],
        "copies": copies,
        "labels": labels["images"],
        "predictable": predictable,
        "chance": f"{100 * labels.get('chance', 0.0):.1f}",
        "agreement": f"{100 * labels['agreement']:.1f}",
        "doubted": [
            tile(
                entry["id"],
                samples,
                said=f"{entry['suggested']} · {100 * entry['confidence']:.0f} %",
                small=f"labelled {entry['given']} · {'training' if entry['part'] == 'train' else 'test'}",
            )
            for entry in labels["list"][: 2 * SHOWN]
        ],
        "alike": alike["pairs"],
        "pairs": [_pair(pair, samples, {"first": "", "second": ""}) for pair in alike["list"][:SHOWN]],
        "shown": SHOWN,
    }


def _with_and_without(result: ComparisonResult, top1: list[dict[str, Any]]) -> Table:
    """Return the accuracy of the best methods, with and without the leaked test inputs."""
    titles = {(m.name, m.backbone): m.title for m in result.methods}
    rows = [
        (titles[entry["name"], entry["backbone"]], format_three(entry["all"]), format_three(entry["without"]))
        for entry in sorted(top1, key=lambda entry: -entry["all"])
        if (entry["name"], entry["backbone"]) in titles
    ]
    return plain_table(
        ("Top-1 accuracy", f"all test {result.input_kind}s", "without these"), rows[:SHOWN_METHODS]
    )


def _differing(picture: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return two copies that have different labels."""
    first = picture[0]
    return [first, next(image for image in picture if image["label"] != first["label"])]


def _pair(pair: dict[str, Any], samples: Samples, sides: Mapping[str, str]) -> Group:
    tiles = [tile(pair[side], samples, small=f"{said}{pair[side]}") for side, said in sides.items()]
    return tiles, _measures(pair)


def _measures(pair: dict[str, Any]) -> str:
    if pair["kind"] == "identical":
        return "the same to the network"
    if pair["distance"] is None:
        return "a copy of a copy"
    bits = "" if pair["bits"] is None else f", hashes differ in {pair['bits']} of 64 bits"
    return f"distance {pair['distance']:.3f}{bits}"
