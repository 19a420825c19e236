"""``featx search``: find the images, texts or clips of a features file that are most similar to a query."""

from __future__ import annotations

import os
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featx.cli import values
from featx.cli.flags import add_flag, add_machine, add_quiet, add_trust
from featx.errors import DatasetError, UnknownName
from featx.places import is_url
from featx.terminal import json_line, printable, say

if TYPE_CHECKING:
    import numpy as np

    from featx.analysis.neighbours import Match
    from featx.data.features import Features
    from featx.inputs import Source

#: A longer text is no path on any system.
_LONGEST_PATH = 4096
_DIGITS = re.compile(r"\d+")

HELP = "find the images, texts or clips of a features file that are most similar to a query"


def add(parser: ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.description = (
        "Lists the images, texts or clips of F.h5 nearest to each QUERY, by the cosine of their embeddings. "
        "A file, or a text, is embedded with the network that made F.h5."
    )
    parser.add_argument("file", metavar="F.h5", help="a file of featx extract")
    parser.add_argument(
        "queries",
        nargs="+",
        metavar="QUERY",
        help="an id in F.h5, else an image or audio file, or its URL; for texts a .txt file or the text, in "
        "quotes",
    )
    parser.add_argument("-k", type=values.positive, default=10, metavar="K", help="how many (default: 10)")
    parser.add_argument("--json", action="store_true", help="for programs, instead of a table")
    parser.add_argument("--weights", metavar="PATH", help="where the local checkpoint of the backbone is now")
    add_trust(parser)
    add_machine(parser)
    group = parser.add_argument_group("the run")
    add_flag(group, "cache")
    add_quiet(group)


def run(args: Namespace) -> None:
    """Print the images, texts or clips that are most similar to each query."""
    from featx.analysis.neighbours import SimilarImages
    from featx.data.features import load_features
    from featx.options import require_no_effect

    features = load_features(args.file)
    labels = _labels(features)
    known = set(features.ids)
    new = [query for query in dict.fromkeys(args.queries) if query not in known]
    of_texts = features.kind == "text"
    for query in new:
        if of_texts:
            _check_text(query, features.ids, args.file)
        else:
            _check_file(query, features.ids, args.file, features.kind)
    if not new:
        why = "every QUERY is an id of the file, and no network runs"
        require_no_effect("weights", args.weights, None, why)
        require_no_effect("trust_code", args.trust_code, False, why)
    similar = SimilarImages(features)
    found: dict[str, list[Match]] = {}
    if new:
        k = min(args.k, len(features))
        found.update(zip(new, similar.search(_embedded(new, features, args), k), strict=True))
    answers = [(query, found.get(query) or similar.like(query, args.k)) for query in args.queries]
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


def _check_file(query: str, ids: Sequence[str], file: str, kind: str) -> None:
    """Raise `DatasetError` for what is no file."""
    path = Path(query)
    if is_url(query):
        return
    if path.is_dir():
        wanted = "an audio file" if kind == "clip" else "an image file"
        raise DatasetError(f"{query}: a folder; QUERY is an id in {file} or {wanted}")
    if not path.exists():
        raise DatasetError(f"{UnknownName(kind, query, ids)} (nor is there such a file)")


def _check_text(query: str, ids: Sequence[str], file: str) -> None:
    """Raise `DatasetError` for an empty text, and for what is meant as an id or a file that is not there."""
    if not query.strip():
        raise DatasetError(f"an empty QUERY; expected an id in {file}, a .txt file or a text")
    # An id that was mistyped differs from others in its number, as in reviews.csv:12.
    if Path(query).is_file() and not _is_text_file(query):
        raise DatasetError(f"{query}: no .txt file; QUERY is an id in {file}, a .txt file or a text")
    is_id = _DIGITS.sub("0", query) in {_DIGITS.sub("0", id) for id in ids}
    if not _is_text_file(query) and (is_id or (query.endswith(".txt") and len(query.split()) == 1)):
        raise DatasetError(f"{UnknownName('text', query, ids)} (nor is there such a file)")


def _is_text_file(query: str) -> bool:
    # A long text is no path, and the system may refuse to look for it.
    return query.endswith(".txt") and len(query) < _LONGEST_PATH and os.path.isfile(query)


def _embedded(queries: list[str], features: Features, args: Namespace) -> np.ndarray:
    """Embed files, or texts, with the network that made the features file."""
    from featx.data import from_arrays, inputs_of
    from featx.data.readers.urls import stored_at
    from featx.extraction import backbone_arguments, embed, matching_embedder
    from featx.inputs.audio import as_source
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
    inputs: Sequence[Source]
    if features.kind == "text":
        inputs = inputs_of([Path(query) if _is_text_file(query) else query for query in queries], "text")
    elif features.kind == "clip":
        inputs = [
            stored_at(query, query, "clip") if is_url(query) else as_source(query, query) for query in queries
        ]
    else:
        inputs = from_arrays(queries, None).inputs
    rows: np.ndarray = embed(inputs, embedder, cache=args.cache, verbose=not args.quiet).embeddings
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
