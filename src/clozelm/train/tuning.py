"""A fine-tuning on disk and in memory: what it is, where it stands, how it is opened, saved and resumed."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clozelm.errors import DataError, SettingsError
from clozelm.hub.classifier import LoadedClassifier
from clozelm.hub.prompt import LoadedPrompt
from clozelm.infer.answers import answers, read_as_model
from clozelm.nn.lora import merge_lora
from clozelm.nn.prompt import TaskModel
from clozelm.rng import generator
from clozelm.tasks.encode import Unit
from clozelm.tasks.task import Answers, Task
from clozelm.text.atomic import check_writable, disk_errors
from clozelm.train import checkpoint
from clozelm.train.denormals import start_threads
from clozelm.train.finetune_model import build_optimisers, prepare, tables
from clozelm.train.finetune_settings import FinetuneSettings
from clozelm.train.hardware import DTYPES, choose_device, choose_precision
from clozelm.train.journal import JOURNAL, Journal
from clozelm.train.masters import Masters
from clozelm.train.record import RECORD, differences
from clozelm.train.schedule import factor

ExampleT = TypeVar("ExampleT")


@dataclass(frozen=True)
class Split(Generic[ExampleT]):
    """The examples of a task, to learn from and to be judged on, and where they are from."""

    train: Sequence[ExampleT]
    dev: Sequence[ExampleT]


class Tuning(Generic[ExampleT]):
    """One fine-tuning of a model on a task; ``finetune`` in ``clozelm.train.finetune`` drives it.

    ``start`` is changed in place; the best of its weights are kept in ``best``. ``base`` is a fingerprint of the
    model it was made of.
    """

    def __init__(
        self,
        settings: FinetuneSettings,
        *,
        task: Task[ExampleT],
        start: LoadedClassifier | LoadedPrompt,
        split: Split[ExampleT],
        out: Path,
        base: str = "",
    ) -> None:
        self.settings, self.task, self.split, self.out, self.base = settings, task, split, out, base
        self.tokenizer, self.start = start.tokenizer, start
        if settings.run.threads is not None:
            torch.set_num_threads(settings.run.threads)
        start_threads()
        self.device = choose_device(settings.run.device)
        before = _precision_before(out / RECORD)  # measured once: a resumed run goes on in what it began with
        self.precision = choose_precision(before or settings.run.precision, self.device)
        self.model: TaskModel = start.model
        prepare(self.model, settings.model, settings.run.seed)
        self.model.to(self.device)
        is_low = self.precision != "fp32"
        self.masters = Masters(self.model, DTYPES[self.precision], tables(self.model)) if is_low else None
        self.optimisers = build_optimisers(self.model, settings.optim, self.masters)
        self.metric = settings.evaluation.metric or task.metric
        self._encode()
        self.steps_per_epoch = -(-len(split.train) // settings.data.batch_size)
        self.num_steps = _num_steps(settings.budget.epochs, self.steps_per_epoch, start)
        self.step, self.seconds, self.tokens = 0, 0.0, 0
        self.best: dict[str, Tensor] | None = None
        self.best_value, self.best_loss, self.best_step, self.misses = -math.inf, math.inf, 0, 0
        self._saved_at = time.perf_counter()
        self.notices: list[str] = []

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing left to train: all steps are done, or patience ran out."""
        patience = self.settings.budget.patience
        return self.step >= self.num_steps or (patience is not None and self.misses >= patience)

    @property
    def answers_untrained(self) -> bool:
        """Whether the model has something to say before it has learned: a prompt asks, and no layer is new."""
        return isinstance(self.start, LoadedPrompt)

    def open(self) -> None:
        """Begin in ``out``, or go on where a fine-tuning of the same settings and examples left off there."""
        record = self.record()
        path = self.out / RECORD
        if path.is_file():
            self._check_same(path, record)
            self._resume()
        else:
            check_place(self.out)
            with disk_errors(self.out):
                self.out.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def open_journal(self) -> Journal:
        """Open the journal, cut back to where the run stands."""
        with disk_errors(self.out):
            return Journal(self.out / JOURNAL, self.step)

    def record(self) -> dict[str, Any]:
        """Return what makes this fine-tuning what it is."""
        asks = {"prompt": dict(self.task.asks)} if self.task.asks else {}
        return {
            "format": 1,
            "task": self.task.name,
            "problem": self.task.problem,
            "labels": list(self.task.labels),
            "train": fingerprint(self.split.train),
            "dev": fingerprint(self.split.dev),
            "model": self.base,
            "tokenizer": self.tokenizer.fingerprint,
            "precision": self.precision,
            **asks,
            "settings": self.settings.model_dump(mode="json"),
        }

    def units(self, step: int) -> list[Unit]:
        """Return what is learned from at a step: a pure function of the seed and the step."""
        epoch, number = divmod(step, self.steps_per_epoch)
        size = self.settings.data.batch_size
        order = _order(self.settings.run.seed, epoch, len(self.split.train))
        chosen = order[number * size : (number + 1) * size]
        return [unit for owner in chosen for unit in self._train[owner]]

    def schedule_factor(self) -> float:
        """Return the learning-rate factor in force at the current step."""
        schedule = self.settings.schedule
        warmup = max(1, round(schedule.warmup * self.num_steps))
        return factor(
            self.step, self.num_steps, kind=schedule.kind, warmup_steps=warmup, decay_fraction=1.0, final=0.0
        )

    def evaluation_due(self) -> bool:
        """Whether the development set should be answered after the step just done."""
        every = max(1, round(self.settings.evaluation.every * self.steps_per_epoch))
        return self.step == self.num_steps or self.step % every == 0

    def answer_dev(self) -> Answers:
        """Return the answers of the model as it is to the development set."""
        sizes = [self.task.num_answers(example) for example in self.split.dev]
        return answers(self.model, self._dev, sizes, pad_id=self.tokenizer.vocabulary.pad_id)

    def dev_loss(self, found: Answers) -> float:
        """Return the mean loss of answers to the development set, leaving out what was not asked."""
        asked = ~np.isnan(found.logits).any(axis=1)
        targets = torch.from_numpy(self.dev_targets.values[asked])
        total = self.task.loss(torch.from_numpy(found.logits[asked]).float(), targets)
        return float(total) / max(self.task.count(targets), 1e-12)

    def take_stock(self, value: float, loss: float) -> bool:
        """Note a figure and the loss of the model as it is; keep its weights if they are the best yet, and say so.

        Of equal figures that of the lower loss is better, though for ``budget.patience`` nothing has improved.
        """
        value, loss = -math.inf if math.isnan(value) else value, math.inf if math.isnan(loss) else loss
        is_first, is_higher = self.best is None, value > self.best_value
        is_best = is_first or is_higher or (value == self.best_value and loss < self.best_loss)
        self.misses = 0 if is_first or is_higher else self.misses + 1
        if is_best:
            self.best = {name: tensor.clone() for name, tensor in self.weights().items()}
            self.best_value, self.best_loss, self.best_step = value, loss, self.step
        return is_best

    def weights(self) -> dict[str, Tensor]:
        """Return all weights in fp32 by name; views, not copies."""
        if self.masters is not None:
            return self.masters.state_dict()
        return {name: parameter.detach() for name, parameter in self.model.named_parameters()}

    def checkpoint_due(self) -> bool:
        """Whether a checkpoint should be written after the step just done."""
        settings = self.settings.checkpoint
        if settings.every_steps is not None:
            return self.step % settings.every_steps == 0
        return time.perf_counter() - self._saved_at > 60 * settings.every_minutes

    def save_checkpoint(self) -> None:
        """Write everything the next step depends on."""
        payload: dict[str, Any] = {"model": self.weights(), "optimisers": self.optimisers.state_dict()}
        if self.best is not None:
            payload["best"] = self.best
        meta = {
            "step": self.step,
            "seconds": self.seconds,
            "tokens": self.tokens,
            "best_value": None if math.isinf(self.best_value) else self.best_value,
            "best_loss": None if math.isinf(self.best_loss) else self.best_loss,
            "best_step": self.best_step,
            "misses": self.misses,
            "has_best": self.best is not None,
        }
        checkpoint.write(self.out, self.step, payload, meta, keep=self.settings.checkpoint.keep)
        self._saved_at = time.perf_counter()

    @torch.no_grad()
    def settle(self) -> None:
        """Make the model the best one there was, in fp32 and whole; nothing can be trained after that."""
        self.model.float()
        self._take(self.best or self.weights())
        merge_lora(self.model.encoder)
        self.model.eval()

    def _encode(self) -> None:
        self.read_as = read_as_model(self.model, self.settings.data.max_length)
        train = self.task.encode(self.tokenizer, self.split.train, self.read_as)
        dev = self.task.encode(self.tokenizer, self.split.dev, self.read_as)
        self._train: list[list[Unit]] = [[] for _ in self.split.train]
        for unit in train.units:
            self._train[unit.owner].append(unit)
        self._dev = dev.units
        self.targets, self.dev_targets = self.task.targets(self.split.train), self.task.targets(self.split.dev)
        self.encoding_notes = [f"train: {note}" for note in train.notes] + [f"dev: {note}" for note in dev.notes]

    @torch.no_grad()
    def _take(self, weights: Mapping[str, Tensor]) -> None:
        for name, parameter in self.model.named_parameters():
            parameter.copy_(weights[name])

    def _check_same(self, path: Path, now: dict[str, Any]) -> None:
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
            changed = differences(before.get("settings", {}), now["settings"])
        except (OSError, ValueError, AttributeError) as error:
            raise DataError(f"{path}: not the record of a fine-tuning ({error}). Name another --out.") from None
        changed += [
            name
            for name in ("task", "problem", "labels", "model", "tokenizer", "prompt")
            if before.get(name) != now.get(name)
        ]
        changed += [f"the examples of {name}" for name in ("train", "dev") if before.get(name) != now[name]]
        if changed:
            raise SettingsError(
                f"{self.out} holds another fine-tuning ({'; '.join(changed)}): use the same to resume it, or name "
                "another --out."
            )

    def _resume(self) -> None:
        newest, problems = checkpoint.newest(self.out)
        self.notices += problems
        if newest is None:
            return
        if self.masters is None:
            self._take(newest.load("model", self.device))
        self.optimisers.load_state_dict(newest.load("optimisers", self.device))
        meta = newest.meta
        self.best = newest.load("best", self.device) if meta["has_best"] else None
        self.step, self.seconds, self.tokens = meta["step"], meta["seconds"], meta["tokens"]
        self.best_value = -math.inf if meta["best_value"] is None else meta["best_value"]
        loss = meta.get("best_loss", -math.inf)  # of a checkpoint that has none: ties are left as they were
        self.best_loss = math.inf if loss is None else loss
        self.best_step, self.misses = meta["best_step"], meta["misses"]
        self.notices.append(f"Going on at step {self.step:,} of {self.num_steps:,}.")


