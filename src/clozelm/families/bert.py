"""BERT: learned positions and segments, norms after each residual (Devlin et al. 2018, arXiv 1810.04805)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clozelm.errors import ModelError
from clozelm.families.family import (
    Family,
    Spelling,
    Weight,
    insist,
    need,
    read_activation,
    shape,
    write_activation,
)
from clozelm.nn.config import EncoderConfig
from clozelm.vocab import Vocabulary

# Our field -> (stock key, the stock default when the key is absent).
_FIELDS: dict[str, tuple[str, Any]] = {
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

_LAYER = (
    ("attention.out", "attention.output.dense"),
    ("attention_norm", "attention.output.LayerNorm"),
    ("mlp.up", "intermediate.dense"),
    ("mlp.down", "output.dense"),
    ("mlp_norm", "output.LayerNorm"),
)


def read_config(config: Mapping[str, Any]) -> EncoderConfig:
    """Return the encoder that a stock BERT ``config.json`` describes."""
    need(config, "position_embedding_type", ("absolute",), "absolute")
    need(config, "is_decoder", (False,), False)
    need(config, "add_cross_attention", (False,), False)
    need(config, "tie_word_embeddings", (True,), True)
    need(config, "pruned_heads", ({}, None), None)
    fields = shape(config, _FIELDS)
    if fields["type_vocab_size"] < 1:
        raise ModelError(f"config.json: type_vocab_size={fields['type_vocab_size']} must be at least 1.")
    return EncoderConfig(**fields, activation=read_activation(config, "hidden_act"))


def write_config(config: EncoderConfig, vocabulary: Vocabulary) -> dict[str, Any]:
    """Return a ``config.json`` that ``transformers`` 4 and 5 read as BertForMaskedLM."""
    insist(config, "bert", rotary=False, norm_first=False, gated=False, use_bias=True, window=None)
    if config.type_vocab_size < 1:
        raise ModelError("bert has segment embeddings: type_vocab_size must be at least 1 (BERT uses 2).")
    return {
        "architectures": ["BertForMaskedLM"],
        "model_type": "bert",
        **{theirs: getattr(config, ours) for ours, (theirs, _) in _FIELDS.items()},
        "hidden_act": write_activation(config.activation),
        "position_embedding_type": "absolute",
        "tie_word_embeddings": True,
    }


def weights(config: EncoderConfig) -> list[Weight]:
    """Return every tensor with its stock names; queries, keys and values are three tensors there."""
    names = [
        Weight("encoder.embeddings.tokens.weight", ("bert.embeddings.word_embeddings.weight",)),
        Weight("encoder.embeddings.positions.weight", ("bert.embeddings.position_embeddings.weight",)),
        Weight("encoder.embeddings.segments.weight", ("bert.embeddings.token_type_embeddings.weight",)),
        *_both("encoder.embeddings.norm", "bert.embeddings.LayerNorm"),
        *_both("head.dense", "cls.predictions.transform.dense"),
        *_both("head.norm", "cls.predictions.transform.LayerNorm"),
        Weight("head.bias", ("cls.predictions.bias",)),
    ]
    for index in range(config.num_layers):
        ours, theirs = f"encoder.layers.{index}", f"bert.encoder.layer.{index}"
        parts = tuple(f"{theirs}.attention.self.{part}" for part in ("query", "key", "value"))
        names += _both(f"{ours}.attention.qkv", *parts)
        for here, there in _LAYER:
            names += _both(f"{ours}.{here}", f"{theirs}.{there}")
    return names


def _both(ours: str, *theirs: str) -> list[Weight]:
    return [Weight(f"{ours}.{kind}", tuple(f"{name}.{kind}" for name in theirs)) for kind in ("weight", "bias")]


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
        old=((r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias")),
        unused=r"\.position_ids$|^bert\.pooler\.|^cls\.seq_relationship\.",
        twins={
            "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
            "cls.predictions.decoder.bias": "cls.predictions.bias",
        },
    ),
)
