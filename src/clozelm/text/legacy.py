"""Tokenizers of older model directories, which hold a vocabulary and no ``tokenizer.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from clozelm.errors import DataError

_BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_ROBERTA = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def is_legacy(path: Path) -> bool:
    """Tell whether a directory holds a vocabulary that can be read without a ``tokenizer.json``."""
    return (path / "vocab.txt").is_file() or all((path / name).is_file() for name in ("vocab.json", "merges.txt"))


def read_legacy(path: Path, config: dict[str, Any]) -> tokenizers.Tokenizer:
    """Build the tokenizer that ``vocab.txt`` (BERT) or ``vocab.json`` with ``merges.txt`` (RoBERTa) stands for.

    ``config`` is the content of ``tokenizer_config.json``; as in the stock classes a WordPiece vocabulary is
    lower-cased unless ``do_lower_case`` says otherwise.
    """
    if (path / "added_tokens.json").is_file():
        raise DataError(
            f"{path} has tokens in added_tokens.json besides its vocabulary, and no tokenizer.json: open and save "
            "it once with transformers.AutoTokenizer, which writes one."
        )
    try:
        if (path / "vocab.txt").is_file():
            return _wordpiece(path / "vocab.txt", config)
        return _byte_bpe(path, config)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{path} holds a vocabulary that cannot be read ({str(error).splitlines()[0]}).") from error


def _wordpiece(file: Path, config: dict[str, Any]) -> tokenizers.Tokenizer:
    pieces = file.read_text(encoding="utf-8").replace("\r\n", "\n").removesuffix("\n").split("\n")
    vocab = {piece: number for number, piece in enumerate(pieces)}
    if "[UNK]" not in vocab:
        raise ValueError("vocab.txt has no [UNK], so it is no vocabulary of BERT")
    backend = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=bool(config.get("tokenize_chinese_chars", True)),
        strip_accents=config.get("strip_accents"),
        lowercase=bool(config.get("do_lower_case", True)),
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    _add(backend, _BERT, vocab)
    if "[CLS]" in vocab and "[SEP]" in vocab:
        ends = [(name, vocab[name]) for name in ("[CLS]", "[SEP]")]
        backend.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
        )
    return backend


def _byte_bpe(path: Path, config: dict[str, Any]) -> tokenizers.Tokenizer:
    vocab = json.loads((path / "vocab.json").read_text(encoding="utf-8"))
    lines = (path / "merges.txt").read_text(encoding="utf-8").splitlines()
    merges = [_merge(line, vocab) for line in lines if line and not line.startswith("#version")]
    backend = tokenizers.Tokenizer(models.BPE(vocab, merges, fuse_unk=False))
    has_space = bool(config.get("add_prefix_space", False))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=has_space)
    backend.decoder = decoders.ByteLevel()
    _add(backend, _ROBERTA, vocab)
    if "<s>" in vocab and "</s>" in vocab:
        backend.post_processor = processors.RobertaProcessing(
            ("</s>", vocab["</s>"]), ("<s>", vocab["<s>"]), trim_offsets=True, add_prefix_space=has_space
        )
    return backend


def _merge(line: str, vocab: dict[str, int]) -> tuple[str, str]:
    """Read one merge; the library ends the process on one that its vocabulary cannot hold."""
    first, second = line.split(" ")
    for piece in (first, second, first + second):
        if piece not in vocab:
            raise ValueError(f"merges.txt joins {line!r}, but vocab.json has no {piece!r}")
    return first, second


def _add(backend: tokenizers.Tokenizer, names: tuple[str, ...], vocab: dict[str, int]) -> None:
    """Make the special tokens of the vocabulary special; RoBERTa's mask takes the space before it."""
    backend.add_special_tokens(
        [
            AddedToken(name, special=True, normalized=False, lstrip=name == "<mask>")
            for name in names
            if name in vocab
        ]
    )
