"""One prediction explained: every view of it, as plain data."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from clozelm.errors import ClozeError
from clozelm.explain.attribute import (
    Attribution,
    Completeness,
    integrated_gradients,
    occlusion,
    rollout,
)
from clozelm.explain.context import Side, Swap, sides, swaps
from clozelm.explain.faithful import Deletion, deletion, order_of
from clozelm.explain.lens import LayerGuess, lens
from clozelm.explain.probe import Guess, Probe
from clozelm.explain.question import read_question
from clozelm.explain.record import Attention, record
from clozelm.infer.fill_mask import mask_pattern
from clozelm.nn.heads import MaskedLM
from clozelm.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Prompt:
    """The text as the model reads it: its pieces, special tokens among them, and its words.

    ``words`` are those around the mask, ``columns`` the pieces of each and ``spans`` their places in ``text``.
    ``asked`` are the columns of the mask asked about, several where an expected word has several pieces, and
    ``asked_span`` its place in ``text``; ``which`` is its number, from 1, and of how many masks.
    """

    text: str
    pieces: list[str]
    words: list[str]
    columns: list[list[int]]
    spans: list[tuple[int, int]]
    asked: list[int]
    asked_span: tuple[int, int]
    which: tuple[int, int]
    notice: str | None


@dataclass(frozen=True)
class Target:
    """The answer that is explained: the expected word, or what the model says first.

    ``probability`` is that of all ``pieces`` together; ``rank`` that of the first, from 1.
    """

    text: str
    pieces: list[str]
    ids: list[int]
    probability: float
    rank: int
    is_expected: bool


@dataclass(frozen=True)
class Answer:
    """What the model says: its first guesses, how undecided it is (nats; at most ``highest``), and the target."""

    guesses: list[Guess]
    entropy: float
    highest: float
    target: Target


@dataclass(frozen=True)
class Words:
    """What each method gives to each word of the prompt, whether gradients add up, and whom to believe."""

    attributions: list[Attribution]
    completeness: Completeness
    deletion: Deletion


@dataclass(frozen=True)
class Explanation:
    """Every view of one prediction; all but the attention weights is small."""

    prompt: Prompt
    answer: Answer
    layers: list[LayerGuess]
    words: Words
    sides: list[Side]
    swaps: list[Swap]
    attention: Attention

    def plain(self) -> dict[str, Any]:
        """Return the explanation as data for JSON; of attention, what the mask looks at in each head."""
        facts = {name: value for name, value in asdict(self).items() if name != "attention"}
        facts["words"]["completeness"]["error"] = self.words.completeness.error
        best = self.words.deletion.best
        facts["words"]["deletion"] |= {
            "best": None if best is None else best.method,
            "leaders": [each.method for each in self.words.deletion.leaders],
            "verdict": self.words.deletion.verdict,
        }
        looks = self.attention.weights[:, :, list(self.attention.asking)].mean(axis=2)
        facts["attention"] = {
            "windows": self.attention.windows,
            "asking": list(self.attention.asking),
            "from_mask": [[[round(float(one), 5) for one in head] for head in layer] for layer in looks],
        }
        return facts


def explain(
    model: MaskedLM,
    tokenizer: Tokenizer,
    text: str,
    *,
    word: str | None = None,
    mask: int | None = None,
    top: int = 5,
    seed: int = 0,
) -> Explanation:
    """Explain what a model says at one mask of a text.

    ``word`` is what the reader expects there, and then what is explained; without it the model's own first guess
    is. ``mask`` is the number of the mask, from 1, where there are several. ``seed`` draws the random orders that
    methods are held against.
    """
    if top < 1:
        raise ClozeError(f"top={top} must be at least 1.")
    question = read_question(tokenizer, model.config.max_positions, text, mask=mask, word=word)
    probe = Probe(model, tokenizer, question)
    recorded = record(probe)
    layers = lens(probe, recorded, top=top)
    falls, moved = occlusion(probe)
    gradients, completeness = integrated_gradients(probe)
    attributions = [falls, moved, gradients, rollout(probe, recorded.attention)]
    curves = deletion(probe, attributions, seed=seed)
    order = order_of(moved.values).tolist()
    notice = " ".join(filter(None, [question.notice, _several(probe)])) or None
    return Explanation(
        prompt=Prompt(
            text,
            [tokenizer.token(piece) for piece in question.ids.tolist()],
            [each.text for each in question.words],
            [list(each.columns) for each in question.words],
            [each.typed for each in question.words],
            list(question.columns),
            question.typed,
            (mask or 1, len(mask_pattern(tokenizer).findall(text))),
            notice,
        ),
        answer=_answer(probe, top),
        layers=layers,
        words=Words(attributions, completeness, curves),
        sides=sides(probe, top=top),
        swaps=swaps(probe, order),
        attention=recorded.attention,
    )


def _several(probe: Probe) -> str | None:
    """Say that a word of several pieces stands behind several masks."""
    if not probe.question.is_several:
        return None
    pieces = " ".join(probe.tokenizer.token(piece) for piece in probe.target)
    return (
        f"The expected word is {len(probe.target)} pieces to this model ({pieces}), so as many masks stand for it: "
        "its probability is theirs together, each given those before it, and guesses are for the first."
    )


def _answer(probe: Probe, top: int) -> Answer:
    tokenizer, target = probe.tokenizer, probe.target
    asked = probe.ask([probe.variation()])
    entropy = -float(np.sum(np.exp(probe.full) * probe.full))
    text = tokenizer.decode(target).strip() if len(target) > 1 else tokenizer.piece_text(target[0])
    return Answer(
        probe.best(probe.full, top),
        entropy,
        math.log(len(probe.full)),
        Target(
            text,
            [tokenizer.token(piece) for piece in target],
            list(target),
            float(np.exp(asked.log_probability[0])),
            probe.rank(probe.full),
            probe.question.expected is not None,
        ),
    )
