"""What is measured of a finished run, the same for every arm, and kept beside it."""

from __future__ import annotations

import hashlib
import math
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clozelm.errors import DataError
from clozelm.flows.compare import USAGE, Job, Plan, open_run, read_json, usage, write_json
from clozelm.flows.compare_settings import MeasureSettings
from clozelm.flows.probe import Labelled, check_probe, probe
from clozelm.flows.transfer import Transfer
from clozelm.infer.embed import mean_vectors
from clozelm.infer.minimal_pairs import minimal_pairs
from clozelm.infer.score import Judge, Scorer
from clozelm.nn.decoder import EncoderDecoder
from clozelm.nn.heads import Discriminator, MaskedLM
from clozelm.text.atomic import disk_errors
from clozelm.text.files import find_files
from clozelm.text.pair_files import Pair, read_pairs
from clozelm.text.readers import documents
from clozelm.text.sentences import sentence_breaks
from clozelm.train.evaluate import piece_costs
from clozelm.train.journal import JOURNAL, Record, records
from clozelm.train.record import data_fingerprint, open_heldout, read_record
from clozelm.train.run import Run
from clozelm.train.words import word_costs
from clozelm.types import Reading

MEASURES, UNITS = "measures.json", "units.npz"
_FORMAT = 2
_SEED = 0
_SHORTEST, _LONGEST = 20, 400  # characters of a sentence that is scored
_FILLS_NONE = "it trains no model that fills masks"

Sums = dict[str, NDArray[np.float64]]


@dataclass
class Measured:
    """Numbers of one run by name; why one is missing; sums per document or text; and what to keep in mind.

    ``units`` has for a measure an array [2, units]: what is added up, and what it is divided by.
    """

    values: dict[str, float | None] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    units: Sums = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def leave_out(self, reason: str, *names: str) -> None:
        """Note that measures have no value, and why."""
        self.values |= dict.fromkeys(names)
        self.reasons |= dict.fromkeys(names, reason)

    def add(
        self, name: str, above: NDArray[Any], below: NDArray[Any], owner: NDArray[np.int64] | None = None
    ) -> None:
        """Take a measure in that is sum(above) / sum(below), with the unit each number belongs to."""
        owner = np.arange(len(above)) if owner is None else owner
        above, below = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
        self.values[name] = float(above.sum() / below.sum())
        self.units[name] = np.stack([np.bincount(owner, weights=above), np.bincount(owner, weights=below)])


def check_measures(settings: MeasureSettings) -> None:
    """Refuse files that could not be measured on, before anything is trained."""
    check_probe(settings)
    Transfer(settings).check()
    if settings.pairs:
        list(_pairs(settings))


def _pairs(settings: MeasureSettings) -> Iterator[Pair]:
    return read_pairs(settings.pairs, limit=settings.pairs_limit)


