"""Classes of texts and of pairs: one of several, any number of several, or a number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from clozelm.errors import DataError
from clozelm.tasks import calibration, metrics
from clozelm.tasks.encode import Encoded, ReadAs, encode_texts
from clozelm.tasks.ordinal import step_figures
from clozelm.tasks.prompt import Prompt, encode_prompts
from clozelm.tasks.task import Answers, Kind, Targets
from clozelm.text.examples import Problem, TextExample
from clozelm.text.label_checks import label_names
from clozelm.text.tokenizer import Tokenizer

_METRICS: dict[Problem, str] = {"single": "accuracy", "multi": "micro_f1", "regression": "pearson"}
SCORE = "score"


@dataclass(frozen=True)
class Classify:
    """Tell the class of a text from its first vector (Devlin et al. 2018, 4.1), or from a mask in a ``prompt``.

    Losses are cross-entropy (``single``), binary cross-entropy over all labels (``multi``) or the squared error
    (``regression``, whose only label is ``score``). ``weights`` multiply the losses of the classes, where given.
    With ``is_scale`` the labels are steps of a scale in their order, and of more than two it is measured how far
    answers are off.
    """

    labels: tuple[str, ...]
    problem: Problem = "single"
    weights: tuple[float, ...] | None = None
    is_scale: bool = False
    prompt: Prompt | None = None
    name: ClassVar[str] = "classify"
    kind: ClassVar[Kind] = "sequence"

    @property
    def metric(self) -> str:
        """The figure by which models are chosen."""
        return _METRICS[self.problem]

    @property
    def asks(self) -> Mapping[str, Any]:
        """Pattern and words of the prompt, as plain data; nothing without one."""
        if self.prompt is None:
            return {}
        return {"pattern": self.prompt.pattern, "words": {n: list(w) for n, w in self.prompt.words.items()}}

    def encode(self, tokenizer: Tokenizer, examples: Sequence[TextExample], read_as: ReadAs) -> Encoded:
        """Return what a model reads of the texts."""
        if self.prompt is not None:
            return encode_prompts(tokenizer, examples, read_as, self.prompt)
        return encode_texts(tokenizer, examples, read_as)

    def num_answers(self, example: TextExample) -> int:
        """A text has one answer."""
        return 1

    def targets(self, examples: Sequence[TextExample]) -> Targets:
        """Return class numbers [n], 0 and 1 for every label [n, labels], or numbers [n]."""
        begins = np.arange(len(examples), dtype=np.int64)
        if self.problem == "regression":
            return Targets(np.array([example.label for example in examples], np.float32), begins)
        index = {label: number for number, label in enumerate(self.labels)}
        if self.problem == "single":
            numbers = [_number(index, example.label, example) for example in examples]
            return Targets(np.array(numbers, np.int64), begins)
        table = np.zeros((len(examples), len(self.labels)), np.float32)
        for row, example in enumerate(examples):
            assert isinstance(example.label, tuple)
            for label in example.label:
                table[row, _number(index, label, example)] = 1.0
        return Targets(table, begins)

    def count(self, targets: Tensor) -> float:
        """Return the number of texts, times labels or weighted where the loss is."""
        if self.problem == "multi":
            return float(targets.numel())
        if self.weights is not None and self.problem == "single":
            return float(torch.tensor(self.weights)[targets].sum())
        return float(len(targets))

    def loss(self, logits: Float[Tensor, "count labels"], targets: Tensor) -> Float[Tensor, ""]:
        """Return the sum of the losses, in fp32."""
        logits = logits.float()
        if self.problem == "regression":
            return F.mse_loss(logits.squeeze(1), targets, reduction="sum")
        if self.problem == "multi":
            return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
        weights = None if self.weights is None else logits.new_tensor(self.weights)
        return F.cross_entropy(logits, targets, weight=weights, reduction="sum")

    def measure(
        self, answers: Answers, examples: Sequence[TextExample], *, resamples: int = 0
    ) -> Mapping[str, Any]:
        """Return figures, table of classes and confusion matrix; see ``clozelm.tasks.metrics``."""
        truth = self.targets(examples).values
        if self.problem == "regression":
            return metrics.regression(truth, answers.logits[:, 0], resamples=resamples)
        given = probabilities(answers.logits, self.problem)
        if self.problem == "multi":
            return metrics.multilabel(truth, given, self.labels, resamples=resamples)
        scores = metrics.classification(truth, given, self.labels, resamples=resamples)
        if self.is_scale and len(self.labels) > 2:
            scores["figures"] |= step_figures(truth, given, resamples=resamples)
        return scores


def probabilities(logits: NDArray[np.float64], problem: Problem) -> NDArray[np.float64]:
    """Return softmax or sigmoid of logits [n, labels]; of a regression the numbers themselves."""
    return logits if problem == "regression" else calibration.probabilities_of(logits, is_multi=problem == "multi")


def labels_of(examples: Sequence[TextExample], problem: Problem) -> tuple[str, ...]:
    """Return the labels that occur, numbers by their value and names by the alphabet; ``score`` of a regression."""
    return (SCORE,) if problem == "regression" else label_names(examples)


def balanced(examples: Sequence[TextExample], labels: Sequence[str]) -> tuple[float, ...]:
    """Return weights that give every class the same say: examples / (classes x examples of the class)."""
    counts = Counter(str(example.label) for example in examples)
    return tuple(len(examples) / (len(labels) * max(counts[label], 1)) for label in labels)


def _number(index: Mapping[str, int], label: Any, example: TextExample) -> int:
    if label not in index:
        known = ", ".join(list(index)[:8]) + (", ..." if len(index) > 8 else "")
        raise DataError(f"{example.source}: label {label!r} is not among those trained on ({known}).")
    return index[label]
