"""Bits per byte of whole hidden words: a loss that compares across tokenizers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from clozelm.infer.scoring import evaluating, piece_losses, ratio_interval
from clozelm.infer.windows import Window, window_batches
from clozelm.nn.heads import MaskedLM
from clozelm.rng import generator
from clozelm.text.tokenizer import Encoded, Tokenizer

WORDS_PER_SEGMENT = 64
# Han, Hiragana and Katakana with their iteration marks and half-width forms, and what combines with them.
_ALONE = (
    "\u3005-\u3007\u3041-\u3096\u309d-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\uff66-\uff9f\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
_COMBINING = "\u3099\u309a\ufe00-\ufe0f\U000e0100-\U000e01ef"
_WORD = re.compile(rf"[{_ALONE}][{_COMBINING}]*|[^\s{_ALONE}]+")
_SEGMENTS_AT_ONCE = 1024


@dataclass(frozen=True)
class WordEvaluation:
    """Bits per UTF-8 byte of hidden words, with the 95% bootstrap interval over documents.

    ``words_right`` is the share of words all of whose pieces are the most probable ones. ``words_unknown``
    counts words that the tokenizer replaces by its unknown piece - cheap to predict, so that a number above
    zero makes the figure too good. ``words_unread`` did not fit into the model's positions, ``words_dropped``
    have no piece at all, as control characters for BERT; neither is in any other number.
    """

    bits_per_byte: float
    interval: tuple[float, float]
    words_right: float
    words: int
    words_unknown: int
    words_unread: int
    words_dropped: int


class _Segment(NamedTuple):
    document: int
    text: str
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    chosen: NDArray[np.bool_]


def evaluate_words(
    model: MaskedLM, tokenizer: Tokenizer, texts: Iterable[str], *, rate: float = 0.15, seed: int = 0
) -> WordEvaluation:
    """Hide whole words, the same for every tokenizer, and sum what their pieces cost.

    A word is one Chinese character or kana, else what stands between those and white space: Korean words, as
    English ones, with their punctuation. A document is read in segments of 64 words, so that the context is the
    same for every tokenizer; words are drawn by (seed, document, word), at least one a segment; all their pieces
    are masked at once, and with a piece that lies across several words all of these. Nats / ln 2 / UTF-8 bytes of
    the hidden words. Pseudo-likelihood as in Kauf & Ivanova 2023 would hide one word at a time; this hides
    several, as in training. A causal model, which sees no later word anyhow, reads the text as it is.
    """
    return summed(word_costs(model, tokenizer, texts, rate=rate, seed=seed))


def summed(costs: WordCosts) -> WordEvaluation:
    """Return what the costs of hidden words come to."""
    missing = (costs.unknown, costs.unread, costs.dropped)
    if not costs.nats.size:
        return WordEvaluation(math.nan, (math.nan, math.nan), math.nan, 0, *missing)
    bits = costs.nats / math.log(2)
    return WordEvaluation(
        float(bits.sum() / costs.sizes.sum()),
        ratio_interval(bits, costs.sizes, costs.documents),
        float(costs.right.mean()),
        bits.size,
        *missing,
    )


class WordCosts(NamedTuple):
    """What every hidden word cost in nats, its UTF-8 bytes, whose it is, whether it was guessed; words left out."""

    nats: NDArray[np.float64]
    sizes: NDArray[np.float64]
    documents: NDArray[np.int64]
    right: NDArray[np.bool_]
    unknown: int
    unread: int
    dropped: int


@torch.inference_mode()
def word_costs(
    model: MaskedLM, tokenizer: Tokenizer, texts: Iterable[str], *, rate: float = 0.15, seed: int = 0
) -> WordCosts:
    """Return the cost of every hidden word; see ``evaluate_words``."""
    segments, parts = _segments(texts, rate, seed), list[WordCosts]()
    with evaluating(model):
        while group := list(islice(segments, _SEGMENTS_AT_ONCE)):
            parts.append(_score(model, tokenizer, group))
    if not parts:
        none = np.zeros(0)
        return WordCosts(none, none, none.astype(np.int64), none.astype(np.bool_), 0, 0, 0)
    return WordCosts(
        np.concatenate([part.nats for part in parts]),
        np.concatenate([part.sizes for part in parts]),
        np.concatenate([part.documents for part in parts]),
        np.concatenate([part.right for part in parts]),
        sum(part.unknown for part in parts),
        sum(part.unread for part in parts),
        sum(part.dropped for part in parts),
    )


def _segments(texts: Iterable[str], rate: float, seed: int) -> Iterator[_Segment]:
    for document, text in enumerate(texts):
        spans = np.array([match.span() for match in _WORD.finditer(text)], dtype=np.int64).reshape(-1, 2)
        for number, start in enumerate(range(0, len(spans), WORDS_PER_SEGMENT)):
            part = spans[start : start + WORDS_PER_SEGMENT]
            draws = generator(seed, "words", document, number).random(len(part))
            chosen = draws < max(rate, draws.min() + 1e-12)
            first, last = part[0, 0], part[-1, 1]
            yield _Segment(document, text[first:last], part[:, 0] - first, part[:, 1] - first, chosen)


def _score(model: MaskedLM, tokenizer: Tokenizer, segments: list[_Segment]) -> WordCosts:
    """Return the cost of every chosen word of some segments."""
    vocabulary = tokenizer.vocabulary
    room = model.config.max_positions - 2
    windows, targets, keys = [], [], []
    unknown = unread = dropped = 0
    encodings = tokenizer.encode_batch([each.text for each in segments])
    segments = [_joined(segment, encoded) for segment, encoded in zip(segments, encodings, strict=True)]
    for number, (segment, encoded) in enumerate(zip(segments, encodings, strict=True)):
        word = _word_of(segment, encoded)
        hidden = (word >= 0) & segment.chosen[word]
        hidden_words = np.unique(word[hidden])
        dropped += int(segment.chosen.sum()) - len(hidden_words)
        fits = np.array([np.flatnonzero(word == each)[-1] < room for each in hidden_words], dtype=bool)
        unread += int((~fits).sum())
        hidden &= np.isin(word, hidden_words[fits])
        if vocabulary.unk_id is not None:
            unknown += len(np.unique(word[hidden & (encoded.ids == vocabulary.unk_id)]))
        masks = hidden & (not model.reading.is_causal)
        ids = np.where(masks, vocabulary.mask_id, encoded.ids)[:room].astype(np.int64)
        columns = np.flatnonzero(hidden)
        whole = np.concatenate(([vocabulary.cls_id], ids, [vocabulary.sep_id]))
        windows.append(Window(whole, (columns + 1).tolist()))
        targets.append(encoded.ids[columns])
        keys.append(number * WORDS_PER_SEGMENT + word[columns])
    losses, right = _window_losses(model, windows, targets)
    key, index = np.unique(np.concatenate(keys), return_inverse=True)
    owner, place = key // WORDS_PER_SEGMENT, key % WORDS_PER_SEGMENT
    sizes = [
        len(segments[s].text[segments[s].starts[w] : segments[s].ends[w]].encode())
        for s, w in zip(owner.tolist(), place.tolist(), strict=True)
    ]
    return WordCosts(
        nats=np.bincount(index, weights=losses, minlength=len(key)).astype(np.float64),
        sizes=np.array(sizes, dtype=np.float64),
        documents=np.array([segments[s].document for s in owner.tolist()], dtype=np.int64),
        right=np.bincount(index, weights=~right, minlength=len(key)) == 0,
        unknown=unknown,
        unread=unread,
        dropped=dropped,
    )


def _joined(segment: _Segment, encoded: Encoded) -> _Segment:
    """Join the words that a piece lies across, as over two Chinese characters; drawn if one of them is."""
    start, stop = encoded.offsets[encoded.offsets[:, 0] < encoded.offsets[:, 1]].T
    first = np.searchsorted(segment.starts, start, side="right")
    last = np.searchsorted(segment.starts, stop - 1, side="right")
    size = len(segment.starts)
    # At each word, the pieces that have begun in an earlier one and not ended there.
    across = np.cumsum(np.bincount(first, minlength=size + 1) - np.bincount(last, minlength=size + 1))
    heads = np.flatnonzero(across[:size] == 0)
    return segment._replace(
        starts=segment.starts[heads],
        ends=segment.ends[np.append(heads[1:], size) - 1],
        chosen=np.logical_or.reduceat(segment.chosen, heads),
    )


def _word_of(segment: _Segment, encoded: Encoded) -> NDArray[np.int64]:
    """Return for every piece the word of the segment it lies in, -1 for pieces of white space.

    The piece of a byte-level or Unigram tokenizer that marks a word's beginning alone is a piece of that word.
    """
    start = encoded.offsets[:, 0].astype(np.int64)
    word = np.searchsorted(segment.starts, start, side="right") - 1
    inside = (word >= 0) & (start < segment.ends[np.maximum(word, 0)])
    return np.where(inside, word, -1)


def _window_losses(
    model: MaskedLM, windows: list[Window], targets: list[NDArray[np.int32]]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return cost and correctness of every masked piece, window by window."""
    counts = np.array([len(target) for target in targets])
    offsets = np.concatenate(([0], np.cumsum(counts)))
    losses, right = np.zeros(offsets[-1]), np.zeros(offsets[-1], dtype=np.bool_)
    label = np.concatenate(targets).astype(np.int64)
    for batch, scored, owners in window_batches(windows):
        owner = np.array(owners, dtype=np.int64)
        # Windows of a batch come one after another, so a piece's place in its window is a running count.
        first = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]][: len(owner)])
        running = np.arange(len(owner)) - np.repeat(first, np.diff(np.r_[first, len(owner)]))
        at = offsets[owner] + running
        losses[at], right[at] = piece_losses(model, batch, scored, torch.from_numpy(label[at]))
    return losses, right
