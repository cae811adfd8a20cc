"""Extending tokenizers: old ids stay, new pieces are used, and the library and transformers agree."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from clozelm.errors import ModelError, SettingsError
from clozelm.text.extend import Extension, best_score, extend
from clozelm.text.tokenizer import Tokenizer
from clozelm.text.train_tokenizer import Kind, train
from clozelm.text.word_cache import BatchEncoder
from tests import tiny_runs

KINDS = ["wordpiece", "bpe", "unigram"]
REAL = ["bert-base-uncased", "roberta-base", "modernbert-base", "albert-base-v2"]
DOMAIN = [" ".join(text.split()) for text in tiny_runs.abstracts(250)[50:]]
OTHER = [
    "The cat sat on the mat, 3 times.",
    '  "Don\'t!" (naïve) 你好 🙂 ',
    "",
    " ",
    "[MASK] x <mask> y",
    "a\n\nb\tc",
]
SIZE = 60
SPECIAL = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}


@dataclass(frozen=True)
class Case:
    old: Tokenizer
    extension: Extension

    @property
    def new(self) -> Tokenizer:
        return self.extension.tokenizer

    @property
    def new_ids(self) -> range:
        return range(self.old.vocab_size, self.new.vocab_size)

    @cached_property
    def written(self) -> list[tuple[str, list[int], list[int]]]:
        """Words of the domain, as they stand between spaces, and other texts, with their old and new ids."""
        texts = [*sorted({word for text in DOMAIN[:100] for word in text.split()}), *OTHER]
        both = (tokenizer.encode_batch(texts) for tokenizer in (self.old, self.new))
        return [(text, a.ids.tolist(), b.ids.tolist()) for text, a, b in zip(texts, *both, strict=True)]


@pytest.fixture(scope="module", params=[*KINDS, *REAL])
def case(request: pytest.FixtureRequest) -> Case:
    if request.param in KINDS:
        old = train(tiny_runs.abstracts(50), kind=request.param, vocab_size=400)[0]
    else:
        old = Tokenizer.load(request.getfixturevalue("shared") / "checkpoints/tokenizers" / request.param)
    return Case(old, extend(old, DOMAIN, SIZE, min_count=3))


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text).ids.tolist()


def pieces_of(tokenizer: Tokenizer, word: str) -> list[int]:
    return [piece.id for piece in tokenizer.backend.model.tokenize(word)]


def test_new_ids_follow_the_old_ones(case: Case) -> None:
    before, after = (each.backend.get_vocab(with_added_tokens=True) for each in (case.old, case.new))
    assert before.items() <= after.items()
    assert sorted(after.values())[-SIZE:] == list(case.new_ids)
    assert len(case.new_ids) == len(case.extension.pieces) == SIZE
    assert all(case.old.token(i) == case.new.token(i) for i in before.values())
    for name in ("pad_id", "cls_id", "sep_id", "mask_id", "unk_id", "special_ids"):
        assert getattr(case.old.vocabulary, name) == getattr(case.new.vocabulary, name)
    assert case.new.vocabulary.size == case.old.vocab_size + SIZE


def test_only_the_model_changes(case: Case) -> None:
    before, after = dict(case.old.definition), dict(case.new.definition)
    assert before.pop("model").keys() == after.pop("model").keys()
    assert before == after
    assert case.old.config == case.new.config


def test_every_new_piece_is_used(case: Case) -> None:
    for number, before in zip(case.new_ids, case.extension.pieces, strict=True):
        piece = case.new.token(number)
        assert pieces_of(case.new, piece) == [number], piece
        assert pieces_of(case.old, piece) == before, piece
        assert len(before) > 1 or before == [case.old.vocabulary.unk_id], piece
        assert max(before) < case.old.vocab_size


def test_words_are_written_with_what_is_new(case: Case) -> None:
    for number, before in zip(case.new_ids, case.extension.pieces, strict=True):
        if case.old.kind != "bpe":
            word = case.new.token(number).removeprefix("▁")
            assert ids(case.new, word) == [number]
            assert ids(case.old, word) == before


def test_text_without_new_pieces_keeps_its_ids(case: Case) -> None:
    changed = [before != after for _, before, after in case.written]
    assert SIZE / 3 < sum(changed) < len(changed) / 2
    for text, before, after in case.written:
        assert before == after or max(after) >= case.old.vocab_size, text


def test_a_new_piece_stands_for_its_old_pieces(case: Case) -> None:
    for text, before, after in case.written:
        # What follows a new word in a longer one is cut anew by WordPiece's longest match.
        if case.old.kind != "wordpiece" or len(after) == 1:
            parts = [case.extension.pieces[i - case.old.vocab_size] if i in case.new_ids else [i] for i in after]
            assert [i for part in parts for i in part] == before, text


def test_fewer_tokens_for_the_domain(case: Case) -> None:
    before, after = (sum(len(each.ids) for each in t.encode_batch(DOMAIN)) for t in (case.old, case.new))
    assert after < 0.99 * before


def test_words_and_text_stay(case: Case) -> None:
    for text in [*DOMAIN[:60], *OTHER]:
        before, after = case.old.encode(text), case.new.encode(text)
        assert before.offsets[before.word_starts, 0].tolist() == after.offsets[after.word_starts, 0].tolist()
        if case.old.vocabulary.unk_id not in before.ids:
            assert case.old.decode(before.ids) == case.new.decode(after.ids)


def test_the_word_cache_agrees(case: Case) -> None:
    encode, library = BatchEncoder(case.new), tokenizers.Tokenizer.from_str(case.new.backend.to_str())
    library.encode_special_tokens = True
    assert encode.is_cached
    special = case.old.vocabulary.special_ids
    names = [case.old.token(i).strip() for i in sorted(special)]
    texts = [*DOMAIN[:60], *OTHER, *names]
    expected = [library.encode(text, add_special_tokens=False).ids for text in texts]
    assert encode(texts).ids.tolist() == [i for each in expected for i in each]
    # Special tokens written in a text stay text, if they were before.
    before = BatchEncoder(case.old)(names).ids.tolist()
    assert {i for each in expected[-len(names) :] for i in each} & special <= set(before) & special


def test_saved_it_opens_here_and_in_transformers(case: Case, tmp_path: Path) -> None:
    case.new.save(tmp_path / "t")
    again = Tokenizer.load(tmp_path / "t")
    peer = PreTrainedTokenizerFast.from_pretrained(tmp_path / "t")
    assert again.fingerprint == case.new.fingerprint != case.old.fingerprint
    assert len(peer) == again.vocab_size == case.new.vocab_size
    for text in [*DOMAIN[:40], *OTHER]:
        assert ids(again, text) == ids(case.new, text) == peer(text, add_special_tokens=False)["input_ids"]
    if case.old.kind == "wordpiece":
        lines = (tmp_path / "t/vocab.txt").read_text(encoding="utf-8").splitlines()
        assert lines == [case.new.token(i) for i in range(case.new.vocab_size)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_result_depends_on_tokenizer_and_texts_only(kind: Kind) -> None:
    old, _ = train(tiny_runs.abstracts(20), kind=kind, vocab_size=320)
    first, second, third = (extend(old, texts, 30, min_count=2) for texts in (DOMAIN, iter(DOMAIN), DOMAIN[::-1]))
    assert first.pieces == second.pieces == third.pieces
    assert first.tokenizer.fingerprint == second.tokenizer.fingerprint == third.tokenizer.fingerprint


def test_bpe_goes_on_as_if_it_had_never_stopped() -> None:
    """Training to 320 pieces and then adding 80 equals the library's training to 400."""
    whole = train(DOMAIN, kind="bpe", vocab_size=400)[0]
    extended = extend(train(DOMAIN, kind="bpe", vocab_size=320)[0], DOMAIN, 80, min_count=2).tokenizer
    assert extended.definition["model"] == whole.definition["model"]


