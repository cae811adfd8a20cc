"""Train WordPiece, byte-level BPE and Unigram tokenizers on a bounded sample of a corpus."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers

from clozelm.errors import DataError, SettingsError
from clozelm.rng import generator
from clozelm.text.readers import Document
from clozelm.text.tokenizer import Tokenizer

Kind = Literal["wordpiece", "bpe", "unigram"]
SAMPLE_BYTES = {"wordpiece": 200_000_000, "bpe": 200_000_000, "unigram": 20_000_000}
_REPORT_BYTES = 1_000_000
_MIN_ALPHABET, _MAX_ALPHABET = 128, 1000


@dataclass(frozen=True)
class TokenizerReport:
    """What a tokenizer was trained on and how it fares on a part of that.

    ``fertility`` is tokens per white-space word, ``unknown_rate`` the share of unknown tokens, ``coverage``
    the share of characters that are in no unknown token.
    """

    kind: str
    asked_vocab_size: int
    vocab_size: int
    sampled_documents: int
    sampled_bytes: int
    fertility: float
    unknown_rate: float
    coverage: float


def train(
    documents: Iterable[str | Document],
    *,
    kind: Kind = "wordpiece",
    vocab_size: int = 30_522,
    sample_bytes: int | None = None,
    seed: int = 0,
    is_lowercase: bool = True,
    model_max_length: int = 512,
) -> tuple[Tokenizer, TokenizerReport]:
    """Train a tokenizer of exactly ``vocab_size`` pieces, special tokens included.

    ``documents`` are texts or have a ``text``. At most about ``sample_bytes`` of UTF-8 are held: documents
    are kept at random, evenly over the corpus, whatever its length. A corpus that cannot fill the vocabulary
    is refused with the number of pieces it gives. ``is_lowercase`` concerns WordPiece and Unigram; byte-level
    BPE keeps case, as RoBERTa does.

    WordPiece and BPE are functions of their input. The library's Unigram trainer adds floats in the order of a
    hash table, so its scores differ a little from run to run.
    """
    if kind not in _BUILDERS:
        raise SettingsError(f"kind={kind} must be one of {', '.join(_BUILDERS)}.")
    sample = _sample(documents, sample_bytes or SAMPLE_BYTES[kind], seed)
    if not sample:
        raise DataError("The corpus has no text to train a tokenizer on.")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    backend, config = _BUILDERS[kind](sample, vocab_size, is_lowercase)
    backend = _as_read_back(backend)
    _check_filled(backend.get_vocab_size(with_added_tokens=True), vocab_size, sample)
    tokenizer = Tokenizer(backend, config | {"model_max_length": model_max_length})
    return tokenizer, _report(tokenizer, kind, vocab_size, sample)


def _check_filled(filled: int, vocab_size: int, sample: list[str]) -> None:
    if filled < vocab_size:
        raise SettingsError(
            f"vocab_size={vocab_size} is more than the corpus can fill: it gives {filled} pieces from "
            f"{sum(map(len, sample)):,} characters. Pass --vocab-size {filled} or less, or more text."
        )
    if filled > vocab_size:
        raise SettingsError(
            f"vocab_size={vocab_size} is too small: special tokens and single characters already make {filled} "
            f"pieces. Pass --vocab-size {filled} or more."
        )


def _as_read_back(backend: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Read the tokenizer as it will be saved: JSON changes the last digit of some Unigram scores, once."""
    written = backend.to_str()
    again = tokenizers.Tokenizer.from_str(written)
    return again if again.to_str() == written else _as_read_back(again)


def _sample(documents: Iterable[str | Document], sample_bytes: int, seed: int) -> list[str]:
    """Keep documents at random in one pass, thinning to half whenever the limit is passed.

    Each document draws one uniform number; those below a threshold stay, and the threshold is halved when
    they outgrow the limit, so the sample is an even one and depends on the corpus, the limit and the seed
    only.
    """
    rng = generator(seed, "tokenizer sample")
    kept: list[tuple[float, str]] = []
    size, threshold = 0, 1.0
    for document in documents:
        text = document if isinstance(document, str) else document.text
        draw = float(rng.random())
        if draw >= threshold:
            continue
        kept.append((draw, text))
        size += len(text.encode("utf-8", "replace"))
        while size > sample_bytes and len(kept) > 1:
            threshold /= 2
            kept = [each for each in kept if each[0] < threshold] or kept[:1]
            size = sum(len(text.encode("utf-8", "replace")) for _, text in kept)
    return [text for _, text in kept]


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """Feed lines, so that no trainer sees a whole book as one sentence."""
    for text in texts:
        yield from text.splitlines()


