"""Looking at masks: the figures are those of the masks themselves, whatever the strategy and the tokenizer."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pytest

from clozelm.data.loader import Cursor, RowLoader
from clozelm.data.prepare import PrepareSettings, prepare
from clozelm.data.rows import Rows
from clozelm.data.store import TokenStore
from clozelm.errors import DataError, SettingsError
from clozelm.flows.mask_figures import Share, interval, mean_of, quantile_of
from clozelm.flows.masks import MaskReport, draw, look
from clozelm.masking import IGNORED, Corruption, Masked, mask
from clozelm.masking.rates import random_rates
from clozelm.settings import load
from clozelm.text.readable import Readable
from clozelm.text.tokenizer import Tokenizer
from clozelm.text.train_tokenizer import Kind
from clozelm.train.masking_settings import MaskingSettings
from clozelm.train.masks import build_select
from clozelm.train.settings import PretrainSettings
from clozelm.vocab import ANNOTATED, WORD_START
from tests import tiny_runs

KINDS: list[Kind] = ["wordpiece", "bpe", "unigram"]
LENGTH = 48
STRATEGIES: dict[str, dict[str, Any]] = {
    "uniform": {"schedule": "random"},
    "whole_word": {"rate": 0.25},
    "ngram": {"schedule": "linear", "rate": 0.3, "rate_end": 0.1},
    "span": {"span": {"p": 0.4}},
    "pmi": {"pmi": {"min_count": 2}},
    "chosen": {"chosen": {"annotated": True}},
    "adaptive": {"adaptive": {"mode": "balanced"}},
}


@pytest.fixture(scope="module", params=KINDS)
def store(request: pytest.FixtureRequest, texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Abstracts in which the first word of each is annotated, and an unknown character."""
    tokenizer = tiny_runs.tokenizer(texts, request.param)
    folder = tmp_path_factory.mktemp(request.param)
    records = [{"text": f"{text} ☃ the end", "spans": [[0, text.index(" ")]]} for text in texts]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, records)) + "\n", encoding="utf-8")
    prepare([folder / "corpus.jsonl"], tokenizer, folder / "tokens", PrepareSettings(), workers=1)
    return folder / "tokens"


def settings(strategy: str, **more: Any) -> MaskingSettings:
    return load(MaskingSettings, {"strategy": strategy, **more})


def masked(
    store: Path, chosen: MaskingSettings, report: MaskReport, pairs: Literal["next", "order"] | None = None
) -> tuple[Rows, Masked, Tokenizer]:
    """The same rows, masked again by hand."""
    tokenizer = Tokenizer.load(store / "tokenizer")
    loader = RowLoader(
        TokenStore.open(store), tokenizer.vocabulary, row_length=report.row_length, seed=report.seed, pairs=pairs
    )
    rows, _ = loader.batch(Cursor(report.epoch), report.rows)
    corruption = Corruption(chosen.corruption.mask, chosen.corruption.random)
    whole = load(PretrainSettings, {"masking": chosen.model_dump()})
    select = build_select(whole, TokenStore.open(store), tokenizer, keep=False).select
    rate = chosen.rate if chosen.schedule != "random" else random_rates(rows.row_ids, rows.epoch, seed=report.seed)
    answer = mask(rows, tokenizer.vocabulary, select, rate=rate, corruption=corruption, seed=report.seed)
    return rows, answer, tokenizer


