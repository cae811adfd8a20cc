"""Which words of the context an answer rests on, by methods that ask in different ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from clozelm.errors import ClozeError
from clozelm.explain.probe import Probe, log_odds, log_odds_of
from clozelm.explain.record import Attention
from clozelm.infer.scoring import evaluating
from clozelm.types import TokenBatch

_LEAST_STEPS, _MOST_STEPS = 32, 256
_CLOSE = 0.02  # of the difference to be explained
_TOKENS_AT_ONCE = 4096


@dataclass(frozen=True)
class Attribution:
    """What a method gives to each word.

    ``values`` are in the method's ``unit``, one a word. Where ``is_signed``, words above 0 speak for the answer and
    words below 0 against it; otherwise values say how much a word matters, not which way. ``rest`` is what the
    method gives to pieces that are no words: the mask, special tokens.
    """

    method: str
    unit: str
    values: list[float]
    is_signed: bool
    rest: float = 0.0


@dataclass(frozen=True)
class Completeness:
    """Whether integrated gradients add up: the difference they explain, their sum, and the steps it took."""

    difference: float
    total: float
    steps: int

    @property
    def error(self) -> float:
        """How far the sum is from the difference, in nats of log-odds."""
        return self.total - self.difference


def occlusion(probe: Probe) -> tuple[Attribution, Attribution]:
    """Hide each word behind masks, one at a time.

    The first answer is by how many nats the target's log-odds fall, the second the Kullback-Leibler divergence of
    the whole answer, in nats, which sees any change (Zeiler & Fergus 2014 did so with parts of pictures).
    """
    words = range(len(probe.question.words))
    asked = probe.ask([probe.variation(), *(probe.without([word]) for word in words)], probe.difference)
    odds = log_odds_of(asked.log_probability)
    falls = Attribution("occlusion", "nats of log-odds", (odds[0] - odds[1:]).tolist(), is_signed=True)
    moved = Attribution("occlusion KL", "nats", [float(one) for one in asked.seen[1:]], is_signed=False)
    return falls, moved


def integrated_gradients(probe: Probe) -> tuple[Attribution, Completeness]:
    """Follow the gradient of the target's log-odds from a text of masks to the text (Sundararajan et al. 2017).

    The baseline has the vector of the mask in place of every word's pieces; positions, special tokens and masks are
    the same at both ends, so that only what stands there is explained. The sum over words is the difference of
    log-odds between the ends, up to an error that shrinks with the steps: they double until it is below 2% of the
    difference, and end at 256.
    """
    method = _captum()
    if not probe.question.words:
        return Attribution("integrated gradients", "nats of log-odds", [], is_signed=True), Completeness(0, 0, 0)
    path = _Path(probe)
    with evaluating(probe.model):
        begin, end = (path.value(each) for each in (path.baseline, path.text))
        steps = _LEAST_STEPS
        while True:
            given = method(path).attribute(
                path.text, path.baseline, n_steps=steps, internal_batch_size=path.rows_at_once
            )
            pieces = given.detach().double().sum(dim=-1)[0].cpu().numpy()
            found = Completeness(end - begin, float(pieces.sum()), steps)
            if abs(found.error) <= _CLOSE * abs(found.difference) or steps >= _MOST_STEPS:
                break
            steps *= 2
    values = by_word(pieces, path.owners, len(probe.question.words))
    return Attribution("integrated gradients", "nats of log-odds", values, is_signed=True), found


def rollout(probe: Probe, attention: Attention) -> Attribution:
    """Follow attention back through all layers, half of each layer being the residual (Abnar & Zuidema 2020).

    A layer mixes with 0.5 A + 0.5 I, A the mean of its heads; the product over layers says from which pieces the
    mask's last vector is mixed. Shares add up to 1 with what stays at masks and special tokens. It knows nothing of
    what values and perceptrons do, nor of the answer.
    """
    mixed = rolled_out(attention.weights)[list(attention.asking)].mean(axis=0)
    owner = {column: number for number, word in enumerate(probe.question.words) for column in word.columns}
    inside = sorted(owner)
    values = by_word(mixed[inside], [owner[column] for column in inside], len(probe.question.words))
    return Attribution("attention rollout", "share", values, is_signed=False, rest=1.0 - float(sum(values)))


def rolled_out(weights: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return float64[pieces, pieces] of float[layers, heads, pieces, pieces]: row by row, mixed from what."""
    flow = np.eye(weights.shape[-1])
    for layer in weights.astype(np.float64).mean(axis=1):
        flow = (0.5 * layer + 0.5 * np.eye(len(layer))) @ flow
    return flow


def by_word(pieces: NDArray[np.floating[Any]], owners: Sequence[int], count: int) -> list[float]:
    """Sum what pieces got over the words that own them."""
    return [float(value) for value in np.bincount(np.asarray(owners, np.int64), pieces, minlength=count)]


class _Path:
    """The target's log-odds as a function of the vectors of the words' pieces, [count, pieces, embedding]."""

    def __init__(self, probe: Probe) -> None:
        self.model, self.target = probe.model, probe.target
        words = probe.question.words
        self.owners = [number for number, word in enumerate(words) for _ in word.columns]
        device = self.model.decoder_weight.device
        self.columns = torch.tensor([column for word in words for column in word.columns], device=device)
        windows = list(probe.chain(probe.variation()))
        self.ids = torch.from_numpy(np.stack([window.ids for window in windows])).to(device)
        self.masks = torch.tensor([window.columns[0] for window in windows], device=device)
        table = self.model.encoder.embeddings.tokens.weight.detach()
        self.base = table[self.ids]
        self.text = self.base[:1, self.columns]
        self.baseline = table[probe.tokenizer.vocabulary.mask_id].expand_as(self.text).contiguous()
        self.rows_at_once = max(1, _TOKENS_AT_ONCE // self.ids.numel())

    @torch.no_grad()
    def value(self, vectors: Float[Tensor, "one pieces embedding"]) -> float:
        """Return the log-odds for one set of vectors."""
        return float(self(vectors))

    def __call__(self, vectors: Float[Tensor, "count pieces embedding"]) -> Float[Tensor, "count"]:
        """Return the log-odds for each of ``count`` sets of vectors."""
        count, steps, width = len(vectors), *self.ids.shape
        embeddings = self.base.repeat(count, 1, 1)
        embeddings[:, self.columns] = vectors.repeat_interleave(steps, dim=0)
        ids = self.ids.repeat(count, 1)
        batch = TokenBatch.from_padded(ids, torch.ones_like(ids))
        reading = self.model.reading
        rows = torch.arange(count * steps, device=ids.device) * width
        scored = rows + self.masks.repeat(count) - int(reading.ahead)
        hidden = self.model.encoder(batch, scored=scored, context=reading.context, embeddings=embeddings)
        logits = torch.nn.functional.linear(
            self.model.head.transform(hidden), self.model.decoder_weight, self.model.head.bias
        )
        rest = torch.arange(count * steps, device=ids.device)
        target = torch.tensor(self.target, device=ids.device).repeat(count)
        each = logits.double().log_softmax(dim=-1)[rest, target]
        return log_odds(each.view(count, steps).sum(dim=1))


def _captum() -> Any:
    try:
        from captum.attr import IntegratedGradients
    except ImportError:
        raise ClozeError("Integrated gradients need captum: pip install 'clozelm[explain]'.") from None
    return IntegratedGradients
