import numpy as np
import pytest

from clozelm.errors import SettingsError
from clozelm.masking import Candidates, Chosen, WholeWord
from clozelm.masking.chosen import Matcher, compiled, form_of
from clozelm.masking.pmi import piece_words
from clozelm.text.train_tokenizer import Kind
from clozelm.train.masking_settings import ChosenSettings
from clozelm.train.masks import build_matcher
from clozelm.vocab import ANNOTATED, WORD_START
from tests import tiny_runs
from tests.memory_store import VOCABULARY
from tests.strategies import decode

TEXT = "We trained New York models, (New York) models and 2020 more in York, New-York or New Haven in 2020."
KINDS = pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])


def candidates_of(text: str, kind: Kind, texts: list[str], rate: float = 0.95) -> tuple[Candidates, list[str]]:
    """A text as a document piece, and for each token the word of the text it belongs to."""
    tokenizer = tiny_runs.tokenizer([*texts, TEXT], kind)
    encoded = tokenizer.encode(text)
    vocabulary = tokenizer.vocabulary
    ids = np.array([vocabulary.cls_id, *encoded.ids, vocabulary.sep_id])
    may_mask = ~vocabulary.is_special[ids]
    starts = np.array([False, *encoded.word_starts, False])
    flags = np.where(starts, WORD_START, 0).astype(np.uint8)
    pieces = ["", *[text[a:b] for a, b in encoded.offsets], ""]
    return Candidates(ids, may_mask, starts, flags, rate), pieces


def hidden(chosen: ChosenSettings, text: str, kind: Kind, texts: list[str]) -> list[str]:
    """The units that are hidden when only the chosen ones are, as text, in order; none is left out by the rate."""
    tokenizer = tiny_runs.tokenizer([*texts, TEXT], kind)
    candidates, pieces = candidates_of(text, kind, texts)
    select = Chosen(build_matcher(chosen, tokenizer), chosen.annotated, fill=False).select
    is_chosen, group = select(candidates, np.random.default_rng(0))
    numbers = np.unique(group[is_chosen])
    return ["".join(np.array(pieces)[is_chosen & (group == number)].tolist()) for number in numbers]


@KINDS
def test_listed_words_are_hidden(kind: Kind, texts: list[str]) -> None:
    found = hidden(ChosenSettings(words=("models", "York")), TEXT, kind, texts)
    assert [form_of(word) for word in found if "ork" in word or "odel" in word] == [form_of(word) for word in found]
    assert sum("odel" in word for word in found) == 2
    assert sum(form_of(word).lower() == "york" for word in found) >= 3


@KINDS
def test_a_phrase_is_one_unit_and_beats_its_parts(kind: Kind, texts: list[str]) -> None:
    found = [
        form_of(word).lower() for word in hidden(ChosenSettings(words=("New York", "York")), TEXT, kind, texts)
    ]
    assert found.count("newyork") == 2
    assert "york" in found
    assert not any("haven" in word for word in found)


@KINDS
def test_patterns_match_whole_words(kind: Kind, texts: list[str]) -> None:
    found = hidden(ChosenSettings(patterns=(r"\d{4}",)), TEXT, kind, texts)
    assert [form_of(word) for word in found] == ["2020", "2020"]
    assert hidden(ChosenSettings(patterns=(r"\d{3}",)), TEXT, kind, texts) == []


@KINDS
def test_a_word_split_into_pieces_is_hidden_whole(kind: Kind, texts: list[str]) -> None:
    text = "an unbelievably long word , unbelievably so"
    assert hidden(ChosenSettings(words=("unbelievably",)), text, kind, texts) == ["unbelievably"] * 2
    assert hidden(ChosenSettings(words=("believ", "ably")), text, kind, texts) == []


