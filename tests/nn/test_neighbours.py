"""Heads that begin with the tokens beside them: where each looks at first, and for whom that is nothing."""

import pytest
import torch
from torch import Tensor

from clozelm.errors import ModelError
from clozelm.families import FAMILIES
from clozelm.nn.attention import rotary_angles, rotate_projection
from clozelm.nn.encoder import Layer
from clozelm.nn.heads import MaskedLM
from clozelm.nn.neighbours import look_beside
from tests import tiny_models

WIDTH = 48


def attention(model: MaskedLM, index: int = 0) -> Tensor:
    """Weights ``[heads, queries, keys]`` of a layer on the embeddings of one document of random tokens."""
    config, parts = model.config, model.encoder.embeddings
    batch = tiny_models.padded(tiny_models.documents([WIDTH]), WIDTH)
    layer = model.encoder.layers[index]
    assert isinstance(layer, Layer)
    qkv = layer.attention.qkv(parts(batch)).view(1, WIDTH, 3, config.num_heads, -1)
    if config.rotary:
        theta = config.rope_theta if config.is_global(index) else config.local_rope_theta
        qkv = rotate_projection(qkv, *rotary_angles(batch.positions, config.head_size, theta))
    query, key = qkv[0, :, 0].transpose(0, 1), qkv[0, :, 1].transpose(0, 1)
    weights: Tensor = (query @ key.transpose(1, 2) * query.shape[-1] ** -0.5).softmax(-1)
    return weights.detach()


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("family", FAMILIES)
def test_each_head_begins_at_its_distance(family: str, index: int) -> None:
    wide = {"embedding_size": 64} if family in ("albert", "electra") else {}
    model = MaskedLM(tiny_models.tiny_config(family, hidden_size=128, num_heads=4, **wide))
    generator = torch.Generator().manual_seed(0)
    model.initialise(generator)
    queries = torch.arange(4, WIDTH - 4)
    before = attention(model, index)
    assert before.amax() < 0.1, "drawn weights look everywhere"
    look_beside(model.encoder, generator)
    after = attention(model, index)
    for head, distance in enumerate((-1, 1, -2, 2)):
        middle = (after[head] * torch.arange(WIDTH)).sum(1)[queries] - queries
        assert abs(float(middle.mean()) - distance) < 0.5, (head, float(middle.mean()))
        near = torch.stack([after[head, queries, queries + distance + step] for step in range(-2, 3)]).sum(0)
        assert near.mean() > 0.8, (head, float(near.mean()))


@pytest.mark.parametrize(("family", "embedding_size"), [("albert", 64), ("electra", 256)])
def test_vectors_of_the_first_layer_are_as_long_as_later_ones(family: str, embedding_size: int) -> None:
    model = MaskedLM(tiny_models.tiny_config(family, hidden_size=128, embedding_size=embedding_size))
    generator = torch.Generator().manual_seed(0)
    model.initialise(generator)
    look_beside(model.encoder, generator)
    batch = tiny_models.padded(tiny_models.documents([WIDTH]), WIDTH)
    lengths = model.encoder.embeddings(batch)[0].norm(dim=1)
    assert (lengths.mean() - 128**0.5).abs() < 0.5, "a norm gives the square root of the width"


def test_other_weights_stay_as_they_were_drawn() -> None:
    one, other = (MaskedLM(tiny_models.tiny_config("roberta")) for _ in range(2))
    for model in (one, other):
        model.initialise(torch.Generator().manual_seed(3))
    look_beside(other.encoder, torch.Generator().manual_seed(4))
    changed = {
        name
        for (name, mine), theirs in zip(one.named_parameters(), other.parameters(), strict=True)
        if not torch.equal(mine, theirs)
    }
    beginnings = ("encoder.embeddings.", "encoder.layers.")
    assert changed
    assert all(name.startswith(beginnings) for name in changed)
    assert {name.split(".")[-2] for name in changed} == {"tokens", "positions", "segments", "qkv"}
    first = one.config.first_position
    mine, theirs = one.encoder.embeddings.positions, other.encoder.embeddings.positions
    assert mine is not None
    assert theirs is not None
    assert torch.equal(mine.weight[:first], theirs.weight[:first]), "rows before the first position are padding's"
    size = one.config.hidden_size
    for mine_layer, their_layer in zip(one.encoder.layers, other.encoder.layers, strict=True):
        assert isinstance(mine_layer, Layer)
        assert isinstance(their_layer, Layer)
        values = slice(2 * size, 3 * size)
        assert torch.equal(mine_layer.attention.qkv.weight[values], their_layer.attention.qkv.weight[values])


@pytest.mark.parametrize("family", ["electra", "modernbert"])
def test_embeddings_without_room_are_refused(family: str) -> None:
    narrow = {"embedding_size": 4} if family == "electra" else {"hidden_size": 4, "num_heads": 2}
    model = MaskedLM(tiny_models.tiny_config(family, **narrow))
    with pytest.raises(ModelError, match="need embeddings at least 8 wide, not 4"):
        look_beside(model.encoder, torch.Generator())