def test_two_extensions_equal_one_in_bpe() -> None:
    old = train(DOMAIN[:20], kind="bpe", vocab_size=300)[0]
    once = extend(old, DOMAIN, 40).tokenizer
    twice = extend(extend(old, DOMAIN, 15).tokenizer, DOMAIN, 25).tokenizer
    assert once.fingerprint == twice.fingerprint


def wordpiece(characters: str) -> Tokenizer:
    """A tokenizer whose pieces are the special tokens and characters, at the start of a word and in it."""
    pieces = [*SPECIAL.values(), "[UNK]", *characters, *(f"##{each}" for each in characters)]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    backend = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    backend.add_special_tokens(pieces[:5])
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return Tokenizer(backend, SPECIAL)


def added(old: Tokenizer, extension: Extension) -> list[str]:
    return [extension.tokenizer.token(i) for i in range(old.vocab_size, extension.tokenizer.vocab_size)]


def test_whole_words_come_by_what_they_save() -> None:
    old = wordpiece("abe123!")
    texts = ["abab abab Éee eee eee, ab ab Ab 123 123 123 123 !! aaaaaa ü u 🙂 🙂 🙂 a a a a"]
    # 2 x 3, 3 x 2, 3 x 1 twice, 2 x 1; numbers, known punctuation and what occurs once are left out.
    extension = extend(old, texts, 9, min_count=2)
    assert added(old, extension) == ["abab", "eee", "ab", "🙂", "u"]
    assert extension.pieces == [ids(old, "abab"), ids(old, "eee"), ids(old, "ab"), [4], [4]]
    assert added(old, extend(old, texts, 2, min_count=2)) == ["abab", "eee"]


