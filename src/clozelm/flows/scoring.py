"""Open whatever scores sentences: a masked or causal language model, a discriminator, an encoder-decoder."""

from __future__ import annotations

from pathlib import Path

from clozelm import hub
from clozelm.errors import ClozeError
from clozelm.flows.model import load
from clozelm.hub.discriminator import is_discriminator, load_discriminator
from clozelm.hub.seq2seq import is_seq2seq
from clozelm.infer.score import METHODS, Method, Scorer
from clozelm.nn.device import moved


def open_scorer(path: str | Path, *, method: str | None = None, device: str = "cpu") -> Scorer:
    """Return the scorer of a run or model directory; a name of no method is refused before anything is read."""
    chosen = method_named(method)
    directory = hub.model_directory(path)
    if is_discriminator(directory):
        discriminator, tokenizer = load_discriminator(directory)
        return Scorer(moved(discriminator, device), tokenizer, method=chosen)
    if is_seq2seq(directory):
        seq2seq = hub.load_seq2seq(directory)
        return Scorer(moved(seq2seq.model, device), seq2seq.tokenizer, method=chosen)
    model = load(path, device=device)
    return Scorer(model.masked_lm, model.tokenizer, method=chosen)


def method_named(name: str | None) -> Method | None:
    """Return the method of a name; none for none."""
    for method in METHODS:
        if method == name:
            return method
    if name is not None:
        raise ClozeError(f"method={name!r} is not one of {', '.join(METHODS)}.")
    return None
