"""Fill the blanks of a text together: one after another, each knowing what was written into those before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from clozelm.errors import ClozeError, ModelError
from clozelm.infer.allowed import AllowedPieces
from clozelm.infer.asking import Asker, Search, together
from clozelm.infer.blank_answers import Allowed, Found, OneBlank
from clozelm.infer.blanks import Template, read_blanks, with_masks
from clozelm.infer.fill_mask import candidate
from clozelm.infer.fillings import MOST_BEAM, Answer, FilledTogether, Filling, FillSettings, Order
from clozelm.infer.page import Page
from clozelm.nn.heads import MaskedLM
from clozelm.text.readable import Readable
from clozelm.text.tokenizer import Tokenizer
from clozelm.text.valid import shortened

MOST_BLANKS = 64
_TOP = 5
_TEXTS_AT_ONCE = 64


@dataclass(frozen=True)
class _State:
    """What was found for each blank so far."""

    found: tuple[Found | None, ...]

    @property
    def score(self) -> float:
        """The sum of the answers' scores, as of a filling."""
        return sum(one.score for one in self.found if one is not None)

    def having(self, number: int, found: Found) -> _State:
        """Return the state with one more blank filled."""
        return _State((*self.found[:number], found, *self.found[number + 1 :]))


class JointFill:
    """Fill the blanks of texts, together.

    A masked language model gives every mask a distribution of its own, so that the best pieces of two masks need
    not fit each other. Here one blank is filled, the model reads the text anew, and so on; a beam keeps the best
    few texts. The joint log-probability is the sum along the way; in another order it is another, since what such
    a model says of single masks need not agree with any joint distribution. Special pieces are never written.

    A blank of open length is searched for every length with as many masks, and its answers are compared by
    ``fair_score``; while it waits for its turn one mask stands for it.

    Relations: with one ``[MASK]`` the answers are those of ``FillMask`` without special pieces.
    """

    def __init__(self, model: MaskedLM, tokenizer: Tokenizer, settings: FillSettings | None = None) -> None:
        """Fill with ``model``, whose ids are those of ``tokenizer``."""
        self.settings = settings or FillSettings()
        self.model = model
        self.tokenizer = tokenizer
        self.order: Order = self.settings.order or _order_of(model)
        self._room = model.config.max_positions - 2
        if self._room < 1:
            raise ModelError(f"A model of {model.config.max_positions} positions has no room for text.")
        self._allowed = AllowedPieces(tokenizer, model.config.vocab_size, self.settings)
        self._readable = Readable(tokenizer)
        self._asker = Asker(model, temperature=self.settings.temperature)

    @property
    def notice(self) -> str | None:
        """What was left out of the listed words so far, in a sentence."""
        return self._allowed.notice

    def __call__(self, texts: str | Iterable[str], top: int | None = None) -> Iterator[FilledTogether]:
        """Yield for every text its ``top`` fillings (5, or one for every target); a stream is read in parts."""
        if top is not None and top < 1:
            raise ClozeError(f"top={top} must be at least 1.")
        stream = iter([texts] if isinstance(texts, str) else texts)
        while part := list(islice(stream, _TEXTS_AT_ONCE)):
            yield from self._asker.run(together([self._text(text, top) for text in part]))

    def _text(self, text: str, top: int | None) -> Search[FilledTogether]:
        template = read_blanks(text, self.tokenizer)
        allowed = [self._allowed.at(blank) for blank in template.blanks]
        is_single = len(template.blanks) == 1
        keep = top or (len(self.settings.targets) if self.settings.targets and is_single else _TOP)
        most = [one.longest(blank) for one, blank in zip(allowed, template.blanks, strict=True)]
        notice = self._notice(template, sum(most) - len(most))
        if self.order == "each":
            each = yield from self._each(template, allowed, most, keep)
            return FilledTogether(text, self.order, [], each, notice)
        if len(template.blanks) > MOST_BLANKS:
            raise ClozeError(
                f"{shortened(text)!r} has {len(template.blanks)} masks, and at most {MOST_BLANKS} are filled "
                "together: fill each by itself, with order 'each'."
            )
        if not is_single and keep > MOST_BEAM:
            raise ClozeError(
                f"top={keep} must be at most {MOST_BEAM} for several masks, which are filled together."
            )
        part = template.around(sum(most) - len(most), self._room)
        width = keep if is_single else max(keep, self.settings.beam)
        states = yield from self._beam(OneBlank(part, self.tokenizer, allowed, width), width)
        return FilledTogether(text, self.order, [self._filling(text, one) for one in states[:keep]], [], notice)

    def _each(
        self, template: Template, allowed: Sequence[Allowed], most: Sequence[int], keep: int
    ) -> Search[list[list[Answer]]]:
        """Answer every blank by itself, read among what is around it."""
        blanks = []
        for number, (one, pieces) in enumerate(zip(allowed, most, strict=True)):
            part = template.around(pieces - 1, self._room, [number])
            blanks.append(OneBlank(part, self.tokenizer, [one], keep))
        found = yield from together([blank.answers([blank.mask], [0]) for blank in blanks])
        return [[self._answer(one) for one in _some(each[0])] for each in found]

    def _beam(self, blanks: OneBlank, width: int) -> Search[list[_State]]:
        """Fill one blank after another, keeping the best states."""
        count = len(blanks.template.blanks)
        states = [_State((None,) * count)]
        for _ in range(count):
            options = yield from together([self._next(blanks, state) for state in states])
            grown = [
                state.having(number, one)
                for state, (number, found) in zip(states, options, strict=True)
                for one in found
            ]
            states = sorted(grown, key=lambda state: -state.score)[:width]
        return states

    def _next(self, blanks: OneBlank, state: _State) -> Search[tuple[int, list[Found]]]:
        """Choose which blank of a state is filled next; return its number and answers, best first."""
        pieces = [blanks.mask if found is None else found.ids for found in state.found]
        waiting = [number for number, found in enumerate(state.found) if found is None]
        found = yield from blanks.answers(pieces, waiting if self.order == "best-first" else waiting[:1])
        return max(found.items(), key=lambda item: _some(item[1])[0].score)

    def _answer(self, found: Found) -> Answer:
        pieces = tuple(candidate(self.tokenizer, one.id, one.log_probability, one.rank) for one in found.chosen)
        text = self._readable.text(found.ids) if found.word is None else found.word
        return Answer(text, pieces, tuple(one.entropy for one in found.chosen), is_given=found.word is not None)

    def _filling(self, text: str, state: _State) -> Filling:
        found = [one for one in state.found if one is not None]
        page = Page(self.tokenizer, with_masks(text, self.tokenizer, [len(one.chosen) for one in found]), None)
        ids = page.ids.copy()
        ids[page.masks] = [piece for one in found for piece in one.ids]
        return Filling(tuple(self._answer(one) for one in found), tuple(page.filled(ids)))

    def _notice(self, template: Template, growth: int) -> str | None:
        said = []
        if (length := len(template.ids)) + growth > self._room:
            said.append(
                f"The text has {length} pieces and the model reads {self._room}: its masks were filled from the "
                "pieces around them."
            )
        if self._allowed.notice:
            said.append(self._allowed.notice)
        return " ".join(said) or None


def _some(found: list[Found]) -> list[Found]:
    if not found:
        raise ClozeError("Nothing is left that may fill a mask: name fewer words to leave out.")
    return found


def _order_of(model: MaskedLM) -> Order:
    return "best-first" if model.reading.context == "both" else "left-to-right"
