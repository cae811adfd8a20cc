"""An encoder with a task's head: labels for whole documents, or for each piece."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clozelm.errors import ModelError
from clozelm.nn.config import Activation, EncoderConfig
from clozelm.nn.dropout import Dropout
from clozelm.nn.encoder import ACTIVATIONS, Encoder, initialise
from clozelm.nn.linear import Linear
from clozelm.types import Context, TokenBatch

TaskKind = Literal["sequence", "token"]
"""What gets labels: each document, or each piece."""

Pooling = Literal["cls", "mean"]
"""What a document is read off: the vector of one token, or the mean of all of its tokens."""

HeadActivation = Activation | Literal["tanh"]
_ACTIVATIONS: Mapping[HeadActivation, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    **dict(ACTIVATIONS.items()),
}


@dataclass(frozen=True)
class TaskHeadConfig:
    """The shape of a task's head; the last layer, which gives the logits, is in all of them.

    ``activation`` belongs to a dense layer before the last one; none means that there is no dense layer.
    ``has_norm`` puts a norm behind it (ModernBERT). ``dropout`` acts on what the last layer reads, and with
    ``drops_input`` on what the dense layer reads too (RoBERTa, ELECTRA).
    """

    kind: TaskKind
    num_labels: int
    activation: HeadActivation | None = None
    has_norm: bool = False
    drops_input: bool = False
    dropout: float = 0.0
    pooling: Pooling = "cls"

    def __post_init__(self) -> None:
        """Refuse what no head can have."""
        if self.num_labels < 1:
            raise ModelError(f"num_labels={self.num_labels} must be at least 1.")
        if not 0.0 <= self.dropout < 1.0:
            raise ModelError(f"The head's dropout {self.dropout} must lie between 0 and 1 (BERT uses 0.1).")


class TaskHead(nn.Module):
    """Logits of labels from vectors: a dense layer, its activation and norm where there are some, and the last."""

    def __init__(self, encoder: EncoderConfig, config: TaskHeadConfig) -> None:
        super().__init__()
        size = encoder.hidden_size
        self.config = config
        self.dense = nn.Identity() if config.activation is None else Linear(size, size, bias=encoder.use_bias)
        self.activation = nn.Identity() if config.activation is None else _ACTIVATIONS[config.activation]
        has_norm = config.has_norm
        self.norm = nn.LayerNorm(size, eps=encoder.norm_eps, bias=encoder.use_bias) if has_norm else nn.Identity()
        self.dropout = Dropout(config.dropout)
        self.out = Linear(size, config.num_labels)

    def forward(self, hidden: Float[Tensor, "count hidden"]) -> Float[Tensor, "count labels"]:
        """Return the logits that each vector gives."""
        read = self.dropout(hidden) if self.config.drops_input else hidden
        logits: Tensor = self.out(self.dropout(self.norm(self.activation(self.dense(read)))))
        return logits


class Classifier(nn.Module):
    """An encoder that gives labels to documents (``kind="sequence"``) or to pieces (``"token"``).

    ``context`` is what the encoder was pretrained to see; it is no weight, and part of what a model is.
    """

    def __init__(self, config: EncoderConfig, head: TaskHeadConfig, context: Context = "both") -> None:
        super().__init__()
        self.config = config
        self.context = context
        self.encoder = Encoder(config)
        self.head = TaskHead(config, head)

    @property
    def kind(self) -> TaskKind:
        """What gets labels."""
        return self.head.config.kind

    @property
    def num_labels(self) -> int:
        """How many logits there are."""
        return self.head.config.num_labels

    def forward(self, batch: TokenBatch, scored: Int[Tensor, "count"]) -> Float[Tensor, "count labels"]:
        """Return logits at flat positions ``scored`` (``row * seq + column``, ascending).

        These are pieces, or one token of each document: ``document_positions`` says which. The last layer is
        computed for them alone, except where documents are read off the mean of their tokens.
        """
        if self.kind == "sequence" and self.head.config.pooling == "mean":
            hidden = _document_means(self.encoder(batch, context=self.context), batch, scored)
        else:
            hidden = self.encoder(batch, scored=scored, context=self.context)
        logits: Tensor = self.head(hidden)
        return logits

    def document_positions(self, batch: TokenBatch) -> Int[Tensor, "count"]:
        """Return the flat position of the token that each document is read off, in the order of the rows.

        It is the first ([CLS]); where a token sees the left side alone, the last, for the first saw nothing.
        """
        doc_ids = batch.doc_ids
        edge = torch.zeros_like(doc_ids[:, :1])
        if self.context == "left":
            is_read = doc_ids != torch.cat([doc_ids[:, 1:], edge], dim=1)
        else:
            is_read = doc_ids != torch.cat([edge, doc_ids[:, :-1]], dim=1)
        return (is_read & batch.is_token).flatten().nonzero().squeeze(1)

    @torch.no_grad()
    def divide_logits(self, temperature: float) -> None:
        """Divide all logits by ``temperature`` from now on, by dividing the last layer's weight and bias.

        Whoever opens the saved model then gets calibrated probabilities (Guo et al. 2017, arXiv 1706.04599).
        """
        if not 0.0 < temperature < float("inf"):
            raise ModelError(f"A temperature of {temperature} cannot divide logits: it must be positive.")
        self.head.out.weight.div_(temperature)
        self.head.out.bias.div_(temperature)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights anew, as the encoder does."""
        initialise(self, self.config.init_std, generator)


def _document_means(
    hidden: Float[Tensor, "batch seq hidden"], batch: TokenBatch, scored: Int[Tensor, "count"]
) -> Float[Tensor, "count hidden"]:
    """Return the mean vector of the document at each of the flat positions ``scored``."""
    rows = len(batch.doc_ids)
    # Numbers documents over all rows; number 0 of a row is its padding, which no scored position names.
    highest = int(batch.doc_ids.max()) + 1
    number = (batch.doc_ids + highest * torch.arange(rows, device=hidden.device)[:, None]).flatten()
    sums = hidden.new_zeros(rows * highest, hidden.shape[-1]).index_add(0, number, hidden.flatten(0, 1))
    counts = torch.bincount(number, minlength=rows * highest)
    asked = number[scored]
    return sums[asked] / counts[asked, None]
