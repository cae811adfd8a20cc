"""The settings of masking: which positions are predicted, how many, and what becomes of them."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from clozelm.train.section import Section, setting


class CorruptionSettings(Section):
    """What a chosen position becomes; the rest keeps its piece."""

    mask: float = setting(0.8, "Share replaced by the mask token.", "Devlin et al. 2018, 3.1", ge=0.0, le=1.0)
    random: float = setting(0.1, "Share replaced by a random piece.", "Devlin et al. 2018, 3.1", ge=0.0, le=1.0)


class SpanSettings(Section):
    """Spans of whole words."""

    p: float = setting(0.2, "Chance that a span ends after a word.", "Joshi et al. 2020, 3.1", gt=0.0, lt=1.0)
    longest: int = setting(10, "Most words in a span.", "Joshi et al. 2020, 3.1", ge=1)


class PmiSettings(Section):
    """Collocations, mined from the token store and kept in it."""

    size: int = setting(800_000, "Most collocations.", "Levine et al. 2020, 4", ge=1)
    min_count: int = setting(10, "Fewest occurrences of a collocation.", "Levine et al. 2020, 4", ge=1)
    longest: int = setting(5, "Most words in a collocation.", "Levine et al. 2020, 4", ge=2, le=5)


class ChosenSettings(Section):
    """Words that are hidden before others."""

    words: tuple[str, ...] = setting((), "Words and phrases, as the tokenizer would read them.")
    file: str | None = setting(None, "Text file with one word or phrase a line.")
    patterns: tuple[str, ...] = setting((), "Regular expressions that match a whole word.")
    annotated: bool = setting(False, "Also words with an annotated token; see cloze prepare --annotations.")
    fill: bool = setting(True, "What is left of the rate goes to other words; else the rate is an upper bound.")

    @property
    def is_empty(self) -> bool:
        """Whether nothing is chosen."""
        return not (self.words or self.file or self.patterns or self.annotated)


class AdaptiveSettings(Section):
    """How often each piece of the vocabulary is hidden."""

    mode: Literal["accuracy", "balanced"] = setting(
        "accuracy",
        "accuracy: pieces predicted wrong are hidden more; balanced: rare pieces.",
        "Edman & Fraser 2025",
    )
    every: int = setting(200, "Steps between updates of the weights, for accuracy.", "Edman & Fraser 2025", ge=1)
    decay: float = setting(0.9, "Factor of earlier counts at an update, for accuracy.", "", ge=0.0, lt=1.0)
    prior: float = setting(
        10.0, "Predictions of mean accuracy that are added to every piece, for accuracy.", "", gt=0.0
    )
    ratio: float = setting(10.0, "Largest ratio of two weights.", "", ge=1.0)


class MaskingSettings(Section):
    """Which positions are predicted, and how many."""

    strategy: Literal["uniform", "whole_word", "ngram", "span", "pmi", "chosen", "adaptive"] = setting(
        "uniform", "How positions are chosen.", "Devlin et al. 2018"
    )
    rate: float = setting(0.15, "Share of tokens predicted, at the first step.", "Devlin et al. 2018, 3.1")
    rate_end: float | None = setting(
        None, "Share at the last step, for schedule = linear or cosine.", "Yang et al. 2022"
    )
    schedule: Literal["constant", "linear", "cosine", "random"] = setting(
        "constant", "How the rate moves over the run; random: drawn from (0, 1) for every row."
    )
    dynamic: bool = setting(
        True,
        "Draw masks anew in every epoch; false = rows and masks of the first epoch in all.",
        "Liu et al. 2019, 4.1",
    )
    corruption: CorruptionSettings = CorruptionSettings()
    span: SpanSettings = SpanSettings()
    pmi: PmiSettings = PmiSettings()
    chosen: ChosenSettings = ChosenSettings()
    adaptive: AdaptiveSettings = AdaptiveSettings()

    @model_validator(mode="after")
    def _static(self) -> MaskingSettings:
        if not self.dynamic and (self.schedule in ("linear", "cosine") or self.strategy == "adaptive"):
            what = f"strategy={self.strategy}" if self.strategy == "adaptive" else f"schedule={self.schedule}"
            raise ValueError(f"masking.dynamic=false does not go with masking.{what}, under which masks change")
        return self

    @model_validator(mode="after")
    def _rates(self) -> MaskingSettings:
        for name, rate in (("rate", self.rate), ("rate_end", self.rate_end)):
            if rate is not None and not 0.0 < rate < 1.0:
                raise ValueError(f"masking.{name}={rate} must lie strictly between 0 and 1 (BERT uses 0.15)")
        moves = self.schedule in ("linear", "cosine")
        if moves and self.rate_end is None:
            raise ValueError(f"masking.schedule={self.schedule} needs masking.rate_end, the rate of the last step")
        if not moves and self.rate_end is not None:
            raise ValueError(
                f"masking.rate_end={self.rate_end} has no use with masking.schedule={self.schedule}: set "
                "masking.rate_end=none, or masking.schedule=linear"
            )
        if self.schedule == "random" and self.rate != type(self).model_fields["rate"].default:
            raise ValueError(
                f"masking.rate={self.rate} has no use with masking.schedule=random, which draws one for every row: "
                "leave it out"
            )
        if self.corruption.mask + self.corruption.random > 1.0:
            raise ValueError(
                f"masking.corruption.mask={self.corruption.mask} and masking.corruption.random="
                f"{self.corruption.random} must not add up to more than 1 (BERT uses 0.8 and 0.1)"
            )
        return self

    @model_validator(mode="after")
    def _used(self) -> MaskingSettings:
        for name in ("span", "pmi", "chosen", "adaptive"):
            if self.strategy != name and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(
                    f"masking.{name} has no use with masking.strategy={self.strategy}: it is for {name}"
                )
        if self.strategy == "chosen" and self.chosen.is_empty:
            raise ValueError(
                "masking.strategy=chosen needs something chosen: set masking.chosen.words, .file, .patterns or "
                ".annotated"
            )
        return self
