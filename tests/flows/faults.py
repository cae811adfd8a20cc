"""Healthy runs, stores and models, small, to plant faults in."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from clozelm import hub
from clozelm.data.store import StoreWriter
from clozelm.flows.doctor import examine
from clozelm.flows.doctor_finding import Diagnosis, Finding
from clozelm.nn.heads import MaskedLM
from clozelm.text.tokenizer import Tokenizer
from clozelm.train.settings import PretrainSettings
from tests import tiny_models, tiny_runs

STEPS, UNIGRAM = 400, 5.2


def named(found: Diagnosis, check: str) -> Finding | None:
    return next((one for one in found.findings if one.check == check), None)


def assert_found(healthy: Diagnosis, faulty: Diagnosis, check: str, *, says: str = "") -> None:
    """The check finds the fault, and nothing in its healthy twin, where it was made and passed."""
    finding = named(faulty, check)
    assert finding is not None, f"{check}: {[one.check for one in faulty.findings]}, {faulty.not_checked}"
    assert says in finding.what
    assert finding.why
    assert finding.do
    assert check in healthy.passed, f"{check}: {named(healthy, check)}, {healthy.not_checked}"


def store_of(folder: Path, texts: list[str], tokenizer: Tokenizer, *, hold_out: float = 0.1) -> Diagnosis:
    folder.mkdir(parents=True)
    return examine(tiny_runs.make_store(folder, texts, tokenizer, hold_out=hold_out))


def written_store(folder: Path, documents: list[list[int]], tokenizer: Tokenizer) -> Diagnosis:
    """A store of given ids, as another program may write one."""
    with StoreWriter(folder, fingerprint=tokenizer.fingerprint, vocab_size=tokenizer.vocab_size) as writer:
        for ids in documents:
            writer.add(np.array(ids, np.uint16), np.full(len(ids), 1, np.uint8))
        tokenizer.write(writer.building / "tokenizer")
        writer.close()
    return examine(folder)


def healthy_journal() -> list[dict[str, Any]]:
    """A loss that falls from the unigram line to well below it, with a little noise."""
    rng = np.random.default_rng(0)
    journal = []
    for step in range(1, STEPS + 1):
        loss = 3.2 + 2.0 * float(np.exp(-step / 120)) + float(rng.normal(0, 0.03))
        journal.append(
            {
                "step": step,
                "num_steps": STEPS,
                "loss": loss,
                "predictions": 150,
                "tokens": 1000,
                "tokens_seen": 1000 * step,
                "seconds": 0.1,
                "tokens_per_second": 10_000.0,
                "peak_share": 0.4,
                "gradient_norm": 1.0 + float(rng.random()),
                "learning_rate": 1e-3,
                "mask_rate": 0.15,
                "heldout_loss": loss + 0.1 if step % 40 == 0 else None,
            }
        )
    return journal


def run_of(folder: Path, change: Callable[[dict[str, Any]], None] | None = None) -> Diagnosis:
    """A run whose record is real in form and whose journal is the healthy one, changed record by record."""
    write_run(folder, change)
    return examine(folder)


def write_run(folder: Path, change: Callable[[dict[str, Any]], None] | None = None) -> None:
    folder.mkdir(parents=True)
    settings = tiny_runs.settings().model_dump(mode="json")
    assert PretrainSettings.model_validate(settings)
    record = {"settings": settings, "data": "0" * 16, "num_steps": STEPS, "precision": "fp32"}
    record |= {"unigram_nats": UNIGRAM, "machine": "a machine"}
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text('{"vocab_size": 320}', encoding="utf-8")
    journal = healthy_journal()
    for each in journal:
        if change is not None:
            change(each)
    (folder / "journal.jsonl").write_text("".join(json.dumps(each) + "\n" for each in journal), encoding="utf-8")


def model_of(folder: Path, tokenizer: Tokenizer, change: Callable[[MaskedLM], None] | None = None) -> Path:
    """A model directory that answers with what it sees often, and never with a special token; changed if asked."""
    model = tiny_models.tiny_model("bert", vocab_size=tokenizer.vocab_size)
    with torch.no_grad():
        model.head.bias[sorted(tokenizer.vocabulary.special_ids)] = -50.0
        if change is not None:
            change(model)
    tokenizer.config["model_max_length"] = model.config.max_positions
    hub.save(model, tokenizer, folder, family="bert")
    return folder


def with_tensors(source: Path, target: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    """A copy of a model directory with other tensors in its file."""
    shutil.copytree(source, target)
    tensors = load_file(target / "model.safetensors")
    change(tensors)
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    return target


def with_config(source: Path, target: Path, file: str = "config.json", **changes: object) -> Path:
    """A copy of a model directory with another configuration."""
    shutil.copytree(source, target)
    config = json.loads((target / file).read_text(encoding="utf-8"))
    (target / file).write_text(json.dumps(config | changes), encoding="utf-8")
    return target
