"""An objective's terms on held-out text: sentence pairs, replaced tokens, agreement with a teacher."""

from __future__ import annotations

import torch

from clozelm.data.loader import Cursor
from clozelm.data.store import TokenStore
from clozelm.infer.scoring import evaluating
from clozelm.masking import Select
from clozelm.objectives import Objective
from clozelm.train.plan import Batches, StepData
from clozelm.train.settings import PretrainSettings
from clozelm.train.tally import Tally
from clozelm.vocab import Vocabulary

_SEED = 0


@torch.no_grad()
def heldout_terms(
    settings: PretrainSettings,
    objective: Objective,
    store: TokenStore,
    vocabulary: Vocabulary,
    *,
    select: Select,
    device: torch.device,
) -> dict[str, float]:
    """Return losses and accuracies of all terms but masked pieces, on at most ``evaluation.tokens`` of ``store``.

    The rows are those of a first epoch with a seed of their own, so that pairs and masks are the same every time;
    each is looked at once. Raises ``DataError`` for a store too small for a row, or for the pairs that are asked.
    """
    data = settings.data
    rows = min(settings.evaluation.tokens, store.num_tokens) // data.row_length
    rows_at_once = max(1, min(rows, data.tokens_per_step // data.row_length))
    changed = settings.model_copy(
        update={
            "run": settings.run.model_copy(update={"seed": _SEED}),
            "data": data.model_copy(update={"tokens_per_step": rows_at_once * data.row_length}),
        }
    )
    batches, cursor, steps = Batches(changed, store, vocabulary, objective, select), Cursor(), list[StepData]()
    while cursor.epoch == 0 and len(steps) * rows_at_once < max(rows, 1):
        steps.append(batches.step(cursor, settings.evaluation.rate))
        cursor = steps[-1].next_cursor
    counts = {term: sum(step.counts[term] for step in steps) for term in steps[0].counts}
    tally = Tally(objective.weights, counts, device)
    with evaluating(objective):
        for step in steps:
            for example in step.micro_batches:
                tally.add(objective(example.to(device)))
    return tally.means([term for term in counts if term != "mlm"])
