"""Images as a kind of input: where they come from, how they are decoded and prepared for a network."""

from featx.inputs.image.augment import augment_image
from featx.inputs.image.decode import DECODER, MAX_PIXELS, decode, decode_pixels
from featx.inputs.image.file_names import IMAGE_SUFFIXES, SUFFIXES, is_ignored, is_image_file
from featx.inputs.image.perceptual import hash_distance, perceptual_hash, perceptual_hashes
from featx.inputs.image.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from featx.inputs.image.source import (
    SOURCES,
    EncodedImage,
    FileImage,
    ImageContent,
    LazyImage,
    PixelImage,
    StoredImage,
    as_source,
)

__all__ = [
    "DECODER",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "SOURCES",
    "SUFFIXES",
    "EncodedImage",
    "FileImage",
    "ImageContent",
    "LazyImage",
    "PixelImage",
    "Preprocessing",
    "StoredImage",
    "as_source",
    "augment_image",
    "decode",
    "decode_pixels",
    "hash_distance",
    "is_ignored",
    "is_image_file",
    "perceptual_hash",
    "perceptual_hashes",
]
