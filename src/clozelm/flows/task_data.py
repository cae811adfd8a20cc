"""From files to a task: its labels, what is learned from and what is judged on, and what a reader should know."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from clozelm.errors import DataError, SettingsError
from clozelm.tasks import tags
from clozelm.tasks.classify import Classify, balanced, labels_of
from clozelm.tasks.prompt import Prompt
from clozelm.tasks.tag import Tag, tags_of, without_entities
from clozelm.tasks.task import Task
from clozelm.text.conll import TaggedForm, read_tagged
from clozelm.text.examples import TaggedSentence, TextExample
from clozelm.text.few import draw_few
from clozelm.text.files import suffix_of
from clozelm.text.folders import train_and_dev
from clozelm.text.label_checks import check_labels
from clozelm.text.labelled import Wanted, read_examples
from clozelm.text.overlap import find_overlap, hold_out
from clozelm.text.record_files import TableForm
from clozelm.text.sentiment import SCALE_FACT, Scale, Ways, find_scale
from clozelm.train.tuning import Split

_HELD_SHARE = 0.1
RequestT = TypeVar("RequestT", "ClassifyRequest", "TagRequest")
ExampleT = TypeVar("ExampleT", TextExample, TaggedSentence)


@dataclass(frozen=True)
class TaskData:
    """A task with what it is learned from; ``notes`` say what was seen, repaired and left out while reading."""

    task: Task[Any]
    split: Split[Any]
    train_name: str
    dev_name: str
    dev_is_held_out: bool = False
    notes: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ClassifyRequest:
    """Which texts to learn classes from, and how they are written; None is to find it out.

    ``few`` is how many of every class are learned from, None for all; a ``prompt`` asks at a mask.
    """

    train: Path
    dev: Path | None = None
    wanted: Wanted = field(default_factory=Wanted)
    form: TableForm = field(default_factory=TableForm)
    class_weights: Literal["none", "balanced"] = "none"
    seed: int = 0
    few: int | None = None
    prompt: Prompt | None = None


@dataclass(frozen=True)
class TagRequest:
    """Which sentences to learn tags from; ``scheme`` of the tags, None is to find it out.

    ``few`` is how many sentences of every type of entity are learned from, None for all.
    """

    train: Path
    dev: Path | None = None
    form: TaggedForm = field(default_factory=TaggedForm)
    scheme: tags.Scheme | None = None
    seed: int = 0
    few: int | None = None


def classify_data(request: ClassifyRequest) -> TaskData:
    """Read texts with labels; without ``dev`` a tenth of them, of every class, is held out by ``seed``."""
    return _classify_data(request, None)


def sentiment_data(request: ClassifyRequest, ways: Ways | None = None) -> TaskData:
    """Read texts as ``classify_data`` does, their labels as sentiment; None is to find out in how many ways."""
    return _classify_data(request, lambda examples: find_scale(examples, ways))


def _classify_data(request: ClassifyRequest, find: Callable[[Sequence[TextExample]], Scale] | None) -> TaskData:
    problem = request.wanted.problem
    _check_problem(request)
    request = _with_splits(request)
    found = read_examples(request.train, request.wanted, request.form)
    notes = [f"train: {note}" for note in found.notes]
    scale = None if find is None else find(found.examples)
    train: Sequence[TextExample] = found.examples if scale is None else scale.relabelled(found.examples)
    dev: Sequence[TextExample]
    labels = labels_of(train, problem) if scale is None else scale.labels
    check = partial(
        check_labels,
        train,
        problem=problem,
        field=found.label_field,
        labels=None if problem == "regression" else labels,
    )
    notes += scale.notes(train) if scale else []
    if request.dev is None:
        notes += check(None)
        train, dev = hold_out(train, share=_HELD_SHARE, seed=request.seed)
        _check_held(dev, request.train)
    else:
        wanted = replace(request.wanted, text=found.text_fields, label=found.label_field)
        other = read_examples(request.dev, wanted, request.form)
        dev = other.examples if scale is None else scale.relabelled(other.examples)
        notes += [*check(dev), *(f"dev: {note}" for note in other.notes)]
    if request.prompt is not None:
        request.prompt.check(labels, len(train[0].texts))
    train = _few(train, request, notes)
    notes += find_overlap(train, dev).notes()
    weights = balanced(train, labels) if request.class_weights == "balanced" else None
    facts: dict[str, Any] = {"text": list(found.text_fields), "label": found.label_field}
    facts |= {} if scale is None else {SCALE_FACT: list(scale.names)}
    facts |= {} if request.wanted.separator is None else {"separator": request.wanted.separator}
    task = Classify(labels, problem, weights, is_scale=scale is not None, prompt=request.prompt)
    return _data(task, train, dev, request, notes, facts)


def tag_data(request: TagRequest) -> TaskData:
    """Read sentences with tags, repaired where they are not legal in their scheme; see ``classify_data`` for dev.

    Sentences of dev whose tags are of another scheme are written in that of train.
    """
    request = _with_splits(request)
    for path in filter(None, (request.train, request.dev)):
        if suffix_of(path) == ".csv":
            raise DataError(
                f"{path}: is a table: tags are learned from CoNLL columns or JSON lines, not from texts."
            )
    found = read_tagged(request.train, request.form)
    scheme = request.scheme or _scheme(found.sentences)
    train: Sequence[TaggedSentence]
    train, notes = _repaired(found.sentences, scheme, scheme, "train")
    notes = [f"train: {note}" for note in found.notes] + notes
    if request.dev is None:
        train, dev = hold_out(train, share=_HELD_SHARE, seed=request.seed)
        _check_held(dev, request.train)
    else:
        other = read_tagged(request.dev, request.form)
        its_scheme = request.scheme or _scheme(other.sentences, like=scheme)
        dev, repairs = _repaired(other.sentences, its_scheme, scheme, "dev")
        notes += [f"dev: {note}" for note in other.notes] + repairs
    labels = tags_of(train, scheme)
    if len(labels) < 2:
        raise DataError(f"{request.train}: no word has a tag other than O: there is nothing to learn.")
    _check_tags(dev, labels)
    notes += [f"dev: {note}" for note in without_entities(dev)]
    train = _few(train, request, notes)
    notes += find_overlap(train, dev).notes()
    return _data(Tag(labels, scheme), train, dev, request, notes, {"scheme": scheme})


def _with_splits(request: RequestT) -> RequestT:
    """Take the splits for training and judging of a directory that has both."""
    train, dev = train_and_dev(request.train, request.dev)
    return replace(request, train=train, dev=dev)


def _check_problem(request: ClassifyRequest) -> None:
    """Refuse what is for one label of several alone, where a text has more or is a number."""
    problem = request.wanted.problem
    if problem != "single" and request.class_weights == "balanced":
        raise SettingsError(
            f"loss.class_weights=balanced is for one label of several; these are a {problem} problem's."
        )
    if problem != "single" and request.prompt is not None:
        raise SettingsError(f"--prompt is for one label of several; these are a {problem} problem's.")
    if problem == "regression" and request.few is not None:
        raise SettingsError("--few counts examples of a class, and the labels are numbers: leave it out.")


def _few(train: Sequence[ExampleT], request: ClassifyRequest | TagRequest, notes: list[str]) -> Sequence[ExampleT]:
    """Draw as many of every class as are wanted, and note it."""
    if request.few is None:
        return train
    chosen, said = draw_few(train, request.few, seed=request.seed)
    notes += [f"train: {note}" for note in said]
    return chosen


def _data(
    task: Task[Any],
    train: Sequence[Any],
    dev: Sequence[Any],
    request: ClassifyRequest | TagRequest,
    notes: Sequence[str],
    facts: Mapping[str, Any],
) -> TaskData:
    is_held = request.dev is None
    dev_name = f"a tenth of {request.train}" if is_held else str(request.dev)
    return TaskData(task, Split(train, dev), str(request.train), dev_name, is_held, tuple(notes), facts)


def _check_held(dev: Sequence[Any], path: Path) -> None:
    if not dev:
        raise DataError(f"{path} is too small to hold a tenth of it out: name other examples with --dev.")


def _scheme(sentences: Sequence[TaggedSentence], like: tags.Scheme | None = None) -> tags.Scheme:
    """Find the scheme of tags out; of a file that fits several the one that is ``like`` the other file's."""
    written = [sentence.tags or () for sentence in sentences]
    return tags.detect(written, sources=[sentence.source for sentence in sentences], like=like)


