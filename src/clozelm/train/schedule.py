"""How the learning rate goes over a run: a factor of its peak, as a pure function of the step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

Schedule = Literal["constant", "linear", "cosine", "wsd"]

SHAPES: dict[Schedule, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "linear": lambda progress: 1.0 - progress,
    "cosine": lambda progress: 0.5 * (1.0 + math.cos(math.pi * progress)),
    "wsd": lambda progress: 1.0 - math.sqrt(progress),
}
"""How each kind goes from 1 to 0 while its decay goes from 0 to 1."""


def factor(
    step: int,
    num_steps: int,
    *,
    kind: Schedule,
    warmup_steps: int,
    decay_fraction: float,
    final: float,
) -> float:
    """Return the share of the peak learning rate at ``step`` (0-based) of ``num_steps``.

    Rises linearly to 1 over ``warmup_steps``, then falls towards ``final``. "linear" and "cosine" fall
    from the end of the warm-up on; "wsd" (warm-up, stable, decay) stays at 1 until the last
    ``decay_fraction`` of all steps and falls as 1 - sqrt (Hägele et al. 2024, 3); "constant" never falls.
    The first step is not 0 and the last has not yet arrived at ``final``, so that no step is wasted; from
    ``num_steps`` on it is ``final``.

    Relations: equals the schedules of ``transformers`` at ``step + 1`` of ``num_steps + 1``; those waste
    a step at each end.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if kind == "constant":
        return 1.0
    decay_steps = num_steps + 1 - warmup_steps
    if kind == "wsd":
        decay_steps = min(decay_steps, math.ceil(decay_fraction * num_steps))
    progress = 1.0 - (num_steps - step) / max(1, decay_steps)
    return final + (1.0 - final) * SHAPES[kind](min(1.0, max(0.0, progress)))
