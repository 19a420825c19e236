"""Decide what the folders above the inputs are: splits, classes, or groups such as sites and cameras."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from featx.data.dataset import quote_names
from featx.data.labels import SPLIT_WORDS, class_name, same_form, split_name
from featx.data.readers.folders.listed_files import ListedFiles, Parts
from featx.errors import DatasetError
from featx.options import check_options

# Words without a meaning beside the word for a split, as in test_images.
_FILLER = (
    r"sets?|data|datasets?|images?|imgs?|pics?|pictures?|photos?|audios?|clips?|sounds?|recordings?|wavs?|"
    r"splits?|folders?|dir|samples?|files"
)
_WRITTEN_TOGETHER = re.compile(f"({'|'.join(sorted(SPLIT_WORDS, key=len, reverse=True))})({_FILLER})")
# Name of the folder of images without a label; such a folder is never a class, a split or a group.
_UNLABELLED = re.compile(r"unlabell?ed", re.IGNORECASE)
# Names of folders inside a class that do not name anything, such as images/.
_STORE = re.compile(rf"{_FILLER}|raw|originals?|jpe?gs?|png|frames|crops|flac|mp3|ogg", re.IGNORECASE)


@dataclass
class Layout:
    """The class, split and group of the inputs in each of `ListedFiles.folders`; None if they do not tell."""

    classes: list[str | None] | None  # None for inputs in unlabelled/, and for those beside the class folders
    splits: list[str] | None = None
    groups: list[str] | None = None
    origin: str = ""  # the folders that are splits or groups, for the summary
    class_folders: frozenset[Parts] = frozenset()


def read_layout(
    place: str,
    files: ListedFiles,
    folders: Iterable[Parts],
    split_by: str | None,
    kind: str = "image",
) -> Layout:
    """Return what the folders above the inputs `files` mean; without `split_by`, splits are found by name.

    `folders` are all folders, also those without inputs. `DatasetError`, naming `place`, if the classes could
    be either of two levels, or if other folders or inputs lie beside the splits or groups.
    """
    check_options(split_by=split_by)
    folders = set(folders)
    found = files.folders
    top = sorted({folder[0] for folder in found if folder and not is_unlabelled(folder[0])})
    splits: dict[str, str] = {}
    if split_by is None:
        splits = _splits_by_name(place, found, top, kind)
        if not splits:
            _require_clear(place, files, top)
    divided = top if split_by == "folder" else sorted(splits)
    beside = files.names_in(()) if divided else []
    if beside:
        what = "splits" if splits else "groups"
        raise DatasetError(
            f"{place}: {kind}s lie beside the folders of the {what}: {quote_names(beside)}; move them "
            f"({kind}s without a label into a folder unlabelled/)"
        )
    depth = _depths(divided, found, folders)
    level = [depth.get(folder[0], 0) if folder else 0 for folder in found]
    layout = Layout(None, origin=", ".join(map(repr, divided[:5])) + (", ..." if len(divided) > 5 else ""))
    if splits:
        # unlabelled/ beside the splits counts as training inputs, never as test inputs
        layout.splits = [splits.get(folder[0], "train") for folder in found]
    elif divided:
        layout.groups = [same_form(folder[0]) for folder in found]
    classes = [_class_of(folder, at) for folder, at in zip(found, level, strict=True)]
    if any(name is not None for name in classes):
        layout.classes = classes
        layout.class_folders = frozenset(
            parts
            for parts in folders
            if parts
            and len(parts) == depth.get(parts[0], 0) + 1
            and not (is_unlabelled(parts[0]) or is_unlabelled(parts[-1]))
        )
    return layout


def is_unlabelled(folder: str) -> bool:
    """Whether a folder of this name holds inputs without a label."""
    return _UNLABELLED.fullmatch(folder) is not None


def _class_of(folder: Parts, level: int) -> str | None:
    """Return the class of inputs in a folder, whose class folder lies below `level` folders; None without."""
    if len(folder) <= level or is_unlabelled(folder[0]) or is_unlabelled(folder[level]):
        return None
    return name_of(folder[level])


def inner_folder_notes(found: Sequence[Parts], kind: str = "image") -> list[str]:
    """Return a note if class folders hold folders that may be the classes: animals/cats, animals/dogs.

    `found` are the folders that hold inputs.
    """
    within: dict[str, set[str]] = {}
    for folder in found:
        if not folder or is_unlabelled(folder[0]):
            continue
        inner = within.setdefault(folder[0], set())
        # An input beside the inner folders shows that the outer one is the class.
        inner.add(folder[1] if len(folder) > 1 else "")
    nested = {
        outer: sorted(names)
        for outer, names in within.items()
        if len(names) > 1 and all(map(_may_name, names))
    }
    if not nested:
        return []
    outer, first = next(iter(sorted(nested.items())))
    return [
        f"the class {outer!r} holds the folders {quote_names(first, 3)}, whose {kind}s are all of that class"
        + (f", and so do {len(nested) - 1} other classes" if len(nested) > 1 else "")
        + ": if the inner folders are the classes, say so with --split-by folder (split_by='folder')"
    ]


def _may_name(folder: str) -> bool:
    """Whether a folder may be called after what its inputs show: not 2021-05-01, not images."""
    return re.search(r"[^\W\d_]", folder) is not None and not _STORE.fullmatch(folder)


def name_of(folder: str) -> str:
    """Return the class name of a folder."""
    return class_name(folder) or folder


def parse_split_name(name: str) -> tuple[str, tuple[str, ...]] | None:
    """Return the split that a folder's name contains, and the other words; None for no or several splits."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", same_form(name))
    words: list[str] = []
    for word in re.findall(r"[^\W\d_]+|\d+", spaced.lower()):
        together = _WRITTEN_TOGETHER.fullmatch(word)
        words += together.groups() if together else [word]
    said = [SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS]
    if len(said) != 1:
        return None
    return said[0], tuple(
        word for word in words if word not in SPLIT_WORDS and not re.fullmatch(_FILLER, word)
    )


