"""Read the ``preprocessor_config.json`` of audio networks with the extractors of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from featx.backbones.sources.hf.networks import quiet
from featx.errors import InputError, as_one_error

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
    with (
        quiet() as transformers,
        as_one_error(lambda why: InputError(f"{name}: its preprocessor_config.json cannot be read ({why})")),
    ):
        return getattr(transformers, kind)(**settings)
