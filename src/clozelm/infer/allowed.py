"""Which pieces and words may fill a blank, as its place in the text and the user's wishes have it."""

from __future__ import annotations

from collections.abc import Sequence

from clozelm.errors import ClozeError
from clozelm.infer.blank_answers import Allowed
from clozelm.infer.blanks import Blank
from clozelm.infer.fillings import FillSettings
from clozelm.infer.written import Word, Words
from clozelm.text.tokenizer import Tokenizer
from clozelm.text.valid import shortened

_JOINING = ("-", "'", "’")


class AllowedPieces:
    """What may fill a blank, worked out once for every kind of blank.

    An answer of open length begins a word, and one of several pieces holds letters, digits, hyphens and apostrophes
    alone: it is a word or a phrase. Targets that the vocabulary cannot write are refused; of a list of allowed
    words they are left out, which ``notice`` says.
    """

    def __init__(self, tokenizer: Tokenizer, size: int, settings: FillSettings) -> None:
        """Allow pieces of ``tokenizer`` to a model whose vocabulary has ``size`` entries."""
        self.settings = settings
        self.notice: str | None = None
        self._words = Words(tokenizer, size)
        self._known: dict[tuple[bool, str], Allowed] = {}

    def at(self, blank: Blank) -> Allowed:
        """Return what may fill a blank."""
        kind = (blank.is_open, blank.before)
        if kind not in self._known:
            self._known[kind] = self._at(blank)
        return self._known[kind]

    def _at(self, blank: Blank) -> Allowed:
        words, settings = self._words, self.settings
        usual = words.ordinary & words.lettered if settings.whole_words else words.ordinary
        begins = blank.is_open or settings.whole_words
        beginning = usual & words.beginning(blank.before) if begins else usual
        banned = settings.excluded
        alone = beginning & ~words.written(banned) if banned else beginning
        first = beginning & words.lettered
        later = words.ordinary & (words.lettered | words.written(_JOINING))
        listed = settings.targets if settings.targets is not None else settings.only
        found = None if listed is None else self._listed(listed, blank.before)
        return Allowed(alone, first, later, settings.max_pieces, found, banned)

    def _listed(self, texts: Sequence[str], before: str) -> tuple[Word, ...]:
        excluded = self.settings.excluded
        texts = [text for text in texts if text.strip() and text.strip().casefold() not in excluded]
        found, lost = self._words.listed(texts, before)
        if lost:
            shown = ", ".join(repr(shortened(text)) for text in lost[:3]) + (", ..." if len(lost) > 3 else "")
            said = f"The vocabulary of this model has no pieces to write {shown}"
            if self.settings.targets is not None:
                raise ClozeError(f"{said}: leave {'it' if len(lost) == 1 else 'them'} out of the targets.")
            self.notice = f"{said}: {len(lost):,} of {len(texts):,} words are left out."
        if not found:
            raise ClozeError("None of the words that may fill a mask can be written with this vocabulary.")
        return tuple(found)
