"""Word vectors: a factor of the mutual information, and a model that knows at once what neighbours make likely."""

import pytest
import torch

from clozelm.families import FAMILIES
from clozelm.nn.heads import MaskedLM
from clozelm.nn.neighbours import look_beside, reserved_dims
from clozelm.nn.word_vectors import begin_with, word_vectors
from clozelm.types import TokenBatch
from tests import tiny_models


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def information(counts: torch.Tensor) -> torch.Tensor:
    """Positive pointwise mutual information, entry by entry."""
    shares = counts.sum(0) ** 0.75
    shares = shares / shares.sum()
    found = torch.zeros_like(counts)
    for row in range(len(counts)):
        for column in range(counts.shape[1]):
            if counts[row, column] > 0:
                ratio = counts[row, column] / (counts[row].sum() * shares[column])
                found[row, column] = ratio.log().clamp_min(0)
    return found


def test_vectors_are_a_factor_of_the_information() -> None:
    """With as many dimensions as there are, angles between vectors are those of U S^(1/2), seen ones centred."""
    counts = torch.poisson(torch.rand(12, 12, generator=generator()) * 5, generator=generator())
    counts = counts + counts.T
    counts[3], counts[:, 3] = 0.0, 0.0
    left, values, _ = torch.linalg.svd(information(counts).double())
    expected = left * values.sqrt()
    is_seen = torch.arange(12) != 3
    expected = torch.nn.functional.normalize(expected - expected[is_seen].mean(0), dim=1)
    found = word_vectors(counts.clone(), 12, generator()).double()
    assert not found[3].any()
    angles = found[is_seen] @ found[is_seen].T
    assert torch.allclose(angles, expected[is_seen] @ expected[is_seen].T, atol=1e-3)


def test_pieces_with_the_same_neighbours_have_like_vectors() -> None:
    """Two groups of pieces, each beside contexts of its own, in fewer dimensions than contexts."""
    counts = torch.rand(40, 60, generator=generator())
    counts[:20, :30] += 5
    counts[20:, 30:] += 5
    found = word_vectors(counts, 8, generator())
    assert found.shape == (40, 8)
    assert torch.allclose(found.norm(dim=1), torch.ones(40))
    alike = found @ found.T
    assert alike[:20, :20].mean() > 0.3 > 0.0 > alike[:20, 20:].mean()


def test_more_dimensions_than_rank() -> None:
    found = word_vectors(torch.ones(5, 3) + torch.eye(5)[:, :3], 7, generator())
    assert found.shape == (5, 7)
    assert not found[:, 3:].any()
    assert not word_vectors(torch.zeros(5, 0), 7, generator()).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_begins_with_them(family: str) -> None:
    """Tokens of a group make each other likelier before any training; what has no vector stays as drawn."""
    wide = {"embedding_size": 64} if family in ("albert", "electra") else {}
    config = tiny_models.tiny_config(family, hidden_size=64, num_heads=4, init_std=0.05, **wide)
    model = MaskedLM(config)
    model.initialise(generator())
    look_beside(model.encoder, generator())
    before = model.decoder_weight.detach().clone()
    reserved = reserved_dims(model.encoder)
    vectors = torch.zeros(config.vocab_size, config.embedding_width - reserved)
    vectors[8:12, 0] = vectors[12:16, 1] = 1.0
    begin_with(model, vectors)
    after = model.decoder_weight.detach()
    is_given = vectors.any(1)
    assert torch.equal(after[~is_given], before[~is_given])
    assert torch.equal(after[:, :reserved], before[:, :reserved])
    lengths = before[is_given][:, reserved:].norm(dim=1).mean()
    assert torch.allclose(after[is_given][:, reserved:].norm(dim=1), lengths.expand(8))
    if config.num_groups is None and not wide:
        gaps = []
        for context in ([8, 9, 10, 11], [12, 13, 14, 15]):
            row = torch.tensor([[2, *context[:2], 4, *context[2:], 3]])
            logits = logits_at(model, row, 3)
            gaps.append(float(logits[8:12].mean() - logits[12:16].mean()))
        assert gaps[0] - gaps[1] > 0.5, gaps


def logits_at(model: MaskedLM, row: torch.Tensor, column: int) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model.eval()(TokenBatch.from_padded(row, torch.ones_like(row)))[0, column]
    return logits
