"""Text from a masked language model: a page of masks is filled over several steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from clozelm.errors import ClozeError
from clozelm.infer.page import Page, Part
from clozelm.nn.heads import MaskedLM
from clozelm.rng import seed_for
from clozelm.text.tokenizer import Tokenizer
from clozelm.types import TokenBatch

Order = Literal["confident", "random"]


@dataclass(frozen=True)
class Sampling:
    """Say how a page is filled.

    ``steps`` none fills one piece a step, as do more steps than masks. ``order`` says which predictions of a step
    are kept: the most probable (low-confidence remasking, Nie et al. 2025; also if none) or any (ancestral
    sampling, Sahoo et al. 2024, but with as many in each step as there are on average). ``temperature`` 0 takes the
    best piece; ``top_k`` draws from the k best.
    """

    steps: int | None = None
    order: Order | None = None
    temperature: float = 1.0
    top_k: int | None = None

    def __post_init__(self) -> None:
        for name, number in (("steps", self.steps), ("top_k", self.top_k)):
            if number is not None and number < 1:
                raise ClozeError(f"{name}={number} must be at least 1.")
        if not 0.0 <= self.temperature < float("inf"):
            raise ClozeError(f"temperature={self.temperature} must be at least 0 (0 takes the best piece).")
        if self.order is not None and self.order not in get_args(Order):
            raise ClozeError(f"order={self.order!r} must be one of {', '.join(get_args(Order))}.")


@dataclass(frozen=True)
class Step:
    """The page after one step: its pieces without the special tokens around them, and how it reads.

    ``filled`` names the columns filled in this step, ``confidences`` the probabilities the model gave the pieces
    written there, at temperature 1 and among ordinary pieces.
    """

    ids: list[int]
    filled: list[int]
    confidences: list[float]
    parts: list[Part]

    @property
    def text(self) -> str:
        """The page as text, masks included."""
        return "".join(part.text for part in self.parts)


@dataclass(frozen=True)
class Generated:
    """A text that was written, and every step on the way to it."""

    text: str
    steps: list[Step]


class _Draft(NamedTuple):
    """A prediction for each masked column: the piece and its probability."""

    ids: Int[Tensor, "count"]
    confidences: Float[Tensor, "count"]


class Generator:
    """Write text with a masked language model (LLaDA, Nie et al. 2025; MDLM, Sahoo et al. 2024).

    Each step predicts all masks at once and keeps some of the predictions; after step k of K a share k / K of the
    masks is filled, rounded down. Special pieces are never written. A model trained with diffusion knows pages with
    many masks; one trained at a rate of 0.15 does best where few are left. A model that reads from one side only is
    given one piece a step, in its own direction, as is usual for such models.
    """

    def __init__(self, model: MaskedLM, tokenizer: Tokenizer) -> None:
        """Write with ``model``, whose ids are those of ``tokenizer``."""
        self.model = model
        self.tokenizer = tokenizer
        self._room = model.config.max_positions - 2
        self._context = model.reading.context
        known = torch.tensor(sorted(tokenizer.backend.get_vocab(with_added_tokens=True).values()))
        self._forbidden = torch.ones(model.config.vocab_size, dtype=torch.bool)
        self._forbidden[known] = torch.tensor(tokenizer.vocabulary.is_special)[known]

    def __call__(
        self,
        text: str | None = None,
        *,
        length: int | None = None,
        sampling: Sampling | None = None,
        seed: int = 0,
        samples: int = 1,
    ) -> list[Generated]:
        """Fill the masks of ``text``, or ``length`` of them, after the text where there is one.

        Sample ``i`` is a function of (seed, i, the page, ``sampling``), whatever the number of samples.
        """
        if samples < 1:
            raise ClozeError(f"samples={samples} must be at least 1.")
        self._check_room(length or 0)  # before so many masks are laid out
        page = Page(self.tokenizer, text, length)
        self._check_room(len(page.ids))
        sampling = sampling or Sampling()
        counts = self._counts(len(page.masks), sampling)
        return [
            self._write(page, counts, sampling, torch.Generator().manual_seed(seed_for(seed, "generate", sample)))
            for sample in range(samples)
        ]

    def _check_room(self, pieces: int) -> None:
        if pieces > self._room:
            raise ClozeError(
                f"A page of {pieces} pieces is longer than the {self._room} that the model reads: give a shorter "
                "text or length."
            )

    def _counts(self, num_masks: int, sampling: Sampling) -> list[int]:
        """Return how many masks each step fills."""
        if self._context != "both" and (sampling.steps not in (None, num_masks) or sampling.order is not None):
            raise ClozeError(
                f"This model sees only what is to the {self._context} and writes one piece a step in that "
                "direction: leave out steps and order."
            )
        steps = min(sampling.steps or num_masks, num_masks)
        return [step * num_masks // steps - (step - 1) * num_masks // steps for step in range(1, steps + 1)]

    @torch.inference_mode()
    def _write(self, page: Page, counts: list[int], sampling: Sampling, generator: torch.Generator) -> Generated:
        ids, left = page.ids.copy(), page.masks
        steps: list[Step] = []
        was_training = self.model.training
        self.model.eval()
        try:
            for count in counts:
                draft = self._predict(ids, left, sampling, generator)
                kept = self._kept(draft, count, sampling, generator)
                filled = left[kept]
                ids[filled] = draft.ids.numpy()[kept]
                left = np.delete(left, kept)
                confidences = draft.confidences.numpy()[kept].tolist()
                parts = page.parts(ids, set(left.tolist()), set(filled.tolist()))
                steps.append(Step(ids.tolist(), filled.tolist(), confidences, parts))
        finally:
            self.model.train(was_training)
        return Generated(page.text(ids), steps)

    def _predict(
        self, ids: NDArray[np.int64], masks: NDArray[np.int64], sampling: Sampling, generator: torch.Generator
    ) -> _Draft:
        """Draw a piece for each masked column, all at once."""
        vocabulary = self.tokenizer.vocabulary
        whole = torch.tensor([[vocabulary.cls_id, *ids.tolist(), vocabulary.sep_id]])
        batch = TokenBatch(whole, torch.ones_like(whole), torch.arange(whole.shape[1])[None])
        device = self.model.decoder_weight.device
        logits = self.model(batch.to(device), torch.from_numpy(masks + 1).to(device))
        logits = logits.float().cpu().masked_fill(self._forbidden, -torch.inf)
        if sampling.temperature == 0.0:
            drawn = logits.argmax(dim=1)
        else:
            below = (logits - logits.amax(dim=1, keepdim=True)).double()  # what is finite stays so when divided
            drawn = _draw(below / sampling.temperature, sampling.top_k, generator)
        confidences = logits.softmax(dim=1).gather(1, drawn[:, None]).squeeze(1)
        return _Draft(drawn, confidences)

    def _kept(self, draft: _Draft, count: int, sampling: Sampling, generator: torch.Generator) -> NDArray[np.int64]:
        """Return which predictions stay, ascending; of equals the first."""
        if self._context != "both":
            number = len(draft.ids)
            return np.arange(count) if self._context == "left" else np.arange(number - count, number)
        if sampling.order == "random":
            order = torch.randperm(len(draft.ids), generator=generator)
        else:
            order = draft.confidences.argsort(descending=True, stable=True)
        return np.sort(order[:count].numpy())


def _draw(
    logits: Float[Tensor, "count vocab"], top_k: int | None, generator: torch.Generator
) -> Int[Tensor, "count"]:
    """Draw from the softmax of each row, or of its ``top_k`` largest entries."""
    if top_k is not None:
        best, ids = logits.topk(min(top_k, logits.shape[1]), dim=1)
        drawn = torch.multinomial(best.softmax(dim=1), 1, generator=generator)
        return ids.gather(1, drawn).squeeze(1)
    return torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1)
