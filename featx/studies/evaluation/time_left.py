"""Say before and during a study how long its cells take, learned from the cells that have run."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from featx.progress import LONG, Status, describe_seconds
from featx.results.methods import MODE_PREFIX
from featx.studies.checkpoints import Checkpoints
from featx.studies.evaluation.cells import Cell
from featx.studies.evaluation.cost import Size, estimate_seconds
from featx.terminal import tell

if TYPE_CHECKING:
    from featx.clusters import Cluster
    from featx.studies.evaluation.tuning_forecast import TuningForecast

#: One cell runs its folds on several cores, with this share of the speed that they would have together.
_SHARE = 0.7
#: From this many seconds of fine-tuning on, the first line says what takes less.
LONG_TUNING = 1800.0
#: Estimated seconds of a method from which its time corrects the estimates of others.
_TELLING = 1.0
#: Cores that one cell can use: it has this many folds.
MOST_CORES = 5


class StudyProgress:
    """The progress of all cells of a study on standard error. A context manager, for several runs of cells.

    On entry it says how many cells there are and about how long they take; then it shows the time left. After
    Ctrl-C, what is kept in the checkpoints is the text of the `KeyboardInterrupt`.

    Parameters
    ----------
    cells : sequence of Cell
        All cells of the study that are known before it begins.
    checkpoints : Checkpoints
        Finished cells are found there, and cost nothing.
    more : sequence of Size
        Cells that will be known later.
    checks : sequence of Size
        Data checks to do when all cells are finished.
    at_once : int, default=1
        Cells that run at a time, each on one core; 1: one at a time, on all cores.
    cluster : Cluster, optional
        Where the cells run, each on one core; how many at a time changes as workers come and go.
    enabled : bool, default=True
        Whether anything is shown.
    forecast : TuningForecast, optional
        Estimates fine-tuned cells; without it their time is known only after the first of them.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        checkpoints: Checkpoints,
        *,
        more: Sequence[Size] = (),
        checks: Sequence[Size] = (),
        at_once: int = 1,
        cluster: Cluster | None = None,
        enabled: bool = True,
        forecast: TuningForecast | None = None,
    ):
        self._checkpoints = checkpoints
        keyed = len(checkpoints) > 0
        found = [keyed and cell.key in checkpoints for cell in cells]
        self.total, self.found = len(cells) + len(more), sum(found)
        self._missing = Counter(Size.of(c) for c, kept in zip(cells, found, strict=True) if not kept)
        self._missing.update(more)
        self._checks = checks
        self._enabled = enabled and self._missing.total() > 0
        self._pace = _Pace(at_once, forecast, cluster)
        self._cluster = cluster
        self._computed = 0
        self._running: dict[int, tuple[Cell, Size, float]] = {}
        self._begun: set[str] = set()  # modes of fine-tuning
        self._latest = ""
        self._lock = threading.Lock()
        self._status = Status(self._describe, enabled=self._enabled)

    def announce(self) -> str | None:
        """Return the line that says how many cells there are and how long they take; None for short work."""
        seconds: dict[str, float] = defaultdict(float)
        unknown, tuning = False, 0.0
        for size, count in self._missing.items():
            expected = self._pace.expected(size)
            if expected is None:
                unknown = True
                continue
            seconds[size.method] += count * expected
            tuning += count * expected if size.fine_tuned else 0.0
        for check in self._checks:
            seconds[check.method] += self._pace.expected(check) or 0.0
        total, todo = sum(seconds.values()), self._missing.total()
        if total < LONG and not self.found:
            return None
        said = f"{self.total} fits"
        if self.found:
            said = f"{self.found} of {self.total} fits found in {self._folder()}; {todo} to go"
        said += f", about {describe_seconds(total)}"
        longest = max(seconds, key=seconds.__getitem__, default="")
        if len(seconds) > 1 and 2 * seconds[longest] > total >= LONG:
            said += f", most of it {longest} ({describe_seconds(seconds[longest])})"
        if unknown:
            said += ", without fine-tuning"
        if tuning > LONG_TUNING:
            said += "; --baseline head, or fewer --epochs, take less"
        return said

    @contextmanager
    def computing(self, cell: Cell) -> Iterator[None]:
        """Compute a cell in the block: it is in the checkpoints when the block is left."""
        size, me, began = Size.of(cell), threading.get_ident(), time.perf_counter()
        with self._lock:
            self._latest = cell.method.progress
            self._running[me] = cell, size, began
            expected = self._first_expected(size) if self._enabled else 0.0
        if expected >= LONG:
            tell(f"{cell.method.progress}: about {describe_seconds(expected)}")
        try:
            yield
        except BaseException:
            with self._lock:
                del self._running[me]
            raise
        with self._lock:
            del self._running[me]
            self._finish(size, time.perf_counter() - began)

    def computed(self, cell: Cell, seconds: float) -> None:
        """Note that a cell was computed elsewhere, in so many seconds; it is in the checkpoints."""
        if cell.keep in ("probabilities", "held_out"):
            return  # a part of the ensemble, which is not counted
        size = Size.of(cell)
        with self._lock:
            self._finish(size, seconds)

    def _finish(self, size: Size, seconds: float) -> None:
        self._computed += 1
        if self._missing[size] > 0:
            self._missing[size] -= 1
        if self._enabled:
            self._pace.learn(size, seconds)

    def __enter__(self) -> StudyProgress:
        line = self.announce() if self._enabled else None
        if line is not None:
            tell(line)
        self._status.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status.__exit__(kind, error, trace)
        if kind is KeyboardInterrupt and not str(error) and self._checkpoints.path is not None:
            kept = self.found + self._computed
            if kept:
                raise KeyboardInterrupt(
                    f"{kept} of {self.total} fits are kept in {self._folder()}; run the same command to go on"
                ) from error

    def _first_expected(self, size: Size) -> float:
        """Return the seconds of a network's training, where it is the first with its mode; else 0."""
        if not size.fine_tuned or size.method in self._begun:
            return 0.0
        self._begun.add(size.method)
        return self._pace.expected(size) or 0.0

    def _folder(self) -> str:
        folder = self._checkpoints.folder
        return "this run" if folder is None else folder

    def _describe(self) -> tuple[float, str]:
        """Return the share of the time that has passed, and a line with the time left."""
        with self._lock:
            now, left, unknown = time.perf_counter(), 0.0, False
            for size, count in self._missing.items():
                seconds = self._pace.expected(size)
                if seconds is None:
                    unknown = unknown or count > 0
                else:
                    left += count * seconds
            left += sum(self._pace.expected(check) or 0.0 for check in self._checks)
            doing = self._latest
            if self._cluster is not None and not self._running:
                doing = f"on {self._cluster.description}"
            for cell, size, began in self._running.values():
                whole, passed = self._pace.expected(size) or 0.0, (now - began) / self._pace.at_once
                followed = cell.method.followed(cell)
                found = None if followed is None else followed.seconds_left
                left += max(-whole, -passed) if found is None else found / self._pace.at_once - whole
                if followed is not None and followed.doing and len(self._running) == 1:
                    doing = f"{self._latest}, {followed.doing}"
            if not self._running and not self._missing.total():
                return 1.0, f"all {self.total} fits are done; scoring and checking"
            spent = self._pace.spent
            # The time comes first: a bar in a narrow terminal cuts the end.
            text = f"{self.found + self._computed} of {self.total} fits done"
            if left > 0:
                text += f", about {describe_seconds(left)} left" + (
                    ", without fine-tuning" if unknown else ""
                )
            text += f"; {doing}" if doing else ""
            left = max(left, 0.0)
            return (spent / (spent + left) if spent + left > 0 else 0.0), text


