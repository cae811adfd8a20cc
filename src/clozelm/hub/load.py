"""Open a Hugging Face model directory."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from clozelm.errors import ModelError
from clozelm.families import FAMILIES, Family, is_discriminator, named
from clozelm.hub.fetch import hint
from clozelm.hub.labels import kind_of
from clozelm.hub.weights import READING, read_tensors, read_weights
from clozelm.nn.config import EncoderConfig
from clozelm.nn.encoder import initialise
from clozelm.nn.heads import MaskedLM
from clozelm.shipped import DIRECTORY, is_starter
from clozelm.text.tokenizer import Tokenizer
from clozelm.text.valid import described, shortened
from clozelm.types import Reading

_HEAD_SEED = 0


@dataclass(frozen=True)
class Loaded:
    """A model as it was on disk.

    ``precisions`` are those of the file's tensors, ``dropped`` names those that nothing here reads;
    ``has_new_head`` says that the file had no head for masked language modelling and a random one was made.
    ``heads`` are the family's other heads, complete in the file, by their name in a training run.
    """

    model: MaskedLM
    tokenizer: Tokenizer
    family: Family
    config: dict[str, Any]
    dropped: list[str] = field(default_factory=list)
    has_new_head: bool = False
    precisions: tuple[torch.dtype, ...] = (torch.float32,)
    heads: dict[str, dict[str, torch.Tensor]] = field(default_factory=dict)


def load(directory: str | Path, *, dtype: torch.dtype = torch.float32, new_head: bool = False) -> Loaded:
    """Open the model in ``directory``, in evaluation mode, its weights converted to ``dtype``.

    A file without a head for masked language modelling is refused, unless ``new_head`` allows to make one.
    """
    directory = Path(directory)
    config = read_config(directory)
    family = family_of(config, directory)
    encoder_config, model = build(config, family, directory)
    tokenizer = fitting_tokenizer(directory, encoder_config)
    tensors = read_tensors(directory)
    has_new_head = new_head and not family.has_head(tensors, encoder_config)
    if not has_new_head:
        _refuse_other_heads(config, directory)
    else:
        initialise(model.head, encoder_config.init_std, torch.Generator().manual_seed(_HEAD_SEED))
    dropped = read_weights(model, tensors, directory, family=family, encoder_only=has_new_head)
    precisions = tuple({tensor.dtype: None for tensor in tensors.values()})
    return Loaded(
        model.to(dtype).eval(),
        tokenizer,
        family,
        config,
        dropped,
        has_new_head,
        precisions,
        family.read_extras(tensors),
    )


def model_directory(path: str | Path) -> Path:
    """Return the model directory of a path: itself, or the one in the directory of a run or of what made a run.

    "starter" names the model that ships with the package. Raises ``ModelError`` for what names no directory.
    """
    if not isinstance(path, str | os.PathLike):
        raise ModelError(f"A model is named by a string or a path, not {described(path)}.")
    if path == "":
        raise ModelError("An empty name was given for the model: name a run, or a model directory.")
    directory = Path(path)
    inside = (directory, directory / "model", directory / "run" / "model")
    try:
        if is_starter(path):
            return DIRECTORY
        return next((each for each in inside if (each / "config.json").is_file()), directory)
    except OSError as error:
        raise ModelError(
            f"{shortened(str(path))}: cannot be opened ({error.strerror}): name a run or model."
        ) from error


def build(config: dict[str, Any], family: Family, directory: Path) -> tuple[EncoderConfig, MaskedLM]:
    """Return what ``config.json`` describes: the encoder's shape, and a model whose weights are not set yet."""
    with describing(directory):
        encoder_config = family.read_config(config)
        return encoder_config, MaskedLM(encoder_config, Reading(**config.get(READING, {})))


@contextmanager
def describing(directory: Path) -> Iterator[None]:
    """Build a model from a ``config.json`` inside: its weights stay undrawn, what is wrong is one line."""
    try:
        with _Undrawn():
            yield
    except ModelError as error:
        raise ModelError(f"{directory}: {error}") from None
    except (TypeError, ValueError, ArithmeticError, AttributeError, KeyError, RuntimeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(f"{directory / 'config.json'} describes no model: {reason}.") from error


def fitting_tokenizer(directory: Path, config: EncoderConfig) -> Tokenizer:
    """Return the tokenizer beside a model, refused where it has pieces that the model does not embed."""
    tokenizer = Tokenizer.load(directory)
    if tokenizer.vocab_size > config.vocab_size:
        raise ModelError(
            f"{directory}: the tokenizer has {tokenizer.vocab_size} pieces, but the model embeds only "
            f"{config.vocab_size}: they do not belong together."
        )
    return tokenizer


def _refuse_other_heads(config: dict[str, Any], directory: Path) -> None:
    if kind_of(config) is not None:
        raise ModelError(
            f"{directory} is a classifier ({config['architectures'][0]}), which fills no masks: `cloze predict` "
            "gives its labels."
        )
    if is_discriminator(config):
        generator = directory.parent / "generator"
        there = f"its generator in {generator} does" if generator.is_dir() else "open its generator instead"
        raise ModelError(f"{directory} is a discriminator, which fills no masks: {there}.")


def read_config(directory: Path) -> dict[str, Any]:
    """Return ``config.json`` of a model directory."""
    if not directory.is_dir():
        raise ModelError(f"There is no model directory {str(directory)!r}{hint(directory)}.")
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
    """Return the family that ``config`` names, as ``model_type`` or, in older files, by its architecture."""
    name = config.get("model_type")
    if not isinstance(name, str):
        named_there = config.get("architectures")
        written = str(named_there[0]) if isinstance(named_there, list) and named_there else "none"
        by_prefix = {one.architecture.removesuffix("ForMaskedLM"): one.name for one in FAMILIES.values()}
        name = next((by_prefix[p] for p in by_prefix if written.startswith((f"{p}For", f"{p}Model"))), None)
    if name is None:
        raise ModelError(
            f"{directory}: config.json names neither a model_type nor a known architecture (but {written}); add "
            f"model_type, one of {', '.join(FAMILIES)}."
        )
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
