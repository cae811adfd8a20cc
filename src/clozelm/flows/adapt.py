"""Continue the pretraining of a model on text of a domain, and measure what that gained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clozelm import hub
from clozelm.data.prepare import HELD_OUT, PrepareSettings, prepare, training_documents
from clozelm.data.store import is_store, read_manifest
from clozelm.errors import DataError, SettingsError, TrainingError
from clozelm.flows.model import Model, load
from clozelm.flows.training import recipe
from clozelm.hub.load import Loaded, model_directory
from clozelm.hub.weights import fingerprint
from clozelm.nn.grow import grown
from clozelm.nn.heads import MaskedLM
from clozelm.report.statistics import paired_bootstrap
from clozelm.text.atomic import check_writable, disk_errors, write_whole
from clozelm.text.extend import extend
from clozelm.text.files import find_files
from clozelm.text.tokenizer import Tokenizer
from clozelm.train.denormals import start_threads
from clozelm.train.evaluate import TextEvaluation, evaluate
from clozelm.train.pretrain import train
from clozelm.train.run import Run
from clozelm.train.settings import PretrainSettings

EPOCHS = 3
REPORT, RECORD = "adapt.json", "made-from.json"
_EXTENDED = "extended"
_MAX_DOCUMENTS = 2000
_FEWEST = 5  # documents, for an interval that means something


@dataclass(frozen=True)
class Adaptation:
    """A run that is ready to train, the model it begins with, and how that does on the held-out text.

    ``before`` is None when the model had no head for masked language modelling: there is nothing to measure then.
    ``new_pieces`` were added to the tokenizer.
    """

    run: Run
    base: Loaded
    before: TextEvaluation | None
    new_pieces: int
    held_out: Path


@dataclass(frozen=True)
class Change:
    """Bits per byte after less before: below 0 is better.

    ``low`` and ``high`` are the 95% bootstrap interval over ``documents``, paired; None for fewer than five.
    """

    bits_per_byte: float
    low: float | None
    high: float | None
    documents: int


@dataclass(frozen=True)
class Adapted:
    """What ``adapt`` gives back: the model, and how the old and the new one do on the held-out text."""

    model: Model
    before: TextEvaluation | None
    after: TextEvaluation

    @property
    def change(self) -> Change | None:
        """What was gained, in bits per byte; None where there was nothing to measure before."""
        return change(self.before, self.after)


def adapt(
    model: str | Path, corpus: str | Path | Sequence[str | Path], *, out: str | Path, **options: Any
) -> Adapted:
    """Continue the pretraining of a model on text, from beginning to end; ``options`` are those of ``begin``.

    The same call on the same ``out`` goes on where an interrupted one stopped.
    """
    paths = [corpus] if isinstance(corpus, str | Path) else list(corpus)
    adaptation = begin(model, paths, out, **options)
    for _ in train(adaptation.run):
        pass
    run = adaptation.run
    if run.step < run.num_steps:
        raise TrainingError(f"Stopped at step {run.step} of {run.num_steps}; the same call resumes it.")
    after = finish(adaptation, out)
    return Adapted(load(run.out / "model"), adaptation.before, after)


def begin(
    model: str | Path,
    corpus: Sequence[str | Path],
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    preparation: PrepareSettings | None = None,
    extend_vocab: int = 0,
    recipe_name: str | Path = "adapt",
) -> Adaptation:
    """Prepare the corpus with the model's own tokenizer, measure the model on held-out text and open the run.

    ``out`` gets ``tokens``, ``run`` and, with ``extend_vocab``, ``extended``: the model with that many new pieces.
    What an earlier call with the same model, corpus and settings left there is used again; of others it is refused.
    Without a budget in the recipe or in ``overrides`` the corpus is read three times.
    """
    start_threads()  # before the model is read, which starts them otherwise
    out, directory = Path(out), model_directory(model)
    base = hub.load(directory, new_head=True)
    preparation = preparation or PrepareSettings(hold_out=0.05)
    if not preparation.hold_out:
        raise SettingsError("hold_out=0 leaves no text to measure the gain on: hold out at least 0.01.")
    _check_place(out, directory)
    made_from = _origin(base, directory, corpus, preparation, extend_vocab)
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    tokens = out / "tokens"
    is_known = _check_record(out / RECORD, made_from, tokens)
    start, tokenizer, new_pieces = directory, base.tokenizer, 0
    if extend_vocab:
        place = out / _EXTENDED
        if not is_known:
            shutil.rmtree(place, ignore_errors=True)  # left by a preparation that failed, maybe of something else
        start, tokenizer, new_pieces = _extended(base, corpus, preparation, place, extend_vocab)
    if not (tokens.is_dir() and is_store(tokens)):
        prepare(corpus, tokenizer, tokens, preparation)
    if not is_known:  # only now: what has failed binds nobody to the settings it failed with
        write_whole(out / RECORD, json.dumps(made_from, indent=2) + "\n")
    held_out = tokens / f"{HELD_OUT}.jsonl"
    settings = _settings(recipe_name, base, start, tokens, overrides)
    run = Run.open(settings, data=tokens, out=out / "run")
    before = None if base.has_new_head else measured(base.model, base.tokenizer, held_out)
    return Adaptation(run, base, before, new_pieces, held_out)


def finish(adaptation: Adaptation, out: str | Path) -> TextEvaluation:
    """Measure the model that was saved on the same text and write both measurements to ``out/adapt.json``."""
    run = adaptation.run
    saved = hub.load(run.out / "model")
    after = measured(saved.model, saved.tokenizer, adaptation.held_out)
    report = {
        "model": str(run.out / "model"),
        "new_pieces": adaptation.new_pieces,
        "dropped": adaptation.base.dropped,
        "steps": run.step,
        "tokens": run.tokens_seen,
        "seconds": run.elapsed_seconds,
        "before": None if adaptation.before is None else plain(adaptation.before),
        "after": plain(after),
        "change": None if (found := change(adaptation.before, after)) is None else asdict(found),
    }
    path = Path(out) / REPORT
    with disk_errors(path):
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return after


def measured(model: MaskedLM, tokenizer: Tokenizer, held_out: Path) -> TextEvaluation:
    """Evaluate on the held-out documents, at most 2,000 of them."""
    return evaluate(model, tokenizer, held_out, max_documents=_MAX_DOCUMENTS)


def change(before: TextEvaluation | None, after: TextEvaluation) -> Change | None:
    """Compare two models on the same held-out documents; None without a measurement of the first."""
    if before is None:
        return None
    documents = int(((before.by_document[1] > 0) | (after.by_document[1] > 0)).sum())
    value = after.words.bits_per_byte - before.words.bits_per_byte
    if documents < _FEWEST:
        return Change(value, None, None, documents)
    return Change(value, *paired_bootstrap(after.by_document, before.by_document), documents)


def plain(evaluation: TextEvaluation) -> dict[str, Any]:
    """Return the figures that are compared."""
    return {
        "loss": evaluation.pieces.loss,
        "accuracy": evaluation.pieces.accuracy,
        "unigram": evaluation.pieces.unigram,
        "words": asdict(evaluation.words),
    }


def _check_place(out: Path, directory: Path) -> None:
    """Refuse a place that holds a model or a run of its own, which would be opened instead of the new one."""
    if out.is_file():
        raise SettingsError(f"{out} is a file: name an empty or new directory with --out.")
    check_writable(out)
    taken = [name for name in ("config.json", "run.json", "model") if (out / name).exists()]
    if taken or out.resolve() == directory.resolve():
        raise SettingsError(f"{out} holds a model or a run ({', '.join(taken)}): name a new directory with --out.")


def _origin(
    base: Loaded, directory: Path, corpus: Sequence[str | Path], preparation: PrepareSettings, extend_vocab: int
) -> dict[str, Any]:
    """Return what decides the tokens and the first weights."""
    return {
        "model": fingerprint(directory),
        "tokenizer": base.tokenizer.fingerprint,
        "extend_vocab": extend_vocab,
        "sources": [{"path": str(path), "bytes": path.stat().st_size} for path in find_files(corpus)],
        "preparation": preparation.model_dump(),
    }


def _check_record(path: Path, made_from: dict[str, Any], tokens: Path) -> bool:
    """Compare what is asked for with what an earlier call was asked for; tell whether there was one."""
    if not path.is_file():
        if is_store(tokens):
            raise DataError(
                f"{tokens} is there already, with no {RECORD} beside it to say what it is made from: remove it, or "
                "name another --out."
            )
        return False
    before, now = _read_record(path), json.loads(json.dumps(made_from))
    differing = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if differing:
        raise DataError(
            f"{path.parent} was made with another {' and '.join(differing)}: name another --out, or remove it."
        )
    return True


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(record, dict):
            raise ValueError("no JSON object")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read ({error}): delete this file if model, corpus and settings are those of the "
            "earlier call, or name another --out."
        ) from None
    return record


def _extended(
    base: Loaded, corpus: Sequence[str | Path], preparation: PrepareSettings, out: Path, count: int
) -> tuple[Path, Tokenizer, int]:
    """Return the directory of the model with new pieces, its tokenizer and how many there are."""
    old_size = base.tokenizer.vocab_size
    if not (out / "config.json").is_file():
        texts = (document.text for document in training_documents(corpus, preparation))
        extension = extend(base.tokenizer, texts, count)
        model = grown(base.model, old_size, extension.pieces)
        card = {"made from": f"a {base.family.name}", "new pieces": len(extension.pieces)}
        has_head = not base.has_new_head
        hub.save(model, extension.tokenizer, out, family=base.family.name, card=card, with_head=has_head)
    tokenizer = Tokenizer.load(out)
    return out, tokenizer, tokenizer.vocab_size - old_size


def _settings(
    recipe_name: str | Path, base: Loaded, start: Path, tokens: Path, overrides: Sequence[str]
) -> PretrainSettings:
    """Return the recipe with what follows from the model and the corpus: family, length of rows, three epochs."""
    chosen = [f"model.family={base.family.name}", f"model.start={start}", *overrides]
    settings = recipe(recipe_name, *chosen)
    longest = base.model.config.max_positions
    if settings.data.row_length > longest and not any(one.startswith("data.row_length=") for one in overrides):
        rows = settings.data.tokens_per_step // settings.data.row_length
        chosen += [f"data.row_length={longest}", f"data.tokens_per_step={rows * longest}"]
    if not settings.budget.model_dump(exclude_none=True):
        chosen.append(f"budget.tokens={EPOCHS * read_manifest(tokens)['num_tokens']}")
    return recipe(recipe_name, *chosen)
