"""Tokenizers: any Hugging Face tokenizer directory, with word starts and offsets for every piece."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tokenizers
from numpy.typing import NDArray

from clozelm.errors import DataError, ModelError
from clozelm.text.atomic import AtomicDirectory, disk_errors
from clozelm.text.legacy import is_legacy, read_legacy
from clozelm.vocab import Vocabulary

# The usual names of each role, tried in order where the directory does not say.
_ROLES = {
    "pad": ("[PAD]", "<pad>"),
    "cls": ("[CLS]", "<s>", "<cls>"),
    "sep": ("[SEP]", "</s>", "<sep>", "<eos>"),
    "mask": ("[MASK]", "<mask>"),
    "unk": ("[UNK]", "<unk>"),
}
_FALLBACK_KEYS = {"cls": "bos_token", "sep": "eos_token"}
_FILES = ("tokenizer_config.json", "special_tokens_map.json")
_UNLIMITED = 10**9  # transformers writes 1e30 for "no limit"


class Encoded(NamedTuple):
    """One text as pieces, without special tokens around it.

    ``offsets`` are characters of the text, white space before and after a piece left out.
    """

    ids: NDArray[np.int32]
    word_starts: NDArray[np.bool_]
    offsets: NDArray[np.int32]


class Tokenizer:
    """A tokenizer with the ids of its special tokens and the word starts of its pieces.

    A word is what the tokenizer's own pre-tokenizer cuts out: for BERT a run of letters, a punctuation mark
    or a Chinese character; for byte-level BPE a pre-token of the GPT-2 pattern; for Unigram what stands
    between spaces.
    """

    def __init__(self, backend: tokenizers.Tokenizer, config: dict[str, Any] | None = None) -> None:
        """Wrap a backend; ``config`` is the content of ``tokenizer_config.json``."""
        backend.no_truncation()
        backend.no_padding()
        self.backend = backend
        self.config = dict(config or {})
        self._definition: dict[str, Any] = json.loads(backend.to_str())
        self.kind: str = self._definition["model"]["type"].lower()
        self.vocab_size = max(backend.get_vocab(with_added_tokens=True).values()) + 1
        limit = self.config.get("model_max_length")
        is_number = isinstance(limit, int | float) and 0 < limit < _UNLIMITED
        self.model_max_length: int | None = int(limit or 0) if is_number else None
        self.vocabulary = self._find_vocabulary()

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Load a Hugging Face tokenizer directory, older ones too; one without a mask token is refused."""
        path = Path(path)
        is_legacy_one = not (path / "tokenizer.json").is_file() and is_legacy(path)
        if not (path / "tokenizer.json").is_file() and not is_legacy_one:
            if any(path.glob("*.model")):
                raise DataError(
                    f"{path} holds a SentencePiece model and no tokenizer.json: open and save it once with "
                    "transformers.AutoTokenizer, which writes one."
                )
            raise DataError(
                f"{path} holds no tokenizer.json: name a tokenizer directory, or make one with "
                "`cloze tokenizer train`."
            )
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false" if (os.cpu_count() or 1) == 1 else "true")
        try:
            config: dict[str, Any] = {}
            for name in reversed(_FILES):
                if (path / name).is_file():
                    config |= json.loads((path / name).read_text(encoding="utf-8"))
            if is_legacy_one:
                backend = read_legacy(path, config)
            else:
                backend = tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))
        except DataError:
            raise
        except Exception as error:  # the library raises plain Exception
            raise DataError(f"{path} cannot be read as a tokenizer: {error}.") from error
        try:
            return cls(backend, config)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from None

    def save(self, path: str | Path, *, replace: bool = False) -> None:
        """Write a Hugging Face tokenizer directory, whole or not at all."""
        directory = AtomicDirectory(path, replace=replace, is_ours=is_tokenizer)
        try:
            with disk_errors(directory.path):
                self.write(directory.building)
            directory.commit()
        finally:
            directory.discard()

    def write(self, path: Path) -> None:
        """Write the files into a directory, made if its parent is there; raises ``OSError``, as writing does."""
        path.mkdir(exist_ok=True)
        # Not `backend.save`, which raises plain Exception for a full disk.
        (path / "tokenizer.json").write_text(self.backend.to_str(pretty=True), encoding="utf-8")
        config = {"tokenizer_class": "PreTrainedTokenizerFast", **self.config}
        _write_json(path / "tokenizer_config.json", config)
        if self.kind == "wordpiece":
            pieces = sorted(self.backend.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])
            (path / "vocab.txt").write_text("".join(f"{piece}\n" for piece, _ in pieces), encoding="utf-8")

    @cached_property
    def fingerprint(self) -> str:
        """Hash what decides the ids: the canonical tokenizer.json, 16 hex digits of its SHA-256."""
        canonical = json.dumps(self._definition, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @property
    def definition(self) -> dict[str, Any]:
        """Give the parsed tokenizer.json; not to be changed."""
        return self._definition

    def encode(self, text: str) -> Encoded:
        """Encode one text; a special token written in it, such as "[MASK]", becomes that token."""
        return encoded(text, self.backend.encode(text, add_special_tokens=False))

    def encode_batch(self, texts: Sequence[str]) -> list[Encoded]:
        """Encode several texts, on all cores."""
        batch = self.backend.encode_batch(list(texts), add_special_tokens=False)
        return [encoded(text, each) for text, each in zip(texts, batch, strict=True)]

    def decode(self, ids: Sequence[int] | NDArray[Any]) -> str:
        """Join pieces to text; special tokens are left out."""
        return self.backend.decode([int(i) for i in ids], skip_special_tokens=True)

    def token(self, token_id: int) -> str:
        """Name a piece as the vocabulary writes it (``##ing``, ``Ġthe``, ``▁the``)."""
        piece = self.backend.id_to_token(int(token_id))
        if piece is None:
            raise DataError(f"Token id {token_id} is not in the vocabulary of {self.vocab_size} pieces.")
        return str(piece)

    def piece_text(self, token_id: int) -> str:
        """Write a piece as a reader would see it, without ``##``, ``Ġ`` or ``▁``."""
        piece = self.token(token_id)
        if token_id in self.vocabulary.special_ids:
            return piece
        if self.kind == "wordpiece":
            return piece.removeprefix(self._definition["model"].get("continuing_subword_prefix") or "##")
        if self.kind == "bpe":
            return self.backend.decode([int(token_id)]).strip() or piece
        return piece.replace("▁", " ").strip() or piece

    def id(self, token: str) -> int | None:
        """Find the id of a piece as the vocabulary writes it; None where there is none."""
        found: int | None = self.backend.token_to_id(token)
        return found

    def _find_vocabulary(self) -> Vocabulary:
        ids = {role: self._role_id(role) for role in _ROLES}
        missing = [role for role in ("pad", "cls", "sep", "mask") if ids[role] is None]
        if missing:
            names = ", ".join(f"{role} ({' or '.join(_ROLES[role])})" for role in missing)
            raise ModelError(f"the tokenizer has no special token for {names}; masked language models need them.")
        added = {token["id"] for token in self._definition["added_tokens"] if token["special"]}
        special = frozenset(added | {i for i in ids.values() if i is not None})
        return Vocabulary(
            size=self.vocab_size,
            special_ids=special,
            unk_id=ids["unk"],
            **{f"{role}_id": ids[role] for role in ("pad", "cls", "sep", "mask")},  # type: ignore[arg-type]
        )

    def _role_id(self, role: str) -> int | None:
        named = [self.config.get(f"{role}_token"), self.config.get(_FALLBACK_KEYS.get(role, ""))]
        for name in [*named, *_ROLES[role]]:
            content = name.get("content") if isinstance(name, dict) else name
            if isinstance(content, str) and (found := self.id(content)) is not None:
                return found
        return None


def is_tokenizer(path: Path) -> bool:
    """Tell whether a directory holds a tokenizer and nothing a user would miss besides."""
    return (path / "tokenizer.json").is_file() and not (path / "config.json").exists()


def encoded(text: str, encoding: tokenizers.Encoding) -> Encoded:
    """Turn the library's encoding into arrays, with word starts from its ``word_ids``."""
    ids = np.array(encoding.ids, np.int32)
    words = np.array([-1 if word is None else word for word in encoding.word_ids], np.int64)
    word_starts = np.ones(len(ids), np.bool_)
    word_starts[1:] = (words[1:] != words[:-1]) | (words[1:] < 0)
    offsets = np.array(encoding.offsets, np.int32).reshape(-1, 2)
    return Encoded(ids, word_starts, _without_space(text, offsets))


def _without_space(text: str, offsets: NDArray[np.int32]) -> NDArray[np.int32]:
    """Move the edges of each piece inwards over white space; a piece of nothing else becomes empty."""
    is_space = np.zeros(len(text) + 1, np.bool_)
    is_space[[i for i, character in enumerate(text) if character.isspace()]] = True
    starts, ends = offsets[:, 0].copy(), offsets[:, 1].copy()
    while (move := (starts < ends) & is_space[starts]).any():
        starts += move
    while (move := (starts < ends) & is_space[ends - 1]).any():
        ends -= move
    return np.stack([starts, ends], axis=1)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
