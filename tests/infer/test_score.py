"""Scores of sentences: by hand, alone or together, windows of long texts, texts with nothing to score."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from clozelm.errors import ClozeError
from clozelm.families import FAMILIES
from clozelm.infer import rectangles, score
from clozelm.infer.copies import masked_copies, plain_windows, scorable
from clozelm.infer.score import METHODS, Method, Score, Scorer
from clozelm.nn.decoder import EncoderDecoder
from clozelm.nn.heads import Discriminator, MaskedLM
from clozelm.types import Reading, TokenBatch
from tests import tiny_models

TEXTS = [
    "the cats sat on the mat.",
    "a dog",
    "",
    "the cats sat on the mats.",
    "is " * 90 + "a cat",
    "zebra zebra",
    "the [MASK] ran",
    "[SEP] [CLS]",
]


def scorer_of(method: Method, family: str = "bert") -> Scorer:
    if method == "replaced":
        discriminator = Discriminator(tiny_models.tiny_config("electra"))
        tiny_models.perturb(discriminator, 0)
        return Scorer(discriminator.eval(), tiny_models.wordpiece())
    if method == "sentinel":
        return Scorer(tiny_models.tiny_decoder("bert").eval(), tiny_models.wordpiece())
    model = tiny_models.tiny_model(family)
    if method == "causal":
        model.reading = Reading("left", ahead=True)
    return Scorer(model, tiny_models.wordpiece(), method=method)


@torch.no_grad()
def log_probabilities(model: MaskedLM, ids: list[int]) -> torch.Tensor:
    batch = torch.tensor([ids])
    return model(TokenBatch.from_padded(batch, torch.ones_like(batch)))[0].log_softmax(-1)


def values(one: Score) -> list[float]:
    return [piece.log_probability for piece in one.pieces]


def test_the_later_pieces_of_a_word_are_hidden_too() -> None:
    """ "cats" is cat, ##s: when cat is scored ##s is masked as well, and when ##s is, cat stays."""
    tokenizer = tiny_models.wordpiece()
    encoded = tokenizer.encode("the catsing sat")
    assert [tokenizer.token(i) for i in encoded.ids] == ["the", "cat", "##s", "##ing", "sat"]
    mask = tokenizer.vocabulary.mask_id
    the, cat, s, ing, sat = encoded.ids.tolist()
    places = np.arange(5)
    (within,) = masked_copies(encoded, places, tokenizer.vocabulary, room=62, within_word=True)
    assert within.ids.tolist() == [
        [2, mask, cat, s, ing, sat, 3],
        [2, the, mask, mask, mask, sat, 3],
        [2, the, cat, mask, mask, sat, 3],
        [2, the, cat, s, mask, sat, 3],
        [2, the, cat, s, ing, mask, 3],
    ]
    assert within.column.tolist() == [1, 2, 3, 4, 5]
    assert within.target.tolist() == [the, cat, s, ing, sat]
    (alone,) = masked_copies(encoded, places, tokenizer.vocabulary, room=62, within_word=False)
    assert (alone.ids == mask).sum(axis=1).tolist() == [1] * 5


@pytest.mark.parametrize("family", FAMILIES)
def test_a_causal_model_needs_one_pass(family: str) -> None:
    """The chain rule: each piece from those before it, [CLS] first; what follows changes nothing."""
    scorer = scorer_of("causal", family)
    assert scorer.method == "causal"
    assert isinstance(scorer.model, MaskedLM)
    (one,) = scorer("the cats sat")
    ids = [2, *(piece.id for piece in one.pieces)]
    for place in range(1, len(ids)):
        expected = log_probabilities(scorer.model, [*ids[:place], 3])[place, ids[place]]
        assert values(one)[place - 1] == pytest.approx(float(expected), abs=1e-5)
    (longer,) = scorer("the cats sat on a mat")
    assert values(longer)[:4] == pytest.approx(values(one), abs=1e-5)


def test_a_model_that_reads_both_sides_ahead_is_masked() -> None:
    model = tiny_models.tiny_model("bert")
    model.reading = Reading("both", ahead=True)
    scorer = Scorer(model, tiny_models.wordpiece())
    assert scorer.method == "within_word"
    (one,) = scorer("the cat")
    the, cat = (piece.id for piece in one.pieces)
    assert values(one)[0] == pytest.approx(float(log_probabilities(model, [2, 4, cat, 3])[1, the]), abs=1e-5)
    assert values(one)[1] == pytest.approx(float(log_probabilities(model, [2, the, 4, 3])[2, cat]), abs=1e-5)


