"""What a masking strategy does to a corpus, found out by masking it: figures and examples, before any training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clozelm.data.collocations import best_collocations
from clozelm.data.loader import Cursor, RowLoader
from clozelm.data.pack import TextUnit
from clozelm.data.rows import Rows, join
from clozelm.data.store import TokenStore
from clozelm.errors import DataError, SettingsError
from clozelm.flows.mask_examples import Example, examples
from clozelm.flows.mask_figures import Hidden, Share, fates, kinds, lengths, per_piece, places
from clozelm.flows.training import recipe
from clozelm.masking import Candidates, Corruption, Selection, mask
from clozelm.masking.rates import random_rates, rate_at
from clozelm.objectives import OBJECTIVES, Objective
from clozelm.report.masks import mask_picture
from clozelm.settings import load
from clozelm.text.atomic import disk_errors
from clozelm.text.tokenizer import Tokenizer
from clozelm.train.masking_settings import MaskingSettings
from clozelm.train.masks import Masks, build_select
from clozelm.train.record import open_data
from clozelm.train.section import Section
from clozelm.train.settings import PretrainSettings

_BEST = 12
_UNMASKED = {
    "clm": "predicts every piece from those before it",
    "span_corruption": "cuts out spans by settings of its own, objective.span_corruption",
}
_STEPS = 1_000_000  # of a run whose rate moves, as fine as anybody asks


class DataLook(Section):
    """What of the rows of a run decides its masks."""

    row_length: int = 128
    unit: TextUnit = "document"


class RunLook(Section):
    """What of the rest of a run decides its masks."""

    seed: int = 0


class ObjectiveLook(Section):
    """What of the objective decides its masks."""

    name: str = "mlm"


class LookSettings(Section):
    """What `cloze masks` lets one set."""

    masking: MaskingSettings = MaskingSettings()
    objective: ObjectiveLook = ObjectiveLook()
    data: DataLook = DataLook()
    run: RunLook = RunLook()


@dataclass(frozen=True)
class Found:
    """Collocations: how many there are of 2, 3, .. words, and the text of the best of each in turn."""

    numbers: dict[int, int]
    best: list[str]


@dataclass(frozen=True)
class MaskReport:
    """Say how a strategy masked some rows.

    ``rate`` is what was asked for. ``kinds`` groups maskable tokens and says what share of each was hidden, the
    first group all of them; ``places`` does so along the row. ``fates`` are shares of the hidden tokens. ``notice``
    says how tables were made and what training will do otherwise later on.
    ``per_piece`` counts document pieces by their number of hidden tokens; ``lengths`` hidden runs by their tokens
    and by the words they touch, and groups (tokens of one corruption draw) by their tokens. ``collocations`` are
    what the strategy found to hide together: how many, by their number of words, and the text of the best.
    """

    strategy: str
    rate: float
    seed: int
    epoch: int
    row_length: int
    rows: int
    pieces: int
    tokens: int
    kinds: dict[str, list[Share]]
    places: list[Share]
    fates: dict[str, float]
    corruption: dict[str, float]
    per_piece: dict[int, int]
    lengths: dict[str, dict[int, int]]
    examples: list[Example]
    notice: str | None = None
    collocations: Found | None = None

    @property
    def measured(self) -> Share:
        """The share of all tokens that was hidden."""
        return self.kinds["all"][0]

    def plain(self) -> dict[str, Any]:
        """Return the report as data for JSON; interval and rate of each share are written out."""
        facts = asdict(self)
        facts["kinds"] = {name: [share.plain() for share in shares] for name, shares in self.kinds.items()}
        facts["places"] = [share.plain() for share in self.places]
        return facts


def look(
    data: str | Path,
    settings: MaskingSettings,
    *,
    show: int = 5,
    tokens: int = 200_000,
    seed: int = 0,
    epoch: int = 0,
    row_length: int = 128,
    unit: TextUnit = "document",
    at: float = 0.0,
    objective: str = "mlm",
) -> MaskReport:
    """Mask the first rows of an epoch, about ``tokens`` tokens and never more than the epoch, and measure.

    These are the rows and masks of a pretraining run with the same settings, seed, row length, unit and
    ``objective``, some of which read pairs of segments. A rate that moves over the run is that of its first step,
    or after a share ``at`` of its steps; weights that it learns are those of the first. Nothing is left in the
    store. Raises ``SettingsError`` for an objective that takes no masks.
    """
    kind = _masked_objective(objective)
    if not 0 <= at <= 1:
        raise SettingsError(f"at={at} must lie between 0, where a run begins, and 1, where it ends.")
    store, tokenizer = open_data(Path(data))
    now = rate_at(round(at * _STEPS), _STEPS + 1, settings.rate, settings.rate_end, settings.schedule)
    sizes = {"row_length": row_length, "tokens_per_step": row_length}
    whole = load(PretrainSettings, {"masking": settings.model_dump(), "data": sizes})
    masks = build_select(whole, store, tokenizer, keep=False)
    loader = RowLoader(
        store,
        tokenizer.vocabulary,
        row_length=row_length,
        seed=seed,
        pairs=kind.pairs,
        repeat=not settings.dynamic,
        unit=unit,
    )
    rows = _rows(loader, tokens, epoch)
    moment = settings.model_copy(update={"rate": now})
    hidden = hide(rows, tokenizer, masks, moment, seed=seed)
    return MaskReport(
        strategy=settings.strategy,
        rate=now,
        seed=seed,
        epoch=epoch,
        row_length=row_length,
        rows=len(rows.row_ids),
        pieces=hidden.num_pieces,
        tokens=int(hidden.may_mask.sum()),
        kinds=kinds(hidden, tokenizer, store.unigram_counts()),
        places=places(hidden),
        fates=fates(hidden, tokenizer.vocabulary.mask_id),
        corruption=_asked(settings),
        per_piece=per_piece(hidden),
        lengths=lengths(hidden),
        examples=examples(hidden, tokenizer, store.offsets, show),
        notice=_notice(settings, masks, at, objective),
        collocations=_found(masks, store, tokenizer),
    )


def _masked_objective(name: str) -> type[Objective]:
    """Return the objective of a name; one whose runs have no masks is refused."""
    if name not in OBJECTIVES:
        raise SettingsError(f"objective.name={name} must be one of {', '.join(OBJECTIVES)}.")
    if name in _UNMASKED:
        raise SettingsError(
            f"objective.name={name} {_UNMASKED[name]}: there are no masks to look at. To see those of a masked "
            "model on the same rows, add --set objective.name=mlm."
        )
    return OBJECTIVES[name]


def hide(rows: Rows, tokenizer: Tokenizer, masks: Masks, settings: MaskingSettings, *, seed: int) -> Hidden:
    """Mask rows as training does, and remember what the strategy was given and what it answered."""
    given: list[Candidates] = []
    answers: list[Selection] = []

    def remembering(candidates: Candidates, rng: np.random.Generator) -> Selection:
        given.append(candidates)
        answers.append(masks.select(candidates, rng))
        return answers[-1]

    corruption = Corruption(settings.corruption.mask, settings.corruption.random)
    is_random = settings.schedule == "random"
    rate = random_rates(rows.row_ids, rows.epoch, seed=seed) if is_random else settings.rate
    masked = mask(rows, tokenizer.vocabulary, remembering, rate=rate, corruption=corruption, seed=seed)
    if not given:
        raise DataError("There is nothing to hide: every piece of the text is a special or the unknown one.")
    return Hidden.of(rows, masked, tokenizer.vocabulary, given, answers, prefers=masks.prefers)


def _rows(loader: RowLoader, tokens: int, epoch: int) -> Rows:
    """Read the first rows of an epoch, at least ``tokens`` tokens if the epoch has them, padding included."""
    wanted = -(-tokens // loader.row_length)
    parts: list[Rows] = []
    for window in range(loader.num_windows):
        num_rows = min(wanted, loader.plan(epoch, window).num_rows)
        parts.append(loader.batch(Cursor(epoch, window), num_rows)[0])
        wanted -= num_rows
        if wanted == 0:
            break
    return join(parts)


def _notice(settings: MaskingSettings, masks: Masks, at: float, objective: str) -> str | None:
    """Say how tables were made, and what these masks do not show since they are those of one moment of a run."""
    said = list(masks.notices)
    if objective == "hybrid":
        said.append("Training reads a share objective.hybrid.causal of these rows from left to right, unmasked.")
    if masks.adaptive is not None:
        said.append(
            f"For the first masking.adaptive.every={settings.adaptive.every} steps every piece weighs the same, as "
            "here; later those that are predicted wrong are hidden more often."
        )
    if settings.rate_end is not None:
        first, last = f"{settings.rate:.2%}", f"{settings.rate_end:.2%}"
        if at == 0:
            said.append(f"The rate is that of the first step; at the last it is {last}.")
        else:
            said.append(f"The rate is that after {at:.0%} of a run; it goes from {first} to {last}.")
    return " ".join(said) or None


def _found(masks: Masks, store: TokenStore, tokenizer: Tokenizer) -> Found | None:
    table = masks.collocations
    if table is None:
        return None
    best = best_collocations(table, store, tokenizer, _BEST)
    numbers = {words: len(each.keys) for words, each in enumerate(table.ranked, 2)}
    return Found(numbers, [" ".join(text.split()) for text in best])


def _asked(settings: MaskingSettings) -> dict[str, float]:
    corruption = settings.corruption
    return {"mask": corruption.mask, "random": corruption.random, "keep": 1 - corruption.mask - corruption.random}


def of_run(name: str | Path | None, changes: Sequence[str]) -> LookSettings:
    """Return what decides the masks of a recipe, or of no recipe, under changes to them."""
    if name is None:
        return load(LookSettings, None, changes)
    whole = recipe(name).model_dump()
    parts: dict[str, type[Section]] = {
        "masking": MaskingSettings,
        "objective": ObjectiveLook,
        "data": DataLook,
        "run": RunLook,
    }
    given = {name: {key: whole[name][key] for key in part.model_fields} for name, part in parts.items()}
    return load(LookSettings, given, changes)


def overrides(strategy: str | None, rate: float | None, rest: Sequence[str]) -> list[str]:
    """Turn the short options into settings; those written out come later and win."""
    given = {"strategy": strategy, "rate": rate}
    return [*(f"masking.{name}={value}" for name, value in given.items() if value is not None), *rest]


def draw(report: MaskReport, path: Path) -> None:
    """Draw a report as a PNG."""
    with disk_errors(path):
        mask_picture(report.plain(), path)