def _wordpiece(
    sample: list[str], vocab_size: int, is_lowercase: bool
) -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    normalizer = normalizers.BertNormalizer(lowercase=is_lowercase)
    alphabet = min(_MAX_ALPHABET, max(_MIN_ALPHABET, vocab_size // 4))
    characters = _bert_pieces(sample, normalizer, special, vocab_size=0, alphabet=alphabet)
    first = special + sorted(piece for piece in characters if piece.startswith("##") and len(piece) > 2)
    pieces = _bert_pieces(sample, normalizer, first, vocab_size=vocab_size, alphabet=alphabet)
    backend = tokenizers.Tokenizer(models.WordPiece(pieces, unk_token="[UNK]"))
    backend.add_special_tokens(special)
    backend.normalizer = normalizer
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    _surround(backend, "[CLS]", "[SEP]", second_type=1)
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": is_lowercase, "strip_accents": None}
    return backend, config | _names("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def _bert_pieces(
    sample: list[str], normalizer: Any, first: list[str], *, vocab_size: int, alphabet: int
) -> dict[str, int]:
    """Learn WordPiece's vocabulary as ``WordPieceTrainer`` does, by BPE with ``##``, after the pieces ``first``.

    The library numbers the pieces ``##x`` of one character in the order of a hash table, which differs from
    run to run and decides ties; naming them in ``first`` makes training a function of its input.
    """
    learner = tokenizers.Tokenizer(models.BPE(continuing_subword_prefix="##"))
    learner.normalizer = normalizer
    learner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=first,
        continuing_subword_prefix="##",
        limit_alphabet=alphabet,
        min_frequency=2,
        show_progress=False,
    )
    learner.train_from_iterator(_lines(sample), trainer)
    return dict(learner.get_vocab())


def _bpe(sample: list[str], vocab_size: int, _: bool) -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
    mask = AddedToken("<mask>", lstrip=True, normalized=False, special=True)
    special = ["<s>", "<pad>", "</s>", "<unk>", mask]
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        min_frequency=2,
    )
    backend.train_from_iterator(_lines(sample), trainer)
    _surround(backend, "<s>", "</s>", second_type=0)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", "attention_mask"],
    }
    return backend, config | _names("<pad>", "<unk>", "<s>", "</s>", "<mask>")


def _unigram(sample: list[str], vocab_size: int, is_lowercase: bool) -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
    special = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
    backend = tokenizers.Tokenizer(models.Unigram())
    steps: list[Any] = [normalizers.NFKC()]
    if is_lowercase:
        steps.append(normalizers.Lowercase())
    steps += [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    backend.normalizer = normalizers.Sequence(steps)
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    backend.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator(_lines(sample), trainer)
    _surround(backend, "[CLS]", "[SEP]", second_type=1)
    config = {"tokenizer_class": "PreTrainedTokenizerFast"}
    return backend, config | _names("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")


_BUILDERS: dict[str, Callable[[list[str], int, bool], tuple[tokenizers.Tokenizer, dict[str, Any]]]] = {
    "wordpiece": _wordpiece,
    "bpe": _bpe,
    "unigram": _unigram,
}


def _surround(backend: tokenizers.Tokenizer, cls: str, sep: str, *, second_type: int) -> None:
    ids = [(token, backend.token_to_id(token)) for token in (cls, sep)]
    middle = "" if second_type else f" {sep}:0"  # RoBERTa puts two separators between a pair and has one type
    backend.post_processor = processors.TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=f"{cls}:0 $A:0 {sep}:0{middle} $B:{second_type} {sep}:{second_type}",
        special_tokens=ids,
    )


def _names(pad: str, unk: str, cls: str, sep: str, mask: str) -> dict[str, str]:
    return {"pad_token": pad, "unk_token": unk, "cls_token": cls, "sep_token": sep, "mask_token": mask}


def _report(tokenizer: Tokenizer, kind: str, asked: int, sample: list[str]) -> TokenizerReport:
    """Measure on about a million bytes of the sample."""
    texts, size = [], 0
    for text in sample:
        texts.append(text)
        size += len(text)
        if size >= _REPORT_BYTES:
            break
    num_tokens = num_unknown = unknown_characters = 0
    for each in tokenizer.encode_batch(texts):
        is_unknown = each.ids == (-1 if tokenizer.vocabulary.unk_id is None else tokenizer.vocabulary.unk_id)
        num_tokens += len(each.ids)
        num_unknown += int(is_unknown.sum())
        unknown_characters += int(np.diff(each.offsets[is_unknown], axis=1).sum())
    written = sum(len("".join(text.split())) for text in texts)
    return TokenizerReport(
        kind=kind,
        asked_vocab_size=asked,
        vocab_size=tokenizer.vocab_size,
        sampled_documents=len(sample),
        sampled_bytes=sum(len(text.encode("utf-8", "replace")) for text in sample),
        fertility=num_tokens / max(1, sum(len(text.split()) for text in texts)),
        unknown_rate=num_unknown / max(1, num_tokens),
        coverage=1 - unknown_characters / max(1, written),
    )
