"""Filter banks and cepstral coefficients as Kaldi computes them, by kaldi-native-fbank, without dither."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.errors import MissingExtra

#: Kaldi's samples are whole numbers of 16 bits.
_SCALE = 32768.0


def import_kaldi() -> Any:
    """Import kaldi-native-fbank."""
    try:
        import kaldi_native_fbank
    except ImportError as error:
        raise MissingExtra("kaldi-native-fbank", "audio", "filter banks as Kaldi has them") from error
    return kaldi_native_fbank


@dataclass(frozen=True)
class KaldiFrames:
    """Frames of 25 ms every 10 ms: log mel filter banks, or cepstral coefficients of them.

    Parameters
    ----------
    name : {"fbank", "mfcc"}
    bands : int
        Filters of ``fbank``, coefficients of ``mfcc``.
    rate : int, default=16000
    """

    name: str = "fbank"
    bands: int = 80
    rate: int = 16000

    @property
    def shortest(self) -> int:
        """Samples of one frame."""
        return round(0.025 * self.rate)

    @property
    def identity(self) -> dict[str, Any]:
        """Name and settings."""
        return {"name": f"kaldi-{self.name}", "rate": self.rate, "bands": self.bands}

    def positions(self, samples: int) -> int:
        """Return the frames that fit into so many samples."""
        return 1 + max(0, samples - self.shortest) // round(0.01 * self.rate)

    def compute(self, samples: np.ndarray, length: int | None = None) -> np.ndarray:
        """Return frames, float32 (frames, bands), of samples with zeros behind them up to `length`."""
        wanted = max(self.shortest, length or 0)
        if len(samples) < wanted:
            samples = np.pad(samples, (0, wanted - len(samples)))
        kaldi = import_kaldi()
        options = kaldi.FbankOptions() if self.name == "fbank" else kaldi.MfccOptions()
        options.frame_opts.samp_freq = self.rate
        options.frame_opts.dither = 0.0
        if self.name == "fbank":
            options.mel_opts.num_bins = self.bands
            computer = kaldi.OnlineFbank(options)
        else:
            options.num_ceps = self.bands
            computer = kaldi.OnlineMfcc(options)
        computer.accept_waveform(self.rate, samples * _SCALE)
        computer.input_finished()
        return np.stack([computer.get_frame(i) for i in range(computer.num_frames_ready)])
