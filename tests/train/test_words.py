"""Bits per byte: the same words for every tokenizer, every byte of them paid for once."""

import math

import numpy as np
import pytest
import torch

from clozelm.text.tokenizer import Tokenizer
from clozelm.text.train_tokenizer import train
from clozelm.train import words
from clozelm.train.words import WORDS_PER_SEGMENT, evaluate_words
from tests import tiny_models, tiny_runs
from tests.train.test_evaluate import model_for

KINDS = ("wordpiece", "bpe", "unigram")
PHRASES = [*"机器学习翻译", "模型", "ことば", "モデル", "カタカナ", "。", " 기계 학습은 ", " a model ", ", "]


@pytest.fixture(scope="module")
def tokenizers(texts: list[str]) -> dict[str, Tokenizer]:
    return {kind: tiny_runs.tokenizer(texts, kind) for kind in KINDS}


def uniform(tokenizer: Tokenizer, *, max_positions: int = 1024):
    model = model_for(tokenizer, max_positions=max_positions)
    with torch.no_grad():
        model.decoder_weight.zero_()
        model.head.bias.zero_()
    return model


def chosen_words(texts: list[str], rate: float = 0.15, seed: int = 0) -> list[tuple[int, str]]:
    """The words that are hidden, by the readable definition."""
    out = []
    for segment in words._segments(texts, rate, seed):
        out += [
            (segment.document, segment.text[segment.starts[w] : segment.ends[w]])
            for w in np.flatnonzero(segment.chosen)
        ]
    return out


def test_words_are_chosen_by_seed_document_and_word_alone(texts: list[str]) -> None:
    chosen = chosen_words(texts)
    all_words = sum(len(text.split()) for text in texts)
    assert len(chosen) == pytest.approx(0.15 * all_words, rel=0.1)
    assert chosen_words(texts) == chosen
    assert chosen_words(texts, seed=1) != chosen
    assert chosen_words(texts[:5]) == [each for each in chosen if each[0] < 5], "no document depends on a later one"
    assert all(word in texts[document].split() for document, word in chosen)


def test_every_segment_has_a_word(texts: list[str]) -> None:
    segments = list(words._segments(["one", "", "   ", " ".join(["w"] * 130)], 0.0001, 0))
    assert [segment.document for segment in segments] == [0, 3, 3, 3]
    assert [len(segment.starts) for segment in segments] == [1, 64, 64, 2]
    assert all(segment.chosen.sum() == 1 for segment in segments)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't stop, naïve: x=1!", ["Don't", "stop,", "naïve:", "x=1!"]),
        ("机器learning用。 好", ["机", "器", "learning", "用", "。", "好"]),
        ("ことば、カナ ｶﾅ", ["こ", "と", "ば", "、", "カ", "ナ", "ｶ", "ﾅ"]),
        ("か\u3099 葛\U000e0100城 人々", ["か\u3099", "葛\U000e0100", "城", "人", "々"]),
        ("기계 학습은.", ["기계", "학습은."]),
        ("𠮷a", ["𠮷", "a"]),
    ],
)
def test_words_of_every_script(text: str, expected: list[str]) -> None:
    assert words._WORD.findall(text) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_words_that_share_a_piece_are_hidden_and_paid_together(kind: str) -> None:
    """By a slow, obvious reading of the offsets: every hidden byte is paid for, and no other."""
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(PHRASES, 30)) for _ in range(60)]
    tokenizer = train(texts, kind=kind, vocab_size={"wordpiece": 90, "bpe": 330, "unigram": 70}[kind])[0]
    pieces = size = drawn = hidden_words = 0
    for segment in words._segments(texts, 0.15, 0):
        spans = list(zip(segment.starts.tolist(), segment.ends.tolist(), strict=True))
        offsets = tokenizer.encode(segment.text).offsets.tolist()
        hidden = np.zeros(len(segment.text) + 1, dtype=bool)
        for start, stop in np.array(spans)[segment.chosen]:
            hidden[start:stop] = True
        before = None
        while before is None or (hidden != before).any():
            before = hidden.copy()
            for start, stop in offsets + spans:
                hidden[start:stop] |= hidden[start:stop].any()
        drawn += int(segment.chosen.sum())
        hidden_words += sum(bool(hidden[start]) for start, _ in spans)
        pieces += sum(bool(hidden[start]) for start, _ in offsets)
        size += sum(len(segment.text[start:stop].encode()) for start, stop in spans if hidden[start])
    result = evaluate_words(uniform(tokenizer), tokenizer, texts)
    assert result.words < drawn < hidden_words, "the input has words that share a piece"
    assert (result.words_unread, result.words_dropped) == (0, 0)
    assert result.bits_per_byte == pytest.approx(pieces * math.log2(tokenizer.vocab_size) / size, rel=1e-6)


