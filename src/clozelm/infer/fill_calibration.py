"""The temperature under which a model's answers to masks are as probable as they are often right."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from clozelm.errors import DataError
from clozelm.infer.copies import scorable
from clozelm.infer.scoring import evaluating
from clozelm.infer.windows import Window, window_batches
from clozelm.nn.heads import MaskedLM
from clozelm.rng import generator
from clozelm.tasks.calibration import expected_calibration_error
from clozelm.text.tokenizer import Tokenizer

_LONGEST = 48
_MOST, _LEAST = 512, 50
_LOGITS = 2**25
_MOST_READ = 1 << 20
_COLDEST, _HOTTEST, _HALVINGS = 0.1, 10.0, 30


@dataclass(frozen=True)
class FittedTemperature:
    """A temperature, and what one does to masks that it was not fitted on.

    ``losses`` are mean log losses in nats and ``errors`` expected calibration errors (Guo et al. 2017), before and
    after; each half of the texts is measured under the temperature of the other.
    """

    temperature: float
    masks: int
    source: str
    losses: tuple[float, float]
    errors: tuple[float, float]

    @property
    def helps(self) -> bool:
        """Whether halves that it was not fitted on are likelier under it, and no worse calibrated."""
        return self.losses[1] < self.losses[0] and self.errors[1] <= self.errors[0]

    @property
    def said(self) -> str:
        """What was done, in a sentence."""
        verdict = "" if self.helps else " would not help and is not used"
        return (
            f"temperature {self.temperature:.3f}{verdict}, fitted on {self.masks} masked pieces of {self.source}; "
            f"on halves not fitted on, calibration error {self.errors[0]:.1%} -> {self.errors[1]:.1%}, log loss "
            f"{self.losses[0]:.3f} -> {self.losses[1]:.3f} nats."
        )


@torch.inference_mode()
def fit(
    model: MaskedLM, tokenizer: Tokenizer, texts: Iterable[str], *, source: str = "the text", seed: int = 0
) -> FittedTemperature:
    """Mask one piece in each stretch of ``texts``, up to 512 of them, and fit the temperature to the answers.

    The temperature is from 0.1 to 10 and the likeliest there. Raises ``DataError`` for fewer than 50 stretches.
    """
    most = min(_MOST, max(_LEAST, _LOGITS // model.config.vocab_size))
    windows, targets = _masked(tokenizer, texts, min(_LONGEST, model.config.max_positions - 2), most, seed)
    if len(windows) < _LEAST:
        raise DataError(
            f"{source} is too short to fit a temperature on: it gives {len(windows)} masks and {_LEAST} are needed."
        )
    logits, truth = _answers(model, windows, targets)
    is_first = torch.from_numpy(generator(seed, "calibration").permutation(len(truth)) % 2 == 0)
    own = torch.empty(len(truth), 1)
    own[is_first] = fitted_temperature(logits[~is_first], truth[~is_first])
    own[~is_first] = fitted_temperature(logits[is_first], truth[is_first])
    losses, errors = [], []
    for scaled in (logits, logits / own):
        losses.append(float(F.cross_entropy(scaled, truth)))
        errors.append(expected_calibration_error(scaled.softmax(dim=1).numpy(), truth.numpy()))
    temperature = fitted_temperature(logits, truth)
    return FittedTemperature(temperature, len(truth), source, (losses[0], losses[1]), (errors[0], errors[1]))


def fitted_temperature(logits: Float[Tensor, "count vocab"], truth: Int[Tensor, "count"]) -> float:
    """Return the temperature under which the truth is likeliest; halving, as the loss is convex in its inverse."""
    picked = logits.gather(1, truth[:, None]).squeeze(1)
    low, high = math.log(1 / _HOTTEST), math.log(1 / _COLDEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        expected = ((logits * math.exp(middle)).softmax(dim=1) * logits).sum(dim=1)
        low, high = (middle, high) if float((expected - picked).mean()) < 0 else (low, middle)
    return math.exp(-(low + high) / 2)


def _masked(
    tokenizer: Tokenizer, texts: Iterable[str], size: int, most: int, seed: int
) -> tuple[list[Window], list[int]]:
    """Cut texts into stretches, draw ``most`` of them and mask one ordinary piece of each.

    They are drawn from all that is read, at most 4 x ``most`` texts and about a million pieces (Vitter 1985, R).
    """
    vocabulary, rng = tokenizer.vocabulary, generator(seed, "calibration masks")
    windows: list[Window] = []
    targets: list[int] = []
    seen = read = 0
    for text in islice(texts, 4 * most):
        if read > _MOST_READ:
            break
        encoded = tokenizer.encode(text)
        read += len(encoded.ids)
        places = scorable(encoded, vocabulary)
        places = places[~vocabulary.is_special[encoded.ids[places]]]
        for start in range(0, len(encoded.ids), size):
            inside = places[(places >= start) & (places < start + size)]
            if not len(inside):
                continue
            seen += 1
            at = len(windows) if len(windows) < most else int(rng.integers(seen))
            if at >= most:
                continue
            place = int(rng.choice(inside))
            ids: NDArray[np.int64] = encoded.ids[start : start + size].astype(np.int64)
            targets[at : at + 1] = [int(ids[place - start])]
            ids[place - start] = vocabulary.mask_id
            whole = np.concatenate(([vocabulary.cls_id], ids, [vocabulary.sep_id]))
            windows[at : at + 1] = [Window(whole, [place - start + 1])]
    return windows, targets


def _answers(
    model: MaskedLM, windows: list[Window], targets: list[int]
) -> tuple[Float[Tensor, "count vocab"], Int[Tensor, "count"]]:
    logits, truth = [], []
    device = model.decoder_weight.device
    with evaluating(model):
        for batch, scored, owners in window_batches(windows):
            logits.append(model(batch.to(device), scored.to(device)).float().cpu())
            truth += [targets[owner] for owner in owners]
    return torch.cat(logits), torch.tensor(truth)
