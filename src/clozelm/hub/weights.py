"""Weight files: safetensors, sharded or not, and the older pickles, read without running any code."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from clozelm.errors import ModelError
from clozelm.families import Family
from clozelm.nn.config import EncoderConfig
from clozelm.nn.heads import MaskedLM

WEIGHTS_FILE = "model.safetensors"
READING = "clozelm_reading"  # in config.json: how a model reads, where that is not as its family does
_WHOLE = (WEIGHTS_FILE, "pytorch_model.bin")


def write_weights(state: Mapping[str, Tensor], file: str | Path, *, family: Family, config: EncoderConfig) -> None:
    """Write the tensors of ``state`` under the family's stock names; nothing is copied on the way or flushed."""
    write_tensors(family.to_stock(state, config), Path(file))


def write_tensors(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Write tensors under the names they have."""
    file.touch()
    usual_mode = file.stat().st_mode
    try:
        save_file(dict(tensors), file, metadata={"format": "pt"})
    except SafetensorError as error:
        raise _as_os_error(error, file) from error
    file.chmod(usual_mode)  # the library makes files that only their owner may read


def read_weights(
    model: MaskedLM, tensors: Mapping[str, Tensor], directory: Path, *, family: Family, encoder_only: bool = False
) -> list[str]:
    """Fill ``model`` from the tensors of ``directory``, converted to the model's precision and device.

    With ``encoder_only`` its head stays as it is. Returns the stock names of tensors that the model does not use.
    """
    try:
        state, dropped = family.from_stock(tensors, model.config, encoder_only=encoder_only)
    except ModelError as error:
        raise ModelError(f"{directory}: {error}") from None
    check_shapes(model, state, directory)
    model.load_state_dict(state, strict=not encoder_only)
    return dropped


def fingerprint(directory: Path) -> str:
    """Return a hash of a model on disk: its configuration and its weights."""
    files = [directory / "config.json", *sorted([*directory.glob("*.safetensors"), *directory.glob("*.bin")])]
    digest = hashlib.sha256()
    for file in files:
        with open(file, "rb") as content:
            while block := content.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]


def read_tensors(directory: Path) -> dict[str, Tensor]:
    """Return every tensor in a model directory, by its name in the file."""
    for name in _WHOLE:
        if (directory / name).is_file():
            return _read_file(directory / name)
        if (directory / f"{name}.index.json").is_file():
            return _read_shards(directory / f"{name}.index.json")
    raise ModelError(f"{directory} holds no weights: expected {' or '.join(_WHOLE)}, whole or sharded.")


def _read_shards(index: Path) -> dict[str, Tensor]:
    try:
        files = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()), key=str)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"{index} is damaged: it has no readable weight_map.") from error
    tensors: dict[str, Tensor] = {}
    for name in files:
        if not isinstance(name, str) or Path(name).name != name:
            raise ModelError(f"{index} names {name!r}, which is not a file beside it.")
        if not (index.parent / name).is_file():
            raise ModelError(f"{index} names {name}, which is missing: download the model again.")
        tensors |= _read_file(index.parent / name)
    return tensors


def _read_file(file: Path) -> dict[str, Tensor]:
    if file.suffix == ".safetensors":
        try:
            return load_file(file)
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{file} is damaged or cut short: {_first_line(error)}.") from error
    try:
        tensors = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{file} is damaged, or holds Python objects that would run code when read: refused; "
            "ask for the model as safetensors."
        ) from error
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to mean
        raise ModelError(f"{file} is damaged or cut short: {_first_line(error)}.") from error
    if not isinstance(tensors, Mapping) or not all(
        isinstance(name, str) and isinstance(one, Tensor) for name, one in tensors.items()
    ):
        raise ModelError(f"{file} is not a dictionary of named tensors.")
    return dict(tensors)


def check_shapes(model: nn.Module, state: Mapping[str, Tensor], directory: Path) -> None:
    """Refuse tensors of another shape than the model's, or of no finite floating-point numbers."""
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            raise ModelError(f"{directory}: tensor {name!r} holds {tensor.dtype}, not floating-point numbers.")
        if not tensor.isfinite().all():
            raise ModelError(
                f"{directory}: tensor {name!r} holds numbers that are not finite: the file is damaged, or its "
                "training went wrong."
            )
    for name, expected in model.state_dict().items():
        if name in state and state[name].shape != expected.shape:
            raise ModelError(
                f"{directory}: tensor {name!r} has shape {list(state[name].shape)}, but config.json asks for "
                f"{list(expected.shape)}."
            )


def _as_os_error(error: SafetensorError, file: Path) -> OSError:
    """Return what the system said (disk full, no permission), which the library tells in words only."""
    code = re.search(r"\(os error (\d+)\)", str(error))
    if code is None:
        return OSError(_first_line(error))
    return OSError(int(code[1]), os.strerror(int(code[1])), str(file))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(". ")
