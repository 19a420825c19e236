"""Build networks of transformers without running code of others, and take their embeddings.

What is taken as embedding is what a classifier of the family is trained on:

- the output of the pooler (Swin, ConvNeXt, ResNet, and most others; BEiT: the normalised mean of patches;
  CLIP: the normalised class token, before the projection; SigLIP: its attention pooling; DINOv2 and DINOv3:
  the normalised class token, which is half of what transformers' own classifier of DINOv2 takes, the other
  half being the mean of patches: pooling ``"cls+patches"`` of the layer ``"layernorm"``);
- the class token behind the last norm in ViT and DeiT, whose pooler no image classifier uses;
- without a pooler, the class token, or the mean over positions.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from featx.backbones.layers.rules import EmbeddingRules
from featx.errors import InputError, UnknownName, WeightsError, as_one_error
from featx.vision import import_after_torchvision

#: Image towers of networks of images and texts: without and with the projection into their common space.
TOWERS = {
    "clip": ("CLIPVisionModel", "CLIPVisionModelWithProjection"),
    "metaclip_2": ("MetaClip2VisionModel", "MetaClip2VisionModelWithProjection"),
    "siglip": ("SiglipVisionModel", None),
}
_TOWER_TYPES = {"clip_vision_model": "clip", "siglip_vision_model": "siglip"}
#: Families whose network masks patches at random; the plain network has the same tensors.
_UNMASKED = {"vit_mae": "vit"}
#: Families whose classifier takes the class token and not the pooler's output.
_CLASS_TOKEN = ("vit", "deit")
#: Families that resample their position embeddings in every forward pass where images do not have
#: the size of the weights. That is done once here, when the weights are read, because OpenVINO resamples
#: otherwise than torch.
_RESAMPLED = ("dinov2", "dinov2_with_registers")
#: Settings of classifiers, which are not built, and of quantised values, which do not fit.
_IGNORED = ("quantization_config", "num_labels", "id2label", "label2id")
#: Most layers and bytes of a network without weights.
_MOST_LAYERS, _MOST_BYTES = 1000, 2**34
#: Endings of tensors that a network derives itself, or needs only for masked training.
_DERIVED = ("position_ids", "relative_position_index", "relative_coords_table", "attn_mask", "mask_token")


def import_transformers() -> ModuleType:
    """Import transformers, after torchvision, which transformers imports itself."""
    return import_after_torchvision("transformers", "transformers", "a backbone 'hf:NAME'")


@contextlib.contextmanager
def quiet() -> Iterator[ModuleType]:
    """Import transformers, and let it print neither progress bars nor tables of tensors in the block."""
    transformers = import_transformers()
    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield transformers
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def read_config(content: Mapping[str, Any], name: str) -> Any:
    """Return the configuration that a ``config.json`` states; nothing of the repository is run."""
    model_type = content.get("model_type")
    with quiet() as transformers:
        known = transformers.models.auto.configuration_auto.CONFIG_MAPPING_NAMES
        if "auto_map" in content and not (isinstance(model_type, str) and model_type in known):
            raise InputError(
                f"{name}: its config names code of its own (auto_map), which featx never runs, and this "
                "transformers has no network of its type"
            )
        if not isinstance(model_type, str) or model_type not in known:
            raise UnknownName(f"model_type in the config of {name}", model_type, known)
        model_type = _UNMASKED.get(model_type, model_type)
        settings = _without(content, ("model_type", "auto_map"))
        remote = [key for key in ("architecture", "backbone") if ":" in str(settings.get(key, ""))]
        if remote:  # timm downloads "hf-hub:OWNER/NAME"
            raise InputError(
                f"{name}: its config names a network elsewhere ({remote[0]}), which is not fetched"
            )
        with as_one_error(lambda why: InputError(f"{name}: its config cannot be read ({why})")):
            return transformers.AutoConfig.for_model(model_type, **settings)


def _without(content: Mapping[str, Any], left_out: Collection[str] = ()) -> dict[str, Any]:
    """Return the settings of a network and of its towers, without those that could run code or fill memory.

    An implementation of attention may be code on the hub. Labels belong to a classifier, which is not built.
    """
    return {
        key: _without(value) if isinstance(value, Mapping) else value
        for key, value in content.items()
        if key not in left_out and key not in _IGNORED and not key.endswith("_implementation")
    }


def takes_texts(content: Mapping[str, Any], name: str) -> bool:
    """Return whether the network of a ``config.json`` takes tokens of texts, and no images.

    False where it is not known: building the network says what is wrong with it.
    """
    return main_input(content) == "input_ids"


def main_input(content: Mapping[str, Any]) -> str | None:
    """Return what transformers calls the input of the network of a ``config.json``, such as ``"input_ids"``.

    None for image towers of networks of images and texts, and where it is not known.
    """
    model_type = content.get("model_type")
    if not isinstance(model_type, str) or model_type in TOWERS or model_type in _TOWER_TYPES:
        return None
    with quiet() as transformers:
        auto = transformers.models.auto
        if model_type not in auto.configuration_auto.CONFIG_MAPPING_NAMES:
            return None
        config = auto.configuration_auto.CONFIG_MAPPING[model_type]
        kind = auto.modeling_auto.MODEL_MAPPING.get(config, None)
    with contextlib.suppress(ImportError):  # it needs a package that is not here
        stated = getattr(kind, "main_input_name", None)
        return stated if isinstance(stated, str) else None
    return None


def require_size(
    config: Any, tensors: int | None, nbytes: int | None, name: str, build: Callable[[], nn.Module]
) -> None:
    """Refuse a configuration that asks for more than its weights hold, before memory is taken for it.

    `tensors` and `nbytes` say how many tensors and bytes the weights have; None where there are none. `build`
    builds the network.
    """
    images = getattr(config, "vision_config", config)
    depths = getattr(images, "depths", None) or [getattr(images, "num_hidden_layers", 0)]
    most = _MOST_LAYERS if tensors is None else tensors
    layers = sum(depth for depth in depths if isinstance(depth, int)) if isinstance(depths, list) else 0
    if layers > most:
        raise InputError(f"{name}: its config asks for {layers} layers, and its weights hold {most} tensors")
    with torch.device("meta"):
        values = sum(parameter.numel() for parameter in build().parameters())
    # A value has a byte or more, and a pooler may be in the network that is not in the file.
    if values > 4 * (_MOST_BYTES if nbytes is None else nbytes):
        raise InputError(f"{name}: its config asks for {values} values, and its weights hold {nbytes} bytes")


def build_network(config: Any, tensors: Collection[str] | None, name: str) -> nn.Module:
    """Build the image network of a configuration, with initial values.

    `tensors` are the names of the tensors in its weights: a pooler or projection that is not among them, and
    would stay random, is left out. None builds both.
    """

    def has(part: str) -> bool:
        return tensors is None or any(part in key.split(".") for key in tensors)

    cannot = as_one_error(lambda why: InputError(f"{name}: no network can be built of its config ({why})"))
    with quiet() as transformers, cannot:
        tower = TOWERS.get(_TOWER_TYPES.get(config.model_type, config.model_type))
        if tower is not None:
            images = getattr(config, "vision_config", config)
            if images is not config and tower[1] is not None:
                images.projection_dim = config.projection_dim
            plain, projected = tower
            built = projected if projected is not None and has("visual_projection") else plain
            network = getattr(transformers, built)(images)
        else:
            classes = transformers.models.auto.modeling_auto.MODEL_MAPPING
            if type(config) not in classes:
                raise InputError(f"{name}: transformers has no network of type {config.model_type!r}")
            kind = classes[type(config)]
            if getattr(kind, "main_input_name", "") != "pixel_values":
                raise InputError(
                    f"{name}: a network of type {config.model_type!r} takes {kind.main_input_name}, not "
                    f"images; image towers are taken from {', '.join(TOWERS)}"
                )
            network = kind(config, **pooler_option(kind, True))
            pooler = getattr(network, "pooler", None)
            if pooler is not None and next(pooler.parameters(), None) is not None and not has("pooler"):
                network = kind(config, **pooler_option(kind, False))
        for module in network.modules():
            if isinstance(module, transformers.PreTrainedModel):
                # Without this, it prints that it has none when torch looks at its attributes.
                module.loss_function = None
    return network.float()


def resize_config(config: Any, height: int, width: int) -> None:
    """Ask for position embeddings for square images of this size, where `convert_tensors` resamples them."""
    if config.model_type in _RESAMPLED and height == width:
        config.image_size = height


def fit_to_size(network: Any, height: int, width: int) -> None:
    """Let a network interpolate its position embeddings where images are not of the weights' size."""
    own = getattr(network.config, "image_size", None)
    if own is None or (height, width) == (tuple(own) if isinstance(own, (list, tuple)) else (own, own)):
        return
    for module in (network, getattr(network, "vision_model", None)):
        if module is not None and "interpolate_pos_encoding" in inspect.signature(module.forward).parameters:
            module.register_forward_pre_hook(_interpolate, with_kwargs=True)


