"""What a comparison is: its arms, the budget that all of them get, the seeds, and what is measured."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from clozelm.errors import SettingsError
from clozelm.flows.training import recipe_path
from clozelm.settings import load, overlaid, read_toml, tree
from clozelm.train.record import differences
from clozelm.train.section import Section, setting
from clozelm.train.settings import BudgetSettings, PretrainSettings

FOLDER = "compare"
"""Where among the shipped recipes those of comparisons lie."""

_PLACES = ("compare", "measure", "base", "arms")
_OF_AN_ARM = ("label", "about", "store")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class CompareSettings(Section):
    """The terms of the comparison, the same for all arms."""

    title: str = setting("", "Heading of the report; none = the name of the recipe.")
    question: str = setting("", "What the comparison is to answer, in a sentence.")
    budget: Literal["tokens", "steps", "flops", "minutes"] = setting(
        "tokens", "What every arm gets equally much of; flops are those its objective must do."
    )
    amount: float = Field(description="How much of the budget each run gets.", gt=0.0)
    seeds: tuple[int, ...] = setting((0, 1), "A run of every arm for each; one alone gives no intervals.")

    @model_validator(mode="after")
    def _whole(self) -> CompareSettings:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(
                f"compare.seeds={list(self.seeds)} must be one or more different numbers, none below 0"
            )
        if self.budget in ("tokens", "steps") and self.amount != int(self.amount):
            raise ValueError(f"compare.amount={self.amount} must be a whole number of {self.budget}")
        return self

    def limits(self, flops_a_step: float | None = None) -> BudgetSettings:
        """Return the budget of a run; an amount of FLOPs becomes steps of ``flops_a_step``."""
        if self.budget == "minutes":
            return BudgetSettings(minutes=self.amount)
        if self.budget == "tokens":
            return BudgetSettings(tokens=int(self.amount))
        if self.budget == "steps":
            return BudgetSettings(steps=int(self.amount))
        assert flops_a_step is not None, "measured by the flow"
        return BudgetSettings(steps=round(self.amount / flops_a_step))


class MeasureSettings(Section):
    """What is measured of every finished run, on the same text for all."""

    rate: float = setting(0.15, "Share of pieces hidden, and of words.", "Devlin et al. 2018", gt=0.0, lt=1.0)
    tokens: int = setting(1_000_000, "Most held-out tokens whose pieces are hidden.", ge=16)
    documents: int = setting(2000, "Most held-out documents whose words are hidden.", ge=1)
    sentences: int = setting(
        300, "Most held-out sentences scored whole, each piece hidden in turn.", "Kauf & Ivanova 2023", ge=1
    )
    pairs: tuple[str, ...] = setting(
        (), "Files of minimal pairs (BLiMP); none = not measured.", "Warstadt et al. 2020"
    )
    pairs_limit: int | None = setting(None, "Most pairs of each file; none = all.", ge=1)
    probe: str | None = setting(None, "Labelled texts that a linear probe learns from; none = not measured.")
    probe_dev: str | None = setting(None, "Labelled texts that the probe is judged on.")
    probe_text: str = setting("text", "Field of the text; two, as in title,text, are joined.")
    probe_label: str = setting("label", "Field of the label.")
    finetune: bool = setting(False, "Fine-tune on the probe's texts too.")
    entities: str | None = setting(
        None, "Sentences with tags that named entities are learned from; none = not measured."
    )
    entities_dev: str | None = setting(None, "Sentences with tags that entities are judged on.")
    finetune_epochs: float = setting(3.0, "Epochs of these fine-tunings.", "Devlin et al. 2018, A.3", gt=0.0)

    @model_validator(mode="after")
    def _both(self) -> MeasureSettings:
        for one, other in (("probe", "probe_dev"), ("entities", "entities_dev")):
            if (getattr(self, one) is None) != (getattr(self, other) is None):
                given, needed = (one, other) if getattr(self, one) else (other, one)
                raise ValueError(
                    f"measure.{given} needs measure.{needed}: one file is learned from and one judged on"
                )
        if self.finetune and self.probe is None:
            raise ValueError("measure.finetune needs measure.probe and measure.probe_dev, whose texts it learns")
        return self


class ComparisonSettings(Section):
    """Everything of a comparison but its arms."""

    compare: CompareSettings
    measure: MeasureSettings = MeasureSettings()


@dataclass(frozen=True)
class Arm:
    """One of the things compared: whole settings but for budget and seed; ``store`` has tokens of its own."""

    name: str
    label: str
    about: str
    store: Path | None
    settings: PretrainSettings

    def run(self, seed: int, limits: BudgetSettings) -> PretrainSettings:
        """Return the settings of this arm's run of ``seed``."""
        machine = self.settings.run.model_copy(update={"seed": seed})
        return self.settings.model_copy(update={"run": machine, "budget": limits})


