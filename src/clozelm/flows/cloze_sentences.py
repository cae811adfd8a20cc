"""Sentences with a mask and the word that is expected: how often a model has it among its first answers."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clozelm.errors import DataError
from clozelm.flows.model import Model
from clozelm.infer.fill_mask import Candidate
from clozelm.samples import SENTENCES

FIRST = 5


@dataclass(frozen=True)
class ClozeSentence:
    """A sentence with one ``[MASK]``, the word that is expected there, and what kind of sentence it is."""

    kind: str
    expected: str
    sentence: str


@dataclass(frozen=True)
class Asked:
    """A sentence, the model's first answers, best first, and whether the expected word is one of them."""

    question: ClozeSentence
    answers: list[Candidate]
    is_found: bool


def read_sentences(path: str | Path = SENTENCES) -> list[ClozeSentence]:
    """Read a tab-separated file with the columns ``kind``, ``expected`` and ``sentence``."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    found = []
    for line, row in enumerate(rows, start=2):
        kind, expected, sentence = (row.get(name) for name in ("kind", "expected", "sentence"))
        if not (kind and expected and sentence) or sentence.count("[MASK]") != 1:
            raise DataError(f"{path}, line {line}: needs kind, expected and a sentence with one [MASK].")
        found.append(ClozeSentence(kind, expected, sentence))
    return found


def ask(model: Model, questions: Sequence[ClozeSentence], *, first: int = FIRST) -> list[Asked]:
    """Return the ``first`` answers of a model to every sentence; letters count the same in either case."""
    filled = model.fill([one.sentence for one in questions], top=first)
    found = []
    for question, (answers,) in zip(questions, filled, strict=True):
        said = [candidate.token.strip().casefold() for candidate in answers]
        found.append(Asked(question, answers, question.expected.casefold() in said))
    return found


def share_found(asked: Sequence[Asked], kind: str | None = None) -> tuple[int, int]:
    """Return how many expected words were found, and of how many; of one ``kind`` or of all."""
    chosen = [one for one in asked if kind in (None, one.question.kind)]
    return sum(one.is_found for one in chosen), len(chosen)
