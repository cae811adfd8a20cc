"""The model card: what a directory holds, for a person and for the Hub."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from clozelm.families import Family
from clozelm.hub.labels import ANSWERS
from clozelm.nn.classifier import Classifier, TaskKind
from clozelm.nn.decoder import EncoderDecoder
from clozelm.nn.heads import Discriminator, MaskedLM
from clozelm.text.examples import Problem
from clozelm.text.tokenizer import Tokenizer
from clozelm.types import Reading


def model_card(
    model: MaskedLM | Discriminator,
    tokenizer: Tokenizer,
    *,
    family: Family,
    architecture: str,
    facts: Mapping[str, Any] | None = None,
    has_head: bool = True,
) -> str:
    """Return a README.md: what the model is, how to open it, and ``facts`` about its making.

    Plain facts are rows of a table; a mapping (such as settings) is a section of its own, as JSON.
    """
    config = model.config
    parameters = sum(parameter.numel() for parameter in model.parameters())
    rows = {
        "architecture": f"{architecture} ({family.paper})",
        "layers x width": f"{config.num_layers} x {config.hidden_size}",
        "parameters": f"{parameters:,}",
        "tokenizer": f"{tokenizer.kind}, {tokenizer.vocab_size:,} pieces, hash {tokenizer.fingerprint}",
        "longest text": f"{config.max_positions:,} tokens",
        **{name: value for name, value in (facts or {}).items() if not isinstance(value, Mapping)},
    }
    reading = model.reading if isinstance(model, MaskedLM) else Reading()
    is_stock = reading == Reading()
    if not is_stock:
        rows["reads"] = reading.words
    fills = isinstance(model, MaskedLM) and has_head
    what, use = (_FILLS, _use(tokenizer, is_stock=is_stock)) if fills else (_DETECTS, _use_detector(family))
    if not has_head:
        what, use = _ENCODES, _USE_ENCODE
    card = _CARD.format(
        task="pipeline_tag: fill-mask\n" if fills else "",
        name=family.name,
        title=f"{family.name}, {config.num_layers} layers x {config.hidden_size}",
        what=what,
        table="\n".join(f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items()),
        use=use,
    )
    nested = {name: value for name, value in (facts or {}).items() if isinstance(value, Mapping)}
    return card + "".join(_section(name, value) for name, value in nested.items())


def seq2seq_card(model: EncoderDecoder, tokenizer: Tokenizer, *, family: str, facts: Mapping[str, Any]) -> str:
    """Return a README.md of an encoder-decoder, as ``model_card`` does of an encoder."""
    config = model.config
    parameters = sum(parameter.numel() for parameter in model.parameters())
    rows = {
        "architecture": f"encoder-decoder of {family}'s blocks, trained by span corruption (Raffel et al. 2020)",
        "layers x width": f"{config.encoder.num_layers} + {config.decoder_layers} x {config.encoder.hidden_size}",
        "parameters": f"{parameters:,}",
        "tokenizer": f"{tokenizer.kind}, {tokenizer.vocab_size:,} pieces, hash {tokenizer.fingerprint}",
        "sentinels": f"{config.sentinels}, ids {config.first_sentinel:,} to {config.encoder.vocab_size - 1:,}",
        **{name: value for name, value in facts.items() if not isinstance(value, Mapping)},
    }
    table = "\n".join(f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items())
    nested = {name: value for name, value in facts.items() if isinstance(value, Mapping)}
    return _SEQ2SEQ.format(table=table) + "".join(_section(name, value) for name, value in nested.items())


def classifier_card(
    model: Classifier,
    tokenizer: Tokenizer,
    *,
    family: Family,
    architecture: str,
    labels: Sequence[str],
    problem: Problem,
    facts: Mapping[str, Any],
) -> str:
    """Return a README.md of a classifier, as ``model_card`` does of a pretrained model."""
    config = model.config
    task = ANSWERS[model.kind, problem]
    rows = {
        "task": task,
        "labels": ", ".join(labels),
        "architecture": f"{architecture} ({family.paper})",
        "layers x width": f"{config.num_layers} x {config.hidden_size}",
        "parameters": f"{sum(parameter.numel() for parameter in model.parameters()):,}",
        "tokenizer": f"{tokenizer.kind}, {tokenizer.vocab_size:,} pieces, hash {tokenizer.fingerprint}",
        "longest text": f"{config.max_positions:,} tokens",
        **{name: value for name, value in facts.items() if not isinstance(value, Mapping)},
    }
    is_stock = model.context == "both"
    if not is_stock:
        rows["reads"] = Reading(model.context).words.partition(",")[0]
    pipeline = "text-classification" if model.kind == "sequence" else "token-classification"
    card = _CLASSIFIER.format(
        pipeline=pipeline,
        name=family.name,
        title=f"{family.name}, {config.num_layers} layers x {config.hidden_size}: {task}",
        what=_GIVES[model.kind, problem],
        table="\n".join(f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items()),
        other=_USE_PIPELINE.format(pipeline=pipeline) if is_stock else _OTHER_CLASSIFIER,
    )
    nested = {name: value for name, value in facts.items() if isinstance(value, Mapping)}
    return card + "".join(_section(name, value) for name, value in nested.items())


def prompt_card(
    model: MaskedLM,
    tokenizer: Tokenizer,
    *,
    family: Family,
    prompt: Mapping[str, str],
    facts: Mapping[str, Any],
) -> str:
    """Return a README.md of a masked language model that answers ``prompt``, and how it is asked."""
    rows = {"task": "one label for a text, by a prompt", **prompt, **facts}
    return model_card(model, tokenizer, family=family, architecture=family.architecture, facts=rows) + _USE_PROMPT


def continued_card(card: str, heading: str, facts: Mapping[str, Any]) -> str:
    """Return a card as its maker wrote it, licence and all, with one more section of ``facts``."""
    table = "\n".join(f"| {_cell(name)} | {_cell(value)} |" for name, value in facts.items())
    return f"{card.rstrip()}\n\n## {heading}\n\n| | |\n|---|---|\n{table}\n"


def _use_detector(family: Family) -> str:
    extra = family.extras.get("replaced")
    return _USE_DETECT if extra is not None and extra.is_stock else _USE_DETECT_OURS + _USE_ENCODE


def _use(tokenizer: Tokenizer, *, is_stock: bool) -> str:
    return _USE_OURS + (
        _USE_STOCK.format(mask=tokenizer.token(tokenizer.vocabulary.mask_id)) if is_stock else _OTHER
    )


def _section(name: str, value: Mapping[str, Any]) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return f"\n## {name}\n\n```json\n{text}\n```\n"


def _cell(value: Any) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


_FILLS = "A masked language model: it says which pieces fit where a text is masked."
_DETECTS = (
    "A discriminator: it says of every token whether it was replaced, and is a start for fine-tuning. The "
    "generator beside it fills masks."
)
_ENCODES = (
    "An encoder: it gives a vector for every token, and is a start for fine-tuning. Its head for masked language "
    "modelling was not trained, and is left out: it fills no masks. `cloze adapt` trains one."
)

_CARD = """---
library_name: transformers
{task}tags: [{name}, clozelm]
---

