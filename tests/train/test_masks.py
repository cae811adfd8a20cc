"""From settings to a strategy with its tables; what adaptive masking learns is exactly resumable."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from clozelm.data.collocations import FILE
from clozelm.data.prepare import PrepareSettings, prepare
from clozelm.data.store import TokenStore
from clozelm.errors import DataError, SettingsError
from clozelm.objectives import Scores
from clozelm.text.tokenizer import Tokenizer
from clozelm.train.adaptive import AdaptiveTable
from clozelm.train.masks import build_select
from clozelm.train.pretrain import rehearse, train
from clozelm.train.run import Run
from clozelm.train.summary import summarise
from tests.tiny_runs import assert_equal_runs, settings, trained

pytestmark = pytest.mark.usefixtures("known_machine")

ADAPTIVE = ("masking.strategy=adaptive", "masking.adaptive.every=2")
STRATEGIES = {
    "span": (),
    "pmi": ("masking.pmi.min_count=3",),
    "chosen": ('masking.chosen.words=["the", "language model"]',),
    "adaptive": ("masking.adaptive.every=2",),
}


def opened(tiny_store: Path, out: Path, *overrides: str) -> Run:
    return Run.open(settings(*overrides), data=tiny_store, out=out)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_a_resumed_run_equals_the_uninterrupted_one(name: str, tiny_store: Path, tmp_path: Path) -> None:
    """For adaptive masking after 1 and 3 of 6 steps, that is across updates and between them."""
    chosen = settings(f"masking.strategy={name}", *STRATEGIES[name])
    trained(chosen, tiny_store, tmp_path / "straight")
    for stop_after in (1, 2):
        trained(chosen, tiny_store, tmp_path / "cut", stop_after)
    trained(chosen, tiny_store, tmp_path / "cut")
    assert_equal_runs(tmp_path / "straight", tmp_path / "cut")
    (tiny_store / FILE).unlink(missing_ok=True)


def test_the_random_schedule_draws_a_rate_for_every_row(tiny_store: Path, tmp_path: Path) -> None:
    overrides = ("masking.schedule=random", "masking.rate=0.15", "masking.rate_end=none")
    run = opened(tiny_store, tmp_path / "a", *overrides)
    assert run.mask_rate() == run.mean_mask_rate() == 0.5
    data = run.batches.step(run.cursor, 0.5)
    shares = torch.cat([(e.labels != -100).sum(1) / e.batch.is_token.sum(1) for e in data.micro_batches])
    assert shares.std() > 0.2
    run.close()
    reports = trained(settings(*overrides), tiny_store, tmp_path / "b")
    assert {report.mask_rate for report in reports} == {0.5}


def state(run: Run) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in run.masks.state()["masking"].items()}


def test_counts_and_weights_do_not_depend_on_the_split(tiny_store: Path, tmp_path: Path) -> None:
    states = []
    for micro in (32, 96, 256):
        run = opened(tiny_store, tmp_path / str(micro), *ADAPTIVE, f"data.micro_batch_tokens={micro}")
        list(train(run, stop_after=3))
        states.append(state(run))
    for other in states[1:]:
        assert states[0].keys() == other.keys()
        assert torch.equal(states[0]["seen"], other["seen"])
        assert torch.equal(states[0]["new_seen"], other["new_seen"])
        assert (states[0]["weights"] - other["weights"]).abs().max() < 0.02, "a last bit may change a best piece"
    assert states[0]["version"].item() == 1
    assert states[0]["new_seen"].sum() > 0


def test_what_is_learned_is_what_was_predicted(tiny_store: Path, tmp_path: Path) -> None:
    run = opened(tiny_store, tmp_path / "a", *ADAPTIVE, "masking.adaptive.decay=0.5")
    first = list(train(run, stop_after=2))
    after = state(run)
    assert after["seen"].sum() == sum(report.predictions for report in first)
    rights = [round(report.accuracy * report.predictions) for report in first]
    assert after["right"].sum() == sum(rights)
    run = opened(tiny_store, tmp_path / "a", *ADAPTIVE, "masking.adaptive.decay=0.5")
    assert all(torch.equal(after[name], tensor) for name, tensor in state(run).items())
    second = list(train(run, stop_after=2))
    assert state(run)["seen"].sum() == after["seen"].sum() / 2 + sum(report.predictions for report in second)
    assert state(run)["version"].item() == 2


def test_the_frequencies_follow_the_weights(tiny_store: Path, tmp_path: Path) -> None:
    """With weights 1 and 0.1, tokens of a half of the vocabulary are hidden as the keys say."""
    run = opened(tiny_store, tmp_path / "a", *ADAPTIVE)
    table = run.masks.adaptive
    table.weights = np.where(np.arange(table.vocab_size) % 2, 1.0, 0.1)
    hidden, seen, cursor = np.zeros(2), np.zeros(2), run.cursor
    for _ in range(30):
        data = run.batches.step(cursor, 0.15)
        cursor = data.next_cursor
        for example in data.micro_batches:
            predicted = example.labels != -100
            original = torch.where(predicted, example.labels, example.batch.input_ids)
            ordinary = ~torch.tensor(run.tokenizer.vocabulary.is_special)[original] & example.batch.is_token
            for parity in (0, 1):
                hidden[parity] += (predicted & (original % 2 == parity)).sum()
                seen[parity] += (ordinary & (original % 2 == parity)).sum()
    run.close()
    assert hidden.sum() / seen.sum() == pytest.approx(0.15, abs=0.01)
    assert 5 < (hidden[1] / seen[1]) / (hidden[0] / seen[0]) < 10


def test_a_rehearsal_leaves_nothing_behind(tiny_store: Path, tmp_path: Path) -> None:
    run = opened(tiny_store, tmp_path / "a", *ADAPTIVE)
    before = state(run)
    steps = run.num_steps
    rehearse(run, seconds=0.0)
    run.num_steps = steps
    assert all(torch.equal(before[name], tensor) for name, tensor in state(run).items())
    list(train(run))
    trained(settings(*ADAPTIVE), tiny_store, tmp_path / "b")
    assert_equal_runs(tmp_path / "a", tmp_path / "b")


def test_balanced_masks_hide_frequent_pieces_less(tiny_store: Path, tiny_tokenizer: Tokenizer) -> None:
    chosen = settings("masking.strategy=adaptive", "masking.adaptive.mode=balanced")
    masks = build_select(chosen, TokenStore.open(tiny_store), tiny_tokenizer)
    assert masks.adaptive is None
    assert masks.state() == {}


def test_a_table_without_answers_learns_nothing() -> None:
    table = AdaptiveTable(5, every=1, decay=0.5, prior=1.0, ratio=4.0)
    table.see(Scores(torch.zeros(()), torch.zeros((), dtype=torch.int64), 3))
    table.see(
        Scores(
            torch.zeros(()),
            torch.tensor(1),
            2,
            labels=torch.tensor([3, 3]),
            right=torch.tensor([True, False]),
        )
    )
    table.after_step(1)
    assert table.state()["seen"].tolist() == [0, 0, 0, 2, 0]
    assert table.state()["right"].tolist() == [0, 0, 0, 1, 0]


def test_pmi_is_mined_once_and_a_summary_writes_nothing(tiny_store: Path, tmp_path: Path) -> None:
    chosen = settings("masking.strategy=pmi", "masking.pmi.min_count=3", "masking.pmi.size=1000")
    (tiny_store / FILE).unlink(missing_ok=True)
    summarise(chosen, data=tiny_store, out=tmp_path / "a")
    assert not (tiny_store / FILE).exists()
    Run.open(chosen, data=tiny_store, out=tmp_path / "a").close()
    written = (tiny_store / FILE).stat().st_mtime_ns
    Run.open(chosen, data=tiny_store, out=tmp_path / "b").close()
    assert (tiny_store / FILE).stat().st_mtime_ns == written
    (tiny_store / FILE).unlink()


@pytest.mark.parametrize("extension", ["jsonl", "csv"])
def test_annotated_words_are_hidden_first(
    extension: str, texts: list[str], tiny_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    spans = [[[text.index(" ") + 1, text.index(" ", text.index(" ") + 1), "second"]] for text in texts]
    corpus = tmp_path / f"corpus.{extension}"
    if extension == "jsonl":
        rows = [json.dumps({"text": t, "entities": s}) for t, s in zip(texts, spans, strict=True)]
    else:
        quoted = [
            '"' + t.replace('"', '""') + '","' + json.dumps(s).replace('"', '""') + '"'
            for t, s in zip(texts, spans, strict=True)
        ]
        rows = ["text,entities", *quoted]
    corpus.write_text("\n".join(rows) + "\n", encoding="utf-8")
    prepare([corpus], tiny_tokenizer, tmp_path / "tokens", PrepareSettings(spans_field="entities"), workers=1)
    store = TokenStore.open(tmp_path / "tokens")
    for index, text in enumerate(texts):
        ids, flags = store.document(index)
        marked = tiny_tokenizer.decode(ids[(flags & 4) != 0]).replace(" ", "")
        assert marked == text.split(" ")[1].lower() or not text.isascii()
    chosen = settings("masking.strategy=chosen", "masking.chosen.annotated=true")
    build_select(chosen, store, tiny_tokenizer)


def test_a_store_without_annotations_is_refused(tiny_store: Path, tiny_tokenizer: Tokenizer) -> None:
    chosen = settings("masking.strategy=chosen", "masking.chosen.annotated=true")
    with pytest.raises(DataError, match=r"has no annotated token, and masking.chosen.annotated is true: prepare"):
        build_select(chosen, TokenStore.open(tiny_store), tiny_tokenizer)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, r"words.txt cannot be read: No such file"),
        (b"\n \n", r"words.txt holds no word: write one word or phrase a line\.$"),
        (b"\xff\xfe", r"words.txt cannot be read: it is not UTF-8 text\.$"),
        (b"cat\n[MASK]\n", r"words.txt:2: '\[MASK\]' has a special token in it, so it could never"),
        ("cat\n\n☃ man\n".encode(), r"words.txt:3: '☃ man' is unknown to the tokenizer, so it could never"),
    ],
)
def test_lists_that_cannot_be_used_are_refused(
    content: bytes | None, line: str, tiny_store: Path, tiny_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "words.txt").write_bytes(content)
    chosen = settings("masking.strategy=chosen", f"masking.chosen.file={tmp_path / 'words.txt'}")
    with pytest.raises(SettingsError, match=line):
        build_select(chosen, TokenStore.open(tiny_store), tiny_tokenizer)
