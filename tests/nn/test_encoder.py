"""The encoder: packed is padded, scored-only is full, documents never see each other; gradients too."""

import numpy as np
import pytest
import torch

from clozelm.errors import ModelError
from clozelm.families import FAMILIES
from clozelm.nn.attention import visible
from clozelm.nn.config import EncoderConfig
from clozelm.nn.encoder import Encoder
from clozelm.nn.heads import MaskedLM, MlmHead
from clozelm.types import TokenBatch
from tests import tiny_models

TOLERANCE = 1e-5
# One beyond the local window, one within, one of a single token, one as long as a padded row.
LENGTHS = [19, 4, 1, 30]
WIDTH = 30


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> MaskedLM:
    return tiny_models.tiny_model(request.param)


@pytest.fixture
def padded() -> TokenBatch:
    return tiny_models.padded(tiny_models.documents(LENGTHS), WIDTH)


@pytest.fixture
def packed() -> TokenBatch:
    return tiny_models.packed(tiny_models.documents(LENGTHS), sum(LENGTHS) + 5)


def flat_positions(batch: TokenBatch, every: int = 1) -> torch.Tensor:
    return batch.is_token.flatten().nonzero().squeeze(1)[::every]


def gradients(model: MaskedLM, out: torch.Tensor) -> dict[str, torch.Tensor]:
    """Gradients of a fixed random projection of ``out``."""
    model.zero_grad()
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(0))
    (out * weight).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, gradient in one.items():
        scale = gradient.abs().max().clamp(min=1.0)
        assert (gradient - other[name]).abs().max() <= TOLERANCE * scale, name


def test_packed_is_padded(model: MaskedLM, padded: TokenBatch, packed: TokenBatch) -> None:
    alone, together = model(padded)[padded.is_token], model(packed)[packed.is_token]
    assert (alone - together).abs().max() <= TOLERANCE
    assert_close(gradients(model, alone), gradients(model, together))


def test_padding_may_be_any_width_and_any_id(model: MaskedLM, padded: TokenBatch) -> None:
    wider = tiny_models.padded(tiny_models.documents(LENGTHS), WIDTH + 9)
    noise = torch.where(wider.is_token, wider.input_ids, 7)
    with torch.no_grad():
        expected = model(padded)[padded.is_token]
        other = model(TokenBatch(noise, wider.doc_ids, wider.positions))[wider.is_token]
    assert (expected - other).abs().max() <= TOLERANCE


@pytest.mark.parametrize("every", [1, 5, 40])
def test_scored_only_is_full(model: MaskedLM, packed: TokenBatch, padded: TokenBatch, every: int) -> None:
    """Rows with many, few and no scored positions; 40 leaves most padded rows without one."""
    for batch in (packed, padded):
        scored = flat_positions(batch, every)
        full = model(batch).flatten(0, 1)[scored]
        alone = model(batch, scored)
        assert alone.shape == full.shape
        assert (alone - full).abs().max() <= TOLERANCE
        assert_close(gradients(model, full), gradients(model, alone))


def test_no_scored_position(model: MaskedLM, padded: TokenBatch) -> None:
    assert model(padded, torch.zeros(0, dtype=torch.int64)).shape == (0, model.config.vocab_size)


def test_documents_do_not_see_each_other(model: MaskedLM, packed: TokenBatch) -> None:
    """Changing every token of one document moves that document and nothing else, by not one bit."""
    is_second = packed.doc_ids == 2
    changed = TokenBatch(
        torch.where(is_second, packed.input_ids % 10 + 3, packed.input_ids), packed.doc_ids, packed.positions
    )
    with torch.no_grad():
        before, after = model(packed), model(changed)
    others = packed.is_token & ~is_second
    assert torch.equal(before[others], after[others])
    assert not torch.equal(before[is_second], after[is_second])


