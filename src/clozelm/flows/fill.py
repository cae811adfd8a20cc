"""Fill a stream of texts: single masks by themselves, as everywhere, and everything else together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

from clozelm.errors import ClozeError, DataError
from clozelm.flows.model import Model
from clozelm.infer.fill_calibration import FittedTemperature, fit
from clozelm.infer.fill_mask import OPEN_MASK, Filled, FillMask, mask_pattern
from clozelm.infer.fillings import FilledTogether, FillSettings
from clozelm.infer.joint import JointFill
from clozelm.text.readers import Document, documents

_TEXTS_AT_ONCE = 256


class StreamFill:
    """Fill texts one after another, many at a time inside.

    A text with one ``[MASK]`` gets the candidates of ``FillMask`` where nothing else is wished, and so do texts
    with several under order ``each``; all others are filled together.
    """

    def __init__(self, model: Model, settings: FillSettings) -> None:
        """Fill with ``model``."""
        self._alone = FillMask(model.masked_lm, model.tokenizer)
        self._joint = JointFill(model.masked_lm, model.tokenizer, settings)
        self._mask = mask_pattern(model.tokenizer)
        plain = FillSettings(order=settings.order, beam=settings.beam, max_pieces=settings.max_pieces)
        self._is_plain = settings == plain

    def __call__(
        self, texts: Iterable[Document], top: int | None = None
    ) -> Iterator[tuple[Filled | FilledTogether, str]]:
        """Yield the answer to every text in order, with its source; an error names that of its text."""
        stream = iter(texts)
        while part := list(islice(stream, _TEXTS_AT_ONCE)):
            found: Iterable[Filled | FilledTogether]
            try:
                found = self._filled([each.text for each in part], top)
            except ClozeError:
                found = chain.from_iterable(self._one(each, top) for each in part)
            yield from zip(found, (each.source for each in part), strict=True)

    def _one(self, given: Document, top: int | None) -> list[Filled | FilledTogether]:
        try:
            return self._filled([given.text], top)
        except ClozeError as error:
            raise ClozeError(f"{given.source}: {error}" if given.source else str(error)) from None

    def _filled(self, texts: list[str], top: int | None) -> list[Filled | FilledTogether]:
        is_alone = [self._is_alone(text) for text in texts]
        alone = iter(self._alone([text for text, one in zip(texts, is_alone, strict=True) if one], top or 5))
        joint = self._joint([text for text, one in zip(texts, is_alone, strict=True) if not one], top)
        return [next(alone) if one else next(joint) for one in is_alone]

    def _is_alone(self, text: str) -> bool:
        if not self._is_plain or OPEN_MASK.search(text):
            return False
        return self._joint.order == "each" or len(self._mask.findall(text)) <= 1


def calibrated(model: Model, path: str | Path, settings: FillSettings) -> tuple[FillSettings, FittedTemperature]:
    """Fit the temperature on a text file, and return the settings with it if it helps."""
    if settings.temperature != 1.0:
        raise ClozeError("A temperature and a text to fit it on contradict each other: give one of them.")
    texts = (document.text for document in documents([path]))
    fitted = fit(model.masked_lm, model.tokenizer, texts, source=str(path))
    return (replace(settings, temperature=fitted.temperature) if fitted.helps else settings), fitted


def words_of(given: str) -> tuple[str, ...]:
    """Return the words of a file, one a line, or of a list with commas."""
    path = Path(given)
    if len(given) < 256 and path.is_file():
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not UTF-8 text ({error.reason}): convert it first.") from None
        return tuple(word for line in lines if (word := line.strip()))
    if not any(character in given for character in ", ") and ("/" in given or given.endswith(".txt")):
        raise DataError(f"{given}: no such file of words.")
    return tuple(word for part in given.split(",") if (word := part.strip()))