def convert_tensors(
    tensors: dict[str, Tensor], network: Any, image_size: Any, label: str
) -> dict[str, Tensor]:
    """Return the tensors of a file under the names of `network`, converted as transformers does it.

    `image_size` is that of the weights. Tensors that the file lacks are left out. A `WeightsError` begins
    with `label`.
    """
    config = copy.deepcopy(network.config)
    resampled = config.model_type in _RESAMPLED and config.image_size != image_size
    if resampled:
        config.image_size = image_size
    kind = type(network)
    with (
        as_one_error(lambda why: WeightsError(f"{label} ({why})")),
        quiet(),
        torch.random.fork_rng(devices=[]),
    ):
        loaded, info = kind.from_pretrained(
            None,
            config=config,
            state_dict=dict(tensors),
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            dtype=torch.float32,
            **pooler_option(kind, getattr(network, "pooler", None) is not None),
        )
    for key, stored, wanted in sorted(info["mismatched_keys"]):
        raise WeightsError(
            f"{label}: {key} has shape {tuple(stored)} and should have {tuple(wanted)}; "
            "is it of another architecture?"
        )
    parts = {name for name, _ in network.named_children()}
    prefix = f"{network.base_model_prefix}."
    strange = [
        key
        for key in sorted(info["unexpected_keys"])
        if key.removeprefix(prefix).partition(".")[0] in parts and not key.endswith(_DERIVED)
    ]
    if strange:
        raise WeightsError(f"{label}: it also holds {strange[0]}; is it of another architecture?")
    missing = set(info["missing_keys"])
    if resampled and _POSITIONS not in missing:
        own = network.get_parameter(_POSITIONS)
        side = network.config.image_size
        with torch.no_grad():
            found = loaded.embeddings.interpolate_pos_encoding(torch.zeros(own.shape), side, side)
        loaded.embeddings.position_embeddings = nn.Parameter(found)
    return {key: value for key, value in loaded.state_dict().items() if key not in missing}


