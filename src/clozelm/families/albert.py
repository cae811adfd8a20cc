"""ALBERT: narrow embeddings and layers that share their weights (Lan et al. 2020, arXiv 1909.11942)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clozelm.errors import ModelError
from clozelm.families.bert import FIELDS, OLD_NORMS, PLAIN, embedding_weights, read_fields, write_fields
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
)
from clozelm.nn.config import EncoderConfig
from clozelm.vocab import Vocabulary

_FIELDS: dict[str, tuple[str, Any]] = {
    **FIELDS,
    "vocab_size": ("vocab_size", 30000),
    "embedding_size": ("embedding_size", 128),
    "hidden_size": ("hidden_size", 4096),
    "num_groups": ("num_hidden_groups", 1),
    "num_heads": ("num_attention_heads", 64),
    "intermediate_size": ("intermediate_size", 16384),
    "dropout": ("hidden_dropout_prob", 0.0),
    "attention_dropout": ("attention_probs_dropout_prob", 0.0),
}

_LAYER = (
    ("attention.out", "attention.dense"),
    ("attention_norm", "attention.LayerNorm"),
    ("mlp.up", "ffn"),
    ("mlp.down", "ffn_output"),
    ("mlp_norm", "full_layer_layer_norm"),
)


def read_config(config: Mapping[str, Any]) -> EncoderConfig:
    """Return the encoder that a stock ALBERT ``config.json`` describes."""
    need(config, "inner_group_num", (1,), 1)
    fields = read_fields(config, _FIELDS)
    return EncoderConfig(**fields, activation=read_activation(config, "hidden_act", "gelu_new"))


def write_config(config: EncoderConfig, vocabulary: Vocabulary) -> dict[str, Any]:
    """Return a ``config.json`` that ``transformers`` 4 and 5 read as AlbertForMaskedLM."""
    insist(config, "albert", **PLAIN, first_position=0)
    if config.embedding_size is None or config.num_groups is None:
        raise ModelError("albert has narrow embeddings and shared layers: set embedding_size and num_groups.")
    return write_fields(config, "albert", "AlbertForMaskedLM", _FIELDS) | {
        "inner_group_num": 1,
        "bos_token_id": vocabulary.cls_id,
        "eos_token_id": vocabulary.sep_id,
    }


def weights(config: EncoderConfig) -> list[Weight]:
    """Return every tensor with its stock names; a group of layers has one set."""
    stock = [
        f"albert.encoder.albert_layer_groups.{group}.albert_layers.0" for group in range(config.num_groups or 0)
    ]
    return [
        *embedding_weights("albert.", config),
        *both("encoder.embeddings.project", "albert.encoder.embedding_hidden_mapping_in"),
        *both("head.dense", "predictions.dense"),
        *both("head.norm", "predictions.LayerNorm"),
        Weight("head.bias", ("predictions.bias",)),
        *layers(stock, [f"attention.{part}" for part in ("query", "key", "value")], _LAYER),
    ]


def _size(hidden_size: int, num_layers: int) -> EncoderConfig:
    return EncoderConfig(
        vocab_size=30000,
        embedding_size=128,
        hidden_size=hidden_size,
        num_layers=num_layers,
        num_groups=1,
        num_heads=hidden_size // 64,
        intermediate_size=4 * hidden_size,
        type_vocab_size=2,
        activation="gelu_tanh",
    )


ALBERT = Family(
    name="albert",
    architecture="AlbertForMaskedLM",
    paper="Lan et al. 2020, arXiv 1909.11942",
    # Version 2 of the released models, without dropout (section 4.8).
    sizes={"tiny": _size(256, 4), "small": _size(512, 8), "base": _size(768, 12)},
    read_config=read_config,
    write_config=write_config,
    weights=weights,
    spelling=Spelling(
        base="albert.",
        parts=("embeddings.", "encoder.", "pooler."),
        old=OLD_NORMS,
        unused=UNUSED + r"|^albert\.pooler\.|^sop_classifier\.",
        twins={
            "predictions.decoder.weight": "albert.embeddings.word_embeddings.weight",
            "predictions.decoder.bias": "predictions.bias",
        },
    ),
    extras={
        "sop": Extra(
            "AlbertForPreTraining",
            (*both("sop.dense", "albert.pooler"), *both("sop.classes", "sop_classifier.classifier")),
        )
    },
)
