"""One Transformer encoder for every family, bidirectional unless it is asked to look to one side."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from clozelm.errors import ModelError
from clozelm.nn.attention import Record
from clozelm.nn.config import Activation, EncoderConfig
from clozelm.nn.dropout import Dropout
from clozelm.nn.layout import Layout
from clozelm.nn.linear import Linear
from clozelm.nn.select import fastest
from clozelm.types import Context, TokenBatch

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
}


def geglu(wide: Float[Tensor, "*rows twice"]) -> Float[Tensor, "*rows width"]:
    """Return GELU of the first half times the second (Shazeer 2020)."""
    inner, gate = wide.chunk(2, dim=-1)
    return F.gelu(inner) * gate


class Embeddings(nn.Module):
    """Token vectors, plus learned positions and segments where the family has them, normalised and widened."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        size = config.embedding_width
        self.first_position = config.first_position
        self.tokens = nn.Embedding(config.vocab_size, size, padding_idx=config.pad_id)
        self.positions = None if config.rotary else nn.Embedding(config.first_position + config.max_positions, size)
        self.segments = nn.Embedding(config.type_vocab_size, size) if config.type_vocab_size else None
        self.norm = nn.LayerNorm(size, eps=config.norm_eps, bias=config.use_bias)
        self.dropout = Dropout(config.dropout)
        is_narrow = config.embedding_size is not None
        self.project = Linear(size, config.hidden_size) if is_narrow else nn.Identity()

    def forward(
        self, batch: TokenBatch, tokens: Float[Tensor, "batch seq embedding"] | None = None
    ) -> Float[Tensor, "batch seq hidden"]:
        """Look every token up, or take ``tokens`` as their vectors; a batch without segments is all segment 0."""
        x = self.tokens(batch.input_ids) if tokens is None else tokens
        if self.positions is not None:
            x = x + self.positions(batch.positions + self.first_position)
        if self.segments is not None:
            x = x + (self.segments.weight[0] if batch.segment_ids is None else self.segments(batch.segment_ids))
        x = x.to(self.norm.weight.dtype)  # tables may be kept in fp32 where the rest is rounded
        out: Tensor = self.project(self.dropout(self.norm(x)))
        return out


class Attention(nn.Module):
    """Multi-head self-attention with one fused projection."""

    def __init__(self, config: EncoderConfig, *, is_global: bool) -> None:
        super().__init__()
        size = config.hidden_size
        self.num_heads = config.num_heads
        self.is_global = is_global
        self.qkv = Linear(size, 3 * size, bias=config.use_bias)
        self.out = Linear(size, size, bias=config.use_bias)
        self.weights_dropout = Dropout(config.attention_dropout)

    def forward(
        self, x: Float[Tensor, "tokens hidden"], layout: Layout, *, scored_only: bool = False
    ) -> Float[Tensor, "count hidden"]:
        """Mix every token with the others of its document.

        With ``scored_only`` only the layout's scored positions ask, and the answer has one row for each.
        """
        mixed = layout.attend(
            self.qkv(x),
            num_heads=self.num_heads,
            is_global=self.is_global,
            dropout=self.weights_dropout,
            scored_only=scored_only,
        )
        out: Tensor = self.out(mixed)
        return out


class FeedForward(nn.Module):
    """Two-layer perceptron, gated (GEGLU) where the family says so."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.intermediate_size
        self.is_gated = config.gated
        self.activation = ACTIVATIONS[config.activation]
        self.up = Linear(config.hidden_size, width * (2 if config.gated else 1), bias=config.use_bias)
        self.down = Linear(width, config.hidden_size, bias=config.use_bias)

    def forward(self, x: Float[Tensor, "tokens hidden"]) -> Float[Tensor, "tokens hidden"]:
        """Apply to each token by itself."""
        wide = self.up(x)
        wide = fastest(geglu)(wide) if self.is_gated else self.activation(wide)
        out: Tensor = self.down(wide)
        return out


class Layer(nn.Module):
    """Attention and perceptron, each with its residual; norms before (``norm_first``) or after the sum."""

    def __init__(self, config: EncoderConfig, index: int) -> None:
        super().__init__()
        self.norm_first = config.norm_first
        self.attention = Attention(config, is_global=config.is_global(index))
        self.mlp = FeedForward(config)
        has_attention_norm = index > 0 or not config.norm_first
        self.attention_norm = norm(config) if has_attention_norm else nn.Identity()
        self.mlp_norm = norm(config)
        self.dropout = Dropout(config.dropout)

    def forward(
        self, x: Float[Tensor, "tokens hidden"], layout: Layout, *, scored_only: bool = False
    ) -> Float[Tensor, "count hidden"]:
        """Return the layer's output, for the scored positions alone if asked."""
        return self.perceive(self.attend(x, layout, scored_only=scored_only))

    def attend(
        self, x: Float[Tensor, "tokens hidden"], layout: Layout, *, scored_only: bool = False
    ) -> Float[Tensor, "count hidden"]:
        """Return the first half of the layer: what tokens and attention add up to."""
        asked = layout.scored_of(x) if scored_only else x
        if self.norm_first:
            mixed = self.attention(self.attention_norm(x), layout, scored_only=scored_only)
            out: Tensor = asked + self.dropout(mixed)
            return out
        out = self.attention_norm(asked + self.dropout(self.attention(x, layout, scored_only=scored_only)))
        return out

    def perceive(self, x: Float[Tensor, "count hidden"]) -> Float[Tensor, "count hidden"]:
        """Return the second half: what tokens and perceptron add up to."""
        if self.norm_first:
            out: Tensor = x + self.dropout(self.mlp(self.mlp_norm(x)))
            return out
        out = self.mlp_norm(x + self.dropout(self.mlp(x)))
        return out