def test_words_that_could_not_be_found_are_not_added() -> None:
    old = wordpiece("ab#")
    definition = json.loads(old.backend.to_str())
    definition["pre_tokenizer"] = {"type": "WhitespaceSplit"}
    definition["model"]["max_input_chars_per_word"] = 5
    old = Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(definition)), SPECIAL)
    assert added(old, extend(old, ["##ab ababa ababab"] * 10, 9)) == ["ababa"]


def test_fewer_than_asked_and_none() -> None:
    old = wordpiece("abcdef")
    assert added(old, extend(old, ["abcd abcd abef 12 34 a"] * 10, 2)) == ["abcd", "abef"]
    assert added(old, extend(old, ["abcd abcd abef a"] * 10, 100)) == ["abcd", "abef"]
    for texts in ([], ["a b c"] * 20, ["abcd"] * 9):
        assert extend(old, texts, 5) == Extension(old, [])


def test_a_new_word_within_another_does_not_take_its_place() -> None:
    old, _ = train(tiny_runs.abstracts(20), kind="unigram", vocab_size=150)
    texts = ["embed embedding embeddings embeddingsx re-embed embed's (embed) embed/embed embed. embed-"] * 20
    extension = extend(old, texts, 100)
    new = extension.tokenizer
    pieces = added(old, extension)
    assert set(pieces) >= {"▁embed", "▁embedding", "▁embeddings", "▁embeddingsx", "▁re-embed", "▁embed's"}
    assert not any(mark in piece for piece in pieces for mark in ("(", "/", ".", "d-"))
    assert all(len(ids(new, piece.removeprefix("▁"))) == 1 for piece in pieces)


def test_words_written_in_bytes_become_pieces() -> None:
    pieces = [(name, 0.0) for name in [*SPECIAL.values(), "[UNK]", *(f"<0x{byte:02X}>" for byte in range(256))]]
    pieces += [("▁", -2.0), *((letter, -3.0) for letter in "abc")]
    backend = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=4, byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    old = Tokenizer(backend, SPECIAL)
    extension = extend(old, ["ж"] * 20, 5)
    assert added(old, extension) == ["▁ж"]
    assert extension.pieces == [[261, 5 + 0xD0, 5 + 0xB6]] == [ids(old, "ж")]
    assert ids(extension.tokenizer, "ж жa") == [265, 265, 262]


@pytest.mark.parametrize(("kind", "token"), [("wordpiece", "<extra>"), ("bpe", "qextraq"), ("unigram", "qextraq")])
def test_added_tokens_after_the_vocabulary_keep_their_ids(kind: Kind, token: str) -> None:
    trained, _ = train(tiny_runs.abstracts(20), kind=kind, vocab_size=320)
    trained.backend.add_special_tokens([token])
    trained.backend.add_tokens(["zzzz"])
    old = Tokenizer(trained.backend, trained.config)
    assert old.definition["model"]["vocab"] == trained.definition["model"]["vocab"]
    extension = extend(old, [*DOMAIN[:20], f"{token} x{token}y " * 50], 10)
    new = extension.tokenizer
    assert [new.id(each) for each in (token, "zzzz", new.token(322))] == [320, 321, 322]
    assert new.vocab_size == 332
    text = f"a {token} b zzzz c"
    assert ids(old, text) == ids(new, text)
    assert {320, 321} < set(ids(new, text))
    plain = [BatchEncoder(each)([text, token, f"x{token}y"]).ids.tolist() for each in (old, new)]
    assert 320 not in plain[0] + plain[1]


def test_an_added_token_is_not_added_again_as_a_word() -> None:
    trained = wordpiece("abc")
    trained.backend.add_special_tokens(["abc"])
    old = Tokenizer(trained.backend, SPECIAL)
    extension = extend(old, ["abc abca"] * 20, 5)
    assert added(old, extension) == ["abca"]
    assert extension.tokenizer.id("abc") == old.vocab_size - 1


def test_special_tokens_in_the_texts_are_words_like_others() -> None:
    old, _ = train(tiny_runs.abstracts(20), kind="bpe", vocab_size=320)
    assert "mask" in added(old, extend(old, ["<mask>"] * 50, 10))


