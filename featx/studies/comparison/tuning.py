"""Plan the fine-tuned baseline of a comparison: its networks, its expected time, and its default modes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.progress import describe_seconds
from featx.studies.checkpoints import key_of
from featx.studies.comparison.study_data import StudyData
from featx.studies.evaluation import Cell, FineTuning, TuningSetup
from featx.studies.evaluation.cost import Size
from featx.studies.evaluation.tuning_forecast import TuningForecast

if TYPE_CHECKING:
    from featx.methods.finetune.workload import Costs
    from featx.studies.comparison.evaluate import TaskOptions

#: The modes of ``baseline="finetune"``.
DEFAULT_MODES = ("head", "last", "full")
#: By default, fine-tuning on one split takes about this many seconds at most: the modes that fit are run.
MOST_BY_DEFAULT = 1800.0


def tuning_setups(data: StudyData, options: TaskOptions, costs: dict[str, Any]) -> dict[str, TuningSetup]:
    """Return the settings for each network that may be fine-tuned; `data` has one task.

    `costs`, by backbone, holds what was measured for another task. Nothing is fine-tuned, and the result is
    empty, without a mode, without the inputs, or for numbers.
    """
    if not options.modes or data.dataset is None or data.task.classes is None:
        return {}
    trainable = {name: net for name, net in data.nets.items() if getattr(net, "trainable", True)}
    digests: dict[int, bytes] = {}  # of the same images
    found: dict[str, TuningSetup] = {}
    for name, net in (trainable or data.nets).items():
        known: dict[str, Costs] = costs.setdefault(name, {})
        found[name] = TuningSetup(
            net,
            data.dataset.inputs,
            options.device,
            options.epochs,
            cluster=options.cluster,
            costs=known,
            _digests=digests,
        )
    return found


def forecast_of(data: StudyData, setups: dict[str, TuningSetup]) -> TuningForecast | None:
    """Return the forecast for the network that takes longest: which one is trained is not known yet."""
    if not setups:
        return None

    def each(name: str) -> float | None:
        seconds: float | None = (data.sets[name].run or {}).get("seconds_per_image")
        return seconds

    slowest = max(setups, key=lambda name: each(name) or 0.0)
    return TuningForecast(setups[slowest], seconds_per_image=each(slowest))


def tuned_cells(
    data: StudyData, options: TaskOptions, modes: Iterable[str], seed: int
) -> list[tuple[Cell, bool]]:
    """Return a cell for each mode on the split of `seed`, and whether it is in the checkpoints.

    A mode that is found for one of several networks counts as found: that network was chosen before.
    """
    if not options.setups:
        return []
    split = data.split(options.test_size, seed, options.all_seeds)
    checkpoints, found = options.checkpoints, []
    for mode in modes:
        cells = [
            Cell(FineTuning.of(mode, setup), data.inputs[name], split, seed)
            for name, setup in options.setups.items()
        ]
        # A key takes the digests of all inputs, so none is made where nothing can be found.
        kept = [cell for cell in cells if len(checkpoints) and cell.key in checkpoints]
        found.append(((kept or cells)[0], bool(kept)))
    return found


def leave_out_long_modes(tasks: Sequence[tuple[StudyData, TaskOptions]]) -> dict[str, float]:
    """Return the default modes that are left out, with their expected seconds on one split.

    Fine-tuning gets `MOST_BY_DEFAULT` seconds, for the cheapest modes first. A mode that an earlier run has
    begun is never left out; and what an earlier run has left out stays so, so that the same modes are run on
    a faster machine. Each of several tasks has its own time.
    """
    found: dict[str, float] = {}
    for data, options in tasks:
        if not options.setups:
            continue
        checkpoints, key = options.checkpoints, _decision_key(data, options)
        earlier = checkpoints.get(key, _is_decision)
        left_out = (
            _still_left_out(data, options, earlier["left_out"]) if earlier else _too_long(data, options)
        )
        if left_out and not earlier:
            checkpoints.add(key, {"left_out": left_out})
        for mode, seconds in left_out.items():
            found[mode] = max(seconds, found.get(mode, 0.0))
    return found


def describe_left_out(left_out: dict[str, float], modes: Sequence[str], n_splits: int = 1) -> list[str]:
    """Return the sentence on the modes that were left out, if there are any."""
    if not left_out:
        return []
    names = " and ".join(left_out)
    asked = " ".join(mode for mode in DEFAULT_MODES if mode in {*modes, *left_out})
    it = "it" if len(left_out) == 1 else "them"
    each = f" on each of {n_splits} splits" if n_splits > 1 else ""
    return [
        f"fine-tuning: {names} left out, which would take about {describe_seconds(sum(left_out.values()))} "
        f"here{each}; to run {it}, ask for {it}: --baseline {asked}"
    ]


def _too_long(data: StudyData, options: TaskOptions) -> dict[str, float]:
    forecast = forecast_of(data, options.setups)
    assert forecast is not None
    left_out: dict[str, float] = {}
    spent = 0.0
    for cell, begun in tuned_cells(data, options, options.modes, options.seed):
        if begun:
            continue
        seconds = forecast.seconds(Size.of(cell), short=MOST_BY_DEFAULT / len(DEFAULT_MODES))
        spent += seconds
        if spent > MOST_BY_DEFAULT:
            left_out[cell.method.mode] = seconds  # type: ignore[attr-defined]
    return left_out


def _still_left_out(data: StudyData, options: TaskOptions, earlier: dict[str, float]) -> dict[str, float]:
    """Return the modes that were left out, without those that were asked for and begun since."""
    cells = tuned_cells(data, options, [mode for mode in options.modes if mode in earlier], options.seed)
    modes = [cell.method.mode for cell, begun in cells if not begun]  # type: ignore[attr-defined]
    return {mode: earlier[mode] for mode in modes}


def _decision_key(data: StudyData, options: TaskOptions) -> str:
    return key_of(
        {
            "decision": "default modes of the baseline",
            "data": data.inputs["majority"].digest(np.arange(len(data.task))),
            "backbones": [dict(setup.net.identity) for setup in options.setups.values()],
            "epochs": options.epochs,
        }
    )


def _is_decision(record: Any) -> bool:
    left_out = record.get("left_out") if isinstance(record, dict) else None
    return isinstance(left_out, dict) and all(
        mode in DEFAULT_MODES and isinstance(seconds, int | float) and seconds >= 0
        for mode, seconds in left_out.items()
    )
