"""Configurations and weight names of every family, both ways; what cannot be expressed is refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clozelm.errors import ModelError
from clozelm.families import FAMILIES, Family, named
from clozelm.nn.heads import MaskedLM
from tests import tiny_models

ALL = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
VOCABULARY = tiny_models.wordpiece().vocabulary


# A file of a bare encoder, or an older one, spelt as it was released: today's name -> the older name.
def older(name: str) -> str:
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


@ALL
def test_key_is_the_name(family: Family) -> None:
    assert FAMILIES[family.name] is family
    assert named(family.name) is family
    assert family.architecture.endswith("ForMaskedLM")
    assert set(family.sizes) == {"tiny", "small", "base"}


@ALL
@given(data=st.data())
def test_config_round_trip(family: Family, data: st.DataObject) -> None:
    size = data.draw(st.sampled_from(sorted(family.sizes)))
    changes: dict[str, Any] = {
        "num_layers": data.draw(st.integers(1, 9)),
        "max_positions": data.draw(st.integers(8, 5000)),
        "dropout": data.draw(st.sampled_from([0.0, 0.1])),
        "pad_id": data.draw(st.integers(0, 99)),
    }
    if family.name in ("bert", "albert", "distilbert"):
        changes["activation"] = data.draw(st.sampled_from(["gelu", "gelu_tanh", "relu", "silu"]))
    if family.name in ("albert", "electra"):
        changes["embedding_size"] = data.draw(st.sampled_from([64, 200]))
    if family.name == "albert":
        changes["num_groups"] = data.draw(st.integers(1, changes["num_layers"]))
    if family.name == "modernbert":
        changes["use_bias"] = data.draw(st.booleans())
        changes["global_every"] = data.draw(st.integers(1, 4))
        changes["window"] = None if changes["global_every"] == 1 else data.draw(st.integers(2, 300))
        changes["local_rope_theta"] = data.draw(st.sampled_from([10_000.0, 500.0]))
    config = family.preset(size, 100, **changes)
    assert family.read_config(family.write_config(config, VOCABULARY)) == config


@ALL
def test_presets_are_distinct_and_take_changes(family: Family) -> None:
    widths = [family.preset(size, 1000).hidden_size for size in ("tiny", "small", "base")]
    assert widths == [256, 512, 768]
    assert family.preset("tiny", 1000, dropout=0.3).dropout == 0.3
    with pytest.raises(ModelError, match="no size 'huge'; its sizes are tiny, small, base"):
        family.preset("huge", 1000)


@ALL
def test_names_round_trip_bit_for_bit(family: Family) -> None:
    model = tiny_models.tiny_model(family.name)
    stock = family.to_stock(model.state_dict(), model.config)
    state, dropped = family.from_stock(stock, model.config)
    assert dropped == []
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


@ALL
def test_missing_and_unexpected_are_both_reported(family: Family) -> None:
    model = tiny_models.tiny_model(family.name)
    stock = family.to_stock(model.state_dict(), model.config)
    first = next(name for name in sorted(stock) if "bias" not in name)
    total = len(stock)
    del stock[first]
    stock["adapter.weight"] = torch.zeros(1)
    expected = (
        f"1 of {total} tensors are missing from the checkpoint, first '{first}'; "
        "1 tensors in the checkpoint have no place in the model, first 'adapter.weight'."
    )
    with pytest.raises(ModelError) as caught:
        family.from_stock(stock, model.config)
    assert str(caught.value) == expected


@ALL
def test_old_names_and_bare_encoders_are_read(family: Family) -> None:
    model = tiny_models.tiny_model(family.name)
    stock = family.to_stock(model.state_dict(), model.config)
    old = {older(name).removeprefix(family.spelling.base): t for name, t in stock.items()}
    state, _ = family.from_stock(old, model.config)
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


@ALL
def test_twins_are_folded_or_refused(family: Family) -> None:
    model = tiny_models.tiny_model(family.name)
    stock = family.to_stock(model.state_dict(), model.config)
    for twin, first in family.spelling.twins.items():
        both = {**stock, twin: stock[first].clone()}
        assert family.from_stock(both, model.config)[1] == []
        only = {name: tensor for name, tensor in both.items() if name != first}
        state, _ = family.from_stock(only, model.config)
        assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
        with pytest.raises(ModelError, match=f"'{twin}' differs from"):
            family.from_stock({**stock, twin: stock[first] + 1}, model.config)


def test_bert_drops_what_masking_does_not_read() -> None:
    model = tiny_models.tiny_model("bert")
    extra = ["bert.embeddings.position_ids", "bert.pooler.dense.bias", "cls.seq_relationship.weight"]
    stock = FAMILIES["bert"].to_stock(model.state_dict(), model.config)
    _, dropped = FAMILIES["bert"].from_stock(stock | {name: torch.zeros(1) for name in extra}, model.config)
    assert dropped == extra


@pytest.mark.parametrize(
    ("family", "change", "said"),
    [
        ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type='relative_key'"),
        ("bert", {"is_decoder": True}, "is_decoder=True"),
        ("bert", {"hidden_act": "mish"}, "hidden_act='mish' is not supported; supported are gelu,"),
        ("bert", {"tie_word_embeddings": False}, "tie_word_embeddings=False"),
        ("bert", {"pruned_heads": {"0": [1]}}, "pruned_heads"),
        ("bert", {"type_vocab_size": 0}, "type_vocab_size=0"),
        ("bert", {"hidden_size": "large"}, "hidden_size='large' must be a number"),
        ("bert", {"num_attention_heads": 7}, "not a multiple of num_heads=7"),
        ("roberta", {"hidden_act": "relu"}, "hidden_act='relu' is not supported, only 'gelu'"),
        (
            "roberta",
            {"max_position_embeddings": 1},
            "max_position_embeddings=1 leaves no position after pad_token_id",
        ),
        ("roberta", {"position_embedding_type": "relative_key"}, "position_embedding_type='relative_key'"),
        ("albert", {"inner_group_num": 2}, "inner_group_num=2 is not supported, only 1"),
        ("albert", {"num_hidden_groups": 9}, "num_groups=9 must lie between 1 and num_layers=3"),
        ("albert", {"tie_word_embeddings": False}, "tie_word_embeddings=False"),
        ("distilbert", {"activation": "mish"}, "activation='mish' is not supported; supported are gelu,"),
        ("distilbert", {"dim": None}, "dim=None must be a number"),
        ("electra", {"hidden_act": "gelu_new"}, "hidden_act='gelu_new' is not supported, only 'gelu'"),
        ("modernbert", {"decoder_bias": False}, "decoder_bias=False"),
        ("modernbert", {"mlp_bias": True}, "mixed biases"),
        ("modernbert", {"embedding_dropout": 0.5}, "embedding_dropout=0.5 and mlp_dropout=0.0 differ"),
        ("modernbert", {"classifier_activation": "relu"}, "classifier_activation"),
        ("modernbert", {"layer_types": ["sliding_attention"] * 4}, "layer_types"),
        ("modernbert", {"layer_types": ["full_attention"] * 3}, "layer_types"),
        ("modernbert", {"global_attn_every_n_layers": 0}, "global_attn_every_n_layers=0"),
        (
            "modernbert",
            {"rope_parameters": {"full_attention": {"rope_type": "yarn", "rope_theta": 1.0}}},
            "rope_type='yarn'",
        ),
        ("modernbert", {"rope_scaling": {"type": "linear"}}, "rope_scaling"),
    ],
)
def test_what_cannot_be_expressed_is_refused(family: str, change: dict[str, Any], said: str) -> None:
    config = FAMILIES[family].write_config(tiny_models.tiny_config(family), VOCABULARY)
    with pytest.raises(ModelError) as caught:
        FAMILIES[family].read_config(config | change)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("types", "every", "window"),
    [("fsfs", 2, 8), ("fsss", 4, 8), ("ffff", 1, None), ("fssf", 3, 8)],
)
def test_modernbert_new_spelling(types: str, every: int, window: int | None) -> None:
    family = FAMILIES["modernbert"]
    config = family.write_config(tiny_models.tiny_config("modernbert"), VOCABULARY)
    for old in ("global_attn_every_n_layers", "global_rope_theta", "local_rope_theta"):
        del config[old]
    names = {"f": "full_attention", "s": "sliding_attention"}
    config["layer_types"] = [names[one] for one in types]
    config["rope_parameters"] = {
        "full_attention": {"rope_type": "default", "rope_theta": 5000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 700.0},
    }
    read = family.read_config(config)
    assert (read.global_every, read.window) == (every, window)
    assert (read.rope_theta, read.local_rope_theta) == (5000.0, 700.0)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_shape_of_another_family_is_not_written(name: str) -> None:
    # ELECTRA's encoder with embeddings as wide as its layers is BERT's.
    others = [other for other in FAMILIES if other != name and (name, other) != ("electra", "bert")]
    for other in others:
        with pytest.raises(ModelError, match=f"{name} has"):
            FAMILIES[name].write_config(tiny_models.tiny_config(other), VOCABULARY)


def test_unknown_family() -> None:
    with pytest.raises(ModelError, match="'gpt2' is not supported; supported are bert, roberta, albert, dist"):
        named("gpt2")


def test_every_parameter_has_a_name() -> None:
    for family in FAMILIES.values():
        model = MaskedLM(tiny_models.tiny_config(family.name))
        assert {w.ours for w in family.weights(model.config)} == model.state_dict().keys()


RELEASED = [
    ("bert-base-uncased", "bert", "config.json"),
    ("modernbert-base", "modernbert", "config.json"),
    ("roberta-base", "roberta", "config.finetuned.json"),
    ("albert-base-v2", "albert", "config.finetuned.json"),
    ("distilbert-base-uncased", "distilbert", "config.finetuned.json"),
]


@pytest.mark.parametrize(("name", "family", "file"), RELEASED)
def test_released_configs_are_the_base_preset(name: str, family: str, file: str, shared: Path) -> None:
    path = shared / "checkpoints" / "tokenizers" / name / file
    read = FAMILIES[family].read_config(json.loads(path.read_text(encoding="utf-8")))
    same = {"pad_id": read.pad_id, "dropout": read.dropout, "attention_dropout": read.attention_dropout}
    assert read == FAMILIES[family].preset("base", read.vocab_size, **same)


@pytest.mark.parametrize(
    ("family", "millions"),
    [
        ("bert", 109.51),
        ("roberta", 124.70),
        ("albert", 11.22),
        ("distilbert", 66.99),
        ("electra", 109.51),
        ("modernbert", 149.66),
    ],
)
def test_base_has_the_published_size(family: str, millions: float) -> None:
    """The base models with their heads for masked language modelling and without poolers, in the papers: 110M,
    125M, 12M, 66M, 110M and 149M."""
    with torch.device("meta"):
        model = MaskedLM(FAMILIES[family].sizes["base"])
    assert sum(weight.numel() for weight in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)