def test_spaces_that_byte_level_adds_are_not_counted() -> None:
    trained, _ = train(tiny_runs.abstracts(20), kind="bpe", vocab_size=320)
    definition = json.loads(trained.backend.to_str())
    definition["pre_tokenizer"]["add_prefix_space"] = True
    old = Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(definition)), trained.config)
    extension = extend(old, ["zzz\n\n\nzzz"] * 20, 20)
    assert added(old, extension) == ["zz", "zzz", "ĊĊ"]
    assert extension.tokenizer.definition["pre_tokenizer"]["add_prefix_space"]


def test_unigram_scores_survive_being_written(tmp_path: Path) -> None:
    """JSON reads -3.8403830528259277 back with another last digit."""
    pieces = [(name, 0.0) for name in [*SPECIAL.values(), "[UNK]"]]
    pieces += [("▁", -2.0), *((letter, -3.8403830528259277) for letter in "abc")]
    pieces += [("▁cc", -99.0)]  # there already, though never preferred to its pieces
    backend = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=4))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    extension = extend(Tokenizer(backend, SPECIAL), ["abc abcжж жж cc"] * 20, 5)
    new = extension.tokenizer
    assert added(Tokenizer(backend, SPECIAL), extension) == ["▁abcжж", "▁abc", "▁жж"]
    assert extension.pieces == [[5, 6, 7, 8, 4], [5, 6, 7, 8], [5, 4]]
    score = dict(new.definition["model"]["vocab"])["▁жж"]  # "▁" and two characters at 10 below the lowest
    assert score == pytest.approx(-2 - 2 * 109 + 0.001, abs=1e-6)
    assert ids(new, "abc жж abcжж abcж cжж") == [11, 12, 10, 11, 4, 5, 8, 4]
    new.save(tmp_path / "t")
    assert Tokenizer.load(tmp_path / "t").fingerprint == new.fingerprint


def test_what_cannot_be_extended_is_refused() -> None:
    word_level = tokenizers.Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    characters = tokenizers.Tokenizer(models.BPE({"a": 0}, []))
    characters.pre_tokenizer = pre_tokenizers.Metaspace()
    for backend, kind in ((word_level, "a WordLevel tokenizer"), (characters, "not byte-level")):
        backend.add_special_tokens(list(SPECIAL.values()))
        with pytest.raises(ModelError, match=kind):
            extend(Tokenizer(backend, SPECIAL), DOMAIN, 5)


@pytest.mark.parametrize(("count", "min_count"), [(0, 1), (-1, 1), (1, 0)])
def test_wrong_counts_are_refused(tiny_tokenizer: Tokenizer, count: int, min_count: int) -> None:
    with pytest.raises(SettingsError, match=r"count=-?\d must be 1 or more"):
        extend(tiny_tokenizer, DOMAIN, count, min_count=min_count)


def test_best_score_is_the_library_s() -> None:
    old, _ = train(tiny_runs.abstracts(20), kind="unigram", vocab_size=150)
    scores = dict(old.definition["model"]["vocab"])
    unknown = min(scores.values()) - 10
    for word in ("▁embeddings", "▁the", "▁q", "▁natural", "▁languages"):
        assert best_score(word, scores, unknown) == pytest.approx(
            sum(scores[old.token(i)] for i in pieces_of(old, word))
        )
    assert best_score("▁\u4f60a", scores, unknown) == pytest.approx(scores["▁"] + unknown + scores["a"])


def test_added_tokens_in_unusual_places(shared: Path) -> None:
    """The file's own brackets, quotes and dashes are no words, and stay what they are."""
    old = Tokenizer.load(shared / "checkpoints/tokenizers/albert-base-v2")
    text = 'transformerization-based (transformerization) "transformerization".'
    extension = extend(old, [text] * 10, 5)
    new = extension.tokenizer
    assert added(old, extension) == ["▁transformerization"]
    assert ids(new, text).count(30_000) == 3


def test_unknown_characters_become_pieces(shared: Path) -> None:
    bert = Tokenizer.load(shared / "checkpoints/tokenizers/bert-base-uncased")
    extension = extend(bert, ["🙂 机器 good 🙂!", "12345 ... 🙂"] * 5, 10, min_count=5)
    new = extension.tokenizer
    assert set(added(bert, extension)) == {"🙂", "机", "器"}
    assert extension.pieces == [[100]] * 3
    assert new.decode(new.encode("good 机 🙂").ids) == "good 机 🙂"


def test_dropout_is_kept_and_not_used() -> None:
    old, _ = train(DOMAIN[:20], kind="bpe", vocab_size=300)
    definition = json.loads(old.backend.to_str())
    definition["model"]["dropout"] = 0.5
    random_one = Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(definition)), old.config)
    extension = extend(random_one, DOMAIN, 20)
    assert extension.pieces == extend(old, DOMAIN, 20).pieces
    assert extension.tokenizer.definition["model"]["dropout"] == 0.5
