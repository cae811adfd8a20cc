"""Examples as pieces: what a model reads of a text, a pair or a sentence, and at which of them it is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clozelm.errors import DataError
from clozelm.text.examples import TaggedSentence, TextExample
from clozelm.text.templates import Ids, Template
from clozelm.text.tokenizer import Tokenizer


class Unit(NamedTuple):
    """One sequence that a model reads, special tokens included.

    ``columns`` ascend and say where it is asked; the answer at ``columns[i]`` is number ``places[i]`` of example
    ``owner``: 0 for a text, the number of the word for a sentence.
    """

    ids: Ids
    segments: Ids | None
    columns: Ids
    places: Ids
    owner: int


@dataclass(frozen=True)
class ReadAs:
    """How a model reads: the most pieces of a sequence, and whether it tells segments apart.

    ``asks_last`` is for models that see the left side alone, where only the last piece of a text knows all of it.
    """

    max_length: int
    has_segments: bool = False
    asks_last: bool = False


@dataclass
class Encoded:
    """The units of some examples, in their order, and what should be said of them.

    ``notes`` counts what was cut, windowed or could not be asked, each in plain words.
    """

    units: list[Unit]
    num_examples: int
    notes: list[str] = field(default_factory=list)

    @property
    def num_tokens(self) -> int:
        """How many pieces the units have, special tokens included."""
        return sum(len(unit.ids) for unit in self.units)


def encode_texts(tokenizer: Tokenizer, examples: Sequence[TextExample], read_as: ReadAs) -> Encoded:
    """Encode texts and pairs, each asked once, at its first token ([CLS]).

    What does not fit into the model's pieces is cut at the end, of a pair always the longer text first, as the
    stock tokenizers do with ``truncation=True``. Raises ``DataError`` where single texts and pairs are mixed.
    """
    template = Template(tokenizer, has_segments=read_as.has_segments)
    counts = {len(example.texts) for example in examples}
    if len(counts) > 1:
        odd = next(each for each in examples if len(each.texts) != len(examples[0].texts))
        raise DataError(f"{odd.source}: single texts and pairs are mixed.")
    room = template.room(read_as.max_length, *counts) if counts else 0
    columns = [
        _ids(tokenizer, [example.texts[which] for example in examples]) for which in range(max(counts, default=0))
    ]
    units, cut = [], 0
    zero = np.zeros(1, np.int32)
    for owner, texts in enumerate(zip(*columns, strict=True)):
        kept = cut_to_fit(texts, room)
        cut += kept is not texts
        ids, segments, _ = template.fill(kept)
        column = np.array([len(ids) - 1], np.int32) if read_as.asks_last else zero
        units.append(Unit(ids, segments, column, zero, owner))
    notes = []
    if cut:
        notes.append(
            f"{cut:,} of {len(examples):,} texts are longer than {read_as.max_length} pieces and were cut there"
        )
    return Encoded(units, len(examples), notes)


def _ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Ids]:
    return [
        np.array(each.ids, np.int32)
        for each in tokenizer.backend.encode_batch_fast(list(texts), add_special_tokens=False)
    ]


def cut_to_fit(texts: tuple[Ids, ...], room: int) -> tuple[Ids, ...]:
    """Take pieces off the end of the longer of one or two texts until all fit.

    Equals ``longest_first`` of the stock tokenizers.
    """
    lengths = [len(text) for text in texts]
    if sum(lengths) <= room:
        return texts
    if len(texts) == 1:
        return (texts[0][:room],)
    short, long = sorted(lengths)
    long = max(short, room - short)
    if short + long > room:
        short, long = room // 2, room - room // 2
    first, second = (long, short) if lengths[0] > lengths[1] else (short, long)
    return texts[0][:first], texts[1][:second]


def encode_sentences(tokenizer: Tokenizer, sentences: Sequence[TaggedSentence], read_as: ReadAs) -> Encoded:
    """Encode sentences, asked at the first piece of every word.

    The words are joined by blanks and read as text, so that a tokenizer whose pieces carry the blank before them
    (byte-level BPE, Unigram) sees words as it did in pretraining. A sentence too long for the model becomes
    windows that overlap by half; each word is asked in the window where it has most text on both sides. A word of
    which the tokenizer leaves nothing is not asked.
    """
    template = Template(tokenizer, has_segments=read_as.has_segments)
    room = template.room(read_as.max_length, 1)
    encoded = tokenizer.encode_batch([" ".join(sentence.words) for sentence in sentences])
    units, windowed, silent = [], 0, 0
    for owner, (sentence, one) in enumerate(zip(sentences, encoded, strict=True)):
        pieces, places = _first_pieces(sentence.words, one.offsets)
        silent += len(sentence.words) - len(places)
        windowed += len(one.ids) > room
        for start, stop, asked in _windows(len(one.ids), room, pieces):
            ids, segments, before = template.fill([one.ids[start:stop]])
            units.append(
                Unit(ids, segments, (pieces[asked] - start + before).astype(np.int32), places[asked], owner)
            )
    notes = []
    if windowed:
        long = f"longer than {read_as.max_length} pieces"
        notes.append(f"{windowed:,} of {len(sentences):,} sentences, {long}, are read in windows")
    if silent:
        notes.append(f"{silent:,} words have no piece in this tokenizer: they count as O")
    return Encoded(units, len(sentences), notes)


def _first_pieces(words: Sequence[str], offsets: NDArray[np.int32]) -> tuple[NDArray[np.int64], Ids]:
    """Return the piece that each word begins with, and the words that have one, both ascending.

    A piece belongs to the word in which its first character lies; one of nothing but white space to none.
    """
    lengths = np.array([len(word) + 1 for word in words], np.int64)
    begins = np.cumsum(lengths) - lengths
    real = np.flatnonzero(offsets[:, 0] < offsets[:, 1])
    word_of = np.searchsorted(begins, offsets[real, 0], side="right") - 1
    found, first = np.unique(word_of, return_index=True)
    return real[first], found.astype(np.int32)


def _windows(length: int, room: int, pieces: NDArray[np.int64]) -> Iterator[tuple[int, int, NDArray[np.bool_]]]:
    """Yield windows of a sequence and which pieces are asked in each: every piece in one window alone."""
    if length <= room:
        yield 0, length, np.ones(len(pieces), np.bool_)
        return
    step = max(1, room // 2)
    starts = np.append(np.arange(0, length - room, step), length - room)
    before = pieces[:, None] - starts
    after = starts + room - 1 - pieces[:, None]
    # Where a text begins or ends, nothing is missing: such an edge is no edge.
    before = np.where(starts == 0, length, before)
    after = np.where(starts + room == length, length, after)
    inside = (pieces[:, None] >= starts) & (pieces[:, None] < starts + room)
    best = np.where(inside, np.minimum(before, after), -1).argmax(axis=1)
    for number, start in enumerate(starts):
        asked = best == number
        if asked.any():
            yield int(start), int(start) + room, asked
