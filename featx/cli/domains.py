"""``featx compare --target-domain``: trained on DATA, tested on another domain."""

from __future__ import annotations

import shlex
import sys
from argparse import Namespace
from typing import Any

from featx.cli.folders import into_folder
from featx.errors import InputError
from featx.results.output_paths import located
from featx.terminal import printable, say


@into_folder("domains", "data", "target_domain")
def compare_domains(args: Namespace, **options: Any) -> None:
    """Does it, after refusing what this protocol has no place for."""
    from featx.studies.comparison import compare_domains

    for option in ("label", "target", "regressors"):
        if getattr(args, option):
            raise InputError(f"--{option} does not go with --target-domain: both domains are read by class")
    for option, given in (("--backbone", args.backbone), ("--classifiers", args.classifiers)):
        if given and len(given) > 1:
            raise InputError(f"{option} takes one name with --target-domain, got {len(given)}")
    # A single split, whose methods train no network; what asks for more must not be passed over in silence.
    if args.seeds > 1:
        raise InputError(f"--seeds does not go with --target-domain: there is one split, got {args.seeds}")
    if args.epochs is not None or args.baseline not in (["finetune"], ["none"]):
        option = "--baseline" if args.epochs is None else "--epochs"
        raise InputError(f"{option} does not go with --target-domain: nothing is fine-tuned")
    if not args.ensemble:
        raise InputError("--no-ensemble does not go with --target-domain: there is one backbone")
    result = compare_domains(
        args.data,
        args.target_domain,
        backbone=(args.backbone or ["mobilenet_v2"])[0],
        classifier=(args.classifiers or ["logreg"])[0],
        test_size=args.test_size,
        seed=args.seed,
        limit=args.limit,
        split_by=args.split_by,
        **options,
    )
    result.command = "featx " + " ".join(shlex.quote(word) for word in sys.argv[1:])
    for side, given in ((result.source, args.data), (result.target, args.target_domain)):
        side["source"] = located(given)
    report = result.save(args.output)
    say(result.table())
    say("")
    for warning in result.warnings:
        say(f"note: {printable(warning)}")
    say(result.advice)
    say(f"report: {report}")