class _Pace:
    """Estimates of the seconds that cells add to a study, corrected by those that have run."""

    def __init__(self, at_once: int, forecast: TuningForecast | None = None, cluster: Cluster | None = None):
        from featx.machine import cores

        self._at_once, self._forecast, self._cluster = at_once, forecast, cluster
        alone = at_once == 1 and cluster is None
        self._cores = max(1.0, _SHARE * min(cores(), MOST_CORES)) if alone else 1.0
        self.spent = 0.0  # by the cells that have run, in seconds of the study
        self._measured: dict[str, float] = defaultdict(float)
        self._estimated: dict[str, float] = defaultdict(float)
        self._known: dict[Size, float] = {}

    @property
    def at_once(self) -> int:
        """The cells that run at a time now."""
        return self._at_once if self._cluster is None else max(1, self._cluster.cores)

    def _at_once_of(self, size: Size) -> int:
        """The cells of this size that run at a time now: one of fine-tuning has a worker of a cluster."""
        return max(1, self._cluster.slots) if self._cluster is not None and size.fine_tuned else self.at_once

    def expected(self, size: Size) -> float | None:
        """Return the seconds that a cell adds to the study; None for fine-tuning that is not known."""
        ratio = self._ratio(size.method)
        if size.fine_tuned and size.method not in self._measured:
            if self._forecast is None:
                return None
            ratio = 1.0  # what was measured is the training itself, and not probes
        return self._estimate(size) * ratio / self._at_once_of(size)

    def learn(self, size: Size, seconds: float) -> None:
        """Note the seconds that a cell took."""
        self._measured[size.method] += seconds
        self._estimated[size.method] += self._estimate(size)
        self.spent += seconds / self._at_once_of(size)

    def _estimate(self, size: Size) -> float:
        if size not in self._known:
            if size.fine_tuned and self._forecast is not None:
                self._known[size] = self._forecast.seconds(size, short=LONG)
                return self._known[size]
            seconds = estimate_seconds(size)
            # Fine-tuning takes a time for each input, which is learned from its first cell.
            self._known[size] = size.n_train if seconds is None else max(seconds / self._cores, 1e-4)
        return self._known[size]

    def _ratio(self, method: str) -> float:
        """Return measured seconds by estimated ones: of this method, or where it has not run, of all.

        Work that is estimated to take less than `_TELLING` seconds says nothing about other methods: it is
        mostly overhead, such as that of a reference.
        """
        if self._estimated.get(method):
            return self._measured[method] / self._estimated[method]
        estimated = {
            name: seconds
            for name, seconds in self._estimated.items()
            if seconds >= _TELLING and not name.startswith(MODE_PREFIX)
        }
        total = sum(estimated.values())
        return sum(self._measured[name] for name in estimated) / total if total else 1.0
