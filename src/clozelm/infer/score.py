"""How probable a model finds a sentence: the sum of its pieces' log-probabilities."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from clozelm.errors import ClozeError, ModelError
from clozelm.infer.copies import Rows, masked_copies, plain_windows, scorable
from clozelm.infer.rectangles import Answer, Question, answers
from clozelm.infer.scoring import evaluating, vector_losses
from clozelm.nn.decoder import EncoderDecoder
from clozelm.nn.heads import Discriminator, MaskedLM
from clozelm.text.tokenizer import Encoded, Tokenizer
from clozelm.text.valid import require_valid

Method = Literal["within_word", "original", "causal", "replaced", "sentinel"]
METHODS: tuple[Method, ...] = get_args(Method)

Judge = MaskedLM | Discriminator | EncoderDecoder
"""What can score a text."""

_TEXTS_AT_ONCE = 512
_TOKENS_AT_ONCE = 2**18


@dataclass(frozen=True)
class PieceScore:
    """One piece, as a reader would write it, and its log-probability in nats."""

    id: int
    token: str
    log_probability: float


@dataclass(frozen=True)
class Score:
    """What a model says of a text, in nats, piece by piece.

    Specials around the text are never scored, nor are those written in it; ``num_bytes`` are all UTF-8 bytes of the
    text. Of a text without a piece the log-probability is 0 and what is measured per piece or byte is nan.
    ``notice`` says what the model could not read.
    """

    text: str
    method: Method
    pieces: list[PieceScore]
    num_bytes: int
    notice: str | None = None

    @property
    def log_probability(self) -> float:
        """The sum over the pieces, in nats: pseudo-log-likelihood, or log-likelihood of a causal model."""
        return math.fsum(piece.log_probability for piece in self.pieces)

    @property
    def nats_per_piece(self) -> float:
        """Minus the log-probability of a mean piece: the log of the pseudo-perplexity."""
        return -self.log_probability / len(self.pieces) if self.pieces else math.nan

    @property
    def perplexity(self) -> float:
        """Exp of the nats per piece (Salazar et al. 2020, 2.3); compares models of one tokenizer only."""
        return math.exp(min(self.nats_per_piece, 700.0))

    @property
    def nats_per_byte(self) -> float:
        """Minus the log-probability of a mean byte, which compares models of any tokenizers."""
        return -self.log_probability / self.num_bytes if self.pieces else math.nan

    @property
    def bits_per_byte(self) -> float:
        """Nats per byte in bits."""
        return self.nats_per_byte / math.log(2)


class Scorer:
    """Score texts one after another, many at a time inside.

    ``within_word``, what a model with masks does by default, hides each piece and the later ones of its word in a
    copy of the text (Kauf & Ivanova 2023, "A better way to do masked language model scoring"); ``original`` hides
    the piece alone (Salazar et al. 2020, "Masked language model scoring", 2.1), which finds long words too
    probable. ``causal`` is the likelihood by the chain rule, from one pass of a model that reads from left to
    right and predicts the next piece. ``replaced`` sums log(1 - p(replaced)) over what a discriminator
    says of the text in one pass: no likelihood, but it orders sentences by how natural they are. ``sentinel`` asks
    an encoder-decoder (T5) for each piece in turn, a sentinel in its place: p is that of the piece as the first of
    an answer that might be longer.

    Relations: ``within_word`` equals ``original`` where every word is one piece.
    """

    def __init__(self, model: Judge, tokenizer: Tokenizer, *, method: Method | None = None) -> None:
        """Score with ``model``, by the default method of its kind or by another that it allows."""
        self.model = model
        self.tokenizer = tokenizer
        self.method = _method_of(model, method)
        config = model.config.encoder if isinstance(model, EncoderDecoder) else model.config
        self._room = config.max_positions - 2
        if self._room < 1:
            raise ModelError(f"A model of {config.max_positions} positions has no room for text.")

    def __call__(self, texts: str | Iterable[str]) -> Iterator[Score]:
        """Yield the score of every text in order; an endless stream of texts is read a part at a time.

        Memory is that of some hundred thousand tokens and one batch, whatever the length of a text. The numbers do
        not depend on what else is scored beyond rounding (1e-5).
        """
        stream = iter([texts] if isinstance(texts, str) else texts)
        while group := list(islice(stream, _TEXTS_AT_ONCE)):
            yield from self._group(group)

    def _group(self, texts: list[str]) -> Iterator[Score]:
        """Score some texts, a pool of rows at a time, each text as soon as its last piece is there."""
        for text in texts:
            require_valid(text)
        encodings = self.tokenizer.encode_batch(texts)
        places = [scorable(encoded, self.tokenizer.vocabulary) for encoded in encodings]
        waiting = deque(zip(texts, encodings, places, strict=True))
        rows = (
            part for encoded, place in zip(encodings, places, strict=True) for part in self._rows(encoded, place)
        )
        found: NDArray[np.float64] = np.zeros(0)
        for pool in _pools(rows):
            found = np.concatenate([found, self._answer(pool)])
            while waiting and len(waiting[0][2]) <= len(found):
                text, encoded, place = waiting.popleft()
                yield self._score(text, encoded, place, found[: len(place)])
                found = found[len(place) :]
        for text, encoded, place in waiting:
            yield self._score(text, encoded, place, found)

    def _rows(self, encoded: Encoded, places: NDArray[np.int64]) -> Iterator[Rows]:
        vocabulary, room = self.tokenizer.vocabulary, self._room
        if self.method in ("causal", "replaced"):
            return plain_windows(encoded, places, vocabulary, room=room)
        is_within = self.method == "within_word"
        return masked_copies(encoded, places, vocabulary, room=room, within_word=is_within)

    @torch.inference_mode()
    def _answer(self, rows: list[Rows]) -> NDArray[np.float64]:
        """Return the log-probability of everything that ``rows`` ask, in evaluation mode."""
        with evaluating(self.model):
            return answers(rows, _answer_of(self.model))

    def _score(self, text: str, encoded: Encoded, places: NDArray[np.int64], values: NDArray[np.float64]) -> Score:
        ids = encoded.ids[places].tolist()
        pieces = [
            PieceScore(token_id, self.tokenizer.piece_text(token_id), value)
            for token_id, value in zip(ids, values.tolist(), strict=True)
        ]
        return Score(text, self.method, pieces, len(text.encode()), self._notice(encoded, ids))

    def _notice(self, encoded: Encoded, scored: list[int]) -> str | None:
        if not scored:
            return "The text has no piece to score."
        said = []
        if (length := len(encoded.ids)) > self._room:
            said.append(
                f"The text has {length} pieces and the model reads {self._room}: each was scored among those "
                "around it."
            )
        unknown = scored.count(-1 if (unk := self.tokenizer.vocabulary.unk_id) is None else unk)
        if unknown:
            are = "is" if unknown == 1 else "are"
            said.append(
                f"{unknown} of {len(scored)} pieces {are} unknown to the tokenizer: what they cost means little."
            )
        return " ".join(said) or None


def _method_of(model: Judge, method: str | None) -> Method:
    """Return the method a model scores by; one that it has no training for is refused."""
    allowed: tuple[Method, ...] = ("within_word", "original")
    kind = "a masked language model"
    if isinstance(model, Discriminator):
        allowed, kind = ("replaced",), "a discriminator"
    elif isinstance(model, EncoderDecoder):
        allowed, kind = ("sentinel",), "an encoder-decoder"
    elif model.reading.is_causal:
        allowed, kind = ("causal",), "a model that reads from left to right"
    if method is None:
        return allowed[0]
    for one in allowed:
        if one == method:
            return one
    if method not in METHODS:
        raise ClozeError(f"method={method!r} is not one of {', '.join(METHODS)}.")
    raise ClozeError(f"method={method!r} does not suit {kind}: use {' or '.join(allowed)}.")


def _pools(rows: Iterator[Rows]) -> Iterator[list[Rows]]:
    """Yield the rows in order, in lists of a capped number of tokens."""
    pool, tokens = [], 0
    for one in rows:
        pool.append(one)
        tokens += one.ids.size
        if tokens >= _TOKENS_AT_ONCE:
            yield pool
            pool, tokens = [], 0
    if pool:
        yield pool


def _answer_of(model: Judge) -> Answer:
    if isinstance(model, Discriminator):
        return _originals(model)
    return _sentinels(model) if isinstance(model, EncoderDecoder) else _targets(model)


def _targets(model: MaskedLM) -> Answer:
    """Return the log-probability of each target; the vocabulary is computed where something is scored only."""

    def answer(question: Question) -> NDArray[np.float64]:
        device = model.decoder_weight.device
        vectors = model.scored_vectors(question.batch.to(device), question.scored.to(device))
        losses, _ = vector_losses(model, vectors[question.which.to(device)], question.targets.to(device))
        return -losses

    return answer


def _originals(model: Discriminator) -> Answer:
    """Return log(1 - p(replaced)) of each target (Clark et al. 2020, 2)."""

    def answer(question: Question) -> NDArray[np.float64]:
        device = model.encoder.embeddings.tokens.weight.device
        logits = model(question.batch.to(device)).flatten()[question.scored[question.which].to(device)]
        kept: NDArray[np.float64] = F.logsigmoid(-logits.float()).double().cpu().numpy()
        return kept

    return answer


def _sentinels(model: EncoderDecoder) -> Answer:
    """Return the log-probability of each target, a sentinel in its place; one place a row (Raffel et al. 2020)."""

    def answer(question: Question) -> NDArray[np.float64]:
        device = model.decoder_weight.device
        asked = question.scored[question.which]
        row, column = asked // question.batch.input_ids.shape[1], asked % question.batch.input_ids.shape[1]
        batch = question.batch.at(row)
        batch.input_ids[torch.arange(len(row)), column] = question.targets
        found: NDArray[np.float64] = model.score_hidden(batch.to(device), column.to(device)).double().cpu().numpy()
        return found

    return answer