@dataclass(frozen=True)
class Comparison:
    """A whole comparison; the first arm is the reference that the others are set against."""

    settings: ComparisonSettings
    arms: tuple[Arm, ...]
    title: str

    @property
    def row_length(self) -> int:
        """Tokens in a row in which all arms are measured: the shortest row that one of them trains on."""
        return min(arm.settings.data.row_length for arm in self.arms)


def load_comparison(
    name: str | Path, overrides: Sequence[str] = (), *, measure: Mapping[str, Any] | None = None
) -> Comparison:
    """Read a comparison's recipe, a file or the name of a shipped one, with overrides; every arm is checked.

    An override is a setting of ``compare``, of ``measure``, of ``base`` or of ``arms.NAME``; ``measure`` are values
    over those of the recipe's table of that name. Raises
    ``SettingsError`` for arms that are no settings, that are equal, or of which there are none.
    """
    path = recipe_path(name, within=FOLDER)
    given = read_toml(path)
    for key in given:
        if key not in _PLACES:
            raise SettingsError(f"{path}: {_unknown(key)}")
    arms = given.pop("arms", {})
    if not isinstance(arms, dict) or not arms:
        raise SettingsError(f"{path} has no arms: add a table [arms.NAME] of settings for each thing to compare.")
    placed = _placed(overrides, list(arms))
    if not given.get("compare") and not placed["compare"]:
        raise SettingsError(
            f"{path} has no table [compare]: add one with the budget of every arm, as amount = 1000000 (tokens)."
        )
    base = _base(given.pop("base", {}), placed["base"], path)
    settings = load(
        ComparisonSettings, overlaid(given, {"measure": measure or {}}), [*placed["compare"], *placed["measure"]]
    )
    made = tuple(_arm(arm, table, base, placed[f"arms.{arm}"]) for arm, table in arms.items())
    _refuse_equal(made)
    return Comparison(settings, made, settings.compare.title or path.stem)


def _placed(overrides: Sequence[str], arms: list[str]) -> dict[str, list[str]]:
    """Sort overrides by what they are of; those of base and arms lose that part of their name."""
    places: dict[str, list[str]] = {place: [] for place in ("compare", "measure", "base")}
    places |= {f"arms.{arm}": [] for arm in arms}
    for override in overrides:
        first, dot, rest = override.strip().partition(".")
        if not dot and first.partition("=")[0].strip() in _PLACES:
            raise SettingsError(
                f"{override!r} sets a whole table: write one setting of it, as base.masking.rate=0.3."
            )
        if first in ("compare", "measure"):
            places[first].append(override)
        elif first == "base":
            if rest.partition("=")[0].strip() == "recipe":
                raise SettingsError(f"{override!r}: what the arms are built on is named in the recipe's own file.")
            places["base"].append(rest)
        elif first == "arms":
            arm, rest = _arm_named(rest, arms)
            places[f"arms.{arm}"].append(rest)
        elif first in PretrainSettings.model_fields:
            raise SettingsError(
                f"{override!r} is a setting of runs: write base.{override} for all arms, or "
                f"arms.{arms[0]}.{override} for one."
            )
        else:
            raise SettingsError(_unknown(override.partition("=")[0]))
    return places


def _arm_named(text: str, arms: list[str]) -> tuple[str, str]:
    """Cut ``NAME.setting=value``; the name of an arm may have dots in it, and the longest one counts."""
    name = max((arm for arm in arms if text.startswith(f"{arm}.")), key=len, default="")
    if not name:
        name = text.partition("=")[0].partition(".")[0].strip()
        _check_arm(name, arms)
        raise SettingsError(
            f"'arms.{text}' sets a whole arm: write one setting of it, as arms.{name}.masking.rate=0.3."
        )
    return name, text.removeprefix(f"{name}.")


def check_arms(names: Sequence[str], comparison: Comparison) -> None:
    """Refuse names that are no arms."""
    for name in names:
        _check_arm(name, [arm.name for arm in comparison.arms])


