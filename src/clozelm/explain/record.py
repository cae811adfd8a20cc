"""What happens inside a model while it answers: the vectors after every layer, the weights of every head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from clozelm.explain.probe import Probe
from clozelm.infer.scoring import evaluating
from clozelm.nn.attention import Record
from clozelm.nn.config import EncoderConfig
from clozelm.nn.heads import MaskedLM
from clozelm.types import TokenBatch


@dataclass(frozen=True)
class Attention:
    """The attention weights of a question, float32[layers, heads, pieces, pieces]; each row sums to 1.

    ``windows`` says of each layer how many pieces a piece sees at most on either side, None where it sees all.
    ``asking`` are the columns whose vectors give the answer: the masks, or what stands before them in models that
    read ahead.
    """

    weights: NDArray[np.float32]
    windows: list[int | None]
    asking: tuple[int, ...]


@dataclass(frozen=True)
class Recorded:
    """Attention, and the vectors that give the answer: one tensor a layer, the first before any layer."""

    attention: Attention
    vectors: list[Float[Tensor, "count hidden"]]


@torch.inference_mode()
def record(probe: Probe) -> Recorded:
    """Run a probe's question once, in the readable form, and keep what there is to see.

    The vectors are those at the masks of the target, one for each of its pieces.
    """
    model, chain = probe.model, list(probe.chain(probe.variation()))
    device = model.decoder_weight.device
    kept = Record()
    input_ids = torch.from_numpy(np.stack([window.ids for window in chain]))
    batch = TokenBatch.from_padded(input_ids, torch.ones_like(input_ids)).to(device)
    with evaluating(model):
        model.encoder(batch, context=model.reading.context, record=kept)
    asking = tuple(column - int(model.reading.ahead) for column in probe.question.columns)
    rows = torch.arange(len(chain), device=device)
    columns = torch.tensor(asking, device=device)
    weights = torch.stack([each[0] for each in kept.weights]).float().cpu().numpy()
    windows = [_reach(model.config, index) for index in range(model.config.num_layers)]
    return Recorded(Attention(weights, windows, asking), [each[rows, columns] for each in kept.hidden])


def _reach(config: EncoderConfig, layer: int) -> int | None:
    return None if config.is_global(layer) or config.window is None else config.window // 2


def read_off(model: MaskedLM, vectors: Float[Tensor, "count hidden"]) -> Float[Tensor, "count vocab"]:
    """Return log-probabilities that the model's own head reads off vectors of any layer, in float64."""
    out = model.head.transform(model.encoder.final_norm(vectors))
    logits = torch.nn.functional.linear(out, model.decoder_weight, model.head.bias)
    return logits.double().log_softmax(dim=-1)
