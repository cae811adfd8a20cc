"""Settings: merging, refusing, and what a mistake is answered with."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from clozelm import settings
from clozelm.errors import ClozeError, SettingsError


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Uniform(Frozen):
    strategy: Literal["uniform"] = Field("uniform", description="How positions are chosen.")
    rate: float = Field(
        0.15,
        gt=0,
        lt=1,
        description="Share of tokens to predict.",
        json_schema_extra={"source": "Devlin et al. 2018, A.2"},
    )


class Span(Frozen):
    strategy: Literal["span"] = Field("span", description="How positions are chosen.")
    rate: float = Field(0.15, gt=0, lt=1, description="Share of tokens to predict.")
    mean: float = Field(3.0, gt=0, description="Mean length of a span in words.")


class Optimizer(Frozen):
    name: Literal["adamw", "muon"] = Field("muon", description="For the matrices.")
    peak: float = Field(1e-3, gt=0, description="Highest learning rate.")
    betas: tuple[float, float] = Field((0.9, 0.98), description="Decay of the moments.")
    clip: float | None = Field(1.0, description="Largest norm of the gradient.")
    warmup: int = Field(100, ge=0, description="Steps.")
    label: str = Field("x", description="Any text.")
    skipped: tuple[int, ...] = Field((), description="Steps left out.")
    names: tuple[str, ...] = Field((), description="Not decayed.")

    @model_validator(mode="after")
    def _peak_is_sane(self) -> "Optimizer":
        if self.peak > 1:
            raise ValueError("a peak above 1 diverges.")
        return self


class Run(Frozen):
    masking: Annotated[Uniform | Span, Field(discriminator="strategy")] = Uniform()
    optimizer: Optimizer = Optimizer()
    seed: int = Field(0, description="Of everything random.")
    name: str = Field(description="Has no default.")


def load(*overrides: str, **given: object) -> Run:
    return settings.load(Run, {"name": "a", **given}, overrides)


def test_defaults_file_and_overrides_merge_in_this_order(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('name = "b"\n[optimizer]\nwarmup = 5\nclip = "none"\n[masking]\nrate = 0.2\n')
    run = settings.load(Run, path, ["masking.rate=0.3", "masking.rate=0.4", "optimizer.betas=[0.8, 0.9]"])
    assert (run.name, run.optimizer.warmup, run.optimizer.clip, run.seed) == ("b", 5, None, 0)
    assert (run.masking.rate, run.optimizer.betas) == (0.4, (0.8, 0.9))


def test_a_variant_is_chosen_by_its_name() -> None:
    assert load("masking.mean=4", masking={"strategy": "span"}).masking == Span(mean=4.0)
    assert load("masking.strategy=span").masking == Span()


def test_text_needs_no_quotes_and_none_is_no_value() -> None:
    assert load("optimizer.label=3", "optimizer.name=adamw").optimizer == Optimizer(label="3", name="adamw")
    assert load("optimizer.label='a b'").optimizer.label == "a b"
    assert load("optimizer.label=none").optimizer.label == "none"
    assert load("optimizer.clip=none").optimizer.clip is None


def test_what_was_given_is_not_changed_and_the_result_is_frozen() -> None:
    given = {"name": "a", "masking": {"rate": 0.2}}
    run = settings.load(Run, given, ["masking.rate=0.3", "seed=3"])
    assert given == {"name": "a", "masking": {"rate": 0.2}}
    with pytest.raises(ValidationError):
        run.seed = 4  # type: ignore[misc]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("masking.rte=0.3", "Unknown setting 'masking.rte'. Did you mean 'masking.rate'?"),
        ("rate=0.3", "Unknown setting 'rate'. Did you mean 'masking.rate'?"),
        ("zzzz=1", "Unknown setting 'zzzz'. The sections are masking, optimizer."),
        ("seed.x=1", "Unknown setting 'seed.x'. Did you mean 'seed'?"),
        (
            "masking.rate=1.5",
            "masking.rate=1.5 must lie strictly between 0 and 1 (default 0.15: Devlin et al. 2018, A.2).",
        ),
        ("masking.strategy=spam", "masking.strategy=spam must be one of 'uniform', 'span'."),
        (
            "masking.mean=3",
            "Setting 'masking.mean' does not go with masking.strategy=uniform.",
        ),
        ("masking=3", "masking=3 must be a table of settings."),
        ("optimizer.peak=-1", "optimizer.peak=-1 must be greater than 0 (default 0.001)."),
        ("optimizer.peak=2", "optimizer: a peak above 1 diverges."),
        ("optimizer.name=adam", "optimizer.name=adam must be 'adamw' or 'muon' (default muon)."),
        ("optimizer.skipped=3", "optimizer.skipped=3 must be a list of integers, as [3] (default [])."),
        ("optimizer.skipped=[0.5]", "optimizer.skipped=[0.5] must be a list of integers (default [])."),
        ("optimizer.names=bias", 'optimizer.names=bias must be a list of texts, as ["bias"] (default []).'),
        ("optimizer.betas=3", "optimizer.betas=3 must be tuple[number, number] (default [0.9, 0.98])."),
        ("optimizer.betas=[1]", "optimizer.betas=[1] must be tuple[number, number] (default [0.9, 0.98])."),
        ("seed=1.5", "seed=1.5 must be a valid integer, got a number with a fractional part (default 0)."),
        ("seed", "'seed' is not a setting: write it as section.key=value."),
    ],
)
def test_a_mistake_is_answered_in_one_line(override: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(override)
    assert str(caught.value) == said
    assert isinstance(caught.value, ClozeError)


def test_a_missing_setting_is_named_with_its_meaning() -> None:
    with pytest.raises(SettingsError, match=r"^name is required and not given: Has no default\.$"):
        settings.load(Run)


def test_unknown_keys_of_a_file_are_refused_too() -> None:
    with pytest.raises(SettingsError, match=r"Did you mean 'optimizer\.warmup'"):
        load(optimizer={"warm_up": 3})


def test_a_byte_order_mark_before_a_recipe_is_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_bytes(b"\xef\xbb\xbf[masking]\nrate = 0.3\n")
    assert settings.read_toml(tmp_path / "recipe.toml") == {"masking": {"rate": 0.3}}


@pytest.mark.parametrize(("content", "said"), [(b"a = ", "not a TOML file"), (b"\xff\xfe", "not a TOML file")])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=said) as caught:
        settings.load(Run, path)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no such settings file"):
        settings.load(Run, tmp_path / "no.toml")
    with pytest.raises(SettingsError, match="cannot be read"):
        settings.load(Run, str(tmp_path))


def test_every_setting_is_described_once() -> None:
    rows = {row.name: row for row in settings.describe(Run)}
    assert list(rows)[:3] == ["masking.strategy", "masking.rate", "masking.mean"]
    assert rows["masking.strategy"].type == "uniform | span"
    assert rows["masking.rate"].type == "number, > 0, < 1"
    assert rows["masking.rate"].source == "Devlin et al. 2018, A.2"
    assert rows["optimizer.clip"].type == "number | none"
    assert rows["name"].default == "required"
    assert all(row.meaning for row in rows.values())


@given(st.floats(1e-6, 1 - 1e-6), st.integers(0, 2**31), st.sampled_from(["adamw", "muon"]))
def test_what_is_written_is_what_is_read(rate: float, seed: int, name: str) -> None:
    run = load(f"masking.rate={rate!r}", f"seed={seed}", f"optimizer.name={name}")
    assert (run.masking.rate, run.seed, run.optimizer.name) == (rate, seed, name)
    assert settings.load(Run, run.model_dump()) == run


@given(st.text(max_size=20))
def test_no_override_ends_in_a_traceback_or_in_two_lines(text: str) -> None:
    said: list[str] = []
    for override in (text, f"optimizer.{text}=1", f"masking.rate={text}", f"optimizer.betas={text}"):
        try:
            load(override)
        except SettingsError as error:
            said.append(str(error))
    assert all(line.isprintable() for line in said)
