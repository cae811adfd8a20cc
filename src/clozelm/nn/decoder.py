"""A decoder over an encoder: it writes a text from left to right, reading the encoder's vectors (T5, BART)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from clozelm.errors import ModelError
from clozelm.nn.attention import attend
from clozelm.nn.config import EncoderConfig
from clozelm.nn.dropout import Dropout
from clozelm.nn.encoder import Encoder, Layer, check_positions, initialise, norm
from clozelm.nn.heads import MlmHead
from clozelm.nn.layout import Layout
from clozelm.nn.linear import Linear
from clozelm.types import TokenBatch


@dataclass(frozen=True)
class EncoderDecoderConfig:
    """An encoder, and what a decoder of the same blocks adds to it.

    The last ``sentinels`` ids of ``encoder.vocab_size`` stand for spans that were taken out of a text, first to
    last. ``start_id`` is what the decoder reads before its first token.
    """

    encoder: EncoderConfig
    decoder_layers: int
    sentinels: int
    start_id: int

    def __post_init__(self) -> None:
        """Refuse shapes that no model can have."""
        if self.decoder_layers < 1:
            raise ModelError(f"decoder_layers={self.decoder_layers} must be at least 1.")
        if not 2 <= self.sentinels < self.encoder.vocab_size:
            raise ModelError(
                f"sentinels={self.sentinels} must lie between 2 (one span and the end) and the vocabulary of "
                f"{self.encoder.vocab_size} they are the last of."
            )
        if not 0 <= self.start_id < self.first_sentinel:
            raise ModelError(f"start_id={self.start_id} is no piece of the {self.first_sentinel} before sentinels.")

    @property
    def first_sentinel(self) -> int:
        """The id that stands for the first span of a document."""
        return self.encoder.vocab_size - self.sentinels

    @property
    def decoder(self) -> EncoderConfig:
        """The shape of the decoder's layers: the encoder's, as many as there are."""
        groups, count = self.encoder.num_groups, self.decoder_layers
        return replace(self.encoder, num_layers=count, num_groups=None if groups is None else min(groups, count))


@dataclass(frozen=True)
class Memory:
    """What a decoder reads: the encoder's vectors, and which of them each of its own tokens may see."""

    vectors: Float[Tensor, "batch seq hidden"]
    mask: Bool[Tensor, "batch 1 target seq"]

    @classmethod
    def of(cls, vectors: Float[Tensor, "batch seq hidden"], batch: TokenBatch, target: TokenBatch) -> Memory:
        """Let tokens of ``target`` see the vectors of ``batch`` that belong to their document.

        Padding sees everything, so that its softmax is defined; its output is never read. A document of ``target``
        must be in the same row of ``batch``.
        """
        same = target.doc_ids[:, :, None] == batch.doc_ids[:, None, :]
        return cls(vectors, (same | ~target.is_token[:, :, None])[:, None])


class CrossAttention(nn.Module):
    """Multi-head attention of a decoder's tokens to the encoder's vectors, without positions (Raffel 2020, 2.1)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.num_heads = config.num_heads
        self.query = Linear(size, size, bias=config.use_bias)
        self.key_value = Linear(size, 2 * size, bias=config.use_bias)
        self.out = Linear(size, size, bias=config.use_bias)
        self.weights_dropout = Dropout(config.attention_dropout)

    def forward(self, x: Float[Tensor, "tokens hidden"], memory: Memory) -> Float[Tensor, "tokens hidden"]:
        """Mix for every token the encoder's vectors that it sees."""
        rows, width = memory.vectors.shape[:2]
        query = self.query(x).view(rows, -1, self.num_heads, x.shape[1] // self.num_heads)
        key, value = self.key_value(memory.vectors).view(rows, width, 2, *query.shape[2:]).unbind(2)
        mixed = attend(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), memory.mask, self.weights_dropout
        )
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2).flatten(0, 1))
        return out


class DecoderLayer(nn.Module):
    """The encoder's layer with attention to the encoder between its two halves."""

    def __init__(self, config: EncoderConfig, index: int) -> None:
        super().__init__()
        self.layer = Layer(config, index)
        self.cross = CrossAttention(config)
        self.cross_norm = norm(config)

    def forward(
        self, x: Float[Tensor, "tokens hidden"], layout: Layout, memory: Memory
    ) -> Float[Tensor, "tokens hidden"]:
        """Return the layer's output, one vector per token."""
        x = self.layer.attend(x, layout)
        if self.layer.norm_first:
            x = x + self.layer.dropout(self.cross(self.cross_norm(x), memory))
        else:
            x = self.cross_norm(x + self.layer.dropout(self.cross(x, memory)))
        return self.layer.perceive(x)


