"""What a task is to training and prediction: its answers, their loss, and how good they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from clozelm.tasks.batches import Laid
from clozelm.tasks.encode import Encoded, ReadAs
from clozelm.text.examples import Problem
from clozelm.text.tokenizer import Tokenizer

Kind = Literal["sequence", "token"]
ExampleT = TypeVar("ExampleT", contravariant=True)


@dataclass(frozen=True)
class Targets:
    """What should be answered: ``values[begins[owner] + place]``, one row for every answer of every example."""

    values: NDArray[Any]
    begins: NDArray[np.int64]

    def of(self, laid: Laid) -> Tensor:
        """Return the targets of a batch, in the order of its answers."""
        return torch.from_numpy(self.values[self.begins[laid.owners] + laid.places])


class Task(Protocol[ExampleT]):
    """One file each in this folder; a task is plain data, frozen when training begins."""

    @property
    def name(self) -> str:
        """What the task is called on the command line."""

    @property
    def kind(self) -> Kind:
        """Whether texts or words are asked about."""

    @property
    def problem(self) -> Problem:
        """What an answer is: one label of several, any number, or a number."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in the order of the logits."""

    @property
    def metric(self) -> str:
        """The figure that tells the better of two models."""

    @property
    def asks(self) -> Mapping[str, Any]:
        """How the examples are put to a model, as plain data, where labels do not say it: a prompt."""

    def encode(self, tokenizer: Tokenizer, examples: Sequence[ExampleT], read_as: ReadAs) -> Encoded:
        """Return what a model reads of the examples."""

    def targets(self, examples: Sequence[ExampleT]) -> Targets:
        """Return what should be answered; a label that the task does not know is a ``DataError`` naming it."""

    def count(self, targets: Tensor) -> float:
        """Return what the losses of these targets are divided by."""

    def loss(self, logits: Float[Tensor, "count labels"], targets: Tensor) -> Float[Tensor, ""]:
        """Return the sum of the losses."""

    def num_answers(self, example: ExampleT) -> int:
        """Return how many answers an example has."""

    def measure(self, answers: Answers, examples: Sequence[ExampleT], *, resamples: int = 0) -> Mapping[str, Any]:
        """Return how good the answers are: a result of ``clozelm.tasks.metrics``."""


class Answers:
    """The logits of some examples, put together from batches: one row for every answer of every example."""

    def __init__(self, num_answers: Sequence[int], num_labels: int) -> None:
        sizes = np.array(num_answers, np.int64)
        self.begins = np.cumsum(sizes) - sizes
        self.logits: NDArray[np.float64] = np.full((int(sizes.sum()), num_labels), np.nan)

    def put(self, laid: Laid, logits: Float[Tensor, "count labels"]) -> None:
        """Take in the answers to a batch."""
        self.logits[self.begins[laid.owners] + laid.places] = logits.detach().double().cpu().numpy()

    def of(self, index: int) -> NDArray[np.float64]:
        """Return the answers of one example, [answers, labels]; what was not asked is not a number."""
        stop = self.begins[index + 1] if index + 1 < len(self.begins) else len(self.logits)
        return self.logits[self.begins[index] : stop]
