"""The preprocessing of a network of transformers, from the configuration of its image processor.

A central crop of transformers begins at ``floor(n / 2)`` of the n pixels that are left over, and that of
`Preprocessing`, as torchvision's, at the nearest even one: for every fourth aspect ratio, the windows are one
pixel apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from featx.backbones.sources.hf.networks import quiet
from featx.errors import InputError, as_one_error
from featx.inputs.image.preprocess import Preprocessing

#: Processors that resize, crop, rescale and normalise, in this order or one that gives the same.
_PLAIN = {
    *("BeitImageProcessor", "BitImageProcessor", "CLIPImageProcessor", "ChineseCLIPImageProcessor"),
    *("ConvNextImageProcessor", "DINOv3ViTImageProcessor", "DeiTImageProcessor", "MobileNetV1ImageProcessor"),
    *("MobileNetV2ImageProcessor", "PvtImageProcessor", "SiglipImageProcessor", "ViTImageProcessor"),
}
#: Pillow's filters by their number.
_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
#: From this size on, ConvNeXt's images are resized to a square and not cropped.
_SQUASHED = 384


def read_preprocessing(content: Mapping[str, Any], model_type: str, name: str) -> Preprocessing:
    """Return a ``preprocessor_config.json`` as preprocessing; refuse by name what that cannot express."""

    def refuse(why: str) -> InputError:
        return InputError(f"{name}: its preprocessing cannot be taken over: {why}; give preprocessing=")

    stated = content.get("image_processor_type") or content.get("feature_extractor_type")
    with quiet() as transformers:
        if stated is None:
            names = transformers.models.auto.image_processing_auto.IMAGE_PROCESSOR_MAPPING_NAMES
            stated = next((n for n in _names_in(names.get(model_type)) if n in _PLAIN), None)
        kind = str(stated).replace("FeatureExtractor", "ImageProcessor")
        kind = kind.removesuffix("Fast").removesuffix("Pil")
        if kind not in _PLAIN:
            raise refuse(f"what {stated} does is not known to be resizing, cropping and normalising")
        with as_one_error(lambda why: refuse(f"its configuration cannot be read ({why})")):
            processor = getattr(transformers, kind)(**content)
    if getattr(processor, "do_pad", None):
        raise refuse("it pads images (do_pad)")
    with as_one_error(lambda why: refuse(f"its configuration cannot be used ({why})")):
        return _describe(processor, kind, refuse)


def _describe(processor: Any, kind: str, refuse: Any) -> Preprocessing:
    size = {key: value for key, value in dict(processor.size or {}).items() if value is not None}
    crop = _pair(processor.crop_size) if getattr(processor, "do_center_crop", None) else None
    resize: Any = None
    if processor.do_resize:
        if set(size) == {"height", "width"}:
            resize = (size["height"], size["width"])
        elif set(size) == {"shortest_edge"}:
            resize = size["shortest_edge"]
        else:
            raise refuse(f"it resizes to {size}, not to the shortest edge nor to height and width")
    if kind == "ConvNextImageProcessor" and isinstance(resize, int):
        if resize < _SQUASHED:
            resize, crop = int(resize / processor.crop_pct), (resize, resize)
        else:
            resize = (resize, resize)
    if crop is None and not isinstance(resize, tuple):
        raise refuse("it gives images of different sizes, and has no central crop")
    # (r x - mean) / std = (x / 255 - mean / (255 r)) / (std / (255 r))
    scale = 255 * float(processor.rescale_factor) if processor.do_rescale else 255.0
    scale = 1.0 if abs(scale - 1) < 1e-6 else scale
    mean, std = (
        (processor.image_mean, processor.image_std) if processor.do_normalize else ((0.0,) * 3, (1.0,) * 3)
    )
    mean, std = (
        tuple(v / scale for v in (values if isinstance(values, (list, tuple)) else (values,) * 3))
        for values in (mean, std)
    )
    method = _FILTERS.get(int(processor.resample)) if processor.resample is not None else "bilinear"
    if method is None:
        raise refuse(f"it resizes with Pillow's filter {int(processor.resample)}")
    try:
        return Preprocessing(resize=resize, crop=crop, interpolation=method, mean=mean, std=std)
    except InputError as error:
        raise refuse(str(error)) from error


def _pair(size: Any) -> tuple[int, int]:
    given = dict(size)
    return given["height"], given["width"]


def _names_in(entry: Any) -> list[str]:
    """Return the processors that transformers has for a type of network."""
    if isinstance(entry, Mapping):
        return [str(name) for name in entry.values()]
    return [str(name) for name in entry or ()]
