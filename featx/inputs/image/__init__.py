"""Pixels: where images come from, how they are decoded and preprocessed. Knows no labels and no networks."""

from featx.inputs.image.augment import augmented
from featx.inputs.image.decode import (
    DECODER,
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    decode,
    decode_pixels,
    is_ignored,
    is_image_file,
)
from featx.inputs.image.perceptual import hash_distance, perceptual_hash, perceptual_hashes
from featx.inputs.image.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from featx.inputs.image.source import (
    SOURCES,
    Content,
    EncodedImage,
    FileImage,
    LazyImage,
    PixelImage,
    Source,
    as_source,
)

__all__ = [
    "DECODER",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "SOURCES",
    "Content",
    "EncodedImage",
    "FileImage",
    "LazyImage",
    "PixelImage",
    "Preprocessing",
    "Source",
    "as_source",
    "augmented",
    "decode",
    "decode_pixels",
    "hash_distance",
    "is_ignored",
    "is_image_file",
    "perceptual_hash",
    "perceptual_hashes",
]
