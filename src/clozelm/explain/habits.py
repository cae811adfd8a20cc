"""What a model answers on a little text: its loss, how its answers vary, special tokens, and late positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from clozelm.infer.scoring import evaluating, piece_losses
from clozelm.infer.windows import Window, window_batches
from clozelm.nn.heads import MaskedLM
from clozelm.rng import generator
from clozelm.vocab import Vocabulary

_WINDOW, _RATE, _MOST = 128, 0.15, 400
_LONGEST, _LONG_WINDOWS = 1024, 6


@dataclass(frozen=True)
class Habits:
    """What a model answers in place of hidden pieces of real text.

    ``same_answer`` is the share of its most frequent answer, ``answer`` its id; ``special`` the share of answers
    that are special tokens, ``special_answer`` the most frequent of them. ``loss`` is in nats.
    """

    predictions: int
    loss: float
    same_answer: float
    answer: int
    special: float
    special_answer: int | None


@dataclass(frozen=True)
class LatePositions:
    """The loss at late places of long texts, and of the same hidden pieces read in windows of their own.

    ``positions`` is how far it was read, ``error`` the standard error of the difference, over texts.
    """

    positions: int
    late: float
    early: float
    error: float


@torch.inference_mode()
def habits(model: MaskedLM, documents: Sequence[NDArray[np.integer]], vocabulary: Vocabulary) -> Habits | None:
    """Hide every seventh piece or so of some documents and look at the best answers; None without any piece."""
    room = min(_WINDOW, model.config.max_positions) - 2
    rng = generator(0, "probe")
    windows, truths, total = [], [], 0
    for ids in documents:
        for start in range(0, len(ids), room):
            window, truth = _hidden(ids[start : start + room].astype(np.int64), vocabulary, rng, model)
            windows.append(window)
            truths.append(truth)
            total += len(truth)
            if total >= _MOST:
                break
        if total >= _MOST:
            break
    if not total:
        return None
    losses, answers = _answered(model, windows, truths)
    common = np.bincount(answers)
    special = vocabulary.is_special[np.minimum(answers, vocabulary.size - 1)]
    worst = np.bincount(answers[special]) if special.any() else None
    return Habits(
        predictions=total,
        loss=float(losses.mean()),
        same_answer=float(common.max() / total),
        answer=int(common.argmax()),
        special=float(special.mean()),
        special_answer=None if worst is None else int(worst.argmax()),
    )


def _hidden(
    ids: NDArray[np.int64], vocabulary: Vocabulary, rng: np.random.Generator, model: MaskedLM
) -> tuple[Window, NDArray[np.int64]]:
    may = ~vocabulary.is_special[ids]
    chosen = np.flatnonzero(may & (rng.random(len(ids)) < _RATE))
    seen = ids.copy()
    if not model.reading.is_causal:
        seen[chosen] = vocabulary.mask_id
    whole = np.concatenate(([vocabulary.cls_id], seen, [vocabulary.sep_id]))
    return Window(whole, (chosen + 1).tolist()), ids[chosen]


def _answered(
    model: MaskedLM, windows: list[Window], truths: list[NDArray[np.int64]]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return loss and best answer of every hidden piece, window after window."""
    offsets = np.concatenate(([0], np.cumsum([len(truth) for truth in truths])))
    losses, answers = np.zeros(offsets[-1]), np.zeros(offsets[-1], np.int64)
    device, label = model.decoder_weight.device, np.concatenate(truths)
    with evaluating(model):
        for batch, scored, owners in window_batches(windows):
            if not len(scored):
                continue
            owner = np.array(owners)
            first = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
            running = np.arange(len(owner)) - np.repeat(first, np.diff(np.r_[first, len(owner)]))
            at = offsets[owner] + running
            logits = model(batch.to(device), scored=scored.to(device))
            answers[at] = logits.argmax(dim=1).cpu().numpy()
            picked = logits.float().log_softmax(dim=1).gather(1, torch.from_numpy(label[at]).to(device)[:, None])
            losses[at] = -picked.squeeze(1).double().cpu().numpy()
    return losses, answers


@torch.inference_mode()
def late_positions(
    model: MaskedLM, documents: Sequence[NDArray[np.integer]], vocabulary: Vocabulary
) -> LatePositions | None:
    """Compare the second half of long texts read whole and in windows of 64; None where the text is too short.

    Positions beyond 1,024 are not tried. Texts are put together from documents.
    """
    length = min(model.config.max_positions, _LONGEST) - 2
    stream = np.concatenate([ids.astype(np.int64) for ids in documents]) if documents else np.zeros(0, np.int64)
    number = min(_LONG_WINDOWS, len(stream) // max(length, 1))
    if length < 128 or number < 2:
        return None
    rng, differences, late, early = generator(0, "positions"), [], [], []
    for text in stream[: number * length].reshape(number, length):
        half = length // 2
        may = ~vocabulary.is_special[text] & (rng.random(length) < _RATE)
        may[:half] = False
        long = _window(text, may, vocabulary)
        short = [_window(text[at : at + 64], may[at : at + 64], vocabulary) for at in range(half, length, 64)]
        one = _losses(model, [long], text[may])
        other = _losses(model, short, text[may])
        late.append(float(one.mean()))
        early.append(float(other.mean()))
        differences.append(late[-1] - early[-1])
    error = float(np.std(differences, ddof=1) / np.sqrt(number))
    return LatePositions(length + 2, float(np.mean(late)), float(np.mean(early)), error)


def _window(ids: NDArray[np.int64], hidden: NDArray[np.bool_], vocabulary: Vocabulary) -> Window:
    seen = np.where(hidden, vocabulary.mask_id, ids)
    whole = np.concatenate(([vocabulary.cls_id], seen, [vocabulary.sep_id]))
    return Window(whole, (np.flatnonzero(hidden) + 1).tolist())


def _losses(model: MaskedLM, windows: list[Window], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the losses of windows' hidden pieces, in whatever order the windows are read."""
    starts = np.concatenate(([0], np.cumsum([len(window.columns) for window in windows])))
    losses = np.zeros(len(truth))
    with evaluating(model):
        for number, window in enumerate(windows):
            for batch, scored, _ in window_batches([window]):
                part = slice(starts[number], starts[number + 1])
                losses[part] = piece_losses(model, batch, scored, torch.from_numpy(truth[part]))[0]
    return losses
