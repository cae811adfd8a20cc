"""Write a model directory anew: current names, safetensors, a precision of choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import torch

from clozelm.errors import ModelError, SettingsError
from clozelm.hub.card import continued_card
from clozelm.hub.classifier import LoadedClassifier, is_classifier, load_classifier, save_classifier
from clozelm.hub.labels import TASK_KEY
from clozelm.hub.load import Loaded, load, model_directory
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


def convert(path: str | Path, to: str | Path, *, dtype: str | None = None, force: bool = False) -> Converted:
    """Open a model or a classifier and write it to ``to``, without ``dtype`` in its tensors' widest precision.

    Tensors keep their bits unless ``dtype`` asks for another precision; in a file of several the narrower ones are
    widened. The source's model card is kept and continued. A model that is at ``to`` is replaced with ``force``
    alone, the source never.
    """
    if dtype is not None and dtype not in DTYPES:
        raise SettingsError(f"--dtype={dtype} must be one of {', '.join(DTYPES)}.")
    directory = model_directory(path)
    if Path(to).resolve() in (directory.resolve(), Path(path).resolve()):
        raise ModelError(f"{to} is the model itself: name another directory with --to.")
    loaded = load_classifier(directory) if is_classifier(directory) else load(directory)
    precisions = (
        loaded.precisions if isinstance(loaded, Loaded) else {one.dtype for one in read_tensors(directory).values()}
    )
    widest = reduce(torch.promote_types, precisions)
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
    _save(loaded, Path(to), precision, card, force=force)
    return Converted(loaded.family.name, name, len(read_tensors(Path(to))), list(loaded.dropped))


def _save(
    loaded: Loaded | LoadedClassifier,
    to: Path,
    precision: torch.dtype,
    card: Mapping[str, Any] | str,
    *,
    force: bool,
) -> None:
    """Write a model, or a classifier, with what it keeps of its task."""
    kept = {TASK_KEY: loaded.config[TASK_KEY]} if TASK_KEY in loaded.config else {}
    family, tokenizer = loaded.family.name, loaded.tokenizer
    if isinstance(loaded, Loaded):
        model = loaded.model.to(precision)
        save(model, tokenizer, to, family=family, card=card, replace=force, extra_config=kept)
        return
    save_classifier(
        loaded.model.to(precision),
        tokenizer,
        to,
        family=family,
        labels=loaded.labels,
        problem=loaded.problem,
        card=card,
        extra_config=kept,
        replace=force,
    )
