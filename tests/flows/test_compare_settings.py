"""What a comparison may be: its recipe, its arms, and what ships."""

from pathlib import Path
from typing import Any

import pytest

from clozelm.errors import SettingsError
from clozelm.flows import compare
from clozelm.flows.compare_settings import FOLDER, _base, load_comparison
from clozelm.flows.training import recipe_path
from clozelm.settings import read_toml
from tests.flows.comparisons import ARMS, recipe

pytestmark = pytest.mark.usefixtures("known_machine")


@pytest.mark.parametrize(
    ("arms", "overrides", "said"),
    [
        ({}, (), "has no arms: add a table [arms.NAME]"),
        (
            {"a": {"masking": {"rte": 0.2}}},
            (),
            "[arms.a] Unknown setting 'masking.rte'. Did you mean 'masking.rate'?",
        ),
        ({"a": {}, "b": {}}, (), "Arms 'a' and 'b' have equal settings"),
        ({"a": 3}, (), "arms.a=3 must be a table of settings"),
        ({"a": {"label": 3}}, (), "arms.a.label=3 must be text"),
        ({"a b": {}}, (), "names a folder"),
        ({"a": {"budget": {"steps": 3}}}, (), "set compare.budget and compare.amount"),
        ({"a": {"run": {"seed": 3}}}, (), "set compare.seeds"),
        (ARMS, ("compare.amount=0",), "compare.amount=0 must be greater than 0"),
        (ARMS, ("compare.budget=hours",), "compare.budget=hours must be"),
        (ARMS, ("compare.seeds=[1, 1]",), "must be one or more different numbers"),
        (ARMS, ("compare.amuont=3",), "Did you mean 'compare.amount'?"),
        (ARMS, ("masking.rate=0.3",), "write base.masking.rate=0.3 for all arms, or arms.uniform.masking.rate=0.3"),
        (ARMS, ("arms.word.masking.rate=0.3",), "There is no arm 'word'. Did you mean 'words'?"),
        (ARMS, ("bsae.masking.rate=0.3",), "Did you mean 'base'?"),
        (ARMS, ("measure.probe=a.csv",), "measure.probe needs measure.probe_dev"),
        (ARMS, ("base=3",), "'base=3' sets a whole table"),
        (ARMS, ("arms",), "'arms' sets a whole table"),
        (ARMS, ("base.recipe=tiny",), "named in the recipe's own file"),
        (ARMS, ("arms.words=3",), "'arms.words=3' sets a whole arm"),
        (ARMS, ("arms.word=3",), "There is no arm 'word'. Did you mean 'words'?"),
    ],
)
def test_mistakes(arms: dict[str, Any], overrides: tuple[str, ...], said: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_comparison(recipe(tmp_path, arms), overrides)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_overrides_stand_above_the_table_they_are_of(tmp_path: Path) -> None:
    comparison = load_comparison(
        recipe(tmp_path, {"a": {}, "b": {"masking": {"rate": 0.2}}}),
        ("base.masking.rate=0.4", "arms.a.label=first", "arms.b.masking.rate_end=0.1", "compare.seeds=[3]"),
    )
    first, second = comparison.arms
    assert (first.settings.masking.rate, first.label) == (0.4, "first")
    assert (second.settings.masking.rate, second.settings.masking.rate_end) == (0.2, 0.1)
    assert comparison.settings.compare.seeds == (3,)


def test_an_arm_may_have_dots_in_its_name(tmp_path: Path) -> None:
    made = load_comparison(
        recipe(tmp_path, {"a": {}, "a.b": {}}), ("arms.a.masking.rate=0.4", "arms.a.b.masking.rate=0.5")
    )
    assert [arm.settings.masking.rate for arm in made.arms] == [0.4, 0.5]


@pytest.mark.parametrize("name", [5, ["tiny"]])
def test_what_the_base_is_built_on_is_a_name(name: object, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"base.recipe=.* must be the name of a recipe, or its file"):
        _base({"recipe": name}, (), tmp_path)


def test_a_shipped_recipe_may_be_the_base(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(
        'base = "demo"\n[compare]\namount = 5\n[arms.a]\n[arms.b.masking]\nrate = 0.4\n', encoding="utf-8"
    )
    first, second = load_comparison(path).arms
    assert first.settings.optim.name == second.settings.optim.name == "muon"
    assert (first.settings.masking.rate, second.settings.masking.rate) == (0.5, 0.4)


SHIPPED = sorted(path.stem for path in (Path(compare.__file__).parents[1] / "recipes" / "compare").glob("*.toml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_comparison_can_begin(name: str, tiny_store: Path, tmp_path: Path) -> None:
    """Settings alone do not tell whether an arm can be built: its family may not have what its objective needs."""
    plan = compare.begin(load_comparison(name), data=tiny_store, out=tmp_path / "out")
    arms = read_toml(recipe_path(name, within=FOLDER))["arms"]
    assert [(job.arm.name, job.seed) for job in plan.jobs] == [(arm, seed) for seed in (0, 1) for arm in arms]
    assert not plan.warnings, "3M tokens are many epochs of a tiny store"
