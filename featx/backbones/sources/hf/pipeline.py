"""The pipeline of a sentence-transformers folder: its settings and its weights (its network: `text_pooling`).

``modules.json`` lists the network, a pooling, and layers behind it (dense layers, norms). Each has a folder
with its settings and tensors. Nothing is imported by the names that the file states.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from featx.backbones.checkpoint import Checkpoint, open_checkpoint
from featx.backbones.hugging_face import hash_in_cache
from featx.backbones.sources.hf.repository import Repository, join_hashes
from featx.errors import InputError, WeightsError

MODULES = "modules.json"
#: Files with the settings of the network; older folders name them by its family.
_SETTINGS = tuple(
    f"sentence_{family}_config.json"
    for family in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
_CONFIG = "config.json"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
#: The poolings, in the order in which settings that turn each on or off put their rows side by side.
_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
#: Classes of `torch.nn` that a dense layer may name.
_ACTIVATIONS = (
    *("Identity", "Tanh", "ReLU", "GELU", "Sigmoid", "SiLU", "LeakyReLU", "ELU", "SELU", "Softplus", "Mish"),
    *("Softsign", "ReLU6", "Hardswish", "Tanhshrink", "LogSigmoid"),
)
#: A folder of a module, as sentence-transformers names it; none of them leads out of the repository.
_FOLDER = re.compile(r"\d{1,2}_\w{1,40}", re.ASCII)
_MOST_MODULES = 20
#: Where a step reads and writes, if its settings say so.
_ROW = "sentence_embedding"
#: Name of the pipeline in the network, and of its tensors.
PREFIX = "pipeline"


@dataclass(frozen=True)
class Step:
    """A layer behind the pooling.

    Attributes
    ----------
    kind : {"Dense", "LayerNorm", "Normalize"}
    folder : str
    settings : dict
        What changes a number.
    """

    kind: str
    folder: str
    settings: dict[str, Any] = field(hash=False)


@dataclass(frozen=True)
class PipelineSettings:
    """What the files of a folder state.

    Attributes
    ----------
    poolings : tuple of str
        Their rows stand side by side.
    include_prompt : bool
        Whether the tokens of the prefix are pooled with those of the text.
    steps : tuple of Step
        In the order in which they run.
    max_length : int or None
        Most tokens of a text.
    lower_case : bool
        Whether texts are put into lower case.
    prefix : str
        Stands before every text.
    """

    poolings: tuple[str, ...]
    include_prompt: bool
    steps: tuple[Step, ...]
    max_length: int | None
    lower_case: bool
    prefix: str

    @property
    def identity(self) -> dict[str, Any]:
        """What changes a row, besides the tokens and the values of tensors."""
        return {
            "poolings": list(self.poolings),
            "include_prompt": self.include_prompt,
            "steps": [{"kind": step.kind, **step.settings} for step in self.steps],
        }

    @property
    def weighted(self) -> list[Step]:
        """The steps that have tensors."""
        return [step for step in self.steps if step.kind != "Normalize"]


def read_pipeline(repository: Repository, name: str) -> PipelineSettings | None:
    """Return the pipeline of a folder; None where it has none.

    `InputError` names a module that is not known, and settings that cannot be read.
    """
    content = repository.read_optional_list(MODULES)
    if content is None:
        return None
    if len(content) > _MOST_MODULES:
        raise InputError(
            f"{name}: its {MODULES} holds {len(content)} modules, expected {_MOST_MODULES} at most"
        )
    modules = [_module(entry, name) for entry in content]
    folders = [folder for _, folder in modules if folder]
    twice = next((folder for folder in folders if folders.count(folder) > 1), None)
    if twice is not None:
        raise InputError(f"{name}: its {MODULES} names the folder {twice!r} twice; each module has its own")
    kinds = [kind for kind, _ in modules]
    for kind in kinds[:1]:
        if kind != "Transformer":
            raise InputError(
                f"{name}: its {MODULES} begins with {kind!r}, and featx takes 'Transformer' alone"
            )
    if kinds[1:2] != ["Pooling"]:
        told = repr(kinds[1]) if len(kinds) > 1 else "nothing"
        raise InputError(
            f"{name}: its {MODULES} has {told} behind the network, and featx takes 'Pooling' alone"
        )
    for kind in kinds[2:]:
        if kind not in ("Dense", "LayerNorm", "Normalize"):
            raise InputError(
                f"{name}: its {MODULES} holds {kind!r}, which featx does not take behind the pooling; only "
                "Dense, LayerNorm and Normalize"
            )
    if modules[0][1]:
        raise InputError(
            f"{name}: its network is in the folder {modules[0][1]!r}; give the files of that folder a place "
            f'beside {MODULES}, with the path "" in it'
        )
    settings = next((found for file in _SETTINGS if (found := repository.read_optional_json(file))), {})
    forms = settings.get("modality_config")
    of_texts = forms.get("text") if isinstance(forms, Mapping) else None
    stated = {
        "transformer_task": (settings, "feature-extraction"),
        "module_output_name": (settings, "token_embeddings"),
        "method": (of_texts, "forward"),
        "method_output_name": (of_texts, "last_hidden_state"),
    }
    for key, (place, expected) in stated.items():
        value = place.get(key) if isinstance(place, Mapping) else None
        if value not in (None, expected):
            raise InputError(f"{name}: its {key} is {value!r:.60}, and featx takes {expected!r} alone")
    length = settings.get("max_seq_length")
    if length is not None and (isinstance(length, bool) or not isinstance(length, int) or length < 1):
        raise InputError(f"{name}: its max_seq_length is {length!r}, which is no number of tokens")
    poolings, include_prompt = _poolings(repository.read_json(f"{modules[1][1]}/{_CONFIG}"), name)
    return PipelineSettings(
        poolings,
        include_prompt,
        tuple(_step(repository, kind, folder, name) for kind, folder in modules[2:]),
        length,
        settings.get("do_lower_case") is True,
        _prefix(repository.read_optional_json("config_sentence_transformers.json") or {}, name),
    )


def list_settings(repository: Repository) -> list[Path]:
    """Return the files of a pipeline's settings that are on this machine."""
    modules = repository.find(MODULES)
    if modules is None:
        return []
    names = (*_SETTINGS, "config_sentence_transformers.json", f"[0-9]*_*/{_CONFIG}")
    return [modules, *(path for name in names for path in sorted(modules.parent.glob(name)))]


