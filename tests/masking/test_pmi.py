import numpy as np

from clozelm.data.collocations import Mining, mine
from clozelm.masking import Candidates, Pmi
from tests.data.test_collocations import PHRASE, planted_store
from tests.memory_store import VOCABULARY
from tests.strategies import run_hash


def piece(
    words: list[list[int]], rate: float = 0.5, special: frozenset[int] = VOCABULARY.special_ids
) -> Candidates:
    ids = np.array([i for word in words for i in word], np.int64)
    starts = np.zeros(ids.size, np.bool_)
    starts[np.cumsum([0, *map(len, words[:-1])])] = True
    may_mask = np.array([i not in special for i in ids])
    return Candidates(ids, may_mask, starts & may_mask, np.zeros(ids.size, np.uint8), rate)


def table(*runs: list[list[int]]) -> list[np.ndarray]:
    longest = max(map(len, runs))
    by_words = [[run_hash(run) for run in runs if len(run) == n] for n in range(2, longest + 1)]
    return [np.sort(np.concatenate(each)) if each else np.empty(0, np.uint64) for each in by_words]


def units(pmi: Pmi, candidates: Candidates) -> list[list[int]]:
    group = pmi.select(candidates, np.random.default_rng(0)).group
    return [
        candidates.input_ids[candidates.may_mask & (group == number)].tolist()
        for number in np.unique(group[candidates.may_mask])
    ]


A, B, C, D = [20], [21, 22], [23], [24]


def test_the_longest_collocation_is_taken_from_left_to_right() -> None:
    pmi = Pmi(table([A, B], [B, C], [A, B, C]))
    assert units(pmi, piece([[2], A, B, C, D, [3]])) == [[20, 21, 22, 23], [24]]
    assert units(pmi, piece([[2], A, B, D, B, C, [3]])) == [[20, 21, 22], [24], [21, 22, 23]]
    assert units(Pmi(table([A, B], [B, C])), piece([[2], A, B, C, [3]])) == [[20, 21, 22], [23]]
    assert units(pmi, piece([[2], B, A, C, B, [3]])) == [[21, 22], [20], [23], [21, 22]]


def test_order_and_word_borders_matter() -> None:
    pmi = Pmi(table([A, B]))
    assert units(pmi, piece([[2], B, A, [3]])) == [[21, 22], [20]]
    assert units(pmi, piece([[2], [20, 21], [22], [3]])) == [[20, 21], [22]]
    assert units(pmi, piece([[2], A, [22, 21], [3]])) == [[20], [22, 21]]


def test_no_collocation_crosses_a_special_token() -> None:
    pmi = Pmi(table([A, B], [C, D]))
    assert units(pmi, piece([[2], A, [3], B, [3]])) == [[20], [21, 22]]
    assert units(pmi, piece([[2], C, [1], D, [3]])) == [[23], [24]]
    assert units(pmi, piece([[2], C, D, [3]])) == [[23, 24]], "and the one before [SEP] is found"


def test_mined_phrases_are_hidden_whole_and_as_often_as_the_rate() -> None:
    store = planted_store()
    pmi = Pmi(mine(store, VOCABULARY.is_special, Mining(min_count=10)).tables)
    rng = np.random.default_rng(0)
    hidden, whole = [], 0
    for document in range(store.num_documents):
        ids = store.ids[store.offsets[document] : store.offsets[document + 1]].tolist()
        candidates = piece([[2], *[[i] for i in ids], [3]], rate=0.3)
        chosen = pmi.select(candidates, rng).chosen
        hidden.append(chosen[1:-1].mean())
        for place in range(1, 1 + len(ids)):
            if candidates.input_ids[place : place + 4].tolist() == PHRASE:
                assert chosen[place : place + 4].all() or not chosen[place : place + 4].any()
                whole += int(chosen[place])
    assert 0 < whole < 40
    assert abs(np.mean(hidden) - 0.3) < 4 * np.std(hidden) / np.sqrt(len(hidden))


def test_without_tables_it_is_whole_word() -> None:
    from clozelm.masking import WholeWord

    candidates = piece([[2], A, B, C, D, A, B, [3]])
    for seed in range(20):
        ours = Pmi().select(candidates, np.random.default_rng(seed))
        theirs = WholeWord().select(candidates, np.random.default_rng(seed))
        assert (ours.chosen == theirs.chosen).all()
