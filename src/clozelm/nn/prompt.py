"""A masked language model that gives labels, by the words it would write at a mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clozelm.errors import ModelError
from clozelm.nn.classifier import Classifier, TaskKind
from clozelm.nn.heads import MaskedLM
from clozelm.types import Context, Reading, TokenBatch


class PromptClassifier(nn.Module):
    """Labels of texts by the words that stand for them (Schick & Schütze 2021, 3.1, arXiv 2001.07676).

    A label's logit is that of its piece at the mask; of several pieces the log of their summed exponentials, so
    that their probabilities add. Encoder and head are those of ``masked_lm``, not copies: no weight is new.

    Relations: the softmax over labels equals the model's own probabilities of the pieces, divided by their sum.
    """

    kind: ClassVar[TaskKind] = "sequence"
    context: ClassVar[Context] = "both"
    pieces: Tensor
    is_piece: Tensor

    def __init__(self, masked_lm: MaskedLM, pieces: Sequence[Sequence[int]], temperature: float = 1.0) -> None:
        """Give every label the ids of its ``pieces``; logits are divided by ``temperature``."""
        super().__init__()
        if masked_lm.reading != Reading():
            raise ModelError(
                f"A prompt asks a model that reads as BERT does ({Reading().words}); this one reads "
                f"{masked_lm.reading.words}: fine-tune it without a prompt."
            )
        if not pieces or not all(pieces):
            raise ModelError("Every label of a prompt needs a piece that stands for it.")
        self.config = masked_lm.config
        self.encoder, self.head = masked_lm.encoder, masked_lm.head
        most = max(len(each) for each in pieces)
        padded = [[*each, *[each[0]] * (most - len(each))] for each in pieces]
        is_piece = [[place < len(each) for place in range(most)] for each in pieces]
        self.register_buffer("pieces", torch.tensor(padded), persistent=False)
        self.register_buffer("is_piece", torch.tensor(is_piece), persistent=False)
        self.temperature = 1.0
        self.divide_logits(temperature)
        self.train(masked_lm.training)

    @property
    def num_labels(self) -> int:
        """How many logits there are."""
        return len(self.pieces)

    def forward(self, batch: TokenBatch, scored: Int[Tensor, "count"]) -> Float[Tensor, "count labels"]:
        """Return logits of the labels at masks, flat positions ``scored`` (ascending), in fp32."""
        vectors = self.head.transform(self.encoder(batch, scored=scored, context=self.context))
        asked = self.pieces.flatten()
        weight: Tensor = self.encoder.embeddings.tokens.weight[asked]
        logits = nn.functional.linear(vectors, weight, self.head.bias[asked]).float()
        by_label = logits.view(-1, *self.pieces.shape).masked_fill(~self.is_piece, -torch.inf)
        return by_label.logsumexp(dim=2) / self.temperature

    def divide_logits(self, temperature: float) -> None:
        """Divide all logits by ``temperature`` from now on (Guo et al. 2017, arXiv 1706.04599).

        It stays a number beside the weights: the last matrix is that of the embeddings, which cannot be divided.
        """
        if not 0.0 < temperature < float("inf"):
            raise ModelError(f"A temperature of {temperature} cannot divide logits: it must be positive.")
        self.temperature *= temperature


TaskModel = Classifier | PromptClassifier
"""What answers a task, trained and asked in the same way."""
