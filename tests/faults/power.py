"""A disk that forgets: records what is written, and shows what a power cut may leave of it.

What POSIX promises is taken at its word and no more. The content of a file is safe once the file
was synced; until then any of its sectors may be missing. A name (made, renamed, removed) is safe
once its folder was synced; until then it may be there or not, whatever happened to other names. A
rename is one event: it happened or it did not.
"""

from __future__ import annotations

import io
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SECTOR = 512


@dataclass
class Inode:
    """A file: what is safe of it, and what was written since."""

    content: bytearray = field(default_factory=bytearray)
    safe: bytes = b""
    synced: bool = True


@dataclass
class Event:
    """One thing that happened to names: ``(path, inode or None)`` pairs, applied together."""

    names: list[tuple[str, Inode | None]]
    folders: set[str]


class PowerCut:
    """Records everything below `root` between `recording` and the moment of the cut.

    Parameters
    ----------
    root : Path
        A folder that is there and empty, and safe itself.
    """

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self._log: list[tuple] = []

    @contextmanager
    def recording(self, monkeypatch: Any, *, without: tuple[str, ...] = ()) -> Iterator[None]:
        """Note every call of the `os` functions that change a disk; `without` names syncs that do nothing."""
        real = {name: getattr(os, name) for name in ("open", "fdopen", "fsync", "replace", "unlink", "mkdir")}
        opened: dict[int, str] = {}

        def inside(path: Any) -> bool:
            return os.fspath(path).startswith(self.root)

        def open_(path, flags, *rest, **options):
            descriptor = real["open"](path, flags, *rest, **options)
            if isinstance(path, str | os.PathLike) and inside(path):
                opened[descriptor] = os.fspath(path)
                if flags & os.O_CREAT:
                    self._log.append(("create", os.fspath(path)))
            return descriptor

        def fdopen(descriptor, *rest, **options):
            file = real["fdopen"](descriptor, *rest, **options)
            return _Noted(file, opened[descriptor], self._log) if descriptor in opened else file

        def fsync(descriptor):
            path = opened.get(descriptor, "")
            kind = "folder" if os.path.isdir(path) else "file"
            if kind not in without:
                self._log.append(("sync", path))
            real["fsync"](descriptor)

        def replace(source, target, **options):
            real["replace"](source, target, **options)
            self._log.append(("rename", os.fspath(source), os.fspath(target)))

        def unlink(path, **options):
            real["unlink"](path, **options)
            self._log.append(("unlink", os.fspath(path)))

        def mkdir(path, *rest, **options):
            real["mkdir"](path, *rest, **options)
            self._log.append(("mkdir", os.fspath(path)))

        with monkeypatch.context() as patch:
            for name, fake in [
                ("open", open_),
                ("fdopen", fdopen),
                ("fsync", fsync),
                ("replace", replace),
                ("unlink", unlink),
                ("mkdir", mkdir),
            ]:
                patch.setattr(os, name, fake)
            patch.setattr("featx.durable._fsync_file", fsync)  # the same on every platform
            yield

    def mark(self, label: Any) -> None:
        """Note that something was promised here."""
        self._log.append(("mark", label))

    def __len__(self) -> int:
        return len(self._log)

    def promised(self, moment: int) -> list[Any]:
        """What was promised before a moment."""
        return [entry[1] for entry in self._log[:moment] if entry[0] == "mark"]

    def after_cut(self, moment: int, chance: random.Random, target: Path) -> None:
        """Write to `target` what a cut after `moment` log entries may leave."""
        safe, pending = self._states(moment)
        for event in pending:
            if chance.random() < 0.5:
                _apply(event, safe)
        for path, inode in sorted(safe.items(), key=lambda item: len(item[0])):
            where = target / os.path.relpath(path, self.root)
            if not where.parent.is_dir():
                continue  # its folder's name was lost
            if inode is None:
                where.mkdir(exist_ok=True)
            else:
                where.write_bytes(_torn(inode, chance))

    def _states(self, moment: int) -> tuple[dict[str, Inode | None], list[Event]]:
        """Names that are safe (None is a folder), and events since, in order."""
        now: dict[str, Inode | None] = {}
        events: list[Event] = []
        safe: dict[str, Inode | None] = {}

        def happen(*names: tuple[str, Any]) -> None:
            events.append(Event(list(names), {os.path.dirname(path) for path, _ in names}))
            _apply(events[-1], now)

        for kind, *rest in self._log[:moment]:
            if kind == "create":
                happen((rest[0], Inode()))
            elif kind == "mkdir":
                happen((rest[0], None))
            elif kind == "write":
                path, offset, data = rest
                inode = now[path]
                assert inode is not None
                inode.content[offset : offset + len(data)] = data
                inode.synced = False
            elif kind == "rename":
                source, target = rest
                happen((source, _GONE), (target, now[source]))
            elif kind == "unlink":
                happen((rest[0], _GONE))
            elif kind == "sync":
                path = rest[0]
                if path == self.root or now.get(path, _GONE) is None:  # a folder
                    for event in [event for event in events if path in event.folders]:
                        _apply(event, safe)
                        events.remove(event)
                elif path in now:
                    inode = now[path]
                    inode.safe, inode.synced = bytes(inode.content), True
        return safe, events


_GONE: Any = object()


def _apply(event: Event, names: dict[str, Inode | None]) -> None:
    for path, inode in event.names:
        if inode is _GONE:
            names.pop(path, None)
        else:
            names[path] = inode


def _torn(inode: Inode, chance: random.Random) -> bytes:
    """What may be read of a file: all of it if it was synced, else any of its sectors."""
    if inode.synced:
        return inode.safe
    content = bytes(inode.content)
    kind = chance.choice(["nothing", "everything", "beginning", "sectors"])
    if kind == "nothing":
        return inode.safe
    if kind == "everything":
        return content
    if kind == "beginning":
        return content[: chance.randrange(len(content) + 1)]
    sectors = [content[i : i + _SECTOR] for i in range(0, len(content), _SECTOR)]
    return b"".join(s if chance.random() < 0.5 else bytes(len(s)) for s in sectors)


class _Noted(io.RawIOBase):
    """A file whose writes are noted."""

    def __init__(self, file: Any, path: str, log: list[tuple]) -> None:
        self._file, self._path, self._log = file, path, log

    def write(self, data: Any) -> int:
        self._log.append(("write", self._path, self._file.tell(), bytes(data)))
        return self._file.write(data)

    def fileno(self) -> int:
        return self._file.fileno()

    def flush(self) -> None:
        self._file.flush()

    def __exit__(self, *exc_info: Any) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Callable:
        return getattr(self._file, name)
