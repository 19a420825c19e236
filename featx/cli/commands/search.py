"""``featx search``: find the images of a features file that are most similar to a query."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featx.cli import values
from featx.cli.flags import add_flag, add_machine, add_quiet, add_trust
from featx.errors import DatasetError, UnknownName
from featx.terminal import json_line, printable, say

if TYPE_CHECKING:
    import numpy as np

    from featx.analysis.neighbours import Match
    from featx.data.features import Features

HELP = "find the images of a features file that are most similar to a query"


def add(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.description = (
        "Lists the images of F.h5 nearest to each QUERY, by the cosine of their embeddings. An image file is "
        "embedded with the network that made F.h5."
    )
    parser.add_argument("file", metavar="F.h5", help="a file of featx extract")
    parser.add_argument("queries", nargs="+", metavar="QUERY", help="an id in F.h5, else an image file")
    parser.add_argument("-k", type=values.positive, default=10, metavar="K", help="how many (default: 10)")
    parser.add_argument("--json", action="store_true", help="for programs, instead of a table")
    parser.add_argument("--weights", metavar="PATH", help="where the local checkpoint of the backbone is now")
    add_trust(parser)
    add_machine(parser)
    group = parser.add_argument_group("the run")
    add_flag(group, "cache")
    add_quiet(group)


def run(args: Namespace) -> None:
    """Print the images that are most similar to each query."""
    from featx.analysis.neighbours import SimilarImages
    from featx.data.features import load_features
    from featx.options import require_no_effect

    features = load_features(args.file)
    labels = _labels(features)
    known = set(features.ids)
    new = [query for query in dict.fromkeys(args.queries) if query not in known]
    for query in new:
        path = Path(query)
        if path.is_dir():
            raise DatasetError(f"{query}: a folder; QUERY is an id in {args.file} or an image file")
        if not path.exists():
            raise DatasetError(f"{UnknownName('image', query, features.ids)} (nor is there such a file)")
    if not new:
        why = "every QUERY is an id of the file, and no network runs"
        require_no_effect("weights", args.weights, None, why)
        require_no_effect("trust_code", args.trust_code, False, why)
    images = SimilarImages(features)
    found: dict[str, list[Match]] = {}
    if new:
        k = min(args.k, len(features))
        found.update(zip(new, images.search(_embedded(new, features, args), k), strict=True))
    answers = [(query, found.get(query) or images.like(query, args.k)) for query in args.queries]
    if args.json:
        say(json_line([_record(query, matches, labels) for query, matches in answers]))
        return
    for query, matches in answers:
        say(printable(query))
        shown = [(printable(match.id), match) for match in matches]
        width = max((len(id) for id, _ in shown), default=0)
        for id, match in shown:
            label = printable(labels.get(match.id, ""))
            say(f"  {1 - match.distance:7.4f}  {id:<{width}}  {label}".rstrip())


def _embedded(paths: list[str], features: Features, args: Namespace) -> np.ndarray:
    """Embed image files with the network that made the features file."""
    from featx.data import from_arrays
    from featx.extraction import backbone_arguments, embed, matching_embedder
    from featx.options import Run

    where = Path(args.file).name
    run = Run.of(vars(args))
    embedder = matching_embedder(
        features.space,
        backbone_arguments(features.space, where),
        where,
        run,
        weights=args.weights,
        trust_code=args.trust_code,
    )
    images = from_arrays(paths, None).images
    rows: np.ndarray = embed(images, embedder, cache=args.cache, verbose=not args.quiet).embeddings
    return rows


def _labels(features: Features) -> dict[str, str]:
    """Return the class of each id; an empty dict if the file has no labels."""
    known = features.labelled()
    if known.labels is None:
        return {}
    names = known.classes
    codes = known.labels.tolist()
    return dict(zip(known.ids, [str(v) if names is None else names[v] for v in codes], strict=True))


def _record(query: str, matches: list[Match], labels: dict[str, str]) -> dict[str, Any]:
    return {
        "query": query,
        "matches": [
            {"id": m.id, "similarity": round(1 - m.distance, 6), "label": labels.get(m.id)} for m in matches
        ],
    }
