"""The temperature of fitted masks: the likeliest one, found again where it is known."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar

from clozelm.errors import DataError
from clozelm.infer.fill_calibration import fit, fitted_temperature
from clozelm.rng import generator
from tests import tiny_models


@pytest.mark.parametrize("true", [0.5, 1.0, 2.5])
def test_the_temperature_is_the_likeliest(true: float) -> None:
    """Against a general minimiser; answers drawn at a temperature give about that temperature."""
    logits = torch.from_numpy(generator(0, "logits").normal(0, 2, (4000, 12))).float()
    truth = torch.multinomial((logits / true).softmax(1), 1, generator=torch.Generator().manual_seed(0))[:, 0]
    found = fitted_temperature(logits, truth)
    best = minimize_scalar(
        lambda t: float(F.cross_entropy(logits.double() / t, truth)), bounds=(0.1, 10), method="bounded"
    )
    assert found == pytest.approx(best.x, rel=1e-3)
    assert found == pytest.approx(true, rel=0.1)


def test_fitting_says_what_it_did() -> None:
    model, tokenizer = tiny_models.tiny_model("bert"), tiny_models.wordpiece()
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(tiny_models.WORDS, 9)) for _ in range(200)]
    fitted = fit(model, tokenizer, texts, source="words.txt")
    assert fitted.masks == 200
    assert fitted.temperature > 1.5, "a random model is too sure of itself"
    assert fitted.losses[1] < fitted.losses[0]
    assert fitted.errors[1] < fitted.errors[0]
    assert "fitted on 200 masked pieces of words.txt" in fitted.said
    assert fit(model, tokenizer, texts) == fit(model, tokenizer, iter(texts))
    with pytest.raises(DataError, match="gives 3 masks and 50 are needed"):
        fit(model, tokenizer, texts[:3])
