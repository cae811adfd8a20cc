"""Predictions of a fine-tuned model: labels of texts, tags of words, entities of a running text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from clozelm.errors import ModelError
from clozelm.hub.classifier import LoadedClassifier
from clozelm.hub.labels import TASK_KEY
from clozelm.hub.load import model_directory
from clozelm.hub.prompt import LoadedPrompt, load_task_model
from clozelm.infer.answers import answers, read_as_model
from clozelm.nn.device import moved
from clozelm.tasks.classify import Classify, probabilities
from clozelm.tasks.tag import Tag
from clozelm.tasks.tags import Scheme, spans
from clozelm.tasks.task import Answers
from clozelm.text.examples import TaggedSentence, TextExample
from clozelm.text.sentiment import SCALE_FACT

_TRIED = 64  # examples that are answered in both precisions
_WORD = re.compile(r"\w+(?:['’]\w+)?|[^\w\s]")


@dataclass(frozen=True)
class Prediction:
    """What a model says of a text.

    ``label`` is a name, a tuple of names (of several labels), or a number; ``probability`` that of the name.
    """

    label: str | tuple[str, ...] | float
    probability: float | None
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Entity:
    """A marked span: type, text, characters from ``start`` to ``stop``, and the mean probability of its tags."""

    type: str
    text: str
    start: int
    stop: int
    probability: float


class Predictor:
    """A fine-tuned model that answers; texts are computed in batches of like lengths, several to a row."""

    def __init__(self, loaded: LoadedClassifier | LoadedPrompt) -> None:
        self.loaded, self.model = loaded, loaded.model
        facts = loaded.config.get(TASK_KEY)
        self.facts: dict[str, Any] = facts if isinstance(facts, dict) else {}
        self.task: Classify | Tag
        if loaded.model.kind == "token":
            self.task = Tag(loaded.labels, self._scheme())
        else:
            prompt = loaded.prompt if isinstance(loaded, LoadedPrompt) else None
            is_scale = SCALE_FACT in self.facts
            self.task = Classify(loaded.labels, loaded.problem, is_scale=is_scale, prompt=prompt)
        longest = self.facts.get("max_length")
        self._read_as = read_as_model(self.model, longest if isinstance(longest, int) else None)
        self._rounds_soon = False

    @classmethod
    def open(cls, path: str | Path, *, device: str = "cpu") -> Self:
        """Open a fine-tuned model, or what `cloze finetune` left around it."""
        loaded = load_task_model(model_directory(path))
        moved(loaded.model, device)
        return cls(loaded)

    def round_weights(self) -> None:
        """Compute in bf16 from now on; what that changes in the first examples is measured and in their notes."""
        self._rounds_soon = next(self.model.parameters()).dtype != torch.bfloat16

    def __call__(self, texts: Sequence[str | tuple[str, str]]) -> list[Prediction]:
        """Return the prediction for every text or pair."""
        if isinstance(self.task, Tag):
            raise ModelError("This model tags words: use `entities` or `tags`.")
        examples = [TextExample((one,) if isinstance(one, str) else tuple(one)) for one in texts]
        return [self.prediction(row) for row in self.answers(examples).logits]

    def tags(self, sentences: Sequence[Sequence[str]]) -> list[tuple[tuple[str, ...], NDArray[np.float64]]]:
        """Return the tags of every sentence, given as words, and the probability of each."""
        task = self._tagger()
        found = self.answers([TaggedSentence(tuple(words)) for words in sentences])
        return [task.answer(found.of(number)) for number in range(len(sentences))]

    def entities(self, texts: Sequence[str]) -> list[list[Entity]]:
        """Return the entities of running texts, cut into words at blanks and around punctuation."""
        task = self._tagger()
        words = [list(_WORD.finditer(text)) for text in texts]
        out = []
        tagged = self.tags([[word.group() for word in each] for each in words])
        for text, each, (found, sure) in zip(texts, words, tagged, strict=True):
            out.append(
                [
                    Entity(
                        span.type,
                        text[each[span.start].start() : each[span.stop - 1].end()],
                        each[span.start].start(),
                        each[span.stop - 1].end(),
                        float(sure[span.start : span.stop].mean()),
                    )
                    for span in spans(found, task.scheme)
                ]
            )
        return out

    def answers(self, examples: Sequence[Any]) -> Answers:
        """Return the logits of texts or sentences."""
        tokenizer = self.loaded.tokenizer
        encoded = self.task.encode(tokenizer, examples, self._read_as)
        sizes = [self.task.num_answers(example) for example in examples]
        self.notes = encoded.notes
        pad_id = tokenizer.vocabulary.pad_id
        if self._rounds_soon and examples:
            first = [unit for unit in encoded.units if unit.owner < _TRIED]
            exact = answers(self.model, first, sizes[:_TRIED], pad_id=pad_id).logits
            self.model.to(torch.bfloat16)
            self._rounds_soon = False
            rough = answers(self.model, first, sizes[:_TRIED], pad_id=pad_id).logits
            self.notes = [*self.notes, self._difference(exact, rough)]
        return answers(self.model, encoded.units, sizes, pad_id=pad_id)

    def _difference(self, exact: NDArray[np.float64], rough: NDArray[np.float64]) -> str:
        """Say how far logits [n, labels] in bf16 are from those in fp32; what was not asked is not a number."""
        if self.task.problem == "regression":
            gap = float(np.abs(rough - exact).max(initial=0.0))
            return f"bf16 changes the first {len(exact):,} numbers by up to {gap:.4f}."
        given, had = (probabilities(each, self.task.problem) for each in (rough, exact))
        gap = float(np.nan_to_num(np.abs(given - had)).max(initial=0.0))
        other = int((given.argmax(axis=1) != had.argmax(axis=1)).sum())
        if self.task.problem == "multi":
            other = int(((given > 0.5) != (had > 0.5)).any(axis=1).sum())
        return (
            f"bf16 changes the first {len(exact):,} answers' probabilities by up to {gap:.4f}, "
            f"and {other:,} of the answers."
        )

    def prediction(self, logits: NDArray[np.float64]) -> Prediction:
        """Return what logits [labels] of a text mean."""
        task = self.task
        if task.problem == "regression":
            return Prediction(float(logits[0]), None, {})
        given = probabilities(logits[None], task.problem)[0]
        named = {label: float(each) for label, each in zip(task.labels, given, strict=True)}
        if task.problem == "multi":
            return Prediction(tuple(label for label, each in named.items() if each > 0.5), None, named)
        best = int(given.argmax())
        return Prediction(task.labels[best], float(given[best]), named)

    def _tagger(self) -> Tag:
        if isinstance(self.task, Classify):
            raise ModelError("This model classifies texts: call it with them.")
        return self.task

    def _scheme(self) -> Scheme:
        """Return the scheme that the model was trained in, or, for one from elsewhere, the one its labels have."""
        named = self.facts.get("scheme")
        known: tuple[Scheme, ...] = get_args(Scheme)
        letters = {label[0] for label in self.loaded.labels}
        if named in known:
            return known[known.index(named)]
        if letters & set("ESLU"):
            return "BIOES" if letters & set("ES") else "BILOU"
        return "BIO" if "B" in letters else "IO"
