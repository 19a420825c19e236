"""Filter banks and cepstral coefficients as Kaldi computes them, by kaldi-native-fbank, without dither.

The formulas are those of Povey et al., "The Kaldi speech recognition toolkit", ASRU 2011.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from featx.errors import InputError, MissingExtra
from featx.inputs.audio.front_ends import StatedFrontEnd

#: Kaldi's samples are whole numbers of 16 bits.
_SCALE = 32768.0
#: Seconds of a frame, and from the start of one frame to that of the next.
FRAME, SHIFT = 0.025, 0.010
#: Filters of which cepstral coefficients are made, Kaldi's own number.
_MFCC_FILTERS = 23
#: Hertz where the lowest filter begins.
_LOWEST = 20.0
#: Fewest and most samples per second.
_RATES = (1000, 192_000)

#: Settings of both, which are Kaldi's own but for the dither. A version of the package may have other
#: defaults, so each one is stated.
_FRAMES: dict[str, Any] = {
    "frame_length_ms": 1000 * FRAME,
    "frame_shift_ms": 1000 * SHIFT,
    "dither": 0.0,
    "preemph_coeff": 0.97,
    "remove_dc_offset": True,
    "window_type": "povey",
    "round_to_power_of_two": True,
    "snip_edges": True,
}
_FILTERS: dict[str, Any] = {"low_freq": _LOWEST, "high_freq": 0.0, "htk_mode": False}
_SETTINGS: dict[str, dict[str, Any]] = {
    "fbank": {"use_energy": False, "htk_compat": False, "use_log_fbank": True, "use_power": True},
    "mfcc": {
        "use_energy": True,
        "energy_floor": 0.0,
        "raw_energy": True,
        "cepstral_lifter": 22.0,
        "htk_compat": False,
    },
}


def import_kaldi() -> Any:
    """Import kaldi-native-fbank."""
    try:
        import kaldi_native_fbank
    except ImportError as error:
        raise MissingExtra("kaldi-native-fbank", "audio", "computing filter banks as Kaldi does") from error
    return kaldi_native_fbank


def has_kaldi() -> bool:
    """Return whether kaldi-native-fbank is installed; it is not imported."""
    return importlib.util.find_spec("kaldi_native_fbank") is not None


@dataclass(frozen=True)
class KaldiFrames(StatedFrontEnd):
    """Frames of 25 ms every 10 ms: log mel filter banks, or cepstral coefficients of them.

    Only whole frames are taken, without the samples behind the last one (``snip_edges``).

    Parameters
    ----------
    name : {"fbank", "mfcc"}
    bands : int
        Filters of ``fbank``; coefficients of ``mfcc``, of which the first is the log energy of the frame.
    rate : int, default=16000
    """

    name: str = "fbank"
    bands: int = 80
    rate: int = 16000

    #: Most filters and coefficients.
    MOST: ClassVar[dict[str, int]] = {"fbank": 256, "mfcc": _MFCC_FILTERS}

    def __post_init__(self) -> None:
        for name, value, least, most in (
            ("bands", self.bands, 2, self.MOST[self.name]),
            ("rate", self.rate, *_RATES),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise InputError(
                    f"preprocessing: {name} of kaldi:{self.name} must be a whole number from {least:,} to "
                    f"{most:,}, got {value!r:.40}"
                )

    @property
    def shortest(self) -> int:
        """Samples of one frame."""
        return int(self.rate * FRAME)

    @property
    def shift(self) -> int:
        """Samples from the start of one frame to that of the next."""
        return int(self.rate * SHIFT)

    @property
    def settings(self) -> dict[str, Any]:
        """What `preprocessing` may change."""
        return {"bands": self.bands, "rate": self.rate}

    @property
    def identity(self) -> dict[str, Any]:
        """Its name and every setting of Kaldi that changes a number."""
        filters = self.bands if self.name == "fbank" else _MFCC_FILTERS
        return {
            "name": f"kaldi-{self.name}",
            "rate": self.rate,
            "bands": self.bands,
            "scale": _SCALE,
            "num_bins": filters,
            **_FRAMES,
            **_FILTERS,
            **_SETTINGS[self.name],
        }

    def positions(self, samples: int) -> int:
        """Return the frames that fit into so many samples."""
        return 1 + max(0, samples - self.shortest) // self.shift

    def compute(self, samples: np.ndarray, length: int | None = None) -> np.ndarray:
        """Return frames, float32 (frames, bands), of samples with zeros behind them up to `length`."""
        wanted = max(self.shortest, length or 0)
        if len(samples) < wanted:
            samples = np.pad(samples, (0, wanted - len(samples)))
        computer = self._computer()
        computer.accept_waveform(self.rate, samples * np.float32(_SCALE))
        computer.input_finished()
        # The package gives one frame at a time, each in memory of its own that `stack` copies: 0.06 us of a
        # frame's 12 us.
        return np.stack([computer.get_frame(i) for i in range(computer.num_frames_ready)])

    def changed(self, settings: Mapping[str, Any]) -> KaldiFrames:
        """Return the same front end with other settings."""
        return replace(self, **settings)

    def check(self) -> None:
        """Raise `InputError` for more filters than there are frequencies for."""
        self._computer()

    def _computer(self) -> Any:
        kaldi = import_kaldi()
        options = kaldi.FbankOptions() if self.name == "fbank" else kaldi.MfccOptions()
        filters = {"num_bins": self.bands if self.name == "fbank" else _MFCC_FILTERS}
        _set_all(options.frame_opts, {"samp_freq": float(self.rate), **_FRAMES})
        _set_all(options.mel_opts, {**filters, **_FILTERS})
        _set_all(options, _SETTINGS[self.name])
        if self.name == "mfcc":
            options.num_ceps = self.bands
        try:
            return kaldi.OnlineFbank(options) if self.name == "fbank" else kaldi.OnlineMfcc(options)
        except ValueError as error:  # a filter lies between two frequencies of the spectrum
            raise InputError(
                f"preprocessing: {filters['num_bins']} filters are too many at {self.rate} Hz; take fewer "
                "bands or a higher rate"
            ) from error


def _set_all(options: Any, settings: dict[str, Any]) -> None:
    for name, value in settings.items():
        setattr(options, name, value)
