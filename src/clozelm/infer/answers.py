"""What a model of a task answers to encoded examples."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from clozelm.errors import ModelError, SettingsError
from clozelm.infer.scoring import evaluating
from clozelm.nn.prompt import TaskModel
from clozelm.tasks.batches import batches, longest_first
from clozelm.tasks.encode import ReadAs, Unit
from clozelm.tasks.task import Answers

TOKENS_PER_BATCH = 4096
MOST_PIECES = 512


@torch.inference_mode()
def answers(model: TaskModel, units: Sequence[Unit], num_answers: Sequence[int], *, pad_id: int) -> Answers:
    """Return the logits of examples that have ``num_answers`` answers each, computed in batches of like lengths.

    The model comes back in the mode it had. Answers that are not finite are a ``ModelError``.
    """
    found = Answers(num_answers, model.num_labels)
    device = model.encoder.embeddings.tokens.weight.device
    with evaluating(model):
        for laid in batches(longest_first(units), pad_id=pad_id, tokens=TOKENS_PER_BATCH):
            if len(laid.scored):
                logits = model(laid.batch.to(device), laid.scored.to(device))
                if not torch.isfinite(logits).all():
                    raise ModelError("What the model answers is not a finite number: its weights are damaged.")
                found.put(laid, logits)
    return found


def read_as_model(model: TaskModel, max_length: int | None = None) -> ReadAs:
    """Return how a model reads; without ``max_length`` as far as its positions reach, at most 512 pieces.

    More pieces than positions are a ``SettingsError``.
    """
    positions = model.config.max_positions
    wanted = min(MOST_PIECES, positions) if max_length is None else max_length
    if wanted > positions:
        raise SettingsError(f"data.max_length={wanted} is more than the model's {positions} positions.")
    return ReadAs(wanted, has_segments=model.config.type_vocab_size > 1, asks_last=model.context == "left")
