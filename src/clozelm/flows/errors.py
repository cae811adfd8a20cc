"""Where a model fails on a corpus, and where another does: what `cloze errors` reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clozelm.data.store import TOKENIZER, TokenStore, is_store
from clozelm.errors import DataError, ModelError
from clozelm.explain.error_corpus import spooled
from clozelm.explain.error_examples import Example
from clozelm.explain.error_words import WordCounts
from clozelm.explain.errors import ErrorSums, measure
from clozelm.flows.error_figures import Resampling, calibration, groups
from clozelm.masking.rates import checked_rate
from clozelm.report.errors import page
from clozelm.text.atomic import write_whole
from clozelm.text.files import find_files
from clozelm.text.normalize import normalize
from clozelm.text.readers import Reading, read_all
from clozelm.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from clozelm.flows.model import Model

_COMPARED = ("model", "normalizer", "pre_tokenizer", "added_tokens")


def find_errors(
    model: Model,
    texts: str | Path | Sequence[str | Path],
    *,
    against: Model | None = None,
    names: Sequence[str] = ("model", "against"),
    reading: Reading | None = None,
    counts: str | Path | None = None,
    rate: float = 0.15,
    seed: int = 0,
    max_documents: int | None = None,
    row_length: int = 128,
    show: int = 20,
) -> dict[str, Any]:
    """Return what ``model`` gets wrong on text files, as plain data; ``against`` another of the same tokenizer.

    Rows and masks are those of ``evaluate``. How frequent a word is comes from the text itself, or from the token
    store ``counts``. ``show`` is how many mistakes and confusions are listed. ``names`` are the models' in the
    report. Raises ``DataError`` where there is nothing to predict, ``ModelError`` for models that do not fit.
    """
    checked_rate(rate, name="rate")
    models = [model] if against is None else [model, against]
    if against is not None:
        _check_same_pieces(model.tokenizer, against.tokenizer)
    files = find_files([texts] if isinstance(texts, str | Path) else texts)
    tokenizer = model.tokenizer
    frequencies = None if counts is None else _frequencies(Path(counts), tokenizer)
    row_length = min(row_length, *(one.masked_lm.config.max_positions for one in models))
    with spooled(_texts(files, reading or Reading(), max_documents), tokenizer) as corpus:
        sums = measure(
            [one.masked_lm for one in models],
            corpus,
            tokenizer.vocabulary,
            row_length=row_length,
            rate=rate,
            seed=seed,
            counts=frequencies,
            show=show,
        )
    facts = {"text": [str(file) for file in files], "rate": rate, "seed": seed, "row_length": row_length}
    facts |= {"counts": None if counts is None else str(counts), "models": list(names[: len(models)])}
    return facts | _plain(sums, tokenizer, show)


def save_page(report: dict[str, Any], path: Path) -> None:
    """Write the report as one page of HTML, whole or not at all."""
    write_whole(path, page(report))


def _plain(sums: ErrorSums, tokenizer: Tokenizer, show: int) -> dict[str, Any]:
    draws = Resampling(sums.counts)
    everything, *others = groups(sums)
    return {
        "documents": int(sums.has_predictions.sum()),
        "clusters": int((sums.counts[:, 0] > 0).sum()),
        "tokens": sums.tokens,
        "all": everything["cells"][0],
        "groups": others,
        "calibration": [calibration(model, draws) for model in sums.models],
        "mistakes": [[_shown(one, tokenizer) for one in model.mistakes.best()] for model in sums.models],
        "confusions": [_confusions(sums, number, tokenizer, show) for number in range(len(sums.models))],
        "are_confusions_exact": all(model.confusions.is_exact for model in sums.models),
        "better": [_shown(one, tokenizer) for one in sums.better.best()],
        "worse": [_shown(one, tokenizer) for one in sums.worse.best()],
    }


def _confusions(sums: ErrorSums, number: int, tokenizer: Tokenizer, show: int) -> list[dict[str, Any]]:
    return [
        {
            "truth": _named(truth, tokenizer),
            "answer": _named(answer, tokenizer),
            "count": count,
            "of": int(sums.truths[truth]),
        }
        for truth, answer, count in sums.models[number].confusions.most_common(show)
    ]


def _shown(example: Example, tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "document": example.document,
        "left": _written(example.left, tokenizer),
        "right": _written(example.right, tokenizer),
        "truth": _named(example.truth, tokenizer),
        "answers": [
            {"answer": _named(answer, tokenizer), "confidence": confidence, "truth": truth}
            for answer, confidence, truth in zip(
                example.answers, example.confidences, example.probabilities, strict=True
            )
        ],
    }


def _named(token_id: int, tokenizer: Tokenizer) -> str:
    """Write a piece as a reader would see it, a dot before what joins on to the piece before it."""
    piece, text = tokenizer.token(token_id), tokenizer.piece_text(token_id)
    if tokenizer.kind == "wordpiece":
        return f"·{text}" if piece != text else text
    return text if piece[0] in "Ġ▁" or not text[0].isalnum() else f"·{text}"


def _written(ids: NDArray[np.int64], tokenizer: Tokenizer) -> str:
    """Write pieces as text with the masks among them, which decoding would leave out."""
    parts: list[str] = []
    edges = [-1, *np.flatnonzero(ids == tokenizer.vocabulary.mask_id).tolist(), len(ids)]
    for before, after in pairwise(edges):
        text = tokenizer.decode(ids[before + 1 : after]).strip()
        joins = tokenizer.kind == "wordpiece" and text.startswith("##")
        parts += [f"·{text[2:]}" if joins else text, tokenizer.token(tokenizer.vocabulary.mask_id)]
    return " ".join(" ".join(parts[:-1]).split())


def _texts(files: Sequence[Any], reading: Reading, max_documents: int | None) -> Iterator[str]:
    for document in islice(read_all(files, reading), max_documents):
        if text := normalize(document.text):
            yield text


def _frequencies(path: Path, tokenizer: Tokenizer) -> WordCounts:
    store = TokenStore.open(path)
    if not _same_pieces(Tokenizer.load(path / TOKENIZER), tokenizer):
        raise DataError(
            f"--counts {path} was prepared with another tokenizer than the model's: prepare it with the model's "
            "directory as --tokenizer, or leave --counts out to count in the text."
        )
    return WordCounts.of(store)


def _check_same_pieces(one: Tokenizer, other: Tokenizer) -> None:
    if not _same_pieces(one, other):
        raise ModelError(
            f"The models have different tokenizers ({one.fingerprint} and {other.fingerprint}), so they do not "
            "predict the same pieces: compare them by the bits per byte of `cloze evaluate`, or look at each alone."
        )


def _same_pieces(one: Tokenizer, other: Tokenizer) -> bool:
    """Tell whether two tokenizers cut and number any text alike; what they add around it does not matter."""
    return one.vocabulary == other.vocabulary and all(
        one.definition.get(key) == other.definition.get(key) for key in _COMPARED
    )


def check_text(paths: Sequence[str]) -> None:
    """Refuse a token store where text is asked for."""
    for path in paths:
        if is_store(path):
            held = Path(path) / "held_out.jsonl"
            there = f", such as {held}" if held.is_file() else ""
            raise DataError(f"{path} is a token store, which has no letters any more: name text{there}.")
