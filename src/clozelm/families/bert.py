"""BERT: learned positions and segments, norms after each residual (Devlin et al. 2018, arXiv 1810.04805)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clozelm.errors import ModelError
from clozelm.families.family import (
    UNUSED,
    Extra,
    Family,
    Spelling,
    Weight,
    both,
    insist,
    layers,
    need,
    read_activation,
    shape,
    write_activation,
)
from clozelm.nn.config import EncoderConfig
from clozelm.vocab import Vocabulary

# Our field -> (stock key, the stock default when the key is absent).
FIELDS: dict[str, tuple[str, Any]] = {
    "vocab_size": ("vocab_size", 30522),
    "hidden_size": ("hidden_size", 768),
    "num_layers": ("num_hidden_layers", 12),
    "num_heads": ("num_attention_heads", 12),
    "intermediate_size": ("intermediate_size", 3072),
    "max_positions": ("max_position_embeddings", 512),
    "type_vocab_size": ("type_vocab_size", 2),
    "norm_eps": ("layer_norm_eps", 1e-12),
    "dropout": ("hidden_dropout_prob", 0.1),
    "attention_dropout": ("attention_probs_dropout_prob", 0.1),
    "init_std": ("initializer_range", 0.02),
    "pad_id": ("pad_token_id", 0),
}


def read_config(config: Mapping[str, Any]) -> EncoderConfig:
    """Return the encoder that a stock BERT ``config.json`` describes."""
    return EncoderConfig(**read_fields(config, FIELDS), activation=read_activation(config, "hidden_act"))


def read_fields(config: Mapping[str, Any], names: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
    """Read the plain fields of a ``config.json`` that spells them as BERT's does, refusing BERT's rarer options."""
    need(config, "position_embedding_type", ("absolute",), "absolute")
    need(config, "is_decoder", (False,), False)
    need(config, "add_cross_attention", (False,), False)
    need(config, "tie_word_embeddings", (True,), True)
    need(config, "pruned_heads", ({}, None), None)
    fields = shape(config, names)
    if fields["type_vocab_size"] < 1:
        raise ModelError(f"config.json: type_vocab_size={fields['type_vocab_size']} must be at least 1.")
    return fields


def write_config(config: EncoderConfig, vocabulary: Vocabulary) -> dict[str, Any]:
    """Return a ``config.json`` that ``transformers`` 4 and 5 read as BertForMaskedLM."""
    insist(config, "bert", **PLAIN, embedding_size=None, num_groups=None, first_position=0)
    return write_fields(config, "bert", "BertForMaskedLM", FIELDS)


def write_fields(
    config: EncoderConfig, family: str, architecture: str, names: Mapping[str, tuple[str, Any]]
) -> dict[str, Any]:
    """Write what ``read_fields`` reads, and the activation."""
    if config.type_vocab_size < 1:
        raise ModelError(f"{family} has segment embeddings: type_vocab_size must be at least 1 (BERT uses 2).")
    return {
        "architectures": [architecture],
        "model_type": family,
        **{theirs: getattr(config, ours) for ours, (theirs, _) in names.items()},
        "hidden_act": write_activation(config.activation),
        "position_embedding_type": "absolute",
        "tie_word_embeddings": True,
    }


PLAIN: dict[str, Any] = {
    "rotary": False,
    "norm_first": False,
    "gated": False,
    "use_bias": True,
    "window": None,
    "global_every": 1,
    "rope_theta": 160_000.0,
}
"""What BERT and the families made from it have in common."""


def weights(config: EncoderConfig) -> list[Weight]:
    """Return every tensor with its stock names; queries, keys and values are three tensors there."""
    return [
        *embedding_weights("bert.", config),
        *layer_weights("bert.", config),
        *both("head.dense", "cls.predictions.transform.dense"),
        *both("head.norm", "cls.predictions.transform.LayerNorm"),
        Weight("head.bias", ("cls.predictions.bias",)),
    ]


def embedding_weights(base: str, config: EncoderConfig) -> list[Weight]:
    """Return BERT's embeddings, which other families share, under the prefix ``base``."""
    parts = {"tokens": "word_embeddings", "positions": "position_embeddings"}
    if config.type_vocab_size:
        parts["segments"] = "token_type_embeddings"
    return [
        *(Weight(f"encoder.embeddings.{o}.weight", (f"{base}embeddings.{t}.weight",)) for o, t in parts.items()),
        *both("encoder.embeddings.norm", f"{base}embeddings.LayerNorm"),
    ]


def layer_weights(base: str, config: EncoderConfig) -> list[Weight]:
    """Return BERT's layers, which other families share, under the prefix ``base``."""
    stock = [f"{base}encoder.layer.{index}" for index in range(config.num_layers)]
    return layers(stock, [f"attention.self.{part}" for part in ("query", "key", "value")], _LAYER)


_LAYER = (
    ("attention.out", "attention.output.dense"),
    ("attention_norm", "attention.output.LayerNorm"),
    ("mlp.up", "intermediate.dense"),
    ("mlp.down", "output.dense"),
    ("mlp_norm", "output.LayerNorm"),
)

OLD_NORMS = ((r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias"))
"""How norms were called before PyTorch's names were taken over."""


def _size(hidden_size: int, num_layers: int) -> EncoderConfig:
    return EncoderConfig(
        vocab_size=30522,
        hidden_size=hidden_size,
        num_layers=num_layers,
        num_heads=hidden_size // 64,
        intermediate_size=4 * hidden_size,
        type_vocab_size=2,
        dropout=0.1,
        attention_dropout=0.1,
    )


BERT = Family(
    name="bert",
    architecture="BertForMaskedLM",
    paper="Devlin et al. 2018, arXiv 1810.04805",
    # 64 a head and a perceptron of four times the width, as in Turc et al. 2019 (arXiv 1908.08962).
    sizes={"tiny": _size(256, 4), "small": _size(512, 8), "base": _size(768, 12)},
    read_config=read_config,
    write_config=write_config,
    weights=weights,
    spelling=Spelling(
        base="bert.",
        parts=("embeddings.", "encoder.", "pooler."),
        old=OLD_NORMS,
        unused=UNUSED + r"|^bert\.pooler\.|^cls\.seq_relationship\.",
        twins={
            "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
            "cls.predictions.decoder.bias": "cls.predictions.bias",
        },
    ),
    extras={
        "nsp": Extra(
            "BertForPreTraining",
            (*both("nsp.dense", "bert.pooler.dense"), *both("nsp.classes", "cls.seq_relationship")),
        )
    },
)