def _check_arm(name: str, arms: list[str]) -> None:
    if name not in arms:
        close = get_close_matches(name, arms, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"The arms are {', '.join(arms)}."
        raise SettingsError(f"There is no arm {name!r}. {hint}")


def _unknown(name: str) -> str:
    close = get_close_matches(name.partition(".")[0], _PLACES, n=1)
    hint = f"Did you mean '{close[0]}'?" if close else f"The sections are {', '.join(_PLACES)}."
    return f"Unknown setting {name!r}. {hint}"


def _base(given: Any, overrides: Sequence[str], path: Path) -> dict[str, Any]:
    """Return what all arms share: a shipped recipe where one is named, the recipe's own table over it."""
    table = {"recipe": given} if isinstance(given, str) else given
    if not isinstance(table, dict):
        raise SettingsError(f"{path}: base={given} must be a table of settings, or the name of a recipe.")
    table = dict(table)
    shipped = table.pop("recipe", "")
    if not isinstance(shipped, str):
        raise SettingsError(f"{path}: base.recipe={shipped} must be the name of a recipe, or its file.")
    below = read_toml(recipe_path(shipped)) if shipped else {}
    with _named("base"):
        return overlaid(below, tree(PretrainSettings, table, overrides))


def _arm(name: str, table: Any, base: Mapping[str, Any], overrides: Sequence[str]) -> Arm:
    """Return an arm; what its table leaves out is as in ``base``."""
    if not isinstance(table, dict):
        raise SettingsError(f"arms.{name}={table} must be a table of settings, which may be empty.")
    if not _NAME.fullmatch(name):
        raise SettingsError(f"arms.{name!r} names a folder: use letters, digits, '_', '-' and '.' only.")
    table = dict(table)
    own = {key: table.pop(key, "") for key in _OF_AN_ARM}
    for override in [each for each in overrides if each.partition("=")[0].strip() in _OF_AN_ARM]:
        key, _, value = override.partition("=")
        own[key.strip()] = value.strip()
    for key, value in own.items():
        if not isinstance(value, str):
            raise SettingsError(f"arms.{name}.{key}={value} must be text.")
    rest = [each for each in overrides if each.partition("=")[0].strip() not in _OF_AN_ARM]
    with _named(f"arms.{name}"):
        merged = overlaid(base, tree(PretrainSettings, table, rest))
        if merged.get("budget"):
            raise SettingsError("budget is what all arms have in common: set compare.budget and compare.amount.")
        if "seed" in merged.get("run", {}):
            raise SettingsError("run.seed is what an arm is repeated over: set compare.seeds.")
        settings = load(PretrainSettings, merged)
    store = Path(own["store"]) if own["store"] else None
    return Arm(name, own["label"] or name, own["about"], store, settings)


@contextmanager
def _named(table: str) -> Iterator[None]:
    """Say of which table of the recipe a mistake is."""
    try:
        yield
    except SettingsError as error:
        raise SettingsError(f"[{table}] {error}") from None


def _refuse_equal(arms: Sequence[Arm]) -> None:
    seen: dict[str, str] = {}
    for arm in arms:
        key = f"{arm.store} {arm.settings.model_dump_json()}"
        if key in seen:
            raise SettingsError(f"Arms {seen[key]!r} and {arm.name!r} have equal settings: nothing is compared.")
        seen[key] = arm.name


def own_settings(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """Return for every arm the settings in which arms differ, by their dotted names, and its value of each."""
    trees = {arm.name: arm.settings.model_dump(mode="json") for arm in comparison.arms}
    first = trees[comparison.arms[0].name]
    names = {line.partition(" was ")[0] for each in trees.values() for line in differences(first, each)}
    values = {arm: {name: _value(each, name) for name in sorted(names)} for arm, each in trees.items()}
    if len({arm.store for arm in comparison.arms}) > 1:
        for arm in comparison.arms:
            values[arm.name]["store"] = "as --data" if arm.store is None else str(arm.store)
    return values


def shared_settings(comparison: Comparison) -> dict[str, Any]:
    """Return the settings that are the same for all arms and not the defaults, by their dotted names."""
    default = PretrainSettings().model_dump(mode="json")
    first = comparison.arms[0].settings.model_dump(mode="json")
    own = own_settings(comparison)[comparison.arms[0].name]
    names = (line.partition(" was ")[0] for line in differences(default, first))
    return {name: _value(first, name) for name in names if name not in own}


def _value(tree: Any, name: str) -> Any:
    for key in name.split("."):
        tree = tree[key]
    return tree
