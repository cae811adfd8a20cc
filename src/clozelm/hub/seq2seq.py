"""An encoder-decoder on disk: a directory of our own, for no family of the Hub has its shape."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from clozelm.errors import ModelError
from clozelm.hub.card import seq2seq_card
from clozelm.hub.load import read_config
from clozelm.hub.save import building
from clozelm.hub.weights import WEIGHTS_FILE, check_shapes, read_tensors, write_tensors
from clozelm.nn.config import EncoderConfig
from clozelm.nn.decoder import EncoderDecoder, EncoderDecoderConfig
from clozelm.text.tokenizer import Tokenizer

_TYPE = "clozelm_encoder_decoder"


@dataclass(frozen=True)
class LoadedSeq2Seq:
    """An encoder-decoder as it was on disk; sentinels follow the tokenizer's pieces."""

    model: EncoderDecoder
    tokenizer: Tokenizer


def save_seq2seq(
    model: EncoderDecoder,
    tokenizer: Tokenizer,
    directory: str | Path,
    *,
    family: str,
    card: Mapping[str, Any] | None = None,
    replace: bool = True,
) -> None:
    """Write ``directory`` so that ``load_seq2seq`` opens it; nothing else does, which its card says.

    ``family`` is whose blocks the model has, ``card`` facts for the model card. An earlier model there is replaced
    if ``replace`` allows it; a directory that holds anything else is refused.
    """
    if tokenizer.vocab_size != model.config.first_sentinel:
        raise ModelError(
            f"The tokenizer has {tokenizer.vocab_size} pieces, but the model's sentinels begin at "
            f"{model.config.first_sentinel}: they do not belong together."
        )
    config = {"model_type": _TYPE, "family": family, **asdict(model.config)}
    with building(directory, replace=replace) as place:
        text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False)
        (place / "config.json").write_text(f"{text}\n", encoding="utf-8")
        tokenizer.write(place)
        readme = seq2seq_card(model, tokenizer, family=family, facts=card or {})
        (place / "README.md").write_text(readme, encoding="utf-8")
        write_tensors(model.state_dict(), place / WEIGHTS_FILE)


def is_seq2seq(directory: Path) -> bool:
    """Whether ``directory`` says that it holds an encoder-decoder of ours."""
    return (directory / "config.json").is_file() and read_config(directory).get("model_type") == _TYPE


def load_seq2seq(directory: str | Path, *, dtype: torch.dtype = torch.float32) -> LoadedSeq2Seq:
    """Open what ``save_seq2seq`` wrote, in evaluation mode, its weights converted to ``dtype``."""
    directory = Path(directory)
    config = read_config(directory)
    if config.get("model_type") != _TYPE:
        raise ModelError(
            f"{directory} holds no encoder-decoder of clozelm, but model_type={config.get('model_type')!r}: name "
            "the directory seq2seq of a run with objective.name=span_corruption."
        )
    model = _built(config, directory)
    tokenizer = Tokenizer.load(directory)
    if tokenizer.vocab_size != model.config.first_sentinel:
        raise ModelError(
            f"{directory}: the tokenizer has {tokenizer.vocab_size} pieces, but the model's sentinels begin at "
            f"{model.config.first_sentinel}: they do not belong together."
        )
    tensors, expected = read_tensors(directory), model.state_dict().keys()
    if wrong := sorted(expected ^ tensors.keys()):
        raise ModelError(
            f"{directory}: {len(wrong)} tensors are missing or have no place in the model, first {wrong[0]!r}."
        )
    check_shapes(model, tensors, directory)
    model.load_state_dict(tensors)
    return LoadedSeq2Seq(model.to(dtype).eval(), tokenizer)


def _built(config: dict[str, Any], directory: Path) -> EncoderDecoder:
    names = ("decoder_layers", "sentinels", "start_id")
    try:
        encoder = EncoderConfig(**config["encoder"])
        return EncoderDecoder(EncoderDecoderConfig(encoder, **{name: config[name] for name in names}))
    except (ModelError, TypeError, ValueError, KeyError, RuntimeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(f"{directory / 'config.json'} describes no encoder-decoder: {reason}") from error