class Measurer:
    """Measures the runs of a plan, and does nothing for those that were measured so before."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.settings: MeasureSettings = plan.comparison.settings.measure
        self.labelled = check_probe(self.settings)
        self.transfer = Transfer(self.settings)

    def __call__(self, job: Job, say: Callable[[str], None]) -> Measured:
        """Return what is known of a finished run, measuring it if it was not yet or in another way."""
        known = self._known(job)
        if known is not None:
            return known
        path = job.out / MEASURES
        say(f"measuring {job.arm.label}, seed {job.seed}")
        measured = self._measure(job)
        with disk_errors(job.out / UNITS):
            path.unlink(missing_ok=True)  # whoever is stopped here leaves no measures beside the units of others
            np.savez(job.out / UNITS, **measured.units)  # type: ignore[arg-type]
        write_json(
            path,
            {
                "measured_as": self._made_with,
                "values": measured.values,
                "reasons": measured.reasons,
                "notes": measured.notes,
            },
        )
        return measured

    def _known(self, job: Job) -> Measured | None:
        """Return what was measured before; None where that was nothing, in another way, or is damaged."""
        path = job.out / MEASURES
        if not path.is_file() or (found := read_json(path)).get("measured_as") != self._made_with:
            return None
        try:
            with (job.out / UNITS).open("rb") as file, np.load(file) as units:
                return Measured(found["values"], found["reasons"], dict(units), found["notes"])
        except (OSError, ValueError, TypeError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile):
            return None

    @cached_property
    def _made_with(self) -> dict[str, Any]:
        """Return everything that the numbers depend on beside the run."""
        held = open_heldout(self.plan.data, self.plan.heldout, self.plan.tokenizer)
        given = self.settings
        labelled = (given.probe, given.probe_dev, given.entities, given.entities_dev)
        files = [*(find_files(given.pairs) if given.pairs else []), *(Path(path) for path in labelled if path)]
        return {
            "format": _FORMAT,
            "settings": self.settings.model_dump(mode="json"),
            "row_length": self.plan.comparison.row_length,
            "heldout": None if held is None else data_fingerprint(held),
            "files": {str(path): hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in files},
        }

    @cached_property
    def _texts(self) -> list[str] | None:
        """Return the held-out texts, which stand beside their tokens; None where they do not."""
        place = self.plan.heldout
        path = None if place is None else place.with_name(f"{place.name}.jsonl")
        if path is None or not path.is_file():
            return None
        return [document.text for document in islice(documents([path]), self.settings.documents)]

    def _measure(self, job: Job) -> Measured:
        run = open_run(self.plan, job)
        run.close()
        if run.step < run.num_steps:
            raise DataError(
                f"{job.out} was finished, but its last checkpoint is gone or damaged (now at step {run.step} of "
                f"{run.num_steps}): put it back, or remove {job.out / USAGE} to train on from there."
            )
        measured = Measured(notes=_notes(run))
        _add_costs(measured, job, run)
        self._add_held_out(measured, run)
        self._add_sentences(measured, run)
        self._add_pairs(measured, run)
        self._add_probe(measured, run)
        self._add_transfer(measured, run)
        return measured

    def _add_held_out(self, measured: Measured, run: Run) -> None:
        names = ("masked_loss", "masked_accuracy")
        if not run.objective.fills_masks:
            measured.leave_out(_FILLS_NONE, *names, "bits_per_byte", "words_right")
            return
        if run.heldout is None:
            measured.leave_out("there is no held-out text: prepare with --hold-out, or pass --heldout", *names)
        else:
            costs = piece_costs(
                run.model,
                run.heldout,
                run.tokenizer.vocabulary,
                row_length=min(self.plan.comparison.row_length, run.config.max_positions),
                rate=self.settings.rate,
                seed=_SEED,
                max_tokens=self.settings.tokens,
            )
            ones = np.ones_like(costs.losses)
            measured.add("masked_loss", costs.losses, ones, costs.documents)
            measured.add("masked_accuracy", costs.right, ones, costs.documents)
        names = ("bits_per_byte", "words_right")
        if self._texts is None:
            measured.leave_out("the held-out text is not beside its tokens", *names)
            return
        words = word_costs(run.model, run.tokenizer, self._texts, rate=self.settings.rate, seed=_SEED)
        if not words.nats.size:
            measured.leave_out("the held-out text has no word", *names)
            return
        measured.add("bits_per_byte", words.nats / math.log(2), words.sizes, words.documents)
        measured.add("words_right", words.right, np.ones_like(words.nats), words.documents)

    def _add_pairs(self, measured: Measured, run: Run) -> None:
        if not self.settings.pairs:
            measured.leave_out("no file of minimal pairs was given (--pairs)", "pairs")
            return
        result = minimal_pairs(_judge(run, Discriminator, EncoderDecoder), run.tokenizer, _pairs(self.settings))
        share = 1.0 / np.bincount(result.owners)[result.owners]  # each group counts alike, however many its pairs
        measured.add("pairs", result.credits * share, share)

    def _add_sentences(self, measured: Measured, run: Run) -> None:
        if self._texts is None:
            measured.leave_out("the held-out text is not beside its tokens", "sentence_bits")
            return
        sentences = spread_sentences(self._texts, self.settings.sentences)
        scorer = Scorer(_judge(run, EncoderDecoder), run.tokenizer)
        scores = [score for score in scorer(sentences) if score.pieces]
        if not scores:
            measured.leave_out("the held-out text has no sentence", "sentence_bits")
            return
        nats = np.array([-score.log_probability for score in scores])
        measured.add("sentence_bits", nats / math.log(2), np.array([score.num_bytes for score in scores]))

    def _add_probe(self, measured: Measured, run: Run) -> None:
        if self.labelled is None:
            measured.leave_out("no labelled texts were given (--probe, --probe-dev)", "probe")
            return
        kept = run.objective.stored()[0].model
        reading = kept.reading if isinstance(kept, MaskedLM) else Reading()

        def vectors(given: Labelled) -> NDArray[np.float64]:
            return mean_vectors(kept.encoder, run.tokenizer, given.texts, context=reading.context)

        train, dev = self.labelled
        right = probe(vectors(train), train.labels, vectors(dev), dev.labels)
        measured.add("probe", right, np.ones(len(right)))

    def _add_transfer(self, measured: Measured, run: Run) -> None:
        if self.settings.finetune:
            measured.add("finetuned", *self.transfer.accuracy(run))
        else:
            measured.leave_out("no fine-tuning was asked for (--finetune)", "finetuned")
        if self.settings.entities:
            measured.add("entities", *self.transfer.f1(run))
        else:
            measured.leave_out("no sentences with tags were given (--entities, --entities-dev)", "entities")


def _judge(run: Run, *kinds: type[Judge]) -> Judge:
    """Return the first model of these kinds that a run keeps, or else the one that fills masks."""
    kept = (one.model for one in run.objective.stored())
    return next((model for model in kept if isinstance(model, kinds)), None) or run.model


def spread_sentences(texts: Sequence[str], count: int) -> list[str]:
    """Return at most ``count`` sentences of 20 to 400 characters, spread evenly over the texts."""
    edges = ([0, *sentence_breaks(text), len(text)] for text in texts)
    cut = (text[a:b].strip() for text, ends in zip(texts, edges, strict=True) for a, b in pairwise(ends))
    sentences = [sentence for sentence in cut if _SHORTEST <= len(sentence) <= _LONGEST]
    places = np.linspace(0, len(sentences) - 1, min(count, len(sentences))).astype(int)
    return [sentences[place] for place in places]


def _add_costs(measured: Measured, job: Job, run: Run) -> None:
    """Take in what the run itself left: its last journal record, and what it cost."""
    record = read_record(job.out) or {}
    journal = _journal(job)
    last = journal[-1] if journal else {}
    measured.values |= {
        f"own_{name.removeprefix('heldout_')}": value
        for name, value in last.items()
        if name.startswith("heldout_") and isinstance(value, int | float)
    }
    measured.values |= {
        "tokens": run.tokens_seen,
        "steps": run.step,
        "flops": spent_flops(journal),
        "seconds": run.elapsed_seconds,
        "tokens_per_second": run.tokens_seen / run.elapsed_seconds if run.elapsed_seconds else None,
        "parameters": record.get("parameters"),
        "peak_bytes": usage(job).get("peak_bytes"),
    }


def _journal(job: Job) -> list[Record]:
    """Return the records of a run's steps; none where its journal is gone."""
    path = job.out / JOURNAL
    return [record for record in records(path) if "step" in record] if path.is_file() else []


