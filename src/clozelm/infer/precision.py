"""Scores in bf16, with what that costs in exactness and gains in time, measured on the text at hand."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import chain, islice

import torch

from clozelm.infer.score import Scorer

_TRIED = 16


def in_bf16(scorer: Scorer, texts: Iterable[str]) -> tuple[Iterator[str], str]:
    """Turn a scorer's weights to bf16, in place, and say what that does to the first sentences.

    Returns all the texts, and in a sentence how far their scores are from those in fp32, and how long both took.
    """
    stream = iter(texts)
    first = list(islice(stream, _TRIED))
    exact, exact_seconds = _scores(scorer, first)
    scorer.model.to(torch.bfloat16)
    rough, rough_seconds = _scores(scorer, first)
    gaps = [abs(one - other) for one, other in zip(rough, exact, strict=True)]
    shares = [gap / -other for gap, other in zip(gaps, exact, strict=True) if other < 0]
    said = (
        f"bf16 differs from fp32 by up to {max(gaps, default=0.0):.3f} nats a sentence "
        f"({max(shares, default=0.0):.2%}) on the first {len(first)}; these took {rough_seconds:.2f} s in bf16 and "
        f"{exact_seconds:.2f} s in fp32."
    )
    return chain(first, stream), said


def _scores(scorer: Scorer, texts: list[str]) -> tuple[list[float], float]:
    started = time.perf_counter()
    scores = [one.log_probability for one in scorer(texts)]
    return scores, time.perf_counter() - started
