"""Ask a model for one answer under many variations of its context, in few batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from clozelm.errors import ModelError
from clozelm.explain.question import Question
from clozelm.infer.scoring import evaluating
from clozelm.infer.windows import Window, window_batches
from clozelm.nn.heads import MaskedLM
from clozelm.text.tokenizer import Tokenizer

Look = Callable[[NDArray[np.float64]], Any]
_NEVER = 1e-12  # the least 1 - p that log-odds tell from 0


@dataclass(frozen=True)
class Guess:
    """A piece as a reader would write it, with its id and probability."""

    id: int
    text: str
    probability: float


class Variation(NamedTuple):
    """The pieces of a window, and the columns of the masks asked about."""

    ids: NDArray[np.int64]
    columns: tuple[int, ...]


class Asked(NamedTuple):
    """For every variation: the log-probability of the target in nats, and what was seen at the first mask."""

    log_probability: NDArray[np.float64]
    seen: list[Any]


class Probe:
    """A model with a question and the pieces of one answer, the target.

    The probability of a target of several pieces is the product of each given those before it (the chain rule over
    masks that stand side by side).
    """

    def __init__(self, model: MaskedLM, tokenizer: Tokenizer, question: Question) -> None:
        """Ask ``model``; the target is the expected word, or else the model's own answer."""
        refuse_causal(model)
        self.model = model
        self.tokenizer = tokenizer
        self.question = question
        self.target: tuple[int, ...] = question.expected or (-1,)
        self.full = self.first(self.variation())
        if not np.isfinite(self.full).all():
            raise ModelError("What the model answers is not a finite number: its weights are damaged.")
        if question.expected is None:
            self.target = (self.best(self.full, 1)[0].id,)

    @property
    def width(self) -> int:
        """How many pieces may be answered; models may have rows beyond their vocabulary."""
        return self.tokenizer.vocab_size

    def variation(self, hidden: Sequence[int] = ()) -> Variation:
        """Return the question with the pieces at columns ``hidden`` masked as well."""
        ids = self.question.ids.copy()
        ids[[*hidden]] = self.tokenizer.vocabulary.mask_id
        return Variation(ids, self.question.columns)

    def without(self, words: Sequence[int]) -> Variation:
        """Return the question with the words of these numbers masked as well."""
        return self.variation([column for word in words for column in self.question.words[word].columns])

    def first(self, variation: Variation) -> NDArray[np.float64]:
        """Return log-probabilities at the first mask of one variation, float64[vocab]."""
        return self.ask([variation], np.copy).seen[0]  # type: ignore[no-any-return]

    def ask(self, variations: Sequence[Variation], look: Look | None = None) -> Asked:
        """Ask every variation; ``look`` is shown log-probabilities at its first mask, float64[vocab]."""
        steps = [list(self.chain(each)) for each in variations]
        windows = [window for chain in steps for window in chain]
        owners = [(number, step) for number, chain in enumerate(steps) for step in range(len(chain))]
        log_probability, seen = np.zeros(len(variations)), [None] * len(variations)
        for index, row in answers(self.model, windows):
            number, step = owners[index]
            log_probability[number] += row[self.target[step]] if self.target[step] >= 0 else 0.0
            if step == 0 and look is not None:
                seen[number] = look(row)
        return Asked(log_probability, seen)

    def chain(self, variation: Variation) -> Iterator[Window]:
        """Yield one window for every piece of the target: those before it are written, it and the rest masked."""
        ids = variation.ids
        for step, column in enumerate(variation.columns):
            yield Window(ids.copy(), [column])
            if step + 1 < len(variation.columns):
                ids = ids.copy()
                ids[column] = self.target[step]

    def best(self, row: NDArray[np.float64], top: int) -> list[Guess]:
        """Return the most probable pieces of a row of log-probabilities, best first."""
        return best(self.tokenizer, row, top)

    def rank(self, row: NDArray[np.float64]) -> int:
        """Return the rank of the target's first piece in a row, from 1; pieces as probable do not count against."""
        return int((row[: self.width] > row[self.target[0]]).sum()) + 1

    def difference(self, row: NDArray[np.float64]) -> float:
        """Return KL(full context || row) in nats: how far the whole answer moved."""
        return float(np.sum(np.exp(self.full) * (self.full - row)))


@torch.inference_mode()
def answers(model: MaskedLM, windows: Sequence[Window]) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield for every column asked of windows, in any order, the window and float64[vocab] log-probabilities."""
    device = model.decoder_weight.device
    with evaluating(model):
        for batch, scored, owners in window_batches(windows):
            logits = model(batch.to(device), scored.to(device))
            rows = logits.double().log_softmax(dim=-1).cpu().numpy()
            yield from zip(owners, rows, strict=True)


def best(tokenizer: Tokenizer, row: NDArray[np.float64], top: int) -> list[Guess]:
    """Return the most probable pieces of a row of log-probabilities, best first; special tokens are no answers."""
    answers = np.where(tokenizer.vocabulary.is_special, -np.inf, row[: tokenizer.vocab_size])
    order = np.argsort(-answers, kind="stable")[:top].tolist()
    return [Guess(one, tokenizer.piece_text(one), float(np.exp(row[one]))) for one in order]


def refuse_causal(model: MaskedLM) -> None:
    """Refuse a model that has no use for masks."""
    if model.reading.is_causal:
        raise ModelError(
            "This model reads the left side alone and predicts the next piece, so it fills no mask: name a masked "
            "language model."
        )


def log_odds(log_probability: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
    """Return log(p / (1 - p)) in nats of log p; near 1 it stays finite."""
    exact = log_probability.double()
    return exact - (-torch.expm1(exact)).clamp(min=_NEVER).log()


def log_odds_of(log_probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Do the same for an array."""
    return log_odds(torch.from_numpy(log_probability)).numpy()
