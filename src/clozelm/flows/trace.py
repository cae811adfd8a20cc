"""The technique on one sentence, step by step: pieces, masks, predictions, and what one update changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clozelm.errors import ClozeError, DataError, SettingsError
from clozelm.explain.probe import Guess, answers, best, refuse_causal
from clozelm.infer.fill_mask import mask_pattern
from clozelm.infer.windows import Window
from clozelm.masking import Candidates, Corruption, Selection, mask
from clozelm.masking.mask import IGNORED
from clozelm.masking.uniform import Uniform
from clozelm.nn.heads import MaskedLM
from clozelm.text.atomic import disk_errors
from clozelm.text.tokenizer import Encoded, Tokenizer
from clozelm.text.valid import require_valid, shortened
from clozelm.train.one_step import one_step
from clozelm.vocab import WORD_START

_MOST_PIECES = 254
_HIGHEST_RATE = 10.0
Fate = Literal["mask", "random", "keep"]


@dataclass(frozen=True)
class Piece:
    """A piece as the vocabulary writes it, and the word it is part of (None for special tokens)."""

    token: str
    id: int
    word: int | None
    begins_word: bool


@dataclass(frozen=True)
class HiddenPiece:
    """A piece that is to be predicted: what stands in its column, by which of the three fates."""

    column: int
    truth: str
    fate: Fate
    shown: str


@dataclass(frozen=True)
class Seen:
    """What is predicted for a hidden piece: guesses, and the probability and rank (from 1) of the truth."""

    guesses: list[Guess]
    probability: float
    rank: int


@dataclass(frozen=True)
class Prediction:
    """A hidden piece, predicted from both sides, from either alone, and again after the update."""

    piece: HiddenPiece
    both: Seen
    left: Seen
    right: Seen
    after: Seen


@dataclass(frozen=True)
class Update:
    """One step of AdamW: losses in nats a piece, that of an even guess, and the sizes of gradient and step."""

    loss_before: float
    loss_after: float
    loss_even: float
    learning_rate: float
    gradient_norm: float
    weights: int
    moved: float


@dataclass(frozen=True)
class TraceReport:
    """The four steps of the technique on one sentence; ``hide`` is empty where masks were drawn by ``seed``."""

    text: str
    pieces: list[Piece]
    hide: list[str]
    rate: float
    seed: int
    predictions: list[Prediction]
    update: Update
    notice: str | None = None

    def plain(self) -> dict[str, Any]:
        """Return the report as data for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Row:
    """One sentence as the masks read it."""

    input_ids: NDArray[np.int64]
    doc_ids: NDArray[np.int32]
    flags: NDArray[np.uint8]
    row_ids: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    epoch: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))


@dataclass(frozen=True)
class _Hide:
    """Choose given columns."""

    columns: NDArray[np.int64]

    def select(self, candidates: Candidates, rng: np.random.Generator) -> Selection:
        """Choose the columns, each its own group."""
        chosen = np.zeros(len(candidates.may_mask), np.bool_)
        chosen[self.columns] = True
        return Selection(chosen, np.arange(len(chosen)))


def trace(
    model: MaskedLM,
    tokenizer: Tokenizer,
    text: str,
    *,
    hide: Sequence[str] = (),
    rate: float = 0.15,
    seed: int = 0,
    learning_rate: float = 3e-4,
    top: int = 5,
) -> TraceReport:
    """Mask a sentence as training does, predict what is hidden, take one step on a copy, and predict again.

    Words of ``hide`` become masks; without them pieces are drawn by ``seed`` at ``rate``, of which 80% become
    masks, 10% random pieces, and 10% stay (Devlin et al. 2018, 3.1). Nothing of the model changes.
    """
    refuse_causal(model)
    if not 0 < learning_rate <= _HIGHEST_RATE:
        raise SettingsError(
            f"learning_rate={learning_rate} must be a number above 0 and at most {_HIGHEST_RATE:g} (3e-4 shows "
            "something)."
        )
    if top < 1:
        raise ClozeError(f"top={top} must be at least 1.")
    room = min(model.config.max_positions - 2, _MOST_PIECES)
    encoded, notice = _read(tokenizer, text, room)
    vocabulary = tokenizer.vocabulary
    ids = np.concatenate(([vocabulary.cls_id], encoded.ids, [vocabulary.sep_id])).astype(np.int64)
    words = _words(tokenizer, encoded)
    masked, labels = _masked(tokenizer, text, encoded, words, ids, hide=hide, rate=rate, seed=seed)
    columns = np.flatnonzero(labels != IGNORED)
    truths = labels[columns]
    step = one_step(model, Window(masked, columns.tolist()), truths, learning_rate=learning_rate)
    predictions, costs = _predictions(model, step.model, tokenizer, masked, columns, truths, top)
    if not all(map(math.isfinite, (*costs, step.gradient_norm, step.moved))):
        raise SettingsError(
            f"learning_rate={learning_rate} breaks the model: after the update its answers are not finite numbers "
            "(3e-4 shows something)."
        )
    return TraceReport(
        text=text,
        pieces=[
            Piece(tokenizer.token(piece), int(piece), word, is_first)
            for piece, word, is_first in zip(ids.tolist(), *words, strict=True)
        ],
        hide=list(hide),
        rate=rate,
        seed=seed,
        predictions=predictions,
        update=Update(
            costs[0],
            costs[1],
            math.log(tokenizer.vocab_size),
            learning_rate,
            step.gradient_norm,
            step.weights,
            step.moved,
        ),
        notice=notice,
    )


