"""Held-out loss under fixed masks, per piece and per byte, with intervals over documents."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from clozelm.data.pack import evaluation_rows
from clozelm.data.store import TokenStore
from clozelm.masking import SELECTORS
from clozelm.masking.mask import Corruption, mask
from clozelm.nn.heads import MaskedLM
from clozelm.rng import generator
from clozelm.train.plan import token_batch
from clozelm.types import TokenBatch
from clozelm.vocab import Vocabulary

ROWS_AT_ONCE = 64
_RESAMPLES = 1000
_LOGITS_AT_ONCE = 512


@dataclass(frozen=True)
class Evaluation:
    """Loss in nats per predicted piece, with what it is to be compared with.

    ``interval`` is the 95% bootstrap interval of the loss over documents; ``unigram`` the loss of the training
    frequencies on the same predictions, None where they are not known.
    """

    loss: float
    interval: tuple[float, float]
    accuracy: float
    predictions: int
    documents: int
    tokens: int
    unigram: float | None = None

    @property
    def perplexity(self) -> float:
        """exp of the loss."""
        return math.exp(min(self.loss, 700.0))


@torch.inference_mode()
def evaluate_store(
    model: MaskedLM,
    store: TokenStore,
    vocabulary: Vocabulary,
    *,
    row_length: int,
    rate: float = 0.15,
    seed: int = 0,
    max_tokens: int | None = None,
    unigram_counts: NDArray[np.int64] | None = None,
) -> Evaluation:
    """Score a store with uniform 80/10/10 masks that depend on ``seed`` and the store's rows alone.

    Stops after the batch in which ``max_tokens`` is reached. The model comes back in the mode it had.
    """
    losses, correct, labels, documents, tokens = [], [], [], [], 0
    select, corruption = SELECTORS["uniform"]().select, Corruption()
    with evaluating(model):
        for rows in evaluation_rows(store, vocabulary, row_length, ROWS_AT_ONCE):
            masked = mask(rows, vocabulary, select, rate=rate, corruption=corruption, seed=seed)
            loss, is_right = prediction_losses(
                model, token_batch(rows, masked.input_ids), torch.from_numpy(masked.labels)
            )
            where = masked.labels != -100
            losses.append(loss)
            correct.append(is_right)
            labels.append(masked.labels[where])
            documents.append(rows.document_index[where])
            tokens += int((rows.doc_ids > 0).sum())
            if max_tokens is not None and tokens >= max_tokens:
                break
    loss, owner = np.concatenate(losses), np.concatenate(documents)
    unigram = None if unigram_counts is None else _unigram_losses(unigram_counts)[np.concatenate(labels)].mean()
    return Evaluation(
        loss=float(loss.mean()),
        interval=ratio_interval(loss, np.ones_like(loss), owner),
        accuracy=float(np.concatenate(correct).mean()),
        predictions=loss.size,
        documents=np.unique(owner).size,
        tokens=tokens,
        unigram=None if unigram is None else float(unigram),
    )


def prediction_losses(
    model: MaskedLM, batch: TokenBatch, labels: Int[Tensor, "batch seq"]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return -log p in nats and correctness of every prediction, in order of position."""
    device = model.decoder_weight.device
    flat = labels.flatten()
    scored = (flat != -100).nonzero().squeeze(1).to(device)
    target = flat.to(device)[scored]
    vectors = model.scored_vectors(batch.to(device), scored)
    losses, right = [], []
    for start in range(0, len(scored), _LOGITS_AT_ONCE):
        part = slice(start, start + _LOGITS_AT_ONCE)
        logits: Float[Tensor, "count vocab"] = torch.addmm(
            model.head.bias, vectors[part], model.decoder_weight.t()
        ).float()
        picked = logits.gather(1, target[part, None]).squeeze(1)
        losses.append(logits.logsumexp(dim=1) - picked)
        right.append(logits.argmax(dim=1) == target[part])
    if not losses:
        return np.zeros(0), np.zeros(0, dtype=np.bool_)
    return torch.cat(losses).double().cpu().numpy(), torch.cat(right).cpu().numpy()


class evaluating:  # noqa: N801 - reads as a context
    """Put a model into evaluation mode, and back into the mode it had."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model, self.was_training = model, model.training

    def __enter__(self) -> None:
        self.model.eval()

    def __exit__(self, *_: object) -> None:
        self.model.train(self.was_training)


def unigram_entropy(counts: NDArray[np.int64]) -> float:
    """Return the entropy in nats of a distribution of pieces given by counts."""
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())


def ratio_interval(
    above: NDArray[np.float64], below: NDArray[np.float64], owner: NDArray[np.int64], *, seed: int = 0
) -> tuple[float, float]:
    """Return the 95% percentile bootstrap interval of sum(above) / sum(below), resampling owners (documents).

    Documents are the units, since predictions of one document are not independent (Koehn 2004 does so for
    sentences). One document alone gives (nan, nan): nothing can be said.
    """
    _, index = np.unique(owner, return_inverse=True)
    tops, bottoms = np.bincount(index, weights=above), np.bincount(index, weights=below)
    if tops.size < 2:
        return math.nan, math.nan
    rng = generator(seed, "bootstrap")
    ratios = [
        tops[drawn].sum() / bottoms[drawn].sum()
        for drawn in (rng.integers(tops.size, size=tops.size) for _ in range(_RESAMPLES))
    ]
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(low), float(high)


def _unigram_losses(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return -log p of every piece by its frequency, one added to every count."""
    smoothed = counts + 1.0
    losses: NDArray[np.float64] = -np.log(smoothed / smoothed.sum())
    return losses
