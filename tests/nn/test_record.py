"""What an encoder writes down on the way: the same numbers as without, rows of weights that sum to 1."""

import pytest
import torch

from clozelm.families import FAMILIES
from clozelm.nn.attention import Record, visible
from clozelm.nn.heads import MaskedLM
from clozelm.types import TokenBatch
from tests import tiny_models

LENGTHS = [19, 4, 1]


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> MaskedLM:
    return tiny_models.tiny_model(request.param)


@pytest.fixture
def packed() -> TokenBatch:
    return tiny_models.packed(tiny_models.documents(LENGTHS), sum(LENGTHS) + 3)


@torch.no_grad()
def test_recording_changes_nothing(model: MaskedLM, packed: TokenBatch) -> None:
    scored = packed.is_token.flatten().nonzero().squeeze(1)[::3]
    for which in (None, scored):
        alone, recorded = model.encoder(packed, scored=which), model.encoder(packed, scored=which, record=Record())
        assert alone.shape == recorded.shape
        is_read = slice(None) if which is not None else packed.is_token
        assert (alone - recorded)[is_read].abs().max() <= 1e-5


@torch.no_grad()
def test_weights_are_shares_of_what_is_seen(model: MaskedLM, packed: TokenBatch) -> None:
    record = Record()
    model.encoder(packed, record=record)
    assert len(record.weights) == model.config.num_layers
    for index, weights in enumerate(record.weights):
        window = None if model.config.is_global(index) else model.config.window
        seen = visible(packed.doc_ids, packed.positions, window).expand_as(weights)
        assert (weights.sum(-1) - 1).abs().max() <= 1e-5
        assert (weights[~seen] == 0).all()
        assert (weights[seen] > 0).all()


def test_vectors_may_be_given(model: MaskedLM, packed: TokenBatch) -> None:
    """The looked-up vectors give the same bits, and a gradient that reaches them; others are used."""
    looked_up = model.encoder.embeddings.tokens(packed.input_ids).detach().requires_grad_()
    given = model.encoder(packed, embeddings=looked_up)
    assert torch.equal(given, model.encoder(packed))
    (gradient,) = torch.autograd.grad(given[packed.is_token].sum(), looked_up)
    assert (gradient[packed.is_token].abs().amax(-1) > 0).all()
    assert not torch.equal(given, model.encoder(packed, embeddings=looked_up * 2))
