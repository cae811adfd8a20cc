"""The model that ships with the package."""

from __future__ import annotations

from pathlib import Path

STARTER = "starter"
"""The name that stands for it wherever a model directory is asked for, unless a directory is called so."""

DIRECTORY = Path(__file__).parent / "starter"


def is_starter(path: str | Path) -> bool:
    """Tell whether ``path`` is the starter's name and not a directory of that name."""
    return str(path) == STARTER and not Path(path).exists()
