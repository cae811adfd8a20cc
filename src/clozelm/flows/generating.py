"""What to say beside a text that a model wrote: whether it was asked for what it was trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from clozelm.hub.load import model_directory
from clozelm.infer.generate import Generated
from clozelm.shipped import is_starter
from clozelm.train.record import RECORD

_MANY = 0.5


def notice(model: str | Path, context: str, written: Generated, *, example: str) -> str | None:
    """Return what a reader should know when most of a page was masks and the model did not learn from such pages.

    ``example`` is a text it does better on.
    A model that reads from one side only (``context``) writes as it was trained to, whatever the page.
    """
    filled = sum(len(step.filled) for step in written.steps)
    pieces = len(written.steps[-1].ids)
    if context != "both" or filled <= _MANY * pieces:
        return None
    objective = "mlm" if is_starter(model) else _objective(model_directory(model).parent / RECORD)
    if objective == "diffusion":
        return None
    known = "is not known to be" if objective is None else f"was, with objective.name={objective}, not"
    return (
        f"{filled} of {pieces} pieces were masks, and the model {known} trained on pages of masks "
        f"(objective.name=diffusion is): a sentence with a few reads better, such as --text {json.dumps(example)}."
    )


def _objective(record: Path) -> str | None:
    """Return the objective of a run; None where there is no record of one."""
    try:
        found: Any = json.loads(record.read_text(encoding="utf-8"))
        return str(found["settings"]["objective"]["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
