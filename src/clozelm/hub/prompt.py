"""Masked language models that answer a task by a prompt: plain model directories that keep the prompt as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from clozelm.errors import ModelError, SettingsError
from clozelm.families import Family, named
from clozelm.hub.card import prompt_card
from clozelm.hub.classifier import LoadedClassifier, is_classifier, load_classifier
from clozelm.hub.labels import TASK_KEY, check_labels
from clozelm.hub.load import Loaded, load, read_config
from clozelm.hub.save import save
from clozelm.nn.heads import MaskedLM
from clozelm.nn.prompt import PromptClassifier
from clozelm.tasks.prompt import Prompt
from clozelm.text.examples import Problem
from clozelm.text.templates import completed
from clozelm.text.tokenizer import Tokenizer

_PROMPT = "prompt"


@dataclass(frozen=True)
class LoadedPrompt:
    """A model that answers a prompt, with what it needs; ``labels`` are in the order of its logits.

    ``model`` and ``masked_lm`` are one set of weights; ``config`` is the ``config.json`` it came from.
    """

    model: PromptClassifier
    masked_lm: MaskedLM
    tokenizer: Tokenizer
    family: Family
    config: dict[str, Any]
    labels: tuple[str, ...]
    prompt: Prompt
    problem: ClassVar[Problem] = "single"

    @property
    def summary(self) -> str:
        """Say in one line how the model is asked."""
        return f"asked {self.prompt.pattern!r}: {words_said(self.prompt, self.labels)}; no layer is new"


def words_said(prompt: Prompt, labels: Sequence[str]) -> str:
    """Return the words of every label for a person."""
    return ", ".join(f"{label} = {' or '.join(prompt.words[label])}" for label in labels)


def is_prompt(directory: str | Path) -> bool:
    """Whether a model directory keeps a prompt that it answers."""
    facts = read_config(Path(directory)).get(TASK_KEY)
    return isinstance(facts, dict) and _PROMPT in facts


def has_task(directory: str | Path) -> bool:
    """Whether a model directory answers a task: by a classifier's head, or by a prompt."""
    return is_classifier(directory) or is_prompt(directory)


def load_task_model(
    directory: str | Path, *, dtype: torch.dtype = torch.float32
) -> LoadedClassifier | LoadedPrompt:
    """Open the model of a task in ``directory``, whichever it is, in evaluation mode."""
    return load_prompt(directory, dtype=dtype) if is_prompt(directory) else load_classifier(directory, dtype=dtype)


def new_prompt(
    directory: str | Path,
    *,
    prompt: Prompt,
    labels: Sequence[str],
    dropout: float | None = None,
    attention_dropout: float | None = None,
) -> LoadedPrompt:
    """Ask the masked language model in ``directory`` by ``prompt``, in training mode.

    ``dropout`` is the encoder's; none leaves the rates that the file names. Raises ``SettingsError`` for a word
    that is no single piece, ``ModelError`` for a model that fills no masks as BERT does.
    """
    loaded = load(directory)
    if dropout is not None or attention_dropout is not None:
        config = loaded.model.config
        changed = replace(
            config,
            dropout=config.dropout if dropout is None else dropout,
            attention_dropout=config.attention_dropout if attention_dropout is None else attention_dropout,
        )
        model = MaskedLM(changed, loaded.model.reading)
        model.load_state_dict(loaded.model.state_dict())
        loaded = replace(loaded, model=model)
    found = _asked(loaded, prompt, labels)
    found.model.train()
    return found


def load_prompt(directory: str | Path, *, dtype: torch.dtype = torch.float32) -> LoadedPrompt:
    """Open the model in ``directory`` with the prompt kept there, in evaluation mode."""
    directory = Path(directory)
    if not is_prompt(directory):
        raise ModelError(f"{directory} keeps no prompt: `cloze finetune classify --prompt` makes such a model.")
    loaded = load(directory, dtype=dtype)
    kept = loaded.config[TASK_KEY][_PROMPT]
    try:
        prompt, labels, temperature = _read(kept)
        return _asked(loaded, prompt, labels, temperature)
    except (SettingsError, ModelError, TypeError, ValueError, KeyError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise ModelError(f"{directory / 'config.json'}: its {TASK_KEY}.{_PROMPT} is no prompt: {reason}.") from None


def save_prompt(
    loaded: LoadedPrompt,
    directory: str | Path,
    *,
    card: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write ``directory`` as a plain masked language model whose ``config.json`` keeps the prompt.

    ``transformers.AutoModelForMaskedLM`` and ``hub.load`` open it and fill masks; ``load_prompt`` answers by the
    prompt, and divides by the temperature, which no tied matrix could hold. ``card`` holds facts for the model
    card, ``facts`` more of the task.
    """
    kept = {
        "pattern": loaded.prompt.pattern,
        "labels": list(loaded.labels),
        "words": [list(loaded.prompt.words[label]) for label in loaded.labels],
        "temperature": loaded.model.temperature,
    }
    text = prompt_card(
        loaded.masked_lm,
        loaded.tokenizer,
        family=named(loaded.family.name),
        prompt={
            "pattern": loaded.prompt.pattern,
            "words": words_said(loaded.prompt, loaded.labels),
            "temperature": f"{loaded.model.temperature:.4g}, by which the logits of the words are divided",
        },
        facts=card or {},
    )
    save(
        loaded.masked_lm,
        loaded.tokenizer,
        directory,
        family=loaded.family.name,
        card=text,
        extra_config={TASK_KEY: {**(facts or {}), _PROMPT: kept}},
    )


def _read(kept: Any) -> tuple[Prompt, tuple[str, ...], float]:
    """Return what ``save_prompt`` kept; what it did not write raises some error that says why."""
    labels, words = kept["labels"], kept["words"]
    check_labels(labels, "single", "sequence")
    if any(not isinstance(each, list) or not each for each in words):
        raise ValueError("each label needs a list of words")
    by_label = {label: tuple(map(str, each)) for label, each in zip(labels, words, strict=True)}
    return Prompt(kept["pattern"], by_label), tuple(labels), float(kept.get("temperature", 1.0))


def _asked(loaded: Loaded, prompt: Prompt, labels: Sequence[str], temperature: float = 1.0) -> LoadedPrompt:
    prompt.check(labels, prompt.num_texts)
    tokenizer = completed(loaded.tokenizer, has_segments=False)  # a prompt is one segment
    return LoadedPrompt(
        PromptClassifier(loaded.model, prompt.pieces(labels, tokenizer), temperature),
        loaded.model,
        tokenizer,
        loaded.family,
        loaded.config,
        tuple(labels),
        prompt,
    )