def _notes(run: Run) -> list[str]:
    """Say in what the numbers of a run mean something else than those of a plain masked language model."""
    notes = []
    if not run.objective.fills_masks:
        notes.append(
            "it fills no masks: sentences and minimal pairs are scored by its decoder, labels, probe and entities "
            "look at its encoder"
        )
    elif run.model.reading.is_causal:
        notes.append(
            "it reads from left to right, so that its masked loss is that of the same pieces given the true ones "
            "before them, and of none after them; of a hidden word it is told the earlier pieces, others none"
        )
    elif run.objective.stored()[0].model is not run.model:
        notes.append(
            "masked loss and accuracy, bits per byte, pseudo ones too, and words right are those of its generator, "
            "which fills masks; the probe and minimal pairs look at the model that is kept"
        )
    return notes


def curve(job: Job) -> dict[str, list[float]]:
    """Return the held-out losses on the way of a run, with what had been spent by then; may be empty."""
    found: dict[str, list[float]] = {"tokens": [], "steps": [], "flops": [], "seconds": [], "loss": []}
    flops, before = 0.0, 0
    for record in _journal(job):
        numbers = {key: value for key, value in record.items() if isinstance(value, int | float)}
        flops += (numbers["step"] - before) * numbers.get("flops", 0.0)
        before = int(numbers["step"])
        if "heldout_loss" in numbers:
            found["tokens"].append(numbers["tokens_seen"])
            found["steps"].append(before)
            found["flops"].append(flops)
            found["seconds"].append(numbers["elapsed_seconds"])
            found["loss"].append(numbers["heldout_loss"])
    return found


def spent_flops(journal: list[Record]) -> float | None:
    """Return the FLOPs of a run, a step without a record counted as the next one with it; None if not kept."""
    total, before = 0.0, 0
    for record in journal:
        step, flops = record.get("step"), record.get("flops")
        if not isinstance(step, int) or not isinstance(flops, int | float):
            return None
        total += (step - before) * flops
        before = step
    return total if journal else None
