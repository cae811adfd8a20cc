"""The checks of a model directory: its file, its tokenizer, its weights, its answers."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clozelm.errors import ClozeError
from clozelm.explain.habits import Habits, LatePositions, habits, late_positions
from clozelm.explain.weights import FileFacts, WeightFacts, file_facts, weight_facts
from clozelm.families import Family, is_discriminator
from clozelm.flows.doctor_finding import Check, Finding, NotCheckedError
from clozelm.flows.doctor_store import StoreFacts
from clozelm.hub.labels import kind_of
from clozelm.hub.load import Loaded, family_of, load, read_config
from clozelm.hub.weights import read_tensors
from clozelm.samples import ABSTRACTS
from clozelm.text.readers import Reading, read_all
from clozelm.text.tokenizer import Tokenizer
from clozelm.text.word_cache import BatchEncoder

_SAMPLES = 60
_SOME = 0.01  # of the answers: fewer happen to good models
_ROLES = ("pad", "cls", "sep", "mask", "bos", "eos", "unk")


@dataclass(frozen=True)
class ModelFacts:
    """A model directory, opened as far as it opens; ``data`` is a token store it should fit, if one was named."""

    path: Path
    config: dict[str, Any]
    family: Family
    file: FileFacts
    loaded: Loaded | None
    problem: str | None
    data: StoreFacts | None = None

    @classmethod
    def of(cls, path: Path, data: StoreFacts | None = None) -> ModelFacts:
        """Read a directory; raises ``ModelError`` where there is no model of a supported family or no weights."""
        config = read_config(path)
        family = family_of(config, path)
        file = file_facts(read_tensors(path), family)
        try:
            return cls(path, config, family, file, load(path), None, data)
        except ClozeError as error:
            return cls(path, config, family, file, None, str(error), data)

    @property
    def fills_masks(self) -> bool:
        """Whether the file claims to fill masks; classifiers and discriminators do not."""
        return kind_of(self.config) is None and not is_discriminator(self.config)

    def opened(self) -> Loaded:
        """Return the model, or say that what is asked cannot be checked."""
        if self.loaded is None:
            raise NotCheckedError("the model does not open" if self.fills_masks else "the model fills no masks")
        return self.loaded

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer beside the model, None where it cannot be read."""
        try:
            return Tokenizer.load(self.path)
        except ClozeError:
            return None

    @cached_property
    def weights(self) -> WeightFacts:
        """What the weights look like."""
        loaded = self.opened()
        return weight_facts(loaded.model, loaded.tokenizer.vocabulary)

    @cached_property
    def documents(self) -> list[NDArray[Any]]:
        """Documents to try the model on: of the store, held out where there is some, or English abstracts."""
        loaded = self.opened()
        if self.data is not None and self.data.tokenizer.fingerprint == loaded.tokenizer.fingerprint:
            store = self.data.held_out or self.data.store
            return [store.document(index)[0] for index in range(min(_SAMPLES, store.num_documents))]
        texts = [each.text for each in islice(read_all([ABSTRACTS], Reading(field="text")), _SAMPLES)]
        encoded = BatchEncoder(loaded.tokenizer)(texts)
        words, unknown = sum(len(text.split()) for text in texts), loaded.tokenizer.vocabulary.unk_id
        if len(encoded.ids) > 2.2 * words or (unknown is not None and (encoded.ids == unknown).mean() > 0.001):
            raise NotCheckedError(
                f"the abstracts that ship with clozelm take {len(encoded.ids) / words:.1f} of its pieces a word, "
                "so they say little: name its own token store with --data"
            )
        return np.split(encoded.ids, np.cumsum(encoded.lengths)[:-1])

    @cached_property
    def habits(self) -> Habits:
        """What the model answers on some text."""
        loaded = self.opened()
        found = habits(loaded.model, self.documents, loaded.tokenizer.vocabulary)
        if found is None or found.predictions < 50:
            raise NotCheckedError("there is too little text to try the model on")
        return found

    @cached_property
    def late(self) -> LatePositions | None:
        """What it loses at late positions."""
        loaded = self.opened()
        if loaded.model.reading.is_causal:
            raise NotCheckedError("the model reads from one side")
        return late_positions(loaded.model, self.documents, loaded.tokenizer.vocabulary)


