"""Write a model directory anew: current names, safetensors, a precision of choice."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import torch

from clozelm.errors import ModelError, SettingsError
from clozelm.hub.card import continued_card
from clozelm.hub.load import load, model_directory
from clozelm.hub.save import save

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Converted:
    """What was written, and the stock names of the tensors that were left out."""

    family: str
    dtype: str
    num_tensors: int
    dropped: list[str]


def convert(path: str | Path, to: str | Path, *, dtype: str | None = None, force: bool = False) -> Converted:
    """Open a model and write it to ``to``; without ``dtype`` in the widest precision that its tensors have.

    Tensors keep their bits unless ``dtype`` asks for another precision; in a file of several the narrower ones are
    widened. The source's model card is kept and continued. A model that is at ``to`` is replaced with ``force``
    alone, the source never.
    """
    if dtype is not None and dtype not in DTYPES:
        raise SettingsError(f"--dtype={dtype} must be one of {', '.join(DTYPES)}.")
    directory = model_directory(path)
    if Path(to).resolve() in (directory.resolve(), Path(path).resolve()):
        raise ModelError(f"{to} is the model itself: name another directory with --to.")
    loaded = load(directory)
    widest = reduce(torch.promote_types, loaded.precisions)
    precision = (widest if widest in DTYPES.values() else torch.float32) if dtype is None else DTYPES[dtype]
    name = str(precision).removeprefix("torch.")
    facts = {
        "converted from": directory.name,
        "left out": ", ".join(loaded.dropped) or "nothing",
        "precision": name,
    }
    readme = directory / "README.md"
    source = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else ""
    card = continued_card(source, "Converted by clozelm", facts) if source.strip() else facts
    model = loaded.model.to(precision)
    save(model, loaded.tokenizer, to, family=loaded.family.name, card=card, replace=force)
    return Converted(
        loaded.family.name,
        name,
        len(loaded.family.to_stock(model.state_dict(), model.config)),
        loaded.dropped,
    )
