"""The logit lens: what the model would answer if it stopped after each layer (nostalgebraist 2020)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from clozelm.explain.probe import Guess, Probe
from clozelm.explain.record import Recorded, read_off


@dataclass(frozen=True)
class LayerGuess:
    """What the head reads off the mask's vector after a layer; layer 0 is what enters the first.

    ``probability`` is the target's, all its pieces together; ``rank`` that of its first piece, from 1; ``entropy``
    of the whole answer, in nats.
    """

    layer: int
    guesses: list[Guess]
    probability: float
    rank: int
    entropy: float


@torch.inference_mode()
def lens(probe: Probe, recorded: Recorded, *, top: int = 5) -> list[LayerGuess]:
    """Read every layer off through the final norm, where there is one, and the model's own head.

    The last layer is the model's answer. Earlier ones were never trained to be read: a strange guess there says
    that the answer is not yet written in the head's terms, not that the layer knows nothing.
    """
    found = []
    for layer, vectors in enumerate(recorded.vectors):
        rows = read_off(probe.model, vectors).cpu().numpy()
        joint = math.fsum(float(row[piece]) for row, piece in zip(rows, probe.target, strict=True))
        first = rows[0]
        entropy = -float(np.sum(np.exp(first) * first))
        found.append(LayerGuess(layer, probe.best(first, top), math.exp(joint), probe.rank(first), entropy))
    return found
