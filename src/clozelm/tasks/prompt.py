"""Cloze prompts: a text inside a pattern with a mask, and the words at the mask that stand for labels.

Schick & Schütze 2021, "Exploiting cloze questions for few-shot text classification and natural language
inference" (arXiv 2001.07676), whose verbaliser is ``words`` here; Gao et al. 2021 (arXiv 2012.15723).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clozelm.errors import DataError, SettingsError
from clozelm.tasks.encode import Encoded, ReadAs, Unit, cut_to_fit
from clozelm.text.examples import TextExample
from clozelm.text.templates import Template
from clozelm.text.tokenizer import Tokenizer

MASK = "[MASK]"
_PARTS = re.compile(r"(\{[^{}]*\}|\s*(?:\[mask\]|<mask>))", re.IGNORECASE)
_TEXTS = {"{text}": 0, "{a}": 0, "{text1}": 0, "{b}": 1, "{text2}": 1}
_BEFORE = "."  # stands for a text that comes directly before the mask, where only its end matters


class Written(NamedTuple):
    """A filled pattern: the characters of each text in it, and where the mask begins."""

    text: str
    texts: tuple[tuple[int, int], ...]
    mask: int


@dataclass(frozen=True)
class Prompt:
    """A pattern such as ``{text} It was [MASK].`` and, for every label, the words that stand for it.

    A pair is ``{a}`` and ``{b}``, in any order. White space before the mask belongs to the mask, as everywhere.
    Raises ``SettingsError`` for a pattern without exactly one mask and every text once.
    """

    pattern: str
    words: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        """Refuse a pattern that asks nothing, or nothing of a text."""
        parts = _PARTS.split(self.pattern)[1::2]
        slots = [part for part in parts if part.startswith("{")]
        masks = len(parts) - len(slots)
        shown = f"--prompt {self.pattern!r}"
        if masks != 1:
            raise SettingsError(f"{shown} has {masks or 'no'} {MASK}{'s' * (masks > 1)}: write it once.")
        if unknown := [slot for slot in slots if slot not in _TEXTS]:
            raise SettingsError(
                f"{shown} has {unknown[0]}: a text is {{text}}, those of a pair are {{a}} and {{b}}."
            )
        numbers = sorted(_TEXTS[slot] for slot in slots)
        if numbers not in ([0], [0, 1]):
            raise SettingsError(f"{shown} must have {{text}} once, or for pairs {{a}} and {{b}} once each.")

    @property
    def num_texts(self) -> int:
        """How many texts an example has: 1, or 2 of a pair."""
        return len(_PARTS.split(self.pattern)[1::2]) - 1

    def check(self, labels: Sequence[str], num_texts: int) -> None:
        """Refuse words that are not those of ``labels``, and a pattern for another number of texts."""
        if unknown := [label for label in self.words if label not in labels]:
            among = ", ".join(labels[:8]) + (", ..." if len(labels) > 8 else "")
            raise SettingsError(f"--words has a word for {unknown[0]!r}, which is not among the labels {among}.")
        if missing := [label for label in labels if label not in self.words]:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise SettingsError(f"--words has no word for the label {missing[0]!r}{more}: each label needs one.")
        if num_texts != self.num_texts:
            wanted, given = ("a pair", "single texts") if self.num_texts == 2 else ("one text", "pairs")
            raise SettingsError(f"--prompt {self.pattern!r} asks about {wanted}, but the examples are {given}.")

    def fill(self, texts: Sequence[str], mask: str) -> Written:
        """Put texts, without white space around them, and a mask token into the pattern."""
        written, spans, asked = "", {}, 0
        for part in _PARTS.split(self.pattern):
            if part in _TEXTS:
                text = texts[_TEXTS[part]].strip()
                spans[_TEXTS[part]] = (len(written), len(written) + len(text))
                written += text
            elif _PARTS.fullmatch(part):
                asked = len(written)
                written += mask
            else:
                written += part
        return Written(written, tuple(spans[number] for number in sorted(spans)), asked)

    def before_mask(self) -> str:
        """Return what is written before the word at the mask, back to the nearest text."""
        before = re.split(r"\[mask\]|<mask>", self.pattern, flags=re.IGNORECASE)[0]
        *others, last = re.split(r"\{[^{}]*\}", before)
        return (_BEFORE if others else "") + last

    def pieces(self, labels: Sequence[str], tokenizer: Tokenizer) -> tuple[tuple[int, ...], ...]:
        """Return the ids of every label's words, each of which must be one piece of its own at the mask.

        Words of several pieces are refused: their probability is no single prediction, and labels of different
        lengths would not compare.
        """
        owners: dict[int, tuple[str, str]] = {}
        found = []
        for label in labels:
            ids = []
            for word in self.words[label]:
                piece = _piece(word, self.before_mask(), tokenizer)
                if piece in owners:
                    other, its_label = owners[piece]
                    raise SettingsError(
                        f"--words: {word!r} of {label!r} is the piece of {other!r} of {its_label!r} too: give each "
                        "a word of its own."
                    )
                owners[piece] = (word, label)
                ids.append(piece)
            found.append(tuple(ids))
        return tuple(found)


def parse_words(given: str) -> dict[str, tuple[str, ...]]:
    """Read ``negative=terrible|awful,positive=great``, or the same as JSON, ``{"negative": ["terrible"]}``."""
    pairs: list[tuple[str, Sequence[str]]] = []
    if given.lstrip().startswith("{"):
        try:
            found = json.loads(given)
        except ValueError as error:
            raise SettingsError(f"--words begins as JSON, but is none ({error}).") from None
        for label, words in found.items():
            pairs.append((label, [words] if isinstance(words, str) else words))
    else:
        for part in given.split(","):
            label, equals, words = part.rpartition("=")
            if not equals or not label.strip():
                raise SettingsError(f"--words {part.strip()!r} is no LABEL=WORD, as in negative=terrible|awful.")
            pairs.append((label.strip(), words.split("|")))
    out: dict[str, tuple[str, ...]] = {}
    for label, words in pairs:
        if label in out:
            raise SettingsError(f"--words names the label {label!r} twice: several words are {label}=WORD|WORD.")
        is_named = isinstance(words, list) and words and all(isinstance(one, str) and one.strip() for one in words)
        if not is_named:
            raise SettingsError(f"--words has no word for the label {label!r}, or an empty one.")
        out[label] = tuple(word.strip() for word in words)
    return out


def encode_prompts(
    tokenizer: Tokenizer, examples: Sequence[TextExample], read_as: ReadAs, prompt: Prompt
) -> Encoded:
    """Encode texts and pairs inside the pattern, each asked once, at the mask.

    What does not fit into the model's pieces is cut off the end of the text, of a pair always the longer one
    first; the pattern stays whole. All of it is one segment, as when masks are filled.
    """
    if odd := next((one for one in examples if len(one.texts) != prompt.num_texts), None):
        raise DataError(f"{odd.source}: the prompt asks about {prompt.num_texts} texts, here {len(odd.texts)}.")
    template = Template(tokenizer, has_segments=read_as.has_segments)
    room = template.room(read_as.max_length, 1)
    mask_id = tokenizer.vocabulary.mask_id
    written = [prompt.fill(example.texts, tokenizer.token(mask_id)) for example in examples]
    units, cut = [], 0
    for owner, (one, found) in enumerate(
        zip(written, tokenizer.encode_batch([one.text for one in written]), strict=True)
    ):
        begins, ends = found.offsets[:, 0], found.offsets[:, 1]
        is_asked = (found.ids == mask_id) & (begins <= one.mask) & (one.mask < ends)
        kept = _fitting(found.offsets, one, room, read_as.max_length)
        cut += len(kept) < len(found.ids)
        ids, segments, before = template.fill([found.ids[kept]])
        columns = np.flatnonzero(is_asked[kept]).astype(np.int32) + np.int32(before)
        if len(columns) != 1:
            raise DataError(f"The tokenizer does not read its own mask token {tokenizer.token(mask_id)!r} in text.")
        units.append(Unit(ids, segments, columns, np.zeros(1, np.int32), owner))
    notes = []
    if cut:
        notes.append(
            f"{cut:,} of {len(examples):,} texts, longer than {read_as.max_length} pieces with the prompt, were cut"
        )
    return Encoded(units, len(examples), notes)


def _fitting(offsets: NDArray[np.int32], written: Written, room: int, max_length: int) -> NDArray[np.int64]:
    """Return the places of the pieces that are kept: all of the pattern's, and as many of the texts as fit."""
    every = np.arange(len(offsets))
    if len(every) <= room:
        return every
    texts = tuple(
        np.flatnonzero((offsets[:, 0] >= start) & (offsets[:, 1] <= stop)).astype(np.int32)
        for start, stop in written.texts
    )
    own = len(every) - sum(len(text) for text in texts)
    if room - own < len(texts):
        raise SettingsError(
            f"data.max_length={max_length} leaves no room for text beside the prompt's {own} pieces and the "
            "special tokens: raise it, or shorten the prompt."
        )
    is_kept = np.ones(len(every), np.bool_)
    for text, shorter in zip(texts, cut_to_fit(texts, room - own), strict=True):
        is_kept[text[len(shorter) :]] = False
    return every[is_kept]


def _piece(word: str, before: str, tokenizer: Tokenizer) -> int:
    """Return the piece that ``word`` is behind ``before``; ``SettingsError`` where it is none, or several."""
    found = tokenizer.encode(before + word)
    is_word = found.offsets[:, 1] > len(before)
    ids = found.ids[is_word].tolist()
    vocabulary = tokenizer.vocabulary
    if len(ids) == 1 and ids[0] in vocabulary.special_ids:
        raise SettingsError(f"--words: {word!r} is unknown to the tokenizer (it reads {tokenizer.token(ids[0])}).")
    is_glued = bool((found.offsets[is_word, 0] < len(before)).any())
    if len(ids) != 1 or is_glued:
        names = " ".join(tokenizer.token(each) for each in ids)
        what = f"is {len(ids)} pieces ({names})" if len(ids) != 1 else f"is no piece of its own there ({names})"
        raise SettingsError(f"--words: {word!r} {what}, but a mask is one: choose a word that is a single piece.")
    return int(ids[0])
