"""What distinguishes one encoder family from another, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from clozelm.errors import ModelError

Activation = Literal["gelu", "gelu_tanh", "relu", "silu"]


@dataclass(frozen=True)
class EncoderConfig:
    """The shape of an encoder. A field exists only because a supported family needs it.

    ``rotary`` replaces learned absolute positions (Su et al. 2021). ``norm_first`` normalises before each
    sub-layer and once at the end (ModernBERT; its first attention has no norm of its own, the embedding's
    serves). ``gated`` is GEGLU (Shazeer 2020). ``window`` is the whole width of local attention in tokens;
    layer ``i`` is global when ``i % global_every == 0`` and uses ``rope_theta``, local ones ``local_rope_theta``.

    ``embedding_size`` makes the embeddings narrower than the layers, with a projection between (Lan et al. 2020,
    3.1; also ELECTRA); none means as wide, without a projection. ``num_groups`` lets neighbouring layers share
    their weights in that many groups (ALBERT). ``first_position`` is the row of the position table that position
    0 reads (RoBERTa leaves out the first ones); ``max_positions`` counts usable positions.
    """

    vocab_size: int
    hidden_size: int = 768
    num_layers: int = 12
    num_heads: int = 12
    intermediate_size: int = 3072
    max_positions: int = 512
    first_position: int = 0
    type_vocab_size: int = 0
    embedding_size: int | None = None
    num_groups: int | None = None
    rotary: bool = False
    norm_first: bool = False
    gated: bool = False
    use_bias: bool = True
    activation: Activation = "gelu"
    norm_eps: float = 1e-12
    window: int | None = None
    global_every: int = 1
    rope_theta: float = 160_000.0
    local_rope_theta: float = 10_000.0
    dropout: float = 0.0
    attention_dropout: float = 0.0
    init_std: float = 0.02
    pad_id: int = 0

    def __post_init__(self) -> None:
        """Refuse shapes that no encoder can have."""
        for name in ("vocab_size", "hidden_size", "num_layers", "num_heads", "intermediate_size", "max_positions"):
            if getattr(self, name) < 1:
                raise ModelError(f"{name}={getattr(self, name)} must be at least 1.")
        if self.hidden_size % self.num_heads:
            raise ModelError(
                f"hidden_size={self.hidden_size} is not a multiple of num_heads={self.num_heads}: "
                f"each head takes an equal share (BERT uses 64 a head)."
            )
        if self.gated and self.activation != "gelu":
            raise ModelError(
                f"A gated perceptron with activation={self.activation!r} is not supported: use 'gelu'."
            )
        if self.rotary and self.head_size % 2:
            raise ModelError(f"Rotary positions need an even head size, not {self.head_size}.")
        if self.rotary and self.window is not None and self.global_every == 1:
            raise ModelError(
                f"window={self.window} has no use with global_every=1, where every layer sees the whole document: "
                "set global_every to 2 or more (3 in ModernBERT)."
            )
        if self.num_groups is not None and not 1 <= self.num_groups <= self.num_layers:
            raise ModelError(f"num_groups={self.num_groups} must lie between 1 and num_layers={self.num_layers}.")
        if self.num_groups is not None and self.window is not None:
            raise ModelError("Shared layers with local attention are not supported: set window=none.")
        if not 0 <= self.pad_id < self.vocab_size:
            raise ModelError(f"pad_id={self.pad_id} lies outside the vocabulary of {self.vocab_size} pieces.")

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_heads

    @property
    def embedding_width(self) -> int:
        """Width of the embeddings, and of the vectors that are multiplied with the vocabulary."""
        return self.hidden_size if self.embedding_size is None else self.embedding_size

    def group(self, layer: int) -> int:
        """Which set of weights layer ``layer`` uses; layers of a group follow one another."""
        return layer if self.num_groups is None else layer * self.num_groups // self.num_layers

    def is_global(self, layer: int) -> bool:
        """Whether layer ``layer`` attends to the whole document."""
        return self.window is None or layer % self.global_every == 0
