"""An objective's terms on held-out text: sentence pairs, replaced tokens, agreement with a teacher."""

from __future__ import annotations

import torch

from clozelm.data.loader import Cursor
from clozelm.data.store import TokenStore
from clozelm.errors import DataError
from clozelm.objectives import Objective
from clozelm.train.plan import Batches
from clozelm.train.scoring import evaluating
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
    device: torch.device,
) -> dict[str, float]:
    """Return losses and accuracies of all terms but masked pieces, on ``evaluation.tokens`` tokens of ``store``.

    The rows are those of a first epoch with a seed of their own, so that pairs and masks are the same every time.
    A store too small for one batch gives nothing.
    """
    of_evaluation = settings.run.model_copy(update={"seed": _SEED})
    try:
        batches = Batches(settings.model_copy(update={"run": of_evaluation}), store, vocabulary, objective)
        first = batches.step(Cursor(), settings.evaluation.rate)
    except DataError:
        return {}
    num_steps = max(1, min(settings.evaluation.tokens, store.num_tokens) // max(first.tokens, 1))
    steps = [first]
    while len(steps) < num_steps:
        steps.append(batches.step(steps[-1].next_cursor, settings.evaluation.rate))
    counts = {term: sum(step.counts[term] for step in steps) for term in first.counts}
    tally = Tally(objective.weights, counts, device)
    with evaluating(objective):
        for step in steps:
            for example in step.micro_batches:
                tally.add(objective(example.to(device)))
    return tally.means([term for term in counts if term != "mlm"])
