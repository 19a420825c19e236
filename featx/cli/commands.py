"""What each command does: arguments to the public API, results to the terminal."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import featx
from featx.cli.folders import into_folder
from featx.errors import DatasetError, InputError
from featx.options import OPTIONS, is_features
from featx.results import write_atomically
from featx.results.places import located, output_file
from featx.spreadsheet import csv_text
from featx.terminal import json_line, printable, say, tell


def extract(args: Namespace) -> None:
    """``featx extract``"""
    target = output_file(args.output, "features", force=args.force)
    features = featx.extract(
        args.data,
        backbone=args.backbone,
        limit=args.limit,
        dtype=args.dtype,
        label=args.label,
        target=args.target,
        split_by=args.split_by,
        **_network(args),
        **_running(args),
    )
    features.save(target)
    run = features.run or {}
    say(
        f"{args.output}: {len(features)} embeddings of {features.dim} values "
        f"({run.get('forward_passes', 0)} forward passes, {run['seconds']['total']:.1f} s)"
    )
    _list_failures(features.failures)
    if args.profile:
        _show_profile(run["profile"])


def compare(args: Namespace) -> None:
    """``featx compare``"""
    if args.target_domain is not None:
        from featx.cli.domains import compare_domains

        compare_domains(args, **_network(args), **_running(args))
        return
    methods = {"regressors": args.regressors, "ensemble": args.ensemble}
    _experiment(args, "compare", {"target": args.target}, methods, {"seeds": args.seeds})


def curve(args: Namespace) -> None:
    """``featx curve``"""
    methods = {"protocol": args.protocol, "augment": args.augment}
    _experiment(args, "curve", {}, methods, {"shots": args.shots, "seeds": args.seeds})


def run(args: Namespace) -> None:
    """``featx run``"""
    from featx.studies.experiments import load_experiment

    _show(args, load_experiment(args.experiment))


def _experiment(args: Namespace, kind: str, data: Any, methods: Any, draws: Any) -> None:
    """Runs what the arguments say by way of an experiment, so that its file lies beside the results."""
    from featx.studies.experiments import experiment_of

    tables = {
        "experiment": {"kind": kind, "output": args.output},
        "data": {
            "source": args.data,
            "label": args.label,
            "test_size": args.test_size,
            "limit": args.limit,
            "on_error": args.on_error,
            "split_by": args.split_by,
            **data,
        },
        "network": {
            "backbones": args.backbone
            or (None if is_features(args.data) else list(OPTIONS["backbones"].default)),
            "weights": None if args.weights == "default" else args.weights,
            "layer": args.layer,
            "pooling": args.pooling,
            "image_size": args.image_size,
            "precision": args.precision,
        },
        "methods": {
            "classifiers": args.classifiers,
            "baseline": args.baseline,
            "epochs": args.epochs,
            **methods,
        },
        "draws": draws,
        "run": {
            "seed": args.seed,
            "engine": args.engine,
            "device": args.device,
            "batch_size": args.batch_size,
            "cache": args.cache,
        },
    }
    # A file has no word for "not given".
    given = {
        table: {key: value for key, value in keys.items() if value is not None}
        for table, keys in tables.items()
        if keys
    }
    command = "featx " + " ".join(_quoted(word) for word in sys.argv[1:])
    _show(args, experiment_of(given, Path.cwd()), command)


def _show(args: Namespace, experiment: Any, command: str | None = None) -> None:
    result, report = experiment.run(verbose=not args.quiet, command=command, force=args.force)
    say(result.table())
    say("")
    # A learning curve does not look into images and labels.
    for warning in [*result.warnings, *getattr(result, "findings", [])]:
        say(f"note: {printable(warning)}")
    say(result.advice)
    _list_failures(result.failures)
    say(f"report: {report}")
    if args.profile:
        for name, extraction in result.extraction.items():
            _show_profile(extraction["profile"], name)


def train(args: Namespace) -> None:
    """``featx train``"""
    target = output_file(args.output, "model", force=args.force)
    model = featx.train(
        args.data,
        classifier=args.classifier,
        backbone=args.backbone,
        seed=args.seed,
        limit=args.limit,
        split_by=args.split_by,
        **_network(args),
        **_running(args),
    )
    model.save(target)
    score = model.info["cv_score"]
    estimate = "" if score is None else f", cross-validated score {score:.3f}"
    say(
        f"{args.output}: {model.info['classifier']} on {model.info['n_train']} images, "
        f"{len(model.classes)} classes{estimate}"
    )
    _list_failures(model.failures)
    if args.profile:
        _show_profile(model.extraction)


def predict(args: Namespace) -> None:
    """``featx predict``"""
    target = output_file(args.output, "predictions", force=args.force) if args.output else None
    model = featx.load_model(args.model)
    paths, unlisted = _image_paths(args)
    running = _running(args)
    predictions = model.predict(
        paths,
        weights=args.weights,
        engine=args.engine,
        device=args.device,
        batch_size=args.batch_size,
        **running,
    )
    form = args.format or ("jsonl" if args.output and args.output.endswith((".jsonl", ".json")) else "csv")
    if target is not None:
        write_atomically(target, _predictions(predictions, form))
    else:
        sys.stdout.write(_predictions(predictions, form))
    _list_failures([*unlisted, *model.failures])
    if args.profile:
        _show_profile(model.extraction)


def anomaly(args: Namespace) -> None:
    """``featx anomaly``"""
    from featx.cli.anomaly import anomaly

    _list_failures(anomaly(args, **_network(args), **_running(args)))


def backbones(args: Namespace) -> None:
    """``featx backbones``"""
    if args.layers:
        _list_layers(args.pattern)
        return
    rows = featx.list_backbones(args.pattern)
    say(f"{'name':<24}{'dim':>6}{'params':>9}{'top-1':>8}  weights")
    for row in rows:
        top1 = "" if row.top1 is None else f"{row.top1:.1f}"
        here = "on this machine" if row.weights_available else ""
        numbers = f"{row.dim:>6}{row.parameters / 1e6:>8.1f}M{top1:>8}"
        say(f"{row.name:<24}{numbers}  {row.weights_name} {here}".rstrip())
    say("timm:NAME runs any CNN of timm (extra: timm)")


def _list_layers(name: str | None) -> None:
    from featx.backbones import list_layers

    if name is None:
        raise InputError("--layers lists the layers of one backbone: featx backbones NAME --layers")
    # Layers are the same whatever the weights, which need not be on this machine.
    say(f"{'depth':>5}  {'layer':<32}{'dim':>6}")
    for layer in list_layers(name, weights=None):
        say(f"{layer.depth:>5}  {layer.name:<32}{layer.dim:>6}{'  default' if layer.is_default else ''}")


@into_folder("ranking", "data")
def rank(args: Namespace) -> None:
    """``featx rank``"""
    network = {key: value for key, value in _network(args).items() if key != "layer"}
    result = featx.rank(
        args.data,
        backbones=args.backbones,
        layers="all" if args.layers == ["all"] else args.layers,
        probe=args.probe,
        seed=args.seed,
        limit=args.limit,
        label=args.label,
        split_by=args.split_by,
        **network,
        **_running(args),
    )
    say(result.table())
    say("")
    for note in result.notes:
        say(f"note: {printable(note)}")
    say(result.verdict())
    if args.output:
        result.dataset["source"] = located(args.data)
        say(f"report: {result.save(args.output)}")


@into_folder("similarity", "a", "b")
def similarity(args: Namespace) -> None:
    """``featx similarity``"""
    result = featx.similarity(
        args.a,
        args.b,
        backbone=args.backbone,
        n_permutations=args.permutations,
        most=args.most,
        top=args.top,
        seed=args.seed,
        **_network(args),
        **_running(args),
    )
    say(result.table())
    say("")
    for note in result.notes:
        say(f"note: {printable(note)}")
    say(result.verdict())
    if args.output:
        for side, given in zip(result.sets, (args.a, args.b), strict=True):
            side["source"] = located(given)
        say(f"report: {result.save(args.output)}")


def search(args: Namespace) -> None:
    """``featx search``"""
    from featx.cli.search import search

    search(args)


def label(args: Namespace) -> None:
    """``featx label``"""
    from featx.cli.label import label

    label(args)


def inspect(args: Namespace) -> None:
    """``featx inspect``"""
    from featx.data.features import describe

    say(describe(args.file))


def cache(args: Namespace) -> int:
    """``featx cache``"""
    from featx.cli import cache as actions

    status: int = getattr(actions, args.action)(args)
    return status


def _show_profile(profile: dict[str, Any], name: str = "") -> None:
    """On standard error: standard output belongs to results."""
    from featx.extraction import profile_table

    tell((f"{name}: " if name else "") + profile_table(profile))


def _network(args: Namespace) -> dict[str, Any]:
    return {
        "weights": None if args.weights == "random" else args.weights,
        "layer": getattr(args, "layer", None),
        "pooling": args.pooling,
        "image_size": args.image_size,
        "precision": args.precision,
        "engine": args.engine,
        "device": args.device,
        "batch_size": args.batch_size,
    }


def _running(args: Namespace) -> dict[str, Any]:
    return {"cache": args.cache, "on_error": args.on_error, "verbose": not args.quiet}


def _image_paths(args: Namespace) -> tuple[list[str], list[Any]]:
    """Files as they are, folders replaced by the images below them; and what could not be listed."""
    from featx.data import SKIP_HINT, list_images

    paths: list[str] = []
    failures: list[Any] = []
    for item in args.images:
        path = Path(item)
        if path.is_dir():
            listed = list_images(path, on_error=args.on_error)
            if listed.left_out and not args.quiet:
                tell(printable(f"{item}: left out: {listed.left_out}"))
            if not listed.files:
                raise DatasetError(f"{item}: no images in this folder")
            paths += [str(path.joinpath(*parts)) for parts in listed.files]
            failures += listed.failures
        elif path.exists() or args.on_error == "skip":
            paths.append(item)
        else:
            raise DatasetError(f"{item}: no such file or folder; {SKIP_HINT}")
    return list(dict.fromkeys(paths)), failures


def _predictions(predictions: list[Any], form: str) -> str:
    """A CSV file, whose cells are safe in a spreadsheet, or exact JSON lines."""
    from featx.estimators.model import prediction_rows

    if form == "jsonl":
        return "".join(
            json_line(
                {
                    "id": p.id,
                    "label": p.label,
                    "probability": p.probability,
                    "probabilities": p.probabilities,
                }
            )
            + "\n"
            for p in predictions
        )
    rows = prediction_rows(predictions)
    header = list(rows[0]) if rows else ["id", "label", "probability"]
    return csv_text(header, (row.values() for row in rows))


def _list_failures(failures: list[Any]) -> None:
    if not failures:
        return
    tell(f"{len(failures)} images could not be read and were skipped:")
    for failure in failures[:20]:
        id, reason = (
            (failure["id"], failure["reason"]) if isinstance(failure, dict) else (failure.id, failure.reason)
        )
        tell(f"  {printable(id)}: {printable(reason)}")
    if len(failures) > 20:
        tell(f"  and {len(failures) - 20} more")


def _quoted(word: str) -> str:
    import shlex

    return shlex.quote(word)
