"""What a mistake in a recipe is answered with, and that the defaults are a recipe."""

from pathlib import Path

import pytest

from clozelm.errors import ClozeError, SettingsError
from clozelm.families import FAMILIES
from clozelm.masking import SELECTORS
from clozelm.settings import describe, load
from clozelm.text.tokenizer import Tokenizer
from clozelm.train.assemble import Given, encoder_config
from clozelm.train.settings import PretrainSettings
from tests import tiny_models, tiny_runs


def said(*overrides: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(PretrainSettings, {}, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("masking.rate=1.5", "masking.rate=1.5 must lie strictly between 0 and 1 (BERT uses 0.15)."),
        ("masking.rate_end=0", "masking.rate_end=0.0 must lie strictly between 0 and 1 (BERT uses 0.15)."),
        ("masking.rte=0.2", "Unknown setting 'masking.rte'. Did you mean 'masking.rate'?"),
        ("masking.strategy=spans", "masking.strategy=spans must be 'uniform', 'whole_word', 'ngram', 'span', "),
        ("masking.schedule=cosine", "masking.schedule=cosine needs masking.rate_end, the rate of the last step."),
        ("masking.span.p=0", "masking.span.p=0 must lie strictly between 0 and 1 (default 0.2: Joshi et al. 2020"),
        ("masking.span.p=0.3", "masking.span has no use with masking.strategy=uniform: it is for span."),
        ("masking.strategy=chosen", "masking.strategy=chosen needs something chosen: set masking.chosen.words"),
        ("masking.chosen.words=[1]", "masking.chosen.words=[1] must be a list of texts"),
        ("masking.schedule=linear", "masking.schedule=linear needs masking.rate_end, the rate of the last step."),
        (
            "masking.corruption.mask=0.95",
            "masking.corruption.mask=0.95 and masking.corruption.random=0.1 must not add up to more than 1 ",
        ),
        ("budget.steps=0", "budget.steps=0 must be at least 1 (default none)."),
        ("budget.minutes=-1", "budget.minutes=-1 must be greater than 0 (default none)."),
        ("data.tokens_per_step=100", "data.tokens_per_step=100 must be a multiple of data.row_length=128."),
        ("optim.learning_rate=inf", "optim.learning_rate=inf must be a finite number (default 0.001"),
        ("run.seed=-1", "run.seed=-1 must be at least 0 (default 0)."),
    ],
)
def test_a_mistake_is_answered_with_the_name_the_value_and_what_it_must_be(override: str, message: str) -> None:
    answer = said(override)
    assert answer.startswith(message)
    assert answer.endswith((".", "?"))


def test_what_has_no_use_is_refused() -> None:
    answer = said("masking.schedule=random", "masking.rate=0.3")
    assert answer.startswith(
        "masking.rate=0.3 has no use with masking.schedule=random, which draws one for every row"
    )
    answer = said("masking.schedule=random", "masking.rate_end=0.3")
    assert answer.startswith("masking.rate_end=0.3 has no use with masking.schedule=random")


def test_a_span_must_fit_into_a_row() -> None:
    answer = said("masking.strategy=span", "masking.span.longest=127")
    assert answer.startswith("masking.span.longest=127 does not fit into a row of data.row_length=128 tokens")
    load(PretrainSettings, {}, ["masking.strategy=span", "masking.span.longest=126"])


def test_a_budget_given_replaces_the_recipes() -> None:
    assert load(PretrainSettings, {"budget": {"tokens": 5}}, ["budget.steps=3"]).budget.model_dump() == {
        "steps": 3,
        "tokens": None,
        "minutes": None,
    }
    kept = load(PretrainSettings, {"budget": {"tokens": 5}}, ["budget.steps=none"]).budget
    assert kept.tokens == 5


def test_several_budgets_are_refused() -> None:
    answer = said("budget.steps=3", "budget.tokens=5")
    assert answer == "budget.steps=3 and budget.tokens=5 are several budgets: give one of them."


def test_every_setting_has_a_meaning_and_every_section_its_defaults() -> None:
    rows = describe(PretrainSettings)
    assert all(row.meaning.endswith(".") or "." in row.meaning for row in rows), "a sentence each"
    assert PretrainSettings().masking.rate == 0.15


def test_choices_are_those_of_the_registries() -> None:
    """Two lists that must agree: the literals of the settings, and what is registered."""
    types = {row.name: set(row.type.split(" | ")) for row in describe(PretrainSettings)}
    assert types["model.family"] == set(FAMILIES)
    assert types["masking.strategy"] == set(SELECTORS)


def test_shipped_recipes_are_valid(root: Path) -> None:
    recipes = sorted((root / "src" / "clozelm" / "recipes").glob("*.toml"))
    assert recipes
    for path in recipes:
        chosen = load(PretrainSettings, path)
        if chosen.objective.name != "distill":  # its shape is the teacher's
            tokenizer = tiny_models.wordpiece()
            encoder_config(chosen, tokenizer, Given.open(chosen, tokenizer))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.row_length=128", "data.row_length=128 is longer than model.max_positions=64"),
        ("model.size=huge", "bert has no size 'huge'; its sizes are tiny, small, base."),
        ("model.num_heads=5", "hidden_size=32 is not a multiple of num_heads=5"),
        ("model.window=8", "bert has no window=8"),
        ("model.use_bias=false", "bert has no use_bias=False"),
    ],
)
def test_an_encoder_that_cannot_be_is_refused_before_training(
    override: str, message: str, tiny_tokenizer: Tokenizer
) -> None:
    with pytest.raises(ClozeError) as caught:
        encoder_config(tiny_runs.settings(override), tiny_tokenizer, Given(start=None, teacher=None))
    assert message in str(caught.value)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_every_family_has_an_encoder_for_every_size(family: str) -> None:
    for size in FAMILIES[family].sizes:
        chosen = load(PretrainSettings, {"model": {"family": family, "size": size}})
        config = encoder_config(chosen, tiny_models.wordpiece(), Given(start=None, teacher=None))
        assert config.vocab_size == tiny_models.VOCAB_SIZE


def test_static_masks_go_with_a_constant_rate_alone() -> None:
    assert load(PretrainSettings, {}, ["masking.dynamic=false"]).masking.dynamic is False
    with pytest.raises(SettingsError, match=r"masking.dynamic=false does not go with masking.schedule=linear"):
        load(PretrainSettings, {}, ["masking.dynamic=false", "masking.schedule=linear", "masking.rate_end=0.1"])