def finite_weights(facts: ModelFacts) -> Finding | None:
    """Find weights that are no numbers."""
    bad = facts.file.not_finite
    if not bad:
        return None
    return Finding(
        "error",
        f"{len(bad)} tensors hold numbers that are not finite, first {bad[0]!r}.",
        "One of them makes every answer meaningless.",
        "Take an earlier checkpoint, and find where training diverged (`cloze doctor RUN`).",
    )


def tied_weights(facts: ModelFacts) -> Finding | None:
    """Find an output matrix that differs from the embeddings it should be."""
    untied = facts.file.untied
    if not untied:
        return None
    name, by = next(iter(untied.items()))
    return Finding(
        "error",
        f"{name!r} should be the embeddings and differs from them, by up to {by:.3g}.",
        "Programs that tie the two will answer otherwise than the model that was trained.",
        "Save the model again from where it was trained, with tied weights.",
    )


def opens(facts: ModelFacts) -> Finding | None:
    """Find a model that does not open, for another reason than those with a check of their own."""
    if facts.loaded is not None or not facts.fills_masks:
        return None
    if facts.file.not_finite or facts.file.untied:
        raise NotCheckedError("it does not, for a reason found above")
    return Finding(
        "error", facts.problem or "The model does not open.", "Nothing can use it.", "Repair what it says."
    )


