"""Spaces that earlier versions of featx wrote: the rows in them are found again."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

import featx
from featx.extraction import network_embedder, pixel_embedder
from featx.extraction.embedder import _space
from featx.inputs.image import Preprocessing
from featx.inputs.text import TextPreparation
from featx.options import Run

WEIGHTS = "0" * 64


def tokenizer():
    return SimpleNamespace(sha256="1" * 64)


def layer_of(preparation):
    identity = {
        "architecture": "a network",
        "source": "hf",
        "weights": "checkpoint",
        "weights_sha256": WEIGHTS,
        "layer": "last",
        "pooling": "mean",
    }
    return SimpleNamespace(identity=identity, preprocessing=preparation)


@pytest.mark.parametrize(
    ("preparation", "expected"),
    [
        (Preprocessing(), "cc7a29a806428fa89a57e2aae63af3c1bb92541ec4810d80487fff06a10fdbdd"),
        (
            Preprocessing(resize=(32, 48), crop=None),
            "39a213435498e2ba030642aeab38bbef9bd6b352963bfa465219b9e888917ad7",
        ),
        (
            TextPreparation(tokenizer(), max_length=64),
            "668f8e2d43cdbf6e83dd081b938f9ff1af5cdc1f8de901d20417e9704aebc546",
        ),
        (
            TextPreparation(tokenizer(), max_length=24, prefix="query: ", long="mean"),
            "92ea855c25e2b519e064549b84adf5a495c65f26aeb3b98109300e09ed5dc711",
        ),
    ],
)
def test_the_space_of_a_preparation_is_that_of_earlier_versions(preparation, expected):
    assert _space(layer_of(preparation), "fp32", "float32").id == expected


def test_the_space_of_a_network_of_images_is_that_of_earlier_versions():
    backbone = featx.load_backbone("mobilenet_v2", weights=None, image_size=64)
    known = replace(backbone, weights_name="IMAGENET1K_V1", weights_sha256=WEIGHTS)
    embedder = network_embedder(known, Run(engine="torch", precision="bf16", dtype="float16"))
    assert embedder.space.id == "bbede4dcbb9f9da469e89439e3297f2a18fe1a3a397b422af17d414f40630f15"
    assert embedder.dims == (1280,)


def test_the_space_of_pixels_is_that_of_earlier_versions():
    assert pixel_embedder(16).space.id == "a12d8245e12e257204965d2b885f568ac7351dc58ead0047bc9a0e661681f1a6"
