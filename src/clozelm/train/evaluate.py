"""Held-out loss under fixed masks, per piece and per byte, with intervals over documents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from clozelm.data.encoded import EncodedTexts
from clozelm.data.pack import evaluation_rows
from clozelm.data.rows import Tokens
from clozelm.errors import DataError
from clozelm.infer.scoring import evaluating, piece_losses, ratio_interval
from clozelm.masking import SELECTORS
from clozelm.masking.mask import Corruption, mask
from clozelm.nn.heads import MaskedLM
from clozelm.objectives.objective import token_batch
from clozelm.text.files import find_files
from clozelm.text.normalize import normalize
from clozelm.text.readers import Reading, read_all
from clozelm.text.tokenizer import Tokenizer
from clozelm.train.words import WordEvaluation, summed, word_costs
from clozelm.vocab import Vocabulary

ROWS_AT_ONCE = 64


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
        """Exp of the loss."""
        return math.exp(min(self.loss, 700.0))


@dataclass(frozen=True)
class TextEvaluation:
    """What ``evaluate`` measures on text: per piece, and per byte of whole words.

    ``pieces.unigram`` is the entropy of the evaluated text's own pieces on the same predictions: the best any
    model without context could do. ``pieces`` compares models of one tokenizer, ``words`` any models.
    ``by_document`` are the bits and the bytes of hidden words, [2, documents], to compare two models on one text.
    """

    pieces: Evaluation
    words: WordEvaluation
    by_document: NDArray[np.float64] = field(repr=False, compare=False)


def evaluate(
    model: MaskedLM,
    tokenizer: Tokenizer,
    paths: str | Path | Sequence[str | Path],
    *,
    reading: Reading | None = None,
    row_length: int = 128,
    rate: float = 0.15,
    seed: int = 0,
    max_documents: int | None = None,
) -> TextEvaluation:
    """Measure a model on text files with masks fixed by ``seed``; deterministic for the same files.

    Rows are cut to the model's positions where it has fewer than ``row_length``. Raises ``DataError`` when
    there is no text.
    """
    files = find_files([paths] if isinstance(paths, str | Path) else paths)
    documents = islice(read_all(files, reading or Reading()), max_documents)
    texts = [text for document in documents if (text := normalize(document.text))]
    if not texts:
        raise DataError(f"{files[0]}: there is no text to evaluate on.")
    tokens = EncodedTexts.of(tokenizer, texts)
    pieces = evaluate_store(
        model,
        tokens,
        tokenizer.vocabulary,
        row_length=min(row_length, model.config.max_positions),
        rate=rate,
        seed=seed,
        unigram_counts=np.bincount(tokens.ids, minlength=tokenizer.vocab_size),
    )
    costs = word_costs(model, tokenizer, texts, rate=rate, seed=seed)
    bits = costs.nats / math.log(2)
    by_document = [np.bincount(costs.documents, each, minlength=len(texts)) for each in (bits, costs.sizes)]
    return TextEvaluation(pieces, summed(costs), np.stack(by_document))


def evaluate_store(
    model: MaskedLM,
    store: Tokens,
    vocabulary: Vocabulary,
    *,
    row_length: int,
    rate: float = 0.15,
    seed: int = 0,
    max_tokens: int | None = None,
    unigram_counts: NDArray[np.int64] | None = None,
) -> Evaluation:
    """Score a store with uniform 80/10/10 masks; see ``piece_costs``. ``unigram_counts`` give the loss to beat."""
    costs = piece_costs(
        model, store, vocabulary, row_length=row_length, rate=rate, seed=seed, max_tokens=max_tokens
    )
    loss, owner = costs.losses, costs.documents
    unigram = None if unigram_counts is None else _unigram_losses(unigram_counts)[costs.labels].mean()
    return Evaluation(
        loss=float(loss.mean()),
        interval=ratio_interval(loss, np.ones_like(loss), owner),
        accuracy=float(costs.right.mean()),
        predictions=loss.size,
        documents=np.unique(owner).size,
        tokens=costs.tokens,
        unigram=None if unigram is None else float(unigram),
    )


class PieceCosts(NamedTuple):
    """What every predicted piece cost in nats, whether it was the best guess, what it is and whose; tokens read."""

    losses: NDArray[np.float64]
    right: NDArray[np.bool_]
    labels: NDArray[np.int64]
    documents: NDArray[np.int64]
    tokens: int


@torch.inference_mode()
def piece_costs(
    model: MaskedLM,
    store: Tokens,
    vocabulary: Vocabulary,
    *,
    row_length: int,
    rate: float = 0.15,
    seed: int = 0,
    max_tokens: int | None = None,
) -> PieceCosts:
    """Predict pieces of a store under uniform 80/10/10 masks that depend on ``seed`` and the store's rows alone.

    A causal model scores the same pieces, each given the true ones before it.
    Stops after the batch in which ``max_tokens`` is reached. The model comes back in the mode it had. Raises
    ``DataError`` when the store holds no piece that can be predicted.
    """
    losses, correct, labels, documents, tokens = [], [], [], [], 0
    select, corruption = SELECTORS["uniform"]().select, Corruption()
    with evaluating(model):
        for rows in evaluation_rows(store, vocabulary, row_length, ROWS_AT_ONCE):
            masked = mask(rows, vocabulary, select, rate=rate, corruption=corruption, seed=seed)
            where = masked.labels != -100
            scored = torch.from_numpy(np.flatnonzero(where))
            target = torch.from_numpy(masked.labels[where])
            ids = rows.input_ids if model.reading.is_causal else masked.input_ids
            loss, is_right = piece_losses(model, token_batch(rows, ids), scored, target)
            losses.append(loss)
            correct.append(is_right)
            labels.append(masked.labels[where])
            documents.append(rows.document_index[where])
            tokens += int((rows.doc_ids > 0).sum())
            if max_tokens is not None and tokens >= max_tokens:
                break
    loss = np.concatenate(losses)
    if not loss.size:
        raise DataError("There is nothing to predict: every piece of the text is a special or the unknown one.")
    return PieceCosts(loss, np.concatenate(correct), np.concatenate(labels), np.concatenate(documents), tokens)


def unigram_entropy(counts: NDArray[np.int64]) -> float:
    """Return the entropy in nats of a distribution of pieces given by counts."""
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())


def _unigram_losses(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return -log p of every piece by its frequency, one added to every count."""
    smoothed = counts + 1.0
    losses: NDArray[np.float64] = -np.log(smoothed / smoothed.sum())
    return losses
