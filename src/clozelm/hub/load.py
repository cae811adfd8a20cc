"""Open a Hugging Face model directory."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from clozelm.errors import ModelError
from clozelm.families import FAMILIES, Family, named
from clozelm.hub.weights import read_weights
from clozelm.nn.heads import MaskedLM
from clozelm.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Loaded:
    """A model as it was on disk; ``dropped`` names the tensors of the file that nothing here reads."""

    model: MaskedLM
    tokenizer: Tokenizer
    family: Family
    config: dict[str, Any]
    dropped: list[str] = field(default_factory=list)


def load(directory: str | Path, *, dtype: torch.dtype = torch.float32) -> Loaded:
    """Open the model in ``directory``, in evaluation mode, its weights converted to ``dtype``."""
    directory = Path(directory)
    config = read_config(directory)
    family = family_of(config, directory)
    try:
        encoder_config = family.read_config(config)
        with _Undrawn():
            model = MaskedLM(encoder_config).to(dtype).eval()
    except ModelError as error:
        raise ModelError(f"{directory}: {error}") from None
    tokenizer = Tokenizer.load(directory)
    if tokenizer.vocab_size > encoder_config.vocab_size:
        raise ModelError(
            f"{directory}: the tokenizer has {tokenizer.vocab_size} pieces, but the model embeds only "
            f"{encoder_config.vocab_size}: they do not belong together."
        )
    dropped = read_weights(model, directory, family=family)
    return Loaded(model, tokenizer, family, config, dropped)


def read_config(directory: Path) -> dict[str, Any]:
    """Return ``config.json`` of a model directory."""
    if not directory.is_dir():
        raise ModelError(f"There is no model directory {str(directory)!r}.")
    file = directory / "config.json"
    if not file.is_file():
        raise ModelError(f"{directory} holds no config.json: it is not a model directory.")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError(f"{file} cannot be read as JSON: {error}.") from error
    if not isinstance(config, dict):
        raise ModelError(f"{file} must hold a JSON object.")
    return config


def family_of(config: dict[str, Any], directory: Path) -> Family:
    """Return the family that ``config`` names."""
    name = config.get("model_type")
    if not isinstance(name, str):
        raise ModelError(f"{directory}: config.json names no model_type; supported are {', '.join(FAMILIES)}.")
    try:
        return named(name)
    except ModelError as error:
        raise ModelError(f"{directory}: {error}") from None


class _Undrawn(TorchFunctionMode):
    """Leave new weights as the memory was: the file fills them all, and drawing them costs more than reading.

    Building on the ``meta`` device would do the same, but imports the compiler for 1.7 seconds.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.__name__ in ("normal_", "uniform_", "kaiming_uniform_"):
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)
