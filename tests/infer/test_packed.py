"""Packed weights answer as the others do, follow changes, and leave the model as it was."""

import pytest
import torch

from clozelm.families import FAMILIES
from clozelm.infer import packed
from clozelm.infer.fill_mask import Filled, FillMask
from tests import tiny_models

TEXT = "the cat [MASK] on the mat"


def numbers(filled: list[Filled]) -> list[float]:
    return [one.log_probability for mask in filled[0].masks for one in mask]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_answers_also_after_a_change(family: str) -> None:
    model = tiny_models.tiny_model(family)
    fill = FillMask(model, tiny_models.wordpiece())
    first = numbers(fill(TEXT))
    for _ in range(6):
        assert numbers(fill(TEXT)) == pytest.approx(first, abs=1e-5)
    layers = [part for part in model.modules() if isinstance(part, torch.nn.Linear)]
    assert not torch.backends.mkldnn.is_available() or all(layer in packed._packed for layer in layers)
    assert not any("forward" in vars(part) for part in model.modules())
    with torch.no_grad():
        for layer in layers:
            layer.weight.mul_(0.5)
    changed = numbers(fill(TEXT))
    assert changed != pytest.approx(first, abs=1e-3)
    fresh = tiny_models.tiny_model(family)
    fresh.load_state_dict(model.state_dict())
    assert changed == pytest.approx(numbers(FillMask(fresh, tiny_models.wordpiece())(TEXT)), abs=1e-5)


def test_in_bf16_where_the_machine_has_it() -> None:
    model = tiny_models.tiny_model("bert").bfloat16()
    fill = FillMask(model, tiny_models.wordpiece())
    first = numbers(fill(TEXT))
    for _ in range(6):
        assert numbers(fill(TEXT)) == pytest.approx(first, abs=0.05)
    layers = [part for part in model.modules() if isinstance(part, torch.nn.Linear)]
    assert all(layer in packed._packed for layer in layers) == packed._has_onednn(torch.bfloat16)


def test_not_while_training_nor_for_many_tokens() -> None:
    for model, texts in (
        (tiny_models.tiny_model("bert").train(), [TEXT]),
        (tiny_models.tiny_model("bert"), [TEXT] * 30),
    ):
        fill = FillMask(model, tiny_models.wordpiece())
        for _ in range(6):
            fill(texts)
        assert not any(part in packed._packed for part in model.modules() if isinstance(part, torch.nn.Linear))


def test_a_mistake_inside_leaves_the_model_as_it_was() -> None:
    model = tiny_models.tiny_model("bert")
    for _ in range(6):
        with pytest.raises(ValueError, match="inside"), packed.packed_weights(model, 8):
            raise ValueError("inside")
    assert not any("forward" in vars(part) for part in model.modules())
