"""Planted faults: each is named by its check, and the healthy twin has none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clozelm import hub
from clozelm.data.store import TokenStore
from clozelm.errors import DataError
from clozelm.flows.doctor import examine
from clozelm.flows.doctor_data import DATA_CHECKS
from clozelm.flows.doctor_finding import Diagnosis
from clozelm.flows.doctor_model import MODEL_CHECKS
from clozelm.flows.doctor_run import RUN_CHECKS
from clozelm.flows.doctor_store import Hashes, repeated
from clozelm.nn.heads import MaskedLM
from clozelm.text.tokenizer import Tokenizer
from clozelm.types import TokenBatch
from tests import tiny_models, tiny_runs
from tests.flows.faults import (
    STEPS,
    UNIGRAM,
    assert_found,
    model_of,
    named,
    run_of,
    store_of,
    with_config,
    with_tensors,
    written_store,
)


@pytest.fixture(scope="module")
def good_store(texts: list[str], tiny_tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Diagnosis:
    return store_of(tmp_path_factory.mktemp("good") / "store", texts, tiny_tokenizer)


@pytest.fixture(scope="module")
def good_run(tmp_path_factory: pytest.TempPathFactory) -> Diagnosis:
    return run_of(tmp_path_factory.mktemp("good") / "run")


@pytest.fixture(scope="module")
def good_model(tiny_tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_of(tmp_path_factory.mktemp("good") / "model", tiny_tokenizer)


@pytest.fixture(scope="module")
def examined(good_model: Path, tiny_store: Path) -> Diagnosis:
    return examine(good_model, data=tiny_store)


def test_a_leak(good_store: Diagnosis, texts: list[str], tiny_tokenizer: Tokenizer, tmp_path: Path) -> None:
    faulty = store_of(tmp_path / "store", [*texts, *texts[:5]], tiny_tokenizer)
    assert_found(good_store, faulty, "leak", says="of the held-out documents")


def test_a_duplicated_corpus(
    good_store: Diagnosis, texts: list[str], tiny_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    faulty = store_of(tmp_path / "store", [*texts, *texts], tiny_tokenizer, hold_out=0.0)
    assert_found(good_store, faulty, "duplicate documents", says="50.0%")


def test_repeated_lines(good_store: Diagnosis, texts: list[str], tiny_tokenizer: Tokenizer, tmp_path: Path) -> None:
    notice = "this text is given to you under the terms of the licence that you find below"
    faulty = store_of(tmp_path / "store", [f"{text}\n{notice}\n" for text in texts], tiny_tokenizer)
    assert_found(good_store, faulty, "duplicate sentences")
    assert named(faulty, "duplicate documents") is None


def test_truncated_documents(
    good_store: Diagnosis, texts: list[str], tiny_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    documents = [tiny_tokenizer.encode(text).ids[:126].tolist() for text in texts]
    faulty = written_store(tmp_path / "store", documents, tiny_tokenizer)
    assert_found(good_store, faulty, "truncated documents", says="126 tokens")


def test_unknown_pieces(good_store: Diagnosis, texts: list[str], tiny_tokenizer: Tokenizer, tmp_path: Path) -> None:
    faulty = store_of(tmp_path / "store", [f"{text} {'한국말 ' * 30}" for text in texts], tiny_tokenizer)
    assert_found(good_store, faulty, "unknown pieces")


def test_padding_in_the_store(
    good_store: Diagnosis, texts: list[str], tiny_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    padding = [tiny_tokenizer.vocabulary.pad_id] * 20
    documents = [tiny_tokenizer.encode(text).ids.tolist() + padding for text in texts]
    faulty = written_store(tmp_path / "store", documents, tiny_tokenizer)
    assert_found(good_store, faulty, "special tokens as text", says="[PAD]")


def test_a_tokenizer_of_other_text(texts: list[str], tiny_tokenizer: Tokenizer, tmp_path: Path) -> None:
    from clozelm.text.train_tokenizer import train

    large = train(texts, kind="wordpiece", vocab_size=2000)[0]
    healthy = store_of(tmp_path / "large", texts, large)
    faulty = store_of(tmp_path / "store", [text.swapcase()[::-1] for text in texts], tiny_tokenizer)
    assert_found(healthy, faulty, "fertility")


def test_lines_for_documents(
    good_store: Diagnosis, texts: list[str], tiny_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    words = [" ".join(text.split()[at : at + 3]) for text in texts for at in range(0, 90, 3)]
    faulty = store_of(tmp_path / "store", words, tiny_tokenizer)
    assert_found(good_store, faulty, "document length")


def test_a_damaged_file(good_store: Diagnosis, texts: list[str], tiny_tokenizer: Tokenizer, tmp_path: Path) -> None:
    store = tiny_runs.make_store(tmp_path, texts, tiny_tokenizer)
    file = store / "tokens-00000.bin"
    raw = bytearray(file.read_bytes())
    raw[100] ^= 1
    file.write_bytes(raw)
    assert_found(good_store, examine(store), "damaged files")


def test_hashes_find_repeats_as_sets_do(tiny_store: Path) -> None:
    """Against a naive set of tuples; a document said twice, and one that differs in its last token."""
    store = TokenStore.open(tiny_store)
    documents = [tuple(store.document(index)[0].tolist()) for index in range(store.num_documents)]
    hashes = Hashes.of(store).documents
    assert len(np.unique(hashes)) == len(set(documents))
    assert repeated(np.concatenate([hashes, hashes[:9]])) == pytest.approx(9 / (len(hashes) + 9))


def last_half(name: str, value: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], None]:
    def change(record: dict[str, Any]) -> None:
        if record["step"] > STEPS // 2:
            record[name] = value(record)

    return change


def plateau(record: dict[str, Any]) -> None:
    record["loss"] += UNIGRAM - 3.2 - 2.0 * float(np.exp(-record["step"] / 120))
    record["heldout_loss"] = UNIGRAM if record["heldout_loss"] else None


def memorised(record: dict[str, Any]) -> None:
    if record["heldout_loss"]:
        record["heldout_loss"] = 4.0 + abs(record["step"] - 120) / 400


def blind(record: dict[str, Any]) -> None:
    record["loss"], record["heldout_loss"] = float(np.log(320)), None


def dying(record: dict[str, Any]) -> None:
    plateau(record)
    record["gradient_norm"] *= 0.2 if record["step"] > 20 else 1.0


RUN_FAULTS: dict[str, tuple[str, Callable[[dict[str, Any]], None]]] = {
    "loss that is no number": ("finite loss", lambda one: one.update(loss=None) if one["step"] == 300 else None),
    "divergence": ("divergence", last_half("loss", lambda one: one["loss"] + (one["step"] - 200) / 100)),
    "spikes": ("spikes", lambda one: one.update(loss=one["loss"] + 3) if one["step"] % 90 == 0 else None),
    "guessing blindly": ("uniform line", blind),
    "unigram plateau": ("unigram plateau", plateau),
    "a network that died": ("learning rate too high", dying),
    "a rate 100 times too low": (
        "learning rate too low",
        lambda one: (plateau(one), one.update(learning_rate=1e-5)),
    ),  # type: ignore[func-returns-value,dict-item]
    "exploding gradients": (
        "gradient norm",
        last_half("gradient_norm", lambda one: 2.0 ** ((one["step"] - 200) / 10)),
    ),
    "nothing hidden": ("dead masks", last_half("predictions", lambda _: 0)),
    "no evaluation": ("evaluation", lambda one: one.update(heldout_loss=None)),
    "overfitting": ("overfitting", memorised),
    "a machine that throttles": ("speed", last_half("tokens_per_second", lambda _: 900.0)),
    "an idle machine": ("share of peak", lambda one: one.update(peak_share=0.01)),
}


@pytest.mark.parametrize("fault", RUN_FAULTS)
def test_faults_of_runs(fault: str, good_run: Diagnosis, tmp_path: Path) -> None:
    check, change = RUN_FAULTS[fault]
    assert_found(good_run, run_of(tmp_path / "run", change), check)


def test_a_healthy_run_has_no_finding(good_run: Diagnosis) -> None:
    assert [one.check for one in good_run.findings if one.check in RUN_CHECKS] == []
    assert good_run.facts["steps"] == f"{STEPS} of {STEPS}"


@pytest.mark.usefixtures("known_machine")
def test_a_learning_rate_thirty_times_too_high(tiny_store: Path, tmp_path: Path) -> None:
    """Really trained: at 3e-3 the tiny model learns slowly, at 9e-2 its loss is thrown up or its gradients die."""
    found = {}
    for name, rate in (("healthy", 0.003), ("faulty", 0.09)):
        chosen = tiny_runs.settings("budget.steps=60", f"optim.learning_rate={rate}", "evaluation.tokens=300")
        tiny_runs.trained(chosen, tiny_store, tmp_path / name)
        found[name] = examine(tmp_path / name)
    assert_found(found["healthy"], found["faulty"], "learning rate too high", says="0.09")


def test_a_weight_that_is_no_number(examined: Diagnosis, good_model: Path, tmp_path: Path) -> None:
    def poison(tensors: dict[str, torch.Tensor]) -> None:
        tensors["bert.encoder.layer.1.output.dense.weight"][0, 0] = float("nan")

    faulty = examine(with_tensors(good_model, tmp_path / "model", poison))
    assert_found(examined, faulty, "finite weights", says="bert.encoder.layer.1.output.dense.weight")
    assert "opens" in faulty.not_checked


def test_an_untied_head(examined: Diagnosis, good_model: Path, tmp_path: Path) -> None:
    def untie(tensors: dict[str, torch.Tensor]) -> None:
        tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"] + 0.25

    faulty = examine(with_tensors(good_model, tmp_path / "model", untie))
    assert_found(examined, faulty, "tied weights", says="0.25")


def test_a_tied_copy_is_no_fault(good_model: Path, tmp_path: Path) -> None:
    def copy(tensors: dict[str, torch.Tensor]) -> None:
        tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"].clone()

    assert "tied weights" in examine(with_tensors(good_model, tmp_path / "model", copy)).passed


def test_a_tokenizer_of_another_model(
    examined: Diagnosis, good_model: Path, tiny_store: Path, texts: list[str], tmp_path: Path
) -> None:
    padded = examine(with_config(good_model, tmp_path / "ids", pad_token_id=7))
    assert_found(examined, padded, "tokenizer", says="pad_token_id=7")
    other = model_of(tmp_path / "other", tiny_runs.tokenizer(texts[:20]))
    assert_found(examined, examine(other, data=tiny_store), "tokenizer", says="another tokenizer")


MODEL_FAULTS: dict[str, tuple[str, Callable[[MaskedLM], object]]] = {
    "padding predicted": ("special answers", lambda model: model.head.bias[0].fill_(80.0)),
    "one answer": ("same answer", lambda model: model.head.bias[50].fill_(80.0)),
    "untrained rows": ("embedding rows", lambda model: model.decoder_weight[100:130].zero_()),
    "equal rows": (
        "embedding rows",
        lambda model: model.decoder_weight[100:130].copy_(model.decoder_weight[100].clone()),
    ),
    "a dead head": (
        "dead heads and layers",
        lambda model: model.encoder.layers[1].attention.out.weight[:, 8:16].zero_(),  # type: ignore[union-attr,index]
    ),
    "a dead layer": (
        "dead heads and layers",
        lambda model: model.encoder.layers[2].mlp.down.weight.zero_(),  # type: ignore[union-attr]
    ),
    "shuffled pieces": (
        "knows something",
        lambda model: model.head.bias.copy_(100 * torch.randn(len(model.head.bias))),
    ),
}


@pytest.mark.parametrize("fault", MODEL_FAULTS)
def test_faults_of_models(
    fault: str, tiny_tokenizer: Tokenizer, tiny_store: Path, knowing: Diagnosis, tmp_path: Path
) -> None:
    check, change = MODEL_FAULTS[fault]
    assert_found(knowing, examine(model_of(tmp_path / "model", tiny_tokenizer, change), data=tiny_store), check)


@pytest.fixture(scope="module")
def knowing(tiny_tokenizer: Tokenizer, tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Diagnosis:
    """A model of random weights made quiet: it knows how frequent pieces are, and varies with the context."""
    folder = tmp_path_factory.mktemp("knowing") / "model"
    return examine(model_of(folder, tiny_tokenizer, lambda model: quiet(model, tiny_store)), data=tiny_store)


def quiet(model: MaskedLM, store: Path) -> None:
    counts = TokenStore.open(store).unigram_counts()
    with torch.no_grad():
        model.decoder_weight.mul_(0.7)
        assert model.encoder.embeddings.positions is not None
        model.encoder.embeddings.positions.weight.mul_(8.0)
        model.head.bias.copy_(torch.log(torch.from_numpy(counts) + 1.0))
        model.head.bias[:5] = -50.0


def test_positions_that_are_not_there(examined: Diagnosis, good_model: Path, tmp_path: Path) -> None:
    long = with_config(good_model, tmp_path / "model", "tokenizer_config.json", model_max_length=512)
    found = named(examine(long), "positions")
    assert found is not None
    assert "64 positions" in found.what
    assert named(examined, "positions") is None


def test_late_positions_that_were_never_trained(
    tiny_tokenizer: Tokenizer, tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that knows frequencies alone, and from position 100 on always answers the same."""
    model = tiny_models.tiny_model("bert", vocab_size=tiny_tokenizer.vocab_size, max_positions=256)
    quiet(model, tiny_store)
    tiny_tokenizer.config["model_max_length"] = 256
    hub.save(model, tiny_tokenizer, tmp_path / "model", family="bert")
    reach = 1000

    def vectors(self: MaskedLM, batch: TokenBatch, scored: torch.Tensor) -> torch.Tensor:
        is_late = batch.positions.flatten()[scored] >= reach
        return is_late[:, None] * 20.0 * self.decoder_weight[50]

    monkeypatch.setattr(MaskedLM, "scored_vectors", vectors)
    healthy = examine(tmp_path / "model", data=tiny_store)
    reach = 100
    assert_found(healthy, examine(tmp_path / "model", data=tiny_store), "positions", says="Late in texts of 256")


def test_every_check_is_described() -> None:
    for registry in (DATA_CHECKS, RUN_CHECKS, MODEL_CHECKS):
        for name, check in registry.items():
            assert check.__doc__, name


def test_what_cannot_be_examined(tmp_path: Path, tiny_store: Path) -> None:
    with pytest.raises(DataError, match="There is no"):
        examine(tmp_path / "nothing")
    with pytest.raises(DataError, match="no run"):
        examine(tmp_path)
    with pytest.raises(DataError, match="no use here"):
        examine(tiny_store, data=tiny_store)
