"""Read the ``preprocessor_config.json`` of audio networks with the extractors of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from featx.backbones.sources.hf.networks import quiet
from featx.errors import InputError, as_one_error
from featx.inputs.audio.front_ends import StatedFrontEnd

#: Settings that are taken over, with the least and the greatest number that each may be; None for what is no
#: number. Others, such as the filters themselves in older files, follow from them.
_SETTINGS: dict[str, tuple[float, float] | None] = {
    "feature_size": (1, 1024),
    "sampling_rate": (1000, 384_000),
    "num_mel_bins": (1, 1024),
    "n_fft": (16, 2**16),
    "fft_window_size": (16, 2**16),
    "hop_length": (1, 2**16),
    "chunk_length": (1, 600),
    "max_length": (16, 2**16),
    "max_length_s": (1, 600),
    "frequency_min": (0, 200_000),
    "frequency_max": (0, 200_000),
    "stride": (1, 64),
    "dither": (0, 1),
    "padding_value": (-1e6, 1e6),
    "mean": (-1e6, 1e6),
    "std": (1e-6, 1e6),
    "do_normalize": None,
    "truncation": None,
    "padding": None,
    "top_db": None,
}
#: Those that are whole numbers.
_WHOLE = tuple(key for key, bounds in _SETTINGS.items() if bounds is not None and bounds[0] >= 1)

#: Samples of a frame of the extractors whose frames follow from the length of a clip.
_KALDI_FRAME = 400


def read_extractor(stated: Mapping[str, Any], kind: str, name: str) -> Any:
    """Return the extractor of transformers with the settings that are stated.

    `kind` is its class; `InputError` where the file states another, or settings that it cannot have.
    """
    own = stated.get("feature_extractor_type", kind)
    if own != kind:
        raise InputError(
            f"{name}: its preprocessor_config.json is for {own!r:.60}, and its network is fed by {kind}"
        )
    settings = {key: value for key, value in stated.items() if key in _SETTINGS}
    for key, value in settings.items():
        bounds = _SETTINGS[key]
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if bounds is not None and not (number and bounds[0] <= value <= bounds[1]):
            raise InputError(
                f"{name}: {key} of its preprocessor_config.json must be from {bounds[0]:g} to "
                f"{bounds[1]:g}, got {value!r:.40}"
            )
        if key in _WHOLE:
            if value != int(value):
                raise InputError(
                    f"{name}: {key} of its preprocessor_config.json must be a whole number, got {value!r:.40}"
                )
            settings[key] = int(value)
    with (
        quiet() as transformers,
        as_one_error(lambda why: InputError(f"{name}: its preprocessor_config.json cannot be read ({why})")),
    ):
        return getattr(transformers, kind)(**settings)


@dataclass(frozen=True)
class ExtractorFrames(StatedFrontEnd):
    """A front end that calls an extractor of transformers: `featx.inputs.audio.FrontEnd`.

    Parameters
    ----------
    kind : str
        Its class.
    stated : tuple of (str, value)
        Its settings, in order.
    rate, shortest, bands : int
        As in `FrontEnd`.
    fixed : int or None
        Frames that it makes of any clip; None where they follow from its length.
    hop : int
        Samples from one frame to the next.
    """

    kind: str
    stated: tuple[tuple[str, Any], ...]
    rate: int
    shortest: int
    bands: int
    fixed: int | None
    hop: int

    @classmethod
    def of(cls, extractor: Any, **facts: Any) -> ExtractorFrames:
        """Return the front end of an extractor that `read_extractor` returned."""
        stated = tuple((key, getattr(extractor, key)) for key in sorted(_SETTINGS) if hasattr(extractor, key))
        return cls(type(extractor).__name__, stated, extractor.sampling_rate, **facts)

    @property
    def identity(self) -> dict[str, Any]:
        """Class and settings; torchaudio, where it is installed, computes some filter banks in fp32."""
        with quiet() as transformers:
            speech = transformers.utils.is_speech_available()
        return {"name": self.kind, **dict(self.stated), **({"by": "torchaudio"} if speech else {})}

    def positions(self, samples: int) -> int:
        """Return the frames of so many samples."""
        if self.fixed is not None:
            return self.fixed
        stride = int(dict(self.stated).get("stride", 1))
        return (1 + (max(samples, self.shortest) - _KALDI_FRAME) // self.hop) // stride

    def compute(self, samples: np.ndarray, length: int | None = None) -> np.ndarray:
        """Return frames, float32 (frames, bands); extractors with `fixed` frames extend a clip themselves."""
        wanted = self.shortest if self.fixed is not None else max(self.shortest, length or 0)
        if len(samples) < wanted:
            samples = np.pad(samples, (0, wanted - len(samples)))
        extractor = _extractor(self.kind, self.stated)
        if self.kind == "ClapFeatureExtractor":
            # Calling the extractor itself would draw from the caller's random numbers.
            most, truncation, padding = extractor.nb_max_samples, extractor.truncation, extractor.padding
            (found, *_), _ = extractor._get_input_mel(samples, most, truncation, padding)
        else:
            options = {} if self.fixed is not None else {"padding": False}
            made = extractor(samples, sampling_rate=self.rate, return_tensors="np", **options)
            found = made[extractor.model_input_names[0]][0]
        return np.ascontiguousarray(found, np.float32)


@lru_cache(maxsize=8)
def _extractor(kind: str, settings: tuple[tuple[str, Any], ...]) -> Any:
    with quiet() as transformers:
        return getattr(transformers, kind)(**dict(settings))
