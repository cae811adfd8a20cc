"""Where a model errs on a corpus: sums of what hidden pieces cost, by group and document, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from clozelm.data.pack import evaluation_rows
from clozelm.data.rows import Rows
from clozelm.errors import DataError
from clozelm.explain.error_corpus import Corpus
from clozelm.explain.error_examples import Best, Confusions, Example, around
from clozelm.explain.error_groups import NUM_CELLS, cells_of
from clozelm.explain.error_words import WordCounts
from clozelm.infer.scoring import evaluating
from clozelm.masking import SELECTORS
from clozelm.masking.mask import IGNORED, Corruption, Masked, mask
from clozelm.nn.heads import MaskedLM
from clozelm.nn.linear import linear
from clozelm.objectives.objective import token_batch
from clozelm.tasks.calibration import BINS, bin_of
from clozelm.vocab import Vocabulary

CLUSTERS = 2000
_ROWS_AT_ONCE = 64
_LOGITS_AT_ONCE = 512
_PLACES = ("mask", "random", "keep")


class Answers(NamedTuple):
    """What a model says of hidden pieces: -log p of the truth in nats, its best piece and how probable that is."""

    losses: NDArray[np.float64]
    best: NDArray[np.int64]
    confidence: NDArray[np.float64]


@dataclass
class ModelSums:
    """Sums of one model by cluster of documents and cell [clusters, cells], or bin of confidence [clusters, bins].

    ``confidence`` sums the probabilities of the answers.
    """

    losses: NDArray[np.float64]
    right: NDArray[np.float64]
    bin_counts: NDArray[np.float64]
    bin_right: NDArray[np.float64]
    bin_confidence: NDArray[np.float64]
    confusions: Confusions
    mistakes: Best


@dataclass
class ErrorSums:
    """Everything counted: predictions and what frequencies alone would cost by cluster and cell, and each model's.

    A cluster is a document, or where there are more than 2,000 of them several: so many independent units are
    enough for an interval. ``has_predictions`` tells of every document.
    ``better`` and ``worse`` hold what the second model predicts better and worse.
    """

    counts: NDArray[np.float64]
    unigram: NDArray[np.float64]
    models: list[ModelSums]
    better: Best
    worse: Best
    truths: NDArray[np.int64]
    has_predictions: NDArray[np.bool_]
    tokens: int = 0


def measure(
    models: Sequence[MaskedLM],
    corpus: Corpus,
    vocabulary: Vocabulary,
    *,
    row_length: int,
    rate: float = 0.15,
    seed: int = 0,
    counts: WordCounts | None = None,
    show: int = 20,
) -> ErrorSums:
    """Predict what ``cloze evaluate`` predicts, the same masks for every model, and count by group.

    ``counts`` say how frequent words are, those of the corpus itself unless given. A causal model reads the text
    as it is. Raises ``DataError`` when there is nothing that can be predicted.
    """
    sums = _nothing(len(models), corpus, vocabulary, show)
    frequencies = _unigram_losses(corpus.store.unigram_counts())
    select, corruption = SELECTORS["uniform"]().select, Corruption()
    for rows in evaluation_rows(corpus.store, vocabulary, row_length, _ROWS_AT_ONCE):
        masked = mask(rows, vocabulary, select, rate=rate, corruption=corruption, seed=seed)
        where = masked.labels != IGNORED
        sums.tokens += int((rows.doc_ids > 0).sum())
        if not where.any():
            continue
        target = masked.labels[where]
        cells = cells_of(rows, masked, where, corpus, counts or corpus.words, vocabulary.mask_id)
        answers = [_answers(model, rows, masked, where) for model in models]
        _add(sums, rows.document_index[where], cells, target, frequencies[target], answers)
        _choose(sums, rows, masked, where, answers, vocabulary)
    if not sums.has_predictions.any():
        raise DataError("There is nothing to predict: every piece of the text is a special or the unknown one.")
    return sums


def _nothing(num_models: int, corpus: Corpus, vocabulary: Vocabulary, show: int) -> ErrorSums:
    clusters = min(CLUSTERS, corpus.store.num_documents)

    def zeros(columns: int) -> NDArray[np.float64]:
        return np.zeros((clusters, columns))

    each = [
        ModelSums(
            losses=zeros(NUM_CELLS),
            right=zeros(NUM_CELLS),
            bin_counts=zeros(BINS),
            bin_right=zeros(BINS),
            bin_confidence=zeros(BINS),
            confusions=Confusions(vocabulary.size),
            mistakes=Best(show),
        )
        for _ in range(num_models)
    ]
    truths = np.zeros(vocabulary.size, np.int64)
    has = np.zeros(corpus.store.num_documents, np.bool_)
    return ErrorSums(zeros(NUM_CELLS), zeros(NUM_CELLS), each, Best(show), Best(show), truths, has)


@torch.inference_mode()
def _answers(model: MaskedLM, rows: Rows, masked: Masked, where: NDArray[np.bool_]) -> Answers:
    device = model.decoder_weight.device
    scored = torch.from_numpy(np.flatnonzero(where)).to(device)
    target = torch.from_numpy(masked.labels[where]).to(device)
    ids = rows.input_ids if model.reading.is_causal else masked.input_ids
    with evaluating(model):
        vectors = model.scored_vectors(token_batch(rows, ids).to(device), scored)
    parts = [
        _piece_answers(model, vectors[start : start + _LOGITS_AT_ONCE], target[start : start + _LOGITS_AT_ONCE])
        for start in range(0, len(vectors), _LOGITS_AT_ONCE)
    ]
    losses, best, confidence = (torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True))
    return Answers(losses, best, confidence)


def _piece_answers(model: MaskedLM, vectors: Tensor, target: Int[Tensor, "count"]) -> tuple[Tensor, Tensor, Tensor]:
    logits = linear(vectors, model.decoder_weight, model.head.bias).float()
    total = logits.logsumexp(dim=1)
    losses = total - logits.gather(1, target[:, None]).squeeze(1)
    top, best = logits.max(dim=1)
    return losses.double(), best, (top - total).exp().double()


def _add(
    sums: ErrorSums,
    documents: NDArray[np.int64],
    cells: NDArray[np.int64],
    target: NDArray[np.int64],
    unigram: NDArray[np.float64],
    answers: Sequence[Answers],
) -> None:
    """Add the predictions of a batch to all sums."""
    clusters = documents % len(sums.counts)
    flat, num_groups = (clusters * NUM_CELLS + cells).ravel(), len(cells)

    def by_cell(values: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        weights = None if values is None else np.tile(values, num_groups)
        size = sums.counts.shape
        return np.bincount(flat, weights=weights, minlength=size[0] * size[1]).astype(np.float64).reshape(size)

    sums.counts += by_cell()
    sums.unigram += by_cell(unigram)
    sums.truths += np.bincount(target, minlength=len(sums.truths))
    sums.has_predictions[documents] = True
    for model, answer in zip(sums.models, answers, strict=True):
        right = (answer.best == target).astype(np.float64)
        model.losses += by_cell(answer.losses)
        model.right += by_cell(right)
        bins = clusters * BINS + bin_of(answer.confidence)
        size = model.bin_counts.shape
        for total, values in (
            (model.bin_counts, None),
            (model.bin_right, right),
            (model.bin_confidence, answer.confidence),
        ):
            total += np.bincount(bins, weights=values, minlength=size[0] * size[1]).reshape(size)
        model.confusions.add(target, answer.best)


def _choose(
    sums: ErrorSums,
    rows: Rows,
    masked: Masked,
    where: NDArray[np.bool_],
    answers: Sequence[Answers],
    vocabulary: Vocabulary,
) -> None:
    """Keep the predictions of a batch that are worth showing; of a pair of pieces at most one."""
    line, column = np.nonzero(where)
    target, seen = masked.labels[where], masked.input_ids
    hidden = seen[where] == vocabulary.mask_id

    def make(index: int) -> Example:
        at = int(line[index]), int(column[index])
        left, right = around(seen[at[0]], rows.doc_ids[at[0]], at[1])
        place = 0 if hidden[index] else 2 if seen[at] == target[index] else 1
        return Example(
            document=int(rows.document_index[at]),
            place=_PLACES[place],
            left=left,
            right=right,
            truth=int(target[index]),
            answers=tuple(int(one.best[index]) for one in answers),
            confidences=tuple(float(one.confidence[index]) for one in answers),
            probabilities=tuple(float(np.exp(-one.losses[index])) for one in answers),
        )

    never = float("-inf")
    for model, one in zip(sums.models, answers, strict=True):
        scores = np.where((one.best != target) & hidden, one.confidence, never)
        model.mistakes.offer(scores, target * vocabulary.size + one.best, make)
    if len(answers) == 2:
        gain = np.exp(-answers[1].losses) - np.exp(-answers[0].losses)
        for kept, change in ((sums.better, gain), (sums.worse, -gain)):
            kept.offer(np.where(hidden & (change > 0), change, never), target, make)


def _unigram_losses(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return -log p of every piece by its frequency in the text, one added to every count, as ``evaluate`` does."""
    smoothed = counts + 1.0
    losses: NDArray[np.float64] = -np.log(smoothed / smoothed.sum())
    return losses
