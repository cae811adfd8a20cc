"""A run on disk and in memory: what it is, where it stands, how it is opened, saved and resumed."""

from __future__ import annotations

import copy
import time
from contextlib import ExitStack
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from clozelm.data.loader import Cursor
from clozelm.data.store import TokenStore
from clozelm.errors import DataError, ModelError, SettingsError
from clozelm.hub.save import save
from clozelm.hub.seq2seq import save_seq2seq
from clozelm.masking.rates import mean_rate, rate_at
from clozelm.nn.decoder import EncoderDecoder
from clozelm.nn.heads import MaskedLM
from clozelm.text.atomic import alone, disk_errors
from clozelm.text.tokenizer import Tokenizer
from clozelm.train import checkpoint
from clozelm.train.assemble import Given, begin_words, build_objective, encoder_config
from clozelm.train.compile import compile_layers
from clozelm.train.denormals import start_threads
from clozelm.train.evaluate import Evaluation, evaluate_store, unigram_entropy
from clozelm.train.hardware import DTYPES, choose_device, choose_precision, matrix_rate
from clozelm.train.journal import JOURNAL, Journal, TensorBoard, journal_errors
from clozelm.train.masks import build_select
from clozelm.train.masters import Masters
from clozelm.train.optim import build
from clozelm.train.plan import Batches, StepData
from clozelm.train.ranks import Ranks
from clozelm.train.record import (
    changed_since,
    check_collocations,
    check_out,
    new_record,
    open_data,
    open_heldout,
    write_record,
)
from clozelm.train.schedule import factor
from clozelm.train.settings import PretrainSettings
from clozelm.train.terms import heldout_terms

_EVALUATION_SEED = 0
_REHEARSAL_SECONDS = 20.0


