"""Which of a command's arguments is the model; where none is, it is the one that ships with the package."""

import re
from pathlib import Path
from typing import Literal

from clozelm.errors import ClozeError
from clozelm.shipped import STARTER

MODEL_HELP = "A run, or a Hugging Face model directory; may be left out: the starter, which ships with the package."
_MASK = re.compile(r"\[MASK|<mask>", re.IGNORECASE)


def split_model(arguments: list[str] | None, holds: Literal["sentences", "files"]) -> tuple[str, list[str]]:
    """Return the model and the other arguments, which are sentences, or files, directories and globs.

    A sentence has a space or a mask; a file exists, or is a pattern, and is not a model's directory.
    """
    given = list(arguments or [])
    if given and _is_model(given, holds):
        return given[0], given[1:]
    return STARTER, given


def one_text(texts: list[str], example: str) -> str:
    """Return the only text there may be."""
    if not texts:
        raise ClozeError(f"There is no sentence: give one after the model, such as {example!r}.")
    if len(texts) > 1:
        raise ClozeError(f"One sentence at a time: {len(texts)} were given. Put it in quotes, such as {example!r}.")
    return texts[0]


def _is_model(given: list[str], holds: Literal["sentences", "files"]) -> bool:
    first = given[0]
    if first == STARTER:
        return True
    if first == "-":
        return False
    if holds == "sentences":
        return _exists(first) or not (re.search(r"\s", first) or _MASK.search(first))
    if _exists(first):
        return _holds_model(Path(first))
    return len(given) > 1 and not re.search(r"[*?\[]", first)


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # longer than a path may be, or with a null
        return False


def _holds_model(path: Path) -> bool:
    from clozelm.hub.load import model_directory

    return path.is_dir() and (model_directory(path) / "config.json").is_file()
