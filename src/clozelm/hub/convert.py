"""Write a model directory anew: current names, safetensors, a precision of choice."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch

from clozelm.errors import SettingsError
from clozelm.hub.load import load, model_directory
from clozelm.hub.save import save
from clozelm.hub.weights import read_tensors

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Converted:
    """What was written, and the stock names of the tensors that were left out."""

    family: str
    dtype: str
    num_tensors: int
    dropped: list[str]


def convert(path: str | Path, to: str | Path, *, dtype: str | None = None) -> Converted:
    """Open a model and write it to ``to``; without ``dtype`` in the precision that most of its tensors have.

    Tensors keep their bits unless ``dtype`` asks for another precision. ``to`` may hold an earlier model, which is
    replaced, and nothing else.
    """
    if dtype is not None and dtype not in DTYPES:
        raise SettingsError(f"--dtype={dtype} must be one of {', '.join(DTYPES)}.")
    directory = model_directory(path)
    precision = _usual(directory) if dtype is None else DTYPES[dtype]
    loaded = load(directory, dtype=precision)
    card = {"converted from": directory.name, "left out": ", ".join(loaded.dropped) or "nothing"}
    save(loaded.model, loaded.tokenizer, to, family=loaded.family.name, card=card)
    return Converted(
        loaded.family.name,
        str(precision).removeprefix("torch."),
        len(loaded.family.to_stock(loaded.model.state_dict(), loaded.model.config)),
        loaded.dropped,
    )


def _usual(directory: Path) -> torch.dtype:
    load(directory)  # says what is wrong with the directory, if anything is
    counts = Counter(one.dtype for one in read_tensors(directory).values() if one.is_floating_point())
    return counts.most_common(1)[0][0]
