"""The profile of an extraction: the time of each stage, and the bottleneck."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from featx.kinds import count_of, kind_of
from featx.terminal import printable

#: Names of bottlenecks; a stage of preparing has its own name.
_TITLES = {
    "read": "reading files",
    "tokenize": "the tokenizer",
    "forward": "the network",
    "commit": "writing to the cache",
}


#: Silent clips that are named.
_NAMED = 3


@dataclass
class Profile:
    """Seconds of one extraction.

    Attributes
    ----------
    images : int
        Rows that were computed.
    wall : float
        Seconds from the first input to the last commit.
    stages : dict of str to float
        Seconds of each stage, added up over all threads: ``read``, the stages of preparing, ``forward`` and
        ``commit``, in the order of the data.
    threads : int
        Worker threads that prepared inputs and, on a CPU, ran the network.
    device : bool
        Whether the network ran on a device of its own, beside the threads.
    engine : dict
        ``engine``, ``device``, ``precision``, ``lanes`` (number of workers), ``batch_size`` and, where
        positions are counted, ``batch_positions``; empty when nothing was computed.
    worked : float
        Seconds of the workers of a cluster, added up; 0 without one.
    building, comparing : float
        Seconds before that, for building the engine and comparing it with plain fp32.
    kind : str
        The kind of input.
    longer : int
        Rows that were computed of inputs that are longer than the network takes.
    silent : int
        Rows that were computed of clips in which every sample is 0.
    silent_ids : list of str
        The first of them.
    duration : float
        Seconds of audio of which rows were computed.
    """

    images: int = 0
    wall: float = 0.0
    stages: dict[str, float] = field(default_factory=lambda: stage_times(()))
    threads: int = 1
    device: bool = False
    engine: dict[str, Any] = field(default_factory=dict)
    worked: float = 0.0
    building: float = 0.0
    comparing: float = 0.0
    kind: str = "image"
    longer: int = 0
    silent: int = 0
    silent_ids: list[str] = field(default_factory=list)
    duration: float = 0.0

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add the time that one thread spent."""
        for stage, spent in seconds.items():
            self.stages[stage] += spent

    def merge(self, other: Profile) -> None:
        """Add what another process has computed."""
        self.add(other.stages)
        self.images += other.images
        self.longer += other.longer
        self.add_silent(other.silent_ids)
        self.silent += other.silent - len(other.silent_ids)
        self.duration += other.duration

    def add_silent(self, ids: Sequence[str]) -> None:
        """Count silent clips, and keep the names of the first."""
        self.silent += len(ids)
        self.silent_ids += ids[: _NAMED - len(self.silent_ids)]

    @property
    def seconds_per_image(self) -> float:
        """What a row cost: on a cluster, the time of the worker, not that of starting and sharing them."""
        return (self.worked or self.wall) / self.images

    @property
    def bottleneck(self) -> str | None:
        """The busiest stage, which the others waited for; None when nothing was computed."""
        if not self.images or self.wall <= 0:
            return None
        return max(self.stages, key=self._busy)

    def _busy(self, stage: str) -> float:
        """Return the share of the wall time in which a stage's threads were busy."""
        alone = stage == "commit" or (self.device and stage == "forward")
        return self.stages[stage] / (1 if alone else self.threads) / self.wall

    def to_dict(self) -> dict[str, Any]:
        """Return the profile as plain JSON data.

        ``stages`` has for each stage ``seconds`` of all threads, and ``busy``, the share of the wall time.
        """
        stages = {
            stage: {"seconds": self.stages[stage], "busy": self._busy(stage) if self.wall > 0 else 0.0}
            for stage in self.stages
        }
        return {
            **self.engine,
            "kind": self.kind,
            "images": self.images,
            "wall": self.wall,
            "building": self.building,
            "comparing": self.comparing,
            "threads": self.threads,
            "stages": stages,
            "bottleneck": self.bottleneck,
            **({"longer": self.longer} if self.longer else {}),
            **({"silent": self.silent, "silent_ids": self.silent_ids} if self.silent else {}),
            **({"duration": self.duration} if self.duration else {}),
        }


def notes_on_inputs(profile: Mapping[str, Any], preparation: Mapping[str, Any]) -> list[str]:
    """Return notes on inputs that were longer than the network takes, and on silent ones.

    `profile` is the result of `Profile.to_dict`: inputs whose rows were in the cache are not counted.
    `preparation` is the identity of the inputs' preparation.
    """
    return [*_note_on_length(profile, preparation), *_note_on_silence(profile)]


def _note_on_silence(profile: Mapping[str, Any]) -> list[str]:
    silent = profile.get("silent", 0)
    if not silent:
        return []
    names = list(profile["silent_ids"])
    more = f" and {silent - len(names):,} more" if silent > len(names) else ""
    are = "is" if silent == 1 else "are"
    return [f"{count_of(silent, kind_of(profile))} {are} silent: {printable(', '.join(names))}{more}"]


def _note_on_length(profile: Mapping[str, Any], preparation: Mapping[str, Any]) -> list[str]:
    """Return a note that says how many inputs were longer than the network takes, and what became of them."""
    longer = profile.get("longer", 0)
    if not longer:
        return []
    counted = f"{longer:,} of {count_of(profile['images'], kind_of(preparation))}"
    are, were, their = ("is", "was", "its") if longer == 1 else ("are", "were", "their")
    told = f"{were} cut; long='mean' (--long mean) averages {their} pieces"
    if preparation["long"] == "mean":
        told = f"{were} split, and the rows of {their} pieces averaged"
    return [f"{counted} {are} longer than {preparation['max_length']} tokens and {told}"]


def stage_times(preparing: Iterable[str]) -> dict[str, float]:
    """Return zero seconds for every stage; `preparing` names the stages of preparation."""
    return dict.fromkeys(("read", *preparing, "forward", "commit"), 0.0)


def profile_table(profile: Mapping[str, Any]) -> str:
    """Format the result of `Profile.to_dict` for a terminal."""
    images, wall, kind = profile["images"], profile["wall"], kind_of(profile)
    if not images or wall <= 0:
        return "profile: every row came from the cache; nothing was computed"
    positions = profile.get("batch_positions")
    batches = profile["batch_size"]
    if positions is not None:
        batches = f"{positions:,} {profile.get('position', 'token')}s"
    heard = f", {profile['duration'] / wall:,.0f} s of audio per second" if "duration" in profile else ""
    threads = "thread" if profile["threads"] == 1 else "threads"
    where = f"{profile['device']} of {profile['cluster']}" if "cluster" in profile else profile["device"]
    lines = [
        f"profile: {count_of(images, kind)} in {wall:.2f} s, "
        f"{images / wall:.0f} {kind}s/s{heard}; "
        f"before that {profile['building']:.2f} s to build the engine and {profile['comparing']:.2f} s to "
        "compare it with plain fp32",
        f"{profile['engine']} {profile['precision']} on {where}, {profile['threads']} {threads}, "
        f"batches of {batches}",
        f"{'stage':<12}{'s in all':>10}{'ms/' + kind:>10}{'busy':>8}",
    ]
    for stage, spent in profile["stages"].items():
        each = 1000 * spent["seconds"] / images
        lines.append(f"{stage:<12}{spent['seconds']:>10.2f}{each:>10.2f}{100 * spent['busy']:>6.0f} %")
    lines.append(f"bottleneck: {_TITLES.get(profile['bottleneck'], profile['bottleneck'])}")
    return "\n".join(lines)