class Decoder(nn.Module):
    """A stack of decoder layers; it has no embeddings of its own."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        num_sets = config.num_layers if config.num_groups is None else config.num_groups
        self.layers = nn.ModuleList(DecoderLayer(config, index) for index in range(num_sets))
        self.final_norm = norm(config) if config.norm_first else nn.Identity()

    def forward(
        self, embedded: Float[Tensor, "batch target hidden"], target: TokenBatch, memory: Memory
    ) -> Float[Tensor, "batch target hidden"]:
        """Return one vector per token; it knows the tokens before it in its document, and what ``memory`` shows."""
        layout = Layout.of(target, self.config, None, context="left")
        x = embedded.flatten(0, 1)
        for index in range(self.config.num_layers):
            x = self.layers[self.config.group(index)](x, layout, memory)
        out: Tensor = self.final_norm(x)
        return out.view_as(embedded)


class EncoderDecoder(nn.Module):
    """An encoder, a decoder and a head (Raffel et al. 2020, 2.1): text in, text out.

    Both sides embed tokens, positions and segments by the encoder's tables, and the matrix of tokens is also that
    of the output. Before it comes the head of masked language models, where T5 has the product alone: it narrows
    vectors where embeddings are narrower than layers, and its bias can begin at the pieces' frequencies.

    With as many layers on both sides there are somewhat more than twice the encoder's layer parameters, but each
    token goes through one side only (3.2.2): a pass costs what the encoder would on input and target together, and
    for the cross-attention two matrices of the width for every token of both. At a rate of 15% and spans of 3, 100
    pieces become 90 of input and 20 of target, which makes 1.3 times the layers' work on the 100. So equal FLOPs
    mean neither equal parameters nor equal steps: a decoder of fewer layers brings the two nearer.
    """

    def __init__(self, config: EncoderDecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.encoder)
        self.decoder = Decoder(config.decoder)
        self.head = MlmHead(config.encoder)

    @property
    def decoder_weight(self) -> Float[Tensor, "vocab embedding"]:
        """The matrix that turns a vector into logits."""
        return self.encoder.embeddings.tokens.weight

    def decode(self, batch: TokenBatch, target: TokenBatch) -> Float[Tensor, "batch target hidden"]:
        """Return the decoder's vectors; the one at a token of ``target`` tells the token after it."""
        check_positions(target, self.config.encoder)
        memory = Memory.of(self.encoder(batch), batch, target)
        vectors: Tensor = self.decoder(self.encoder.embeddings(target), target, memory)
        return vectors

    def forward(self, batch: TokenBatch, target: TokenBatch) -> Float[Tensor, "batch target vocab"]:
        """Return logits of the token after each of ``target``, given ``batch``."""
        vectors = self.head.transform(self.decode(batch, target))
        return nn.functional.linear(vectors, self.decoder_weight, self.head.bias)

    def score_hidden(self, batch: TokenBatch, columns: Int[Tensor, "batch"]) -> Float[Tensor, "batch"]:
        """Return log p (nats, fp32) of one piece a row, at ``columns``, given everything else in its document.

        The piece is replaced by the first sentinel, and the decoder asked what stands there. Its answer may be
        longer than one piece, or a sentinel: p is the probability of this piece as the first of it.
        """
        rows = torch.arange(len(columns), device=columns.device)
        start, sentinel = self.config.start_id, self.config.first_sentinel
        hidden = batch.input_ids.clone()
        hidden[rows, columns] = sentinel
        read = torch.tensor([start, sentinel], device=columns.device).expand(len(columns), 2)
        positions = torch.arange(2, device=columns.device).expand_as(read)
        target = TokenBatch(read, batch.doc_ids[rows, columns][:, None].expand_as(read), positions)
        vectors = self.head.transform(self.decode(replace(batch, input_ids=hidden), target)[:, 1])
        logits = nn.functional.linear(vectors, self.decoder_weight, self.head.bias).float()
        return logits.log_softmax(dim=1)[rows, batch.input_ids[rows, columns]]

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights anew, as the encoder does."""
        initialise(self, self.config.encoder.init_std, generator)
