"""Choose between a readable definition and its faster second implementation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

T = TypeVar("T", bound=Callable[..., Any])


def fastest(readable: T) -> T:
    """Return the implementation in ``nn.fast`` registered under the function's name, or the function itself."""
    if torch.compiler.is_compiling():
        return readable  # the compiler fuses the readable form itself
    try:
        from clozelm.nn.fast import FAST
    except ImportError:
        return readable
    return FAST.get(readable.__name__, readable)  # type: ignore[return-value]
