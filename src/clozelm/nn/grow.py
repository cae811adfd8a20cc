"""A model for a larger vocabulary, its new pieces begun from the pieces that spelt them before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from clozelm.nn.heads import MaskedLM


@torch.no_grad()
def grown(masked_lm: MaskedLM, first: int, pieces: Sequence[Sequence[int]]) -> MaskedLM:
    """Return a model that knows pieces ``first``, ``first + 1``, ...; the old one is not changed.

    ``pieces[i]`` are the old ids of new piece ``first + i``: its embedding begins as their mean (Hewitt 2021 shows
    why not as noise: a new row far from the others would take probability from all of them), and its output bias as
    theirs, so that it is about as likely as they are. Rows between the tokenizer's last piece and the matrix's end,
    which padded models have, are used up first.
    """
    config = replace(masked_lm.config, vocab_size=max(masked_lm.config.vocab_size, first + len(pieces)))
    larger = MaskedLM(config)
    state = masked_lm.state_dict()
    for name in ("encoder.embeddings.tokens.weight", "head.bias"):
        old = state[name]
        new = old.new_zeros(config.vocab_size, *old.shape[1:])
        new[: len(old)] = old
        for index, spelt in enumerate(pieces):
            new[first + index] = old[list(spelt)].mean(dim=0)
        state[name] = new
    larger.load_state_dict(state)
    return larger.to(masked_lm.decoder_weight.dtype).train(masked_lm.training)
