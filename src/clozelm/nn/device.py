"""The device that a name stands for, and models on it."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from clozelm.errors import ModelError, SettingsError

M = TypeVar("M", bound=nn.Module)


def named_device(name: str | torch.device, *, setting: str = "device") -> torch.device:
    """Return the device of a name, which messages call ``setting``; ``auto`` takes a GPU where there is one."""
    name = str(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device: torch.device | None = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise SettingsError(f"{setting}={name!r} is not a device: use auto, cpu, cuda or cuda:0.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SettingsError(f"{setting}={name!r}: PyTorch sees no GPU here. Use {setting}=cpu.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError(f"{setting}={name!r}: PyTorch sees only {torch.cuda.device_count()} GPU here.")
    return device


def moved(model: M, device: str | torch.device) -> M:
    """Return a model on ``device``, moved in place; one that is not there or has no room is a user's mistake."""
    place = named_device(device)
    try:
        return model.to(place)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ModelError(f"The model cannot be moved to device {str(device)!r}: {reason}.") from error
