"""Build text networks of transformers, and pool their tokens to one row for each text."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from featx.backbones.layers.hooks import EMBEDDING
from featx.backbones.layers.pooling import Tap
from featx.backbones.layers.rules import EmbeddingRules
from featx.backbones.sources.hf.networks import pooler_option, quiet
from featx.backbones.sources.hf.text_pooling import pool_tokens
from featx.errors import InputError, UnknownName, as_one_error

#: Families whose tokenizers give one special token a type of its own: the type, and where the token stands.
_TYPED = {"xlnet": (2, -1)}
#: Families whose layers give hidden states (t, n, c), with the tokens first.
_TIME_FIRST = ("xlnet",)
#: Families that count positions from the number of the padding token on.
_COUNT_FROM_PADDING = (
    *("roberta", "xlm-roberta", "xlm-roberta-xl", "roberta-prelayernorm", "camembert", "mpnet", "longformer"),
    *("data2vec-text", "xmod", "mra", "lilt", "luke", "ibert"),
)
#: Families in which padding is known to change no row; all others are tried out.
_MASKED = (
    *("bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra", "albert", "mpnet", "deberta"),
    *("deberta-v2", "xlnet", "gpt2", "t5", "mt5", "modernbert"),
)
#: Largest change by padding, as a share of the largest value.
_SAME = 1e-3
#: What the poolings of hidden states are called in `pool_tokens`.
_POOLS = {"mean": "mean", "cls": "cls", "last": "lasttoken", "max": "max"}
#: The pooling of a sentence-transformers folder.
PIPELINE = "pipeline"


class TokenFacts(NamedTuple):
    """What a network is to know of its tokens, which its configuration does not state.

    Attributes
    ----------
    padding : int
        A token that may stand behind a text, where it is masked.
    cls : int or None
        Where the class token stands: 0 in front, -1 at the end, None if there is none.
    """

    padding: int
    cls: int | None


def build_text_network(config: Any, name: str) -> nn.Module:
    """Build the text network of a configuration, with initial values and without a pooler.

    Of an encoder and a decoder, the encoder is taken where transformers has a network of it alone.
    """
    cannot = as_one_error(lambda why: InputError(f"{name}: no network can be built of its config ({why})"))
    with quiet() as transformers, cannot:
        models = transformers.models.auto.modeling_auto
        kind = models.MODEL_MAPPING[type(config)]
        encoder = models.MODEL_FOR_TEXT_ENCODING_MAPPING.get(type(config), None)
        if encoder is not None and encoder.__name__.endswith("EncoderModel"):
            kind = encoder
        elif getattr(config, "is_encoder_decoder", False):
            raise InputError(
                f"{name}: a network of type {config.model_type!r} is an encoder and a decoder, and "
                "transformers has no network of its encoder alone; take another one"
            )
        config.use_cache = config.output_attentions = config.output_hidden_states = False
        network = kind(config, **pooler_option(kind, False))
        for module in network.modules():
            if isinstance(module, transformers.PreTrainedModel):
                module.loss_function = None
    return network.float()


def most_tokens(config: Any) -> int | None:
    """Return how many tokens a network has positions for; None where they are relative to each other."""
    stated = getattr(config, "max_position_embeddings", None)
    if isinstance(stated, bool) or not isinstance(stated, int) or stated < 1:
        return None
    if config.model_type in ("deberta", "deberta-v2") and not config.position_biased_input:
        return None
    if config.model_type in _COUNT_FROM_PADDING:
        stated -= (1 if config.model_type == "mpnet" else config.pad_token_id or 0) + 1
    return stated


@torch.inference_mode()
def require_masked(network: Any, name: str) -> None:
    """Raise `InputError` if padding changes the hidden states of a text, in a network with its values.

    Convolutions and Fourier transforms over tokens mix those of a text with what stands behind it.
    """
    if network.config.model_type in _MASKED:
        return
    text = torch.arange(6)[None] % network.get_input_embeddings().num_embeddings
    rules, network = TextLayerRules(), network.eval()
    alone = rules.run(network, text)
    padded = rules.run(network, nn.functional.pad(text, (0, 5), value=-1))[:, : text.shape[1]]
    if not (padded - alone).abs().max() <= _SAME * alone.abs().max():
        raise InputError(
            f"{name}: in a network of type {network.config.model_type!r} padding changes the rows of texts; "
            "take another one"
        )


def _run_without_values(network: Any, given: dict[str, Any]) -> Any:
    """Run a network on the meta device, where tensors have no values.

    Most families look at the values of a mask to choose their code; each of them takes a mask in one of three
    forms as it is.
    """
    mask = given["attention_mask"]
    whole = mask[:, None, None, :].expand(-1, 1, mask.shape[1], -1).to(torch.bool)
    for form in (None, mask):
        with contextlib.suppress(Exception):  # code of any family
            return network(**{**given, "attention_mask": form})
    return network(**{**given, "attention_mask": whole})


def _place_of_cls(network: Any) -> int | None:
    facts = getattr(network, "token_facts", None)  # a graph has none
    return 0 if facts is None else facts.cls


class TextLayerRules(EmbeddingRules):
    """What is known of text networks of transformers: a batch is int64 (n, t), negative behind each text.

    The network has `token_facts` (`TokenFacts`) and, of a sentence-transformers folder, a `pipeline`.
    """

    def run(self, network: Any, x: Tensor) -> Tensor:
        """Return the last hidden state (n, t, c), with everything behind a text masked."""
        is_token = x >= 0
        given: dict[str, Any] = {"attention_mask": is_token.to(torch.int64)}
        typed = _TYPED.get(network.config.model_type)
        if typed is not None:
            number, at = typed
            places = torch.arange(x.shape[1], device=x.device)
            here = places == (is_token.sum(1, keepdim=True) - 1 if at else 0)
            given["token_type_ids"] = here.expand(x.shape).to(torch.int64) * number
        given["input_ids"] = torch.where(is_token, x, network.token_facts.padding)
        out = _run_without_values(network, given) if x.is_meta else network(**given)
        hidden: Tensor = out[0]
        return hidden

    def embed(self, network: Any, x: Tensor) -> Tensor:
        """Return the last hidden state; `pool` makes rows of it."""
        return self.run(network, x)

    def find_tap(
        self, network: Any, layer: str, pooling: str | None, shape: Sequence[int], name: str
    ) -> tuple[Tap, int]:
        """Return how a layer is pooled: as the folder states, or by the mean over tokens, unless asked."""
        pipeline = getattr(network, PIPELINE, None) if layer == EMBEDDING else None
        known = [*_POOLS, *([PIPELINE] if pipeline is not None else [])]
        if len(shape) == 2 and pooling in (None, "identity"):
            return Tap(layer, "identity"), shape[1]
        if len(shape) != 3:
            raise InputError(
                f"{name}: layer {layer!r} gives {tuple(shape[1:])} per text, not one row a token"
            )
        chosen = pooling or known[-1 if pipeline is not None else 0]
        if chosen == PIPELINE and pipeline is None:
            raise InputError(
                f"{name}: pooling {PIPELINE!r} is that of a sentence-transformers folder, at its default "
                f"layer; use {', '.join(_POOLS)}"
            )
        if chosen not in known:
            raise UnknownName(f"pooling of {name}", chosen, known)
        if chosen == "cls" and _place_of_cls(network) is None:
            raise InputError(
                f"{name}: its tokenizer puts no class token into a text, as pooling 'cls' needs; use mean, "
                "last or max"
            )
        dim = pipeline.dim if chosen == PIPELINE and pipeline is not None else shape[2]
        return Tap(layer, chosen, 2), dim

    def pool(self, network: Any, tap: Tap, output: Tensor, x: Tensor) -> Tensor:
        """Return one row (n, c) for each text, of hidden states (n, t, c)."""
        family = getattr(getattr(network, "config", None), "model_type", None)
        if tap.layer != EMBEDDING and family in _TIME_FIRST and output.dim() == 3:
            output = output.transpose(0, 1)
        if tap.pooling == "identity":
            return output.clone()
        mask = x >= 0
        if tap.pooling == PIPELINE:
            rows: Tensor = network.pipeline(output, mask)
            return rows
        if tap.pooling == "cls" and _place_of_cls(network) == 0:
            return output[:, 0].clone()
        return pool_tokens(output, mask, "lasttoken" if tap.pooling == "cls" else _POOLS[tap.pooling])
