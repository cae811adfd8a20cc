"""What a model directory holds, found out without keeping the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from clozelm.errors import ClozeError
from clozelm.hub.classifier import load_classifier
from clozelm.hub.labels import ANSWERS, kind_of
from clozelm.hub.load import build, family_of, load, model_directory, read_config
from clozelm.hub.prompt import is_prompt, load_prompt
from clozelm.hub.weights import read_tensors
from clozelm.text.tokenizer import Tokenizer


def inspect(path: str | Path) -> dict[str, Any]:
    """Return plain facts about a model: family, shape, parameters, tokenizer, files, and what would be dropped.

    ``opens`` says whether it fills masks as it is; if not, ``problem`` why. ``task`` is what a classifier answers,
    none for other models. Raises ``ModelError`` where there is no model of a supported family.
    """
    directory = model_directory(path)
    config = read_config(directory)
    family = family_of(config, directory)
    shape, model = build(config, family, directory)
    tensors = read_tensors(directory)
    parts: dict[str, list[nn.Module]] = {
        "embeddings": [model.encoder.embeddings],
        "layers": [model.encoder.layers, model.encoder.final_norm],
        "head": [model.head],
    }
    facts: dict[str, Any] = {
        "directory": str(directory),
        "family": family.name,
        "architecture": ", ".join(config.get("architectures") or [family.architecture]),
        "paper": family.paper,
        "layers": shape.num_layers,
        "hidden_size": shape.hidden_size,
        "heads": shape.num_heads,
        "intermediate_size": shape.intermediate_size,
        "embedding_size": shape.embedding_width,
        "longest_text": shape.max_positions,
        "vocab_size": shape.vocab_size,
        "parameters": {
            name: sum(p.numel() for module in modules for p in module.parameters())
            for name, modules in parts.items()
        },
        "precision": sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()}),
        "bytes": sum(tensor.nbytes for tensor in tensors.values()),
        "has_mlm_head": family.has_head(tensors, shape),
    }
    if not facts["has_mlm_head"]:
        facts["parameters"]["head"] = 0
    facts |= _tokenizer(directory) | {"task": None} | _opened(directory)
    if kind_of(config) is not None:
        facts |= _classifier(directory, facts)
    elif is_prompt(directory):
        facts["task"] = _prompt(directory)
    facts["parameters"]["all"] = sum(facts["parameters"].values())
    return facts


def _classifier(directory: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Say what a classifier answers and whether it opens, and count its head."""
    try:
        loaded = load_classifier(directory)
    except ClozeError as error:
        return {"task": {"opens": False, "problem": str(error)}}
    head = sum(parameter.numel() for parameter in loaded.model.head.parameters())
    task = {
        "kind": loaded.model.kind,
        "answers": ANSWERS[loaded.model.kind, loaded.problem],
        "labels": loaded.labels,
    }
    return {
        "task": {"opens": True, **task},
        "dropped": list(loaded.dropped),
        "parameters": {**facts["parameters"], "head": head},
    }


def _prompt(directory: Path) -> dict[str, Any]:
    """Say what a prompt answers and whether it opens; all of its weights are the masked language model's."""
    try:
        loaded = load_prompt(directory)
    except ClozeError as error:
        return {"opens": False, "problem": str(error)}
    answers = f"{ANSWERS['sequence', 'single']}, by the prompt {loaded.prompt.pattern!r}"
    return {"opens": True, "kind": "prompt", "answers": answers, "labels": loaded.labels}


def _tokenizer(directory: Path) -> dict[str, Any]:
    try:
        tokenizer = Tokenizer.load(directory)
    except ClozeError as error:
        return {"tokenizer": {"problem": str(error)}}
    vocabulary = tokenizer.vocabulary
    names = {
        "pad": vocabulary.pad_id,
        "cls": vocabulary.cls_id,
        "sep": vocabulary.sep_id,
        "mask": vocabulary.mask_id,
    }
    return {
        "tokenizer": {
            "kind": tokenizer.kind,
            "pieces": tokenizer.vocab_size,
            "hash": tokenizer.fingerprint,
            "special": {role: tokenizer.token(token_id) for role, token_id in names.items()},
        }
    }


def _opened(directory: Path) -> dict[str, Any]:
    """Say whether the model opens and what is not used; of one without a head, what its encoder does not use."""
    try:
        return {"opens": True, "problem": None, "dropped": load(directory).dropped}
    except ClozeError as error:
        problem = str(error)
    try:
        dropped = load(directory, new_head=True).dropped
    except ClozeError:
        dropped = []
    return {"opens": False, "problem": problem, "dropped": dropped}
