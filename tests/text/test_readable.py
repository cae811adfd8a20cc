"""Pieces as text: print's white space for WordPiece, the pieces' own elsewhere."""

import numpy as np
import pytest

from clozelm.text.readable import Readable, _gap
from clozelm.text.train_tokenizer import Kind
from tests import tiny_models, tiny_runs

KINDS: list[Kind] = ["wordpiece", "bpe", "unigram"]
SENTENCE = 'we propose a "state-of-the-art" model (with 1,000 words, 3.5% better), don\'t we?'


@pytest.fixture(scope="module", params=KINDS)
def readable(request: pytest.FixtureRequest, texts: list[str]) -> Readable:
    return Readable(tiny_runs.tokenizer([*texts, SENTENCE * 3], request.param))


def test_a_sentence_reads_as_it_was_written(readable: Readable) -> None:
    assert readable.text(readable.tokenizer.encode(SENTENCE).ids.tolist()) == SENTENCE


def test_blocks_joined_are_the_text(readable: Readable) -> None:
    ids = readable.tokenizer.encode(SENTENCE).ids.tolist()
    for blocks in ([[i] for i in ids], [ids[:3], [], ids[3:4], ids[4:]]):
        assert "".join(readable.parts(blocks)).strip() == SENTENCE


def test_special_pieces_stand_apart(readable: Readable) -> None:
    tokenizer = readable.tokenizer
    mask = tokenizer.vocabulary.mask_id
    name = tokenizer.token(mask)
    start = tokenizer.encode("we").ids.tolist()
    assert readable.text([*start, mask, mask]) == f"we {name} {name}"
    assert readable.text([mask]) == name


def test_white_space_goes_on_after_other_text(readable: Readable) -> None:
    encoded = readable.tokenizer.encode("we propose")
    second = int(np.flatnonzero(encoded.word_starts)[1])
    (later,) = readable.parts([encoded.ids[second:].tolist()], before="here we")
    assert later == " propose"


def test_scripts_without_spaces() -> None:
    assert _gap("我们", "提") == _gap("模型", "。") == _gap("、", "模") == ""
    assert _gap("한국", "어") == _gap("模型", "bert") == " "


def test_half_a_character_shows() -> None:
    readable = Readable(tiny_models.byte_bpe())
    ids = readable.tokenizer.encode("é").ids.tolist()
    assert len(ids) == 2
    assert readable.text(ids) == "é"
    assert readable.parts([ids[:1], ids[1:]]) == ["�", "�"]
