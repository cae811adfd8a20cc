"""Open and write classifiers, and make new ones from any pretrained directory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clozelm.errors import ModelError
from clozelm.families import Family, named
from clozelm.families.task_heads import StockHead, stock_head
from clozelm.hub.card import classifier_card
from clozelm.hub.labels import check_labels, kind_of, read_labels, read_problem, write_labels
from clozelm.hub.load import describing, family_of, fitting_tokenizer, read_config
from clozelm.hub.save import building
from clozelm.hub.weights import READING, WEIGHTS_FILE, check_shapes, read_tensors, write_tensors
from clozelm.nn.classifier import Classifier, TaskKind
from clozelm.nn.config import EncoderConfig
from clozelm.nn.encoder import Encoder, initialise
from clozelm.text.examples import Problem
from clozelm.text.templates import completed
from clozelm.text.tokenizer import Tokenizer
from clozelm.types import Context, Reading

_HEAD = "head."
_LAST = "head.out."


@dataclass(frozen=True)
class LoadedClassifier:
    """A classifier with what it needs; ``labels`` are in the order of its logits.

    ``config`` is the ``config.json`` it came from. By their stock names: ``dropped`` are tensors of the file that
    the model does not use, ``taken_over`` those of its head that the file had, ``new`` those that were drawn.
    """

    model: Classifier
    tokenizer: Tokenizer
    family: Family
    config: dict[str, Any]
    labels: tuple[str, ...]
    problem: Problem
    dropped: tuple[str, ...] = ()
    taken_over: tuple[str, ...] = ()
    new: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """Say in one line which layers are new, which came with the file and which were left out."""
        pretrained = {name for one in self.family.weights(self.model.config) for name in one.theirs}
        left = {"the head for masked language modelling" if n in pretrained else n: None for n in self.dropped}
        parts = {"new": self.new, "taken over": self.taken_over, "left out": tuple(left)}
        said = {what: _layers(names) for what, names in parts.items()}
        return "; ".join(f"{what}: {layers}" for what, layers in said.items() if layers)


def is_classifier(directory: str | Path) -> bool:
    """Whether a model directory says that it holds a classifier."""
    return kind_of(read_config(Path(directory))) is not None


def load_classifier(directory: str | Path, *, dtype: torch.dtype = torch.float32) -> LoadedClassifier:
    """Open the classifier in ``directory``, in evaluation mode, its weights converted to ``dtype``."""
    source = _Source.read(Path(directory))
    if source.kind is None:
        what = ", ".join(map(str, source.config.get("architectures") or ["a bare model"]))
        raise ModelError(f"{directory} is no classifier but {what}: `cloze finetune` makes one of it.")
    labels, problem = source.task()
    with describing(source.directory):
        head = source.stock(source.kind).read(source.config, source.encoder, source.kind, len(labels))
        model = Classifier(source.encoder, head, source.context)
    taken, dropped = source.fill(model, labels=labels)
    return LoadedClassifier(
        model.to(dtype).eval(),
        fitting_tokenizer(source.directory, source.encoder),
        source.family,
        source.config,
        labels,
        problem,
        dropped,
        taken,
    )


def new_classifier(
    directory: str | Path,
    *,
    kind: TaskKind,
    labels: Sequence[str],
    problem: Problem = "single",
    seed: int = 0,
    dropout: float | None = None,
    attention_dropout: float | None = None,
    reuse_head: bool = False,
) -> LoadedClassifier:
    """Put a task's head on the encoder of any pretrained model in ``directory``, in training mode.

    Layers of the head that the file has under the same names, such as BERT's pooler, are taken over; the last layer
    and what else is missing are drawn with ``init_std``, from ``seed``. Of a classifier for the same labels
    ``reuse_head`` keeps the last layer too, with the order of its labels. ``dropout`` is for encoder and head; none
    leaves the rates that the file names.
    """
    source = _Source.read(Path(directory))
    check_labels(labels, problem, kind)
    order = source.same_labels(labels, problem, kind) if reuse_head else tuple(labels)
    with describing(source.directory):
        encoder = replace(
            source.encoder,
            dropout=source.encoder.dropout if dropout is None else dropout,
            attention_dropout=source.encoder.attention_dropout if attention_dropout is None else attention_dropout,
        )
        head = source.stock(kind).read(source.config, encoder, kind, len(order))
        head = replace(
            head,
            pooling=head.pooling if reuse_head else "cls",
            dropout=head.dropout if dropout is None else dropout,
        )
        model = Classifier(encoder, head, source.context)
    initialise(model.head, encoder.init_std, torch.Generator().manual_seed(seed % 2**63))
    taken, dropped = source.fill(model, labels=order if reuse_head else None)
    names = _stock_names(source.stock(kind), model)
    tokenizer = fitting_tokenizer(source.directory, source.encoder)
    return LoadedClassifier(
        model.train(),
        completed(tokenizer, has_segments=encoder.type_vocab_size > 1),
        source.family,
        source.config,
        order,
        problem,
        dropped,
        taken,
        tuple(name for name in names.values() if name not in taken),
    )


def classifier_on(
    encoder: Encoder,
    tokenizer: Tokenizer,
    *,
    family: str,
    kind: TaskKind,
    labels: Sequence[str],
    problem: Problem = "single",
    context: Context = "both",
    seed: int = 0,
) -> LoadedClassifier:
    """Put a task's head on a copy of an encoder in memory, in training mode.

    The same as ``new_classifier`` makes of its directory with its own dropout, but that no layer of a head is
    taken over.
    """
    check_labels(labels, problem, kind)
    chosen, config = named(family), encoder.config
    model = Classifier(config, stock_head(chosen, kind).read({}, config, kind, len(labels)), context)
    initialise(model.head, config.init_std, torch.Generator().manual_seed(seed % 2**63))
    model.encoder.load_state_dict({name: tensor.cpu() for name, tensor in encoder.state_dict().items()})
    return LoadedClassifier(model.train(), tokenizer, chosen, {}, tuple(labels), problem)


def save_classifier(
    model: Classifier,
    tokenizer: Tokenizer,
    directory: str | Path,
    *,
    family: str,
    labels: Sequence[str],
    problem: Problem = "single",
    card: Mapping[str, Any] | str | None = None,
    extra_config: Mapping[str, Any] | None = None,
    replace: bool = True,
) -> None:
    """Write ``directory`` so that ``load_classifier`` and the stock class for its kind of task open it.

    ``card`` holds facts for the model card, or is the whole of it; ``extra_config`` holds more keys for
    ``config.json``. An earlier model there is replaced if ``replace`` allows it; a directory that holds anything
    else is refused.
    """
    check_labels(labels, problem, model.kind)
    if len(labels) != model.num_labels:
        raise ModelError(f"{len(labels)} labels were given for a classifier of {model.num_labels}.")
    chosen = named(family)
    stock = stock_head(chosen, model.kind)
    state = model.state_dict()
    config = chosen.write_config(model.config, tokenizer.vocabulary)
    config |= stock.write(model.head.config, model.config) | write_labels(labels, problem, model.kind)
    config |= {"architectures": [stock.architecture], "dtype": str(state["head.out.weight"].dtype)[len("torch.") :]}
    if model.context != "both":
        config[READING] = asdict(Reading(model.context))
    if taken := sorted(config.keys() & (extra_config or {}).keys()):
        raise ModelError(f"config.json has its own {taken[0]!r}: extra_config must not set it.")
    config |= extra_config or {}
    encoder = {name: tensor for name, tensor in state.items() if not name.startswith(_HEAD)}
    tensors = chosen.to_stock(encoder, model.config)
    tensors |= {theirs: state[ours] for ours, theirs in _stock_names(stock, model).items()}
    with building(directory, replace=replace) as place:
        # Sorted here, for sorting inside would put label 10 before label 2.
        text = json.dumps(dict(sorted(config.items())), indent=2, ensure_ascii=False)
        (place / "config.json").write_text(f"{text}\n", encoding="utf-8")
        tokenizer.write(place)
        if not isinstance(card, str):
            card = classifier_card(
                model,
                tokenizer,
                family=chosen,
                architecture=stock.architecture,
                labels=labels,
                problem=problem,
                facts=card or {},
            )
        (place / "README.md").write_text(card, encoding="utf-8")
        write_tensors(tensors, place / WEIGHTS_FILE)


@dataclass(frozen=True)
class _Source:
    """A pretrained directory, its tensors under today's stock names; ``kind`` is none where it is no classifier."""

    directory: Path
    config: dict[str, Any]
    family: Family
    encoder: EncoderConfig
    context: Context
    tensors: dict[str, Tensor]
    kind: TaskKind | None

    @classmethod
    def read(cls, directory: Path) -> _Source:
        config = read_config(directory)
        family = family_of(config, directory)
        with describing(directory):
            encoder = family.read_config(config)
            context = Reading(**config.get(READING, {})).context
        return cls(directory, config, family, encoder, context, read_tensors(directory), kind_of(config))

    def stock(self, kind: TaskKind) -> StockHead:
        return stock_head(self.family, kind)

    def task(self) -> tuple[tuple[str, ...], Problem]:
        """Return the labels and the problem of a classifier."""
        assert self.kind is not None
        with describing(self.directory):
            labels = read_labels(self.config)
            return labels, read_problem(self.config, self.kind, len(labels))

    def same_labels(self, labels: Sequence[str], problem: Problem, kind: TaskKind) -> tuple[str, ...]:
        """Return the labels of the file in their order, which must be the given ones, for the same problem."""
        if self.kind != kind:
            raise ModelError(f"{self.directory} has no head for a {kind} task that could be kept.")
        there, solved = self.task()
        if set(there) != set(labels) or solved != problem:
            raise ModelError(
                f"The head of {self.directory} cannot be kept: its labels are {', '.join(there)} ({solved}), "
                f"not {', '.join(labels)} ({problem})."
            )
        return there

    def fill(self, model: Classifier, *, labels: Sequence[str] | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Fill ``model`` from the file; with ``labels`` its whole head must be there, else what there is is taken.

        Returns the stock names of the head's tensors that were there, and those of tensors that nothing reads.
        """
        try:
            state, dropped = self.family.from_stock(self.tensors, model.config, encoder_only=True)
        except ModelError as error:
            raise ModelError(f"{self.directory}: {error}") from None
        modern = {self.family.spelling.modern(name): tensor for name, tensor in self.tensors.items()}
        names = _stock_names(self.stock(model.kind), model)
        if labels is None:
            names = _whole_layers({ours: theirs for ours, theirs in names.items() if theirs in modern}, names)
        elif missing := [theirs for theirs in names.values() if theirs not in modern]:
            raise ModelError(
                f"{self.directory}: {len(missing)} tensors of the classifier are missing, first {missing[0]!r}."
            )
        else:
            self._check_rows(modern[names[f"{_LAST}weight"]], labels)
        state |= {ours: modern[theirs] for ours, theirs in names.items()}
        check_shapes(model, state, self.directory)
        model.load_state_dict(state, strict=labels is not None)
        taken = tuple(names.values())
        return taken, tuple(name for name in dropped if name not in taken)

    def _check_rows(self, last: Tensor, labels: Sequence[str]) -> None:
        if last.dim() and last.shape[0] != len(labels):
            raise ModelError(
                f"{self.directory}: config.json has {len(labels)} labels ({', '.join(labels[:5])}), but the last "
                f"layer has {last.shape[0]} rows: id2label must name each of them."
            )


def _stock_names(stock: StockHead, model: Classifier) -> dict[str, str]:
    """Return the stock name of every tensor of the model's head, by its name here."""
    there = model.state_dict().keys()
    return {weight.ours: weight.theirs[0] for weight in stock.weights if weight.ours in there}


def _whole_layers(found: dict[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    """Leave out the last layer, and layers of which a tensor is missing."""
    torn = {ours.rpartition(".")[0] for ours in wanted if ours not in found}
    return {
        ours: theirs
        for ours, theirs in found.items()
        if not ours.startswith(_LAST) and ours.rpartition(".")[0] not in torn
    }


def _layers(names: Sequence[str]) -> str:
    kept = [name for name in names if not name.endswith("position_ids")]
    return ", ".join(dict.fromkeys(name.removesuffix(".weight").removesuffix(".bias") for name in kept))
