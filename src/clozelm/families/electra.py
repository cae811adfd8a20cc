"""ELECTRA: BERT behind narrow embeddings, generator and discriminator (Clark et al. 2020, arXiv 2003.10555)."""

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
from clozelm.families.family import (
    DISCRIMINATING,
    UNUSED,
    Family,
    Spelling,
    Weight,
    both,
    insist,
    need,
    replaced_head,
)
from clozelm.nn.config import EncoderConfig
from clozelm.vocab import Vocabulary

_FIELDS: dict[str, tuple[str, Any]] = {
    **FIELDS,
    "embedding_size": ("embedding_size", 128),
    "hidden_size": ("hidden_size", 256),
    "num_heads": ("num_attention_heads", 4),
    "intermediate_size": ("intermediate_size", 1024),
}


def read_config(config: Mapping[str, Any]) -> EncoderConfig:
    """Return the encoder that a stock ELECTRA ``config.json`` describes.

    The generator's head always uses GELU, so the layers must too. Embeddings as wide as the layers have no
    projection.
    """
    need(config, "hidden_act", ("gelu",), "gelu")
    fields = read_fields(config, _FIELDS)
    if fields["embedding_size"] == fields["hidden_size"]:
        fields["embedding_size"] = None
    return EncoderConfig(**fields)


def write_config(config: EncoderConfig, vocabulary: Vocabulary) -> dict[str, Any]:
    """Return a ``config.json`` that ``transformers`` 4 and 5 read as ElectraForMaskedLM."""
    insist(config, "electra", **PLAIN, num_groups=None, first_position=0, activation="gelu")
    if config.embedding_size == config.hidden_size:
        raise ModelError(
            f"electra has no projection between embeddings and layers of one width: leave embedding_size="
            f"{config.embedding_size} out."
        )
    return write_fields(config, "electra", "ElectraForMaskedLM", _FIELDS) | {
        "embedding_size": config.embedding_width
    }


def weights(config: EncoderConfig) -> list[Weight]:
    """Return every tensor of a generator with its stock names."""
    is_narrow = config.embedding_size is not None
    return [
        *embedding_weights("electra.", config),
        *(both("encoder.embeddings.project", "electra.embeddings_project") if is_narrow else []),
        *layer_weights("electra.", config),
        *both("head.dense", "generator_predictions.dense"),
        *both("head.norm", "generator_predictions.LayerNorm"),
        Weight("head.bias", ("generator_lm_head.bias",)),
    ]


def _size(hidden_size: int, num_layers: int, embedding_size: int | None) -> EncoderConfig:
    return EncoderConfig(
        vocab_size=30522,
        embedding_size=embedding_size,
        hidden_size=hidden_size,
        num_layers=num_layers,
        num_heads=hidden_size // 64,
        intermediate_size=4 * hidden_size,
        type_vocab_size=2,
        dropout=0.1,
        attention_dropout=0.1,
    )


ELECTRA = Family(
    name="electra",
    architecture="ElectraForMaskedLM",
    paper="Clark et al. 2020, arXiv 2003.10555",
    # The discriminator's sizes; a generator is a fraction of one (setting rtd.generator).
    sizes={"tiny": _size(256, 4, 128), "small": _size(512, 8, 128), "base": _size(768, 12, None)},
    read_config=read_config,
    write_config=write_config,
    weights=weights,
    spelling=Spelling(
        base="electra.",
        parts=("embeddings.", "encoder.", "embeddings_project."),
        old=OLD_NORMS,
        unused=UNUSED + DISCRIMINATING,
        twins={"generator_lm_head.weight": "electra.embeddings.word_embeddings.weight"},
    ),
    extras={"replaced": replaced_head("ElectraForPreTraining", is_stock=True)},
)
