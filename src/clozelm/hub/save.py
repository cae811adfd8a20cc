"""Write a model as a plain Hugging Face directory, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from clozelm.errors import DataError, ModelError
from clozelm.families import Family, named
from clozelm.hub.card import model_card
from clozelm.hub.weights import READING, WEIGHTS_FILE, write_weights
from clozelm.nn.heads import Discriminator, MaskedLM
from clozelm.text.atomic import AtomicDirectory, disk_errors
from clozelm.text.tokenizer import Tokenizer
from clozelm.types import Reading

# Everything that ``save`` may write; a directory that holds anything else, such as a downloaded model's
# ``source.json``, is never replaced.
_FILES = frozenset(
    {
        "config.json",
        WEIGHTS_FILE,
        "README.md",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "vocab.txt",
        "vocab.json",
        "merges.txt",
    }
)


def save(
    model: MaskedLM | Discriminator,
    tokenizer: Tokenizer,
    directory: str | Path,
    *,
    family: str,
    card: Mapping[str, Any] | str | None = None,
    heads: Mapping[str, nn.Module] | None = None,
    replace: bool = True,
    with_head: bool = True,
    extra_config: Mapping[str, Any] | None = None,
) -> None:
    """Write ``directory`` so that ``transformers.AutoModelForMaskedLM`` and ``hub.load`` open it.

    ``family`` is a name in ``FAMILIES``; ``card`` holds facts for the model card, or is the whole of it. ``heads``
    are kept beside the model where the family's stock code knows them (``Family.extras``), and else left out, which
    the card says. A discriminator opens as ``AutoModelForPreTraining``. Without ``with_head`` an encoder is written
    that has no head for masked language modelling. ``extra_config`` holds more keys for ``config.json``. An earlier
    model there is replaced if ``replace`` allows it; a directory that holds anything else is refused.
    """
    chosen = named(family)
    if tokenizer.vocab_size > model.config.vocab_size:
        raise ModelError(
            f"The tokenizer has {tokenizer.vocab_size} pieces, but the model embeds only "
            f"{model.config.vocab_size}: they do not belong together."
        )
    with building(directory, replace=replace) as place:
        write_files(
            model,
            tokenizer,
            place,
            family=chosen,
            card=card,
            heads=heads or {},
            with_head=with_head,
            extra_config=extra_config,
        )


@contextmanager
def building(directory: str | Path, *, replace: bool) -> Iterator[Path]:
    """Give a directory to write a model into; it moves to its place when all of it is written, or not at all."""
    try:
        place = AtomicDirectory(directory, replace=replace, is_ours=is_saved_model)
        try:
            with disk_errors(place.path):
                yield place.building
            place.commit()
        finally:
            place.discard()
    except DataError as error:
        raise ModelError(str(error)) from error


def write_files(
    model: MaskedLM | Discriminator,
    tokenizer: Tokenizer,
    directory: Path,
    *,
    family: Family,
    card: Mapping[str, Any] | str | None = None,
    heads: Mapping[str, nn.Module],
    with_head: bool,
    extra_config: Mapping[str, Any] | None = None,
) -> None:
    """Write the files of a model into a directory that is there, such as one being built."""
    state = {name: one for name, one in model.state_dict().items() if with_head or not name.startswith("head.")}
    facts = {} if card is None or isinstance(card, str) else dict(card)
    architecture = family.architecture
    if isinstance(model, Discriminator):
        architecture = family.extras["replaced"].architecture
    for name, head in heads.items():
        if name in family.extras:
            architecture = family.extras[name].architecture
            state |= {f"{name}.{key}": tensor for key, tensor in head.state_dict().items()}
        else:
            facts["left out"] = f"the {name} head, which {family.name} has no place for"
    dtype = str(next(iter(state.values())).dtype).removeprefix("torch.")
    config = family.write_config(model.config, tokenizer.vocabulary)
    config |= {"architectures": [architecture], "dtype": dtype}
    if isinstance(model, MaskedLM) and model.reading != Reading():
        config[READING] = asdict(model.reading)
    if taken := sorted(config.keys() & (extra_config or {}).keys()):
        raise ModelError(f"config.json has its own {taken[0]!r}: extra_config must not set it.")
    config |= extra_config or {}
    text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False)
    (directory / "config.json").write_text(f"{text}\n", encoding="utf-8")
    tokenizer.write(directory)
    readme = card if isinstance(card, str) else None
    readme = readme or model_card(
        model, tokenizer, family=family, architecture=architecture, facts=facts, has_head=with_head
    )
    (directory / "README.md").write_text(readme, encoding="utf-8")
    write_weights(state, directory / WEIGHTS_FILE, family=family, config=model.config)


def is_saved_model(directory: Path) -> bool:
    """Whether ``directory`` holds a model and nothing that ``save`` would not write."""
    names = {path.name for path in directory.iterdir()}
    return {"config.json", WEIGHTS_FILE} <= names <= _FILES
