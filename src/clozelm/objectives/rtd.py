"""Replaced-token detection (Clark et al. 2020, 2): one model fills masks, another finds what it filled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from clozelm.errors import SettingsError
from clozelm.nn.config import EncoderConfig
from clozelm.nn.flops import TRAINING, encoder_flops
from clozelm.nn.heads import Discriminator, MaskedLM
from clozelm.nn.linear import linear
from clozelm.objectives.objective import (
    Example,
    Objective,
    Scores,
    Stored,
    masked_flops,
    nothing,
    predict_pieces,
)

_LOGITS_AT_ONCE = 512


class ReplacedTokens(Objective):
    """Terms ``mlm`` (of the generator) and ``rtd`` (of the discriminator, on every token).

    ``masked_lm`` is the generator, ``generator`` times as wide as the discriminator of ``config``, or of fewer
    layers (DeBERTaV3, He et al. 2021, 3.1); the two share their embeddings (3.2). No gradient flows through the
    drawn pieces. A piece that is drawn as it was counts as original.
    """

    draws = True

    def __init__(
        self,
        config: EncoderConfig,
        *,
        generator: float = 0.25,
        generator_layers: int | None = None,
        weight: float = 50.0,
    ) -> None:
        super().__init__()
        self.discriminator = Discriminator(config)
        self.masked_lm = MaskedLM(generator_config(config, generator, generator_layers))
        ours, shared = self.masked_lm.encoder.embeddings, self.discriminator.encoder.embeddings
        ours.tokens, ours.positions = shared.tokens, shared.positions
        ours.segments, ours.norm = shared.segments, shared.norm
        self.weights = {"mlm": 1.0, "rtd": weight}

    def forward(self, example: Example) -> dict[str, Scores]:
        """Score the generator at the masks and the discriminator everywhere."""
        scored = example.predicted.nonzero().squeeze(1)
        labels = example.labels.flatten()
        scores = {"mlm": nothing(self.masked_lm.decoder_weight)}
        ids = torch.where(example.predicted, labels, example.batch.input_ids.flatten())
        is_replaced = torch.zeros_like(ids)
        if len(scored):
            assert example.draws is not None, "examples of this objective carry draws"
            hidden = self.masked_lm.encoder(example.batch, scored=scored)
            scores["mlm"] = predict_pieces(self.masked_lm, hidden, labels[scored])
            drawn = self._draw(hidden.detach(), example.draws.flatten()[scored])
            is_replaced[scored] = (drawn != labels[scored]).long()
            ids[scored] = drawn
        corrupted = replace(example.batch, input_ids=ids.view_as(example.labels))
        is_token = example.batch.is_token.flatten()
        logits = self.discriminator(corrupted).flatten()[is_token].float()
        target = is_replaced[is_token]
        loss = F.binary_cross_entropy_with_logits(logits, target.float(), reduction="sum")
        correct = ((logits > 0) == (target > 0)).sum()
        scores["rtd"] = Scores(loss, correct, len(target), int(target.sum()))
        return scores

    @torch.no_grad()
    def _draw(self, hidden: Float[Tensor, "count hidden"], draws: Float[Tensor, "count"]) -> Int[Tensor, "count"]:
        """Draw pieces from the generator, each by one uniform number through its cumulative distribution."""
        vectors = self.masked_lm.head.transform(hidden)
        drawn = []
        for start in range(0, len(vectors), _LOGITS_AT_ONCE):
            part = vectors[start : start + _LOGITS_AT_ONCE]
            logits = linear(part, self.masked_lm.decoder_weight, self.masked_lm.head.bias).float()
            reached = logits.softmax(dim=1).cumsum(dim=1)
            wanted = draws[start : start + _LOGITS_AT_ONCE, None].float() * reached[:, -1:]
            drawn.append(torch.searchsorted(reached, wanted, right=True).squeeze(1))
        return torch.cat(drawn).clamp(max=len(self.masked_lm.head.bias) - 1)

    def counts(self, example: Example) -> dict[str, int]:
        """Count the masked positions, and all tokens."""
        return {"mlm": int(example.predicted.sum()), "rtd": int(example.batch.is_token.sum())}

    def flops(self, piece_lengths: NDArray[np.int64], counts: Mapping[str, int]) -> float:
        """Count the generator at the masks and the discriminator everywhere."""
        generator = masked_flops(self.masked_lm, piece_lengths, counts["mlm"], counts["mlm"])
        config = self.discriminator.config
        head = 2.0 * counts["rtd"] * (config.hidden_size**2 + config.hidden_size)
        return generator + TRAINING * (encoder_flops(config, piece_lengths, counts["rtd"]) + head)

    def stored(self) -> list[Stored]:
        """Keep the discriminator, which is what is fine-tuned, and the generator, which fills masks."""
        return [Stored("model", self.discriminator, {}), Stored("generator", self.masked_lm, {})]


def generator_config(config: EncoderConfig, fraction: float, layers: int | None = None) -> EncoderConfig:
    """Return the encoder of the generator: ``fraction`` of the width, of the heads and of the perceptron.

    It has as many layers as the discriminator, or ``layers``.
    """
    hidden_size, num_heads = round(config.hidden_size * fraction), max(1, round(config.num_heads * fraction))
    if hidden_size < 1 or hidden_size % num_heads:
        raise SettingsError(
            f"objective.rtd.generator={fraction} of {config.hidden_size} and {config.num_heads} heads is no shape: "
            "choose a fraction that leaves whole heads (1/4 in ELECTRA)."
        )
    num_layers = layers or config.num_layers
    return replace(
        config,
        num_layers=num_layers,
        num_groups=None if config.num_groups is None else min(config.num_groups, num_layers),
        hidden_size=hidden_size,
        num_heads=num_heads,
        intermediate_size=max(1, round(config.intermediate_size * fraction)),
        embedding_size=None if hidden_size == config.embedding_width else config.embedding_width,
    )