def _read(tokenizer: Tokenizer, text: str, room: int) -> tuple[Encoded, str | None]:
    """Encode a sentence without masks, cut to what the model reads."""
    require_valid(text)
    if mask_pattern(tokenizer).search(text):
        raise ClozeError(
            f"{shortened(text)!r} has a mask already: write the whole sentence, and choose with hide (--hide) what "
            "is masked, or let the seed choose; `cloze explain` takes texts with [MASK]."
        )
    encoded = tokenizer.encode(text)
    if not len(encoded.ids):
        raise ClozeError("There is no sentence to trace: the text is empty.")
    if len(encoded.ids) <= room:
        return encoded, None
    notice = f"The text has {len(encoded.ids)} pieces, of which the first {room} are traced."
    return Encoded(encoded.ids[:room], encoded.word_starts[:room], encoded.offsets[:room]), notice


def _words(tokenizer: Tokenizer, encoded: Encoded) -> tuple[list[int | None], list[bool]]:
    """Return of every piece, with those around the sentence, the number of its word and whether it begins it."""
    skipped = tokenizer.vocabulary.special_ids - {tokenizer.vocabulary.unk_id}
    is_special = [piece in skipped for piece in encoded.ids.tolist()]
    number = np.cumsum(encoded.word_starts) - 1
    words = [None if special else int(one) for one, special in zip(number, is_special, strict=True)]
    return [None, *words, None], [False, *encoded.word_starts.tolist(), False]


def _masked(
    tokenizer: Tokenizer,
    text: str,
    encoded: Encoded,
    words: tuple[list[int | None], list[bool]],
    ids: NDArray[np.int64],
    *,
    hide: Sequence[str],
    rate: float,
    seed: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the masked ids and the labels."""
    flags = np.where(words[1], WORD_START, 0).astype(np.uint8)
    row = _Row(ids[None], np.ones((1, len(ids)), np.int32), flags[None])
    if tokenizer.vocabulary.is_special[ids].all():
        raise DataError(f"{shortened(text)!r} has no piece that could be hidden: all are unknown or special.")
    if hide:
        chosen = _hidden_columns(tokenizer, text, encoded, words[0], ids, hide)
        found = mask(row, tokenizer.vocabulary, _Hide(chosen).select, rate=0.5, corruption=Corruption(1, 0), seed=0)
    else:
        found = mask(row, tokenizer.vocabulary, Uniform().select, rate=rate, corruption=Corruption(), seed=seed)
    return found.input_ids[0], found.labels[0]


def _hidden_columns(
    tokenizer: Tokenizer,
    text: str,
    encoded: Encoded,
    words: Sequence[int | None],
    ids: NDArray[np.int64],
    hide: Sequence[str],
) -> NDArray[np.int64]:
    """Return the columns of all words that are written as one of ``hide``, whatever the case."""
    columns: dict[int, list[int]] = {}
    for column, word in enumerate(words):
        if word is not None:
            columns.setdefault(word, []).append(column)
    names = {
        word: text[encoded.offsets[each[0] - 1][0] : encoded.offsets[each[-1] - 1][1]]
        for word, each in columns.items()
    }
    chosen = set()
    for wanted in hide:
        found = [word for word, name in names.items() if name.casefold() == wanted.strip().casefold()]
        if not found:
            there = ", ".join(dict.fromkeys(names.values()))
            raise ClozeError(
                f"hide={wanted!r} is no word of the text as this model cuts it: {shortened(there, 200)}."
            )
        chosen |= {column for word in found for column in columns[word]}
    hidden = np.array(sorted(chosen), np.int64)
    if tokenizer.vocabulary.is_special[ids[hidden]].any():
        raise ClozeError(f"hide={', '.join(hide)!r} is unknown to the vocabulary, and is never predicted.")
    return hidden


def _predictions(
    model: MaskedLM,
    updated: MaskedLM,
    tokenizer: Tokenizer,
    masked: NDArray[np.int64],
    columns: NDArray[np.int64],
    truths: NDArray[np.int64],
    top: int,
) -> tuple[list[Prediction], tuple[float, float]]:
    """Return what is predicted before and after the update, and both losses."""
    vocabulary = tokenizer.vocabulary
    places = np.arange(len(masked))
    is_kept = vocabulary.is_special[masked]
    windows = []
    for column in columns.tolist():
        for is_read in (places >= 0, places <= column, places >= column):
            windows.append(Window(np.where(is_read | is_kept, masked, vocabulary.mask_id), [column]))
    before = dict(answers(model, windows))
    after = dict(answers(updated, windows[::3]))
    predictions, costs = [], []
    for index, (column, truth) in enumerate(zip(columns.tolist(), truths.tolist(), strict=True)):
        rows = [*(before[3 * index + side] for side in range(3)), after[index]]
        seen = [
            Seen(
                best(tokenizer, row, top),
                float(np.exp(row[truth])),
                int((row[: tokenizer.vocab_size] > row[truth]).sum()) + 1,
            )
            for row in rows
        ]
        now = int(masked[column])
        fate: Fate = "mask" if now == vocabulary.mask_id else "keep" if now == truth else "random"
        piece = HiddenPiece(column, tokenizer.piece_text(truth), fate, tokenizer.token(now))
        predictions.append(Prediction(piece, *seen))
        costs.append((-float(rows[0][truth]), -float(rows[3][truth])))
    first, second = (math.fsum(each) / len(costs) for each in zip(*costs, strict=True))
    return predictions, (first, second)


def write_page(found: TraceReport, path: Path, *, model: str) -> None:
    """Write a trace as one HTML file; ``model`` is what the page calls the model."""
    from clozelm.report.trace import page

    content = page(found.plain(), model=Path(model).name or model)
    with disk_errors(path):
        path.write_text(content, encoding="utf-8")
