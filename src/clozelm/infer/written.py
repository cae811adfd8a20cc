"""Words as pieces of a vocabulary: how one is written, and which pieces may begin or be one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool
from numpy.typing import NDArray
from torch import Tensor

from clozelm.text.tokenizer import Tokenizer
from clozelm.text.valid import is_valid


class Word(NamedTuple):
    """A word as it was given, and its pieces."""

    text: str
    ids: tuple[int, ...]


class Words:
    """What the pieces of a vocabulary are to a reader.

    A piece begins a word as its vocabulary says: without ``##`` in WordPiece, with ``Ġ`` or ``▁`` behind white
    space in the others. Which word a piece could go on to become is not asked: ``un`` begins and is one.
    """

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        """Look at the pieces of ``tokenizer``; arrays have ``size`` entries, those beyond it false."""
        self.tokenizer = tokenizer
        self.size = size
        tokens = tokenizer.backend.get_vocab(with_added_tokens=True)
        self._tokens = {i: token for token, i in tokens.items() if not tokenizer.vocabulary.is_special[i]}
        self._prefix = tokenizer.definition["model"].get("continuing_subword_prefix") or "##"
        self._marker = self._find_marker()

    def _find_marker(self) -> str:
        """Return what a piece begins with where there was white space; nothing in WordPiece."""
        if self.tokenizer.kind == "wordpiece":
            return ""
        ids = self.tokenizer.encode("a a").ids
        tokens = [self.tokenizer.token(i) for i in ids]
        return next((marker for marker in ("Ġ", "▁") if any(marker in token for token in tokens)), "")

    @cached_property
    def ordinary(self) -> Bool[Tensor, "vocab"]:
        """All pieces but special ones."""
        return self._where(self._tokens)

    @cached_property
    def readable(self) -> dict[int, str]:
        """Every ordinary piece as a reader would write it."""
        return {i: self.tokenizer.piece_text(i) for i in self._tokens}

    @cached_property
    def lettered(self) -> Bool[Tensor, "vocab"]:
        """Pieces that have a letter or a digit, and nothing that is no character."""
        return self._where(
            i for i, text in self.readable.items() if any(c.isalnum() for c in text) and "\ufffd" not in text
        )

    def beginning(self, before: str) -> Bool[Tensor, "vocab"]:
        """Return the pieces that begin a word behind a character, or at the start of a text where there is none."""
        if not self._marker:
            return self._where(i for i, token in self._tokens.items() if not token.startswith(self._prefix))
        return self._where(
            i for i, token in self._tokens.items() if token.startswith(self._marker) == self._has_space(before)
        )

    def written(self, texts: Iterable[str]) -> Bool[Tensor, "vocab"]:
        """Return the pieces that read as one of ``texts``, whatever the case."""
        wanted = {text.casefold() for text in texts}
        return self._where(i for i, text in self.readable.items() if text.casefold() in wanted)

    def pieces(self, text: str, before: str) -> tuple[int, ...] | None:
        """Return a word's pieces, or None where the vocabulary cannot write it."""
        given = f" {text}" if self._marker == "Ġ" and self._has_space(before) else text
        ids = tuple(self.tokenizer.encode(given).ids.tolist()) if is_valid(text) else ()
        return ids if ids and not self.tokenizer.vocabulary.is_special[list(ids)].any() else None

    def listed(self, texts: Sequence[str], before: str) -> tuple[list[Word], list[str]]:
        """Return the words that can be written, each once, and the texts that cannot."""
        found: dict[tuple[int, ...], Word] = {}
        lost = []
        for text in texts:
            ids = self.pieces(text.strip(), before)
            if ids is None:
                lost.append(text)
            else:
                found.setdefault(ids, Word(text.strip(), ids))
        return list(found.values()), lost

    def _has_space(self, before: str) -> bool:
        """Whether a piece has the marker there; some tokenizers write one at the start of a text too."""
        return before.isspace() or (not before and self._always)

    @cached_property
    def _always(self) -> bool:
        ids = self.tokenizer.encode("a").ids
        return len(ids) > 0 and self.tokenizer.token(ids[0]).startswith(self._marker)

    def _where(self, ids: Iterable[int]) -> Bool[Tensor, "vocab"]:
        marked: NDArray[np.bool_] = np.zeros(self.size, dtype=np.bool_)
        marked[np.fromiter(ids, dtype=np.int64)] = True
        return torch.from_numpy(marked)