class HfLayerRules(EmbeddingRules):
    """What is known of networks of transformers: their embedding, and their class and register tokens."""

    def own_name(self, network: Any, layer: str) -> str:
        """Return the name of the layer ``"projection"`` in the image towers of transformers."""
        own = {"projection": "visual_projection"}.get(layer, layer)
        return own if hasattr(network, own) else layer

    def later_layers(self, network: Any) -> list[str]:
        """Return the projection into the space of images and texts, where there is one."""
        return [name for name in ("visual_projection",) if hasattr(network, name)]

    def embed(self, network: Any, x: Tensor) -> Tensor:
        """Return what a classifier of the family takes; see the module's docstring."""
        out = getattr(network, "vision_model", network)(x)
        hidden, config = out.last_hidden_state, network.config
        pooled = None if config.model_type in _CLASS_TOKEN else getattr(out, "pooler_output", None)
        if pooled is not None:
            return torch.flatten(pooled, 1)
        prefix = self.prefix_tokens(network)
        if prefix and getattr(config, "use_mean_pooling", False):  # BEiT, where its pooler was not saved
            return hidden[:, prefix:].mean(1)
        if prefix:
            return hidden[:, 0]
        return hidden.mean(tuple(range(2, hidden.dim())) if hidden.dim() == 4 else 1)

    def prefix_tokens(self, network: Any) -> int:
        """Return how many tokens (class, distillation, registers) stand before those of patches."""
        embeddings = getattr(getattr(network, "vision_model", network), "embeddings", None)
        if not any(isinstance(getattr(embeddings, name, None), Tensor) for name in _CLASS_TOKENS):
            return 0
        registers = getattr(embeddings, "register_tokens", None)
        distilled = isinstance(getattr(embeddings, "distillation_token", None), Tensor)
        return 1 + distilled + (registers.shape[1] if isinstance(registers, Tensor) else 0)


_POSITIONS = "embeddings.position_embeddings"
#: What networks call the class token that their embeddings hold.
_CLASS_TOKENS = ("cls_token", "class_embedding")


def pooler_option(kind: Any, pooler: bool) -> dict[str, bool]:
    """Return the option that adds or leaves out a pooler, where this kind of network has it."""
    known = "add_pooling_layer" in inspect.signature(kind.__init__).parameters
    return {"add_pooling_layer": pooler} if known else {}


def _interpolate(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    return args, {**kwargs, "interpolate_pos_encoding": True}
