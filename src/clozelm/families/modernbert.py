"""ModernBERT: norms first, rotary positions, GEGLU, local attention (Warner et al. 2024, 2412.13663)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clozelm.errors import ModelError
from clozelm.families.family import (
    DISCRIMINATING,
    UNUSED,
    Family,
    Spelling,
    Weight,
    insist,
    need,
    read_activation,
    replaced_head,
    shape,
    write_activation,
)
from clozelm.nn.config import EncoderConfig
from clozelm.vocab import Vocabulary

# Our field -> (stock key, the stock default when the key is absent).
_FIELDS: dict[str, tuple[str, Any]] = {
    "vocab_size": ("vocab_size", 50368),
    "hidden_size": ("hidden_size", 768),
    "num_layers": ("num_hidden_layers", 22),
    "num_heads": ("num_attention_heads", 12),
    "intermediate_size": ("intermediate_size", 1152),
    "max_positions": ("max_position_embeddings", 8192),
    "norm_eps": ("norm_eps", 1e-5),
    "dropout": ("mlp_dropout", 0.0),
    "attention_dropout": ("attention_dropout", 0.0),
    "init_std": ("initializer_range", 0.02),
    "pad_id": ("pad_token_id", 50283),
}
_BIASES = ("attention_bias", "mlp_bias", "norm_bias", "classifier_bias")
_THETA = {"full_attention": 160_000.0, "sliding_attention": 10_000.0}
_OLD_THETA = {"full_attention": "global_rope_theta", "sliding_attention": "local_rope_theta"}


def read_config(config: Mapping[str, Any]) -> EncoderConfig:
    """Return the encoder that a stock ModernBERT ``config.json`` describes, old spelling or new."""
    need(config, "decoder_bias", (True,), True)
    need(config, "tie_word_embeddings", (True,), True)
    fields = shape(config, _FIELDS)
    embedding_dropout = config.get("embedding_dropout", 0.0)
    if embedding_dropout != fields["dropout"]:
        raise ModelError(
            f"config.json: embedding_dropout={embedding_dropout} and mlp_dropout={fields['dropout']} differ; "
            "one rate serves both here."
        )
    activation = read_activation(config, "hidden_activation")
    if read_activation(config, "classifier_activation") != activation:
        raise ModelError("config.json: classifier_activation and hidden_activation differ; one serves both here.")
    every = _global_every(config, fields["num_layers"])
    window = shape(config, {"window": ("local_attention", 128)})["window"]
    return EncoderConfig(
        **fields,
        rotary=True,
        norm_first=True,
        gated=True,
        use_bias=_use_bias(config),
        activation=activation,
        window=None if every == 1 else window,
        global_every=every,
        rope_theta=_theta(config, "full_attention"),
        local_rope_theta=_theta(config, "sliding_attention"),
    )


def write_config(config: EncoderConfig, vocabulary: Vocabulary) -> dict[str, Any]:
    """Return a ``config.json`` that ``transformers`` 4 and 5 read as ModernBertForMaskedLM.

    Rotary bases and the pattern of global layers take the spelling of version 4, which 5 still reads.
    """
    insist(config, "modernbert", rotary=True, norm_first=True, gated=True, type_vocab_size=0)
    insist(config, "modernbert", embedding_size=None, num_groups=None, first_position=0)
    activation = write_activation(config.activation)
    return {
        "architectures": ["ModernBertForMaskedLM"],
        "model_type": "modernbert",
        **{theirs: getattr(config, ours) for ours, (theirs, _) in _FIELDS.items()},
        "embedding_dropout": config.dropout,
        **dict.fromkeys(_BIASES, config.use_bias),
        "decoder_bias": True,
        "hidden_activation": activation,
        "classifier_activation": activation,
        "local_attention": 128 if config.window is None else config.window,
        "global_attn_every_n_layers": 1 if config.window is None else config.global_every,
        "global_rope_theta": config.rope_theta,
        "local_rope_theta": config.local_rope_theta,
        "bos_token_id": vocabulary.cls_id,
        "cls_token_id": vocabulary.cls_id,
        "eos_token_id": vocabulary.sep_id,
        "sep_token_id": vocabulary.sep_id,
        "tie_word_embeddings": True,
    }


def weights(config: EncoderConfig) -> list[Weight]:
    """Return every tensor with its stock name; the first layer has no attention norm."""
    kinds = ("weight", "bias") if config.use_bias else ("weight",)
    pairs = [
        ("encoder.embeddings.norm", "model.embeddings.norm"),
        ("encoder.final_norm", "model.final_norm"),
        ("head.dense", "head.dense"),
        ("head.norm", "head.norm"),
    ]
    for index in range(config.num_layers):
        ours, theirs = f"encoder.layers.{index}", f"model.layers.{index}"
        pairs += [
            (f"{ours}.attention.qkv", f"{theirs}.attn.Wqkv"),
            (f"{ours}.attention.out", f"{theirs}.attn.Wo"),
            (f"{ours}.mlp.up", f"{theirs}.mlp.Wi"),
            (f"{ours}.mlp.down", f"{theirs}.mlp.Wo"),
            (f"{ours}.mlp_norm", f"{theirs}.mlp_norm"),
        ]
        if index > 0:
            pairs.append((f"{ours}.attention_norm", f"{theirs}.attn_norm"))
    return [
        Weight("encoder.embeddings.tokens.weight", ("model.embeddings.tok_embeddings.weight",)),
        Weight("head.bias", ("decoder.bias",)),
        *(Weight(f"{ours}.{kind}", (f"{theirs}.{kind}",)) for ours, theirs in pairs for kind in kinds),
    ]


def _use_bias(config: Mapping[str, Any]) -> bool:
    given = {key: bool(config.get(key, False)) for key in _BIASES}
    if len(set(given.values())) > 1:
        said = ", ".join(f"{key}={value}" for key, value in given.items())
        raise ModelError(f"config.json: {said}: mixed biases are not supported, all or none.")
    return given["attention_bias"]


def _global_every(config: Mapping[str, Any], num_layers: int) -> int:
    """Return n such that layer i is global when i % n == 0; the newer ``layer_types`` must have that form."""
    types = config.get("layer_types")
    if types is None:
        every = int(shape(config, {"every": ("global_attn_every_n_layers", 3)})["every"])
        if every < 1:
            raise ModelError(f"config.json: global_attn_every_n_layers={every} must be at least 1 (1: all global).")
        return every
    is_global = [one == "full_attention" for one in types]
    every = next((i for i in range(1, num_layers) if is_global[i : i + 1] == [True]), max(num_layers, 1))
    expected = ["sliding_attention" if i % every else "full_attention" for i in range(num_layers)]
    if list(types) != expected:
        raise ModelError(
            f"config.json: layer_types={list(types)} is not supported: layer i must be 'full_attention' when "
            f"i % n == 0 and 'sliding_attention' otherwise, for {num_layers} layers."
        )
    return every


def _theta(config: Mapping[str, Any], kind: str) -> float:
    if config.get("rope_scaling") is not None:
        raise ModelError(f"config.json: rope_scaling={config['rope_scaling']} is not supported.")
    rope = (config.get("rope_parameters") or {}).get(kind) or {}
    rope_type = rope.get("rope_type", "default")
    if rope_type != "default":
        raise ModelError(f"config.json: rope_type={rope_type!r} is not supported, only 'default'.")
    old = config.get(_OLD_THETA[kind])
    return float(rope.get("rope_theta", _THETA[kind] if old is None else old))


def _size(hidden_size: int, num_layers: int, intermediate_size: int) -> EncoderConfig:
    return EncoderConfig(
        vocab_size=50368,
        hidden_size=hidden_size,
        num_layers=num_layers,
        num_heads=hidden_size // 64,
        intermediate_size=intermediate_size,
        max_positions=1024,
        rotary=True,
        norm_first=True,
        gated=True,
        use_bias=False,
        norm_eps=1e-5,
    )


MODERNBERT = Family(
    name="modernbert",
    architecture="ModernBertForMaskedLM",
    paper="Warner et al. 2024, arXiv 2412.13663",
    # Every layer of tiny and small is global: their rows are hardly longer than the window of 128. Their
    # gated perceptron has about as many weights as a plain one of four times the width (Shazeer 2020, 2).
    sizes={
        "tiny": _size(256, 4, 704),
        "small": _size(512, 8, 1344),
        "base": EncoderConfig(
            vocab_size=50368,
            hidden_size=768,
            num_layers=22,
            num_heads=12,
            intermediate_size=1152,
            max_positions=8192,
            rotary=True,
            norm_first=True,
            gated=True,
            use_bias=False,
            norm_eps=1e-5,
            window=128,
            global_every=3,
        ),
    },
    read_config=read_config,
    write_config=write_config,
    weights=weights,
    spelling=Spelling(
        base="model.",
        parts=("embeddings.", "layers.", "final_norm."),
        unused=UNUSED + DISCRIMINATING,
        twins={"decoder.weight": "model.embeddings.tok_embeddings.weight"},
    ),
    extras={"replaced": replaced_head("ModernBertForReplacedTokens", is_stock=False)},
)
