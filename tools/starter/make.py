"""The stages from raw text to the packaged directory; what an earlier call left is used again.

The model is trained in two parts: `starter` on documents, `starter-sentences` on the same text by sentences.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

import clozelm
from clozelm.data.prepare import PrepareSettings, prepare, training_documents
from clozelm.data.store import is_store
from clozelm.errors import DataError
from clozelm.flows.cloze_sentences import read_sentences
from clozelm.flows.progress import show_run
from clozelm.flows.training import draw_curve, recipe
from clozelm.shipped import DIRECTORY
from clozelm.text.tokenizer import Tokenizer, is_tokenizer
from clozelm.text.train_tokenizer import train as train_tokenizer
from clozelm.train.run import Run
from tools.starter.card import earlier_parts, part, write_card
from tools.starter.corpus import Recipe, check_files, field_of, inputs, leaks, read_recipe
from tools.starter.measure import measure

MOST_BYTES = 16_000_000
FIRST, SECOND = "starter", "starter-sentences"


class Starter:
    """A making of the starter: the corpus, the directory it works in and where the model goes."""

    def __init__(
        self, corpus: Path, out: Path, *, package: Path = DIRECTORY, files: Recipe | None = None, pairs: str = ""
    ) -> None:
        self.corpus, self.out, self.package = corpus, out, package
        self.files = files or read_recipe()
        self.pairs = corpus / (pairs or "eval/blimp_first200")
        self.console = Console(highlight=False, markup=False, soft_wrap=True)

    def make(self, *overrides: str, dry_run: bool = False, first: Path | None = None) -> None:
        """Go through all stages; a dry run checks the files and says what would be done.

        ``first`` is a model that an earlier making packaged: tokenizer and first part are then its own.
        """
        settings = recipe(FIRST, *overrides)
        check_files(self.files, self.corpus)
        parts = [] if first is None else earlier_parts(first)
        kept = None if first is None else Tokenizer.load(first)
        self.console.print(f"{len(self.files.files)} files are those of the recipe.")
        if dry_run:
            self._plan(settings)
            return
        train = inputs(self.files.train, self.corpus, self.out / "text")
        held = inputs(self.files.held_out, self.corpus, self.out / "text")
        found = self._once("leaks.json", lambda: leaks(train, read_sentences()))
        if count := found["examples"]:
            raise DataError(f"The training text has the public example {count} times: choose other text.")
        tokenizer = kept or self._tokenizer(train)
        self._store(train, tokenizer, "tokens")
        self._store(held, tokenizer, "held")
        if first is None:
            begun = self._trained(settings, "run")
            if begun is None:
                return
            parts = [part(begun, FIRST)]
        start = self.out / "run" / "model" if first is None else first
        own = [one for one in overrides if not one.startswith("model.")]
        run = self._trained(recipe(SECOND, f"model.start={start}", *own), "sentences")
        if run is None:
            return
        parts = [*parts, part(run, SECOND)]
        curve = draw_curve(run, "starter, second part")
        pairs = self.pairs if self.pairs.is_dir() else None
        model = clozelm.load(self._packaged(run))
        figures = self._once("figures.json", lambda: measure(model, held, pairs))
        write_card(self.package, self.files, run, parts, found, figures)
        shutil.copyfile(curve, self.package / "loss.png")
        self._check_size()

    def _trained(self, settings: clozelm.PretrainSettings, name: str) -> Run | None:
        """Return the finished run of a part; None where a signal stopped it."""
        run = Run.open(settings, data=self.out / "tokens", out=self.out / name, heldout=self.out / "held")
        show_run(run, console=self.console)
        run.close()
        if run.step == run.num_steps:
            return run
        self.console.print(f"Stopped at step {run.step:,} of {run.num_steps:,}; the same command goes on.")
        return None

    def _plan(self, settings: clozelm.PretrainSettings) -> None:
        kind, size = self.files.kind, self.files.vocab_size
        for source in self.files.train:
            self.console.print(f"  {source.file}: {source.source} ({source.licence}), {_times(source.times)}")
        self.console.print(
            f"Would learn a {kind} tokenizer of {size:,} pieces, prepare tokens, train "
            f"{settings.model.family} for {settings.budget.tokens or 0:,} tokens and then for "
            f"{recipe(SECOND).budget.tokens or 0:,} sentence by sentence in {self.out}, measure the "
            f"model and put it into {self.package}. Nothing was written."
        )

    def _once(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what ``make`` gives, or what it gave an earlier call."""
        path = self.out / name
        if not path.is_file():
            self.out.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(make(), indent=1) + "\n", encoding="utf-8")
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return data

    def _tokenizer(self, files: list[Path]) -> Tokenizer:
        path = self.out / "tokenizer"
        if path.is_dir() and is_tokenizer(path):
            return Tokenizer.load(path)
        once = [file for file in files if not file.is_relative_to(self.out) or file.name.startswith("1-")]
        learned = training_documents(once, PrepareSettings(field=field_of(once)))
        tokenizer, report = train_tokenizer(learned, kind=self.files.kind, vocab_size=self.files.vocab_size)  # type: ignore[arg-type]
        tokenizer.save(path)
        self.console.print(f"Tokenizer: {report.fertility:.2f} pieces a word, hash {tokenizer.fingerprint}.")
        return tokenizer

    def _store(self, files: list[Path], tokenizer: Tokenizer, name: str) -> None:
        path = self.out / name
        if not (path.is_dir() and is_store(path)):
            manifest = prepare(files, tokenizer, path, PrepareSettings(field=field_of(files)))
            self.console.print(
                f"{name}: {manifest['num_tokens']:,} tokens of {manifest['num_documents']:,} documents."
            )

    def _packaged(self, run: Run) -> Path:
        """Write the model in half precision into the package."""
        staged = self.out / "package"
        clozelm.convert(run.out, staged, dtype="float16", force=staged.exists())
        shutil.rmtree(self.package, ignore_errors=True)
        shutil.copytree(staged, self.package)
        return self.package

    def _check_size(self) -> None:
        size = sum(path.stat().st_size for path in self.package.rglob("*") if path.is_file())
        if size > MOST_BYTES:
            raise DataError(f"{self.package} has {size:,} bytes, more than the {MOST_BYTES:,} a package may bring.")
        self.console.print(f"{self.package}: {size / 1e6:.1f} MB.")


def _times(count: int) -> str:
    return "read once" if count == 1 else f"read {count} times"
