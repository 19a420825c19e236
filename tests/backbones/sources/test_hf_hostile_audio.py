"""Folders of audio networks whose settings ask for what there is not: one line before memory is taken."""

from __future__ import annotations

import json

import pytest
from clips import write_clap, write_wav2vec2, write_whisper

import featx
from featx.errors import InputError

pytest.importorskip("transformers")


def change(folder, name, **settings):
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**content, **settings}))
    return f"hf:{folder}"


@pytest.mark.parametrize(
    ("write", "settings"),
    [
        (write_whisper, {"hop_length": 160.5}),
        (write_whisper, {"sampling_rate": 16000.5}),
        (write_clap, {"max_length_s": 2.5}),
        (write_wav2vec2, {"sampling_rate": 1000.5}),
    ],
)
def test_settings_that_are_no_whole_numbers_are_named(tmp_path, write, settings):
    name = change(write(tmp_path / "net"), "preprocessor_config.json", **settings)
    ((key, value),) = settings.items()
    with pytest.raises(
        InputError, match=f"{key} of its preprocessor_config.json must be a whole number, got {value}"
    ):
        featx.load_backbone(name)


def test_a_whole_number_may_be_written_with_a_point(tmp_path):
    name = change(write_whisper(tmp_path / "net"), "preprocessor_config.json", feature_size=80.0)
    assert featx.load_backbone(name).dim == 32


def test_strides_beyond_a_window_are_refused_before_memory_is_taken(tmp_path):
    name = change(write_wav2vec2(tmp_path / "net"), "config.json", conv_stride=[5, 4, 10**12])
    with pytest.raises(InputError, match="convolutions of its config make less than 8 states of 30 seconds"):
        featx.load_backbone(name)
