"""The sums of a step's or an evaluation's losses, term by term."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from clozelm.objectives import Scores
from clozelm.train.ranks import Ranks


class Tally:
    """Add up scores of micro-batches under counts that are known beforehand; means come last.

    ``counts`` are those of the whole step, over all micro-batches: dividing by them makes any split of a step equal
    to the whole.
    """

    def __init__(self, weights: Mapping[str, float], counts: Mapping[str, int], device: torch.device) -> None:
        self._weights, self._counts = weights, counts
        self._losses = {term: torch.zeros((), device=device) for term in counts}
        self._correct = {term: torch.zeros((), dtype=torch.int64, device=device) for term in counts}
        self._positive = dict.fromkeys(counts, 0)
        self._has_classes, self._has_answers = dict.fromkeys(counts, False), dict.fromkeys(counts, True)

    def add(self, scores: Mapping[str, Scores]) -> Tensor | None:
        """Take in a micro-batch; return its share of the loss of the step, None where nothing was scored."""
        total: Tensor | None = None
        for term, one in scores.items():
            if not one.count:
                continue
            self._losses[term] += one.loss_sum.detach()
            if one.correct is None:
                self._has_answers[term] = False
            else:
                self._correct[term] += one.correct
            if one.positive is not None:
                self._has_classes[term] = True
                self._positive[term] += one.positive
            share = one.loss_sum * (self._weights[term] / self._counts[term])
            total = share if total is None else total + share
        return total

    def sum_over(self, ranks: Ranks) -> None:
        """Add up what all ranks have added."""
        if ranks.world == 1:
            return
        terms = list(self._counts)
        sums = iter(
            ranks.sums(
                [
                    float(value)
                    for part in (self._losses, self._correct, self._positive, self._has_classes)
                    for value in part.values()
                ]
                + [float(not has) for has in self._has_answers.values()]
            )
        )
        self._losses = {term: torch.tensor(next(sums)) for term in terms}
        self._correct = {term: torch.tensor(int(next(sums))) for term in terms}
        self._positive = {term: int(next(sums)) for term in terms}
        self._has_classes = {term: next(sums) > 0 for term in terms}
        self._has_answers = {term: next(sums) == 0 for term in terms}

    @property
    def loss(self) -> float:
        """The weighted loss of everything added."""
        return sum(weight * self.mean(term) for term, weight in self._weights.items())

    def mean(self, term: str) -> float:
        """Mean loss of a term per prediction; 0 where there was none."""
        return float(self._losses[term]) / max(self._counts[term], 1)

    def accuracy(self, term: str) -> float:
        """Share of right answers."""
        return float(self._correct[term]) / max(self._counts[term], 1)

    def means(self, terms: Iterable[str]) -> dict[str, float]:
        """Return loss and accuracy of terms, and the share of class 1 where there are classes, by name."""
        values: dict[str, float] = {}
        for term in terms:
            values[f"{term}_loss"] = self.mean(term)
            if self._has_answers[term]:
                values[f"{term}_accuracy"] = self.accuracy(term)
            if self._has_classes[term]:
                values[f"{term}_positive"] = self._positive[term] / max(self._counts[term], 1)
        return values
