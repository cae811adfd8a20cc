"""Span corruption (Raffel et al. 2020, 3.1.4): an encoder reads a text with gaps, a decoder writes what is gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from clozelm.data.rows import Rows
from clozelm.masking.mask import IGNORED, Masking
from clozelm.masking.sentinels import choose_spans, take_out
from clozelm.nn.decoder import EncoderDecoder
from clozelm.nn.flops import TRAINING, decoder_flops, encoder_flops, vocabulary_flops
from clozelm.nn.heads import MaskedLM
from clozelm.objectives.objective import Example, Objective, Scores, Stored, nothing, predict_pieces
from clozelm.types import TokenBatch


@dataclass(frozen=True)
class SpanExample(Example):
    """What is left of a text is the batch; what the decoder reads, and ``labels`` belong to, are rows of their own.

    They are packed as the batch is, and documents have the numbers they have there.
    """

    target_ids: Int[Tensor, "batch seq"] | None = None
    target_docs: Int[Tensor, "batch seq"] | None = None
    target_positions: Int[Tensor, "batch seq"] | None = None

    @property
    def target(self) -> TokenBatch:
        """What the decoder reads."""
        parts = self.target_ids, self.target_docs, self.target_positions
        return TokenBatch(*(part for part in parts if part is not None))


class SpanCorruption(Objective):
    """Term ``span``: the sum of -log p of every target token given the text and the targets before, in nats.

    Targets are the hidden pieces and the sentinels between them, the final one included; sentinels are easy to
    foresee, so that the loss is not that of masked pieces alone and compares with runs of the same settings only.
    Which pieces are hidden is the settings' own: masking strategies and their 80/10/10 have no part in it.
    """

    fills_masks = False

    def __init__(self, model: EncoderDecoder, *, mean_span: float = 3.0) -> None:
        super().__init__()
        self.model, self.mean_span = model, mean_span
        self.weights = {"span": 1.0}

    def prepare(self, rows: Rows, masking: Masking) -> SpanExample:
        """Take spans out of ``rows``; a function of each row alone but for the padding at its end.

        ``target`` begins each document with ``start_id`` where ``labels`` has the first sentinel: what the decoder
        has read when it is asked for each label.
        """
        chosen = choose_spans(
            rows, masking.vocabulary, rate=masking.rate, mean_span=self.mean_span, seed=masking.seed
        )
        config, pad_id = self.model.config, masking.vocabulary.pad_id
        kept, asked = take_out(
            rows, chosen, first_sentinel=config.first_sentinel, sentinels=config.sentinels, pad_id=pad_id
        )
        is_token = asked.doc_ids > 0
        read = np.roll(asked.input_ids, 1, axis=1)
        read[asked.positions == 0] = config.start_id
        read[~is_token] = pad_id
        labels = np.where(is_token, asked.input_ids, IGNORED)
        left = TokenBatch(*_tensors(kept.input_ids, kept.doc_ids, kept.positions))
        targets = _tensors(read, asked.doc_ids, asked.positions)
        return SpanExample(left, torch.from_numpy(labels), None, None, *targets)

    def forward(self, example: Example) -> dict[str, Scores]:
        """Score ``example``; with nothing to predict the sum is 0, connected to no parameter."""
        if not example.predicted.any():
            return {"span": nothing(self.model.decoder_weight)}
        assert isinstance(example, SpanExample), "examples of this objective carry targets"
        decoded = self.model.decode(example.batch, example.target).flatten(0, 1)
        labels = example.labels.flatten()[example.predicted]
        return {"span": predict_pieces(self.model, decoded[example.predicted], labels)}

    def counts(self, example: Example) -> dict[str, int]:
        """Count the target tokens, sentinels included."""
        return {"span": int(example.predicted.sum())}

    def flops(self, piece_lengths: NDArray[np.int64], counts: Mapping[str, int]) -> float:
        """Count both sides on what became of the pieces, each taken to have lost the same share of its tokens."""
        config, count = self.model.config, counts["span"]
        read, written = shortened(piece_lengths, count, self.mean_span)
        forward = encoder_flops(config.encoder, read, int(read.sum()))
        forward += decoder_flops(config.decoder, written, read) + vocabulary_flops(config.encoder, count)
        return TRAINING * forward

    def stored(self) -> list[Stored]:
        """Keep the encoder, which is what is fine-tuned and opens everywhere, and the whole beside it."""
        return [Stored("model", _encoder(self.model), {}, has_head=False), Stored("seq2seq", self.model, {})]


def shortened(
    piece_lengths: NDArray[np.int64], count: int, mean_span: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how long pieces are without their spans, and how long their targets are, given all targets' length.

    Every piece has [CLS] and [SEP], which stay, and a final sentinel; the others are shared out by length.
    """
    inside = np.maximum(piece_lengths - 2, 0)
    target = max(count - len(piece_lengths), 0) * inside / max(inside.sum(), 1)  # hidden pieces and sentinels
    hidden = target * mean_span / (mean_span + 1.0)
    read = piece_lengths - hidden + (target - hidden)
    return np.rint(read).astype(np.int64), np.rint(target + 1.0).astype(np.int64)


def _tensors(*arrays: NDArray[np.int64]) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(array) for array in arrays)


@torch.no_grad()
def _encoder(model: EncoderDecoder) -> MaskedLM:
    """Return the encoder as a masked language model over the tokenizer's pieces; its head was never trained."""
    config = model.config
    alone = MaskedLM(replace(config.encoder, vocab_size=config.first_sentinel))
    state = model.encoder.state_dict()
    state["embeddings.tokens.weight"] = state["embeddings.tokens.weight"][: config.first_sentinel]
    alone.encoder.load_state_dict(state)
    return alone
