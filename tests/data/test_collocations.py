"""Collocations: counted as one would by hand, in bounded memory, kept beside the store."""

import json
import shutil
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest

from clozelm.data import collocations as module
from clozelm.data import counts
from clozelm.data.collocations import FILE, Collocations, Mining, best_collocations, collocations, mine
from clozelm.data.counts import CountTable, word_slices
from clozelm.data.store import TokenStore
from clozelm.errors import SettingsError
from clozelm.text.train_tokenizer import Kind
from tests import tiny_runs
from tests.memory_store import VOCABULARY, MemoryStore
from tests.strategies import run_hash

Run = tuple[tuple[int, ...], ...]
SPECIAL = VOCABULARY.is_special
FEW_IDS = np.array([8, 9, 10, 11, 12])
PHRASE = [30, 31, 32, 33]


def small_store(*, seed: int = 0) -> MemoryStore:
    """Words of one to a few pieces from few pieces, so that all runs repeat; unknown tokens among them."""
    rng = np.random.default_rng(seed)
    store = MemoryStore(rng.integers(0, 60, 80).tolist(), seed=seed)
    store.ids = rng.choice([*FEW_IDS, *FEW_IDS, VOCABULARY.unk_id], store.num_tokens).astype(np.uint16)
    return store


def planted_store(times: int = 40) -> MemoryStore:
    """Random words, and one phrase of four that occurs many times."""
    store = MemoryStore([120] * 100, word_share=1.0)
    rng = np.random.default_rng(5)
    for place in rng.choice(np.arange(0, store.num_tokens, 12), times, replace=False):
        store.ids[place : place + 4] = PHRASE
    return store


def documents(store: MemoryStore) -> list[list[tuple[int, ...]]]:
    """Every document as a list of words, the obvious way."""
    found = []
    for start, stop in zip(store.offsets, store.offsets[1:], strict=False):
        words: list[list[int]] = []
        for place in range(start, stop):
            if place == start or store.bits[place] & 1:
                words.append([])
            words[-1].append(int(store.ids[place]))
        found.append([tuple(word) for word in words])
    return found


def counted(store: MemoryStore, longest: int) -> list[Counter[Run]]:
    """All runs without special tokens, by number of words."""
    tables: list[Counter[Run]] = [Counter() for _ in range(longest)]
    for words in documents(store):
        for n in range(1, longest + 1):
            runs = (tuple(words[i : i + n]) for i in range(len(words) - n + 1))
            tables[n - 1].update(run for run in runs if not any(SPECIAL[i] for word in run for i in word))
    return tables


def pmi(run: Run, tables: list[Counter[Run]]) -> float:
    """The score, over every way to cut the run."""

    def log(part: Run) -> float:
        return float(np.log(tables[len(part) - 1][part] / tables[len(part) - 1].total()))

    cuts = [cut for size in range(1, len(run)) for cut in combinations(range(1, len(run)), size)]
    borders = [[0, *cut, len(run)] for cut in cuts]
    parts = [sum(log(run[a:b]) for a, b in pairwise(each)) for each in borders]
    return log(run) - max(parts)


def as_dict(found: Collocations) -> dict[int, tuple[int, float]]:
    return {
        int(key): (int(count), float(score))
        for each in found.ranked
        for key, count, score in zip(each.keys, each.counts, each.scores, strict=True)
    }


@pytest.mark.parametrize("slice_tokens", [50, 1 << 20])
@pytest.mark.parametrize("longest", [2, 3, 5])
def test_streaming_equals_counting_by_hand(
    longest: int, slice_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "SLICE_TOKENS", slice_tokens)
    store = small_store()
    tables = counted(store, longest)
    expected = {}
    for table in tables[1:]:
        for run, count in table.items():
            if count >= 3 and (score := pmi(run, tables)) > 0:
                expected[int(run_hash([list(word) for word in run])[0])] = (count, score)
    found = as_dict(mine(store, SPECIAL, Mining(size=10**6, min_count=3, longest=longest)))
    assert len(expected) > 20
    assert found.keys() == expected.keys()
    for key, (count, score) in expected.items():
        assert found[key][0] == count
        assert found[key][1] == pytest.approx(score, abs=1e-9)