def _repaired(
    sentences: Sequence[TaggedSentence], scheme: tags.Scheme, target: tags.Scheme, name: str
) -> tuple[list[TaggedSentence], list[str]]:
    """Make tags legal (``tags.repair``) and write them in ``target``; say how many were changed."""
    out, count = [], 0
    for sentence in sentences:
        try:
            legal, repairs = tags.repair(sentence.tags or (), scheme)
        except DataError as error:
            raise DataError(f"{sentence.source}: {error}") from None
        count += repairs
        if scheme != target:
            legal = tags.convert(legal, scheme, target)
        out.append(replace(sentence, tags=tuple(legal)))
    notes = [f"{name}: {count:,} tags that no {scheme} sequence has there were repaired"] if count else []
    if scheme != target:
        notes.append(f"{name}: its {scheme} tags were written in {target}, as those of train")
    return out, notes


def _check_tags(dev: Sequence[TaggedSentence], labels: Sequence[str]) -> None:
    """Refuse tags that nothing was learned of, with the first place of each."""
    unknown: dict[str, str] = {}
    for sentence in dev:
        for tag in sentence.tags or ():
            if tag not in labels:
                unknown.setdefault(tag, sentence.source)
    if unknown:
        tag, source = next(iter(unknown.items()))
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        raise DataError(f"{source}: tag {tag!r}{more} does not occur in train: no model can learn it.")


def checked_scheme(name: str | None) -> tags.Scheme | None:
    """Return the scheme of tags that a person names, in any case; one that there is not is refused."""
    if name is None:
        return None
    names: dict[str, tags.Scheme] = {scheme.lower(): scheme for scheme in get_args(tags.Scheme)}
    names |= {"iob2": "BIO", "iob": "IOB1", "iobes": "BIOES", "bioul": "BILOU"}
    if name.lower() not in names:
        raise SettingsError(f"--scheme={name} is no scheme of tags: use BIO, IOB1, BIOES, BILOU or IO.")
    return names[name.lower()]
