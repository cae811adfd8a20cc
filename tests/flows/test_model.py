"""The model a user holds."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clozelm.errors import ClozeError, ModelError, SettingsError
from clozelm.families import FAMILIES
from clozelm.flows.model import Model, load
from clozelm.infer.fill_mask import Candidate
from tests import tiny_models


@pytest.fixture
def model() -> Model:
    return Model(tiny_models.tiny_model("modernbert"), tiny_models.wordpiece(), FAMILIES["modernbert"])


def test_fill_one_or_several(model: Model) -> None:
    (mask,) = model.fill("the cat [MASK]", top=3)
    assert [type(candidate) for candidate in mask] == [Candidate] * 3
    assert mask[0].probability >= mask[1].probability >= mask[2].probability
    several = model.fill(["the cat [MASK]", "[MASK] [MASK]"], top=3)
    assert [len(masks) for masks in several] == [1, 2]
    assert [c.id for c in several[0][0]] == [c.id for c in mask]


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda m: m.fill(["the [MASK]", 5]), "Text 2 is an int (5), not a string."),
        (lambda m: m.fill([None]), "Text 1 is None, not a string."),
        (
            lambda m: m.fill(b"the [MASK]"),
            "The text is a bytes (b'the [MASK]'), not a string or a list of strings.",
        ),
        (lambda m: m.fill(None), "The text is None, not a string or a list of strings."),
        (lambda m: m.fill(5), "The text is an int (5), not a string or a list of strings."),
        (lambda m: m.fill("the [MASK]", top="3"), "top='3' must be a whole number."),
        (lambda m: m.fill("the [MASK]", top=2.5), "top=2.5 must be a whole number."),
        (lambda m: m.fill("the [MASK]", top=True), "top=True must be a whole number."),
        (lambda m: m.fill_jointly(["the [MASK]", b"x"]), "Text 2 is a bytes (b'x'), not a string."),
        (lambda m: m.fill_jointly("the [MASK]", top="3"), "top='3' must be a whole number."),
        (lambda m: m.score([None]), "Text 1 is None, not a string."),
        (lambda m: m.score(5), "The text is an int (5), not a string or a list of strings."),
        (lambda m: m.explain(None), "The text is None, not a string."),
        (lambda m: m.explain("the [MASK]", word=5), "The word is an int (5), not a string."),
        (lambda m: m.explain("the [MASK]", mask=1.5), "mask=1.5 must be a whole number."),
        (lambda m: m.trace(["the cat"]), "The text is a list (['the cat']), not a string."),
        (lambda m: m.generate(5), "The text is an int (5), not a string."),
        (lambda m: m.generate(length="5"), "length='5' must be a whole number."),
    ],
)
def test_what_is_no_text_and_no_number(model: Model, ask: Callable[[Model], Any], said: str) -> None:
    with pytest.raises(ClozeError, match=f"^{re.escape(said)}$"):
        ask(model)


def test_any_iterable_of_texts_and_any_whole_number(model: Model) -> None:
    texts = ["the cat [MASK]", "[MASK] sat"]
    assert model.fill(iter(texts), top=np.int64(2)) == model.fill(texts, top=2)  # type: ignore[call-overload]
    assert model.score(np.array(texts)) == model.score(texts)  # type: ignore[call-overload]


def test_a_long_text_warns(model: Model) -> None:
    with pytest.warns(UserWarning, match="each mask was filled from the pieces around it"):
        model.fill("the " * 100 + "[MASK]")


def test_save_and_load(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "a", card={"data": "none"})
    again = load(tmp_path / "a")
    assert again.family is model.family
    assert again.fill("a [MASK]") == model.fill("a [MASK]")
    assert again.encoder is again.masked_lm.encoder


def test_in_half_precision(model: Model, tmp_path: Path) -> None:
    """Answers and sentences are those of fp32 to two digits."""
    model.save(tmp_path / "a")
    rough = load(tmp_path / "a", precision="bf16")
    assert rough.encoder.layers[0].attention.out.weight.dtype == torch.bfloat16
    exact = {one.id: one.probability for one in model.fill("a [MASK] sat", top=20)[0]}
    for one in rough.fill("a [MASK] sat", top=5)[0]:
        assert one.probability == pytest.approx(exact[one.id], rel=0.05)
    assert rough.score("the cat sat").log_probability == pytest.approx(
        model.score("the cat sat").log_probability, rel=0.02
    )
    with pytest.raises(SettingsError, match=r"^precision='fp8' is none of fp32, bf16\.$"):
        load(tmp_path / "a", precision="fp8")  # type: ignore[arg-type]


def test_a_run_directory_holds_its_model(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "run" / "model")
    assert load(str(tmp_path / "run")).fill("a [MASK]") == model.fill("a [MASK]")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("n" * 5000, r"^n+…: cannot be opened \(File name too long\): name a run or model\.$"),
        ("", r"^An empty name was given for the model: name a run, or a model directory\.$"),
        (None, r"^A model is named by a string or a path, not None\.$"),
        (5, r"^A model is named by a string or a path, not an int \(5\)\.$"),
    ],
)
def test_names_of_no_model(name: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        load(name)


@pytest.mark.parametrize("device", ["abacus", "meta", ""])
def test_an_unknown_device(model: Model, tmp_path: Path, device: str) -> None:
    model.save(tmp_path / "a")
    for ask in (lambda: load(tmp_path / "a", device=device), lambda: load(tmp_path / "a").to(device)):
        with pytest.raises(
            SettingsError, match=f"device='{device}' is not a device: use auto, cpu, cuda or cuda:0"
        ):
            ask()
    assert load(tmp_path / "a", device="auto").masked_lm.training is False
