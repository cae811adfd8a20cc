"""Tokenizers from real directories: ids, words, offsets, special tokens; ours open in transformers."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from clozelm.errors import DataError, ModelError
from clozelm.text.tokenizer import Tokenizer
from clozelm.text.train_tokenizer import train

TEXTS = ["the cat sat on the mat", "the dog sat on the log", "don't you think so?", "Ünïcode CAFÉ"] * 4


def words(tokenizer: Tokenizer, text: str) -> list[str]:
    """Cut a text at its word starts."""
    _, starts, offsets = tokenizer.encode(text)
    edges = [int(offsets[i, 0]) for i in range(len(starts)) if starts[i]]
    return [text[a:b].strip() for a, b in zip(edges, [*edges[1:], len(text)], strict=True)]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("bert-base-uncased", "unbelievably, 你好 don't", ["unbelievably", ",", "你", "好", "don", "'", "t"]),
        ("bert-base-cased", " Hello (World)", ["Hello", "(", "World", ")"]),
        ("roberta-base", " unbelievably, 你好 don't", ["unbelievably", ",", "你好", "don", "'t"]),
        ("modernbert-base", "unbelievably 😀 ok!", ["unbelievably", "😀", "ok", "!"]),
        ("albert-base-v2", "unbelievably good, really", ["unbelievably", "good,", "really"]),
    ],
)
def test_words_of_real_tokenizers(shared: Path, name: str, text: str, expected: list[str]) -> None:
    assert words(Tokenizer.load(shared / "checkpoints/tokenizers" / name), text) == expected


@pytest.mark.parametrize(
    ("name", "pad", "cls", "sep", "mask", "unk"),
    [
        ("tokenizers/bert-base-uncased", 0, 101, 102, 103, 100),
        ("tokenizers/roberta-base", 1, 0, 2, 50264, 3),
        ("tokenizers/albert-base-v2", 0, 2, 3, 4, 1),
        ("tokenizers/modernbert-base", 50283, 50281, 50282, 50284, 50280),
        ("rxnfp-bert-mlm", 0, 12, 13, 14, 11),
        ("sapiens-roberta-mlm-vh", 1, 0, 2, 24, 3),
        ("rxnmapper-albert-mlm", 0, 12, 13, 14, 11),
    ],
)
def test_special_ids(shared: Path, name: str, pad: int, cls: int, sep: int, mask: int, unk: int) -> None:
    tokenizer = Tokenizer.load(shared / "checkpoints" / name)
    found = tokenizer.vocabulary
    assert (found.pad_id, found.cls_id, found.sep_id, found.mask_id, found.unk_id) == (
        pad,
        cls,
        sep,
        mask,
        unk,
    )
    assert {pad, cls, sep, mask, unk} <= found.special_ids
    assert found.size == tokenizer.vocab_size


def test_no_mask_token_is_refused(shared: Path) -> None:
    with pytest.raises(ModelError, match=r"gpt2: the tokenizer has no special token for .*mask"):
        Tokenizer.load(shared / "checkpoints/tokenizers/gpt2")


def test_mask_written_in_the_text_becomes_the_mask(shared: Path) -> None:
    for name in ("bert-base-uncased", "roberta-base", "albert-base-v2", "modernbert-base"):
        tokenizer = Tokenizer.load(shared / "checkpoints/tokenizers" / name)
        mask = tokenizer.token(tokenizer.vocabulary.mask_id).strip()
        ids = tokenizer.encode(f"a {mask} technology").ids.tolist()
        assert ids.count(tokenizer.vocabulary.mask_id) == 1


def test_offsets_leave_out_white_space(shared: Path) -> None:
    text = "  Hello   brave new\tworld "
    for name in ("bert-base-uncased", "roberta-base", "albert-base-v2", "modernbert-base"):
        offsets = Tokenizer.load(shared / "checkpoints/tokenizers" / name).encode(text).offsets
        pieces = [text[a:b] for a, b in offsets]
        assert all(piece == piece.strip() for piece in pieces), name
        assert "".join(pieces) == "".join(text.split()), name


def test_piece_text_is_readable(shared: Path) -> None:
    bert = Tokenizer.load(shared / "checkpoints/tokenizers/bert-base-uncased")
    roberta = Tokenizer.load(shared / "checkpoints/tokenizers/roberta-base")
    albert = Tokenizer.load(shared / "checkpoints/tokenizers/albert-base-v2")
    assert bert.piece_text(bert.id("##ing") or 0) == "ing"
    assert roberta.piece_text(roberta.id("Ġthe") or 0) == "the"
    assert albert.piece_text(albert.id("▁the") or 0) == "the"
    assert roberta.piece_text(roberta.id("Ġ") or 0) == "Ġ"
    with pytest.raises(DataError, match="40000 is not in the vocabulary of 30000"):
        albert.piece_text(40_000)


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_saved_directory_opens_in_transformers(tmp_path: Path, kind: str) -> None:
    tokenizer, report = train(
        TEXTS, kind=kind, vocab_size={"wordpiece": 42, "bpe": 270, "unigram": 30}[kind], model_max_length=128
    )
    tokenizer.save(tmp_path / "t")
    assert report.vocab_size == tokenizer.vocab_size == report.asked_vocab_size
    peer = AutoTokenizer.from_pretrained(tmp_path / "t")
    vocabulary = tokenizer.vocabulary
    assert (peer.pad_token_id, peer.cls_token_id) == (vocabulary.pad_id, vocabulary.cls_id)
    assert (peer.sep_token_id, peer.mask_token_id) == (vocabulary.sep_id, vocabulary.mask_id)
    assert (peer.unk_token_id, peer.model_max_length, len(peer)) == (
        vocabulary.unk_id,
        128,
        tokenizer.vocab_size,
    )
    for text in ["The cat sat, CAFÉ!", f"the {peer.mask_token} sat", "", "don't 你好"]:
        expected = [vocabulary.cls_id, *tokenizer.encode(text).ids.tolist(), vocabulary.sep_id]
        assert peer(text)["input_ids"] == expected, text
    again = Tokenizer.load(tmp_path / "t")
    assert (again.fingerprint, again.model_max_length) == (tokenizer.fingerprint, 128)
    peer.save_pretrained(tmp_path / "peer")
    assert Tokenizer.load(tmp_path / "peer").encode("the cat").ids.tolist() == again.encode("the cat").ids.tolist()


def test_saving_does_not_overwrite(tmp_path: Path) -> None:
    tokenizer, _ = train(TEXTS, vocab_size=40)
    tokenizer.save(tmp_path / "t")
    with pytest.raises(DataError, match="pass --force"):
        tokenizer.save(tmp_path / "t")
    tokenizer.save(tmp_path / "t", replace=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/notes.txt").write_text("mine")
    with pytest.raises(DataError, match="holds something else"):
        tokenizer.save(tmp_path / "other", replace=True)


def test_not_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no tokenizer\.json"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match="cannot be read as a tokenizer"):
        Tokenizer.load(tmp_path)