def _module(entry: Any, name: str) -> tuple[str, str]:
    """Return the kind of a module, which is the name of its class, and its folder."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("type"), str):
        raise InputError(f"{name}: its {MODULES} is not a list of modules with a type")
    kind, folder = entry["type"], entry.get("path", "")
    package, _, short = kind.rpartition(".")
    if package.partition(".")[0] != "sentence_transformers":
        raise InputError(
            f"{name}: its {MODULES} names code of its own ({kind!r:.80}), which featx never runs"
        )
    needed = short not in ("Transformer", "Normalize")
    if not isinstance(folder, str) or ((folder or needed) and _FOLDER.fullmatch(folder) is None):
        raise InputError(
            f"{name}: its {MODULES} names the folder {folder!r:.80}; expected a folder beside it, such as "
            "'1_Pooling'"
        )
    return short, folder


def _poolings(settings: Mapping[str, Any], name: str) -> tuple[tuple[str, ...], bool]:
    asked = settings.get("pooling_mode")
    if asked is None:
        asked = [mode for key, mode in _POOLINGS.items() if settings.get(key) is True] or ["mean"]
    poolings = (asked,) if isinstance(asked, str) else tuple(asked) if isinstance(asked, list) else ()
    unknown = [mode for mode in poolings if mode not in _POOLINGS.values()]
    if unknown or not poolings:
        raise InputError(
            f"{name}: its pooling {(unknown or [asked])[0]!r} is not known; expected "
            f"{', '.join(_POOLINGS.values())}"
        )
    if len(set(poolings)) < len(poolings):
        raise InputError(f"{name}: its pooling names one twice: {', '.join(poolings)!r:.80}")
    return poolings, settings.get("include_prompt", True) is not False


def _step(repository: Repository, kind: str, folder: str, name: str) -> Step:
    """Return a step with the settings that change a number; refuse what is not known of it."""
    if kind == "Normalize" and not folder:
        return Step(kind, folder, {})
    path = f"{folder}/{_CONFIG}"
    has_settings = kind != "Normalize" or repository.find(path) is not None  # older ones have none
    stated = repository.read_json(path) if has_settings else {}
    for key in ("module_input_name", "module_output_name"):
        if stated.get(key) not in (None, _ROW):
            raise InputError(
                f"{name}: {path} states {key} {stated[key]!r:.60}, and featx takes {_ROW!r} alone"
            )
    if kind == "Normalize":
        return Step(kind, folder, {})
    sizes = ("dimension",) if kind == "LayerNorm" else ("in_features", "out_features")
    settings: dict[str, Any] = {}
    for size in sizes:
        value = stated.get(size)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**20:
            raise InputError(f"{name}: {path} states {size} {value!r:.60}, which is no number of features")
        settings[size] = value
    if kind == "Dense":
        activation = stated.get("activation_function", "torch.nn.modules.activation.Tanh")
        package, _, short = str(activation).rpartition(".")
        if not f"{package}.".startswith("torch.nn.") or short not in _ACTIVATIONS:
            raise InputError(
                f"{name}: {path} states the activation {activation!r:.80}, which featx does not take; only "
                f"{', '.join(_ACTIVATIONS)} of torch.nn"
            )
        settings |= {"activation": short, "bias": stated.get("bias", True) is not False}
        settings["residual"] = stated.get("use_residual") is True
    return Step(kind, folder, settings)


def _prefix(settings: Mapping[str, Any], name: str) -> str:
    """Return the prompt that is put before every text where none is asked for by its name."""
    default, prompts = settings.get("default_prompt_name"), settings.get("prompts") or {}
    if default is None:
        return ""
    known = isinstance(prompts, Mapping) and isinstance(default, str)
    prefix = prompts.get(default) if known else None
    if not isinstance(prefix, str):
        raise InputError(f"{name}: its default prompt {default!r:.60} is not among its prompts")
    return prefix


@dataclass(frozen=True)
class PipelineCheckpoint(Checkpoint):
    """The weights of a network and of the steps behind it; `sha256` is that of the files' hashes."""

    network: Checkpoint | None = None
    parts: tuple[tuple[str, Checkpoint], ...] = ()

    @property
    def files(self) -> list[Path]:
        """All files."""
        assert self.network is not None
        own = getattr(self.network, "files", None) or [self.network.path]
        return [*own, *(part.path for _, part in self.parts)]

    def state_dict(self) -> dict[str, Tensor]:
        """Read the tensors of all files; those of a step are named after `PREFIX` and its folder."""
        assert self.network is not None
        tensors = dict(self.network.state_dict())
        for folder, part in self.parts:
            tensors |= {f"{PREFIX}.{folder}.{key}": value for key, value in part.state_dict().items()}
        return tensors


def with_steps(checkpoint: Checkpoint, repository: Repository, steps: Sequence[Step]) -> Checkpoint:
    """Return the checkpoint of a network joined with the weights of the steps behind it."""
    parts = []
    for step in steps:
        files = [f"{step.folder}/{file}" for file in _WEIGHTS]

        def lacking(reason: str, step: Step = step) -> WeightsError:
            return WeightsError(
                f"no weights for hf:{repository.name}: the tensors of its {step.folder} are not on this "
                f"machine and could not be downloaded ({reason}); get the whole repository again"
            )

        path = repository.fetch(*files, make_error=lacking)
        parts.append((step.folder, open_checkpoint(path, sha256=hash_in_cache(path))))
    if not parts:
        return checkpoint
    sha256 = join_hashes([checkpoint.sha256, *(part.sha256 for _, part in parts)])
    return PipelineCheckpoint(checkpoint.path, sha256, checkpoint, tuple(parts))
