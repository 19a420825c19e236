"""``featx cache``: show, check, tidy, merge and clear the embedding cache."""

from __future__ import annotations

import json
import sys
import time
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from featx.cli import values
from featx.cli.flags import add_flag, add_quiet
from featx.cli.spaces import describe_space
from featx.errors import InputError

if TYPE_CHECKING:
    from featx.cache import Cache, Space, SpaceInfo

HELP = "show, check, tidy, merge or clear the embedding cache"

#: Exit status of ``featx cache verify`` and ``merge`` when something was damaged.
DAMAGED = 3


def add(parser: ArgumentParser) -> None:
    """Add the actions and their arguments."""
    parser.description = "Shows, checks, tidies, merges or clears the embedding cache."
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    p = actions.add_parser("info", help="what is in it: spaces, rows, bytes, last use")
    p.add_argument("--json", action="store_true", help="for programs: every field of every space")
    add_flag(p, "cache", help="which (default: FEATX_CACHE or the user's cache folder)")

    p = actions.add_parser(
        "verify",
        help="check every row of every file",
        description="Checks every row of every file. Damaged files are named and moved to quarantine/, their "
        "intact rows are kept; what is lost is extracted again when it is next asked for. Exit status: 0 "
        "when all is well, 3 when something was damaged.",
    )
    add_flag(p, "cache", help="which (default: FEATX_CACHE or the user's cache folder)")
    add_quiet(p)

    p = actions.add_parser(
        "gc",
        help="remove files that are no longer needed, merge small files",
        description="Removes what killed processes left, files in quarantine and empty spaces; merges small "
        "files; forgets inputs that are gone. Other programs may use the cache meanwhile.",
    )
    p.add_argument(
        "--max-size",
        type=values.size,
        metavar="S",
        help="remove whole spaces too, the least recently used first, until S is kept (500MB, 20GB, 1.5TB); "
        "the one used last stays",
    )
    p.add_argument(
        "--older-than",
        type=values.age,
        default="1h",
        metavar="AGE",
        help="remove empty spaces only from this age on: a younger one may be that of an extraction that has "
        "just begun (0, 30m, 2h, 7d; default: 1h)",
    )
    add_flag(p, "cache", help="which (default: FEATX_CACHE or the user's cache folder)")

    p = actions.add_parser(
        "merge",
        help="copy what other caches have and this one lacks",
        description="Copies the rows that other caches have and this one lacks, such as those of jobs with a "
        "cache each. The others are only read, and all may be in use. A merge that was stopped goes on when "
        "it is run again. Damaged files are named, and their intact rows are copied. Exit status: 0 when all "
        "is well, 3 when something was damaged.",
    )
    p.add_argument("roots", nargs="+", metavar="ROOT", help="the folder of another cache")
    add_flag(p, "cache", help="merge into this one (default: FEATX_CACHE or the user's cache folder)")
    add_quiet(p)

    p = actions.add_parser("clear", help="remove everything, or some spaces; asks first")
    p.add_argument(
        "--space", nargs="+", metavar="ID", help="only these: the beginning of the id that info shows"
    )
    p.add_argument("--yes", action="store_true", help="do not ask")
    add_flag(p, "cache", help="which (default: FEATX_CACHE or the user's cache folder)")


def run(args: Namespace) -> int:
    """Run the action and return its exit status."""
    actions = {"info": info, "verify": verify, "gc": gc, "merge": merge, "clear": clear}
    return actions[args.action](args)


def info(args: Namespace) -> int:
    """Print the spaces of the cache with their sizes and ages."""
    cache = _opened(args)
    infos = cache.info()
    if args.json:
        print(json.dumps({"root": str(cache.root), "spaces": [_record(i) for i in infos]}, indent=2))
        return 0
    print(f"{cache.root}: {_summary(infos)}")
    if not infos:
        return 0
    rows: list[tuple[str, ...]] = [
        ("backbone", "layer", "input", "precision", "dtype", "rows", "dim", "size", "last use", "space")
    ]
    for i in sorted(infos, key=lambda i: describe_space(i.space)[0]):
        numbers = (f"{i.rows:,}", str(i.dim or "-"), _bytes(i.bytes))
        rows.append((*describe_space(i.space), *numbers, _when(i.last_used), i.space.id[:12]))
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for row in rows:
        sides = ["rjust" if k in (5, 6, 7) else "ljust" for k in range(len(row))]
        cells = [getattr(c, side)(w) for c, side, w in zip(row, sides, widths, strict=True)]
        print("  ".join(cells).rstrip())
    unreadable = sum(i.unreadable for i in infos)
    if unreadable:
        print(f"{_many(unreadable, 'file')} cannot be read: run featx cache verify")
    set_aside = sum(i.quarantined for i in infos)
    if set_aside:
        print(f"{_many(set_aside, 'file')} in quarantine: featx cache gc removes them")
    return 0


