"""RoBERTa: BERT without segments, its positions counted from the padding id (Liu et al. 2019, arXiv 1907.11692)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clozelm.errors import ModelError
from clozelm.families.bert import (
    FIELDS,
    OLD_NORMS,
    PLAIN,
    embedding_weights,
    layer_weights,
    read_fields,
    write_fields,
)
from clozelm.families.family import UNUSED, Family, Spelling, Weight, both, insist, need
from clozelm.nn.config import EncoderConfig
from clozelm.vocab import Vocabulary

_FIELDS: dict[str, tuple[str, Any]] = {
    **FIELDS,
    "vocab_size": ("vocab_size", 50265),
    "pad_id": ("pad_token_id", 1),
}


def read_config(config: Mapping[str, Any]) -> EncoderConfig:
    """Return the encoder that a stock RoBERTa ``config.json`` describes.

    Its position table has ``pad_id + 1`` rows more than there are positions; its head's activation is always
    GELU, so the layers' must be too.
    """
    need(config, "hidden_act", ("gelu",), "gelu")
    fields = read_fields(config, _FIELDS)
    first = _first_position(fields["pad_id"])
    rows = fields.pop("max_positions")
    if rows <= first:
        raise ModelError(
            f"config.json: max_position_embeddings={rows} leaves no position after pad_token_id={first - 1}."
        )
    return EncoderConfig(**fields, max_positions=rows - first, first_position=first)


def write_config(config: EncoderConfig, vocabulary: Vocabulary) -> dict[str, Any]:
    """Return a ``config.json`` that ``transformers`` 4 and 5 read as RobertaForMaskedLM."""
    first = _first_position(config.pad_id)
    insist(config, "roberta", **PLAIN, embedding_size=None, num_groups=None, first_position=first)
    insist(config, "roberta", activation="gelu")
    return write_fields(config, "roberta", "RobertaForMaskedLM", _FIELDS) | {
        "max_position_embeddings": config.max_positions + first,
        "bos_token_id": vocabulary.cls_id,
        "eos_token_id": vocabulary.sep_id,
    }


def weights(config: EncoderConfig) -> list[Weight]:
    """Return every tensor with its stock names."""
    return [
        *embedding_weights("roberta.", config),
        *layer_weights("roberta.", config),
        *both("head.dense", "lm_head.dense"),
        *both("head.norm", "lm_head.layer_norm"),
        Weight("head.bias", ("lm_head.bias",)),
    ]


def _first_position(pad_id: int) -> int:
    return pad_id + 1


def _size(hidden_size: int, num_layers: int) -> EncoderConfig:
    return EncoderConfig(
        vocab_size=50265,
        hidden_size=hidden_size,
        num_layers=num_layers,
        num_heads=hidden_size // 64,
        intermediate_size=4 * hidden_size,
        type_vocab_size=1,
        first_position=_first_position(1),
        pad_id=1,
        norm_eps=1e-5,
        dropout=0.1,
        attention_dropout=0.1,
    )


ROBERTA = Family(
    name="roberta",
    architecture="RobertaForMaskedLM",
    paper="Liu et al. 2019, arXiv 1907.11692",
    sizes={"tiny": _size(256, 4), "small": _size(512, 8), "base": _size(768, 12)},
    read_config=read_config,
    write_config=write_config,
    weights=weights,
    spelling=Spelling(
        base="roberta.",
        parts=("embeddings.", "encoder.", "pooler."),
        old=OLD_NORMS,
        unused=UNUSED + r"|^roberta\.pooler\.",
        twins={
            "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
            "lm_head.decoder.bias": "lm_head.bias",
        },
    ),
)