def test_words_without_a_piece_are_counted() -> None:
    """BERT's normaliser drops format characters."""
    tokenizer = tiny_models.wordpiece()
    texts = ["the \u200b\u200b cat", "\u200b"]
    result = evaluate_words(uniform(tokenizer), tokenizer, texts, rate=0.9999)
    assert (result.words, result.words_dropped, result.words_unread) == (2, 2, 0)
    assert result.bits_per_byte == pytest.approx(2 * math.log2(tokenizer.vocab_size) / 6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_uniform_model_pays_log2_of_its_vocabulary_a_piece(
    kind: str, tokenizers: dict[str, Tokenizer], texts: list[str]
) -> None:
    """All pieces of the hidden words, the bare mark of a word's beginning included, over their bytes."""
    tokenizer, some = tokenizers[kind], texts[:12]
    result = evaluate_words(uniform(tokenizer), tokenizer, some)
    chosen = chosen_words(some)
    size = sum(len(word.encode()) for _, word in chosen)
    pieces = 0
    for segment in words._segments(some, 0.15, 0):
        # A word alone, with the space before it but at a segment's beginning, has the pieces it has in the text.
        for index in np.flatnonzero(segment.chosen):
            start, stop = segment.starts[index], segment.ends[index]
            if kind == "bpe":
                pieces += len(tokenizer.encode(segment.text[:stop]).ids) - len(
                    tokenizer.encode(segment.text[: max(0, start - 1)]).ids
                )
            else:
                pieces += len(tokenizer.encode(segment.text[start:stop]).ids)
    assert (result.words, result.words_unread, result.words_unknown) == (len(chosen), 0, 0)
    assert result.bits_per_byte == pytest.approx(pieces * math.log2(tokenizer.vocab_size) / size, rel=1e-6)
    low, high = result.interval
    assert low < result.bits_per_byte < high


@pytest.mark.parametrize("kind", KINDS)
def test_all_pieces_of_a_hidden_word_are_masked_and_no_others(
    kind: str, tokenizers: dict[str, Tokenizer], texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = tokenizers[kind]
    seen = []
    real = words._window_losses
    monkeypatch.setattr(words, "_window_losses", lambda model, ws, ts: seen.append((ws, ts)) or real(model, ws, ts))
    evaluate_words(uniform(tokenizer), tokenizer, texts[:6])
    ((windows, targets),) = seen
    segments = list(words._segments(texts[:6], 0.15, 0))
    mask_id = tokenizer.vocabulary.mask_id
    assert len(windows) == len(segments)
    for segment, window, target in zip(segments, windows, targets, strict=True):
        masked = window.ids == mask_id
        assert np.flatnonzero(masked).tolist() == window.columns
        whole = window.ids.copy()
        whole[window.columns] = target
        assert whole[1:-1].tolist() == tokenizer.encode(segment.text).ids.tolist()
        hidden = np.zeros(len(segment.text), dtype=bool)
        for index in np.flatnonzero(segment.chosen):
            hidden[segment.starts[index] : segment.ends[index]] = True
        offsets = tokenizer.encode(segment.text).offsets
        for is_masked, (start, stop) in zip(masked[1:-1], offsets, strict=True):
            if stop > start:
                assert is_masked == hidden[start]


def test_the_same_words_for_every_tokenizer(tokenizers: dict[str, Tokenizer], texts: list[str]) -> None:
    results = [evaluate_words(uniform(each), each, texts[:10]) for each in tokenizers.values()]
    assert len({result.words for result in results}) == 1


def test_words_right(tokenizers: dict[str, Tokenizer]) -> None:
    """A model that always says one piece is right about that word alone."""
    tokenizer = tiny_models.wordpiece()
    model = uniform(tokenizer)
    with torch.no_grad():
        model.head.bias[tokenizer.id("the")] = 5.0
    result = evaluate_words(model, tokenizer, ["the the the cat", "cats"], rate=0.9999)
    assert (result.words, result.words_right) == (5, 0.6)


def test_unknown_words_are_counted_once_each() -> None:
    tokenizer = tiny_models.wordpiece()
    result = evaluate_words(uniform(tokenizer), tokenizer, ["the zebra-zebra sat", "the cat"], rate=0.9999)
    assert (result.words, result.words_unknown, result.words_unread) == (5, 1, 0)


def test_words_beyond_the_positions_are_unread_and_cost_nothing() -> None:
    tokenizer = tiny_models.wordpiece()
    text = " ".join(["the"] * (WORDS_PER_SEGMENT + 10))
    result = evaluate_words(uniform(tokenizer, max_positions=22), tokenizer, [text], rate=0.9999)
    assert (result.words, result.words_unread) == (20 + 10, 44)
    assert result.bits_per_byte == pytest.approx(math.log2(tokenizer.vocab_size) / 3)


def test_a_word_cut_by_the_end_of_the_positions_is_unread_whole() -> None:
    tokenizer = tiny_models.wordpiece()
    result = evaluate_words(uniform(tokenizer, max_positions=4), tokenizer, ["the cats"], rate=0.9999)
    assert (result.words, result.words_unread) == (1, 1)


def test_the_order_of_documents_changes_nothing_but_the_draw(texts: list[str], tiny_tokenizer: Tokenizer) -> None:
    """With every word hidden nothing is drawn, and the sum does not depend on the order."""
    model = model_for(tiny_tokenizer, max_positions=512)
    some = texts[:6]
    one = evaluate_words(model, tiny_tokenizer, some, rate=0.999999)
    other = evaluate_words(model, tiny_tokenizer, some[::-1], rate=0.999999)
    assert other.words == one.words
    assert other.bits_per_byte == pytest.approx(one.bits_per_byte, rel=1e-5)
    assert model.training


@pytest.mark.parametrize("texts_given", [[], [""], ["  \n"]])
def test_no_words(texts_given: list[str], tiny_tokenizer: Tokenizer) -> None:
    result = evaluate_words(model_for(tiny_tokenizer), tiny_tokenizer, texts_given)
    assert result.words == 0
    assert math.isnan(result.bits_per_byte)