def test_every_strategy_is_looked_at() -> None:
    assert set(STRATEGIES) == set(get_args(MaskingSettings.model_fields["strategy"].annotation))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_figures_are_those_of_the_masks(store: Path, strategy: str) -> None:
    chosen = settings(strategy, **STRATEGIES[strategy])
    files = sorted(store.rglob("*"))
    report = look(store, chosen, tokens=3000, seed=3, epoch=2, row_length=LENGTH)
    assert sorted(store.rglob("*")) == files, "looking leaves nothing behind"
    assert report.rate == (0.5 if chosen.schedule == "random" else chosen.rate)
    rows, answer, tokenizer = masked(store, chosen, report)
    may_mask = (rows.doc_ids > 0) & ~tokenizer.vocabulary.is_special[rows.input_ids]
    is_hidden = answer.labels != IGNORED
    assert (report.tokens, report.measured.tokens) == (may_mask.sum(), may_mask.sum())
    assert report.measured.hidden == is_hidden.sum()
    assert report.rows == -(-3000 // LENGTH)
    is_first = (rows.flags & WORD_START) != 0
    is_first[:, 1:] |= rows.positions[:, 1:] == 1
    is_annotated = (rows.flags & ANNOTATED) != 0
    third = np.arange(LENGTH) * 3 // LENGTH
    expected = {
        ("piece", "first piece of a word"): is_first,
        ("piece", "later piece"): ~is_first,
        ("annotation", "annotated"): is_annotated,
        ("place", "middle third"): np.broadcast_to(third == 1, may_mask.shape),
    }
    for (group, name), which in expected.items():
        (share,) = [each for each in report.kinds[group] if each.name == name]
        assert (share.tokens, share.hidden) == ((which & may_mask).sum(), (which & is_hidden).sum())
    assert report.fates["mask"] == np.mean(answer.input_ids[is_hidden] == tokenizer.vocabulary.mask_id)
    assert report.fates["keep"] == np.mean(answer.input_ids[is_hidden] == rows.input_ids[is_hidden])


@pytest.mark.parametrize(("objective", "pairs"), [("nsp", "next"), ("sop", "order")])
def test_pairs_are_looked_at_as_pairs(store: Path, objective: str, pairs: Literal["next", "order"]) -> None:
    chosen = settings("uniform")
    report = look(store, chosen, tokens=2000, seed=1, row_length=LENGTH, objective=objective)
    rows, answer, tokenizer = masked(store, chosen, report, pairs)
    may_mask = (rows.doc_ids > 0) & ~tokenizer.vocabulary.is_special[rows.input_ids]
    assert (report.tokens, report.measured.hidden) == (may_mask.sum(), (answer.labels != IGNORED).sum())
    assert report.tokens != look(store, chosen, tokens=2000, seed=1, row_length=LENGTH).tokens


@pytest.mark.parametrize(("objective", "said"), [("clm", "from those before it"), ("span_corruption", "cuts out")])
def test_objectives_without_masks_have_none_to_look_at(store: Path, objective: str, said: str) -> None:
    with pytest.raises(SettingsError, match=f"objective.name={objective} .*{said}.*no masks to look at"):
        look(store, settings("uniform"), objective=objective)


@pytest.mark.parametrize("strategy", ["uniform", "whole_word", "ngram"])
def test_the_parts_are_together_the_whole(store: Path, strategy: str) -> None:
    report = look(store, settings(strategy), tokens=2000, row_length=LENGTH)
    for shares in [*report.kinds.values(), report.places]:
        assert sum(share.tokens for share in shares) == report.tokens
        assert sum(share.hidden for share in shares) == report.measured.hidden
        assert all(0 <= share.interval[0] <= share.rate <= share.interval[1] <= 1 for share in shares)
    assert sum(report.fates.values()) == pytest.approx(1.0)
    assert sum(report.corruption.values()) == pytest.approx(1.0)
    assert sum(report.per_piece.values()) == report.pieces
    assert total(report.per_piece) == report.measured.hidden
    assert total(report.lengths["run tokens"]) == total(report.lengths["group tokens"]) == report.measured.hidden
    runs = report.lengths["run tokens"], report.lengths["run words"]
    assert sum(runs[0].values()) == sum(runs[1].values())
    assert total(runs[1]) <= total(runs[0])


def total(histogram: dict[int, int]) -> int:
    return sum(value * count for value, count in histogram.items())


def test_runs_and_frequencies_by_hand(store: Path) -> None:
    chosen = settings("ngram", rate=0.4)
    report = look(store, chosen, tokens=1500, row_length=LENGTH)
    rows, answer, tokenizer = masked(store, chosen, report)
    runs: Counter[int] = Counter()
    for labels, documents in zip(answer.labels, rows.doc_ids, strict=True):
        length, before = 0, -1
        for label, document in [*zip(labels.tolist(), documents.tolist(), strict=True), (IGNORED, -1)]:
            if length and (label == IGNORED or document != before):
                runs[length] += 1
                length = 0
            length += label != IGNORED
            before = document
    assert report.lengths["run tokens"] == dict(runs)
    counts = TokenStore.open(store).unigram_counts()
    counts[sorted(tokenizer.vocabulary.special_ids)] = 0
    seen, thirds = 0, {}
    for token_id in sorted(range(len(counts)), key=lambda each: -counts[each]):
        thirds[token_id] = min(2, 3 * seen // int(counts.sum()))
        seen += int(counts[token_id])
    found = Counter(thirds[label] for label in answer.labels.ravel().tolist() if label != IGNORED)
    assert [share.hidden for share in report.kinds["frequency"]] == [found[third] for third in range(3)]


def test_what_one_draw_decides(store: Path) -> None:
    """A word of several pieces with whole words, a piece with uniform masks."""
    report = look(store, settings("whole_word"), tokens=2000, row_length=LENGTH)
    assert max(report.lengths["group tokens"]) > 1
    assert max(look(store, settings("uniform"), tokens=2000).lengths["group tokens"]) == 1


def test_what_was_chosen_is_told_from_the_rest(store: Path) -> None:
    """Every 'the' is hidden, and one word of pieces without; other strategies have no such row."""
    chosen = settings("chosen", rate=0.9, chosen={"words": ["the"], "fill": False})
    report = look(store, chosen, tokens=3000, row_length=LENGTH)
    kept = {share.name: share for share in report.kinds["chosen"]}
    assert kept["chosen"].tokens + kept["not chosen"].tokens == report.tokens
    tokenizer, rows = Tokenizer.load(store / "tokenizer"), masked(store, chosen, report)[0]
    texts = [tokenizer.decode(ids[docs > 0]) for ids, docs in zip(rows.input_ids, rows.doc_ids, strict=True)]
    the = sum(text.lower().split().count("the") for text in texts)
    assert kept["chosen"].tokens == pytest.approx(the, rel=0.1)
    assert kept["chosen"].rate == 1.0
    assert 0.0 < kept["not chosen"].rate < 0.1
    assert "chosen" not in look(store, settings("uniform"), tokens=500).kinds


def test_examples_read_as_the_text_they_hide(store: Path) -> None:
    chosen = settings("whole_word", rate=0.4, corruption={"mask": 0.4, "random": 0.3})
    report = look(store, chosen, tokens=10**6, show=4, row_length=LENGTH)  # all documents begin somewhere
    tokens, tokenizer = TokenStore.open(store), Tokenizer.load(store / "tokenizer")
    assert len(report.examples) == 4
    for example in report.examples:
        text = "".join(stretch.text for stretch in example.stretches)
        ids, _ = tokens.document(example.document)
        size = sum(stretch.tokens for stretch in example.stretches)
        assert text.rstrip() == Readable(tokenizer).text(ids[:size].tolist())
        assert sum(stretch.tokens for stretch in example.stretches if stretch.fate != "seen") == example.hidden
        for stretch in example.stretches:
            assert (stretch.replacement is not None) == (stretch.fate == "random")
    fates = {stretch.fate for example in report.examples for stretch in example.stretches}
    assert fates == {"seen", "mask", "random", "keep"}


def test_a_long_example_is_cut(store: Path) -> None:
    (example,) = look(store, settings("uniform"), tokens=600, show=1, row_length=300).examples
    assert example.is_cut
    assert 100 < sum(stretch.tokens for stretch in example.stretches) <= 120 < example.tokens


def test_deterministic_and_a_function_of_seed_and_epoch(store: Path) -> None:
    one = look(store, settings("ngram"), tokens=800)
    assert one == look(store, settings("ngram"), tokens=800)
    others = [
        look(store, settings("ngram"), tokens=800, seed=1),
        look(store, settings("ngram"), tokens=800, epoch=1),
    ]
    assert all(other.examples != one.examples for other in others)


def test_an_epoch_is_the_most(store: Path) -> None:
    report = look(store, settings("uniform"), tokens=10**9, row_length=LENGTH)
    tokens = TokenStore.open(store)
    unknown = int(tokens.unigram_counts()[sorted(Tokenizer.load(store / "tokenizer").vocabulary.special_ids)].sum())
    assert report.tokens == tokens.num_tokens - unknown


def test_static_masks_are_those_of_the_first_epoch(store: Path) -> None:
    one = look(store, settings("uniform", dynamic=False), tokens=800)
    later = look(store, settings("uniform", dynamic=False), tokens=800, epoch=3)
    assert later.examples == one.examples == look(store, settings("uniform"), tokens=800).examples


def test_what_changes_over_a_run_is_said(store: Path) -> None:
    assert look(store, MaskingSettings(), tokens=500).notice is None
    learned = look(store, MaskingSettings(strategy="adaptive"), tokens=500).notice
    assert learned is not None
    assert "masking.adaptive.every=200" in learned
    falling = look(store, MaskingSettings(rate=0.3, rate_end=0.15, schedule="linear"), tokens=500).notice
    assert falling == "The rate is that of the first step; at the last it is 15.00%."


def test_nothing_but_masks(store: Path) -> None:
    chosen = settings("uniform", corruption={"mask": 1.0, "random": 0.0})
    report = look(store, chosen, tokens=500)
    assert report.fates == {"mask": 1.0, "random": 0.0, "keep": 0.0}


def test_a_store_smaller_than_a_row(store: Path) -> None:
    with pytest.raises(DataError, match="too few to fill one row"):
        look(store, settings("uniform"), row_length=10**6)


@pytest.mark.parametrize("show", [0, 2])
def test_a_picture_comes_of_it(store: Path, tmp_path: Path, show: int) -> None:
    report = look(store, settings("ngram"), tokens=1000, show=show)
    draw(report, tmp_path / "masks.picture")
    assert (tmp_path / "masks.picture").read_bytes().startswith(b"\x89PNG")


def test_what_the_font_lacks_is_no_error(tmp_path: Path, store: Path) -> None:
    plain = look(store, settings("uniform"), tokens=500).plain()
    from clozelm.report.masks import mask_picture

    plain["examples"][0]["stretches"][0]["text"] = "提出 $x_1 ☃"
    mask_picture(plain, tmp_path / "masks.png")
    assert (tmp_path / "masks.png").read_bytes().startswith(b"\x89PNG")


def test_intervals_cover() -> None:
    """Of 400 samples of 60 pieces, masked by budget or by coins in clusters, about 95% cover the truth."""
    rng = np.random.default_rng(0)
    for cluster in (1, 4):
        covered = 0
        for _ in range(400):
            tokens = rng.integers(5, 60, 60)
            found = cluster * rng.binomial(tokens // cluster, 0.2)
            low, high = interval(found, cluster * (tokens // cluster))
            covered += low <= 0.2 <= high
        assert abs(covered / 400 - 0.95) < 4 * (0.95 * 0.05 / 400) ** 0.5


def test_intervals_at_the_edges() -> None:
    def of(hidden: list[int], tokens: list[int]) -> tuple[float, float]:
        return interval(np.array(hidden), np.array(tokens))

    assert of([0, 0], [10, 10])[0] == 0.0
    assert 0.1 < of([0, 0], [10, 10])[1] < 0.2
    assert of([10, 10], [10, 10])[1] == 1.0
    assert of([2, 2], [10, 10]) == pytest.approx((0.2, 0.2)), "an exact budget leaves no doubt"
    assert of([1], [4])[0] < 0.25 < of([1], [4])[1]
    assert Share("a", 10, 4, (0.1, 0.7)).plain()["rate"] == 0.4


def test_means_and_quantiles() -> None:
    histogram = {1: 3, 2: 1, 10: 1}
    values = np.repeat([1, 2, 10], [3, 1, 1])
    assert mean_of(histogram) == values.mean()
    assert [quantile_of(histogram, share) for share in (0.5, 0.6, 0.7, 0.9, 1.0)] == [1, 1, 2, 10, 10]
