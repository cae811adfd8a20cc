"""Which of a command's arguments is the model; where none is, it is the one that ships with the package."""

import re
from pathlib import Path
from typing import Literal

from clozelm.errors import ClozeError
from clozelm.shipped import STARTER

MODEL_HELP = "A run, or a Hugging Face model directory; may be left out: the starter, which ships with the package."
_MASK = re.compile(r"\[MASK|<mask>", re.IGNORECASE)


def split_model(
    arguments: list[str] | None, holds: Literal["sentences", "files"], *, may_be_word: bool = False
) -> tuple[str, list[str]]:
    """Return the model and the other arguments, which are sentences, or files, directories and globs.

    A sentence has a space or a mask; a file exists, or is a pattern, and is not a model's directory. With
    ``may_be_word`` one argument alone is a sentence even of one word, if it cannot be a model: where no option
    gives a text, there would be none.
    """
    given = list(arguments or [])
    if len(given) > 1 and not given[0]:
        raise ClozeError("An empty name was given for the model: name a run, or a model directory.")
    if not given or not _is_model(given, holds, may_be_word=may_be_word):
        return STARTER, given
    return given[0], given[1:]


def one_text(texts: list[str], example: str) -> str:
    """Return the only text there may be."""
    if not texts:
        raise ClozeError(f"There is no sentence: give one after the model, such as {example!r}.")
    if len(texts) > 1:
        raise ClozeError(f"One sentence at a time: {len(texts)} were given. Put it in quotes, such as {example!r}.")
    return texts[0]


def _is_model(given: list[str], holds: Literal["sentences", "files"], *, may_be_word: bool) -> bool:
    first = given[0]
    if first == STARTER:
        return True
    if first in ("-", ""):  # Path("") is the current directory
        return False
    if holds == "sentences":
        if _exists(first):
            return True
        is_text = re.search(r"\s", first) or _MASK.search(first)
        return not (is_text or (may_be_word and len(given) == 1 and "/" not in first))
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
