"""Recorded vectors and attention weights are those of `transformers` with eager attention, for every family."""

from typing import Any

import pytest
import torch

from clozelm.families import FAMILIES
from clozelm.nn.attention import Record
from clozelm.nn.heads import MaskedLM
from tests import tiny_models

transformers = pytest.importorskip("transformers")
transformers.logging.disable_progress_bar()

TOLERANCE = 2e-5
LENGTHS = [23, 5, 1, 40]  # longer than the local window of 8, shorter, of one token, and as long as the row


@pytest.fixture(params=FAMILIES)
def pair(request: pytest.FixtureRequest) -> tuple[Any, MaskedLM]:
    stock = tiny_models.stock_model(request.param)
    return stock, tiny_models.ours_from(stock, request.param)


def test_vectors_and_weights(pair: tuple[Any, MaskedLM]) -> None:
    stock, ours = pair
    batch = tiny_models.padded(tiny_models.documents(LENGTHS), 40)
    record = Record()
    with torch.no_grad():
        last = ours.encoder(batch, record=record)
        theirs = stock(
            batch.input_ids,
            attention_mask=batch.is_token.long(),
            output_hidden_states=True,
            output_attentions=True,
        )
    vectors = [*record.hidden[:-1], last]  # there the last ones are normalised, where the family does so
    assert len(vectors) == len(theirs.hidden_states) == ours.config.num_layers + 1
    for mine, other in zip(vectors, theirs.hidden_states, strict=True):
        assert (mine - other)[batch.is_token].abs().max() <= TOLERANCE
    assert len(record.weights) == len(theirs.attentions) == ours.config.num_layers
    for mine, other in zip(record.weights, theirs.attentions, strict=True):
        difference = (mine - other).abs().amax(dim=(1, 3))
        assert difference[batch.is_token].max() <= TOLERANCE