class Run:
    """One pretraining run. ``open`` builds or resumes it; ``train`` in ``clozelm.train.pretrain`` drives it."""

    def __init__(
        self,
        settings: PretrainSettings,
        *,
        store: TokenStore,
        tokenizer: Tokenizer,
        out: Path,
        heldout: TokenStore | None,
        precision: str | None = None,
        begins: bool = True,
        ranks: Ranks | None = None,
    ) -> None:
        self.settings, self.out, self.ranks = settings, out, ranks or Ranks()
        self.store, self.tokenizer, self.heldout = store, tokenizer, heldout
        given = Given.open(settings, tokenizer)
        self.config = encoder_config(settings, tokenizer, given)
        self.device = self.ranks.place(choose_device(settings.run.device))
        self.precision = self.ranks.agree(
            lambda: choose_precision(precision or settings.run.precision, self.device)
        )
        self.matrix_rate = matrix_rate(self.precision, self.device)
        objective = build_objective(settings, self.config, store, tokenizer, given)
        if begins:
            begin_words(objective, settings, store, tokenizer)
        self.objective = objective.to(self.device)
        self.problems = compile_layers(self.objective, settings.run.compile, self.device)
        self._resumed: str | None = None
        self.renew_optimisers()
        self.masks = build_select(settings, store, tokenizer)
        self.problems += self.masks.notices
        if self.masks.adaptive is not None and self.ranks.world > 1:
            raise SettingsError(
                "masking.strategy=adaptive learns from the predictions of one process: start cloze without "
                "torchrun, or use masking.adaptive.mode=balanced."
            )
        self.batches = Batches(settings, store, tokenizer.vocabulary, self.objective, self.masks.select, self.ranks)
        if heldout is not None and self.objective.pairs is not None:
            Batches(
                settings, heldout, tokenizer.vocabulary, self.objective, self.masks.fixed
            )  # says now what it could not be used for
        self.step, self.num_steps, self.tokens_seen, self.cursor = 0, 0, 0, Cursor()
        self.elapsed_seconds = 0.0
        self._saved_at = time.perf_counter()
        self._alone = ExitStack()
        self._writers: list[Journal | TensorBoard] = []

    @classmethod
    def open(
        cls, settings: PretrainSettings, *, data: Path | str, out: Path | str, heldout: Path | str | None = None
    ) -> Run:
        """Start a run in ``out``, or resume the one of the same settings that is there.

        Until it is closed, a process that opens it as well is refused with a ``SettingsError``.
        """
        data, out = Path(data), Path(out)
        if settings.run.threads is not None:
            torch.set_num_threads(settings.run.threads)
        start_threads()
        ranks = Ranks.joined()
        store, tokenizer = open_data(data)
        held = open_heldout(data, heldout, tokenizer)
        record = ranks.agree(lambda: check_out(settings, store, out))
        # Measured once: a resumed run goes on in the precision it began with.
        precision = None if record is None else record["precision"]
        found, problems = ranks.agree(lambda: (None, []) if record is None else checkpoint.newest(out))
        run = cls(
            settings,
            store=store,
            tokenizer=tokenizer,
            out=out,
            heldout=held,
            precision=precision,
            begins=not found,
            ranks=ranks,
        )
        run.problems += problems
        if record is not None:
            run._resume(record, found)
        else:
            run._start()
        return run

    @property
    def model(self) -> MaskedLM:
        """The model that fills masks; the generator of an ELECTRA. An objective without one is a ``ModelError``."""
        if not self.objective.fills_masks:
            raise ModelError(f"objective.name={self.settings.objective.name} trains no model that fills masks.")
        return self.objective.masked_lm

    @property
    def heldout_key(self) -> str:
        """The figure of a report that is the held-out loss: masked pieces, else the first term."""
        first = next(iter(self.objective.weights))
        return "heldout_loss" if self.objective.fills_masks else f"heldout_{first}_loss"

    @cached_property
    def unigram_nats(self) -> float:
        """Entropy of the training tokens one by one, in nats: the loss of a model that ignores context."""
        return unigram_entropy(self.store.unigram_counts())

    @property
    def notices(self) -> list[str]:
        """What a person should be told before the run goes on: its problems, and where it resumes."""
        return self.problems + ([self._resumed] if self._resumed else [])

    def mask_rate(self) -> float:
        """Return the masking rate in force at the current step."""
        masking = self.settings.masking
        return rate_at(self.step, self.num_steps, masking.rate, masking.rate_end, masking.schedule)

    def mean_mask_rate(self) -> float:
        """Return the masking rate of the whole run on average."""
        masking = self.settings.masking
        return mean_rate(masking.rate, masking.rate_end, masking.schedule)

    def schedule_factor(self) -> float:
        """Return the learning-rate factor in force at the current step."""
        schedule = self.settings.schedule
        return factor(
            self.step,
            self.num_steps,
            kind=schedule.kind,
            warmup_steps=max(1, round(schedule.warmup * self.num_steps)),
            decay_fraction=schedule.decay,
            final=schedule.final,
        )

    def renew_optimisers(self) -> None:
        """Begin with fresh optimiser state; in bf16 the model keeps rounded weights and the masters are trained."""
        section = self.settings.optim
        is_low = self.precision != "fp32"
        if is_low:
            self.objective.float()
        self.masters = Masters(self.objective, DTYPES[self.precision]) if is_low else None
        if is_low:
            self.objective.lower(DTYPES[self.precision])
        self.optimisers = build(
            self.objective,
            name=section.name,
            learning_rate=section.learning_rate,
            muon_learning_rate=section.muon_learning_rate,
            momentum=section.momentum,
            scaling=section.scaling,
            split=section.split,
            weight_decay=section.weight_decay,
            betas=(section.beta1, section.beta2),
            eps=section.eps,
            precision=self.precision,
            masters=self.masters,
        )

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the weights that are trained, in fp32, by their name in the objective; views, not copies."""
        if self.masters is not None:
            return self.masters.state_dict()
        return self._parameters()

    def restart(self, weights: dict[str, torch.Tensor]) -> None:
        """Go back before the first step, with ``weights`` and nothing learned by the optimisers."""
        self.objective.float()
        self._take(weights)
        self.renew_optimisers()
        self.masks.restart()
        self.step, self.tokens_seen, self.cursor, self.elapsed_seconds = 0, 0, Cursor(), 0.0

    def _parameters(self) -> dict[str, torch.Tensor]:
        """Return what is trained, by name; a weight that two models share has the first one's."""
        return {name: parameter.detach() for name, parameter in self.objective.named_parameters()}

    @torch.no_grad()
    def _take(self, weights: dict[str, torch.Tensor]) -> None:
        for name, parameter in self.objective.named_parameters():
            parameter.copy_(weights[name])

    def advance(self, data: StepData, seconds: float) -> None:
        """Count one finished update."""
        self.step += 1
        self.cursor = data.next_cursor
        self.tokens_seen += data.tokens
        self.elapsed_seconds += seconds

    def evaluation_due(self) -> bool:
        """Whether the held-out loss should be measured after the step just done.

        Between two measurements lie at least as many training tokens as one looks at, so that a short run does not
        spend its time on them; that counts tokens, not seconds, and so is the same in a resumed run.
        """
        if self.heldout is None:
            return False
        section = self.settings.evaluation
        looked_at = min(section.tokens, self.heldout.num_tokens)
        least = -(-looked_at // self.settings.data.tokens_per_step)
        every = max(1, round(section.every * self.num_steps), least)
        return self.step == self.num_steps or bool(section.every and self.step % every == 0)

    def evaluate(self, *, whole: bool = False) -> Evaluation:
        """Measure the held-out loss with fixed masks, on ``evaluation.tokens`` tokens or the whole store."""
        if self.heldout is None:
            raise DataError("This run has no held-out store: pass one with --heldout.")
        return evaluate_store(
            self.model,
            self.heldout,
            self.tokenizer.vocabulary,
            row_length=self.settings.data.row_length,
            rate=self.settings.evaluation.rate,
            seed=_EVALUATION_SEED,
            max_tokens=None if whole else self.settings.evaluation.tokens,
            unigram_counts=self.store.unigram_counts(),
        )

    def evaluate_terms(self) -> dict[str, float]:
        """Measure the objective's terms beside masked pieces on held-out text; empty where there are none."""
        if self.heldout is None or set(self.objective.weights) == {"mlm"}:
            return {}
        return heldout_terms(
            self.settings,
            self.objective,
            self.heldout,
            self.tokenizer.vocabulary,
            select=self.masks.fixed,
            device=self.device,
        )

    def checkpoint_due(self) -> bool:
        """Whether a checkpoint should be written after the step just done."""
        settings = self.settings.checkpoint
        if settings.every_steps is not None:
            return self.step % settings.every_steps == 0
        return time.perf_counter() - self._saved_at > 60 * settings.every_minutes

    def record(self, report: dict[str, Any]) -> None:
        """Write one step's report to the journal, and to TensorBoard if that is on."""
        if (
            self.step % self.settings.run.log_every
            and report.get(self.heldout_key) is None
            and self.step != self.num_steps
        ):
            return
        # Where a run was interrupted must leave no trace, so that its journal is the uninterrupted one's.
        record = {key: value for key, value in report.items() if key != "is_saved"}
        record["elapsed_seconds"] = self.elapsed_seconds
        with journal_errors(self.out):
            for writer in self._writers:
                writer.write(record)

    def close(self) -> None:
        """Close the journal and TensorBoard, and let other processes in."""
        self._alone.close()
        for writer in self._writers:
            writer.close()

    def save_checkpoint(self) -> None:
        """Write everything the next step depends on: weights, optimiser state and integers."""
        self._saved_at = time.perf_counter()
        if not self.ranks.is_first:
            return
        with journal_errors(self.out):
            for writer in self._writers:
                writer.sync()
        payload = {"model": self._parameters(), "optimisers": self.optimisers.state_dict()} | self.masks.state()
        meta = {
            "step": self.step,
            "num_steps": self.num_steps,
            "tokens_seen": self.tokens_seen,
            "cursor": asdict(self.cursor),
            "elapsed_seconds": self.elapsed_seconds,
        }
        checkpoint.write(self.out, self.step, payload, meta, keep=self.settings.checkpoint.keep)

    def save_models(self) -> Path:
        """Write ``out/model``, a Hugging Face directory, and what else the objective keeps; return its path."""
        card = {
            "steps": self.step,
            "tokens": self.tokens_seen,
            "seed": self.settings.run.seed,
            "settings": self.settings.model_dump(mode="json"),
        }
        objective = self.objective
        if self.masters is not None:
            objective = copy.deepcopy(objective).float()
            with torch.no_grad():
                for name, parameter in objective.named_parameters():
                    parameter.copy_(self.masters.tensors[name])
        for folder, model, heads, has_head in objective.stored():
            place, family = self.out / folder, self.settings.model.family
            if isinstance(model, EncoderDecoder):
                save_seq2seq(model, self.tokenizer, place, family=family, card=card)
            else:
                save(model, self.tokenizer, place, family=family, card=card, heads=heads, with_head=has_head)
        return self.out / "model"

    def _start(self) -> None:
        self.ranks.agree(self._take_place)
        self.num_steps = self._budgeted_steps()
        if self.ranks.is_first:
            write_record(self.out, new_record(self))
        self._open_journal(None)

    def _take_place(self) -> None:
        with disk_errors(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
        self._alone.enter_context(alone(self.out))

    def _resume(self, record: dict[str, Any], newest: checkpoint.Checkpoint | None) -> None:
        self.ranks.agree(self._take_place)
        check_collocations(record, self.masks.fingerprint, self.store, self.out)
        self.num_steps = int(record["num_steps"])
        if newest is not None:
            self._take(newest.load("model", self.device))
            self.optimisers.load_state_dict(newest.load("optimisers", self.device))
            self.masks.load(newest)
            self.step = newest.meta["step"]
            self.tokens_seen = newest.meta["tokens_seen"]
            self.cursor = Cursor(**newest.meta["cursor"])
            self.elapsed_seconds = newest.meta["elapsed_seconds"]
        self._resumed = f"Resuming {self.out} at step {self.step} of {self.num_steps}."
        self.problems += changed_since(record, self)
        self._open_journal(self.step)

    def _open_journal(self, resumed_step: int | None) -> None:
        if not self.ranks.is_first:
            return
        with journal_errors(self.out):
            self._writers.append(Journal(self.out / JOURNAL, resumed_step))
        if self.settings.run.tensorboard:
            self._writers.append(TensorBoard(self.out / "tensorboard", resumed_step))

    def _budgeted_steps(self) -> int:
        """Turn the budget into a number of steps; minutes by timing a few updates that are then undone."""
        budget = self.settings.budget
        if budget.steps is not None:
            return budget.steps
        if budget.tokens is not None:
            return max(1, round(budget.tokens / self.settings.data.tokens_per_step))
        from clozelm.train.pretrain import rehearse

        assert budget.minutes is not None, "checked by open"
        seconds = 60 * budget.minutes
        spent = rehearse(self, seconds=min(0.05 * seconds, _REHEARSAL_SECONDS))
        return self.ranks.agree(lambda: max(1, round(seconds / spent)))
