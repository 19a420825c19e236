"""``featx anomaly``: detectors compared where the truth is known, or images scored where it is not."""

from __future__ import annotations

import shlex
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from featx.errors import InputError
from featx.options import DEFAULT_TEST_SIZE
from featx.terminal import printable, say


def anomaly(args: Namespace, **options: Any) -> list[Any]:
    """Does it; returns the images that could not be read."""
    from featx.comparison import compare_detectors, find_anomalies, prepare_output

    folder = prepare_output(args.output)
    options |= {
        "contamination": args.contamination,
        "backbone": args.backbone,
        "seed": args.seed,
        "limit": args.limit,
    }
    if args.test is not None and not args.normal:
        if args.detectors and len(args.detectors) > 1:
            raise InputError("--detectors takes one name to score images with; several need --normal")
        if args.test_size != DEFAULT_TEST_SIZE:
            raise InputError("--test-size has no effect: all of TEST is judged; leave it out")
        scored = find_anomalies(args.data, args.test, detector=(args.detectors or ["knn"])[0], **options)
        scored.write_csv(folder / "scores.csv")
        say(
            f"{int(scored.anomalous.sum())} of {len(scored.ids)} images are unlike the {scored.n_train} "
            f"normal ones ({scored.detector}); the most anomalous:"
        )
        for id, decision in list(zip(scored.ids, scored.decision, strict=True))[:10]:
            say(f"  {decision:+.3g}  {printable(id)}")
        say(f"all: {Path(folder) / 'scores.csv'}")
        return scored.failures
    result = compare_detectors(
        args.data,
        args.test,
        normal=args.normal,
        detectors=args.detectors,
        test_size=args.test_size,
        **options,
    )
    result.command = "featx " + " ".join(shlex.quote(word) for word in sys.argv[1:])
    report = result.save(args.output)
    say(result.table())
    say("")
    say(result.advice)
    say(f"report: {report}")
    return result.failures
