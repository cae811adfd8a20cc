"""The corpus of the starter: which files, whether they are those of the recipe, and what must not be in them."""

import hashlib
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clozelm.errors import DataError
from clozelm.flows.cloze_sentences import ClozeSentence
from clozelm.text.files import format_of
from clozelm.text.readers import Reading, documents

HERE = Path(__file__).parent
FIELD = "title,text"
# The example that is asked in public, with any adjective or none, in any case and spacing.
EXAMPLE = re.compile(
    r"\bmachine[ -]learning\s+(?:is|was|as)\s+(?:an?|the)\s+(?:\w+\s+){0,2}technolog", re.IGNORECASE
)


@dataclass(frozen=True)
class Source:
    """A file of the corpus."""

    file: str
    sha256: str
    source: str
    licence: str
    times: int


@dataclass(frozen=True)
class Recipe:
    """The tokenizer and the files of the starter."""

    kind: str
    vocab_size: int
    train: tuple[Source, ...]
    held_out: tuple[Source, ...]

    @property
    def files(self) -> tuple[Source, ...]:
        """All files."""
        return (*self.train, *self.held_out)


def read_recipe(path: Path = HERE / "corpus.toml") -> Recipe:
    """Read a list of files."""
    data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    train, held = (tuple(Source(**one) for one in data[name]) for name in ("train", "held_out"))
    return Recipe(data["tokenizer"]["kind"], data["tokenizer"]["vocab_size"], train, held)


def check_files(recipe: Recipe, corpus: Path) -> None:
    """Refuse a corpus that lacks a file of the recipe, or has another of its name."""
    for source in recipe.files:
        path = corpus / source.file
        if not path.is_file():
            raise DataError(f"{path} is missing: CORPUS must hold the files that tools/starter/corpus.toml names.")
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != source.sha256:
            raise DataError(f"{path} is not the recipe's file: its SHA-256 is {found}, not {source.sha256}.")


def inputs(sources: Sequence[Source], corpus: Path, work: Path) -> list[Path]:
    """Return the files to prepare; one that is read several times has a copy for each in ``work``."""
    found = []
    for source in sources:
        path = corpus / source.file
        if source.times == 1:
            found.append(path)
            continue
        work.mkdir(parents=True, exist_ok=True)
        for number in range(1, source.times + 1):
            copy = work / f"{number}-{path.parent.name}-{path.name}"
            copy.write_bytes(path.read_bytes())
            found.append(copy)
    return found


def leaks(files: Sequence[Path], questions: Sequence[ClozeSentence]) -> dict[str, Any]:
    """Count, in the training text, the public example and close variants, and the sentences models are measured on.

    A sentence counts with the expected word in it, letters alone compared.
    """
    wanted = {plain(one.sentence.replace("[MASK]", one.expected)): one.sentence for one in questions}
    examples, found = 0, set()
    for text in _texts(files):
        examples += len(EXAMPLE.findall(text))
        flat = plain(text)
        found |= {sentence for words, sentence in wanted.items() if words in flat}
    return {"examples": examples, "sentences": sorted(found), "of": len(wanted)}


def plain(text: str) -> str:
    """Return lower-case words with one space around each."""
    return f" {' '.join(re.findall(r'[a-z0-9]+', text.lower()))} "


def _texts(files: Sequence[Path]) -> Iterator[str]:
    for path in files:
        for document in documents([path], field=field_of([path])):
            yield document.text


def field_of(files: Sequence[Path]) -> str:
    """Return the field that holds the text of records, or the usual one where there are none."""
    return Reading.field if all(format_of(path) == "text" for path in files) else FIELD
