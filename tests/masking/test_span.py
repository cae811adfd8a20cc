import numpy as np
import pytest

from clozelm.errors import SettingsError
from clozelm.masking import Candidates, Span
from tests.masking.test_ngram import long_piece


def chosen_lengths(span: Span, rate: float) -> np.ndarray:
    """Count the chosen spans of long pieces by their number of words, 0 .. longest."""
    rng = np.random.default_rng(2)
    counts = np.zeros(span.longest + 1, dtype=np.int64)
    for seed in range(20):
        candidates = long_piece(20_000, seed=seed)._replace(rate=rate)
        candidates = candidates._replace(may_mask=candidates.may_mask | (np.arange(20_000) % 19_999 > 0))
        chosen, group = span.select(candidates, rng)
        words = np.bincount(group[chosen & candidates.word_starts])
        counts += np.bincount(words[words > 0], minlength=span.longest + 1)
    return counts


@pytest.mark.parametrize("rate", [0.15, 0.5])
@pytest.mark.parametrize(("p", "longest"), [(0.2, 10), (0.5, 4), (0.2, 1)])
def test_lengths_are_as_the_paper_draws_them(p: float, longest: int, rate: float) -> None:
    counts = chosen_lengths(Span(p, longest), rate)
    shares = np.array([0.0, *(p * (1 - p) ** (n - 1) for n in range(1, longest + 1))])
    expected = counts.sum() * shares / shares.sum()
    deviation = np.sqrt(expected * (1 - expected / counts.sum()))
    assert counts.sum() > 5000
    assert (abs(counts - expected) <= 4 * deviation + 1e-9).all(), (counts, expected)
    mean = (counts * np.arange(longest + 1)).sum() / counts.sum()
    assert mean == pytest.approx(Span(p, longest).mean_words, rel=0.03)


def test_a_span_has_3_8_words_on_average() -> None:
    assert Span().mean_words == pytest.approx(3.8, abs=0.005)


@pytest.mark.parametrize("rate", [0.05, 0.15, 0.8])
def test_every_token_is_hidden_with_the_rate_itself(rate: float) -> None:
    """Also at the ends of a short piece, where spans are cut short."""
    candidates = long_piece(30, seed=3)._replace(rate=rate)
    rng = np.random.default_rng(0)
    hidden = np.mean([Span().select(candidates, rng).chosen for _ in range(20_000)], axis=0)
    deviation = np.sqrt(rate * (1 - rate) / 20_000)
    assert (abs(hidden[candidates.may_mask] - rate) < 4 * deviation).all()
    assert not hidden[~candidates.may_mask].any()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"p": 1.0}, r"^masking.span.p=1.0 must lie strictly between 0 and 1 \(SpanBERT uses 0.2\)\.$"),
        ({"p": 0.0}, "masking.span.p=0.0 must lie"),
        ({"longest": 0}, r"^masking.span.longest=0 must be at least 1 word \(SpanBERT uses 10\)\.$"),
    ],
)
def test_impossible_spans_are_refused(arguments: dict, line: str) -> None:
    with pytest.raises(SettingsError, match=line):
        Span(**arguments)


@pytest.mark.parametrize("p", [5e-324, 1e-18])
def test_where_spans_hardly_end_all_lengths_are_equally_likely(p: float) -> None:
    assert Span(p, 9).mean_words == pytest.approx(5.0)


@pytest.mark.parametrize(("p", "longest"), [(0.2, 10), (0.5, 4)])
def test_lengths_in_a_piece_as_long_as_a_row(p: float, longest: int) -> None:
    """The law of drawing lengths one after another until a piece of 126 words is full, the last one cut short."""
    words, rounds = 126, 4000
    shares = np.array([p * (1 - p) ** (n - 1) for n in range(1, longest + 1)])
    shares /= shares.sum()
    begins = np.zeros(words)  # the probability that a span begins at a word
    expected = np.zeros(longest + 1)
    begins[0] = 1.0
    for first in range(words):
        for length in range(1, longest + 1):
            cut = min(length, words - first)
            expected[cut] += begins[first] * shares[length - 1]
            if first + length < words:
                begins[first + length] += begins[first] * shares[length - 1]
    rng = np.random.default_rng(4)
    everything = np.ones(words, dtype=np.bool_)
    candidates = Candidates(np.full(words, 9), everything, everything, np.zeros(words, np.uint8), 0.15)
    counts = np.zeros(longest + 1)
    for _ in range(rounds):
        chosen, group = Span(p, longest).select(candidates, rng)
        counts += np.bincount(np.unique(group[chosen], return_counts=True)[1], minlength=longest + 1)
    wanted = rounds * 0.15 * expected
    assert (abs(counts - wanted) <= 4 * np.sqrt(wanted) + 1e-9).all(), (counts, wanted)