def verify(args: Namespace) -> int:
    """Check every row and report damage."""
    from featx.progress import Progress

    cache = _opened(args)
    total = sum(i.shards for i in cache.info())
    bar = Progress(total, "verifying", unit="files", enabled=not args.quiet)
    with bar as progress, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the same is said below
        found = cache.verify(on_file=progress.update)
    for path, reason in found.damaged:
        print(f"damaged: {path}: {reason}")
    checked = f"{_many(found.shards, 'file')} checked, {_many(found.rows, 'row')} intact"
    print(f"{cache.root}: {checked}, {_many(len(found.damaged), 'file')} damaged")
    if found.damaged:
        print("their intact rows are kept; the others are extracted again when they are asked for")
    return DAMAGED if found.damaged else 0


def gc(args: Namespace) -> int:
    """Remove what is no longer needed, and merge small files."""
    cache = _opened(args)
    done = cache.collect_garbage(max_bytes=args.max_size, older_than=args.older_than)
    for space in done.removed_spaces:
        print(f"removed: {' '.join(describe_space(space))} ({space.id[:12]}), the least recently used")
    parts = [f"{_bytes(done.bytes_before)} before, {_bytes(done.bytes_after)} after"]
    if done.merged:
        parts.append(f"{_many(done.merged, 'small file')} merged into {done.into}")
    if done.removed_files:
        parts.append(f"{_many(done.removed_files, 'left-over file')} removed")
    if done.forgotten:
        parts.append(f"{_many(done.forgotten, 'file')} that are gone forgotten")
    print(f"{cache.root}: {'; '.join(parts)}")
    if args.max_size is not None and done.bytes_after > args.max_size:
        print(f"still larger than {_bytes(args.max_size)}: the space used last stays; see featx cache clear")
    return 0


def merge(args: Namespace) -> int:
    """Copy the rows of other caches, and say what they had."""
    from featx.cache import Cache
    from featx.progress import Progress

    cache, others = Cache(args.cache), [Cache(root) for root in args.roots]
    total = sum(other.count_shards() for other in others)
    with Progress(total, "merging", unit="files", enabled=not args.quiet) as progress:
        done = cache.merge(args.roots, on_file=progress.update)
    for path, reason in done.damaged:
        print(f"damaged: {path}: {reason}")
    print(
        f"{cache.root}: {_many(len(others), 'cache')} merged, with {_many(len(done.rows), 'space')}: "
        f"{_many(done.new, 'row')} new, {done.known:,} there already, {_bytes(done.bytes)} copied"
    )
    for alike in _alike_but_for_precision(list(done.rows)):
        what = " ".join(cell for k, cell in enumerate(describe_space(alike[0])) if k != 3)
        rows = " and ".join(f"{_many(done.rows[one], 'row')} in {one.fields['precision']}" for one in alike)
        print(
            f"note: {what}: {rows}, which are different spaces; state --precision for all parts of one "
            "collection"
        )
    return DAMAGED if done.damaged else 0


def _alike_but_for_precision(spaces: Sequence[Space]) -> list[list[Space]]:
    """Return the groups of spaces that differ in the precision only."""
    groups: dict[Space, list[Space]] = {}
    for space in spaces:
        fields = space.fields
        if fields.pop("precision", None) is not None:
            groups.setdefault(type(space)(fields), []).append(space)
    return [group for group in groups.values() if len(group) > 1]


def clear(args: Namespace) -> int:
    """Remove spaces, or everything, after asking."""
    cache = _opened(args)
    infos = cache.info()
    if args.space:
        infos = [_chosen(prefix, infos, str(cache.root)) for prefix in dict.fromkeys(args.space)]
    elif cache.is_empty():
        print(f"{cache.root}: nothing to remove")
        return 0
    everything = _summary(infos)
    if cache.has_checks() and not args.space:
        everything += ", and what data checks found"
    question = f"remove {everything} from {cache.root}?"
    if not args.yes:
        if not sys.stdin.isatty():
            raise InputError(f"{question} there is no one to ask: say --yes")
        if not _agreed(question):
            print("nothing was removed")
            return 0
    cache.clear([i.space for i in infos] if args.space else None)
    print(f"removed {everything}")
    return 0


def _agreed(question: str) -> bool:
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):
        print()
        return False


def _opened(args: Namespace) -> Cache:
    from featx.cache import Cache

    cache = Cache(args.cache)
    if args.cache and not cache.root.exists():  # a typing error, not an empty cache
        raise InputError(f"{cache.root}: no such folder")
    return cache


def _chosen(prefix: str, infos: list[SpaceInfo], root: str) -> SpaceInfo:
    chosen = [i for i in infos if i.space.id.startswith(prefix.lower())]
    if len(chosen) != 1:
        number = "no space" if not chosen else f"{len(chosen)} spaces"
        raise InputError(f"{root}: {number} with an id that begins with {prefix!r}; see featx cache info")
    return chosen[0]


def _record(i: SpaceInfo) -> dict[str, Any]:
    names = ("rows", "dim", "shards", "unreadable", "quarantined", "bytes", "last_used", "about")
    return {"id": i.space.id, **{name: getattr(i, name) for name in names}, "space": i.space.fields}


def _summary(infos: list[SpaceInfo]) -> str:
    spaces, rows = _many(len(infos), "space"), _many(sum(i.rows for i in infos), "row")
    return f"{spaces}, {rows}, {_bytes(sum(i.bytes for i in infos))}"


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _when(seconds: float | None) -> str:
    return "unknown" if seconds is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _bytes(number: int) -> str:
    size, unit = float(number), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
