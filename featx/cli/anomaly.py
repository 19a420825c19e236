"""``featx anomaly``: detectors compared where the truth is known, or images scored where it is not."""

from __future__ import annotations

import json
import shlex
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from featx.cli.folders import into_folder
from featx.errors import InputError
from featx.options import OPTIONS
from featx.results import write_atomically
from featx.results.places import located
from featx.terminal import printable, say


def anomaly(args: Namespace, **options: Any) -> list[Any]:
    """Does it; returns the images that could not be read."""
    judging = args.test is not None and not args.normal
    work = into_folder("scores" if judging else "anomaly", "data", "test")(_score if judging else _compare)
    found: list[Any] = work(args, **options)
    return found


def _score(args: Namespace, **options: Any) -> list[Any]:
    from featx.studies.comparison import find_anomalies

    folder = Path(args.output)
    options |= _options(args)
    if args.detectors and len(args.detectors) > 1:
        raise InputError("--detectors takes one name to score images with; several need --normal")
    if args.test_size != OPTIONS["test_size"].default:
        raise InputError("--test-size has no effect: all of TEST is judged; leave it out")
    scored = find_anomalies(args.data, args.test, detector=(args.detectors or ["knn"])[0], **options)
    scored.write_csv(folder / "scores.csv")
    about = {
        "schema": 1,
        "kind": "scores",
        "dataset": {"source": [located(args.data), located(args.test)]},
        "scores": "scores.csv",
    }
    write_atomically(folder / "scores.json", json.dumps(about, indent=2) + "\n")
    say(
        f"{int(scored.anomalous.sum())} of {len(scored.ids)} images are unlike the {scored.n_train} "
        f"normal ones ({scored.detector}); the most anomalous:"
    )
    for id, decision in list(zip(scored.ids, scored.decision, strict=True))[:10]:
        say(f"  {decision:+.3g}  {printable(id)}")
    say(f"all: {folder / 'scores.csv'}")
    return scored.failures


def _options(args: Namespace) -> dict[str, Any]:
    options: dict[str, Any] = {
        "contamination": args.contamination,
        "backbone": args.backbone,
        "seed": args.seed,
        "limit": args.limit,
    }
    if args.split_by is not None:
        options["split_by"] = args.split_by
    return options


def _compare(args: Namespace, **options: Any) -> list[Any]:
    from featx.studies.comparison import compare_detectors

    result = compare_detectors(
        args.data,
        args.test,
        normal=args.normal,
        detectors=args.detectors,
        test_size=args.test_size,
        **options,
        **_options(args),
    )
    result.dataset["source"] = [located(data) for data in (args.data, args.test) if data is not None]
    result.command = "featx " + " ".join(shlex.quote(word) for word in sys.argv[1:])
    report = result.save(args.output)
    say(result.table())
    say("")
    say(result.advice)
    say(f"report: {report}")
    return result.failures
