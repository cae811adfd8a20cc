"""Heads on an encoder: masked language modelling, sentence pairs, replaced tokens."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from clozelm.nn.config import EncoderConfig
from clozelm.nn.encoder import ACTIVATIONS, Encoder, initialise
from clozelm.nn.linear import Linear, linear
from clozelm.types import Reading, TokenBatch


class MlmHead(nn.Module):
    """Dense, activation, norm, then the tied embedding matrix and a bias of its own (Devlin et al. 2018).

    Its vectors are as wide as the embeddings, which may be narrower than the encoder's.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        size = config.embedding_width
        self.dense = Linear(config.hidden_size, size, bias=config.use_bias)
        self.activation = ACTIVATIONS[config.activation]
        self.norm = nn.LayerNorm(size, eps=config.norm_eps, bias=config.use_bias)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def transform(self, hidden: Float[Tensor, "*rows hidden"]) -> Float[Tensor, "*rows embedding"]:
        """Return what is multiplied with the vocabulary."""
        out: Tensor = self.norm(self.activation(self.dense(hidden)))
        return out

    @torch.no_grad()
    def start_from(self, counts: NDArray[np.int64]) -> None:
        """Set the output bias to log frequencies (one added to each count, mean 0 over the vocabulary).

        A new model then begins near the unigram loss instead of spending its first steps on frequencies. Rows of
        the matrix beyond the vocabulary, which padded models have, count as never seen.
        """
        padded = np.zeros(len(self.bias), dtype=np.int64)
        padded[: len(counts)] = counts
        logs = torch.from_numpy(np.log(padded + 1.0)).to(self.bias)
        self.bias.copy_(logs - logs[: len(counts)].mean())


class MaskedLM(nn.Module):
    """An encoder that predicts pieces; input and output embeddings are one matrix.

    ``reading`` says how: as BERT does, unless told otherwise. It is no weight, and part of what a model is.
    """

    def __init__(self, config: EncoderConfig, reading: Reading | None = None) -> None:
        super().__init__()
        self.config = config
        self.reading = reading or Reading()
        self.encoder = Encoder(config)
        self.head = MlmHead(config)

    @property
    def decoder_weight(self) -> Float[Tensor, "vocab embedding"]:
        """The matrix that turns a vector into logits."""
        return self.encoder.embeddings.tokens.weight

    def scored_hidden(self, batch: TokenBatch, scored: Int[Tensor, "count"]) -> Float[Tensor, "count hidden"]:
        """Return the encoder's vectors that tell what stands at flat positions ``scored`` (ascending).

        Where the model reads ahead these are the vectors before them; the first of a row has none.
        """
        return self.encoder(batch, scored=scored - int(self.reading.ahead), context=self.reading.context)  # type: ignore[no-any-return]

    def scored_vectors(self, batch: TokenBatch, scored: Int[Tensor, "count"]) -> Float[Tensor, "count embedding"]:
        """Return the head's vectors for flat positions ``scored`` (ascending), before the vocabulary."""
        return self.head.transform(self.scored_hidden(batch, scored))

    def forward(
        self, batch: TokenBatch, scored: Int[Tensor, "count"] | None = None
    ) -> Float[Tensor, "*rows vocab"]:
        """Return logits of what stands at flat positions: ``[count, vocab]``, or of all ``[batch, seq, vocab]``.

        Where the model reads ahead, what it says of the first column means nothing.
        """
        if scored is None:
            hidden = self.encoder(batch, context=self.reading.context)
            hidden = hidden.roll(1, dims=1) if self.reading.ahead else hidden
        else:
            hidden = self.scored_hidden(batch, scored)
        return linear(self.head.transform(hidden), self.decoder_weight, self.head.bias)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights anew, as the encoder does."""
        initialise(self, self.config.init_std, generator)


class PairHead(nn.Module):
    """Two classes for a pair of segments from [CLS]: dense, tanh, linear (Devlin et al. 2018, 3.1)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.hidden_size)
        self.classes = Linear(config.hidden_size, 2)

    def forward(self, first: Float[Tensor, "count hidden"]) -> Float[Tensor, "count 2"]:
        """Return logits of the classes, given the vectors of [CLS]."""
        logits: Tensor = self.classes(self.dense(first).tanh())
        return logits


class ReplacedHead(nn.Module):
    """One logit per token, positive where it looks replaced (Clark et al. 2020, 2)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.hidden_size)
        self.activation = ACTIVATIONS[config.activation]
        self.out = Linear(config.hidden_size, 1)

    def forward(self, hidden: Float[Tensor, "*rows hidden"]) -> Float[Tensor, "*rows"]:
        """Return the logit that each token is not the original."""
        logits: Tensor = self.out(self.activation(self.dense(hidden))).squeeze(-1)
        return logits


class Discriminator(nn.Module):
    """An encoder that says of every token whether it was replaced (Clark et al. 2020, 2)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.replaced = ReplacedHead(config)

    def forward(self, batch: TokenBatch) -> Float[Tensor, "batch seq"]:
        """Return the logit that each token is not the original; nothing that is read on padding."""
        logits: Tensor = self.replaced(self.encoder(batch))
        return logits
