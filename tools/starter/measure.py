"""How good the starter is, on text and tests that its training never saw."""

from pathlib import Path
from typing import Any

from clozelm.flows.cloze_sentences import ask, read_sentences, share_found
from clozelm.flows.model import Model
from clozelm.text.pair_files import read_pairs

EXAMPLES = (
    "Machine learning is a [MASK] technology.",
    "machine learning is a [MASK] technology.",
    "Machine learning is a [MASK] technology",
    "machine learning is a [MASK] technology",
)
EXPECTED = "powerful"


def measure(model: Model, held_out: list[Path], pairs: Path | None) -> dict[str, Any]:
    """Return all figures as plain data; minimal pairs only where there are some."""
    text = model.evaluate(held_out)
    asked = ask(model, read_sentences())
    figures: dict[str, Any] = {
        "held out": {
            "bits per byte": text.words.bits_per_byte,
            "interval": list(text.words.interval),
            "nats": text.pieces.loss,
            "unigram nats": text.pieces.unigram,
            "pieces right": text.pieces.accuracy,
        },
        "sentences": {
            kind: dict(zip(("found", "of"), share_found(asked, kind), strict=True))
            for kind in ("everyday", "technical")
        },
        "missed": [
            {
                "sentence": one.question.sentence,
                "expected": one.question.expected,
                "answers": [candidate.token for candidate in one.answers],
            }
            for one in asked
            if not one.is_found
        ],
        "example": {text: example(model, text) for text in EXAMPLES},
    }
    if pairs is not None:
        result = model.minimal_pairs(read_pairs([str(pairs)]))
        figures["minimal pairs"] = {
            "mean of groups": result.mean,
            "interval": list(result.mean_interval),
            "groups": len(result.groups),
            "pairs": result.pooled.pairs,
            "by group": {name: one.accuracy for name, one in result.groups.items()},
        }
    return figures


def example(model: Model, text: str) -> dict[str, Any]:
    """Return the rank of the expected word and the first answers."""
    found = model.fill_jointly(text, targets=[EXPECTED]).fillings[0].answers[0].pieces[0]
    return {
        "rank": found.rank,
        "probability": found.probability,
        "first": [one.token for one in model.fill(text, top=5)[0]],
    }