def check_place(out: Path) -> None:
    """Refuse a place where no fine-tuning can begin and none was begun."""
    if out.exists() and not out.is_dir():
        raise SettingsError(f"{out} is a file: name a directory with --out.")
    check_writable(out)
    if out.exists() and any(out.iterdir()) and not (out / RECORD).is_file():
        raise SettingsError(f"{out} is not empty and holds no fine-tuning: name a new --out.")


def _precision_before(path: Path) -> str | None:
    """Return the precision that a run was begun in; None where there is none, or a record that cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get("precision")
    except (OSError, ValueError, AttributeError):
        return None
    return found if found in DTYPES else None


def _num_steps(epochs: float, steps_per_epoch: int, start: LoadedClassifier | LoadedPrompt) -> int:
    """Return how many steps there are; 0 epochs train nothing, which needs a model that answers as it is."""
    if epochs:
        return max(1, round(epochs * steps_per_epoch))
    if isinstance(start, LoadedClassifier) and start.new:
        raise SettingsError(
            "budget.epochs=0 trains nothing, and the head of the model is new: it would answer at random. A prompt "
            "(--prompt) asks a model as it is."
        )
    return 0


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return generator(seed, "finetune order", epoch).permutation(count)


def fingerprint(examples: Sequence[Any]) -> str:
    """Return a hash of examples: what they say and their labels, in their order."""
    digest = hashlib.sha256()
    for example in examples:
        said = (example.texts, example.label) if hasattr(example, "texts") else (example.words, example.tags)
        digest.update(repr(said).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]