def test_a_discriminator_sums_what_is_not_replaced() -> None:
    scorer = scorer_of("replaced")
    (one,) = scorer("the cats sat")
    ids = torch.tensor([[2, *(piece.id for piece in one.pieces), 3]])
    with torch.no_grad():
        replaced = scorer.model(TokenBatch.from_padded(ids, torch.ones_like(ids)))[0, 1:-1].sigmoid()
    assert values(one) == pytest.approx((1 - replaced).log().tolist(), abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_together_is_one_by_one(method: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = scorer_of(method)
    together = list(scorer(TEXTS))
    assert [one.text for one in together] == TEXTS
    assert [len(one.pieces) for one in together] == [8, 2, 0, 9, 92, 2, 2, 0]
    alone = [next(scorer(text)) for text in TEXTS]
    monkeypatch.setattr(rectangles, "TOKENS_PER_BATCH", 40)
    monkeypatch.setattr(score, "_TOKENS_AT_ONCE", 100)
    monkeypatch.setattr(score, "_TEXTS_AT_ONCE", 3)
    in_parts = list(scorer(TEXTS))
    for one, *others in zip(together, alone, in_parts, strict=True):
        for other in others:
            assert values(one) == pytest.approx(values(other), rel=1e-5, abs=1e-5)
            assert (one.notice, one.num_bytes) == (other.notice, other.num_bytes)


def test_rows_that_come_twice_are_computed_once() -> None:
    """The two sentences differ in one piece: the copies in which it is masked are the same."""
    tokenizer = tiny_models.wordpiece()
    model = tiny_models.tiny_model("bert")
    seen: list[list[int]] = []
    scored_vectors = model.scored_vectors
    model.scored_vectors = lambda batch, scored: (  # type: ignore[method-assign]
        seen.extend(batch.input_ids.tolist()) or scored_vectors(batch, scored)
    )
    first, second, again = Scorer(model, tokenizer)(["the cat sat", "the dog sat", "the cat sat"])
    assert len(seen) == 5
    assert len({tuple(row) for row in seen}) == 5
    assert values(first) == values(again)
    expected = log_probabilities(model, [2, 5, 4, 8, 3])[2]
    for one in (first, second):
        assert values(one)[1] == pytest.approx(float(expected[one.pieces[1].id]), abs=1e-5)


@pytest.mark.parametrize("length", [5, 6, 7, 20, 21])
def test_windows_of_long_texts(length: int) -> None:
    """Every piece is asked for once, in a row that fits, where it stands; copies have it in their middle."""
    tokenizer, room = tiny_models.wordpiece(), 6
    vocabulary = tokenizer.vocabulary
    encoded = tokenizer.encode(" ".join(tiny_models.WORDS[i % 12] for i in range(length)))
    places = scorable(encoded, vocabulary)
    assert len(places) == length
    copies = list(masked_copies(encoded, places, vocabulary, room=room, within_word=True))
    windows = list(plain_windows(encoded, places, vocabulary, room=room))
    for parts, is_masked in ((copies, True), (windows, False)):
        assert np.concatenate([part.target for part in parts]).tolist() == encoded.ids.tolist()
        for part in parts:
            assert part.ids.shape[1] == min(length, room) + 2
            there = part.ids[part.row, part.column]
            assert (there == (vocabulary.mask_id if is_masked else part.target)).all()
    (copy,) = copies
    assert all(copy.column[room // 2 : length - room // 2] == room // 2 + 1) or length <= room
    before = [int(column) for part in windows[1:] for column in part.column[:1]]
    assert all(column > room - room // 2 for column in before)


def test_batches_are_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    """2,000 words make 2,000 copies of 62 pieces; no batch is larger than a small one's cap."""
    monkeypatch.setattr(rectangles, "TOKENS_PER_BATCH", 1000)
    model = tiny_models.tiny_model("bert", num_layers=1)
    sizes: list[int] = []
    scored_vectors = model.scored_vectors
    model.scored_vectors = lambda batch, scored: (  # type: ignore[method-assign]
        sizes.append(batch.input_ids.numel()) or scored_vectors(batch, scored)
    )
    words = np.random.default_rng(0).choice(tiny_models.WORDS, 2000)
    (one,) = Scorer(model, tiny_models.wordpiece())(" ".join(words))
    assert len(one.pieces) == 2000
    assert 500 < max(sizes) <= 1000


def test_a_long_text_says_so() -> None:
    (one,) = scorer_of("within_word")("is " * 90 + "a cat")
    assert one.notice == ("The text has 92 pieces and the model reads 62: each was scored among those around it.")


def test_figures() -> None:
    (one,) = scorer_of("original")("a zébra sat")
    assert one.num_bytes == 12
    assert one.log_probability == pytest.approx(sum(values(one)))
    assert one.nats_per_piece == pytest.approx(-one.log_probability / 3)
    assert one.perplexity == pytest.approx(math.exp(one.nats_per_piece))
    assert one.bits_per_byte == pytest.approx(-one.log_probability / 12 / math.log(2))
    assert one.notice == "1 of 3 pieces is unknown to the tokenizer: what they cost means little."


def test_nothing_to_score() -> None:
    for text in ("", "[SEP] [MASK]", " "):
        (one,) = scorer_of("within_word")(text)
        assert (one.pieces, one.log_probability) == ([], 0.0)
        assert math.isnan(one.nats_per_piece)
        assert math.isnan(one.bits_per_byte)
        assert one.notice == "The text has no piece to score."
    (unknown,) = scorer_of("within_word")("zebra zebra")
    assert [piece.token for piece in unknown.pieces] == ["[UNK]", "[UNK]"]
    assert unknown.notice == "2 of 2 pieces are unknown to the tokenizer: what they cost means little."
    assert list(scorer_of("within_word")([])) == []


def test_streams_are_read_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score, "_TEXTS_AT_ONCE", 2)
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield "the cat"

    scores = scorer_of("within_word")(endless())
    assert [next(scores).text for _ in range(3)] == ["the cat"] * 3
    assert read == 4


def test_the_mode_of_the_model_is_kept() -> None:
    model = tiny_models.tiny_model("bert", dropout=0.5).train()
    scorer = Scorer(model, tiny_models.wordpiece())
    assert values(next(scorer("the cat"))) == values(next(scorer("the cat")))
    assert model.training


def test_mistakes() -> None:
    with pytest.raises(ClozeError, match="not valid text: it has bytes that are not UTF-8"):
        list(scorer_of("within_word")(["the cat", "a \udcff cat"]))
    model, tokenizer = tiny_models.tiny_model("bert"), tiny_models.wordpiece()
    with pytest.raises(ClozeError, match="method='pll' is not one of within_word, original"):
        Scorer(model, tokenizer, method="pll")  # type: ignore[arg-type]
    with pytest.raises(
        ClozeError, match="method='replaced' does not suit a masked language model: use within_word"
    ):
        Scorer(model, tokenizer, method="replaced")
    with pytest.raises(ClozeError, match="does not suit a discriminator: use replaced"):
        Scorer(scorer_of("replaced").model, tokenizer, method="original")
    model.reading = Reading("left", ahead=True)
    with pytest.raises(ClozeError, match="does not suit a model that reads from left to right: use causal"):
        Scorer(model, tokenizer, method="within_word")
    with pytest.raises(ClozeError, match="2 positions has no room"):
        Scorer(tiny_models.tiny_model("bert", max_positions=2), tokenizer)


def test_an_encoder_decoder_is_asked_for_each_piece_in_turn() -> None:
    scorer = scorer_of("sentinel")
    model, tokenizer = scorer.model, scorer.tokenizer
    assert isinstance(model, EncoderDecoder)
    assert scorer.method == "sentinel"
    texts = ["the cats sat on the mat.", "the cats sat on the mats."]
    for text, found in zip(texts, scorer(texts), strict=True):
        ids = [2, *tokenizer.encode(text).ids.tolist(), 3]
        batch = torch.tensor([ids])
        row = TokenBatch.from_padded(batch, torch.ones_like(batch))
        with torch.no_grad():
            expected = [
                float(model.score_hidden(row, torch.tensor([place]))[0]) for place in range(1, len(ids) - 1)
            ]
        assert values(found) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ClozeError, match="method='original' does not suit an encoder-decoder: use sentinel"):
        Scorer(model, tokenizer, method="original")