def test_the_best_of_each_length_are_kept_in_shares() -> None:
    store = small_store()
    whole = mine(store, SPECIAL, Mining(size=10**6, min_count=2))
    some = mine(store, SPECIAL, Mining(size=40, min_count=2))
    assert [len(each.keys) for each in some.ranked] == [20, 10, 5, 5]
    for few, many in zip(some.ranked, whole.ranked, strict=True):
        assert (np.diff(few.keys.astype(object)) > 0).all()
        assert np.sort(few.scores) == pytest.approx(np.sort(many.scores)[-len(few.keys) :])


def test_a_planted_phrase_is_the_best_of_its_length() -> None:
    found = mine(planted_store(), SPECIAL, Mining(min_count=10))
    assert found.ranked[2].keys.tolist() == run_hash([[i] for i in PHRASE]).tolist()
    assert found.ranked[2].counts.tolist() == [40]
    assert found.ranked[3].keys.size == 0
    assert found.undercount == 0


def test_memory_is_bounded_and_says_by_how_much_counts_are_too_low(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "SLICE_TOKENS", 500)
    sizes = []
    keep = CountTable.keep

    def noted(table: CountTable, is_kept: np.ndarray) -> None:
        keep(table, is_kept)
        sizes.append(table.keys.size)

    monkeypatch.setattr(CountTable, "keep", noted)
    store = planted_store(200)
    exact = mine(store, SPECIAL, Mining(min_count=60))
    bounded = mine(store, SPECIAL, Mining(min_count=60, most_counted=120))
    assert exact.undercount == 0 < bounded.undercount
    assert max(sizes[len(sizes) // 2 :]) <= 200
    ours, theirs = as_dict(bounded), as_dict(exact)
    key = int(run_hash([[i] for i in PHRASE])[0])
    assert theirs[key][0] - bounded.undercount <= ours[key][0] <= theirs[key][0] == 200


def test_a_full_table_forgets_the_rare_ones_and_never_counts_too_many() -> None:
    rng = np.random.default_rng(0)
    table, true = CountTable(50), Counter[int]()
    for start in range(0, 4000, 100):
        keys = np.minimum(rng.geometric(0.05, 100), 200).astype(np.uint64) * np.uint64(7)
        true.update(keys.tolist())
        table.add(keys, np.arange(start, start + 100))
        assert table.keys.size <= 50
    assert (np.diff(table.keys) > 0).all()
    assert table.lost > 0
    for key in true:
        count = int(table.counts_of(np.array([key], np.uint64))[0])
        assert true[key] - table.lost <= count <= true[key]


def test_runs_do_not_cross_documents() -> None:
    store = MemoryStore([2] * 50, word_share=1.0)
    store.ids[:] = np.tile([20, 21], 50)
    found = mine(store, SPECIAL, Mining(min_count=5))
    assert [each.keys.tolist() for each in found.ranked][1:] == [[], [], []]
    (part,) = word_slices(store, SPECIAL)
    assert part.left.tolist() == [2, 1] * 50


@pytest.mark.parametrize("lengths", [[], [0], [1], [0, 1, 0, 2]])
def test_next_to_nothing_has_no_collocation(lengths: list[int]) -> None:
    found = mine(MemoryStore(lengths), SPECIAL, Mining(min_count=1))
    assert all(each.scores.size == 0 or each.scores.min() > 0 for each in found.ranked)


def test_what_was_mined_is_kept_beside_the_store_and_used_again(
    tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, mining = copied(tiny_store, tmp_path), Mining(min_count=2)
    first = collocations(store, SPECIAL_320, mining)
    assert (store.path / FILE).is_file()
    assert not list(store.path.glob("*.partial*")) + list(store.path.glob(".*"))
    calls = []
    monkeypatch.setattr(module, "mine", lambda *args, **rest: calls.append(1) or mine(*args, **rest))
    again = collocations(store, SPECIAL_320, mining)
    assert not calls
    assert as_dict(again) == as_dict(first)
    assert again.version == first.version
    assert as_dict(collocations(store, SPECIAL_320, Mining(min_count=3))) != as_dict(first)
    assert len(calls) == 1, "other settings are mined anew"
    (store.path / FILE).write_bytes((store.path / FILE).read_bytes()[:-100])
    assert as_dict(collocations(store, SPECIAL_320, mining)) == as_dict(first)
    assert len(calls) == 2, "a damaged table is mined anew"
    assert TokenStore.open(store.path).fingerprint == store.fingerprint


def test_why_a_table_was_not_used_is_said(tiny_store: Path, tmp_path: Path) -> None:
    store, mining = copied(tiny_store, tmp_path), Mining(min_count=2)
    first = collocations(store, SPECIAL_320, mining)
    path = store.path / FILE
    assert first.notice is None
    assert collocations(store, SPECIAL_320, mining).notice is None
    other = collocations(store, SPECIAL_320, Mining(min_count=3))
    assert other.notice == f"{path} was mined from other tokens or with other settings: mined anew."
    assert other.fingerprint != first.fingerprint
    again = collocations(store, SPECIAL_320, mining)
    assert again.fingerprint == first.fingerprint
    with np.load(path) as arrays:
        changed = dict(arrays)
    changed["keys_2"] = changed["keys_2"] ^ np.uint64(1)
    np.savez(path, **changed)  # whole, and of the same version
    found = collocations(store, SPECIAL_320, mining)
    assert found.notice == f"{path} is damaged, or of an older version: mined anew."
    assert as_dict(found) == as_dict(first)
    assert collocations(store, SPECIAL_320, mining).notice is None


@pytest.mark.parametrize("meta", [None, "[1]", '{"version": 1}', "no JSON", "words"])
def test_a_file_of_another_kind_is_mined_anew(meta: str | None, tiny_store: Path, tmp_path: Path) -> None:
    store, mining = copied(tiny_store, tmp_path), Mining(min_count=2)
    expected = collocations(store, SPECIAL_320, mining)
    if meta == "words":
        meta = json.dumps({"version": expected.version, "words": 5, "undercount": 0})
    with (store.path / FILE).open("wb") as file:
        if meta is None:
            np.save(file, np.arange(3))
        else:
            np.savez(file, meta=np.array(meta))
    assert as_dict(collocations(store, SPECIAL_320, mining)) == as_dict(expected)


def test_a_flipped_byte_is_noticed_or_changes_nothing(tiny_store: Path, tmp_path: Path) -> None:
    store, mining = copied(tiny_store, tmp_path), Mining(min_count=40)
    expected = as_dict(collocations(store, SPECIAL_320, mining))
    path = store.path / FILE
    good, version = path.read_bytes(), collocations(store, SPECIAL_320, mining).version
    for index in [*range(0, len(good), 97), *range(len(good) - 600, len(good), 2)]:
        path.write_bytes(good[:index] + bytes([good[index] ^ 0xFF]) + good[index + 1 :])
        found = module._read(path, version)
        assert isinstance(found, str) or as_dict(found) == expected


def test_where_nothing_can_be_written_the_table_stays_in_memory(tiny_store: Path, tmp_path: Path) -> None:
    store, mining = copied(tiny_store, tmp_path), Mining(min_count=2)
    expected = collocations(store, SPECIAL_320, mining, keep=False)
    assert not (store.path / FILE).exists()
    (store.path / FILE).mkdir()  # stands for a directory that may not be written to
    assert as_dict(collocations(store, SPECIAL_320, mining)) == as_dict(expected)
    assert not list(store.path.glob(".*"))


SPECIAL_320 = np.zeros(320, np.bool_)


def copied(store: Path, folder: Path) -> TokenStore:
    shutil.copytree(store, folder / "tokens")
    return TokenStore.open(folder / "tokens")


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_collocations_are_shown_as_text(kind: Kind, texts: list[str], tmp_path: Path) -> None:
    planted = [text.replace(" the ", " the very big apple ", 3) for text in texts]
    tokenizer = tiny_runs.tokenizer(planted, kind)
    store = TokenStore.open(tiny_runs.make_store(tmp_path, planted, tokenizer))
    table = collocations(store, tokenizer.vocabulary.is_special)
    best = best_collocations(table, store, tokenizer, 12)
    assert any("very big apple" in text for text in best)
    assert len(best) == len(set(best)) == 12
    assert best_collocations(table, store, tokenizer, 0) == []


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"longest": 6}, r"^masking.pmi.longest=6 must be 2, 3, 4 or 5 words\.$"),
        ({"size": 0}, r"^masking.pmi.size=0 must be at least 1\.$"),
        ({"min_count": 0}, r"^masking.pmi.min_count=0 must be at least 1\.$"),
    ],
)
def test_impossible_minings_are_refused(arguments: dict, line: str) -> None:
    with pytest.raises(SettingsError, match=line):
        Mining(**arguments)
