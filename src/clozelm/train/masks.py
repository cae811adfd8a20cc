"""The masking strategy of a run, with the tables it needs, from settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clozelm.data.collocations import Collocations, Mining, collocations
from clozelm.data.counts import SLICE_TOKENS
from clozelm.data.rows import Tokens
from clozelm.data.store import TokenStore
from clozelm.errors import DataError, SettingsError
from clozelm.masking import SELECTORS, Candidates, Chosen, Pmi, Select, Span, Uniform
from clozelm.masking.adaptive import Adaptive, balanced_weights
from clozelm.masking.chosen import Matcher, compiled, form_of
from clozelm.objectives import Scores
from clozelm.text.tokenizer import Tokenizer
from clozelm.train.adaptive import AdaptiveTable
from clozelm.train.checkpoint import Checkpoint
from clozelm.train.masking_settings import ChosenSettings, MaskingSettings
from clozelm.train.settings import PretrainSettings
from clozelm.vocab import ANNOTATED

_PART = "masking"


@dataclass(frozen=True)
class Masks:
    """How a run chooses positions: ``select``, and the table behind it where it learns from the training.

    ``prefers`` tells which tokens of a document piece are hidden first, where the strategy has such.
    ``collocations`` are those that it hides together.
    """

    select: Select
    adaptive: AdaptiveTable | None = None
    prefers: Callable[[Candidates], NDArray[np.bool_]] | None = None
    collocations: Collocations | None = None

    @property
    def fingerprint(self) -> str | None:
        """Hash of the collocations; None where there are none."""
        return None if self.collocations is None else self.collocations.fingerprint

    @property
    def notices(self) -> list[str]:
        """What a person should be told of how the tables were made."""
        notice = None if self.collocations is None else self.collocations.notice
        return [] if notice is None else [notice]

    @property
    def fixed(self) -> Select:
        """The same strategy for held-out text; ``uniform`` where it changes over a run."""
        return self.select if self.adaptive is None else Uniform().select

    def see(self, scores: Mapping[str, Scores]) -> None:
        """Take note of a micro-batch's predictions, if the strategy learns from them."""
        if self.adaptive is not None and "mlm" in scores:
            self.adaptive.see(scores["mlm"])

    def after_step(self, step: int) -> None:
        """Update the table if it is due after ``step`` finished steps."""
        if self.adaptive is not None:
            self.adaptive.after_step(step)

    def restart(self) -> None:
        """Forget everything learned."""
        if self.adaptive is not None:
            self.adaptive.restart()

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold, by the name of its part; nothing where nothing changes."""
        return {} if self.adaptive is None else {_PART: self.adaptive.state()}

    def load(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint."""
        if self.adaptive is not None:
            self.adaptive.load(checkpoint.load(_PART))


def build_select(
    settings: PretrainSettings, store: TokenStore, tokenizer: Tokenizer, *, keep: bool = True
) -> Masks:
    """Return the strategy that ``masking.strategy`` names, its tables made from the training store.

    Collocations that must be mined are left in the store's directory, unless ``keep`` is false. Raises
    ``SettingsError`` for words, files or patterns that cannot be used, ``DataError`` where annotated words are
    asked for and there are none.
    """
    masking = settings.masking
    if masking.strategy == "span":
        return Masks(Span(masking.span.p, masking.span.longest).select)
    if masking.strategy == "pmi":
        mining = Mining(masking.pmi.size, masking.pmi.min_count, masking.pmi.longest)
        table = collocations(store, tokenizer.vocabulary.is_special, mining, keep=keep)
        return Masks(Pmi(table.tables).select, collocations=table)
    if masking.strategy == "chosen":
        if masking.chosen.annotated and not has_annotations(store):
            raise DataError(
                f"{store.path} has no annotated token, and masking.chosen.annotated is true: prepare the corpus "
                "with `cloze prepare --annotations FIELD`, the field of its records that holds [start, end] spans."
            )
        chosen = Chosen(build_matcher(masking.chosen, tokenizer), masking.chosen.annotated, masking.chosen.fill)
        return Masks(chosen.select, prefers=chosen.prefers)
    if masking.strategy == "adaptive":
        return _adaptive(masking, store, tokenizer)
    return Masks(SELECTORS[masking.strategy]().select)


def build_matcher(chosen: ChosenSettings, tokenizer: Tokenizer) -> Matcher | None:
    """Return what finds the words, phrases and patterns of the settings; None where there are none."""
    entries = [(f"masking.chosen.words: {entry!r}", entry) for entry in chosen.words]
    if chosen.file is not None:
        entries += _entries(Path(chosen.file))
    phrases = [_forms(where, entry, tokenizer) for where, entry in entries]
    patterns = compiled(chosen.patterns)
    return Matcher(phrases, patterns, tokenizer.decode) if phrases or patterns else None


def has_annotations(store: Tokens) -> bool:
    """Tell whether any token of a store is annotated; reads until the first one."""
    starts = range(0, store.num_tokens, SLICE_TOKENS)
    return any(
        bool((store.flags(start, min(start + SLICE_TOKENS, store.num_tokens)) & ANNOTATED).any())
        for start in starts
    )


def _adaptive(masking: MaskingSettings, store: TokenStore, tokenizer: Tokenizer) -> Masks:
    section = masking.adaptive
    if section.mode == "balanced":
        return Masks(Adaptive(balanced_weights(store.unigram_counts(), ratio=section.ratio)).select)
    table = AdaptiveTable(
        tokenizer.vocab_size,
        every=section.every,
        decay=section.decay,
        prior=section.prior,
        ratio=section.ratio,
    )
    return Masks(table.select, table)


def _entries(path: Path) -> list[tuple[str, str]]:
    """Read a list of words: where each stands, and what it is; empty lines are left out."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SettingsError(f"masking.chosen.file={path} cannot be read: {reason}.") from None
    entries = [(f"{path}:{number}: {line.strip()!r}", line.strip()) for number, line in enumerate(lines, 1)]
    entries = [(where, entry) for where, entry in entries if entry]
    if not entries:
        raise SettingsError(f"masking.chosen.file={path} holds no word: write one word or phrase a line.")
    return entries


def _forms(where: str, entry: str, tokenizer: Tokenizer) -> list[str]:
    """Cut an entry into words as the tokenizer cuts text, and write each as it reads it back."""
    encoded = tokenizer.encode(entry)
    vocabulary = tokenizer.vocabulary
    if not encoded.ids.size or vocabulary.is_special[encoded.ids].any():
        is_unknown = bool((encoded.ids == vocabulary.unk_id).any())
        what = "is unknown to the tokenizer" if is_unknown else "has a special token in it"
        what = what if encoded.ids.size else "holds no word"
        raise SettingsError(f"{where} {what}, so it could never be predicted: leave it out.")
    starts = np.flatnonzero(encoded.word_starts)
    words = [tokenizer.decode(word) for word in np.split(encoded.ids, starts[1:])]
    return [form_of(word) for word in words if word.strip()]