# {title}

{what}

| | |
|---|---|
{table}

{use}"""

_USE_OURS = """```python
import clozelm

clozelm.load("this directory").fill("Some text with a [MASK] in it.")
```
"""

_OTHER = """
`transformers` opens it with the same weights, but reads text another way than the model was trained for (see
"reads" above): its predictions there mean nothing. Vectors for fine-tuning are affected alike.
"""

_USE_STOCK = """
```python
from transformers import pipeline

pipeline("fill-mask", "this directory")("Some text with a {mask} in it.")
```
"""

_USE_PROMPT = """
## Labels of texts

It was fine-tuned to label texts by the prompt above: a text gets the label whose words are the most probable at the
mask, among the words of all labels. `cloze predict` labels files of texts with it.

```python
from clozelm.infer.predict import Predictor

Predictor.open("this directory")(["Some text."])
```
"""

_SEQ2SEQ = """---
tags: [clozelm]
---

# Encoder-decoder

Given a text with spans replaced by sentinels, it writes the spans. It opens with `clozelm` only; `transformers`
has no model of this shape. The encoder alone, in `model/` beside this directory, opens there.

| | |
|---|---|
{table}

```python
from clozelm import hub

loaded = hub.load_seq2seq("this directory")
```
"""

_USE_ENCODE = """```python
from transformers import AutoModel, AutoTokenizer

model, tokenizer = AutoModel.from_pretrained("this directory"), AutoTokenizer.from_pretrained("this directory")
model(**tokenizer("Some text.", return_tensors="pt")).last_hidden_state
```
"""

_USE_DETECT = """```python
from transformers import AutoModelForPreTraining, AutoTokenizer

model = AutoModelForPreTraining.from_pretrained("this directory")
tokenizer = AutoTokenizer.from_pretrained("this directory")
model(**tokenizer("Some text to look at.", return_tensors="pt")).logits > 0
```
"""

_USE_DETECT_OURS = """```python
from clozelm.flows.scoring import open_scorer

next(open_scorer("this directory")("Some text to look at.")).pieces
```

`transformers` has no class for this head; it opens the encoder:

"""

_GIVES: dict[tuple[TaskKind, Problem], str] = {
    ("sequence", "single"): "A classifier: it gives a text, or a pair of texts, one of its labels.",
    ("sequence", "multi"): "A classifier: it gives a text, or a pair of texts, any number of its labels.",
    ("sequence", "regression"): "It gives a text, or a pair of texts, a number.",
    ("token", "single"): "A tagger: it gives each word of a sentence one of its tags.",
}

_CLASSIFIER = """---
library_name: transformers
pipeline_tag: {pipeline}
tags: [{name}, clozelm]
---

# {title}

{what}

| | |
|---|---|
{table}

```python
from clozelm import hub

loaded = hub.load_classifier("this directory")
loaded.model, loaded.tokenizer, loaded.labels
```

`cloze predict` labels files of texts with it.
{other}"""

_USE_PIPELINE = """
```python
from transformers import pipeline

pipeline("{pipeline}", "this directory")("Some text.")
```
"""

_OTHER_CLASSIFIER = """
`transformers` opens it with the same weights, but lets every token see both sides, which the model was not trained
for (see "reads" above): what it says there means nothing.
"""
