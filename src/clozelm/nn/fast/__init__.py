"""Faster second implementations of readable definitions in ``clozelm.nn``.

Each has the signature of what it replaces and is tested for equal values and gradients. Without this folder
the program computes the same, slower.
"""

from collections.abc import Callable
from typing import Any

from clozelm.nn.fast.gate import geglu
from clozelm.nn.fast.half_attention import weigh
from clozelm.nn.fast.heads import split_heads

FAST: dict[str, Callable[..., Any]] = {"geglu": geglu, "split_heads": split_heads, "weigh": weigh}
