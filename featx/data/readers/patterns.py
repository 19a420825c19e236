"""Find the files that a pattern such as ``shards/{000..015}.tar`` or ``train-*.parquet`` means."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence

from featx.errors import DatasetError

# A range such as {000..015}, or a choice such as {train,val}.
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{},]*(?:,[^{},]*)+)\}")
# Most files that a pattern may mean.
_MOST = 1_000_000


def is_pattern(name: str) -> bool:
    """Whether a name holds a wildcard, or braces that stand for several names."""
    return glob.has_magic(name) or _BRACES.search(name) is not None


def find_files(pattern: str) -> list[str]:
    """Return the files that a pattern means, each once; those of one wildcard are sorted.

    `DatasetError` where a file that braces name is not there, or none matches.
    """
    found: list[str] = []
    for path in expand_braces(os.path.expanduser(pattern)):
        if glob.has_magic(path):
            found += sorted(match for match in glob.glob(path, recursive=True) if os.path.isfile(match))
        elif os.path.isfile(path):
            found.append(path)
        else:
            raise DatasetError(f"{pattern}: no such file: {path}")
    if not found:
        raise DatasetError(f"{pattern}: no file matches")
    return list(dict.fromkeys(found))


def expand_braces(pattern: str) -> list[str]:
    """Return the names that braces in a pattern mean, without looking for them."""
    done, waiting = [], [pattern]
    while waiting:
        text = waiting.pop()
        match = _BRACES.search(text)
        if match is None:
            done.append(text)
            continue
        if match[3] is not None:
            choices: Sequence[str] = match[3].split(",")
        else:
            first, last, width = int(match[1]), int(match[2]), len(match[1])
            if not 0 <= last - first < _MOST:
                raise DatasetError(
                    f"{pattern}: {match[0]} must go from a number to a larger one, up to a million"
                )
            choices = [f"{number:0{width}d}" for number in range(first, last + 1)]
        if len(choices) + len(waiting) + len(done) > _MOST:
            raise DatasetError(f"{pattern}: means more than a million files")
        waiting += [text[: match.start()] + choice + text[match.end() :] for choice in reversed(choices)]
    return done
