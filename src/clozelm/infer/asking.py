"""Questions to a masked language model, many at a time: what stands in a column, how probable pieces are."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from clozelm.infer.fill_mask import LOGITS_AT_ONCE
from clozelm.infer.packed import packed_weights
from clozelm.infer.scoring import evaluating
from clozelm.infer.windows import Window, window_batches
from clozelm.nn.heads import MaskedLM

_COUNTED = 64  # up to so many ranks are counted, more are looked up in the sorted row

T = TypeVar("T")


class Ask(NamedTuple):
    """A row with its special tokens, and the columns asked about, ascending.

    With ``pieces`` their probabilities are asked for; without, the ``top`` best pieces that ``allowed`` allows.
    """

    ids: NDArray[np.int64]
    columns: list[int]
    top: int = 1
    allowed: Bool[Tensor, "vocab"] | None = None
    pieces: NDArray[np.int64] | None = None


class Reply(NamedTuple):
    """Pieces in one column: log-probabilities in nats, ranks among all pieces from 1, and the entropy."""

    ids: list[int]
    log_probabilities: list[float]
    ranks: list[int]
    entropy: float


Search = Generator[list[Ask], list[list[Reply]], T]
"""A search yields what it asks and is sent a list of replies, one a column, for every ask."""


def together(searches: Sequence[Search[T]]) -> Search[list[T]]:
    """Run several searches as one that asks what all of them ask next."""
    results: dict[int, T] = {}
    asked: dict[int, list[Ask]] = {}

    def step(number: int, replies: list[list[Reply]] | None) -> None:
        try:
            asked[number] = next(searches[number]) if replies is None else searches[number].send(replies)
        except StopIteration as done:
            asked.pop(number, None)
            results[number] = done.value

    for number in range(len(searches)):
        step(number, None)
    while asked:
        waiting = dict(asked)
        replies = yield [ask for asks in waiting.values() for ask in asks]
        start = 0
        for number, asks in waiting.items():
            step(number, replies[start : start + len(asks)])
            start += len(asks)
    return [results[number] for number in range(len(searches))]


class Asker:
    """Answer questions in batches of a capped size, in evaluation mode, under one temperature."""

    def __init__(self, model: MaskedLM, *, temperature: float = 1.0) -> None:
        """Ask ``model``, its logits divided by ``temperature``."""
        self.model = model
        self.temperature = temperature

    def run(self, search: Search[T]) -> T:
        """Answer a search until it is done, and return what it found."""
        try:
            asks = next(search)
            while True:
                asks = search.send(self(asks))
        except StopIteration as done:
            found: T = done.value
            return found

    @torch.inference_mode()
    def __call__(self, asks: Sequence[Ask]) -> list[list[Reply]]:
        """Return the replies of every ask, one a column."""
        replies: list[list[Reply]] = [[] for _ in asks]
        weight, bias = self.model.decoder_weight, self.model.head.bias
        size = max(1, LOGITS_AT_ONCE // len(weight))
        tokens = sum(len(ask.ids) for ask in asks)
        with packed_weights(self.model, tokens), evaluating(self.model):
            for batch, scored, owners in window_batches([Window(ask.ids, ask.columns) for ask in asks]):
                vectors = self.model.scored_vectors(batch.to(weight.device), scored.to(weight.device))
                for start in range(0, len(owners), size):
                    logits = torch.nn.functional.linear(vectors[start : start + size], weight, bias).float()
                    logs = (logits / self.temperature).log_softmax(dim=1)
                    entropies = torch.special.entr(logs.exp()).sum(dim=1)
                    part = owners[start : start + size]
                    for owner, row, entropy in zip(part, logs, entropies.tolist(), strict=True):
                        replies[owner].append(self._reply(asks[owner], row, entropy))
        return replies

    def _reply(self, ask: Ask, row: Float[Tensor, "vocab"], entropy: float) -> Reply:
        if ask.pieces is not None:
            ids = torch.from_numpy(ask.pieces).to(row.device)
            values = row[ids]
        else:
            kept = row if ask.allowed is None else row.masked_fill(~ask.allowed.to(row.device), -torch.inf)
            values, ids = kept.topk(min(ask.top, len(row)))
            if ask.allowed is not None:
                count = int(ask.allowed[ids.to(ask.allowed.device)].sum())
                values, ids = values[:count], ids[:count]
        return Reply(ids.tolist(), values.tolist(), _ranks(row, values), entropy)


def _ranks(row: Float[Tensor, "vocab"], values: Float[Tensor, "count"]) -> list[int]:
    """Return how many pieces are more probable than each value, plus one."""
    if len(values) <= _COUNTED:
        return [int((row > value).sum()) + 1 for value in values]
    ordered = row.sort().values
    ranks: Any = len(row) - torch.searchsorted(ordered, values.contiguous(), right=True) + 1
    return list(ranks.tolist())