def tokenizer_fits(facts: ModelFacts) -> Finding | None:
    """Find a tokenizer of other pieces than the model embeds, or other ids than its configuration says."""
    if facts.tokenizer is None:
        raise NotCheckedError("the tokenizer beside the model cannot be read")
    own, rows = facts.tokenizer, facts.config.get("vocab_size")
    if type(rows) is not int:
        raise NotCheckedError(f"config.json says vocab_size={rows!r}")
    wrong = []
    if own.vocab_size > rows:
        wrong.append(f"the tokenizer has {own.vocab_size:,} pieces, the model embeds {rows:,}")
    elif rows - own.vocab_size > max(1024, rows // 20):
        wrong.append(f"the model embeds {rows:,} pieces, of which the tokenizer knows {own.vocab_size:,}")
    vocabulary = own.vocabulary
    ids = {role: getattr(vocabulary, f"{role}_id", None) for role in _ROLES}
    for role in _ROLES:
        said, real = facts.config.get(f"{role}_token_id"), ids[role]
        if isinstance(said, int) and real is not None and said != real:
            wrong.append(f"config.json says {role}_token_id={said}, the tokenizer's is {real}")
    if facts.data is not None and facts.data.tokenizer.fingerprint != own.fingerprint:
        wrong.append(f"{facts.data.path} was prepared with another tokenizer ({facts.data.tokenizer.fingerprint})")
    if not wrong:
        return None
    return Finding(
        "error",
        f"Tokenizer and model do not belong together: {'; '.join(wrong)}.",
        "Ids then mean other pieces than those that were trained: the answers are noise that looks like text.",
        "Put the tokenizer of the training beside the model.",
    )


def embedding_rows(facts: ModelFacts) -> Finding | None:
    """Find embedding rows that training never touched: zero, or equal to others."""
    weights = facts.weights
    rows, number = [*weights.zero_rows, *weights.equal_rows], len(weights.zero_rows) + len(weights.equal_rows)
    if number <= max(1, weights.num_rows // 200):
        return None
    first = ", ".join(facts.opened().tokenizer.token(row) for row in rows[:5])
    return Finding(
        "warning",
        f"{number:,} of {weights.num_rows:,} embeddings are zero or equal to another, such as {first}.",
        "They were never trained, and pieces that look alike cannot be told apart.",
        "Train a tokenizer of fewer pieces, or continue training on text that has them (`cloze adapt`).",
    )


def dead_parts(facts: ModelFacts) -> Finding | None:
    """Find heads and layers that add nothing."""
    weights = facts.weights
    if not weights.dead_heads and not weights.dead_layers:
        return None
    layers = [f"layer {layer + 1}" for layer in weights.dead_layers]
    heads = [f"head {head + 1} of layer {layer + 1}" for layer, head in weights.dead_heads]
    return Finding(
        "warning",
        f"{', '.join([*layers, *heads][:6])} add nothing: their weights are all but zero.",
        "They cost time and do no work; often they died of too high a learning rate or too much decay.",
        "Lower optim.learning_rate or optim.weight_decay; to keep the model, they can be removed.",
    )


def knows_something(facts: ModelFacts) -> Finding | None:
    """Find a model that is no better than guessing blindly."""
    found, uniform = facts.habits, math.log(facts.opened().model.config.vocab_size)
    if found.loss < uniform - 0.2:
        return None
    return Finding(
        "warning" if facts.data is None else "error",
        f"On real text the model costs {found.loss:.2f} nats a piece; guessing blindly costs {uniform:.2f}.",
        "It is untrained, or its weights and its tokenizer do not belong together.",
        "Look at how it was saved, and with which tokenizer it was trained.",
    )


def same_answer(facts: ModelFacts) -> Finding | None:
    """Find a model that gives one answer whatever the context."""
    found = facts.habits
    if found.same_answer < 0.8:
        return None
    answer = facts.opened().tokenizer.token(found.answer)
    return Finding(
        "warning",
        f"{found.same_answer:.0%} of {found.predictions} different blanks are filled with {answer!r}.",
        "The model does not read the context: it is on the unigram plateau, or its attention is broken.",
        "Train on; look at the run with `cloze doctor RUN`.",
    )


def special_answers(facts: ModelFacts) -> Finding | None:
    """Find a model that fills blanks with special tokens or padding."""
    found = facts.habits
    if found.special_answer is None or found.special < _SOME:
        return None
    token = facts.opened().tokenizer.token(found.special_answer)
    return Finding(
        "error" if found.special > 0.05 else "warning",
        f"{found.special:.1%} of the blanks are filled with a special token, mostly {token!r}.",
        "Special tokens or padding were among what it had to predict: the loss looked good for nothing.",
        "Leave them out of the labels (-100), as `cloze pretrain` does, and train again.",
    )


def positions(facts: ModelFacts) -> Finding | None:
    """Find a model that reads less far than it claims."""
    loaded = facts.opened()
    claimed, real = loaded.tokenizer.model_max_length, loaded.model.config.max_positions
    if claimed is not None and claimed > real:
        return Finding(
            "note" if loaded.model.config.rotary else "warning",
            f"The tokenizer says {claimed:,} tokens fit (model_max_length), the model has {real:,} positions.",
            "Programs that believe the tokenizer hand over texts that the model cannot read.",
            f"Set model_max_length to {real} in tokenizer_config.json.",
        )
    late = facts.late
    if late is None:
        raise NotCheckedError("the model is short, or there is too little text")
    worse = late.late - late.early
    if worse < max(0.5, 3 * late.error):
        return None
    return Finding(
        "note",
        f"Late in texts of {late.positions:,} tokens the loss is {late.late:.2f}; the same pieces in windows of 64 "
        f"cost {late.early:.2f}.",
        "Later positions were not trained: long texts are read worse than the beginning of them alone.",
        "Cut texts to the length of training, or train on with longer rows (data.row_length).",
    )


MODEL_CHECKS: dict[str, Check[ModelFacts]] = {
    "finite weights": finite_weights,
    "tied weights": tied_weights,
    "opens": opens,
    "tokenizer": tokenizer_fits,
    "embedding rows": embedding_rows,
    "dead heads and layers": dead_parts,
    "knows something": knows_something,
    "same answer": same_answer,
    "special answers": special_answers,
    "positions": positions,
}


def model_facts(facts: ModelFacts) -> dict[str, str]:
    """Return what a reader wants to know of any model."""
    said = {"family": facts.family.name}
    if facts.loaded is not None:
        config = facts.loaded.model.config
        said["shape"] = f"{config.num_layers} layers x {config.hidden_size}, vocabulary {config.vocab_size:,}"
        with suppress(NotCheckedError):
            said["tried on"] = f"{facts.habits.predictions} hidden pieces: {facts.habits.loss:.2f} nats each"
    return said