def piece(num_words: int, rate: float, annotated: list[int] = ()) -> Candidates:
    ids = np.array([2, *range(8, 8 + num_words), 3])
    may_mask = ~VOCABULARY.is_special[ids]
    flags = np.where(may_mask, WORD_START, 0).astype(np.uint8)
    flags[annotated] |= ANNOTATED
    return Candidates(ids, may_mask, may_mask, flags, rate)


def test_annotated_runs_are_units_that_come_first() -> None:
    candidates = piece(40, 0.1, [3, 4, 20, 21])
    for seed in range(50):
        chosen, group = Chosen(annotated=True).select(candidates, np.random.default_rng(seed))
        assert chosen[[3, 4, 20, 21]].all()
        assert chosen.sum() == 4
        assert group[3] == group[4] != group[20] == group[21]
    nothing, _ = Chosen(annotated=True, fill=False).select(piece(40, 0.1), np.random.default_rng(0))
    assert not nothing.any()


def test_a_rate_smaller_than_what_is_chosen_is_shared_out_evenly() -> None:
    candidates = piece(40, 0.1, [1, 3, 5, 7, 9, 11, 13, 15])
    chosen = np.mean(
        [Chosen(annotated=True).select(candidates, np.random.default_rng(seed)).chosen for seed in range(4000)],
        axis=0,
    )
    assert (abs(chosen[[1, 3, 5, 7, 9, 11, 13, 15]] - 0.5) < 4 * np.sqrt(0.25 / 4000)).all()
    assert chosen.sum() == pytest.approx(4.0)


def test_what_is_left_is_filled_with_other_words_or_not() -> None:
    candidates = piece(40, 0.2, [3])
    filled = np.array(
        [Chosen(annotated=True).select(candidates, np.random.default_rng(s)).chosen for s in range(200)]
    )
    assert (filled.sum(1) == 8).all()
    assert filled[:, 3].all()
    assert filled[:, 1:-1].any(0).all()
    alone = Chosen(annotated=True, fill=False).select(candidates, np.random.default_rng(0)).chosen
    assert alone.nonzero()[0].tolist() == [3]


def test_without_anything_chosen_it_is_whole_word() -> None:
    for seed in range(20):
        ours = Chosen().select(piece(40, 0.3), np.random.default_rng(seed))
        theirs = WholeWord().select(piece(40, 0.3), np.random.default_rng(seed))
        assert (ours.chosen == theirs.chosen).all()


def test_what_is_remembered_changes_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clozelm.masking.chosen._MOST_KNOWN", 5)
    rng = np.random.default_rng(0)
    one = Matcher([["<9>"], ["<12>", "<13>"]], compiled(["<1.>"]), decode)
    for _ in range(20):
        ids = np.array([2, *rng.integers(8, 20, 30), 3])
        candidates = piece(30, 0.3)._replace(input_ids=ids)
        fresh = Matcher([["<9>"], ["<12>", "<13>"]], compiled(["<1.>"]), decode)
        starts = piece_words(candidates)
        assert one.find(candidates, starts) == fresh.find(candidates, starts)


@pytest.mark.parametrize(
    ("word", "form"),
    [(" (cat), ", "cat"), ("'tis", "tis"), ("...", "..."), ("U.S.", "U.S"), ("", ""), ("“é”", "é")],
)
def test_forms_have_no_punctuation_around_them(word: str, form: str) -> None:
    assert form_of(word) == form


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(", r"'\(' is not a regular expression \(missing"),
        ("a{99999999999}", "is not a regular expression .the repetition number is too large"),
        ("(" * 5000 + ")" * 5000, "is not a regular expression .maximum recursion depth"),
        ("", "'' matches no word: leave it out"),
    ],
)
def test_a_pattern_that_is_none_is_refused(pattern: str, said: str) -> None:
    with pytest.raises(SettingsError, match=f"^masking.chosen.patterns: .*{said}"):
        compiled(["a+", pattern])


def test_a_pattern_that_a_later_python_may_read_otherwise_is_silent() -> None:
    assert compiled(["[[a-z]]+"])  # a FutureWarning, and warnings are errors in tests
