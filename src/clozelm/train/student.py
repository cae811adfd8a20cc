"""The student of a distillation: its shape, and its first weights, taken from the teacher (Sanh et al. 2019, 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from clozelm.errors import SettingsError
from clozelm.nn.config import EncoderConfig
from clozelm.nn.heads import MaskedLM


def student_config(
    teacher: EncoderConfig, teacher_family: str, family: str, given: Mapping[str, Any]
) -> EncoderConfig:
    """Return the student's shape: the teacher's with half of its layers, without segments in a DistilBERT.

    ``given`` may set ``num_layers`` and the dropouts; other widths than the teacher's are refused, since its layers
    would not fit.
    """
    if family != teacher_family and (teacher_family, family) != ("bert", "distilbert"):
        raise SettingsError(
            f"model.family={family} cannot be a student of a {teacher_family}: use model.family={teacher_family}"
            f"{' or distilbert' if teacher_family == 'bert' else ''}."
        )
    if teacher.num_groups is not None:
        raise SettingsError(f"A {teacher_family} shares its layers, so there are none to leave out for a student.")
    free = {"num_layers", "dropout", "attention_dropout", "init_std"}
    for key, value in given.items():
        if key not in free and getattr(teacher, key) != value:
            raise SettingsError(
                f"model.{key}={value}: the student begins with layers of the teacher, which has "
                f"{getattr(teacher, key)}; leave it out."
            )
    num_layers = given.get("num_layers", max(1, teacher.num_layers // 2))
    if num_layers > teacher.num_layers:
        raise SettingsError(f"model.num_layers={num_layers}: the teacher has only {teacher.num_layers} layers.")
    origins = chosen_layers(teacher.num_layers, num_layers)
    if any(teacher.is_global(origin) != teacher.is_global(index) for index, origin in enumerate(origins)):
        raise SettingsError(
            f"{num_layers} evenly spaced layers of this teacher are {origins}, whose local and global attention "
            f"would change places: choose model.num_layers otherwise ({teacher.num_layers} fits always)."
        )
    changes = {key: value for key, value in given.items() if key in free} | {"num_layers": num_layers}
    if family == "distilbert":
        changes["type_vocab_size"] = 0
    return replace(teacher, **changes)


def chosen_layers(deep: int, shallow: int) -> list[int]:
    """Return which of ``deep`` layers a student of ``shallow`` begins with: evenly spaced, the first among them."""
    return [int(one) for one in np.linspace(0, deep - 1, shallow).round()]


@torch.no_grad()
def take_layers(student: MaskedLM, teacher: MaskedLM) -> list[int]:
    """Fill the student with the teacher's embeddings, head and evenly spaced layers; return which.

    Of 12 layers, six are 0, 2, 4, 7, 9, 11, as in the released DistilBERT. Segments that the student lacks are
    folded into its positions: every token is of segment 0.
    """
    chosen = chosen_layers(teacher.config.num_layers, student.config.num_layers)
    state = {k: v for k, v in teacher.state_dict().items() if not k.startswith("encoder.layers.")}
    segments = "encoder.embeddings.segments.weight"
    if segments in state and student.encoder.embeddings.segments is None:
        state["encoder.embeddings.positions.weight"] = (
            state["encoder.embeddings.positions.weight"] + state.pop(segments)[0]
        )
    for index, origin in enumerate(chosen):
        layer = teacher.encoder.layers[origin].state_dict()
        state |= {f"encoder.layers.{index}.{key}": tensor for key, tensor in layer.items()}
    student.load_state_dict(state)
    return chosen
