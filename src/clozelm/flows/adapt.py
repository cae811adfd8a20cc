"""Continue the pretraining of a model on text of a domain, and measure what that gained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clozelm import hub
from clozelm.data.prepare import HELD_OUT, PrepareSettings, prepare, training_documents
from clozelm.data.store import is_store, read_manifest
from clozelm.errors import DataError, SettingsError
from clozelm.flows.model import Model, load
from clozelm.flows.training import recipe
from clozelm.hub.load import Loaded, model_directory
from clozelm.nn.grow import grown
from clozelm.nn.heads import MaskedLM
from clozelm.text.extend import extend
from clozelm.text.files import find_files
from clozelm.text.tokenizer import Tokenizer
from clozelm.train.evaluate import TextEvaluation, evaluate
from clozelm.train.pretrain import train
from clozelm.train.run import Run

EPOCHS = 3
REPORT = "adapt.json"
_EXTENDED = "extended"
_MAX_DOCUMENTS = 2000


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
class Adapted:
    """What ``adapt`` gives back: the model, and how the old and the new one do on the held-out text."""

    model: Model
    before: TextEvaluation | None
    after: TextEvaluation


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
    return Adapted(load(out), adaptation.before, finish(adaptation, out))


def begin(
    model: str | Path,
    corpus: Sequence[str | Path],
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    preparation: PrepareSettings | None = None,
    extend_vocab: int = 0,
    recipe_name: str = "adapt",
) -> Adaptation:
    """Prepare the corpus with the model's own tokenizer, measure the model on held-out text and open the run.

    ``out`` gets ``tokens``, ``run`` and, with ``extend_vocab``, ``extended``: the model with that many new pieces.
    What an earlier call with the same model and corpus left there is used again. Without a budget in ``overrides``
    the corpus is read three times.
    """
    out, directory = Path(out), model_directory(model)
    base = hub.load(directory, new_head=True)
    preparation = preparation or PrepareSettings(hold_out=0.05)
    if not preparation.hold_out:
        raise SettingsError("hold_out=0 leaves no text to measure the gain on: hold out at least 0.01.")
    start, tokenizer, new_pieces = directory, base.tokenizer, 0
    if extend_vocab:
        start, tokenizer, new_pieces = _extended(base, corpus, preparation, out / _EXTENDED, extend_vocab)
    tokens = _prepared(corpus, tokenizer, out / "tokens", preparation)
    held_out = tokens / f"{HELD_OUT}.jsonl"
    settings = recipe(recipe_name, *_defaults(base, start, tokens, overrides), *overrides)
    run = Run.open(settings, data=tokens, out=out / "run")
    before = None if base.has_new_head else measured(base.model, base.tokenizer, held_out)
    return Adaptation(run, base, before, new_pieces, held_out)


def finish(adaptation: Adaptation, out: str | Path) -> TextEvaluation:
    """Measure the trained model on the same text and write both measurements to ``out/adapt.json``."""
    run = adaptation.run
    after = measured(run.model, run.tokenizer, adaptation.held_out)
    report = {
        "model": str(run.out / "model"),
        "new_pieces": adaptation.new_pieces,
        "steps": run.step,
        "tokens": run.tokens_seen,
        "seconds": run.elapsed_seconds,
        "before": None if adaptation.before is None else plain(adaptation.before),
        "after": plain(after),
    }
    (Path(out) / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return after


def measured(model: MaskedLM, tokenizer: Tokenizer, held_out: Path) -> TextEvaluation:
    """Evaluate on the held-out documents, at most 2,000 of them."""
    return evaluate(model, tokenizer, held_out, max_documents=_MAX_DOCUMENTS)


def plain(evaluation: TextEvaluation) -> dict[str, Any]:
    """Return the figures that are compared."""
    return {
        "loss": evaluation.pieces.loss,
        "accuracy": evaluation.pieces.accuracy,
        "unigram": evaluation.pieces.unigram,
        "words": asdict(evaluation.words),
    }


def _extended(
    base: Loaded, corpus: Sequence[str | Path], preparation: PrepareSettings, out: Path, count: int
) -> tuple[Path, Tokenizer, int]:
    """Return the directory of the model with new pieces, its tokenizer and how many there are."""
    old_size = base.tokenizer.vocab_size
    if not (out / "config.json").is_file():
        texts = (document.text for document in training_documents(corpus, preparation))
        extension = extend(base.tokenizer, texts, count)
        model = grown(base.model, old_size, extension.pieces)
        out.parent.mkdir(parents=True, exist_ok=True)
        card = {
            "made from": base.config.get("_name_or_path") or base.family.name,
            "new pieces": len(extension.pieces),
        }
        hub.save(model, extension.tokenizer, out, family=base.family.name, card=card)
    tokenizer = Tokenizer.load(out)
    return out, tokenizer, tokenizer.vocab_size - old_size


def _prepared(corpus: Sequence[str | Path], tokenizer: Tokenizer, out: Path, preparation: PrepareSettings) -> Path:
    if not (out.is_dir() and is_store(out)):
        out.parent.mkdir(parents=True, exist_ok=True)
        prepare(corpus, tokenizer, out, preparation)
        return out
    manifest = read_manifest(out)
    sources = [{"path": str(path), "bytes": path.stat().st_size} for path in find_files(corpus)]
    is_same = manifest["sources"] == sources and manifest["settings"] == preparation.model_dump()
    if not is_same or manifest["tokenizer"]["fingerprint"] != tokenizer.fingerprint:
        raise DataError(
            f"{out} was prepared from other files, with other settings or another tokenizer: name another --out, "
            "or remove it."
        )
    return out


def _defaults(base: Loaded, start: Path, tokens: Path, overrides: Sequence[str]) -> list[str]:
    """Return what follows from the model and the corpus: family, shape, length of rows, three epochs."""
    chosen = [f"model.family={base.family.name}", f"model.start={start}"]
    rows = min(128, base.model.config.max_positions)
    chosen += [f"data.row_length={rows}", f"data.tokens_per_step={32 * rows}"]
    if not any(one.startswith("budget.") for one in overrides):
        chosen.append(f"budget.tokens={EPOCHS * read_manifest(tokens)['num_tokens']}")
    return chosen
