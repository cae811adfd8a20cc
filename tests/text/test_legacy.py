"""Directories without a `tokenizer.json` give the ids of the stock classes."""

import json
import shutil
from pathlib import Path

import pytest

from clozelm.errors import DataError
from clozelm.text.tokenizer import Tokenizer

TEXTS = [
    "Machine learning's naïve 机器学习 🙂 test, isn't it?",
    "  Two  spaces\tand\nlines; a [MASK] and a <mask> here.",
    "Internationalisation of unaffable électroménager 1234567890",
    "",
]
FILES = {
    "bert-base-uncased": ("vocab.txt",),
    "bert-base-cased": ("vocab.txt", "tokenizer_config.json"),
    "distilbert-base-uncased": ("vocab.txt",),
    "roberta-base": ("vocab.json", "merges.txt"),
}


@pytest.mark.parametrize("name", FILES)
def test_ids_are_those_of_the_generated_file(name: str, shared: Path, tmp_path: Path) -> None:
    directory = shared / "checkpoints" / "tokenizers" / name
    for file in FILES[name]:
        shutil.copy(directory / file, tmp_path / file)
    old, new = Tokenizer.load(tmp_path), Tokenizer.load(directory)
    assert old.vocab_size == new.vocab_size
    assert old.vocabulary == new.vocabulary
    for text in TEXTS:
        assert old.encode(text).ids.tolist() == new.encode(text).ids.tolist()
        assert old.encode(text).word_starts.tolist() == new.encode(text).word_starts.tolist()
        assert old.backend.encode(text).ids == new.backend.encode(text).ids


def test_the_stock_class_reads_the_vocabulary_the_same(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##s", "é", "!", "##!"]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    stock = transformers.BertTokenizerFast.from_pretrained(tmp_path)
    ours = Tokenizer.load(tmp_path)
    for text in ("The CATS!", "É cat", "unknown the"):
        assert ours.encode(text).ids.tolist() == stock(text, add_special_tokens=False)["input_ids"]


def test_a_damaged_vocabulary_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps({"a": 0, "b": 1})[:-4], encoding="utf-8")
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n", encoding="utf-8")
    with pytest.raises(DataError, match="holds a vocabulary that cannot be read") as caught:
        Tokenizer.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_merges_that_do_not_fit_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps({"a": 0, "b": 1}), encoding="utf-8")
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n", encoding="utf-8")
    with pytest.raises(DataError, match="holds a vocabulary that cannot be read") as caught:
        Tokenizer.load(tmp_path)
    assert "\n" not in str(caught.value)
