"""What a student has kept of its teacher: held-out loss, size and speed of the two, side by side."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from clozelm.data.pack import evaluation_rows
from clozelm.errors import DataError
from clozelm.hub.load import load, model_directory
from clozelm.infer.scoring import evaluating
from clozelm.nn.heads import MaskedLM
from clozelm.objectives.objective import token_batch
from clozelm.train.evaluate import evaluate_store
from clozelm.train.run import Run

_ROWS = 32
_TIMES = 5


@dataclass(frozen=True)
class Measured:
    """One of the two: nats a piece and accuracy under fixed masks, parameters, the encoder's tokens a second."""

    loss: float
    accuracy: float
    parameters: int
    tokens_per_second: float


@dataclass(frozen=True)
class Retained:
    """The student beside its teacher, measured on the same held-out text in the same process."""

    student: Measured
    teacher: Measured

    def plain(self) -> dict[str, Any]:
        """Return the figures and their ratios as plain data."""
        ours, theirs = self.student, self.teacher
        return asdict(self) | {
            "accuracy_kept": ours.accuracy / theirs.accuracy if theirs.accuracy else None,
            "size": ours.parameters / theirs.parameters,
            "speed": ours.tokens_per_second / theirs.tokens_per_second,
        }


def retained(run: Run) -> Retained:
    """Measure the student that a distillation saved and its teacher, both in fp32 as they are on disk.

    A run without held-out text is a ``DataError``.
    """
    teacher = run.settings.objective.distill.teacher
    assert teacher is not None, "only a distillation has a teacher"
    student, original = (load(model_directory(each)).model.to(run.device) for each in (run.out, teacher))
    return Retained(_measured(run, student), _measured(run, original))


def _measured(run: Run, model: MaskedLM) -> Measured:
    if run.heldout is None:
        raise DataError("This run has no held-out store: pass one with --heldout.")
    found = evaluate_store(
        model,
        run.heldout,
        run.tokenizer.vocabulary,
        row_length=run.settings.data.row_length,
        rate=run.settings.evaluation.rate,
    )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Measured(found.loss, found.accuracy, parameters, _speed(run, model))


@torch.inference_mode()
def _speed(run: Run, model: MaskedLM) -> float:
    """Return the tokens a second of the encoder, the best of some passes over one batch."""
    assert run.heldout is not None, "checked before"
    rows = next(evaluation_rows(run.heldout, run.tokenizer.vocabulary, run.settings.data.row_length, _ROWS))
    batch = token_batch(rows, rows.input_ids).to(run.device)
    seconds = []
    with evaluating(model):
        for _ in range(_TIMES + 1):
            begin = time.perf_counter()
            model.encoder(batch).sum().item()  # reading a number waits for a GPU to be done
            seconds.append(time.perf_counter() - begin)
    return int((rows.doc_ids > 0).sum()) / min(seconds[1:])
