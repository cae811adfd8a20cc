"""A text with one mask that is asked about, as the model reads it: pieces, words, the columns of the mask."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clozelm.errors import ClozeError, ModelError
from clozelm.infer.fill_mask import OPEN_MASK, mask_pattern
from clozelm.text.tokenizer import Encoded, Tokenizer
from clozelm.text.valid import require_valid, shortened

MOST_PIECES = 94
"""Of a text, whatever the model could read: what is hidden word by word costs their square; this takes seconds."""
_MOST_EXPECTED = 16


@dataclass(frozen=True)
class Word:
    """A word around the mask: its text, its columns among the pieces, and where it stands.

    ``span`` is its place in ``Question.text``, ``typed`` in the text as it was given.
    """

    text: str
    columns: tuple[int, ...]
    span: tuple[int, int]
    typed: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Question:
    """What is asked of the model.

    ``ids`` are those of a window with its special tokens; ``columns`` is the mask asked about, or as many masks as
    the expected word has pieces, which are ``expected``. ``text`` has its masks as the tokenizer writes them, and
    ``encoded`` are its pieces, one for each mask; its column in the window is ``offset`` more.
    ``typed`` is where the mask stands in the text as it was given.
    """

    text: str
    ids: NDArray[np.int64]
    columns: tuple[int, ...]
    expected: tuple[int, ...] | None
    words: list[Word]
    encoded: NDArray[np.int64]
    offset: int
    typed: tuple[int, int]
    notice: str | None = None

    @property
    def is_several(self) -> bool:
        """Whether several masks stand for one word."""
        return len(self.columns) > 1


def read_question(
    tokenizer: Tokenizer, max_positions: int, text: str, *, mask: int | None = None, word: str | None = None
) -> Question:
    """Read a text, of which mask number ``mask`` (from 1) is asked about; the only one needs no number.

    A mask may be written in any way that ``cloze fill`` knows. ``word`` is what the reader expects there.
    """
    written, marks = _written(tokenizer, text)
    spans = [mark.span for mark in marks]
    chosen = _chosen(text, len(spans), mask)
    whole = tokenizer.encode(written)
    mask_id = tokenizer.vocabulary.mask_id
    column = int(np.flatnonzero(whole.ids == mask_id)[chosen])
    expected = None
    if word is not None:
        left, right = written[: spans[chosen][0]] + marks[chosen].gap, written[spans[chosen][1] :]
        expected = _expected(tokenizer, (left, word.strip(), right), whole.ids, column)
    count = len(expected or (0,))
    encoded = _with_masks(whole, column, count)
    words = _words(tokenizer, written, encoded, set(range(column, column + count)))
    question = Question(
        text=written,
        ids=encoded.ids.astype(np.int64),
        columns=tuple(range(column, column + count)),
        expected=expected,
        words=[replace(word, typed=_typed(marks, word.span)) for word in words],
        encoded=whole.ids.astype(np.int64),
        offset=0,
        typed=marks[chosen].typed,
    )
    return _window(question, tokenizer, max_positions)


class _Mark(NamedTuple):
    """A mask: where it stands in the text as it is read and as it was given, and the space before it there."""

    span: tuple[int, int]
    typed: tuple[int, int]
    gap: str


def _written(tokenizer: Tokenizer, text: str) -> tuple[str, list[_Mark]]:
    """Write every mask as the tokenizer does, without the white space before it."""
    require_valid(text)
    if is_open := OPEN_MASK.search(text):
        raise ClozeError(
            f"{shortened(text)!r} has a {is_open[0]}, a blank of open length, which cannot be explained: write "
            "[MASK], and with word (--word) what is expected there, of as many pieces as it has."
        )
    own = tokenizer.token(tokenizer.vocabulary.mask_id)
    parts, marks, end, length = [], [], 0, 0
    for found in mask_pattern(tokenizer).finditer(text):
        before = text[end : found.start()]
        gap = found[0][: len(found[0]) - len(found[0].lstrip())]
        start = length + len(before)
        marks.append(_Mark((start, start + len(own)), (found.start() + len(gap), found.end()), gap))
        parts += [before, own]
        length += len(before) + len(own)
        end = found.end()
    return "".join([*parts, text[end:]]), marks


def _typed(marks: list[_Mark], span: tuple[int, int]) -> tuple[int, int]:
    """Return where a word stands in the text as it was given."""
    before = [mark for mark in marks if mark.span[1] <= span[0]]
    moved = before[-1].typed[1] - before[-1].span[1] if before else 0
    return span[0] + moved, span[1] + moved


def _chosen(text: str, count: int, mask: int | None) -> int:
    """Return the index of the mask asked about."""
    if not count:
        raise ClozeError(f"{shortened(text)!r} has no [MASK]: write [MASK] where a word is to be explained.")
    if mask is None and count > 1:
        raise ClozeError(
            f"{shortened(text)!r} has {count} masks: choose the one to explain with mask=1 to mask={count} "
            "(on the command line --mask)."
        )
    if mask is not None and not 1 <= mask <= count:
        have = "one mask" if count == 1 else f"{count} masks, counted from 1"
        raise ClozeError(f"mask={mask} does not exist: the text has {have}.")
    return (mask or 1) - 1


def _expected(
    tokenizer: Tokenizer, parts: tuple[str, str, str], masked: NDArray[np.int32], column: int
) -> tuple[int, ...]:
    """Return the pieces of the second of three parts of a text, which as ``masked`` has a mask at ``column`` there.

    Where the pieces beside it would not be the same, they are those of the word alone.
    """
    left, word, _ = parts
    require_valid(word)
    filled = tokenizer.encode("".join(parts)).ids
    stop = len(filled) - (len(masked) - column - 1)
    is_beside = np.array_equal(filled[:column], masked[:column]) and np.array_equal(
        filled[max(stop, 0) :], masked[column + 1 :]
    )
    alone = f" {word}" if left[-1:].isspace() else word
    pieces = filled[column:stop] if is_beside and stop > column else tokenizer.encode(alone).ids
    found = tuple(int(piece) for piece in pieces) if word else ()
    if not found:
        raise ClozeError(f"word={word!r} has no pieces in this model's vocabulary: name the word expected.")
    if tokenizer.vocabulary.unk_id in found:
        raise ClozeError(
            f"word={shortened(word)!r} cannot be written with this model's vocabulary of {tokenizer.vocab_size:,} "
            "pieces, so it has no probability: name another word."
        )
    if set(found) & tokenizer.vocabulary.special_ids:
        raise ClozeError(f"word={shortened(word)!r} is or has a special token, which no mask stands for.")
    if len(found) > _MOST_EXPECTED:
        raise ClozeError(
            f"word={shortened(word)!r} is {len(found)} pieces, and at most {_MOST_EXPECTED} are read as one answer."
        )
    return found


def _with_masks(whole: Encoded, column: int, count: int) -> Encoded:
    """Repeat the piece at ``column``, the mask asked about, ``count`` times."""
    times = np.ones(len(whole.ids), np.int64)
    times[column] = count
    return Encoded(
        np.repeat(whole.ids, times), np.repeat(whole.word_starts, times), np.repeat(whole.offsets, times, axis=0)
    )


def _words(tokenizer: Tokenizer, text: str, encoded: Encoded, asked: set[int]) -> list[Word]:
    """Return the words around the masks, in order; masks and other special tokens are none."""
    vocabulary = tokenizer.vocabulary
    skipped = vocabulary.special_ids - {vocabulary.unk_id}
    words: list[Word] = []
    for column, piece in enumerate(encoded.ids.tolist()):
        if column in asked or piece in skipped:
            continue
        start, end = (int(edge) for edge in encoded.offsets[column])
        is_new = encoded.word_starts[column] or not words or words[-1].columns[-1] != column - 1
        if is_new:
            words.append(Word("", (column,), (start, end)))
        else:
            before = words[-1]
            words[-1] = Word("", (*before.columns, column), (before.span[0], max(end, before.span[1])))
    return [replace(word, text=text[slice(*word.span)] or "␣") for word in words]


def _window(question: Question, tokenizer: Tokenizer, max_positions: int) -> Question:
    """Cut a text around the mask to what is read, and put the special tokens around it."""
    room = min(max_positions - 2, MOST_PIECES)
    first, count, length = question.columns[0], len(question.columns), len(question.ids)
    if room < count:
        raise ModelError(f"A model of {max_positions} positions has no room for {count} pieces.")
    start = max(0, min(first - (room - count) // 2, length - room))
    stop = min(length, start + room)
    shift = 1 - start
    vocabulary = tokenizer.vocabulary
    notice = None
    if length > room:
        reader = "the model reads" if room < MOST_PIECES else "an explanation reads at most"
        notice = f"The text has {length} pieces and {reader} {room}: what follows is about those around the mask."
    return replace(
        question,
        ids=np.concatenate(([vocabulary.cls_id], question.ids[start:stop], [vocabulary.sep_id])),
        columns=tuple(column + shift for column in question.columns),
        words=[
            replace(word, columns=tuple(column + shift for column in word.columns))
            for word in question.words
            if start <= word.columns[0] and word.columns[-1] < stop
        ],
        offset=shift,
        notice=notice,
    )