class Encoder(nn.Module):
    """A stack of layers over embeddings; see ``EncoderConfig`` for what families change."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        num_sets = config.num_layers if config.num_groups is None else config.num_groups
        self.layers = nn.ModuleList(Layer(config, index) for index in range(num_sets))
        self.final_norm = norm(config) if config.norm_first else nn.Identity()

    def forward(
        self,
        batch: TokenBatch,
        *,
        scored: Int[Tensor, "count"] | None = None,
        context: Context = "both",
        embeddings: Float[Tensor, "batch seq embedding"] | None = None,
        record: Record | None = None,
    ) -> Float[Tensor, "*rows hidden"]:
        """Return one vector per token, ``[batch, seq, hidden]``; in every layer a token sees its ``context``.

        ``scored`` names flat positions (``row * seq + column``, ascending); then only their vectors come back,
        ``[count, hidden]``, and the last layer computes queries and perceptron for them alone - the same
        numbers for less work, since nothing reads the others.

        ``embeddings`` stand in for the vectors of the tokens, before positions and segments are added. A ``record``
        is given the vectors between layers and the attention weights, of all tokens, without attention dropout.
        """
        check_positions(batch, self.config)
        if record is not None:
            x = self._recorded(batch, context, embeddings, record)
            return self.final_norm(x if scored is None else x.flatten(0, 1).index_select(0, scored))  # type: ignore[no-any-return]
        layout = Layout.of(batch, self.config, scored, context)
        x = self.embeddings(batch, embeddings).flatten(0, 1)
        for index in range(self.config.num_layers):
            is_last = index == self.config.num_layers - 1
            layer = self.layers[self.config.group(index)]
            x = layer(x, layout, scored_only=scored is not None and is_last)
        out: Tensor = self.final_norm(x)
        return out if scored is not None else out.view(*batch.input_ids.shape, -1)

    def _recorded(
        self,
        batch: TokenBatch,
        context: Context,
        embeddings: Float[Tensor, "batch seq embedding"] | None,
        record: Record,
    ) -> Float[Tensor, "batch seq hidden"]:
        """Return the last layer's vectors of all tokens, and keep every layer's."""
        layout = Layout.of(batch, self.config, None, context, record)
        record.hidden.append(self.embeddings(batch, embeddings))
        for index in range(self.config.num_layers):
            x = self.layers[self.config.group(index)](record.hidden[-1].flatten(0, 1), layout)
            record.hidden.append(x.view(*batch.input_ids.shape, -1))
        return record.hidden[-1]

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights anew: normal with ``init_std``, norms one, biases zero (Devlin et al. 2018)."""
        initialise(self, self.config.init_std, generator)


def check_positions(batch: TokenBatch, config: EncoderConfig) -> None:
    """Refuse a document that is longer than the table of positions."""
    if not config.rotary and batch.input_ids.shape[1] > config.max_positions:
        longest = int(batch.positions.max()) + 1
        if longest > config.max_positions:
            raise ModelError(
                f"A document of {longest} tokens is longer than this model's {config.max_positions} positions: "
                "cut or window it."
            )


def initialise(module: nn.Module, std: float, generator: torch.Generator) -> None:
    """Fill every linear and embedding weight from N(0, std); padding's vector, biases 0; norms 1."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            with torch.no_grad():
                part.weight.normal_(0.0, std, generator=generator)
                if isinstance(part, nn.Embedding) and part.padding_idx is not None:
                    part.weight[part.padding_idx].zero_()
        if isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
        bias = getattr(part, "bias", None)
        if isinstance(bias, nn.Parameter):
            nn.init.zeros_(bias)


def norm(config: EncoderConfig) -> nn.LayerNorm:
    """Return a norm of the vectors between layers."""
    return nn.LayerNorm(config.hidden_size, eps=config.norm_eps, bias=config.use_bias)
