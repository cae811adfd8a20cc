"""The model a user holds: open it, fill masks, score sentences, measure it, save it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from clozelm import hub
from clozelm.errors import SettingsError
from clozelm.families import Family
from clozelm.infer.fill_mask import Candidate, Filled, FillMask
from clozelm.infer.score import Method, Score, Scorer
from clozelm.nn.device import moved
from clozelm.nn.encoder import Encoder
from clozelm.nn.heads import MaskedLM
from clozelm.shipped import STARTER
from clozelm.text.tokenizer import Tokenizer
from clozelm.text.valid import check_whole, checked_text, checked_texts
from clozelm.train.hardware import DTYPES

if TYPE_CHECKING:
    from clozelm.explain.explain import Explanation
    from clozelm.flows.trace import TraceReport
    from clozelm.infer.fillings import FilledTogether
    from clozelm.infer.generate import Generated
    from clozelm.infer.minimal_pairs import PairsResult
    from clozelm.text.pair_files import Pair
    from clozelm.train.evaluate import TextEvaluation


@dataclass(frozen=True)
class Model:
    """A masked language model with its tokenizer."""

    masked_lm: MaskedLM
    tokenizer: Tokenizer
    family: Family

    @property
    def encoder(self) -> Encoder:
        """The encoder inside, which gives one vector per token."""
        return self.masked_lm.encoder

    @overload
    def fill(self, text: str, top: int = 5) -> list[list[Candidate]]: ...

    @overload
    def fill(self, text: list[str], top: int = 5) -> list[list[list[Candidate]]]: ...

    def fill(self, text: str | list[str], top: int = 5) -> list[list[Candidate]] | list[list[list[Candidate]]]:
        """Return the ``top`` candidates of every ``[MASK]`` in ``text``; for several texts a list of those.

        Each mask is answered by itself, the others masked: ``fill_jointly`` finds answers that go together.
        Warns when a text is longer than the model and each mask was filled from the pieces around it.
        """
        filled = self.fill_texts(text, top)
        for notice in dict.fromkeys(one.notice for one in filled if one.notice):
            warnings.warn(notice, stacklevel=2)
        return filled[0].masks if isinstance(text, str) else [one.masks for one in filled]

    def fill_texts(self, texts: str | Sequence[str], top: int = 5) -> list[Filled]:
        """Return for every text its candidates and, where there is one, a notice."""
        check_whole(top=top)
        return FillMask(self.masked_lm, self.tokenizer)(checked_texts(texts), top)

    @overload
    def fill_jointly(self, text: str, top: int | None = None, **settings: Any) -> FilledTogether: ...

    @overload
    def fill_jointly(self, text: list[str], top: int | None = None, **settings: Any) -> list[FilledTogether]: ...

    def fill_jointly(
        self, text: str | list[str], top: int | None = None, **settings: Any
    ) -> FilledTogether | list[FilledTogether]:
        """Fill all masks of a text together, also ``[MASK*]``, which stands for one or more pieces.

        The settings are those of ``clozelm.infer.fillings.FillSettings``: order, targets, whole_words and so on.
        Returns the ``top`` fillings (5, or one for every target) of the text, or of each of several.
        """
        from clozelm.infer.fillings import FillSettings
        from clozelm.infer.joint import JointFill

        check_whole(top=top)
        texts = checked_texts(text)
        lists = {name: tuple(value) for name, value in settings.items() if isinstance(value, list)}
        filler = JointFill(self.masked_lm, self.tokenizer, FillSettings(**(settings | lists)))
        filled = list(filler(texts, top))
        return filled[0] if isinstance(text, str) else filled

    @overload
    def score(self, texts: str, *, method: Method | None = None) -> Score: ...

    @overload
    def score(self, texts: list[str], *, method: Method | None = None) -> list[Score]: ...

    def score(self, texts: str | list[str], *, method: Method | None = None) -> Score | list[Score]:
        """Return how probable the model finds a text, or each of several; see ``clozelm.infer.score.Scorer``."""
        scores = list(Scorer(self.masked_lm, self.tokenizer, method=method)(checked_texts(texts)))
        return scores[0] if isinstance(texts, str) else scores

    def minimal_pairs(
        self, pairs: Iterable[Pair | tuple[str, str]], *, method: Method | None = None
    ) -> PairsResult:
        """Count how often the model prefers the first sentence of a pair; see ``clozelm.infer.minimal_pairs``."""
        from clozelm.infer.minimal_pairs import minimal_pairs

        return minimal_pairs(self.masked_lm, self.tokenizer, pairs, method=method)

    def generate(
        self,
        text: str | None = None,
        *,
        length: int | None = None,
        samples: int = 1,
        seed: int = 0,
        **sampling: Any,
    ) -> list[Generated]:
        """Write ``samples`` texts by filling masks over several steps; see ``clozelm.infer.generate.Sampling``.

        The masks are those of ``text``, or ``length`` of them, after the text where there is one.
        """
        from clozelm.infer.generate import Generator, Sampling

        if text is not None:
            checked_text(text)
        check_whole(length=length, samples=samples, seed=seed)
        how = Sampling(**sampling)
        return Generator(self.masked_lm, self.tokenizer)(
            text, length=length, sampling=how, seed=seed, samples=samples
        )

    def explain(
        self, text: str, *, word: str | None = None, mask: int | None = None, top: int = 5, seed: int = 0
    ) -> Explanation:
        """Return every view of what the model says at a ``[MASK]``; see ``clozelm.explain.explain.explain``.

        ``word`` is what you expect there, ``mask`` the number of the mask (from 1) where there are several.
        """
        from clozelm.explain.explain import explain

        check_whole(mask=mask, top=top, seed=seed)
        if word is not None:
            checked_text(word, "the word")
        asked = checked_text(text)
        return explain(self.masked_lm, self.tokenizer, asked, word=word, mask=mask, top=top, seed=seed)

    def trace(self, text: str, **choices: Any) -> TraceReport:
        """Return the four steps of masked language modelling on one sentence; see ``clozelm.flows.trace.trace``.

        The update is taken on a copy: this model stays as it is.
        """
        from clozelm.flows.trace import trace

        return trace(self.masked_lm, self.tokenizer, checked_text(text), **choices)

    def evaluate(self, texts: str | Path | Sequence[str | Path], **settings: Any) -> TextEvaluation:
        """Measure the model on text files with fixed masks; see ``clozelm.train.evaluate.evaluate``."""
        from clozelm.train.evaluate import evaluate as measure

        return measure(self.masked_lm, self.tokenizer, texts, **settings)

    def save(self, directory: str | Path, *, card: Mapping[str, Any] | None = None) -> None:
        """Write a plain Hugging Face directory; ``card`` holds facts for its model card."""
        hub.save(self.masked_lm, self.tokenizer, directory, family=self.family.name, card=card)

    def to(self, device: str) -> Model:
        """Move the weights to ``device``, in place, and return the model."""
        moved(self.masked_lm, device)
        return self


def load(path: str | Path = STARTER, *, device: str = "cpu", precision: Literal["fp32", "bf16"] = "fp32") -> Model:
    """Open a Hugging Face directory of a supported family, or a run, which holds one as ``model``.

    Without a path opens the starter, the English model that ships with the package. In ``bf16`` it is up to three
    times as fast where the machine has such instructions, and probabilities have two to three digits; ``explain``
    and ``trace`` look at smaller differences and want ``fp32``.
    """
    if precision not in DTYPES:
        raise SettingsError(f"precision={precision!r} is none of {', '.join(DTYPES)}.")
    loaded = hub.load(hub.model_directory(path), dtype=DTYPES[precision])
    return Model(moved(loaded.model, device), loaded.tokenizer, loaded.family)


def evaluate(
    model: Model | str | Path, texts: str | Path | Sequence[str | Path], **settings: Any
) -> TextEvaluation:
    """Measure a model, or the one in a directory, on text files; see ``clozelm.train.evaluate.evaluate``."""
    held = model if isinstance(model, Model) else load(model)
    return held.evaluate(texts, **settings)
