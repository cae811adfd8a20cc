"""Tags of words: named entities and whatever else is marked word by word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from clozelm.errors import DataError
from clozelm.tasks import metrics, tags
from clozelm.tasks.encode import Encoded, ReadAs, encode_sentences
from clozelm.tasks.task import Answers, Kind, Targets
from clozelm.text.examples import Problem, TaggedSentence
from clozelm.text.tokenizer import Tokenizer

OUTSIDE = "O"


@dataclass(frozen=True)
class Tag:
    """Tell the tag of every word from its first piece (Devlin et al. 2018, 5.3).

    The answer to a sentence is the most probable sequence of tags that is legal in ``scheme`` (``tags.decode``).
    """

    labels: tuple[str, ...]
    scheme: tags.Scheme = "BIO"
    name: ClassVar[str] = "tag"
    kind: ClassVar[Kind] = "token"
    problem: ClassVar[Problem] = "single"
    metric: ClassVar[str] = "f1"
    asks: ClassVar[Mapping[str, Any]] = {}

    def encode(self, tokenizer: Tokenizer, examples: Sequence[TaggedSentence], read_as: ReadAs) -> Encoded:
        """Return what a model reads of the sentences."""
        return encode_sentences(tokenizer, examples, read_as)

    def num_answers(self, example: TaggedSentence) -> int:
        """A sentence has one answer a word."""
        return len(example.words)

    def targets(self, examples: Sequence[TaggedSentence]) -> Targets:
        """Return the number of every word's tag, sentence after sentence."""
        index = {label: number for number, label in enumerate(self.labels)}
        numbers = [_number(index, tag, example) for example in examples for tag in example.tags or ()]
        sizes = np.array([len(example.words) for example in examples], np.int64)
        return Targets(np.array(numbers, np.int64), np.cumsum(sizes) - sizes)

    def count(self, targets: Tensor) -> float:
        """Return the number of words."""
        return float(len(targets))

    def loss(self, logits: Float[Tensor, "count labels"], targets: Tensor) -> Float[Tensor, ""]:
        """Return the sum of the words' cross-entropies, in fp32."""
        return F.cross_entropy(logits.float(), targets, reduction="sum")

    def decode(self, logits: NDArray[np.float64]) -> tuple[str, ...]:
        """Return the best legal tags of a sentence, given logits [words, labels]; a word not asked is outside."""
        return tuple(
            self.labels[number] for number in tags.decode(self.log_probabilities(logits), self.labels, self.scheme)
        )

    def answer(self, logits: NDArray[np.float64]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
        """Return the tags of a sentence and the probability of each, given logits [words, labels]."""
        predicted = self.decode(logits)
        numbers = [self.labels.index(tag) for tag in predicted]
        return predicted, np.exp(self.log_probabilities(logits)[np.arange(len(predicted)), numbers])

    def log_probabilities(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return log softmax of logits [words, labels]; a word that was not asked is outside for certain."""
        outside = np.array([0.0 if label == OUTSIDE else -np.inf for label in self.labels])
        filled = np.where(np.isnan(logits), outside, logits)
        logs: NDArray[np.float64] = filled - np.logaddexp.reduce(filled, axis=1, keepdims=True)
        return logs

    def measure(
        self, answers: Answers, examples: Sequence[TaggedSentence], *, resamples: int = 0
    ) -> Mapping[str, Any]:
        """Return entity-level figures, table of types and confusion; see ``clozelm.tasks.metrics``."""
        predicted = [self.decode(answers.of(number)) for number in range(len(examples))]
        truth = [example.tags or () for example in examples]
        return metrics.entities(truth, predicted, self.scheme, resamples=resamples)


def tags_of(sentences: Sequence[TaggedSentence], scheme: tags.Scheme) -> tuple[str, ...]:
    """Return the tags that occur and those that their scheme has for the same types: O first, then type by type."""
    types = sorted({tag.split("-", 1)[1] for sentence in sentences for tag in sentence.tags or () if "-" in tag})
    prefixes = {"BIO": "BI", "IOB1": "BI", "BIOES": "BIES", "BILOU": "BILU", "IO": "I"}[scheme]
    return (OUTSIDE, *(f"{prefix}-{each}" for each in types for prefix in prefixes))


def without_entities(sentences: Sequence[TaggedSentence]) -> list[str]:
    """Say that there is nothing to find, if so."""
    if any(tag != OUTSIDE for sentence in sentences for tag in sentence.tags or ()):
        return []
    return ["no word has a tag other than O: nothing can be found there, and F1 is 0 whatever the model does"]


def _number(index: Mapping[str, int], tag: str, sentence: TaggedSentence) -> int:
    if tag not in index:
        known = ", ".join(list(index)[:8]) + (", ..." if len(index) > 8 else "")
        raise DataError(f"{sentence.source}: tag {tag!r} is not among those trained on ({known}).")
    return index[tag]