def _splits_by_name(place: str, found: Sequence[Parts], top: Sequence[str], kind: str) -> dict[str, str]:
    """Return the split of each top folder that is one; empty if there are none."""
    roles = {name: role for name in top if (role := parse_split_name(name)) is not None}
    plain = {name: split for name in top if (split := split_name(name)) is not None}
    if plain:
        # Beside "train", "test_set" can only be a split.
        given = plain | {name: split for name, (split, rest) in roles.items() if not rest}
    else:
        alike = len({rest for _, rest in roles.values()}) == 1
        distinct = len({split for split, _ in roles.values()}) == len(roles)
        holds_classes = len({folder[1] for folder in found if len(folder) > 1}) > 1
        # A single folder is a split only if it holds several classes.
        given = {}
        if alike and distinct and (len(roles) > 1 or (len(top) == 1 and holds_classes)):
            given = {name: split for name, (split, _) in roles.items()}
    others = [name for name in top if name not in given]
    if not given or not others:
        return given
    # A class may be called "train", but then it holds inputs and not folders.
    if any(len(folder) == 1 and folder[0] in given for folder in found) and (len(given) == 1 or not plain):
        return {}
    raise DatasetError(
        f"{place}: holds both splits ({quote_names(sorted(given))}) and other folders with {kind}s "
        f"({quote_names(others)}); move the latter into a split or away"
    )


def _require_clear(place: str, files: ListedFiles, top: Sequence[str]) -> None:
    """Refuse top folders that hold folders of the same names: either level could be the classes."""
    within: dict[str, set[str]] = {}
    deep: Counter[str] = Counter()
    of_all: Counter[str] = Counter()
    for folder, count in zip(files.folders, files.counts, strict=True):
        if not folder or is_unlabelled(folder[0]):
            continue
        of_all[folder[0]] += count
        if len(folder) > 1:
            deep[folder[0]] += count
            within.setdefault(folder[0], set()).add(same_form(folder[1]))
    held = Counter(
        name for outer, names in within.items() if 2 * deep[outer] >= of_all[outer] for name in names
    )
    shared = sorted(name for name, n in held.items() if n > 1 and not _STORE.fullmatch(name))
    if not shared:
        return
    holders = [name for name in top if within.get(name, set()) & set(shared)]
    inner, outer = quote_names(shared, 3), quote_names(holders, 3)
    if all(parse_split_name(name) for name in shared):
        raise DatasetError(
            f"{place}: the splits ({inner}) lie inside the folders {outer}; "
            "put them on top, as in train/CLASS and test/CLASS, or forget them and take the outer folders "
            "for the classes with --split-by none (split_by='none')"
        )
    raise DatasetError(
        f"{place}: the folders {outer} hold folders of the same names ({inner}), "
        "so the classes may be either; say which with --split-by (split_by=): 'folder' if the inner folders "
        "are the classes, each outer one a group that is never on both sides of a split, 'none' if the outer "
        "ones are the classes"
    )


def _depths(divided: Sequence[str], found: Sequence[Parts], folders: set[Parts]) -> dict[str, int]:
    """Return how many folders lie above the class folders of each split or group: 2 for train/train/."""
    inside: dict[str, list[str]] = {name: [] for name in divided}
    for parts in folders:
        if len(parts) == 2 and parts[0] in inside:
            inside[parts[0]].append(parts[1])
    direct = {folder[0] for folder in found if len(folder) == 1}

    def is_twice(name: str) -> bool:
        if name in direct or len(inside[name]) != 1:
            return False
        (inner,) = inside[name]
        role = parse_split_name(inner)
        return inner.lower() == name.lower() or (role is not None and role == parse_split_name(name))

    return {name: 2 if is_twice(name) else 1 for name in divided}
