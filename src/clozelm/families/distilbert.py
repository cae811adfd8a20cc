"""DistilBERT: BERT without segments, half as deep (Sanh et al. 2019, arXiv 1910.01108)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clozelm.families.bert import OLD_NORMS, PLAIN
from clozelm.families.family import (
    UNUSED,
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

# Our field -> (stock key, the stock default when the key is absent). The norms' epsilon is always 1e-12 there.
_FIELDS: dict[str, tuple[str, Any]] = {
    "vocab_size": ("vocab_size", 30522),
    "hidden_size": ("dim", 768),
    "num_layers": ("n_layers", 6),
    "num_heads": ("n_heads", 12),
    "intermediate_size": ("hidden_dim", 3072),
    "max_positions": ("max_position_embeddings", 512),
    "dropout": ("dropout", 0.1),
    "attention_dropout": ("attention_dropout", 0.1),
    "init_std": ("initializer_range", 0.02),
    "pad_id": ("pad_token_id", 0),
}

_LAYER = (
    ("attention.out", "attention.out_lin"),
    ("attention_norm", "sa_layer_norm"),
    ("mlp.up", "ffn.lin1"),
    ("mlp.down", "ffn.lin2"),
    ("mlp_norm", "output_layer_norm"),
)


def read_config(config: Mapping[str, Any]) -> EncoderConfig:
    """Return the encoder that a stock DistilBERT ``config.json`` describes.

    ``sinusoidal_pos_embds`` only says how positions were first filled; the file holds them either way.
    """
    need(config, "tie_word_embeddings", (True,), True)
    need(config, "pruned_heads", ({}, None), None)
    return EncoderConfig(**shape(config, _FIELDS), activation=read_activation(config, "activation"))


def write_config(config: EncoderConfig, vocabulary: Vocabulary) -> dict[str, Any]:
    """Return a ``config.json`` that ``transformers`` 4 and 5 read as DistilBertForMaskedLM."""
    insist(config, "distilbert", **PLAIN, type_vocab_size=0, embedding_size=None, num_groups=None)
    insist(config, "distilbert", first_position=0, norm_eps=1e-12)
    return {
        "architectures": ["DistilBertForMaskedLM"],
        "model_type": "distilbert",
        **{theirs: getattr(config, ours) for ours, (theirs, _) in _FIELDS.items()},
        "activation": write_activation(config.activation),
        "sinusoidal_pos_embds": False,
        "tie_word_embeddings": True,
    }


def weights(config: EncoderConfig) -> list[Weight]:
    """Return every tensor with its stock names."""
    stock = [f"distilbert.transformer.layer.{index}" for index in range(config.num_layers)]
    return [
        Weight("encoder.embeddings.tokens.weight", ("distilbert.embeddings.word_embeddings.weight",)),
        Weight("encoder.embeddings.positions.weight", ("distilbert.embeddings.position_embeddings.weight",)),
        *both("encoder.embeddings.norm", "distilbert.embeddings.LayerNorm"),
        *both("head.dense", "vocab_transform"),
        *both("head.norm", "vocab_layer_norm"),
        Weight("head.bias", ("vocab_projector.bias",)),
        *layers(stock, [f"attention.{part}_lin" for part in ("q", "k", "v")], _LAYER),
    ]


def _size(hidden_size: int, num_layers: int) -> EncoderConfig:
    return EncoderConfig(
        vocab_size=30522,
        hidden_size=hidden_size,
        num_layers=num_layers,
        num_heads=hidden_size // 64,
        intermediate_size=4 * hidden_size,
        dropout=0.1,
        attention_dropout=0.1,
    )


DISTILBERT = Family(
    name="distilbert",
    architecture="DistilBertForMaskedLM",
    paper="Sanh et al. 2019, arXiv 1910.01108",
    # As wide as BERT's sizes, with half the layers.
    sizes={"tiny": _size(256, 2), "small": _size(512, 4), "base": _size(768, 6)},
    read_config=read_config,
    write_config=write_config,
    weights=weights,
    spelling=Spelling(
        base="distilbert.",
        parts=("embeddings.", "transformer."),
        old=OLD_NORMS,
        unused=UNUSED,
        twins={"vocab_projector.weight": "distilbert.embeddings.word_embeddings.weight"},
    ),
)