def test_far_tokens_of_a_document_do(model: MaskedLM) -> None:
    """Through its global layers, every token of a document reaches every other."""
    docs = tiny_models.documents([40])
    batch = tiny_models.padded(docs, 40)
    embedded: list[torch.Tensor] = []

    def keep(*given: torch.Tensor) -> None:
        given[-1].retain_grad()
        embedded.append(given[-1])

    handle = model.encoder.embeddings.register_forward_hook(lambda *given: keep(*given[2:]))
    model(batch)[0, 0].sum().backward()
    handle.remove()
    assert (embedded[0].grad.reshape(40, -1).abs().amax(1) > 0).all()


def test_window_is_inclusive_and_padding_sees_itself() -> None:
    doc_ids = torch.tensor([[1, 1, 1, 1, 2, 2, 0, 0]])
    positions = torch.tensor([[0, 1, 2, 3, 0, 1, 0, 0]])
    seen = visible(doc_ids, positions, 4)[0, 0]
    assert seen[0].tolist() == [True, True, True, False, False, False, False, False]
    assert seen[4].tolist() == [False, False, False, False, True, True, False, False]
    assert seen[6].tolist() == [False] * 6 + [True, True]
    assert visible(doc_ids, positions, None)[0, 0, 0].tolist() == [True] * 4 + [False] * 4


def test_segments_are_added() -> None:
    model = tiny_models.tiny_model("bert")
    batch = tiny_models.padded(tiny_models.documents([6]), 6)
    zero = TokenBatch(batch.input_ids, batch.doc_ids, batch.positions, torch.zeros(1, 6, dtype=torch.int64))
    one = TokenBatch(batch.input_ids, batch.doc_ids, batch.positions, torch.ones(1, 6, dtype=torch.int64))
    with torch.no_grad():
        assert torch.equal(model(batch), model(zero))
        assert not torch.allclose(model(batch), model(one))


def test_a_document_beyond_the_positions_is_refused() -> None:
    """Only a document can be too long: a packed row may be longer than the positions."""
    model = tiny_models.tiny_model("bert", max_positions=16)
    with pytest.raises(ModelError, match="A document of 17 tokens is longer than this model's 16 positions"):
        model(tiny_models.padded(tiny_models.documents([17]), 17))
    assert model(tiny_models.packed(tiny_models.documents([16, 16]), 32)).shape[1] == 32


def test_initialisation() -> None:
    """Weights N(0, std), biases and the padding vector 0, norms 1; the same seed draws the same."""
    config = EncoderConfig(vocab_size=2000, hidden_size=128, num_layers=2, num_heads=4, init_std=0.05)
    encoder, again = Encoder(config), Encoder(config)
    encoder.initialise(torch.Generator().manual_seed(1))
    again.initialise(torch.Generator().manual_seed(1))
    for (name, weight), other in zip(encoder.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(weight, other), name
        if name.endswith("bias"):
            assert (weight == 0).all(), name
        elif "norm" in name:
            assert (weight == 1).all(), name
        else:
            drawn = weight[1:] if "tokens" in name else weight
            # The standard deviation of n draws varies by std / sqrt(2 n); four of those.
            assert float(drawn.detach().std()) == pytest.approx(0.05, abs=4 * 0.05 / (2 * drawn.numel()) ** 0.5), (
                name
            )
    assert (encoder.embeddings.tokens.weight[0] == 0).all()


def test_impossible_shapes() -> None:
    with pytest.raises(ModelError, match="hidden_size=10 is not a multiple of num_heads=4"):
        EncoderConfig(vocab_size=10, hidden_size=10, num_heads=4)
    with pytest.raises(ModelError, match="even head size"):
        EncoderConfig(vocab_size=10, hidden_size=9, num_heads=3, rotary=True)
    with pytest.raises(ModelError, match="pad_id=10 lies outside"):
        EncoderConfig(vocab_size=10, hidden_size=8, num_heads=2, pad_id=10)


def test_the_output_bias_can_start_at_log_frequencies() -> None:
    head = MlmHead(EncoderConfig(4, 8, 1, 2, 8, 16))
    counts = np.array([0, 9, 99, 999])
    head.start_from(counts)
    share = head.bias.detach().softmax(dim=0).numpy()
    np.testing.assert_allclose(share, (counts + 1) / (counts + 1).sum(), rtol=1e-5)
    assert abs(float(head.bias.detach().mean())) < 1e-6
