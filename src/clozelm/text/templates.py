"""The special tokens around a text and around a pair: those of a tokenizer, and of one that has none."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import processors

from clozelm.errors import SettingsError
from clozelm.text.tokenizer import Tokenizer

Ids = NDArray[np.int32]

_AS_WRITTEN = ("PreTrainedTokenizerFast", "TokenizersBackend")
"""The classes of transformers that read tokenizer.json as it is; others bring what their family has."""

_INPUTS = ["input_ids", "token_type_ids", "attention_mask"]


class _Part(NamedTuple):
    """Special tokens, or the text of a number, with its segment."""

    ids: Ids
    text: int | None
    segment: int


class Template:
    """The special tokens that a tokenizer puts around a text and around a pair, and the segments of all.

    They are those that `transformers` puts there, so that a stock pipeline reads the same pieces: the tokenizer's
    own (its post-processor), even if it has none for pairs. A tokenizer of a family's class without any gets the
    family's. Segments are told apart where the model does and the tokenizer has them among its inputs.
    """

    def __init__(self, tokenizer: Tokenizer, *, has_segments: bool) -> None:
        self._has_segments = has_segments and "token_type_ids" in _inputs(tokenizer)
        self._cls_id = tokenizer.vocabulary.cls_id
        self._parts = [_parts(tokenizer, num_texts) for num_texts in (1, 2)]

    def room(self, max_length: int, num_texts: int) -> int:
        """Return how many pieces of text fit into ``max_length``; ``SettingsError`` where none does."""
        room = max_length - sum(len(part.ids) for part in self._parts[num_texts - 1])
        if room < num_texts:
            raise SettingsError(
                f"data.max_length={max_length} leaves no room for text beside the special tokens: raise it."
            )
        return room

    def fill(self, texts: Sequence[Ids]) -> tuple[Ids, Ids | None, int]:
        """Return ids and segments of a text or a pair, and the column where its first text begins.

        Where there is neither a text nor a special token, [CLS] stands for it: a model reads at least one piece.
        """
        parts = self._parts[len(texts) - 1]
        pieces = [part.ids if part.text is None else texts[part.text] for part in parts]
        segments = [np.full(len(ids), part.segment, np.int32) for ids, part in zip(pieces, parts, strict=True)]
        before = next(number for number, part in enumerate(parts) if part.text == 0)
        ids = np.concatenate(pieces)
        if not len(ids):
            ids, segments = np.array([self._cls_id], np.int32), [np.zeros(1, np.int32)]
        return ids, np.concatenate(segments) if self._has_segments else None, sum(map(len, pieces[:before]))


def completed(tokenizer: Tokenizer, *, has_segments: bool) -> Tokenizer:
    """Return a tokenizer that puts special tokens around texts and pairs, and says so in its files.

    One that has none, or none for pairs, gets [CLS] before and [SEP] behind every text; of a model that tells
    segments apart it names them among its inputs, for otherwise `transformers` leaves them out. A new model of a
    task needs a place that stands for all of a text, and a stock pipeline must read as it was trained.
    """
    if tokenizer.config.get("tokenizer_class", _AS_WRITTEN[0]) not in _AS_WRITTEN:
        return tokenizer
    backend = tokenizers.Tokenizer.from_str(tokenizer.backend.to_str())
    done = Tokenizer(backend, {"tokenizer_class": _AS_WRITTEN[0], **tokenizer.config})
    if not all(_is_around(_parts(done, count)) for count in (1, 2)):
        vocabulary = tokenizer.vocabulary
        cls, sep = tokenizer.token(vocabulary.cls_id), tokenizer.token(vocabulary.sep_id)
        backend.post_processor = processors.TemplateProcessing(
            single=f"{cls}:0 $A:0 {sep}:0",
            pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
            special_tokens=[(cls, vocabulary.cls_id), (sep, vocabulary.sep_id)],
        )
        done = Tokenizer(backend, done.config)
    if has_segments and any(part.segment for part in _parts(done, 2)):
        done.config.setdefault("model_input_names", list(_INPUTS))
    return done


def _inputs(tokenizer: Tokenizer) -> list[str]:
    """Return what `transformers` gives to a model; a class that reads files as they are knows no segments."""
    usual = _INPUTS[::2] if tokenizer.config.get("tokenizer_class") in _AS_WRITTEN else _INPUTS
    named = tokenizer.config.get("model_input_names")
    return named if isinstance(named, list) else usual


def _parts(tokenizer: Tokenizer, num_texts: int) -> list[_Part]:
    """Return what a tokenizer writes for a text or a pair."""
    found = _written(tokenizer, num_texts)
    has_texts = sorted(part.text for part in found if part.text is not None) == list(range(num_texts))
    is_as_written = tokenizer.config.get("tokenizer_class") in _AS_WRITTEN
    return found if has_texts and (is_as_written or _is_around(found)) else _usual(tokenizer, num_texts)


def _written(tokenizer: Tokenizer, num_texts: int) -> list[_Part]:
    """Return what the post-processor writes."""
    done: tokenizers.Encoding = tokenizer.backend.encode("a b", "a b" if num_texts == 2 else None)
    parts: list[_Part] = []
    rows = zip(done.ids, done.type_ids, done.special_tokens_mask, done.sequence_ids, strict=True)
    for token, segment, is_special, text in rows:
        if is_special or text is None:
            parts.append(_Part(np.array([token], np.int32), None, segment))
        elif not parts or text != parts[-1].text:
            parts.append(_Part(np.zeros(0, np.int32), text, segment))
    return parts


def _usual(tokenizer: Tokenizer, num_texts: int) -> list[_Part]:
    """Return [CLS] before and [SEP] behind every text, and as RoBERTa has it two between those of a pair."""
    cls, sep = (np.array([each], np.int32) for each in (tokenizer.vocabulary.cls_id, tokenizer.vocabulary.sep_id))
    is_roberta = "roberta" in str(tokenizer.config.get("tokenizer_class")).lower()
    parts = [_Part(cls, None, 0)]
    for number in range(num_texts):
        segment = 0 if is_roberta else number
        parts += [_Part(sep, None, 0)] if is_roberta and number else []
        parts += [_Part(np.zeros(0, np.int32), number, segment), _Part(sep, None, segment)]
    return parts


def _is_around(parts: Sequence[_Part]) -> bool:
    """Whether a special token comes first, and one between texts."""
    between = [one.text is None or other.text is None for one, other in pairwise(parts)]
    return parts[0].text is None and all(between)
