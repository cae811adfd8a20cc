"""What a model would write in place of each mask."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from clozelm.errors import ClozeError, ModelError
from clozelm.infer.packed import packed_weights
from clozelm.infer.scoring import evaluating
from clozelm.infer.windows import Window, window_batches
from clozelm.nn.heads import MaskedLM
from clozelm.text.tokenizer import Tokenizer
from clozelm.text.valid import require_valid, shortened

LOGITS_AT_ONCE = 2**23
OPEN_MASK = re.compile(r"\[mask\*\]|<mask\*>", re.IGNORECASE)


@dataclass(frozen=True)
class Candidate:
    """One answer: a piece as a reader would write it, and as the vocabulary does, with its probability.

    ``rank`` is its place among all pieces of the vocabulary, 1 the most probable; the log-probability is in nats.
    """

    id: int
    token: str
    probability: float
    log_probability: float
    piece: str
    rank: int


@dataclass(frozen=True)
class Filled:
    """The candidates of every mask of a text, best first; ``notice`` says what the model could not read.

    ``entropies`` has for every mask how undecided the model is among all its pieces, in nats: 0 is certain.
    """

    text: str
    masks: list[list[Candidate]]
    notice: str | None = None
    entropies: list[float] = field(default_factory=list)


class _Hidden(NamedTuple):
    """The probability of all special pieces in a place, and the most probable of them."""

    share: float
    id: int


_Answered = tuple[list[Candidate], float, _Hidden]
_MUCH = 0.5


class FillMask:
    """Fill masks, each by itself: with several in a text, every one is answered while the others stay masked.

    Several texts share rows, the vocabulary is computed at masks only, and the answers are those of one text
    at a time. A mask may be written ``[MASK]``, ``<mask>`` (in any case) or as the tokenizer writes its own;
    white space before it belongs to it, as in RoBERTa, so that byte-level pieces begin with theirs.
    """

    def __init__(self, model: MaskedLM, tokenizer: Tokenizer) -> None:
        """Fill with ``model``, whose ids are those of ``tokenizer``."""
        self.model = model
        self.tokenizer = tokenizer
        self._is_special = tokenizer.vocabulary.is_special
        self._room = model.config.max_positions - 2
        if self._room < 1:
            raise ModelError(f"A model of {model.config.max_positions} positions has no room for text.")

    def __call__(self, texts: str | Sequence[str], top: int = 5) -> list[Filled]:
        """Return for every text, for every mask in it, its ``top`` candidates.

        A text longer than the model is read around its masks, which its notice says.
        """
        if top < 1:
            raise ClozeError(f"top={top} must be at least 1.")
        texts = [texts] if isinstance(texts, str) else list(texts)
        ids = [self._encode(text) for text in texts]
        windows, owners = [], []
        for index, one in enumerate(ids):
            found = list(self._windows(one))
            windows += found
            owners += [index] * len(found)
        answers = self._answer(windows, top)
        filled = [Filled(text, []) for text in texts]
        hidden: dict[int, _Hidden] = {}
        for owner, answer in zip(owners, answers, strict=True):
            for candidates, entropy, never_shown in answer:
                filled[owner].masks.append(candidates)
                filled[owner].entropies.append(entropy)
                hidden[owner] = max(hidden.get(owner, never_shown), never_shown)
        return [replace(one, notice=self._notice(len(ids[at]), hidden[at])) for at, one in enumerate(filled)]

    def _encode(self, text: str) -> NDArray[np.int64]:
        ids = encode_masks(self.tokenizer, text)
        if not (ids == self.tokenizer.vocabulary.mask_id).any():
            if OPEN_MASK.search(text):
                raise ClozeError(f"{shortened(text)!r} has a [MASK*] of open length: `fill_jointly` fills those.")
            raise ClozeError(f"{shortened(text)!r} has no [MASK]: write [MASK] where a word is to be filled in.")
        return ids

    def _windows(self, ids: NDArray[np.int64]) -> Iterator[Window]:
        """Cut a text into as few windows as hold its masks, each with its masks in the middle."""
        masks = np.flatnonzero(ids == self.tokenizer.vocabulary.mask_id).tolist()
        vocabulary = self.tokenizer.vocabulary
        while masks:
            group = [mask for mask in masks if mask - masks[0] < self._room]
            masks = masks[len(group) :]
            spare = self._room - (group[-1] - group[0] + 1)
            start = max(0, min(group[0] - spare // 2, len(ids) - self._room))
            inner = ids[start : start + self._room]
            whole = np.concatenate(([vocabulary.cls_id], inner, [vocabulary.sep_id]))
            yield Window(whole, [mask - start + 1 for mask in group])

    def _notice(self, length: int, hidden: _Hidden) -> str | None:
        said = []
        if length > self._room:
            said.append(
                f"The text has {length} pieces and the model reads {self._room}: "
                "each mask was filled from the pieces around it."
            )
        if hidden.share > _MUCH:
            said.append(
                f"{hidden.share:.1%} of the probability is on special pieces, which are never answers, most of it "
                f"on {self.tokenizer.token(hidden.id)}: the model has no word for this place."
            )
        return " ".join(said) or None

    @torch.inference_mode()
    def _answer(self, windows: list[Window], top: int) -> list[list[_Answered]]:
        """Answer the masks of every window, batch by batch, in evaluation mode."""
        answers: list[list[_Answered]] = [[] for _ in windows]
        weight, bias = self.model.decoder_weight, self.model.head.bias
        size = max(1, LOGITS_AT_ONCE // len(weight))
        tokens = sum(len(window.ids) for window in windows)
        with packed_weights(self.model, tokens), evaluating(self.model):
            for batch, scored, owners in window_batches(windows):
                vectors = self.model.scored_vectors(batch.to(weight.device), scored.to(weight.device))
                for start in range(0, len(owners), size):
                    logits = torch.nn.functional.linear(vectors[start : start + size], weight, bias)
                    for owner, found in zip(owners[start:], self._best(logits, top), strict=False):
                        answers[owner].append(found)
        return answers

    def _best(self, logits: Float[Tensor, "count vocab"], top: int) -> Iterator[_Answered]:
        """Yield the most probable pieces of each row, its entropy, and what is on special ones.

        Special tokens and ids beyond the tokenizer's are no answers; they keep their probability and rank.
        """
        logs = logits.float().log_softmax(dim=-1)
        entropies = torch.special.entr(logs.exp()).sum(dim=-1).tolist()
        size = self.tokenizer.vocab_size
        best = logs[:, :size].topk(min(top + int(self._is_special.sum()), size))
        special = torch.from_numpy(np.flatnonzero(self._is_special[:size])).to(logs.device)
        shares = logs[:, special].exp()
        hidden = zip(shares.sum(dim=1).tolist(), special[shares.argmax(dim=1)].tolist(), strict=True)
        rows = zip(best.values.tolist(), best.indices.tolist(), entropies, hidden, strict=True)
        for values, ids, entropy, never_shown in rows:
            ranked = zip(ids, values, count(1))
            found = [candidate(self.tokenizer, *one) for one in ranked if not self._is_special[one[0]]][:top]
            yield found, entropy, _Hidden(*never_shown)


def candidate(tokenizer: Tokenizer, token_id: int, log_probability: float, rank: int) -> Candidate:
    """Return a piece as an answer."""
    return Candidate(
        id=token_id,
        token=tokenizer.piece_text(token_id),
        probability=math.exp(log_probability),
        log_probability=log_probability,
        piece=tokenizer.token(token_id),
        rank=rank,
    )


def mask_pattern(tokenizer: Tokenizer) -> re.Pattern[str]:
    """Return what finds a mask in a text as people write it, with the white space before it."""
    own = re.escape(tokenizer.token(tokenizer.vocabulary.mask_id))
    return re.compile(rf"\s*(?:\[mask\]|<mask>|{own})", re.IGNORECASE)


def encode_masks(tokenizer: Tokenizer, text: str) -> NDArray[np.int64]:
    """Encode a text in which masks may be written in any way; no special tokens around it."""
    require_valid(text)
    mask = tokenizer.token(tokenizer.vocabulary.mask_id)
    written = mask_pattern(tokenizer).sub(lambda _: mask, text)
    return tokenizer.encode(written).ids.astype(np.int64)
