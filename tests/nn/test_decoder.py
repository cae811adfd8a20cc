"""The decoder: it sees what it has written and its document's encoder vectors, nothing else; packed is alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clozelm.errors import ModelError
from clozelm.families import FAMILIES
from clozelm.nn.decoder import EncoderDecoder, EncoderDecoderConfig
from clozelm.nn.flops import decoder_flops
from clozelm.types import TokenBatch
from tests import tiny_models

TOLERANCE = 1e-5
LENGTHS, TARGETS = [19, 4, 30], [6, 9, 3]


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> EncoderDecoder:
    return tiny_models.tiny_decoder(request.param)


@pytest.fixture
def packed() -> tuple[TokenBatch, TokenBatch]:
    texts, targets = tiny_models.documents(LENGTHS), tiny_models.documents(TARGETS, seed=1)
    return tiny_models.packed(texts, sum(LENGTHS) + 5), tiny_models.packed(targets, sum(TARGETS) + 2)


def changed(batch: TokenBatch, cell: int) -> TokenBatch:
    ids = batch.input_ids.clone()
    ids[0, cell] = 5 + (ids[0, cell] + 3) % 10
    return replace(batch, input_ids=ids)


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_a_token_sees_its_document_and_not_what_comes_after(
    model: EncoderDecoder, packed: tuple[TokenBatch, TokenBatch], side: str
) -> None:
    """Change one token at a time and look which logits move: exactly those that may see it, others by no bit."""
    batch, target = packed
    docs, positions = target.doc_ids[0], target.positions[0]
    changes = (batch, target)[side == "decoder"]
    with torch.no_grad():
        before = model(batch, target)[0]
        for cell in range(0, changes.input_ids.shape[1], 3):
            one = changed(changes, cell)
            after = (model(batch, one) if side == "decoder" else model(one, target))[0]
            may_see = docs == changes.doc_ids[0, cell]
            if side == "decoder":
                may_see &= positions >= changes.positions[0, cell]
            is_token = target.is_token[0]
            assert torch.equal(after[is_token & ~may_see], before[is_token & ~may_see])
            if changes.is_token[0, cell]:
                assert not torch.equal(after[may_see], before[may_see])


def test_packed_is_alone(model: EncoderDecoder, packed: tuple[TokenBatch, TokenBatch]) -> None:
    batch, target = packed
    texts, targets = tiny_models.documents(LENGTHS), tiny_models.documents(TARGETS, seed=1)
    together = model(batch, target)[target.is_token]
    rows = tiny_models.padded(texts, max(LENGTHS)), tiny_models.padded(targets, max(TARGETS) + 3)
    padded = model(*rows)[rows[1].is_token]
    alone = [
        model(tiny_models.padded([text], len(text)), tiny_models.padded([one], len(one)))[0]
        for text, one in zip(texts, targets, strict=True)
    ]
    assert (padded - together).abs().max() <= TOLERANCE
    assert (torch.cat(alone) - together).abs().max() <= TOLERANCE


def test_padding_has_no_gradient_of_its_own(model: EncoderDecoder, packed: tuple[TokenBatch, TokenBatch]) -> None:
    """A row whose texts fill it has no padding for the target's padding to see; nothing becomes NaN."""
    texts, targets = tiny_models.documents([8, 4]), tiny_models.documents([3, 2], seed=1)
    batch, target = tiny_models.packed(texts, 12), tiny_models.packed(targets, 9)
    model(batch, target)[target.is_token].sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def test_a_hidden_piece_is_scored_by_what_the_decoder_writes_for_it(model: EncoderDecoder) -> None:
    batch = tiny_models.padded(tiny_models.documents(LENGTHS), max(LENGTHS))
    columns = torch.tensor([3, 1, 29])
    with torch.no_grad():
        found = model.score_hidden(batch, columns)
        for row, column in enumerate(columns.tolist()):
            text = batch.input_ids[row, : LENGTHS[row]].clone()
            piece, text[column] = int(text[column]), tiny_models.VOCAB_SIZE
            read = torch.tensor([2, tiny_models.VOCAB_SIZE])
            logits = model(tiny_models.padded([text], len(text)), tiny_models.padded([read], 2))[0, 1]
            assert float(found[row]) == pytest.approx(float(logits.log_softmax(0)[piece]), abs=1e-5)
    assert (found < 0).all()
    probabilities = []
    for piece in range(model.config.encoder.vocab_size):
        batch.input_ids[0, 3] = piece
        with torch.no_grad():
            probabilities.append(float(model.score_hidden(batch, columns)[0].exp()))
    assert sum(probabilities) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_matrix_reads_and_writes(family: str) -> None:
    model = tiny_models.tiny_decoder(family, sentinels=17)
    names = [name for name, p in model.named_parameters() if p.shape[0] == tiny_models.VOCAB_SIZE + 17]
    assert names == ["encoder.embeddings.tokens.weight", "head.bias"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"decoder_layers": 0}, "decoder_layers=0 must be at least 1"),
        ({"sentinels": 1}, "sentinels=1 must lie between 2"),
        ({"sentinels": 32}, "sentinels=32 must lie between 2 .* and the vocabulary of 32"),
        ({"start_id": 25}, "start_id=25 is no piece of the 20 before sentinels"),
    ],
)
def test_impossible_shapes_are_refused(changes: dict[str, int], said: str) -> None:
    encoder = replace(tiny_models.tiny_config("bert"), vocab_size=32)
    usual = EncoderDecoderConfig(encoder, decoder_layers=2, sentinels=12, start_id=2)
    with pytest.raises(ModelError, match=said):
        replace(usual, **changes)


def test_a_target_longer_than_the_positions_is_refused() -> None:
    model = tiny_models.tiny_decoder("bert", max_positions=8)
    texts, targets = tiny_models.documents([5]), tiny_models.documents([9])
    with pytest.raises(ModelError, match="A document of 9 tokens is longer than this model's 8 positions"):
        model(tiny_models.padded(texts, 5), tiny_models.padded(targets, 9))


def test_shared_layers_are_no_more_than_there_are() -> None:
    encoder = replace(tiny_models.tiny_config("albert", num_layers=6, num_groups=3), vocab_size=32)
    model = EncoderDecoder(EncoderDecoderConfig(encoder, decoder_layers=2, sentinels=12, start_id=2))
    assert len(model.decoder.layers) == 2


def test_flops_are_those_of_the_products() -> None:
    """One layer counted by hand: own and cross-attention, perceptron."""
    config = tiny_models.tiny_config("bert", num_layers=1)
    hidden, wide = config.hidden_size, config.intermediate_size
    targets, texts = np.array([3, 0]), np.array([5, 7])
    own = 3 * 4 * hidden**2 + 2 * (1 + 2 + 3) * hidden
    cross = 3 * 2 * hidden**2 + 5 * 2 * hidden**2 + 2 * 15 * hidden
    assert decoder_flops(config, targets, texts) == 2 * (own + cross + 3 * 2 * hidden * wide)
