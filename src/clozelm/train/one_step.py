"""One optimiser update on one masked sentence, taken on a copy, to be looked at."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from clozelm.errors import TrainingError
from clozelm.infer.windows import Window
from clozelm.nn.heads import MaskedLM
from clozelm.train.optim import build, clip
from clozelm.types import TokenBatch


@dataclass(frozen=True)
class Step:
    """The copy after its update, the loss before it in nats a piece, and the size of gradient and update.

    ``moved`` is the largest change of any of the ``weights``.
    """

    model: MaskedLM
    loss: float
    gradient_norm: float
    weights: int
    moved: float


def one_step(model: MaskedLM, window: Window, labels: NDArray[np.int64], *, learning_rate: float) -> Step:
    """Take the first step of AdamW towards ``labels`` at a window's columns; ``model`` stays as it is.

    The loss is the mean of -log p; nothing is dropped out, decayed or clipped, so that the change is that of this
    sentence alone. The first step of AdamW moves nearly every weight that has a gradient by the learning rate,
    whatever the gradient's size.
    """
    twin = copy.deepcopy(model).eval().requires_grad_()
    device = twin.decoder_weight.device
    row = torch.from_numpy(window.ids)[None]
    batch = TokenBatch.from_padded(row, torch.ones_like(row)).to(device)
    logits = twin(batch, torch.tensor(window.columns, device=device))
    loss = torch.nn.functional.cross_entropy(logits.float(), torch.from_numpy(labels).to(device))
    if not torch.isfinite(loss):
        raise TrainingError(f"The loss of this sentence is {float(loss.detach())}: the weights are damaged.")
    before = [parameter.detach().clone() for parameter in twin.parameters()]
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser = build(
        twin,
        name="adamw",
        learning_rate=learning_rate,
        muon_learning_rate=0.0,
        weight_decay=0.0,
        betas=(0.9, 0.98),
        eps=1e-8,
        momentum=0.0,
        scaling="match_rms_adamw",
        precision="fp32",
    )
    norm = clip(optimiser.parameters, None)
    optimiser.step()
    optimiser.zero_grad()
    moves = [float((old - new.detach()).abs().max()) for old, new in zip(before, twin.parameters(), strict=True)]
    return Step(twin, float(loss.detach()), norm, sum(each.numel() for each in before), max(moves))
